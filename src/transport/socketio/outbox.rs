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
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::{Sid, Socket};
use socketioxide::{SendError, SocketError, TransportType};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{LOOK_AGAIN, is_socket_io};
use crate::message::Event;
use crate::server::Outflow;

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
/// What the packets begin with that are sent from here: events and acknowledgements.
const OURS: [&[u8]; 2] = [b"42", b"43"];
/// Bytes of `42["",]`, and no more than of `43` with its number and `[]`.
const AROUND_EVENT: usize = 7;
const AROUND_ACKNOWLEDGEMENT: usize = 5;

/// The client has left.
pub struct Gone;

/// The places of each session.
#[derive(Debug, Default)]
pub struct Flows(Mutex<HashMap<Sid, Weak<Flow>>>);

/// The places of one session, whatever its transport.
#[derive(Debug)]
pub struct Flow {
    session: Sid,
    flows: Weak<Flows>,
    taken: Mutex<Taken>,
    /// Told when a poll's answer has made room.
    has_room: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    packets: usize,
    bytes: u64,
    /// What the WebSocket's connection had written when there were none of these bytes.
    written_before: u64,
    outflow: Option<Arc<Outflow>>,
}

impl Flows {
    /// The places of a session that has just connected.
    pub fn of(self: &Arc<Flows>, socket: &SocketRef) -> Arc<Flow> {
        let mut flows = self.0.lock().expect("no panic under this lock");
        // A client may disconnect from Socket.IO, and connect again in the same session.
        let known = flows.get(&socket.id).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let outflow = socket.req_parts().extensions.get().cloned();
            let flow = Arc::new(Flow {
                session: socket.id,
                flows: Arc::downgrade(self),
                taken: Mutex::new(Taken { outflow, ..Taken::default() }),
                has_room: Notify::new(),
            });
            flows.insert(socket.id, Arc::downgrade(&flow));
            flow
        })
    }

    /// The places of the session that this request polls for, to be told of the answer. Takes
    /// notice of one that leaves polling for a WebSocket.
    pub fn asked<B>(&self, request: &Request<B>) -> Option<Arc<Flow>> {
        if request.method() != Method::GET || !is_socket_io(request.uri().path()) {
            return None;
        }
        let values = |name| request.uri().query()?.split('&').find_map(|it| it.strip_prefix(name));
        let session = values("sid=")?.parse().ok()?;
        let flows = self.0.lock().expect("no panic under this lock");
        let flow = flows.get(&session).and_then(Weak::upgrade)?;
        if values("transport=") != Some("websocket") {
            return Some(flow);
        }
        flow.taken.lock().expect("no panic under this lock").outflow =
            request.extensions().get().cloned();
        None
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let Some(flows) = self.flows.upgrade() else { return };
        let mut flows = flows.0.lock().expect("no panic under this lock");
        if flows.get(&self.session).is_some_and(|flow| flow.strong_count() == 0) {
            flows.remove(&self.session);
        }
    }
}

impl Flow {
    /// Frees the places of what is in a poll's answer.
    pub async fn answer<B: Body<Data = Bytes>>(
        &self,
        response: Response<B>,
    ) -> Response<Full<Bytes>> {
        let (head, body) = response.into_parts();
        // It is all there: nothing is waited for, and nothing fails.
        let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        let mut taken = self.taken.lock().expect("no panic under this lock");
        for packet in body.split(|byte| *byte == SEPARATOR) {
            if OURS.iter().any(|start| packet.starts_with(start)) {
                taken.packets = taken.packets.saturating_sub(1);
                taken.bytes = taken.bytes.saturating_sub(packet.len() as u64);
            }
        }
        drop(taken);
        self.has_room.notify_waiters();
        Response::from_parts(head, Full::new(body))
    }

