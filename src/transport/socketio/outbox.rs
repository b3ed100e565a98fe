//! What the server half says to a session, never more at once than its transport takes.
//!
//! The library keeps a queue for each session. It puts all of a queue into one poll's answer, of
//! which some clients take sixteen packets; and it ends a session whose queue is full as a
//! heartbeat is due, though the client be well. So the places in it are given out here: what is
//! said waits for one, and a place is free again once its packet was seen in an answer, or its
//! bytes on the WebSocket's connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::{Sid, Socket};
use socketioxide::{SendError, SocketError, TransportType};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{LOOK_AGAIN, LOOK_AGAIN_POLLING, is_socket_io};
use crate::app::BytesWritten;
use crate::message::Event;

/// Places in the library's queue: more than are given out, for what it says of its own accord.
pub const QUEUE_PACKETS: usize = 1_024;
/// Packets of ours in a poll's answer. With what the library may add (heartbeat, acknowledged
/// connection, upgrade, end) there are sixteen.
const POLL_PACKETS: usize = 12;
/// Bytes of ours in a poll's answer that has more than one packet. With more than the library takes
/// it would keep a packet back, and lose it if the client now leaves for a WebSocket.
const POLL_BYTES: u64 = 64 << 10;
/// Packets on their way to a WebSocket that does not take them.
const SOCKET_PACKETS: usize = 256;
/// Bytes on their way to a WebSocket that does not take them, and one packet more.
const SOCKET_BYTES: u64 = 64 << 10;

/// Between two packets in one body.
const SEPARATOR: u8 = b'\x1e';
/// What the packet begins with that opens a session.
const OPEN: &[u8] = b"0";
/// What the packets begin with that are sent from here: events and acknowledgements.
const OURS: [&[u8]; 2] = [b"42", b"43"];
/// Bytes of `42["",]`, and no more than of `43` with its number and `[]`.
const AROUND_EVENT: usize = 7;
const AROUND_ACKNOWLEDGEMENT: usize = 5;

/// The client has left.
pub struct Gone;

/// The places of each session that polls, or has polled.
#[derive(Debug, Default)]
pub struct Flows(Mutex<HashMap<Sid, Weak<Flow>>>);

/// The places of one session, whatever its transport. The library keeps them with the request that
/// opened the session, for as long as that lives.
#[derive(Debug)]
pub struct Flow {
    flows: Weak<Flows>,
    /// Known once the answer is there that opens a session with polls.
    session: OnceLock<Sid>,
    taken: Mutex<Taken>,
    /// Held by the task that takes the next place: no more than one looks for it.
    turn: tokio::sync::Mutex<()>,
    /// Told when a poll's answer has made room.
    has_room: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    packets: usize,
    bytes: u64,
    /// What the WebSocket's connection had written when there were none of these bytes.
    written_before: u64,
    outflow: Option<Arc<BytesWritten>>,
}

/// A request of a session, whose answer tells what became of the packets.
pub struct PendingSession {
    flow: Arc<Flow>,
    outflow: Option<Arc<BytesWritten>>,
}

impl Flows {
    /// Gives places to a request that opens a session, and finds those of one that goes on.
    pub fn visit<B>(self: &Arc<Flows>, request: &mut Request<B>) -> Option<PendingSession> {
        if request.method() != Method::GET || !is_socket_io(request.uri().path()) {
            return None;
        }
        let session = request.uri().query()?.split('&').find_map(|it| it.strip_prefix("sid="));
        let flow = match session {
            Some(session) => self.lock().get(&session.parse().ok()?).and_then(Weak::upgrade)?,
            None => {
                let flow = Arc::new(Flow::new(Arc::downgrade(self)));
                request.extensions_mut().insert(flow.clone());
                flow
            }
        };
        Some(PendingSession { flow, outflow: request.extensions().get().cloned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sid, Weak<Flow>>> {
        self.0.lock().expect("no panic under this lock")
    }
}

impl PendingSession {
    /// Takes notice of what is in the answer.
    pub async fn answered<B: Body<Data = Bytes>>(
        self,
        response: Response<B>,
    ) -> Response<Full<Bytes>> {
        let (head, body) = response.into_parts();
        // It is all there: nothing is waited for, and nothing fails.
        let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.flow.taken().go_on_with(self.outflow);
        } else {
            self.flow.polled(&body);
        }
        Response::from_parts(head, Full::new(body))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let (Some(flows), Some(session)) = (self.flows.upgrade(), self.session.get()) {
            flows.lock().remove(session);
        }
    }
}

impl Flow {
    fn new(flows: Weak<Flows>) -> Flow {
        Flow {
            flows,
            session: OnceLock::new(),
            taken: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            has_room: Notify::new(),
        }
    }

    /// The places of the session that a client connects in, maybe again.
    pub fn of(socket: &SocketRef) -> Arc<Flow> {
        let flow = socket.req_parts().extensions.get::<Arc<Flow>>();
        flow.expect("every session was opened by a visit").clone()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no panic under this lock")
    }

    /// Frees the places of what is in a poll's answer. The first one opens the session.
    fn polled(self: &Arc<Flow>, body: &[u8]) {
        #[derive(Deserialize)]
        struct Open {
            sid: Sid,
        }
        if let Some(json) = body.strip_prefix(OPEN)
            && let Ok(Open { sid }) = serde_json::from_slice(json)
            && let (Some(flows), Ok(())) = (self.flows.upgrade(), self.session.set(sid))
        {
            flows.lock().insert(sid, Arc::downgrade(self));
        }
        let mut taken = self.taken();
        for packet in body.split(|byte| *byte == SEPARATOR) {
            if OURS.iter().any(|start| packet.starts_with(start)) {
                taken.give_back(packet.len() as u64);
            }
        }
        drop(taken);
        self.has_room.notify_waiters();
    }

    /// Takes a place once there is one. Whoever no longer waits for it drops this.
    async fn enter(&self, socket: &SocketRef, packet_bytes: usize) -> Place<'_> {
        let turn = self.turn.lock().await;
        loop {
            let mut has_room = pin!(self.has_room.notified());
            has_room.as_mut().enable();
            let is_websocket = is_websocket(socket);
            let bytes = if is_websocket { frame_bytes(packet_bytes) } else { packet_bytes as u64 };
            let is_in = match is_websocket {
                true => self.taken().enter_websocket(bytes),
                false => self.taken().enter_poll(bytes),
            };
            if is_in {
                return Place { flow: self, bytes, is_used: false, _turn: turn };
            }
            let _ = timeout(until_next_look(socket), has_room).await;
        }
    }
}

/// A place that is given back unless a packet is put there. Until then it is nobody else's turn.
struct Place<'a> {
    flow: &'a Flow,
    bytes: u64,
    is_used: bool,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.flow.taken().give_back(self.bytes);
        }
    }
}

