//! The server's end of a WebSocket: the upgrade, messages with a time limit, heartbeats, the close.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame, Utf8Bytes};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::handshake;
use super::server_frames::{TEXT, push_frame, write_frames};
use crate::app::charged_reads::ChargedReads;
use crate::app::memory::Charge;
use crate::app::response::to_response;
use crate::app::work_share::yield_if_slice_is_over;
use crate::app::{self, App, Client, End, SubscribeRequest, Subscription, WhenWoken};
use crate::feed::SharedRead;
use crate::message::{Event, ReadResult};
use crate::variant::Transport;

/// Bytes of a connection's read buffer. tungstenite's default is 128 KiB, for each of thousands of
/// idle subscribers, and it zeroes the buffer whenever it reads. What subscribers send is short.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Bytes gathered before they are handed to the kernel. A client that reads slowly makes the server
/// keep no more.
const WRITE_BUFFER_BYTES: usize = 32 << 10;
/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The route `GET /topics/{topic}/{name}`, upgraded to a WebSocket, which `serve` then uses.
pub(super) fn route<R>(
    app: &Arc<App>,
    name: &'static str,
    serve: impl Fn(Arc<Subscription>, Box<Socket>) -> R + Clone + Send + Sync + 'static,
) -> BoxedFilter<(Response,)>
where
    R: Future<Output = ()> + Send + 'static,
{
    let app = app.clone();
    SubscribeRequest::filter(name)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .map(move |request: SubscribeRequest, headers: HeaderMap, upgrade| {
            app.metrics.of(Transport::WebSocket).requests.inc();
            let (response, upgrade) = match handshake::respond(&headers, upgrade) {
                Ok(accepted) => accepted,
                Err(refusal) => return *refusal,
            };
            let client = request.client.clone();
            let accepted = Subscription::new(&app, Transport::WebSocket, request);
            let accepted = accepted.map(|subscription| {
                let socket = Socket::accept(app.clone(), client, upgrade, subscription.heartbeat);
                let (subscription, serve) = (Arc::new(subscription), serve.clone());
                app.spawn(async move {
                    if let Some(socket) = socket.await {
                        serve(subscription, socket).await;
                    }
                });
                response
            });
            to_response(accepted)
        })
        .boxed()
}

/// The server's end of an upgraded connection.
pub(super) struct Socket {
    stream: WhenWoken<WebSocketStream<ChargedReads<TokioIo<Upgraded>>>>,
    /// tungstenite may have something to write.
    has_unflushed: bool,
    /// What [`Socket::send`] has not written yet. It precedes any other frame.
    unwritten: Bytes,
    /// For `unwritten`.
    charge: Charge,
    app: Arc<App>,
    client: Client,
    heartbeat: Interval,
    /// Heartbeats as messages, if the client requested them.
    visible: Option<Box<Interval>>,
    /// The client has sent nothing since the last heartbeat.
    is_silent: bool,
}

