//! WebSocket: one request that turns into a connection on which the server speaks when there is
//! something (RFC 6455).
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/ws?epoch=..&after=..   Upgrade: websocket   ->   101, and from then frames
//!     server: {"event":"subscribed",...} first, then message objects; {"event":"gap"|"reset",...}
//!     client: {"sender":"..","text":".."} publishes; {"event":"published",...} acknowledges it
//! ```
//!
//! # Where the waiting happens
//! In the server, on one connection, for as long as the subscriber stays. No request is needed to
//! begin waiting again, so there is no moment at which nobody waits.
//!
//! # What it costs
//! One handshake; then a frame for each message, 2 to 10 bytes around the payload. The server keeps
//! a connection, a task and small buffers for each subscriber, and a ping now and then.

mod echo;
pub(super) mod handshake;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message as WsMessage, Utf8Bytes};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::{Received, SubscribeOptions};
use crate::app::metrics::{Refusal, SubscriberGuard};
use crate::app::respond::answer;
use crate::app::{ApiError, App, Client, DrainSlot, Query, Subscription};
use crate::client::{ClientError, Dialer, Kind, WebSocket};
use crate::message::{Cursor, Epoch, Event, Frame, Stored, TopicName};
use crate::variant::Transport;

/// Bytes of a connection's read buffer. tungstenite's own default is 128 KiB, for each of thousands
/// of idle subscribers, and it zeroes the buffer whenever it looks for something to read: at every
/// delivery. What subscribers send is short.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Bytes gathered before they are handed to the kernel; what a slow subscriber can make us keep.
const WRITE_BUFFER_BYTES: usize = 32 << 10;
/// How long a peer may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const TOKEN_EXPIRED: &str = "the token has expired";
/// Our close code for a subscriber that did not take what it was sent. It may come back with its
/// cursor.
pub const TOO_SLOW: u16 = 4008;

pub use echo::route as echo_route;

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "ws")
        .and(warp::get())
        .and(warp::query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Client>())
        .and(warp::ext::optional())
        .map(move |topic: String, query: Query, headers: HeaderMap, client, upgrade| {
            answer(accept(&app, client, &topic, &query, &headers, upgrade))
        })
        .boxed()
}

fn accept(
    app: &Arc<App>,
    client: Client,
    topic: &str,
    query: &Query,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, ApiError> {
    app.metrics.of(Transport::WebSocket).requests.inc();
    let name = app.topic_name(topic)?;
    let (response, upgrade) = match handshake::respond(headers, upgrade) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(*refusal),
    };
    let subscription = Subscription::parse(app, topic, query)?;
    let held = app.hold(Transport::WebSocket)?;
    let visit =
        PendingSession { client, name, subscription, turn: DrainSlot::random(), _held: held };
    app.spawn(serve(app.clone(), visit, upgrade));
    Ok(response)
}

fn config(max_message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes))
}

/// Serves one subscriber from the end of its handshake to the end of its connection.
async fn serve(app: Arc<App>, visit: PendingSession, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let config = config(app.config.max_message_bytes_encoded());
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let cursor = visit.subscription.cursor.unwrap_or_else(|| visit.subscription.topic.head());
    let mut session = Session { app, visit, socket, cursor };
    let end = session.run().await.unwrap_or_else(|end| end);
    if let End::Close(CloseCode::Size, _) = end {
        session.app.metrics.refused(Refusal::MessageBytes);
    }
    leave(session.socket, end).await;
}

/// The server's end of an upgraded connection.
type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What is known of a subscriber before it has a socket.
struct PendingSession {
    client: Client,
    name: TopicName,
    subscription: Subscription,
    turn: DrainSlot,
    _held: SubscriberGuard,
}

impl PendingSession {
    async fn publish(&self, app: &App, json: &[u8]) -> Result<Stored, ApiError> {
        self.client.may_publish(app, &self.name)?;
        app.publish(&self.name, json).await
    }
}

struct Session {
    app: Arc<App>,
    visit: PendingSession,
    socket: Socket,
    cursor: Cursor,
}

/// Why a session is over.
enum End {
    /// The peer is gone, or has said goodbye: there is nothing to say to it.
    Gone,
    /// We close, with this code and reason.
    Close(CloseCode, &'static str),
}

impl From<WsError> for End {
    fn from(error: WsError) -> End {
        match error {
            WsError::Capacity(_) => End::Close(CloseCode::Size, "message too large"),
            WsError::Utf8(_) => End::Close(CloseCode::Invalid, "text that is not UTF-8"),
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
            WsError::Protocol(_) => End::Close(CloseCode::Protocol, "protocol error"),
            _ => End::Gone,
        }
    }
}

impl Session {
    async fn run(&mut self) -> Result<End, End> {
        let Cursor { epoch, offset } = self.cursor;
        self.send(Event::Subscribed { epoch, cursor: offset }).await?;
        let app = self.app.clone();
        let mut heartbeat = app.heartbeat();
        let mut heard = true;
        // Made once: each such future has its place in a list behind the token's lock.
        let mut told_to_leave = pin!(app.told_to_leave(self.visit.turn));
        let mut expired = pin!(self.visit.client.expired());
        loop {
            // Here the server waits: for the topic, for the client, and for the end.
            tokio::select! {
                () = self.visit.subscription.topic.wait_after(self.cursor) => self.push().await?,
                frame = self.socket.next() => {
                    heard = true;
                    self.hear(frame.ok_or(End::Gone)??).await?;
                }
                _ = heartbeat.tick() => {
                    // After a pause the client gets a whole heartbeat to answer the next ping.
                    let judged_at = app.pauses.awake_since() + app.config.heartbeat;
                    if !std::mem::take(&mut heard) && judged_at <= Instant::now() {
                        return Ok(End::Close(CloseCode::Policy, "no sign of life"));
                    }
                    self.send(WsMessage::Ping(Bytes::new())).await?;
                }
                () = &mut expired => {
                    return Ok(End::Close(CloseCode::Policy, TOKEN_EXPIRED));
                }
                () = &mut told_to_leave => {
                    return Ok(End::Close(app.farewell(), "the server is going away"));
                }
            }
        }
    }

