//! Engine.IO sessions: the state that outlives a request. A session has a cursor into its topic and
//! a small queue of replies to its client; messages stay in the feed until they are written.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::namespaces::{Application, Attachments, Namespaces};
use super::packet::{Outgoing, Output};
use crate::app::memory::Charge;
use crate::app::metrics::{Refusal, SubscriberGuard};
use crate::app::{App, Client, DrainSlot};
use crate::feed::{ReadLimit, Topic};
use crate::message::{Cursor, Event};
use crate::variant::Transport;

/// Packets in a poll's response: `python-socketio` closes the connection if there are more.
pub const POLL_PACKETS: usize = 16;
/// Largest number of messages in one write to a WebSocket.
const WEBSOCKET_MESSAGES: usize = 128;
/// Largest size of the messages in one write, encoded bytes.
const WRITE_BYTES: usize = 64 << 10;
/// Limit of the packets that the client has not read, bytes; one packet of any size is kept.
const OUTBOX_BYTES: usize = 64 << 10;
/// Memory of a packet in the outbox in addition to its bytes.
const PACKET_OVERHEAD: usize = 96;

/// Time between two NOOPs while an upgrade does not proceed after its probe.
pub const NOOP_INTERVAL: Duration = Duration::from_millis(600);

/// Why a session ends, and how that is reported to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// The last packet in the response to the pending poll.
    pub packet: &'static str,
    /// The code and reason of a WebSocket's close frame; `None` if nothing more can be written.
    pub close: Option<(CloseCode, &'static str)>,
}

impl SessionEnd {
    const fn new(packet: &'static str, code: CloseCode, reason: &'static str) -> SessionEnd {
        SessionEnd { packet, close: Some((code, reason)) }
    }

    /// The connection broke.
    pub const GONE: SessionEnd = SessionEnd { packet: CLOSE, close: None };
    /// The session is on the other transport.
    const MOVED: SessionEnd = SessionEnd { packet: NOOP, close: None };
    pub const CLIENT_CLOSED: SessionEnd = SessionEnd::new(NOOP, CloseCode::Normal, "");
    pub const INVALID: SessionEnd = SessionEnd::new(CLOSE, CloseCode::Protocol, "protocol error");
    pub const TOO_LARGE: SessionEnd =
        SessionEnd::new(CLOSE, CloseCode::Size, "message too large (--max-message-bytes)");
    pub const SILENT: SessionEnd = SessionEnd::new(CLOSE, CloseCode::Policy, "no answer to a ping");
    pub const UNCONNECTED: SessionEnd =
        SessionEnd::new(CLOSE, CloseCode::Policy, "no namespace within --connect-timeout");
    pub const SLOW: SessionEnd =
        SessionEnd::new(CLOSE, CloseCode::Again, "too slow (--send-timeout): resume later");
    pub const OVER_LIMIT: SessionEnd =
        SessionEnd::new(CLOSE, CloseCode::Again, "over --max-held-bytes: try again later");
    /// A Socket.IO client that gets this disconnect packet does not reconnect by itself.
    pub const EXPIRED: SessionEnd =
        SessionEnd::new("41", CloseCode::Policy, "the token has expired");

    /// Without a disconnect packet, so that clients reconnect by themselves.
    pub fn drain(app: &App) -> SessionEnd {
        SessionEnd { packet: CLOSE, close: app.drain_end().close_frame() }
    }
}

const CLOSE: &str = "1";
const PING: &str = "2";
/// Ends a poll that is no longer needed.
pub const NOOP: &str = "6";

/// One client, on either transport.
#[derive(Debug)]
pub struct Session {
    /// A secret of the session and its client.
    pub id: u128,
    pub app: Arc<App>,
    pub client: Client,
    pub application: Application,
    pub slot: DrainSlot,
    state: Mutex<SessionState>,
    /// Notified when there is something to write, when the transport changes, and when the session
    /// ends.
    pub changed: Notify,
    registration: Box<dyn SessionGuard>,
}