fn is_websocket(socket: &SocketRef) -> bool {
    socket.transport_type() == TransportType::Websocket
}

/// A WebSocket does not tell when it has written. A poll tells what it took, but not that it was
/// the last one before a WebSocket.
fn until_next_look(socket: &SocketRef) -> Duration {
    if is_websocket(socket) { LOOK_AGAIN } else { LOOK_AGAIN_POLLING }
}

impl Taken {
    fn enter_poll(&mut self, packet_bytes: u64) -> bool {
        let fits = self.packets < POLL_PACKETS && self.bytes + packet_bytes <= POLL_BYTES;
        let is_free = fits || self.packets == 0;
        if is_free {
            self.packets += 1;
            self.bytes += packet_bytes;
        }
        is_free
    }

    /// Packets leave in their order: once as many bytes are written as there were, all have left.
    /// What else was written meanwhile (heartbeats) makes that a little early, and no more.
    fn enter_websocket(&mut self, frame_bytes: u64) -> bool {
        let written = self.outflow.as_ref().map_or(u64::MAX, |outflow| outflow.written());
        if written.saturating_sub(self.written_before) >= self.bytes {
            (self.packets, self.bytes, self.written_before) = (0, 0, written);
        }
        let is_free = self.packets < SOCKET_PACKETS && self.bytes < SOCKET_BYTES;
        if is_free {
            self.packets += 1;
            self.bytes += frame_bytes;
        }
        is_free
    }

    fn give_back(&mut self, bytes: u64) {
        self.packets = self.packets.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// What waits leaves by a WebSocket on that connection from now on.
    fn go_on_with(&mut self, outflow: Option<Arc<BytesWritten>>) {
        self.written_before = outflow.as_ref().map_or(0, |outflow| outflow.written());
        self.outflow = outflow;
    }
}

/// Bytes of a server's frame around that many.
fn frame_bytes(payload_bytes: usize) -> u64 {
    let head = match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    payload_bytes as u64 + head
}

/// The acknowledgement that the client asks for, if it does.
pub struct Asked {
    socket: Arc<Socket>,
    id: Option<i64>,
}

impl FromMessageParts<LocalAdapter> for Asked {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket>,
        _: &mut Value,
        id: &Option<i64>,
    ) -> Result<Asked, Infallible> {
        Ok(Asked { socket: socket.clone(), id: *id })
    }
}

impl Asked {
    /// A sender is good for one try.
    fn sender(&self) -> AckSender {
        let unread = &mut Value::Bytes(Bytes::new());
        let Ok(sender) = AckSender::from_message_parts(&self.socket, unread, &self.id);
        sender
    }
}

/// Where the server half puts what it says to a session. What it promises takes until there is
/// room; who no longer waits, since the client has left, drops it.
pub struct Outbox {
    pub socket: SocketRef,
    pub flow: Arc<Flow>,
}

impl Outbox {
    pub async fn tell(&self, event: Event) -> Result<(), Gone> {
        self.emit(event.name(), &json(&event)).await
    }

    pub async fn emit(&self, name: &str, data: &RawValue) -> Result<(), Gone> {
        let packet_bytes = AROUND_EVENT + name.len() + data.get().len();
        self.put(packet_bytes, || self.socket.emit(name, data)).await
    }

