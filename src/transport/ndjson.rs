//! NDJSON: one request whose answer does not end; the server adds a line of JSON to it when there
//! is something.
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/stream?epoch=..&after=..   ->   200 application/x-ndjson, chunked, and then
//!     {"event":"subscribed",...} first, then message objects; {"event":"gap"|"reset",...}
//!     an empty line now and then
//! ```
//!
//! # Where the waiting happens
//! In the server, on one answer, for as long as the subscriber stays: as with server-sent events,
//! and by the same code, `streaming.rs`. What differs is how it is written, and that is all there
//! is in this file.
//!
//! # What it costs
//! One request; then for each message a line end and a chunk's head, 7 bytes: the least that can be
//! done within HTTP/1.1. No browser resumes it by itself; the client keeps the cursor.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::streaming::{self, Format};
use super::{Received, SubscribeOptions};
use crate::app::respond::answer;
use crate::app::{ApiError, App, Client, Query, Subscription};
use crate::client::{ClientError, Dialer, HttpStream, Kind};
use crate::message::{Cursor, Epoch, Event, Frame, Offset};
use crate::variant::Transport;

/// Bytes of a line that a subscriber accepts.
const RECEIVED_BYTES_MAX: usize = 1 << 20;

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "stream")
        .and(warp::get())
        .and(warp::query())
        .and(warp::ext::get::<Client>())
        .map(move |topic: String, query: Query, client| {
            answer(accept(&app, client, &topic, &query))
        })
        .boxed()
}

fn accept(
    app: &Arc<App>,
    client: Client,
    topic: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    app.metrics.of(Transport::Ndjson).requests.inc();
    streaming::answer::<Lines>(app, client, Subscription::parse(app, topic, query)?, false)
}

/// Lines of JSON.
struct Lines(Vec<u8>);

impl Lines {
    /// One line is enough: JSON escapes every line break that a text may have.
    fn line(&mut self, json: &[u8]) {
        self.0.reserve(json.len() + 1);
        self.0.extend_from_slice(json);
        self.0.push(b'\n');
    }
}

impl Format for Lines {
    const TRANSPORT: Transport = Transport::Ndjson;
    const CONTENT_TYPE: &'static str = "application/x-ndjson";
    const HEARTBEAT: &'static [u8] = b"\n";

    fn new(_: Epoch) -> Self {
        Lines(Vec::new())
    }

    fn event(&mut self, _: Option<Offset>, event: &Event) {
        self.line(event.encode().as_bytes());
    }

    fn message(&mut self, _: Offset, json: &[u8]) {
        self.line(json);
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    stream: HttpStream,
    /// What has come and not been read, the beginning of a line at least.
    heard: BytesMut,
    dialer: Dialer,
    cursor: Cursor,
}

impl Subscriber {
    /// Asks, and hears where the subscription begins.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let stream = streaming::open(&dialer, &options, "stream").await?;
        let cursor = Cursor { epoch: Epoch(0), offset: 0 };
        let mut subscriber = Subscriber { stream, heard: BytesMut::new(), dialer, cursor };
        match subscriber.next_frame().await? {
            Frame::Event(Event::Subscribed { epoch, cursor }) => {
                subscriber.cursor = Cursor { epoch, offset: cursor };
                Ok(subscriber)
            }
            other => Err(ClientError::ProtocolError(format!("{other:?} before the subscription"))),
        }
    }

    /// Waits for the server to speak.
    ///
    /// # Errors
    /// If the connection is gone, or what it carries makes no sense.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        loop {
            let frame = self.next_frame().await?;
            if let Some(received) = Received::of(frame, &mut self.cursor)? {
                return Ok(received);
            }
        }
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    async fn next_frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            let line = self.next_line().await?;
            // An empty one says that the server is alive.
            if line.is_empty() {
                continue;
            }
            let nonsense = || {
                ClientError::ProtocolError(format!("a line of {}", String::from_utf8_lossy(&line)))
            };
            let text = std::str::from_utf8(&line).map_err(|_| nonsense())?;
            let frame = Frame::decode(text).map_err(|_| nonsense())?;
            if matches!(frame, Frame::Message(_)) {
                self.dialer.meter().move_down(Kind::Framing, Kind::Payload, line.len());
            }
            return Ok(frame);
        }
    }

    async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        let mut searched = 0;
        loop {
            let rest = &self.heard[searched..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.heard.split_to(searched + length);
                self.heard.advance(1);
                return Ok(line);
            }
            searched = self.heard.len();
            if searched > RECEIVED_BYTES_MAX {
                return Err(ClientError::ProtocolError("a line without end".to_owned()));
            }
            let ended = || ClientError::Closed("the stream has ended".to_owned());
            self.heard.extend_from_slice(&self.stream.chunk().await?.ok_or_else(ended)?);
        }
    }
}