#[derive(Debug)]
pub struct SessionState {
    pub(super) transport: Transport,
    pub(super) ended: Option<SessionEnd>,
    /// Whether a poll, or a POST, is in progress.
    pub(super) is_polling: bool,
    pub(super) is_posting: bool,
    pub(super) upgrade: Upgrade,
    pub(super) outbox: VecDeque<Outgoing>,
    pub(super) outbox_bytes: usize,
    /// The memory charge for the outbox.
    charge: Charge,
    /// Since when there is no pending poll, or the outbox has packets that no poll has returned.
    pub(super) unread_since: Instant,
    /// When the next ping is due; while a ping is unanswered, when that ping was due.
    pub(super) ping_at: Instant,
    pub(super) is_pinged: bool,
    pub namespaces: Namespaces,
    /// Since when the client could have connected to a namespace; `None` once it has.
    pub unconnected_since: Option<Instant>,
    /// A packet whose attachments have not all arrived.
    pub attachments: Option<Box<Attachments>>,
    pub(super) subscription: Option<TopicSubscription>,
    pub(super) subscriptions: u64,
}

/// The progress of an upgrade from polls to a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    None,
    /// The WebSocket is open.
    Begun,
    /// The probe was answered on the WebSocket: the client waits for the end of its poll before it
    /// continues. Polls end with a NOOP at this time, at the latest.
    Probed {
        noop_at: Instant,
    },
}

/// The subscription of a session: its position in a topic.
#[derive(Debug)]
pub struct TopicSubscription {
    /// Distinguishes it from earlier subscriptions of the session.
    number: u64,
    topic: Arc<Topic>,
    cursor: Cursor,
    pub guard: SubscriberGuard,
}

/// The position of a subscription at one instant.
struct SubscriptionPosition {
    number: u64,
    topic: Arc<Topic>,
    cursor: Cursor,
}

impl TopicSubscription {
    fn position(&self) -> SubscriptionPosition {
        SubscriptionPosition { number: self.number, topic: self.topic.clone(), cursor: self.cursor }
    }
}

impl SessionState {
    /// Queues a packet that responds to the client.
    ///
    /// # Errors
    /// If the limit of unread packets, or the client's memory limit, is exceeded.
    pub fn push(&mut self, app: &App, packet: Outgoing) -> Result<(), SessionEnd> {
        if !self.outbox.is_empty() && self.outbox_bytes + packet.len() > OUTBOX_BYTES {
            app.metrics.refused(Refusal::SlowReader);
            return Err(SessionEnd::SLOW);
        }
        self.push_own(packet);
        self.charge.set_unless_small(self.outbox_memory()).map_err(|_| {
            app.metrics.refused(Refusal::HeldBytes);
            SessionEnd::OVER_LIMIT
        })
    }

    fn outbox_memory(&self) -> usize {
        self.outbox_bytes + PACKET_OVERHEAD * self.outbox.len()
    }

    /// Queues a packet unless the same packet is queued already.
    pub fn push_own(&mut self, packet: impl Into<Outgoing>) {
        let packet = packet.into();
        if self.outbox.is_empty() {
            self.unread_since = Instant::now();
        }
        self.outbox_bytes += packet.len();
        self.outbox.push_back(packet);
    }

    fn pop(&mut self, count: usize) -> Vec<Outgoing> {
        let packets: Vec<_> = self.outbox.drain(..count.min(self.outbox.len())).collect();
        self.outbox_bytes -= packets.iter().map(Outgoing::len).sum::<usize>();
        if self.outbox.is_empty() {
            // Frees the memory of an empty outbox.
            self.outbox = VecDeque::new();
        }
        let left = self.outbox_memory().min(self.charge.bytes());
        self.charge.set_unless_small(left).expect("no more than before");
        packets
    }

    pub fn unsubscribe(&mut self) {
        self.subscription = None;
    }
}

/// The registration of a session at its server, and its share of the limits.
pub trait SessionGuard: fmt::Debug + Send + Sync {
    /// Removes the ended session `id` from the registry.
    fn remove(&self, id: u128);
}