    /// Sends what a client asked for; to one that asked for nothing, nothing.
    pub async fn acknowledge<T: Serialize>(&self, asked: Asked, data: &T) -> Result<(), Gone> {
        if asked.id.is_none() {
            return Ok(());
        }
        let json = json(data);
        let packet_bytes = AROUND_ACKNOWLEDGEMENT + json.get().len();
        self.put(packet_bytes, || asked.sender().send(&json)).await
    }

    /// Puts a packet into the library's queue, once it has a place there and the queue has room.
    async fn put(
        &self,
        packet_bytes: usize,
        send: impl Fn() -> Result<(), SendError>,
    ) -> Result<(), Gone> {
        let mut place = self.flow.enter(&self.socket, packet_bytes).await;
        loop {
            match send() {
                Ok(()) => {
                    place.is_used = true;
                    return Ok(());
                }
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    sleep(until_next_look(&self.socket)).await;
                }
                Err(_) => return Err(Gone),
            }
        }
    }
}

fn json<T: Serialize>(data: &T) -> Box<RawValue> {
    to_raw_value(data).expect("strings and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websockets_places_are_free_once_their_bytes_are_written() {
        let outflow = Arc::new(BytesWritten::default());
        let mut taken = Taken { outflow: Some(outflow.clone()), ..Taken::default() };
        outflow.add(150);
        assert!(taken.enter_websocket(frame_bytes(SOCKET_BYTES as usize)));
        outflow.add(SOCKET_BYTES as usize + 9);
        assert!(!taken.enter_websocket(frame_bytes(1)), "a byte of the frame is not written");
        outflow.add(1);
        assert!((0..SOCKET_PACKETS).all(|_| taken.enter_websocket(frame_bytes(1))));
        assert!(!taken.enter_websocket(frame_bytes(1)));
        outflow.add(SOCKET_PACKETS * 3);
        assert!(taken.enter_websocket(frame_bytes(1)));
    }

    #[test]
    fn a_poll_has_a_dozen_packets_or_one_that_is_large() {
        let mut taken = Taken::default();
        assert!((0..POLL_PACKETS).all(|_| taken.enter_poll(10)));
        assert!(!taken.enter_poll(10));
        let mut taken = Taken::default();
        assert!(taken.enter_poll(2 * POLL_BYTES) && !taken.enter_poll(1));
    }

    fn taken_of(flow: &Flow) -> (usize, u64) {
        let taken = flow.taken();
        (taken.packets, taken.bytes)
    }

    async fn answered(flow: &Arc<Flow>, status: StatusCode, body: &'static str) {
        let visit = PendingSession { flow: flow.clone(), outflow: Some(Arc::default()) };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let answer = visit.answered(response).await;
        assert_eq!(answer.into_body().collect().await.expect("bytes").to_bytes(), body);
    }

    #[tokio::test]
    async fn an_answer_frees_the_places_of_what_is_ours() {
        let flow = Arc::new(Flow::new(Weak::new()));
        *flow.taken() = Taken { packets: 3, bytes: 30, ..Taken::default() };
        let body = "2\x1e40{}\x1e42[\"message\",{}]\x1e431[{}]";
        answered(&flow, StatusCode::OK, body).await;
        assert_eq!(taken_of(&flow), (1, 30 - 16 - 7));
    }

    #[tokio::test]
    async fn only_an_upgrade_changes_the_connection() {
        let flow = Arc::new(Flow::new(Weak::new()));
        answered(&flow, StatusCode::BAD_REQUEST, "").await;
        assert!(flow.taken().outflow.is_none());
        answered(&flow, StatusCode::SWITCHING_PROTOCOLS, "").await;
        assert!(flow.taken().outflow.is_some());
    }

    #[tokio::test]
    async fn a_session_is_found_until_it_ends() {
        let flows = Arc::new(Flows::default());
        let of = |sid: &str| {
            let uri = format!("/socket.io/?EIO=4&transport=polling{sid}");
            let mut request = Request::get(uri).body(()).expect("a request");
            flows.visit(&mut request).map(|visit| visit.flow)
        };
        let flow = of("").expect("a new one");
        assert!(of("&sid=AAAAAAAAAAAAAAAA").is_none());
        answered(&flow, StatusCode::OK, r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[]}"#).await;
        let found = of("&sid=AAAAAAAAAAAAAAAA").expect("it is open");
        assert!(Arc::ptr_eq(&flow, &found));
        drop((flow, found));
        assert!(flows.lock().is_empty());
    }

    #[tokio::test]
    async fn a_place_is_given_back_unless_it_is_used() {
        let flow = Flow::new(Weak::new());
        for (is_used, packets) in [(false, 0), (true, 1)] {
            assert!(flow.taken().enter_poll(9));
            let _turn = flow.turn.lock().await;
            drop(Place { flow: &flow, bytes: 9, is_used, _turn });
            assert_eq!(taken_of(&flow), (packets, 9 * packets as u64));
        }
    }
}
