//! Server-sent events: one request whose response does not end; the server adds an event to it when
//! there is a message (WHATWG HTML, "Server-sent events").
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/events?epoch=..&after=..   or   Last-Event-ID: epoch:offset, which wins
//!     ->   200 text/event-stream, chunked, and from then on
//!          retry:2000  event:subscribed  id:epoch:offset  data:{"event":"subscribed",...}   first,
//!          id:epoch:offset  data:{message}   for each message;   event:gap|reset   for lost ones;
//!          a comment every --heartbeat, and a last `retry:` when the server shuts down
//! ```
//!
//! # Where the waiting happens
//! In the server, on one response, for as long as the subscriber stays. The client sends nothing
//! after its request: to publish it needs another request.
//!
//! # What it costs
//! One request; then for each message an event in a chunk, some 30 bytes around the payload, half
//! of which is the `id:` that lets a browser resume by itself. The server keeps a connection, its
//! buffers and a timer for each subscriber. A browser opens at most six such connections to a
//! host.

mod format;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::stream_response::{self, StreamWriter};
use super::{SubscribeOptions, Update};
use crate::app::{App, End, Subscription};
use crate::client::{ClientError, Dialer, EventStream, first_cursor};
use crate::message::Cursor;
use crate::variant::Transport;
use format::EventFormat;
pub use format::cursor_of;

/// The server half. `stream_response` parses the request, calls `events` and writes the chunks.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    stream_response::route(app, Transport::Sse, "events", events)
}

/// Sends each message as an event, until the subscription ends.
async fn events(
    subscription: Arc<Subscription>,
    mut stream: StreamWriter<EventFormat>,
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

/// The client half. [`EventStream`] sends the request and parses the response.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) stream: EventStream,
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
        let mut stream = EventStream::get(&dialer, &options.path("events")).await?;
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
