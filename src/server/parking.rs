//! HTTP/1 connections whose client waits: for the response to a poll, or for the next part of a
//! stream. hyper keeps 10 kB of buffers and state for a connection, and reads all of it whenever a
//! part is written. Therefore such a connection is taken from hyper, parked, and served by the code
//! here; a new hyper connection serves the next request.
//!
//! A response that becomes ready after its connection was parked is written by a new hyper
//! connection, which reads a request with the same properties as far as the format of the response
//! depends on them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONNECTION;
use hyper::service::Service;
use hyper::{Method, Request, Response, Version};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Parts up to this size are copied, so that they are written together with their framing.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// The service of one connection: `inner`, whose response can be parked.
#[derive(Debug, Clone)]
pub(super) struct Parking<S, F, B> {
    inner: S,
    slot: ResponseSlot<F, B>,
}

/// Holds the pending response, so that it can be taken without hyper.
#[derive(Debug)]
pub(super) struct ResponseSlot<F, B>(Arc<Mutex<ParkingState<F, B>>>);

impl<F, B> Clone for ResponseSlot<F, B> {
    fn clone(&self) -> Self {
        ResponseSlot(self.0.clone())
    }
}

#[derive(Debug)]
struct ParkingState<F, B> {
    pending: PendingOutput<F, B>,
    /// The response to the next request that hyper reads.
    resumed: Option<Response<B>>,
}

/// What a client waits for.
#[derive(Debug)]
pub(super) enum PendingOutput<F, B> {
    Nothing,
    /// The response to a request.
    Response(Pin<Box<F>>, RequestHead),
    /// More of a body whose length is not known, sent in chunks.
    Stream(Pin<Box<B>>, RequestHead),
}

/// The properties of a request on which the format of its response depends.
#[derive(Debug, Clone)]
pub(super) struct RequestHead {
    is_http11: bool,
    is_head: bool,
    wants_close: bool,
}

impl RequestHead {
    /// `None` for a request whose connection cannot be parked: one with a body or an upgrade.
    fn of(request: &Request<Incoming>) -> Option<RequestHead> {
        let connection = request.headers().get_all(CONNECTION).into_iter();
        let mut has = [false; 3];
        for token in connection.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(',')) {
            for (has, name) in has.iter_mut().zip(["close", "keep-alive", "upgrade"]) {
                *has |= token.trim().eq_ignore_ascii_case(name);
            }
        }
        let [close, keep_alive, upgrade] = has;
        let is_http11 = request.version() == Version::HTTP_11;
        let is_plain = [Method::GET, Method::HEAD].contains(request.method())
            && request.body().is_end_stream()
            && !upgrade;
        is_plain.then_some(RequestHead {
            is_http11,
            is_head: request.method() == Method::HEAD,
            wants_close: close || !is_http11 && !keep_alive,
        })
    }

    /// A request for which a response has the same format.
    fn to_request(&self) -> BytesMut {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let version = if self.is_http11 { "1.1" } else { "1.0" };
        let connection = if self.wants_close { "close" } else { "keep-alive" };
        let request = format!("{method} / HTTP/{version}\r\nconnection: {connection}\r\n\r\n");
        BytesMut::from(request.as_bytes())
    }
}