    /// Sends whatever there is after the cursor: many frames, one flush.
    async fn push(&mut self) -> Result<(), End> {
        if self.visit.client.is_expired() {
            return Err(End::Close(CloseCode::Policy, TOKEN_EXPIRED));
        }
        let Subscription { topic, limit, .. } = &self.visit.subscription;
        let slice = topic.read_after(self.cursor, *limit).await;
        let slice = slice.map_err(|_| End::Close(CloseCode::Again, "the store cannot be read"))?;
        let Cursor { epoch, offset } = slice.cursor;
        let count = slice.messages.len() as u64;
        let gap = (slice.gap > 0).then_some(Event::Gap { gap: slice.gap });
        let reset = slice.reset.then_some(Event::Reset { epoch, cursor: offset });
        let notices = gap.into_iter().chain(reset).map(WsMessage::from);
        let text = |bytes| Utf8Bytes::try_from(bytes).expect("messages are encoded as JSON");
        let messages = slice.messages.into_iter().map(|bytes| WsMessage::Text(text(bytes)));
        self.send_all(notices.chain(messages)).await?;
        self.cursor = slice.cursor;
        self.app.metrics.of(Transport::WebSocket).deliveries.inc_by(count);
        Ok(())
    }

    /// Answers a frame from the client. Pings are answered by tungstenite while it reads.
    async fn hear(&mut self, frame: WsMessage) -> Result<(), End> {
        match frame {
            WsMessage::Text(text) => {
                let event = match self.visit.publish(&self.app, text.as_bytes()).await {
                    Ok(stored) => Event::Published { epoch: stored.epoch, offset: stored.offset },
                    Err(error) => Event::Error { error: error.message },
                };
                self.send(event).await
            }
            WsMessage::Binary(_) => Err(End::Close(CloseCode::Unsupported, "text frames only")),
            WsMessage::Close(_) => Err(End::Gone),
            WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_) => Ok(()),
        }
    }

    async fn send(&mut self, frame: impl Into<WsMessage>) -> Result<(), End> {
        self.send_all(std::iter::once(frame.into())).await
    }

    async fn send_all(&mut self, frames: impl Iterator<Item = WsMessage>) -> Result<(), End> {
        let sending = async {
            for frame in frames {
                self.socket.feed(frame).await?;
            }
            self.socket.flush().await
        };
        let App { config, pauses, .. } = &*self.app;
        match pauses.timeout(config.send_timeout, sending).await {
            Ok(sent) => Ok(sent?),
            Err(_) => {
                self.app.metrics.refused(Refusal::SlowReader);
                Err(End::Close(CloseCode::from(TOO_SLOW), "too slow: resume later"))
            }
        }
    }
}

/// Says why, if there is somebody to say it to, and waits a little for the answer.
async fn leave(mut socket: Socket, end: End) {
    let goodbye = async {
        if let End::Close(code, reason) = end {
            let _ = socket.close(Some(CloseFrame { code, reason: reason.into() })).await;
        }
        // tungstenite answers a close, and ends the stream once both have said goodbye.
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}

impl From<Event> for WsMessage {
    fn from(event: Event) -> WsMessage {
        WsMessage::text(event.encode())
    }
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    socket: WebSocket,
    dialer: Dialer,
    cursor: Cursor,
}

impl Subscriber {
    /// Connects, upgrades, and hears where the subscription begins.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let mut path = format!("/topics/{}/ws", options.topic);
        if let Some(cursor) = options.cursor {
            path.push_str(&format!("?epoch={}&after={}", cursor.epoch, cursor.offset));
        }
        let socket = WebSocket::connect(&dialer, &path).await?;
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let mut subscriber =
            Subscriber { socket, dialer, cursor: options.cursor.unwrap_or(unknown) };
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
        let meter = self.dialer.meter();
        let read = |text: &str| {
            let frame = Frame::decode(text)
                .map_err(|_| ClientError::ProtocolError(format!("a frame that says {text}")))?;
            if matches!(frame, Frame::Message(_)) {
                meter.move_down(Kind::Framing, Kind::Payload, text.len());
            }
            Ok(frame)
        };
        self.socket.hear(read).await?
    }
}
