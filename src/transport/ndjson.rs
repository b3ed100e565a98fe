//! NDJSON: one request whose response does not end; the server adds a line of JSON to it when there
//! is a message.
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/stream?epoch=..&after=..   ->   200 application/x-ndjson, chunked, and then
//!     {"event":"subscribed",...} first, then message objects; {"event":"gap"|"reset",...}
//!     an empty line every --heartbeat
//! ```
//!
//! # Where the waiting happens
//! In the server, on one response, for as long as the subscriber stays: as with server-sent events,
//! from which only the format differs.
//!
//! # What it costs
//! One request; then for each message a line end and the head of a chunk, 7 bytes: the least that
//! HTTP/1.1 allows. No browser resumes it by itself; the client keeps the cursor.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::stream_response::{self, Format, StreamWriter};
use super::{SubscribeOptions, Update};
use crate::app::{App, End, Subscription};
use crate::client::{ClientError, Dialer, LineStream, first_cursor};
use crate::message::{Cursor, Epoch, Event, Offset};
use crate::variant::Transport;

/// The server half. `stream_response` parses the request, calls `lines` and writes the chunks.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    stream_response::route(app, Transport::Ndjson, "stream", lines)
}

/// Sends each message as a line, until the subscription ends.
async fn lines(
    subscription: Arc<Subscription>,
    mut stream: StreamWriter<LineFormat>,
) -> Result<Infallible, End> {
    let topic = &subscription.topic;
    let mut cursor = subscription.cursor;
    let mut ended = pin!(subscription.ended());
    stream.begin().await?;
    loop {
        // WAIT: here, in the server, on a response that does not end.
        tokio::select! {
            () = topic.wait_after(cursor) => {
                let result = topic.read_after(cursor, subscription.limit).await?;
                cursor = result.cursor;
                stream.send(result).await?;
            }
            end = &mut ended => return Err(end),
        }
    }
}

/// Lines of JSON.
struct LineFormat(Vec<u8>);

impl LineFormat {
    /// JSON escapes every line break in a text, so an object is one line.
    fn line(&mut self, json: &[u8]) {
        self.0.reserve(json.len() + 1);
        self.0.extend_from_slice(json);
        self.0.push(b'\n');
    }
}

impl Format for LineFormat {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";
    const HEARTBEAT: &'static [u8] = b"\n";

    fn new(_: Epoch) -> Self {
        LineFormat(Vec::new())
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

/// The client half. [`LineStream`] sends the request and parses the response.
#[derive(Debug)]
pub struct Subscriber {
    stream: LineStream,
    pub(super) cursor: Cursor,
}

impl Subscriber {
    /// Sends the request, and reads where the subscription begins.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: &SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let mut stream = LineStream::get(&dialer, &options.path("stream")).await?;
        let cursor = first_cursor(stream.next_item().await?)?;
        Ok(Subscriber { stream, cursor })
    }

    /// Reads until there is an update. The server waits before it sends one.
    ///
    /// # Errors
    /// If the connection breaks or the server sends something invalid.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            let item = self.stream.next_item().await?;
            if let Some(update) = Update::of(item, &mut self.cursor)? {
                return Ok(update);
            }
        }
    }
}
