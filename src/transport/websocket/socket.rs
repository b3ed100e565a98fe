//! The server's end of a WebSocket: the upgrade, messages with a time limit, heartbeats, the close.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame, Utf8Bytes};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::handshake;
use crate::app::response::to_response;
use crate::app::{App, Client, End, SubscribeRequest, Subscription};
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
    serve: impl Fn(Subscription, Socket) -> R + Clone + Send + Sync + 'static,
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
                let (serve, socket) = (serve.clone(), Socket::accept(app.clone(), client, upgrade));
                app.spawn(async move {
                    if let Ok(socket) = socket.await {
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
    stream: WebSocketStream<TokioIo<Upgraded>>,
    app: Arc<App>,
    client: Client,
    heartbeat: Interval,
    /// The client has sent nothing since the last heartbeat.
    is_silent: bool,
}

impl Socket {
    /// Waits until the response to the upgrade request has been sent.
    pub async fn accept(
        app: Arc<App>,
        client: Client,
        upgrade: OnUpgrade,
    ) -> Result<Socket, hyper::Error> {
        let io = TokioIo::new(upgrade.await?);
        let message_bytes_max = app.config.max_message_bytes_encoded();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let heartbeat = app.heartbeat();
        Ok(Socket { stream, app, client, heartbeat, is_silent: false })
    }

    /// Sends the first event: where the subscription begins.
    pub async fn begin(&mut self, subscription: &Subscription) -> Result<(), End> {
        let cursor = subscription.cursor;
        self.send_event(Event::Subscribed { epoch: cursor.epoch, cursor: cursor.offset }).await
    }

    /// Sends what was read: many frames, one flush.
    pub async fn send(&mut self, result: ReadResult) -> Result<(), End> {
        let count = result.messages.len() as u64;
        let events = result.events().map(|event| Frame::text(event.encode()));
        let text = |bytes| Utf8Bytes::try_from(bytes).expect("messages are encoded as JSON");
        let messages = result.messages.into_iter().map(|bytes| Frame::Text(text(bytes)));
        self.write(events.chain(messages)).await?;
        self.app.metrics.of(Transport::WebSocket).deliveries.inc_by(count);
        Ok(())
    }

    pub async fn send_event(&mut self, event: Event) -> Result<(), End> {
        self.write([Frame::text(event.encode())]).await
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
            tokio::select! {
                frame = self.stream.next() => {
                    self.is_silent = false;
                    match frame.ok_or(End::ClientGone)?? {
                        frame @ (Frame::Text(_) | Frame::Binary(_)) => return Ok(frame),
                        Frame::Close(_) => return Err(End::ClientGone),
                        // tungstenite has queued the pong. Nothing more is read until it is sent.
                        Frame::Ping(_) => self.write([]).await?,
                        Frame::Pong(_) | Frame::Frame(_) => {}
                    }
                }
                _ = self.heartbeat.tick() => {
                    let App { config, pauses, .. } = &*self.app;
                    // After a pause the client gets a whole heartbeat to answer the next ping.
                    let judged_at = pauses.awake_since() + config.heartbeat;
                    if std::mem::replace(&mut self.is_silent, true) && judged_at <= Instant::now() {
                        return Err(End::Silent);
                    }
                    self.write([Frame::Ping(Bytes::new())]).await?;
                }
            }
        }
    }

    /// Sends `frames`. Everything but the close frame passes here.
    pub async fn write(&mut self, frames: impl IntoIterator<Item = Frame>) -> Result<(), End> {
        let writing = async {
            for frame in frames {
                self.client.check_token()?;
                self.stream.feed(frame).await?;
            }
            self.client.check_token()?;
            Ok(self.stream.flush().await?)
        };
        let App { config, pauses, .. } = &*self.app;
        pauses.timeout(config.send_timeout, writing).await.map_err(|_| End::SlowReader)?
    }

    /// Tells the client the reason, if it can be reached, and waits a little for its answer.
    pub async fn close(mut self, end: End) {
        if let Some(refusal) = end.refusal() {
            self.app.metrics.refused(refusal);
        }
        let closing = async {
            if let Some((code, reason)) = end.close_frame() {
                let _ = self.stream.close(Some(CloseFrame { code, reason: reason.into() })).await;
            }
            // tungstenite answers a close, and ends the stream once both sides have sent one.
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }
}
