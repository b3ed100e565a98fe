//! A session on a WebSocket, from its first packet or after an upgrade from polls.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::application::receive;
use super::packet::{Incoming, Outgoing, Output};
use super::session::{NOOP, NOOP_INTERVAL, Session, SessionEnd, Upgrade};
use crate::app::charged_reads::ChargedReads;
use crate::app::memory::OverLimit;
use crate::app::metrics::Refusal;
use crate::app::work_share::yield_if_slice_is_over;
use crate::app::{App, Client, WhenWoken};
use crate::transport::server_frames::write_frames;
use crate::variant::Transport;

/// Bytes of a connection's read buffer; what clients send is short.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Buffer for pongs to the client's pings, bytes.
const WRITE_BUFFER_BYTES: usize = 1 << 10;
/// How long a client may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an upgrade may take, pauses of the process excluded; the same as in Node's server.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Boxed, because it is moved from task to task.
type Socket = Box<WhenWoken<WebSocketStream<ChargedReads<TokioIo<Upgraded>>>>>;

async fn socket(app: &App, client: &Client, upgrade: OnUpgrade) -> Option<Socket> {
    let limit = app.config.max_message_bytes_encoded();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * limit)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let io = ChargedReads::new(TokioIo::new(upgrade.await.ok()?), client.account());
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    Some(Box::new(WhenWoken::new(socket)))
}

/// Serves a session that begins on a WebSocket.
pub async fn serve(session: Arc<Session>, upgrade: OnUpgrade) {
    let opened = Box::pin(socket(&session.app, &session.client, upgrade)).await;
    let Some(mut socket) = opened else {
        return session.end(SessionEnd::GONE);
    };
    match send(&session, &mut socket, session.open_packet()).await {
        Ok(()) => carry(&session, socket).await,
        Err(ending) => session.end(ending),
    }
}

/// Replaces the polls of a session by a WebSocket. If anything fails before the client has sent the
/// packet that completes the upgrade, the polls continue.
pub async fn upgrade(session: Arc<Session>, client: Client, upgrade: OnUpgrade) {
    let probing = async {
        let mut socket = socket(&session.app, &client, upgrade).await?;
        expect(&mut socket, "2probe").await?;
        send(&session, &mut socket, "3probe".into()).await.ok()?;
        session.probed();
        expect(&mut socket, "5").await?;
        Some(socket)
    };
    let probing = session.app.pauses.timeout(UPGRADE_TIMEOUT, Box::pin(probing));
    let socket = session.app.drain.run_until_cancelled(probing).await;
    let socket = socket.and_then(Result::ok).flatten();
    session.end_upgrade(socket.is_some());
    if let Some(socket) = socket {
        carry(&session, socket).await;
    }
}

/// Accepts a WebSocket for a session that cannot use it, and closes it: clients would treat a
/// failed handshake as a network error.
pub async fn reject(app: Arc<App>, client: Client, upgrade: OnUpgrade) {
    if let Some(socket) = socket(&app, &client, upgrade).await {
        close(socket, CloseCode::Policy, "the session cannot be upgraded").await;
    }
}

/// Reads the next text frame; `None` if its text differs from the expected one.
async fn expect(socket: &mut Socket, text: &str) -> Option<()> {
    loop {
        match socket.next().await?.ok()? {
            Frame::Text(got) => return (got.as_str() == text).then_some(()),
            Frame::Ping(payload) | Frame::Pong(payload) => {
                socket.get_mut().get_mut().end_control_frame(payload.len());
                socket.get_mut().flush().await.ok()?;
            }
            _ => return None,
        }
    }
}

/// Serves a session on the WebSocket until it ends.
async fn carry(session: &Session, mut socket: Socket) {
    let Err(ending) = exchange(session, &mut socket).await;
    session.end(ending);
    let Some((code, reason)) = ending.close else { return };
    let is_told = match ending {
        SessionEnd::EXPIRED => send(session, &mut socket, ending.packet.into()).await.is_ok(),
        _ => true,
    };
    if is_told {
        Box::pin(close(socket, code, reason)).await;
    }
}

async fn exchange(session: &Session, socket: &mut Socket) -> Result<Infallible, SessionEnd> {
    const TRANSPORT: Transport = Transport::SocketioWebsocket;
    let app = &session.app;
    // Created once: each such future is registered in a list behind a lock.
    let mut timer = pin!(sleep_until(session.tick_at()));
    let mut drained = WhenWoken::new(Box::pin(app.drained(session.slot)));
    let mut expired = pin!(session.client.token_expired());
    loop {
        tokio::select! {
            output = session.next(TRANSPORT) => {
                write(session, socket, output?).await?;
                yield_if_slice_is_over().await;
            }
            frame = socket.next() => {
                let frame = frame.ok_or(SessionEnd::GONE)?;
                let frame = frame.map_err(|error| session_end_of(app, &error))?;
                // Boxed, so that an idle connection does not reserve memory for it.
                end_frame(session, socket, &frame)?;
                Box::pin(on_frame(session, frame)).await?;
                flush(session, socket).await?;
                // The reply is written before the next packet is read.
                while let Some(output) = session.take(TRANSPORT)? {
                    write(session, socket, output).await?;
                }
                yield_if_slice_is_over().await;
            }
            () = &mut timer => {
                session.tick()?;
                timer.as_mut().reset(session.tick_at());
            }
            () = &mut expired => return Err(SessionEnd::EXPIRED),
            () = &mut drained => return Err(SessionEnd::drain(app)),
        }
    }
}

