//! A request whose answer does not end. The connection is that answer's alone, unless it is one of
//! HTTP/2, of which it is a stream.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};

use super::http::{Open, refused, request};
use super::{ClientError, Dialer, Kind, head_bytes};

/// The answer, as it comes.
#[derive(Debug)]
pub struct HttpStream {
    body: Incoming,
    _connection: Open,
}

impl HttpStream {
    /// `GET path`, counted as a subscriber's request. Of the answer, the head is counted as
    /// headers and everything after it as framing: chunk heads, and what the caller does not move
    /// to where it belongs.
    ///
    /// # Errors
    /// If there is no answer, or it is not a 200.
    pub async fn get(dialer: &Dialer, path: &str) -> Result<HttpStream, ClientError> {
        let mut connection = match dialer.shared_connection().await {
            Some(shared) => Open::Shared(shared?),
            None => {
                let stream = dialer.dial().await.map_err(ClientError::Connect)?;
                Open::on(stream.with_answers_as(Kind::Framing)).await?
            }
        };
        let request = request(dialer, Method::GET, path, Bytes::new())?;
        dialer.admit_request().await;
        let response = connection.send(request).await?;
        if dialer.shared().is_none() {
            let bytes = head_bytes(response.status(), response.headers());
            dialer.meter().move_down(Kind::Framing, Kind::Headers, bytes);
        }
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        Ok(HttpStream { body: response.into_body(), _connection: connection })
    }

    /// What comes next; `None` once the answer has ended.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