    /// Takes a place once there is one, for as long as the client stays: one that does not read
    /// misses a heartbeat.
    async fn enter(&self, socket: &SocketRef, packet_bytes: usize) -> Result<(), Gone> {
        loop {
            let mut has_room = pin!(self.has_room.notified());
            has_room.as_mut().enable();
            let is_websocket = socket.transport_type() == TransportType::Websocket;
            {
                let mut taken = self.taken.lock().expect("no panic under this lock");
                let is_in = match is_websocket {
                    true => taken.enter_websocket(packet_bytes),
                    false => taken.enter_poll(packet_bytes as u64),
                };
                if is_in {
                    return Ok(());
                }
            }
            if !socket.connected() {
                return Err(Gone);
            }
            // Neither a WebSocket nor one that leaves tells.
            let _ = timeout(LOOK_AGAIN, has_room).await;
        }
    }
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
    fn enter_websocket(&mut self, packet_bytes: usize) -> bool {
        let written = self.outflow.as_ref().map_or(u64::MAX, |outflow| outflow.written());
        if written.saturating_sub(self.written_before) >= self.bytes {
            (self.packets, self.bytes, self.written_before) = (0, 0, written);
        }
        let is_free = self.packets < SOCKET_PACKETS && self.bytes < SOCKET_BYTES;
        if is_free {
            self.packets += 1;
            self.bytes += frame_bytes(packet_bytes);
        }
        is_free
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
pub struct Asked(Option<AckSender>);

impl FromMessageParts<LocalAdapter> for Asked {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket>,
        said: &mut Value,
        id: &Option<i64>,
    ) -> Result<Asked, Infallible> {
        let sender = AckSender::from_message_parts(socket, said, id)?;
        Ok(Asked(id.map(|_| sender)))
    }
}

/// Where the server half puts what it says to a session.
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
        self.flow.enter(&self.socket, packet_bytes).await?;
        loop {
            match self.socket.emit(name, data) {
                Ok(()) => return Ok(()),
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    sleep(LOOK_AGAIN).await;
                }
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Sends what a client asked for; to one that asked for nothing, nothing.
    pub async fn acknowledge<T: Serialize>(&self, asked: Asked, data: &T) -> Result<(), Gone> {
        let Asked(Some(ack)) = asked else { return Ok(()) };
        let json = json(data);
        self.flow.enter(&self.socket, AROUND_ACKNOWLEDGEMENT + json.get().len()).await?;
        ack.send(&json).map_err(|_| Gone)
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
        let outflow = Arc::new(Outflow::default());
        let mut taken = Taken { outflow: Some(outflow.clone()), ..Taken::default() };
        outflow.add(150);
        assert!(taken.enter_websocket(SOCKET_BYTES as usize));
        outflow.add(SOCKET_BYTES as usize + 9);
        assert!(!taken.enter_websocket(1), "a byte of the frame is not written");
        outflow.add(1);
        assert!((0..SOCKET_PACKETS).all(|_| taken.enter_websocket(1)));
        assert!(!taken.enter_websocket(1));
        outflow.add(SOCKET_PACKETS * 3);
        assert!(taken.enter_websocket(1));
    }

    #[test]
    fn a_poll_has_a_dozen_packets_or_one_that_is_large() {
        let mut taken = Taken::default();
        assert!((0..POLL_PACKETS).all(|_| taken.enter_poll(10)));
        assert!(!taken.enter_poll(10));
        let mut taken = Taken::default();
        assert!(taken.enter_poll(2 * POLL_BYTES) && !taken.enter_poll(1));
    }

    #[tokio::test]
    async fn an_answer_frees_the_places_of_what_is_ours() {
        let flow = Flow {
            session: Sid::ZERO,
            flows: Weak::new(),
            taken: Mutex::new(Taken { packets: 3, bytes: 30, ..Taken::default() }),
            has_room: Notify::new(),
        };
        let body = "2\x1e40{}\x1e42[\"message\",{}]\x1e431[{}]";
        let answer = flow.answer(Response::new(Full::new(Bytes::from(body)))).await;
        assert_eq!(answer.into_body().collect().await.expect("bytes").to_bytes(), body);
        let taken = flow.taken.lock().expect("no panic under this lock");
        assert_eq!((taken.packets, taken.bytes), (1, 30 - 16 - 7));
    }
}