/// Reports to the stream below that a frame is complete.
fn end_frame(session: &Session, socket: &mut Socket, frame: &Frame) -> Result<(), SessionEnd> {
    let reads = socket.get_mut().get_mut();
    match frame {
        Frame::Ping(payload) | Frame::Pong(payload) => reads.end_control_frame(payload.len()),
        _ => {
            let decoded = frame.len().min(session.app.config.max_message_bytes);
            reads.end_message(decoded).map_err(|_| {
                session.app.metrics.refused(Refusal::HeldBytes);
                SessionEnd::OVER_LIMIT
            })?;
        }
    }
    Ok(())
}

/// Why a frame could not be read.
fn session_end_of(app: &App, error: &WsError) -> SessionEnd {
    match error {
        WsError::Capacity(_) => {
            app.metrics.refused(Refusal::MessageBytes);
            SessionEnd::TOO_LARGE
        }
        WsError::Io(error) if error.get_ref().is_some_and(|it| it.is::<OverLimit>()) => {
            app.metrics.refused(Refusal::HeldBytes);
            SessionEnd::OVER_LIMIT
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SessionEnd::GONE,
        WsError::Protocol(_) | WsError::Utf8(_) => SessionEnd::INVALID,
        _ => SessionEnd::GONE,
    }
}

async fn on_frame(session: &Session, frame: Frame) -> Result<(), SessionEnd> {
    match frame {
        Frame::Text(text) => {
            receive(session, Incoming::decode(text.as_str()).ok_or(SessionEnd::INVALID)?).await
        }
        Frame::Binary(bytes) => receive(session, Incoming::Binary(bytes)).await,
        Frame::Close(_) => Err(SessionEnd::GONE),
        Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => Ok(()),
    }
}

async fn send(session: &Session, socket: &mut Socket, packet: Outgoing) -> Result<(), SessionEnd> {
    write(session, socket, packet.into()).await
}

/// Writes frames directly, not through tungstenite, which would copy each of them. tungstenite has
/// nothing to write at this point: [`flush`] follows each frame that it has read.
async fn write(session: &Session, socket: &mut Socket, output: Output) -> Result<(), SessionEnd> {
    let mut frames = output.frames();
    // While a slow client reads, only the frames stay in memory.
    drop(output);
    let mut charge = session.client.account().charge();
    charge.set_unless_small(frames.len()).map_err(|_| {
        session.app.metrics.refused(Refusal::HeldBytes);
        SessionEnd::OVER_LIMIT
    })?;
    let stream = socket.get_mut().get_mut();
    in_time(session, async { write_frames(stream, &mut frames).await.ok() }).await
}

/// Writes the pongs to a client's pings, so that nothing is read while they cannot be written.
async fn flush(session: &Session, socket: &mut Socket) -> Result<(), SessionEnd> {
    in_time(session, async { socket.get_mut().flush().await.ok() }).await
}

async fn in_time(
    session: &Session,
    writing: impl Future<Output = Option<()>>,
) -> Result<(), SessionEnd> {
    let App { config, pauses, .. } = &*session.app;
    match pauses.timeout(config.send_timeout, writing).await {
        Ok(written) => written.ok_or(SessionEnd::GONE),
        Err(_) => {
            session.app.metrics.refused(Refusal::SlowReader);
            // A frame may have been written in part.
            Err(SessionEnd::GONE)
        }
    }
}

/// Closes a WebSocket, and waits at most [`CLOSE_TIMEOUT`] for the client to do the same.
async fn close(mut socket: Socket, code: CloseCode, reason: &'static str) {
    let closing = async {
        let _ = socket.get_mut().close(Some(CloseFrame { code, reason: reason.into() })).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(CLOSE_TIMEOUT, closing).await;
}

impl Session {
    /// Begins to replace the polls with a WebSocket. False if that is not possible.
    pub fn begin_upgrade(&self) -> bool {
        let mut state = self.state();
        let is_free = state.ended.is_none()
            && state.transport == Transport::SocketioPolling
            && state.upgrade == Upgrade::None;
        if is_free {
            state.upgrade = Upgrade::Begun;
        }
        is_free
    }

    /// The probe was answered on the WebSocket: the client pauses its polls as soon as one ends.
    pub fn probed(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state.is_polling {
            state.push_own(NOOP);
            state.upgrade = Upgrade::Probed { noop_at: now + NOOP_INTERVAL };
        } else {
            state.upgrade = Upgrade::Probed { noop_at: now };
        }
        self.changed.notify_one();
    }

    /// Ends the upgrade: it failed and the polls continue, or the session is on the WebSocket.
    pub fn end_upgrade(&self, succeeded: bool) {
        let mut state = self.state();
        state.upgrade = Upgrade::None;
        if succeeded {
            state.transport = Transport::SocketioWebsocket;
            if let Some(subscription) = &mut state.subscription
                && let Ok(guard) =
                    self.app.admit_subscriber(Transport::SocketioWebsocket, &self.client)
            {
                subscription.guard = guard;
            }
        }
        drop(state);
        self.changed.notify_one();
    }
}