impl Socket {
    /// Waits until the response to the upgrade request has been sent. `None` if it cannot be.
    ///
    /// This future, like all that an idle subscriber does not need, is boxed: otherwise the task of
    /// each of thousands of subscribers would reserve memory for it all the time.
    pub fn accept(
        app: Arc<App>,
        client: Client,
        upgrade: OnUpgrade,
        visible: Option<Duration>,
    ) -> BoxFuture<'static, Option<Box<Socket>>> {
        Box::pin(async move {
            let io = TokioIo::new(upgrade.await.ok()?);
            Some(Box::new(Socket::new(app, client, io, visible).await))
        })
    }

    async fn new(
        app: Arc<App>,
        client: Client,
        io: TokioIo<Upgraded>,
        visible: Option<Duration>,
    ) -> Socket {
        let charge = client.account().charge();
        let io = ChargedReads::new(io, client.account());
        let message_bytes_max = app.config.max_message_bytes_encoded();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * message_bytes_max)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let heartbeat = app.heartbeat();
        let visible = visible.map(|period| Box::new(app::heartbeat(period)));
        let stream = WhenWoken::new(stream);
        let (unwritten, has_unflushed, is_silent) = (Bytes::new(), false, false);
        Socket {
            stream,
            has_unflushed,
            unwritten,
            charge,
            app,
            client,
            heartbeat,
            visible,
            is_silent,
        }
    }

    /// Sends the first event: where the subscription begins.
    pub async fn begin(&mut self, subscription: &Subscription) -> Result<(), End> {
        let cursor = subscription.cursor;
        self.send_event(Event::Subscribed { epoch: cursor.epoch, cursor: cursor.offset }).await
    }

    /// Sends what was read: many frames, encoded once for all subscribers, in one write.
    pub async fn send(&mut self, result: SharedRead) -> Result<(), End> {
        // tungstenite may have written a frame in part.
        if self.has_unflushed {
            self.write(None).await?;
        }
        self.client.check_token()?;
        let App { config, pauses, metrics, .. } = &*self.app;
        let count = result.messages.len() as u64;
        self.unwritten = result.encoded(Transport::WebSocket, encode);
        // While a slow client reads, only the frames stay in memory.
        drop(result);
        if let Err(over) = self.charge.set_unless_small(self.unwritten.len()) {
            self.unwritten = Bytes::new();
            return Err(over.into());
        }
        let writing = write_frames(self.stream.get_mut().get_mut(), &mut self.unwritten);
        let written = pauses.timeout(config.send_timeout, writing).await;
        written.map_err(|_| End::SlowReader)?.map_err(WsError::Io)?;
        self.charge.set_unless_small(0)?;
        metrics.of(Transport::WebSocket).deliveries.inc_by(count);
        yield_if_slice_is_over().await;
        Ok(())
    }

    pub async fn send_event(&mut self, event: Event) -> Result<(), End> {
        self.write(Some(Frame::text(event.encode()))).await
    }

    /// Waits for a text from the client, and sends heartbeats meanwhile. Nothing is lost if this is
    /// dropped while it waits.
    pub async fn receive(&mut self) -> Result<Utf8Bytes, End> {
        match self.receive_frame().await? {
            Frame::Text(text) => Ok(text),
            _ => Err(End::BinaryMessage),
        }
    }

    /// Waits for a text or binary message, as [`Socket::receive`] does.
    pub async fn receive_frame(&mut self) -> Result<Frame, End> {
        loop {
            yield_if_slice_is_over().await;
            tokio::select! {
                frame = self.stream.next() => {
                    self.is_silent = false;
                    match frame.ok_or(End::ClientGone)?? {
                        frame @ (Frame::Text(_) | Frame::Binary(_)) => {
                            let decoded = frame.len().min(self.app.config.max_message_bytes);
                            self.reads().end_message(decoded)?;
                            return Ok(frame);
                        }
                        Frame::Close(_) => return Err(End::ClientGone),
                        // tungstenite has queued the pong. Nothing more is read until it is sent.
                        Frame::Ping(payload) => {
                            self.reads().end_control_frame(payload.len());
                            self.write(None).await?;
                        }
                        Frame::Pong(payload) => self.reads().end_control_frame(payload.len()),
                        Frame::Frame(_) => {}
                    }
                }
                () = tick(&mut self.visible) => self.send_event(Event::Heartbeat).await?,
                _ = self.heartbeat.tick() => {
                    let App { config, pauses, .. } = &*self.app;
                    // After a pause the client gets a whole heartbeat to answer the next ping.
                    let judged_at = pauses.awake_since() + config.heartbeat;
                    if std::mem::replace(&mut self.is_silent, true) && judged_at <= Instant::now() {
                        return Err(End::Silent);
                    }
                    self.write(Some(Frame::Ping(Bytes::new()))).await?;
                }
            }
        }
    }

    /// The stream below the WebSocket.
    fn reads(&mut self) -> &mut ChargedReads<TokioIo<Upgraded>> {
        self.stream.get_mut().get_mut()
    }

    /// Sends a frame, if there is one, and what tungstenite has queued. Everything but messages and
    /// the close frame passes here.
    pub fn write(&mut self, frame: Option<Frame>) -> BoxFuture<'_, Result<(), End>> {
        Box::pin(async {
            let stream = self.stream.get_mut();
            let client = &self.client;
            let writing = async {
                if let Some(frame) = frame {
                    client.check_token()?;
                    stream.feed(frame).await?;
                }
                client.check_token()?;
                Ok::<_, End>(stream.flush().await?)
            };
            let App { config, pauses, .. } = &*self.app;
            self.has_unflushed = true;
            pauses.timeout(config.send_timeout, writing).await.map_err(|_| End::SlowReader)??;
            self.has_unflushed = false;
            Ok(())
        })
    }

    /// Sends a close frame with the reason, if possible, and waits at most [`CLOSE_TIMEOUT`] for
    /// the client's close frame.
    pub fn close(self: Box<Self>, end: End) -> BoxFuture<'static, ()> {
        Box::pin(self.closing(end))
    }

    async fn closing(mut self: Box<Self>, end: End) {
        if let Some(refusal) = end.refusal() {
            self.app.metrics.refused(refusal);
        }
        if !self.unwritten.is_empty() && self.client.check_token().is_err() {
            // What is left may not be sent any more, and no frame can follow a part of one.
            return;
        }
        let stream = self.stream.get_mut();
        let closing = async {
            let _ = write_frames(stream.get_mut(), &mut self.unwritten).await;
            if let Some((code, reason)) = end.close_frame() {
                let _ = stream.close(Some(CloseFrame { code, reason: reason.into() })).await;
            }
            // tungstenite answers a close, and ends the stream once both sides have sent one.
            while let Some(Ok(_)) = stream.next().await {}
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// Waits for the next tick; never resolves without an interval.
async fn tick(interval: &mut Option<Box<Interval>>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Encodes the result of a read as frames, which are the same for all subscribers.
fn encode(result: &ReadResult) -> Bytes {
    let size: usize = result.messages.iter().map(|message| message.len() + 10).sum();
    let mut frames = Vec::with_capacity(size);
    result.events().for_each(|it| push_frame(&mut frames, TEXT, &[it.encode().as_bytes()]));
    result.messages.iter().for_each(|message| push_frame(&mut frames, TEXT, &[message]));
    frames.into()
}
