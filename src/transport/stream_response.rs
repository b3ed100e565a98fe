//! Responses that do not end, in any format: the route, and the writer with which a transport sends
//! events. Heartbeats are sent here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::Interval;
use warp::filters::BoxedFilter;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Reply as _};

use crate::app::response::to_response;
use crate::app::work_share::yield_if_slice_is_over;
use crate::app::{self, App, End, SubscribeRequest, Subscription};
use crate::feed::SharedRead;
use crate::message::{Cursor, Epoch, Event, Offset, ReadResult};
use crate::variant::Transport;

/// Bytes that one read returns, and one chunk of the response has, unless a single message is
/// larger. A client that reads slowly makes the server keep no more.
const CHUNK_BYTES: usize = 32 << 10;
/// How long a client that lost its connection waits before it reconnects.
pub(super) const RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How events are written: one chunk of a response, while it is being written.
pub(super) trait Format: Send + Sync + 'static {
    const CONTENT_TYPE: &'static str;
    /// A chunk without an event, so that proxies do not take an idle connection for a dead one.
    const HEARTBEAT: &'static [u8];

    /// An empty chunk, whose offsets are of `epoch`.
    fn new(epoch: Epoch) -> Self;

    /// The cursor in the headers of a request, if there is one.
    fn cursor(_: &HeaderMap) -> Option<Cursor> {
        None
    }

    /// Sets how long a client waits before it reconnects, if the format supports it.
    fn retry(&mut self, _: Duration) {}

    /// An event other than a message. With an offset it moves the client's cursor.
    fn event(&mut self, offset: Option<Offset>, event: &Event);

    /// A message object.
    fn message(&mut self, offset: Offset, json: &[u8]);

    fn finish(self) -> Bytes;
}

/// The route `GET /topics/{topic}/{name}`, whose response is written by `serve` until that returns.
pub(super) fn route<F, R>(
    app: &Arc<App>,
    transport: Transport,
    name: &'static str,
    serve: impl Fn(Arc<Subscription>, StreamWriter<F>) -> R + Clone + Send + Sync + 'static,
) -> BoxedFilter<(Response,)>
where
    F: Format,
    R: Future<Output = Result<Infallible, End>> + Send + Sync + 'static,
{
    let app = app.clone();
    SubscribeRequest::filter(name)
        .and(warp::header::headers_cloned())
        .map(move |request, headers: HeaderMap| {
            app.metrics.of(transport).requests.inc();
            let subscription = Subscription::new(&app, transport, request);
            let subscription = subscription.map(|mut subscription| {
                subscription.limit.bytes = CHUNK_BYTES;
                subscription.cursor = F::cursor(&headers).unwrap_or(subscription.cursor);
                Arc::new(subscription)
            });
            to_response(subscription.map(|subscription| {
                let writer = StreamWriter::new(subscription.clone());
                let chunk = writer.chunk.clone();
                let serving = serve(subscription, writer.clone());
                response::<F>(chunks(write::<F>(serving, writer, app.heartbeat()), chunk))
            }))
        })
        .boxed()
}

fn response<F: Format>(
    chunks: impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync + 'static,
) -> Response {
    let mut response = warp::reply::stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(F::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would otherwise send nothing before its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Runs `serving` to its end, sends heartbeats meanwhile, and writes the last event.
async fn write<F: Format>(
    serving: impl Future<Output = Result<Infallible, End>>,
    writer: StreamWriter<F>,
    mut heartbeat: Interval,
) {
    let beat = match writer.subscription.heartbeat {
        None => Bytes::from_static(F::HEARTBEAT),
        Some(period) => {
            heartbeat = app::heartbeat(period);
            let mut chunk = F::new(writer.subscription.cursor.epoch);
            chunk.event(None, &Event::Heartbeat);
            chunk.finish()
        }
    };
    let mut serving = pin!(serving);
    let end = loop {
        tokio::select! {
            Err(end) = &mut serving => break end,
            _ = heartbeat.tick() => match writer.subscription.check_token() {
                Ok(()) => drop(writer.lock().get_or_insert_with(|| beat.clone())),
                Err(end) => break end,
            },
        }
    };
    if let Some(delay) = end.reconnect_delay() {
        let mut chunk = F::new(writer.subscription.cursor.epoch);
        chunk.retry(delay);
        *writer.lock() = Some(chunk.finish()).filter(|chunk| !chunk.is_empty());
    }
}

/// The next chunk, written when the body is polled: by hyper, or by `server/parking.rs`, which
/// takes over HTTP/1.1 connections that wait. There is no queue and no additional task.
type NextChunk = Arc<Mutex<Option<Bytes>>>;

/// The body of a response: the chunks that `writing` puts into `chunk`. It makes progress when the
/// body is polled.
fn chunks(
    writing: impl Future<Output = ()> + Send + Sync,
    chunk: NextChunk,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut writing = Some(Box::pin(writing));
    stream::poll_fn(move |cx| {
        let Some(future) = &mut writing else { return Poll::Ready(None) };
        if future.as_mut().poll(cx).is_ready() {
            writing = None;
        }
        match chunk.lock().expect("no panic under this lock").take() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None if writing.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    })
}

/// Encodes the result of a read as one chunk, which is the same for all subscribers.
fn encode<F: Format>(result: &ReadResult) -> Bytes {
    let Cursor { epoch, offset } = result.cursor;
    let mut chunk = F::new(epoch);
    let count = result.messages.len() as u64;
    for event in result.events() {
        // What was lost ends before the first message.
        chunk.event(Some(offset - count), &event);
    }
    for (offset, message) in (offset - count + 1..).zip(&result.messages) {
        chunk.message(offset, message);
    }
    chunk.finish()
}

/// Writes events to one client.
pub(super) struct StreamWriter<F> {
    subscription: Arc<Subscription>,
    chunk: NextChunk,
    format: PhantomData<F>,
}

impl<F> Clone for StreamWriter<F> {
    fn clone(&self) -> Self {
        let (subscription, chunk) = (self.subscription.clone(), self.chunk.clone());
        StreamWriter { subscription, chunk, format: PhantomData }
    }
}

impl<F: Format> StreamWriter<F> {
    fn new(subscription: Arc<Subscription>) -> Self {
        StreamWriter { subscription, chunk: NextChunk::default(), format: PhantomData }
    }

    /// Sends the first event: where the subscription begins.
    pub async fn begin(&mut self) -> Result<(), End> {
        let Cursor { epoch, offset } = self.subscription.cursor;
        let mut chunk = F::new(epoch);
        chunk.retry(RECONNECT_DELAY);
        chunk.event(Some(offset), &Event::Subscribed { epoch, cursor: offset });
        self.put(chunk.finish(), 0).await
    }

    /// Sends what was read, as one chunk.
    pub async fn send(&mut self, result: SharedRead) -> Result<(), End> {
        let chunk = result.encoded(self.subscription.transport, encode::<F>);
        self.put(chunk, result.messages.len() as u64).await
    }

    /// Hands over a chunk with `count` messages. Resolves when the body is polled for the next one.
    async fn put(&mut self, chunk: Bytes, count: u64) -> Result<(), End> {
        self.subscription.check_token()?;
        *self.lock() = Some(chunk);
        self.subscription.metrics().deliveries.inc_by(count);
        // No waker is registered: `chunks` polls this future again after it has taken the chunk.
        poll_fn(|_| if self.lock().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
        yield_if_slice_is_over().await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.chunk.lock().expect("no panic under this lock")
    }
}
