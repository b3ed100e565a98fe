//! What both kinds of polling share on the client's side: one request with a cursor, one batch.

use std::io::Read as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use hyper::{Method, StatusCode};
use serde_json::value::RawValue;

use super::{Received, SubscribeOptions};
use crate::client::clock::sleep_until;
use crate::client::{Answer, ClientError, Dialer, HttpConnection};
use crate::message::{Batch, Cursor, Epoch, Message};
use crate::variant::Extra;

/// Bytes that a compressed answer may have once it is unpacked: as many as a topic keeps, unless it
/// is told to keep more.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// A subscriber that asks.
#[derive(Debug)]
pub(super) struct PollClient {
    http: HttpConnection,
    /// `/topics/{topic}/{route}`
    path: String,
    cursor: Cursor,
    /// Sends back each answer's tag.
    is_conditional: bool,
    /// What the next request has beside the dialer's headers.
    headers: HeaderMap,
    /// Before this the server does not want to be asked again.
    not_before: Option<Instant>,
}

impl PollClient {
    /// Learns where the topic's head is, unless the wish has a cursor.
    pub async fn connect(
        dialer: Dialer,
        options: &SubscribeOptions,
        route: &str,
    ) -> Result<PollClient, ClientError> {
        let mut headers = HeaderMap::new();
        if options.extras.has(Extra::Gzip) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let mut asker = PollClient {
            http: HttpConnection::new(dialer),
            path: format!("/topics/{}/{route}", options.topic),
            cursor: options.cursor.unwrap_or(unknown),
            is_conditional: options.extras.has(Extra::Conditional),
            headers,
            not_before: None,
        };
        if options.cursor.is_none() {
            let path = asker.path.clone();
            asker.get(&path).await?;
        }
        Ok(asker)
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How long the server's last answer asked to stay away, if it did.
    pub fn told_to_leave(&self) -> Option<Duration> {
        self.http.retry_after()
    }

    pub fn dialer(&self) -> &Dialer {
        self.http.dialer()
    }

    /// Asks for what is after the cursor; `more` is added to the query.
    pub async fn ask(&mut self, more: &str) -> Result<Received, ClientError> {
        let Cursor { epoch, offset } = self.cursor;
        let path = format!("{}?epoch={epoch}&after={offset}{more}", self.path);
        if let Some(not_before) = self.not_before.take() {
            sleep_until(not_before).await;
        }
        let received = self.get(&path).await?;
        self.not_before = self.http.retry_after().map(|wait| Instant::now() + wait);
        Ok(received)
    }

    async fn get(&mut self, path: &str) -> Result<Received, ClientError> {
        let answer = self.http.ask(Method::GET, path, &self.headers, Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => self.read(&answer),
            StatusCode::NOT_MODIFIED => {
                self.dialer().answered(0, 0, 0);
                Ok(Received::default())
            }
            _ => Err(answer.refusal()),
        }
    }

    /// Reads a batch, moves on to its cursor and remembers its tag.
    fn read(&mut self, answer: &Answer) -> Result<Received, ClientError> {
        let body = unpacked(answer)?;
        let nonsense = |error: serde_json::Error| ClientError::ProtocolError(error.to_string());
        let batch: Batch<&RawValue> = serde_json::from_slice(&body).map_err(nonsense)?;
        let payload_bytes: usize = batch.messages.iter().map(|message| message.get().len()).sum();
        // Of a compressed answer each part has the share that it has of the whole.
        let payload_bytes = payload_bytes * answer.body.len() / body.len();
        let envelope_bytes = answer.body.len() - payload_bytes;
        self.dialer().answered(batch.messages.len(), payload_bytes, envelope_bytes);
        let decode = |message: &&RawValue| serde_json::from_str::<Message>(message.get());
        let messages =
            batch.messages.iter().map(decode).collect::<Result<_, _>>().map_err(nonsense)?;
        self.cursor = Cursor { epoch: batch.epoch, offset: batch.cursor };
        if let Some(tag) = answer.headers.get(ETAG).filter(|_| self.is_conditional) {
            self.headers.insert(IF_NONE_MATCH, tag.clone());
        }
        Ok(Received { messages, gap: batch.gap, reset: batch.reset })
    }
}

/// The body of `answer`, whether it came compressed or not.
fn unpacked(answer: &Answer) -> Result<Bytes, ClientError> {
    if answer.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding != "gzip") {
        return Ok(answer.body.clone());
    }
    let mut body = Vec::new();
    let mut decoder = GzDecoder::new(&*answer.body).take(UNPACKED_BYTES_MAX as u64 + 1);
    let nonsense =
        |text: String| ClientError::ProtocolError(format!("a compressed answer: {text}"));
    decoder.read_to_end(&mut body).map_err(|error| nonsense(error.to_string()))?;
    if body.len() > UNPACKED_BYTES_MAX {
        return Err(nonsense(format!("more than {UNPACKED_BYTES_MAX} bytes")));
    }
    Ok(body.into())
}
