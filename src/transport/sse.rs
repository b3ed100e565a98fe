//! Server-sent events: one request whose answer does not end; the server adds to it when there is
//! something (WHATWG HTML, "Server-sent events").
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/events?epoch=..&after=..   or   Last-Event-ID: epoch:offset, which wins
//!     ->   200 text/event-stream, chunked, and from then on
//!          retry:2000  event:subscribed  id:epoch:offset  data:{"event":"subscribed",...}   first,
//!          id:epoch:offset  data:{message}   for each message;   event:gap|reset   for lost ones;
//!          a comment now and then, and a last `retry:` when the server goes away
//! ```
//!
//! # Where the waiting happens
//! In the server, on one answer, for as long as the subscriber stays. Nothing but the request ever
//! goes up: a subscriber that has something to say needs another request for it.
//!
//! # What it costs
//! One request; then for each message an event in a chunk, some 30 bytes around the payload, of
//! which the `id:` that lets a browser resume by itself is the half. The server keeps a connection,
//! its buffers and a timer for each subscriber. Browsers open at most six such connections a host.

pub mod events;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{HeaderMap, HeaderName};
use warp::reply::Response;

use super::streaming::{self, Format};
use super::{Received, SubscribeOptions};
use crate::app::respond::answer;
use crate::app::{ApiError, App, Client, Query, Subscription};
use crate::client::{ClientError, Dialer, HttpStream, Kind};
use crate::message::{Cursor, Epoch, Event, Message, Offset};
use crate::variant::Transport;
use events::{Encoder, Parsed, Parser};

/// How long a client that lost its connection shall wait before it comes back.
const RETRY: Duration = Duration::from_secs(2);
/// The same, said to all at once when the server goes away: spread, so that they do not all come
/// back at once.
const RETRY_AFTER_DRAIN_MS: std::ops::Range<u64> = 500..3_500;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "events")
        .and(warp::get())
        .and(warp::query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Client>())
        .map(move |topic: String, query: Query, headers: HeaderMap, client| {
            answer(accept(&app, client, &topic, &query, &headers))
        })
        .boxed()
}

fn accept(
    app: &Arc<App>,
    client: Client,
    topic: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    app.metrics.of(Transport::Sse).requests.inc();
    let subscription = Subscription::parse(app, topic, query)?;
    // A browser sends back the id it was given, and any status but 200 would end its reconnecting
    // for good. So an id that is not ours begins at the head, and says so. An empty one is the same
    // as none (HTML, section 9.2.4).
    let last_event_id = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let last_event_id = last_event_id.map(|id| events::cursor_of(id.as_bytes()));
    let is_lost = last_event_id == Some(None);
    let cursor = last_event_id.flatten().or(subscription.cursor);
    let subscription = Subscription { cursor, ..subscription };
    // What follows, and where the server waits, is in `streaming`.
    streaming::answer::<Encoder>(app, client, subscription, is_lost)
}

impl Format for Encoder {
    const TRANSPORT: Transport = Transport::Sse;
    const CONTENT_TYPE: &'static str = "text/event-stream";
    /// A comment.
    const HEARTBEAT: &'static [u8] = b":\n";

    fn new(epoch: Epoch) -> Self {
        Encoder::new(epoch)
    }

    fn hello(&mut self) {
        self.retry(RETRY);
    }

    fn event(&mut self, offset: Option<Offset>, event: &Event) {
        Encoder::event(self, offset, event);
    }

    fn message(&mut self, offset: Offset, json: &[u8]) {
        Encoder::message(self, offset, json);
    }

    fn goodbye(&mut self) {
        self.retry(Duration::from_millis(rand::random_range(RETRY_AFTER_DRAIN_MS)));
    }

    fn finish(self) -> Bytes {
        Encoder::finish(self)
    }
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    stream: HttpStream,
    parser: Parser,
    dialer: Dialer,
    cursor: Cursor,
    retry: Duration,
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
        let stream = streaming::open(&dialer, &options, "events").await?;
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let cursor = options.cursor.unwrap_or(unknown);
        let parser = Parser::default();
        let mut subscriber = Subscriber { stream, parser, dialer, cursor, retry: RETRY };
        let first = subscriber.next_event().await?;
        match first.name.as_str() {
            "subscribed" => Ok(subscriber),
            _ => Err(ClientError::ProtocolError(format!("{first:?} before the subscription"))),
        }
    }

    /// Waits for the server to speak.
    ///
    /// # Errors
    /// If the connection is gone, or what it carries makes no sense.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        loop {
            let event = self.next_event().await?;
            let nonsense =
                |_| ClientError::ProtocolError(format!("an event that says {}", event.data));
            if event.name.is_empty() {
                let message: Message = serde_json::from_str(&event.data).map_err(nonsense)?;
                let bytes = event.data.len();
                self.dialer.meter().move_down(Kind::Framing, Kind::Payload, bytes);
                return Ok(Received { messages: vec![message], ..Received::default() });
            }
            match serde_json::from_str(&event.data).map_err(nonsense)? {
                Event::Gap { gap } => return Ok(Received { gap, ..Received::default() }),
                Event::Reset { .. } => return Ok(Received { reset: true, ..Received::default() }),
                Event::Error { error } => return Err(ClientError::ProtocolError(error)),
                Event::Subscribed { .. } | Event::Published { .. } => {}
            }
        }
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How long the server wants a client that lost its connection to wait.
    pub fn retry(&self) -> Duration {
        self.retry
    }

    async fn next_event(&mut self) -> Result<events::Received, ClientError> {
        loop {
            match self.parser.next_of(&mut self.stream).await? {
                Parsed::Retry(retry) => self.retry = retry,
                Parsed::Event(event) => {
                    let cursor = events::cursor_of(event.id.as_bytes());
                    self.cursor = cursor.unwrap_or(self.cursor);
                    return Ok(event);
                }
            }
        }
    }
}
