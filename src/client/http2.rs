//! One HTTP/2 connection that several subscribers share (RFC 9113): their requests are streams of
//! it. The server is known to speak it, so that nothing is negotiated.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::ClientError;

/// The place of a shared connection: made by whoever needs it first, made anew by whoever finds it
/// broken, and closed when nobody is left.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Weak<Http2>>);

impl Shared {
    /// The connection, or a new one on the stream of `connect` if there is none that works.
    pub(super) async fn connection<S>(
        &self,
        connect: impl Future<Output = Result<S, ClientError>>,
    ) -> Result<Arc<Http2>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut place = self.0.lock().await;
        if let Some(open) = place.upgrade().filter(|open| open.is_usable()) {
            return Ok(open);
        }
        let open = Arc::new(Http2::on(connect.await?).await?);
        *place = Arc::downgrade(&open);
        Ok(open)
    }
}

/// A connection that speaks HTTP/2, driven as long as this lives.
#[derive(Debug)]
pub(super) struct Http2 {
    requests: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Http2 {
    async fn on<S>(stream: S) -> Result<Http2, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its errors reach whoever has sent a request.
            let _ = connection.await;
        });
        Ok(Http2 { requests, _driver: AbortOnDropHandle::new(driver) })
    }

    pub fn is_usable(&self) -> bool {
        !self.requests.is_closed()
    }

    pub async fn try_send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.requests.clone().try_send_request(request).await
    }
}
