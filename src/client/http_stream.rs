//! A response that does not end. With HTTP/1.1 it has a connection of its own, with HTTP/2 it is a
//! stream of a shared one.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};

use super::http::{OpenConnection, refused, request};
use super::{ByteKind, ClientError, Dialer, Meter, head_bytes};
use crate::message::StreamItem;

/// The body of the response, as it arrives.
#[derive(Debug)]
pub struct HttpStream {
    body: Incoming,
    meter: Arc<Meter>,
    _connection: OpenConnection,
}

impl HttpStream {
    /// `GET path`, counted as a subscriber's request. Of the response, the head is counted as
    /// headers and everything after it as framing, until it turns out to be a message.
    ///
    /// # Errors
    /// If there is no response, or it is not a 200.
    pub async fn get(dialer: &Dialer, path: &str) -> Result<HttpStream, ClientError> {
        let started = Instant::now();
        let mut connection = match dialer.shared_connection().await {
            Some(shared) => OpenConnection::Shared(shared?),
            None => {
                let stream = dialer.dial().await.map_err(ClientError::Connect)?;
                OpenConnection::on(stream.with_responses_as(ByteKind::Framing)).await?
            }
        };
        let request = request(dialer, Method::GET, path, Bytes::new())?;
        dialer.admit_request().await;
        let response = connection.send(request).await?;
        if dialer.shared().is_none() {
            let bytes = head_bytes(response.status(), response.headers());
            dialer.meter().move_down(ByteKind::Framing, ByteKind::Headers, bytes);
        }
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        dialer.meter().ready_after(started.elapsed());
        let meter = dialer.shared_meter();
        Ok(HttpStream { body: response.into_body(), meter, _connection: connection })
    }

    /// Decodes a message or event that the body contained, and counts a message as payload.
    ///
    /// # Errors
    /// If it is neither of the two.
    pub(super) fn item(&self, json: &str) -> Result<StreamItem, ClientError> {
        let item = StreamItem::decode(json).map_err(|_| {
            ClientError::ProtocolError(format!("neither a message nor an event: {json}"))
        })?;
        if matches!(item, StreamItem::Message(_)) {
            self.count_payload(json.len());
        }
        Ok(item)
    }

    /// Counts bytes of the body that were message objects.
    pub(super) fn count_payload(&self, bytes: usize) {
        self.meter.move_down(ByteKind::Framing, ByteKind::Payload, bytes);
    }

    /// The next chunk.
    ///
    /// # Errors
    /// If the connection breaks or the body ends.
    pub(super) async fn next_chunk(&mut self) -> Result<Bytes, ClientError> {
        let ended = || ClientError::Closed("the stream has ended".to_owned());
        self.chunk().await?.ok_or_else(ended)
    }

    /// The next chunk; `None` once the body has ended.
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
