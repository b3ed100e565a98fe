//! An HTTP/1.1 request whose answer does not end: the connection is that answer's alone.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::{Dialer, Kind, WireError, head_bytes};

/// The answer, as it comes.
#[derive(Debug)]
pub struct HttpStream {
    body: Incoming,
    _driver: AbortOnDropHandle<()>,
}

impl HttpStream {
    /// `GET path`, counted as a subscriber's request. Of the answer, the head is counted as
    /// headers and everything after it as framing: chunk heads, and what the caller does not move
    /// to where it belongs.
    ///
    /// # Errors
    /// If there is no answer, or it is not a 200.
    pub async fn get(dialer: &Dialer, path: &str) -> Result<HttpStream, WireError> {
        let stream =
            dialer.dial().await.map_err(WireError::Connect)?.with_answers_as(Kind::Framing);
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its errors reach whoever reads the answer.
            let _ = connection.await;
        });
        let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|_| {
            WireError::Nonsense(format!("'{path}' cannot be the path of a request"))
        })?;
        *request.headers_mut() = dialer.headers().clone();
        dialer.admit_request().await;
        let (head, body) = requests.send_request(request).await?.into_parts();
        let bytes = head_bytes(head.status, &head.headers);
        dialer.meter().move_down(Kind::Framing, Kind::Headers, bytes);
        if head.status != StatusCode::OK {
            let body = body.collect().await?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(WireError::Refused { status: head.status, body });
        }
        Ok(HttpStream { body, _driver: AbortOnDropHandle::new(driver) })
    }

    /// What comes next; `None` once the answer has ended.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
