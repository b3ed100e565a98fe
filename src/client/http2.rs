//! One HTTP/2 connection that several subscribers share (RFC 9113); each request is a stream. The
//! server is known to support HTTP/2, so there is no negotiation.

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

/// A shared connection. The first request opens it, the next request after a failure opens it
/// again, and it is closed when no subscriber uses it.
#[derive(Debug, Default)]
pub struct SharedConnection(Mutex<Weak<Http2>>);

impl SharedConnection {
    /// The connection, opened on the stream of `connect` if there is no usable one.
    pub(super) async fn connection<S>(
        &self,
        connect: impl Future<Output = Result<S, ClientError>>,
    ) -> Result<Arc<Http2>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connection = self.0.lock().await;
        if let Some(open) = connection.upgrade().filter(|open| open.is_usable()) {
            return Ok(open);
        }
        let open = Arc::new(Http2::on(connect.await?).await?);
        *connection = Arc::downgrade(&open);
        Ok(open)
    }
}

/// An open HTTP/2 connection, with the task that drives it.
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
            // The sender of a request receives the errors as well.
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
