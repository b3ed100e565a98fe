//! Bodies of responses that are being sent to a client. Each is charged to its connection while the
//! client has not read it. On HTTP/2 it is handed over in pieces, so that a stream whose client
//! does not open the flow-control window can be detected and reset after `--send-timeout`. A write
//! timeout of the connection would not detect it, because other streams keep the connection alive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::streams::WriteProgress;
use crate::app::memory::{Charge, FREE_BYTES, OverLimit};

/// Bytes of a body that are handed to HTTP/2 at once. The next piece is taken when the window has
/// room for all earlier ones.
const PIECE_BYTES: usize = 16 << 10;
/// A body of at most this many bytes is passed on as a whole. The last byte of a larger body is a
/// piece of its own, which is not sent before the window has admitted the rest: HTTP/2 would
/// otherwise hold the rest of the body without a time limit.
const LAST_PIECE_BYTES: usize = 512;

/// A body whose bytes are charged to its connection.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    body: B,
    /// The charge for the request and the body; if the size of the body is unknown, for the request
    /// and the last chunk.
    charge: Charge,
    request_bytes: usize,
    is_whole: bool,
    /// On HTTP/2.
    progress: Option<Arc<WriteProgress>>,
    /// The rest of the last chunk.
    rest: Bytes,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// Adds `body` to `charge`, which contains the request.
    ///
    /// # Errors
    /// If this exceeds the client's memory limit.
    pub fn new(body: B, mut charge: Charge) -> Result<ResponseBody<B>, OverLimit> {
        let progress = WriteProgress::of_this_stream();
        let request_bytes = charge.bytes();
        let size = body.size_hint().exact();
        if let Some(bytes) = size.map(|bytes| bytes as usize)
            && (progress.is_some() || bytes > FREE_BYTES)
        {
            charge.grow(bytes)?;
        }
        let is_whole = size.is_some();
        Ok(ResponseBody { body, charge, request_bytes, is_whole, progress, rest: Bytes::new() })
    }

    /// A small body that is sent even if the client's budget is used up.
    pub fn uncharged(body: B, charge: Charge) -> ResponseBody<B> {
        let progress = WriteProgress::of_this_stream();
        ResponseBody {
            body,
            charge,
            request_bytes: 0,
            is_whole: true,
            progress,
            rest: Bytes::new(),
        }
    }

    /// The next piece of `rest`.
    fn piece(&mut self) -> Bytes {
        let bytes = match self.rest.len() {
            bytes if bytes > PIECE_BYTES => PIECE_BYTES,
            bytes if bytes > LAST_PIECE_BYTES => bytes - 1,
            bytes => bytes,
        };
        self.rest.split_to(bytes)
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        if body.rest.is_empty() {
            let frame = Pin::new(&mut body.body).poll_frame(cx);
            if frame.is_pending() {
                body.progress.iter().for_each(|progress| progress.waits_for_body());
            }
            let frame = match ready!(frame) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            if !body.is_whole {
                let charged = if data.len() > FREE_BYTES { data.len() } else { 0 };
                body.charge.set(body.request_bytes + charged)?;
            }
            body.rest = data;
        }
        let piece = match &body.progress {
            None => std::mem::take(&mut body.rest),
            Some(progress) => {
                progress.hands_over();
                body.piece()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(bytes) => SizeHint::with_exact(bytes + self.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}
