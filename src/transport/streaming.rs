//! What answers that do not end share, whatever they are written in. On the server's side a
//! session, from a subscriber's request to the end of its connection; on the client's side the
//! request.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::Interval;
use warp::Reply;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::SubscribeOptions;
use crate::app::metrics::SubscriberGuard;
use crate::app::{ApiError, App, Client, DrainSlot, Subscription};
use crate::client::{ClientError, Dialer, HttpStream};
use crate::feed::{ReadLimit, Topic};
use crate::message::{Cursor, Epoch, Event, Offset};
use crate::variant::Transport;

/// Bytes gathered into one chunk before they are handed to the kernel; what a slow subscriber can
/// make us keep, but for one message more.
const CHUNK_BYTES: usize = 32 << 10;

/// How a stream is written: a chunk of it in the making.
pub(super) trait Format: Send + 'static {
    const TRANSPORT: Transport;
    const CONTENT_TYPE: &'static str;
    /// Says nothing, and keeps proxies from taking a quiet stream for a dead one.
    const HEARTBEAT: &'static [u8];

    /// An empty chunk; its offsets are of `epoch`.
    fn new(epoch: Epoch) -> Self;

    /// What comes before the first event.
    fn hello(&mut self) {}

    /// An event of ours. With an offset it moves the cursor.
    fn event(&mut self, offset: Option<Offset>, event: &Event);

    /// A message object.
    fn message(&mut self, offset: Offset, json: &[u8]);

    /// What is left to say when the server goes away.
    fn goodbye(&mut self) {}

    fn finish(self) -> Bytes;
}

/// The answer to `subscription`. One whose cursor `is_lost` begins at the head, and is told so.
pub(super) fn answer<F: Format>(
    app: &Arc<App>,
    client: Client,
    subscription: Subscription,
    is_lost: bool,
) -> Result<Response, ApiError> {
    let head = subscription.topic.head();
    let session = Session {
        app: app.clone(),
        turn: DrainSlot::random(),
        client,
        _held: app.hold(F::TRANSPORT)?,
        limit: subscription.limit,
        cursor: subscription.cursor.filter(|_| !is_lost).unwrap_or(head),
        topic: subscription.topic,
        heartbeat: app.heartbeat(),
        has_left: false,
    };
    let mut response = warp::reply::stream(session.stream::<F>(is_lost)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(F::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would gather what we say otherwise, and hand it on when its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One subscriber, from its request to the end of its connection.
struct Session {
    app: Arc<App>,
    client: Client,
    turn: DrainSlot,
    _held: SubscriberGuard,
    topic: Arc<Topic>,
    limit: usize,
    cursor: Cursor,
    heartbeat: Interval,
    has_left: bool,
}

impl Session {
    /// The answer's body, chunk by chunk. It lives as long as hyper wants more of it; there is no
    /// task and no queue besides.
    fn stream<F: Format>(self, is_lost: bool) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let Cursor { epoch, offset } = self.cursor;
        let mut hello = F::new(epoch);
        hello.hello();
        hello.event(Some(offset), &Event::Subscribed { epoch, cursor: offset });
        if is_lost {
            hello.event(Some(offset), &Event::Reset { epoch, cursor: offset });
        }
        let rest = stream::unfold(self, |mut session| async move {
            Some((session.next::<F>().await?, session))
        });
        stream::once(ready(hello.finish())).chain(rest).map(Ok)
    }

    async fn next<F: Format>(&mut self) -> Option<Bytes> {
        if self.has_left {
            return None;
        }
        // Here the server waits: for the topic, and for the end.
        tokio::select! {
            () = self.topic.wait_after(self.cursor) => self.push::<F>().await,
            _ = self.heartbeat.tick() => Some(Bytes::from_static(F::HEARTBEAT)),
            // A page that comes back with the same token is refused, and stops.
            () = self.client.expired() => None,
            () = self.client.has_left() => None,
            () = self.app.told_to_leave(self.turn) => {
                self.has_left = true;
                let mut goodbye = F::new(self.cursor.epoch);
                goodbye.goodbye();
                Some(goodbye.finish()).filter(|words| !words.is_empty())
            }
        }
    }

    /// What there is after the cursor: many events, one chunk. The end if the store cannot be
    /// read: the client comes back by itself.
    async fn push<F: Format>(&mut self) -> Option<Bytes> {
        if self.client.is_expired() {
            return None;
        }
        let limit = ReadLimit { messages: self.limit, bytes: CHUNK_BYTES };
        let slice = self.topic.read_after(self.cursor, limit).await.ok()?;
        let Cursor { epoch, offset } = slice.cursor;
        let mut chunk = F::new(epoch);
        if slice.gap > 0 {
            chunk.event(None, &Event::Gap { gap: slice.gap });
        }
        if slice.reset {
            chunk.event(Some(offset), &Event::Reset { epoch, cursor: offset });
        }
        let count = slice.messages.len() as u64;
        for (offset, message) in (offset - count + 1..).zip(&slice.messages) {
            chunk.message(offset, message);
        }
        self.cursor = slice.cursor;
        self.app.metrics.of(F::TRANSPORT).deliveries.inc_by(count);
        Some(chunk.finish())
    }
}

/// Asks for the stream at `/topics/{topic}/{route}`.
pub(super) async fn open(
    dialer: &Dialer,
    options: &SubscribeOptions,
    route: &str,
) -> Result<HttpStream, ClientError> {
    let started = Instant::now();
    let mut path = format!("/topics/{}/{route}", options.topic);
    if let Some(cursor) = options.cursor {
        path.push_str(&format!("?epoch={}&after={}", cursor.epoch, cursor.offset));
    }
    let stream = HttpStream::get(dialer, &path).await?;
    dialer.meter().ready_after(started.elapsed());
    Ok(stream)
}
