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

pub(crate) mod events;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::Interval;
use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::{Received, Transport, Wish};
use crate::feed::Topic;
use crate::message::{Cursor, Epoch, Event, Message};
use crate::server::metrics::Held;
use crate::server::respond::answer;
use crate::server::{ApiError, App, Client, Query, Subscription, Turn};
use crate::wire::{Dialer, HttpStream, Kind, WireError};
use events::{Encoder, Parsed, Parser};

/// How long a client that lost its connection shall wait before it comes back.
const RETRY: Duration = Duration::from_secs(2);
/// The same, said to all at once when the server goes away: spread, so that they do not all come
/// back at once.
const RETRY_AFTER_DRAIN_MS: std::ops::Range<u64> = 500..3_500;
/// Bytes gathered into one chunk before they are handed to the kernel; what a slow subscriber can
/// make us keep, but for one message more.
const CHUNK_BYTES: usize = 32 << 10;
/// A comment: keeps proxies from taking a quiet stream for a dead one.
const HEARTBEAT: &[u8] = b":\n";
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
    let metrics = app.metrics.of(Transport::Sse);
    metrics.requests.inc();
    let subscription = Subscription::parse(app, topic, query)?;
    let head = subscription.topic.head();
    // A browser sends back the id it was given, and any status but 200 would end its reconnecting
    // for good. So an id that is not ours begins at the head, and says so.
    let last_event_id = headers.get(LAST_EVENT_ID).map(|id| events::cursor_of(id.as_bytes()));
    let is_lost = last_event_id == Some(None);
    let cursor = last_event_id.flatten().or(subscription.cursor.filter(|_| !is_lost));
    let session = Session {
        app: app.clone(),
        turn: Turn::random(),
        client,
        _held: app.hold(Transport::Sse)?,
        topic: subscription.topic,
        limit: subscription.limit,
        cursor: cursor.unwrap_or(head),
        heartbeat: app.heartbeat(),
        has_left: false,
    };
    let mut response = warp::reply::stream(session.stream(is_lost)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather the events otherwise, and hand them on when its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One subscriber, from its request to the end of its connection.
struct Session {
    app: Arc<App>,
    client: Client,
    turn: Turn,
    _held: Held,
    topic: Arc<Topic>,
    limit: usize,
    cursor: Cursor,
    heartbeat: Interval,
    has_left: bool,
}

impl Session {
    /// The answer's body, chunk by chunk. It lives as long as hyper wants more of it; there is no
    /// task and no queue besides.
    fn stream(self, is_lost: bool) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let Cursor { epoch, offset } = self.cursor;
        let mut hello = Encoder::new(epoch);
        hello.retry(RETRY);
        hello.event(Some(offset), &Event::Subscribed { epoch, cursor: offset });
        if is_lost {
            hello.event(Some(offset), &Event::Reset { epoch, cursor: offset });
        }
        let rest =
            stream::unfold(
                self,
                |mut session| async move { Some((session.next().await?, session)) },
            );
        stream::once(ready(hello.finish())).chain(rest).map(Ok)
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.has_left {
            return None;
        }
        // Here the server waits: for the topic, and for the end.
        tokio::select! {
            () = self.topic.wait_after(self.cursor) => self.push(),
            _ = self.heartbeat.tick() => Some(Bytes::from_static(HEARTBEAT)),
            // A page that comes back with the same token is refused, and stops.
            () = self.client.expired() => None,
            () = self.app.told_to_leave(self.turn) => {
                self.has_left = true;
                let mut goodbye = Encoder::new(self.cursor.epoch);
                goodbye.retry(Duration::from_millis(rand::random_range(RETRY_AFTER_DRAIN_MS)));
                Some(goodbye.finish())
            }
        }
    }

    /// What there is after the cursor: many events, one chunk. The end if the store cannot be
    /// read: the client comes back by itself.
    fn push(&mut self) -> Option<Bytes> {
        let slice = self.topic.read_after(self.cursor, self.limit).ok()?;
        let Cursor { epoch, offset } = slice.cursor;
        let mut chunk = Encoder::new(epoch);
        if slice.gap > 0 {
            chunk.event(None, &Event::Gap { gap: slice.gap });
        }
        if slice.reset {
            chunk.event(Some(offset), &Event::Reset { epoch, cursor: offset });
        }
        self.cursor = Cursor { epoch, offset: offset - slice.messages.len() as u64 };
        for message in &slice.messages {
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
            self.cursor.offset += 1;
            chunk.message(self.cursor.offset, message);
        }
        let count = slice.messages.len() as u64 - (offset - self.cursor.offset);
        self.app.metrics.of(Transport::Sse).deliveries.inc_by(count);
        Some(chunk.finish())
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
    pub async fn connect(dialer: Dialer, wish: Wish) -> Result<Subscriber, WireError> {
        let started = Instant::now();
        let mut path = format!("/topics/{}/events", wish.topic);
        if let Some(cursor) = wish.cursor {
            path.push_str(&format!("?epoch={}&after={}", cursor.epoch, cursor.offset));
        }
        let stream = HttpStream::get(&dialer, &path).await?;
        dialer.meter().ready_after(started.elapsed());
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let cursor = wish.cursor.unwrap_or(unknown);
        let parser = Parser::default();
        let mut subscriber = Subscriber { stream, parser, dialer, cursor, retry: RETRY };
        let first = subscriber.next_event().await?;
        match first.name.as_str() {
            "subscribed" => Ok(subscriber),
            _ => Err(WireError::Nonsense(format!("{first:?} before the subscription"))),
        }
    }

    /// Waits for the server to speak.
    ///
    /// # Errors
    /// If the connection is gone, or what it carries makes no sense.
    pub async fn next(&mut self) -> Result<Received, WireError> {
        loop {
            let event = self.next_event().await?;
            let nonsense = |_| WireError::Nonsense(format!("an event that says {}", event.data));
            if event.name.is_empty() {
                let message: Message = serde_json::from_str(&event.data).map_err(nonsense)?;
                let bytes = event.data.len();
                self.dialer.meter().move_down(Kind::Framing, Kind::Payload, bytes);
                return Ok(Received { messages: vec![message], ..Received::default() });
            }
            match serde_json::from_str(&event.data).map_err(nonsense)? {
                Event::Gap { gap } => return Ok(Received { gap, ..Received::default() }),
                Event::Reset { .. } => return Ok(Received { reset: true, ..Received::default() }),
                Event::Error { error } => return Err(WireError::Nonsense(error)),
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

    async fn next_event(&mut self) -> Result<events::Received, WireError> {
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