impl Session {
    /// A new session.
    pub fn new(
        app: &Arc<App>,
        client: Client,
        application: Application,
        transport: Transport,
        registration: Box<dyn SessionGuard>,
    ) -> Session {
        let now = Instant::now();
        let state = SessionState {
            transport,
            ended: None,
            is_polling: false,
            is_posting: false,
            upgrade: Upgrade::None,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            charge: client.account().charge(),
            unread_since: now,
            ping_at: now + app.config.heartbeat,
            is_pinged: false,
            namespaces: Namespaces::default(),
            unconnected_since: (application == Application::Feed).then_some(now),
            attachments: None,
            subscription: None,
            subscriptions: 0,
        };
        Session {
            id: rand::random(),
            app: app.clone(),
            client,
            application,
            slot: DrainSlot::random(),
            state: Mutex::new(state),
            changed: Notify::new(),
            registration,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().expect("no panic under this lock")
    }

    pub fn transport(&self) -> Transport {
        self.state().transport
    }

    /// The first packet of a session.
    pub fn open_packet(&self) -> Outgoing {
        let config = &self.app.config;
        let is_polling = self.transport() == Transport::SocketioPolling;
        let open = serde_json::json!({
            "sid": format!("{:032x}", self.id),
            "upgrades": if is_polling { &["websocket"][..] } else { &[] },
            "pingInterval": config.heartbeat.as_millis() as u64,
            "pingTimeout": config.ping_timeout.as_millis() as u64,
            "maxPayload": config.max_message_bytes_encoded(),
        });
        Outgoing::Text(format!("0{open}"))
    }

    /// Queues a packet, and wakes the task that writes it.
    ///
    /// # Errors
    /// As [`SessionState::push`].
    pub fn push(&self, packet: Outgoing) -> Result<(), SessionEnd> {
        self.state().push(&self.app, packet)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Subscribes to `topic` after `cursor`, and sends the client the position where that begins.
    pub fn subscribe(
        &self,
        topic: Arc<Topic>,
        cursor: Cursor,
        guard: SubscriberGuard,
    ) -> Result<(), SessionEnd> {
        let Cursor { epoch, offset } = cursor;
        let mut state = self.state();
        if state.ended.is_some() {
            return Ok(());
        }
        state.push(&self.app, Event::Subscribed { epoch, cursor: offset }.into())?;
        state.subscriptions += 1;
        state.subscription =
            Some(TopicSubscription { number: state.subscriptions, topic, cursor, guard });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next content to write on `transport`. Cancel safe.
    ///
    /// # Errors
    /// If the session has ended, or is on the other transport.
    pub async fn next(&self, transport: Transport) -> Result<Output, SessionEnd> {
        loop {
            if let Some(output) = self.take(transport)? {
                return Ok(output);
            }
            let subscription = self.state().subscription.as_ref().map(TopicSubscription::position);
            let Some(subscription) = subscription else {
                self.changed.notified().await;
                continue;
            };
            // WAIT: here, in the server: for the topic, and for replies to the client.
            tokio::select! {
                () = subscription.topic.wait_after(subscription.cursor) => {
                    if let Some(output) = self.read(transport, &subscription).await? {
                        return Ok(output);
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// The packets in the outbox, if there are any.
    pub fn take(&self, transport: Transport) -> Result<Option<Output>, SessionEnd> {
        let mut state = self.state();
        if let Some(ending) = state.ended {
            return Err(ending);
        }
        if state.transport != transport {
            return Err(SessionEnd::MOVED);
        }
        if self.client.check_token().is_err() {
            drop(state);
            self.end(SessionEnd::EXPIRED);
            return Err(SessionEnd::EXPIRED);
        }
        let packets = state.pop(POLL_PACKETS);
        Ok((!packets.is_empty()).then_some(Output { packets, messages: None }))
    }

    /// Reads the messages after `position`. Moves the cursor, unless the client has subscribed
    /// again meanwhile.
    async fn read(
        &self,
        transport: Transport,
        position: &SubscriptionPosition,
    ) -> Result<Option<Output>, SessionEnd> {
        let messages = match transport {
            // A gap or a reset may be added to them.
            Transport::SocketioPolling => POLL_PACKETS - 1,
            _ => WEBSOCKET_MESSAGES,
        };
        let limit = ReadLimit { messages, bytes: WRITE_BYTES };
        let result = position.topic.read_after(position.cursor, limit).await;
        let mut state = self.state();
        let is_carried = state.transport == transport && self.client.check_token().is_ok();
        let is_current = |it: &&mut TopicSubscription| it.number == position.number;
        let Some(subscription) = state.subscription.as_mut().filter(is_current) else {
            return Ok(None);
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                // The connection stays open, and the client may subscribe again with its cursor.
                state.unsubscribe();
                let event = Event::Error { error: error.to_string() };
                return state.push(&self.app, event.into()).map(|()| None);
            }
        };
        if !is_carried {
            return Ok(None);
        }
        subscription.cursor = result.cursor;
        drop(state);
        let packets = result.events().map(Outgoing::from).collect();
        self.app.metrics.of(transport).deliveries.inc_by(result.messages.len() as u64);
        Ok(Some(Output { packets, messages: Some(result) }))
    }

    /// Ends the session. The pending poll, or the WebSocket, reports it to the client.
    pub fn end(&self, ending: SessionEnd) {
        let mut state = self.state();
        state.ended.get_or_insert(ending);
        state.unsubscribe();
        state.pop(usize::MAX);
        drop(state);
        self.changed.notify_one();
        self.registration.remove(self.id);
    }

    /// Queues a ping if one is due.
    ///
    /// # Errors
    /// If the session has ended, which it does here if the client has not answered a ping within
    /// `--ping-timeout`, has not polled for `--send-timeout` although packets wait for it or it has
    /// to answer a ping, or has not connected to a namespace within `--connect-timeout`.
    pub fn tick(&self) -> Result<(), SessionEnd> {
        let App { config, pauses, .. } = &*self.app;
        let now = Instant::now();
        let mut state = self.state();
        if let Some(ending) = state.ended {
            return Err(ending);
        }
        let is_unread = state.transport == Transport::SocketioPolling
            && !state.is_polling
            && (state.is_pinged || !state.outbox.is_empty())
            && now >= pauses.deadline(state.unread_since, config.send_timeout);
        let connect_by = |since| pauses.deadline(since, config.connect_timeout);
        let ending = if now >= pauses.deadline(state.ping_at, config.ping_timeout) {
            SessionEnd::SILENT
        } else if state.unconnected_since.is_some_and(|since| now >= connect_by(since)) {
            self.app.metrics.refused(Refusal::Idle);
            SessionEnd::UNCONNECTED
        } else if is_unread {
            self.app.metrics.refused(Refusal::SlowReader);
            SessionEnd::SLOW
        } else {
            if now >= state.ping_at && !state.is_pinged {
                state.is_pinged = true;
                state.push_own(PING);
                self.changed.notify_one();
            }
            return Ok(());
        };
        drop(state);
        self.end(ending);
        Err(ending)
    }

    /// When [`Session::tick`] must be called next.
    pub fn tick_at(&self) -> Instant {
        self.due_at(&self.state())
    }

    /// When a ping is due, or the deadline of the pong or of the connection to a namespace.
    fn due_at(&self, state: &SessionState) -> Instant {
        let App { config, pauses, .. } = &*self.app;
        let ping = match state.is_pinged {
            true => pauses.deadline(state.ping_at, config.ping_timeout),
            false => state.ping_at,
        };
        let connect_by = |since| pauses.deadline(since, config.connect_timeout);
        state.unconnected_since.map_or(ping, |since| ping.min(connect_by(since)))
    }

    /// When [`Session::tick`] must be called next although no poll is pending, which would call it;
    /// `None` if a WebSocket carries the session. What happens until then gives the client
    /// `--send-timeout` or `--connect-timeout` from that moment, so nothing is due earlier.
    pub fn check_at(&self) -> Option<Instant> {
        let App { config, pauses, .. } = &*self.app;
        let state = self.state();
        if state.ended.is_some() || state.transport != Transport::SocketioPolling {
            return None;
        }
        let has_to_poll = !state.is_polling && (state.is_pinged || !state.outbox.is_empty());
        let unread_since = if has_to_poll { state.unread_since } else { Instant::now() };
        let unread_at = pauses.deadline(unread_since, config.send_timeout);
        let unconnected_at = Instant::now() + config.connect_timeout;
        Some(unread_at.min(unconnected_at).min(self.due_at(&state)))
    }

    pub fn pong(&self) {
        let mut state = self.state();
        if state.is_pinged {
            state.is_pinged = false;
            state.ping_at = Instant::now() + self.app.config.heartbeat;
        }
    }
}
