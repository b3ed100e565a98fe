//! The client of both kinds of polling: each request has a cursor, each response is a batch.

use std::io::Read as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Method, StatusCode};
use serde_json::value::RawValue;

use super::clock::sleep_until;
use super::{ClientError, Dialer, HttpConnection, HttpResponse, Update};
use crate::message::{Batch, Cursor, Epoch, Message};
use crate::variant::{Extra, Extras};

/// Largest compressed response after decompression, bytes: as many as a topic keeps by default.
const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// The options of a polling client.
#[derive(Debug)]
pub struct PollOptions {
    /// `/topics/{topic}/{route}`
    pub path: String,
    /// Where to continue; `None` begins at the head.
    pub cursor: Option<Cursor>,
    /// How long the server may wait before it responds to the first poll, if this differs from
    /// later polls.
    pub first_wait: Option<Duration>,
    pub extras: Extras,
}

/// A subscriber that polls.
#[derive(Debug)]
pub struct PollClient {
    http: HttpConnection,
    path: String,
    cursor: Cursor,
    first_wait: Option<Duration>,
    /// Sends the entity tag of the last response with each request.
    is_conditional: bool,
    /// Headers of the next request beside those of the dialer.
    headers: HeaderMap,
    /// Earliest instant of the next request, as the server requested.
    not_before: Option<Instant>,
}

impl PollClient {
    /// Learns where the topic's head is, unless the options have a cursor.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(dialer: Dialer, options: PollOptions) -> Result<PollClient, ClientError> {
        let mut headers = HeaderMap::new();
        if options.extras.has(Extra::Gzip) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if options.extras.has(Extra::NewConnection) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let mut client = PollClient {
            http: HttpConnection::new(dialer),
            path: options.path,
            cursor: options.cursor.unwrap_or(unknown),
            first_wait: options.first_wait,
            is_conditional: options.extras.has(Extra::Conditional),
            headers,
            not_before: None,
        };
        if options.cursor.is_none() {
            client.get(&client.path.clone()).await?;
        }
        Ok(client)
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The `Retry-After` of the last response, if any.
    pub fn retry_after(&self) -> Option<Duration> {
        self.http.retry_after()
    }

    /// Sleeps until a poll is due; how late the sleep ends is recorded.
    pub async fn sleep_until(&self, due: Instant) {
        self.http.dialer().sleep_until(due).await;
    }

    /// Requests the messages after the cursor. With `wait` the server may wait that long before it
    /// responds.
    ///
    /// # Errors
    /// If there is no response, or not the one expected.
    pub async fn poll(&mut self, wait: Option<Duration>) -> Result<Update, ClientError> {
        let Cursor { epoch, offset } = self.cursor;
        let mut path = format!("{}?epoch={epoch}&after={offset}", self.path);
        if let Some(wait) = wait {
            let wait = self.first_wait.take().unwrap_or(wait);
            path.push_str(&format!("&wait={}", wait.as_secs_f64()));
        }
        if let Some(not_before) = self.not_before.take() {
            sleep_until(not_before).await;
        }
        let update = self.get(&path).await?;
        self.not_before = self.http.retry_after().map(|wait| Instant::now() + wait);
        Ok(update)
    }

    async fn get(&mut self, path: &str) -> Result<Update, ClientError> {
        let response =
            self.http.counted_request(Method::GET, path, &self.headers, Bytes::new()).await?;
        match response.status {
            StatusCode::OK => self.read(&response),
            StatusCode::NOT_MODIFIED => {
                self.http.dialer().answered(0, 0, 0);
                Ok(Update::default())
            }
            _ => Err(response.refusal()),
        }
    }

    /// Reads a batch, moves the cursor and remembers the entity tag.
    fn read(&mut self, response: &HttpResponse) -> Result<Update, ClientError> {
        let body = decompressed(response)?;
        let invalid = |error: serde_json::Error| ClientError::ProtocolError(error.to_string());
        let batch: Batch<&RawValue> = serde_json::from_slice(&body).map_err(invalid)?;
        let payload_bytes: usize = batch.messages.iter().map(|message| message.get().len()).sum();
        // Each part of a compressed response is counted in proportion to its uncompressed size.
        let payload_bytes = payload_bytes * response.body.len() / body.len();
        let envelope_bytes = response.body.len() - payload_bytes;
        self.http.dialer().answered(batch.messages.len(), payload_bytes, envelope_bytes);
        let decode = |message: &&RawValue| serde_json::from_str::<Message>(message.get());
        let messages =
            batch.messages.iter().map(decode).collect::<Result<_, _>>().map_err(invalid)?;
        self.cursor = Cursor { epoch: batch.epoch, offset: batch.cursor };
        if let Some(tag) = response.headers.get(ETAG).filter(|_| self.is_conditional) {
            self.headers.insert(IF_NONE_MATCH, tag.clone());
        }
        Ok(Update { messages, gap: batch.gap, reset: batch.reset })
    }
}

/// The body of `response`, decompressed if necessary.
fn decompressed(response: &HttpResponse) -> Result<Bytes, ClientError> {
    if response.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding != "gzip") {
        return Ok(response.body.clone());
    }
    let mut body = Vec::new();
    let mut decoder = GzDecoder::new(&*response.body).take(DECOMPRESSED_BYTES_MAX as u64 + 1);
    let invalid =
        |text: String| ClientError::ProtocolError(format!("a compressed response: {text}"));
    decoder.read_to_end(&mut body).map_err(|error| invalid(error.to_string()))?;
    if body.len() > DECOMPRESSED_BYTES_MAX {
        return Err(invalid(format!("more than {DECOMPRESSED_BYTES_MAX} bytes")));
    }
    Ok(body.into())
}
