//! Engine.IO sessions: what outlives a request. A session has a cursor into its topic and a small
//! queue of packets that answer its client; messages stay in the feed until they are written.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use warp::http::StatusCode;

use super::application::{Application, Attachments, Namespaces};
use super::packet::{Outgoing, Output};
use crate::feed::{ReadLimit, Topic};
use crate::message::{Cursor, Event};
use crate::server::addresses::{Connections, Place};
use crate::server::metrics::{Refusal, SubscriberGuard};
use crate::server::{ApiError, App, Client, DrainSlot};
use crate::transport::Transport;

/// Packets in a poll's response: `python-socketio` closes the connection if there are more.
pub const POLL_PACKETS: usize = 16;
/// Messages that are written to a WebSocket at once.
const WEBSOCKET_MESSAGES: usize = 128;
/// Encoded bytes of messages that are written at once.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes of packets that wait for the client to read them; one packet is kept whatever its size.
const OUTBOX_BYTES: usize = 64 << 10;

/// Time between two NOOPs while an upgrade hangs after its probe.
const NOOP_INTERVAL: Duration = Duration::from_millis(600);

/// Why a session ends, and how its client learns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The last packet of the poll under way.
    pub packet: &'static str,
    /// The code and reason of a WebSocket's close frame; `None` if nothing more can be written.
    pub close: Option<(CloseCode, &'static str)>,
}

impl Ending {
    const fn new(packet: &'static str, code: CloseCode, reason: &'static str) -> Ending {
        Ending { packet, close: Some((code, reason)) }
    }

    /// The connection broke.
    pub const GONE: Ending = Ending { packet: CLOSE, close: None };
    /// Another transport carries the session.
    const MOVED: Ending = Ending { packet: NOOP, close: None };
    pub const CLIENT_CLOSED: Ending = Ending::new(NOOP, CloseCode::Normal, "");
    pub const INVALID: Ending = Ending::new(CLOSE, CloseCode::Protocol, "protocol error");
    pub const SILENT: Ending = Ending::new(CLOSE, CloseCode::Policy, "no sign of life");
    pub const SLOW: Ending = Ending::new(CLOSE, CloseCode::Again, "too slow: resume later");
    /// A Socket.IO client that gets this disconnect packet does not reconnect by itself.
    pub const EXPIRED: Ending = Ending::new("41", CloseCode::Policy, "the token has expired");

    /// Without a disconnect packet, so that clients reconnect by themselves.
    pub fn drain(app: &App) -> Ending {
        Ending::new(CLOSE, app.farewell(), "the server is going away")
    }
}

const CLOSE: &str = "1";
const PING: &str = "2";
/// Ends a poll that is no longer needed.
pub const NOOP: &str = "6";

/// All sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    by_id: Mutex<HashMap<u128, Arc<Session>>>,
    room: Arc<Semaphore>,
    addresses: Arc<Connections>,
}

impl Sessions {
    pub fn new(app: &App) -> Arc<Sessions> {
        Arc::new(Sessions {
            by_id: Mutex::default(),
            room: Arc::new(Semaphore::new(app.config.max_sessions)),
            addresses: Connections::new(app.config.max_sessions_per_address),
        })
    }