impl<F, B> ResponseSlot<F, B> {
    pub fn new() -> Self {
        ResponseSlot(Arc::new(Mutex::new(ParkingState {
            pending: PendingOutput::Nothing,
            resumed: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, ParkingState<F, B>> {
        self.0.lock().expect("no panic under this lock")
    }

    /// True if a stream is being sent.
    pub fn has_stream(&self) -> bool {
        matches!(self.lock().pending, PendingOutput::Stream(..))
    }

    /// True if a response is pending.
    pub fn has_response(&self) -> bool {
        matches!(self.lock().pending, PendingOutput::Response(..))
    }

    /// Takes the pending response or stream from hyper.
    pub fn take(&self) -> PendingOutput<F, B> {
        std::mem::replace(&mut self.lock().pending, PendingOutput::Nothing)
    }
}

impl<F, B> ResponseSlot<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    /// Waits for the response to the request of `head`. Returns what a new connection of hyper has
    /// to read to write it.
    pub async fn respond(&self, response: Pin<Box<F>>, head: &RequestHead) -> BytesMut {
        let Ok(response) = response.await;
        self.lock().resumed = Some(response);
        head.to_request()
    }
}

impl<S, F, B> Parking<S, F, B> {
    pub fn new(inner: S, slot: ResponseSlot<F, B>) -> Self {
        Parking { inner, slot }
    }
}

impl<S, B> Service<Request<Incoming>> for Parking<S, S::Future, B>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    type Response = Response<SlotBody<S::Future, B>>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, SlotFuture<S::Future, B>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let resumed = self.slot.lock().resumed.take();
        if let Some(response) = resumed {
            return Either::Left(ready(Ok(response.map(SlotBody::Own))));
        }
        let head = RequestHead::of(&request);
        let response = Box::pin(self.inner.call(request));
        Either::Right(match head {
            None => SlotFuture::Own(response),
            Some(head) => {
                self.slot.lock().pending = PendingOutput::Response(response, head);
                SlotFuture::Parkable(self.slot.clone())
            }
        })
    }
}

/// A pending response.
pub(super) enum SlotFuture<F, B> {
    Own(Pin<Box<F>>),
    Parkable(ResponseSlot<F, B>),
}

impl<F, B> Future for SlotFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body,
{
    type Output = Result<Response<SlotBody<F, B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = match &mut *self {
            SlotFuture::Own(future) => {
                return future.as_mut().poll(cx).map_ok(|response| response.map(SlotBody::Own));
            }
            SlotFuture::Parkable(slot) => slot.clone(),
        };
        let mut state = slot.lock();
        let PendingOutput::Response(future, head) = &mut state.pending else {
            // It is parked; hyper drops this future.
            return Poll::Pending;
        };
        let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else { return Poll::Pending };
        let head = head.clone();
        let is_stream = head.is_http11
            && !head.is_head
            && !response.body().is_end_stream()
            && response.body().size_hint().exact().is_none();
        state.pending = PendingOutput::Nothing;
        if !is_stream {
            return Poll::Ready(Ok(response.map(SlotBody::Own)));
        }
        let (parts, body) = response.into_parts();
        state.pending = PendingOutput::Stream(Box::pin(body), head);
        drop(state);
        Poll::Ready(Ok(Response::from_parts(parts, SlotBody::Parkable(slot))))
    }
}

/// The body of a response.
pub(super) enum SlotBody<F, B> {
    Own(B),
    Parkable(ResponseSlot<F, B>),
}

impl<F, B: Body<Data = Bytes> + Unpin> Body for SlotBody<F, B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let slot = match &mut *self {
            SlotBody::Own(body) => return Pin::new(body).poll_frame(cx),
            SlotBody::Parkable(slot) => slot,
        };
        let mut state = slot.lock();
        let PendingOutput::Stream(body, _) = &mut state.pending else { return Poll::Pending };
        let frame = body.as_mut().poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            state.pending = PendingOutput::Nothing;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match self {
            SlotBody::Own(body) => body.is_end_stream(),
            SlotBody::Parkable(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            SlotBody::Own(body) => body.size_hint(),
            SlotBody::Parkable(_) => SizeHint::default(),
        }
    }
}

/// Writes the rest of a body in chunks (RFC 9112, section 7.1). Returns whether the connection can
/// be used for another request.
///
/// # Errors
/// If the connection breaks, or the body does.
pub(super) async fn write_stream<B>(
    io: &mut (impl AsyncWrite + Unpin),
    mut body: Pin<Box<B>>,
    head: &RequestHead,
) -> io::Result<bool>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        if !data.is_empty() {
            write_chunk(io, &data).await?;
        }
    }
    io.write_all(b"0\r\n\r\n").await?;
    io.flush().await?;
    Ok(!head.wants_close)
}

async fn write_chunk(io: &mut (impl AsyncWrite + Unpin), data: &Bytes) -> io::Result<()> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut chunk = Vec::with_capacity(data.len().min(COPIED_BYTES_MAX) + 20);
    let digits = (data.len().ilog2() / 4) as usize;
    chunk.extend((0..=digits).rev().map(|digit| HEX[data.len() >> (4 * digit) & 15]));
    chunk.extend_from_slice(b"\r\n");
    if data.len() > COPIED_BYTES_MAX {
        io.write_all(&chunk).await?;
        io.write_all(data).await?;
        io.write_all(b"\r\n").await?;
    } else {
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        io.write_all(&chunk).await?;
    }
    io.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_have_their_length_in_hexadecimal() {
        for (length, head) in [(1, "1"), (15, "F"), (16, "10"), (4096, "1000"), (70_000, "11170")] {
            let mut written = Vec::new();
            let data = Bytes::from(vec![b'x'; length]);
            write_chunk(&mut written, &data).await.expect("a Vec takes all bytes");
            let expected = [head.as_bytes(), b"\r\n", &data, b"\r\n"].concat();
            assert_eq!(written, expected, "{length}");
        }
    }
}