    /// Opens a session.
    ///
    /// # Errors
    /// If the server, or the client's address, has as many as it may.
    pub fn open(
        self: &Arc<Sessions>,
        app: &Arc<App>,
        client: Client,
        application: Application,
        carrier: Transport,
    ) -> Result<Arc<Session>, ApiError> {
        let refuse = |refusal, status, text: String| {
            app.metrics.refused(refusal);
            ApiError::new(status, text)
        };
        let place = match client.limited_address(app) {
            Some(address) => Some(self.addresses.enter(address).ok_or_else(|| {
                let limit = app.config.max_sessions_per_address;
                let text = format!("this address has {limit} sessions, which is its limit");
                refuse(Refusal::SessionsPerAddress, StatusCode::TOO_MANY_REQUESTS, text)
            })?),
            None => None,
        };
        let permit = self.room.clone().try_acquire_owned().map_err(|_| {
            let limit = app.config.max_sessions;
            let text = format!("the server has {limit} sessions, which is its limit");
            refuse(Refusal::Sessions, StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let now = Instant::now();
        let session = Arc::new(Session {
            id: rand::random(),
            app: app.clone(),
            client,
            application,
            slot: DrainSlot::random(),
            state: Mutex::new(State {
                carrier,
                ended: None,
                is_polling: false,
                is_posting: false,
                upgrade: Upgrade::None,
                outbox: VecDeque::new(),
                outbox_bytes: 0,
                unread_since: now,
                ping_at: now + app.config.heartbeat,
                is_pinged: false,
                namespaces: Namespaces::default(),
                attachments: None,
                reading: None,
                readings: 0,
            }),
            changed: Notify::new(),
            sessions: Arc::downgrade(self),
            _permit: permit,
            _place: place,
        });
        self.lock().insert(session.id, session.clone());
        Ok(session)
    }

    /// The session of that id, unless it has ended.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.lock().get(&u128::from_str_radix(id, 16).ok()?)?.clone();
        session.tick().ok().map(|()| session)
    }

    /// Ends polling sessions whose client is gone: between two polls they have no task that would.
    pub fn sweep(&self) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for session in all {
            if session.carrier() == Transport::SocketioPolling {
                let _ = session.tick();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Arc<Session>>> {
        self.by_id.lock().expect("no panic under this lock")
    }
}

/// One client, whatever carries its packets.
#[derive(Debug)]
pub struct Session {
    id: u128,
    pub app: Arc<App>,
    pub client: Client,
    pub application: Application,
    pub slot: DrainSlot,
    state: Mutex<State>,
    /// Notified when there is something to write, or the carrier changes, or the session ends.
    changed: Notify,
    sessions: Weak<Sessions>,
    _permit: OwnedSemaphorePermit,
    _place: Option<Place>,
}

#[derive(Debug)]
pub struct State {
    carrier: Transport,
    ended: Option<Ending>,
    /// Whether a poll, or a POST, is under way.
    is_polling: bool,
    is_posting: bool,
    upgrade: Upgrade,
    outbox: VecDeque<Outgoing>,
    outbox_bytes: usize,
    /// Since when the outbox has packets that no poll has taken.
    unread_since: Instant,
    /// When the next ping is due, or when the last one was due that is not answered.
    ping_at: Instant,
    is_pinged: bool,
    pub namespaces: Namespaces,
    /// A packet whose attachments are not all there.
    pub attachments: Option<Box<Attachments>>,
    reading: Option<Reading>,
    readings: u64,
}

/// What is known of a WebSocket that may replace the polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    None,
    /// It is open.
    Begun,
    /// It has carried the probe: the client waits for the end of its poll before it goes on. Polls
    /// end with a NOOP at this time, at the latest.
    Probed {
        noop_at: Instant,
    },
}

/// A subscription: a place in a topic.
#[derive(Debug)]
struct Reading {
    /// Tells it from those before it.
    number: u64,
    topic: Arc<Topic>,
    cursor: Cursor,
    guard: SubscriberGuard,
}

/// Where a subscription is, as of some moment.
struct Snapshot {
    number: u64,
    topic: Arc<Topic>,
    cursor: Cursor,
}

impl Reading {
    fn snapshot(&self) -> Snapshot {
        Snapshot { number: self.number, topic: self.topic.clone(), cursor: self.cursor }
    }
}

impl State {
    /// Queues a packet.
    ///
    /// # Errors
    /// If the client has not read as much as may wait for it.
    pub fn push(&mut self, app: &App, packet: Outgoing) -> Result<(), Ending> {
        if self.outbox.is_empty() {
            self.unread_since = Instant::now();
        } else if self.outbox_bytes + packet.len() > OUTBOX_BYTES {
            app.metrics.refused(Refusal::SlowReader);
            return Err(Ending::SLOW);
        }
        self.outbox_bytes += packet.len();
        self.outbox.push_back(packet);
        Ok(())
    }

    fn pop(&mut self, count: usize) -> Vec<Outgoing> {
        let packets: Vec<_> = self.outbox.drain(..count.min(self.outbox.len())).collect();
        self.outbox_bytes -= packets.iter().map(Outgoing::len).sum::<usize>();
        packets
    }

    pub fn unsubscribe(&mut self) {
        self.reading = None;
    }
}

impl Session {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    pub fn carrier(&self) -> Transport {
        self.state().carrier
    }

    /// The first packet of a session.
    pub fn open_packet(&self) -> Outgoing {
        let config = &self.app.config;
        let is_polling = self.carrier() == Transport::SocketioPolling;
        let open = serde_json::json!({
            "sid": format!("{:032x}", self.id),
            "upgrades": if is_polling { &["websocket"][..] } else { &[] },
            "pingInterval": config.heartbeat.as_millis() as u64,
            "pingTimeout": config.ping_timeout.as_millis() as u64,
            "maxPayload": config.max_message_bytes_encoded(),
        });
        Outgoing::Text(format!("0{open}"))
    }

    /// Queues a packet, and wakes who writes it.
    ///
    /// # Errors
    /// As [`State::push`].
    pub fn push(&self, packet: Outgoing) -> Result<(), Ending> {
        self.state().push(&self.app, packet)?;
        self.changed.notify_one();
        Ok(())
    }

    /// Reads `topic` from now on, after `cursor`, and tells the client where that begins.
    pub fn subscribe(
        &self,
        topic: Arc<Topic>,
        cursor: Cursor,
        guard: SubscriberGuard,
    ) -> Result<(), Ending> {
        let Cursor { epoch, offset } = cursor;
        let mut state = self.state();
        if state.ended.is_some() {
            return Ok(());
        }
        state.push(&self.app, Event::Subscribed { epoch, cursor: offset }.into())?;
        state.readings += 1;
        state.reading = Some(Reading { number: state.readings, topic, cursor, guard });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// What to write next on `carrier`. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    /// If the session has ended, or another transport carries it.
    pub async fn next(&self, carrier: Transport) -> Result<Output, Ending> {
        loop {
            if let Some(output) = self.take(carrier)? {
                return Ok(output);
            }
            let reading = self.state().reading.as_ref().map(Reading::snapshot);
            let Some(reading) = reading else {
                self.changed.notified().await;
                continue;
            };
            // Here the server waits: for the topic, and for what the client causes.
            tokio::select! {
                () = reading.topic.wait_after(reading.cursor) => {
                    if let Some(output) = self.read(carrier, &reading).await? {
                        return Ok(output);
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// The packets in the outbox, if there are any.
    pub fn take(&self, carrier: Transport) -> Result<Option<Output>, Ending> {
        let mut state = self.state();
        if let Some(ending) = state.ended {
            return Err(ending);
        }
        if state.carrier != carrier {
            return Err(Ending::MOVED);
        }
        if self.client.is_expired() {
            drop(state);
            self.end(Ending::EXPIRED);
            return Err(Ending::EXPIRED);
        }
        let packets = state.pop(POLL_PACKETS);
        Ok((!packets.is_empty()).then_some(Output { packets, messages: Vec::new() }))
    }

    /// What there is after the cursor of `snapshot`. Moves the cursor, unless the client has
    /// subscribed again meanwhile.
    async fn read(
        &self,
        carrier: Transport,
        snapshot: &Snapshot,
    ) -> Result<Option<Output>, Ending> {
        let messages = match carrier {
            // Beside them there may be a gap or a reset.
            Transport::SocketioPolling => POLL_PACKETS - 1,
            _ => WEBSOCKET_MESSAGES,
        };
        let limit = ReadLimit { messages, bytes: WRITE_BYTES };
        let result = snapshot.topic.read_after(snapshot.cursor, limit).await;
        let mut state = self.state();
        let is_carried = state.carrier == carrier && !self.client.is_expired();
        let is_current = |it: &&mut Reading| it.number == snapshot.number;
        let Some(reading) = state.reading.as_mut().filter(is_current) else { return Ok(None) };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                // The client keeps its connection, and may subscribe again with its cursor.
                state.unsubscribe();
                let event = Event::Error { error: error.to_string() };
                return state.push(&self.app, event.into()).map(|()| None);
            }
        };
        if !is_carried {
            return Ok(None);
        }
        reading.cursor = result.cursor;
        drop(state);
        let Cursor { epoch, offset } = result.cursor;
        let gap = (result.gap > 0).then_some(Event::Gap { gap: result.gap });
        let reset = result.reset.then_some(Event::Reset { epoch, cursor: offset });
        let packets = gap.into_iter().chain(reset).map(Outgoing::from).collect();
        let messages = result.messages;
        self.app.metrics.of(carrier).deliveries.inc_by(messages.len() as u64);
        Ok(Some(Output { packets, messages }))
    }

    /// Ends the session. Its client learns of it from the poll under way, or from its WebSocket.
    pub fn end(&self, ending: Ending) {
        let mut state = self.state();
        state.ended.get_or_insert(ending);
        state.unsubscribe();
        state.outbox = VecDeque::new();
        drop(state);
        self.changed.notify_one();
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.lock().remove(&self.id);
        }
    }

    /// Queues a ping if one is due.
    ///
    /// # Errors
    /// If the session has ended, which it does here if the client has not answered a ping within
    /// `--ping-timeout`, or has not polled for `--send-timeout` what waits for it.
    pub fn tick(&self) -> Result<(), Ending> {
        let (now, config) = (Instant::now(), &self.app.config);
        let mut state = self.state();
        if let Some(ending) = state.ended {
            return Err(ending);
        }
        let is_unread = state.carrier == Transport::SocketioPolling
            && !state.is_polling
            && !state.outbox.is_empty()
            && now >= state.unread_since + config.send_timeout;
        let ending = if now >= state.ping_at + config.ping_timeout {
            Ending::SILENT
        } else if is_unread {
            self.app.metrics.refused(Refusal::SlowReader);
            Ending::SLOW
        } else {
            if now >= state.ping_at && !state.is_pinged {
                state.is_pinged = true;
                state.outbox_bytes += PING.len();
                state.outbox.push_back(Outgoing::Text(PING.to_owned()));
                self.changed.notify_one();
            }
            return Ok(());
        };
        drop(state);
        self.end(ending);
        Err(ending)
    }

    /// When [`Session::tick`] has something to do next.
    pub fn tick_at(&self) -> Instant {
        let state = self.state();
        if state.is_pinged { state.ping_at + self.app.config.ping_timeout } else { state.ping_at }
    }

    pub fn pong(&self) {
        let mut state = self.state();
        if state.is_pinged {
            state.is_pinged = false;
            state.ping_at = Instant::now() + self.app.config.heartbeat;
        }
    }

    /// Marks a poll, or a POST, as under way until what this returns is dropped. `None` if there is
    /// one, which ends the session, or if a WebSocket carries the session.
    pub fn begin(&self, is_poll: bool) -> Option<Exchange<'_>> {
        let mut state = self.state();
        if state.carrier != Transport::SocketioPolling {
            return None;
        }
        let flag = if is_poll { &mut state.is_polling } else { &mut state.is_posting };
        if std::mem::replace(flag, true) {
            drop(state);
            self.end(Ending::INVALID);
            return None;
        }
        Some(Exchange { session: self, is_poll, is_answered: false })
    }

    /// Begins to replace the polls with a WebSocket. False if they cannot be.
    pub fn begin_upgrade(&self) -> bool {
        let mut state = self.state();
        let is_free = state.ended.is_none()
            && state.carrier == Transport::SocketioPolling
            && state.upgrade == Upgrade::None;
        if is_free {
            state.upgrade = Upgrade::Begun;
        }
        is_free
    }

    /// The WebSocket has carried the probe: the client pauses its polls as soon as one ends.
    pub fn probed(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state.is_polling {
            state.outbox_bytes += NOOP.len();
            state.outbox.push_back(Outgoing::Text(NOOP.to_owned()));
            state.upgrade = Upgrade::Probed { noop_at: now + NOOP_INTERVAL };
        } else {
            state.upgrade = Upgrade::Probed { noop_at: now };
        }
        self.changed.notify_one();
    }

    /// When the poll under way ends with a NOOP, if it does.
    pub fn noop_at(&self) -> Option<Instant> {
        match self.state().upgrade {
            Upgrade::Probed { noop_at } => Some(noop_at),
            Upgrade::None | Upgrade::Begun => None,
        }
    }

    /// True if the poll under way is to end with a NOOP now. The next one is held for a while.
    pub fn take_noop(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let is_due = matches!(state.upgrade, Upgrade::Probed { noop_at } if noop_at <= now);
        if is_due {
            state.upgrade = Upgrade::Probed { noop_at: now + NOOP_INTERVAL };
        }
        is_due
    }

    /// The WebSocket came to nothing, and the polls go on; or it carries the session from now on.
    pub fn end_upgrade(&self, succeeded: bool) {
        let mut state = self.state();
        state.upgrade = Upgrade::None;
        if succeeded {
            state.carrier = Transport::SocketioWebsocket;
            if let Some(reading) = &mut state.reading
                && let Ok(guard) = self.app.hold(Transport::SocketioWebsocket)
            {
                reading.guard = guard;
            }
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// A request of a session that is under way. Unless it is answered before this is dropped, the
/// client has cancelled it, and the session ends.
pub struct Exchange<'a> {
    session: &'a Session,
    is_poll: bool,
    pub is_answered: bool,
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        if self.is_poll {
            state.is_polling = false;
            state.unread_since = Instant::now();
        } else {
            state.is_posting = false;
        }
        drop(state);
        if !self.is_answered {
            self.session.end(Ending::GONE);
        }
    }
}
