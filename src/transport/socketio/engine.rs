//! The client half of Engine.IO, protocol v4: one session of packets over long polls or over a
//! WebSocket. A packet's first character is its type; heartbeats are answered here.

use std::collections::VecDeque;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use tokio_util::sync::ReusableBoxFuture;

use super::PATH;
use crate::client::{ByteKind, ClientError, Dialer, HttpConnection, Meter, WebSocket};

const OPEN: char = '0';
const CLOSE: char = '1';
const PING: char = '2';
const PONG: &str = "3";
const MESSAGE: char = '4';
/// Separates the packets of one body.
const SEPARATOR: char = '\x1e';

/// A session.
#[derive(Debug)]
pub(super) struct Engine {
    connection: EngineConnection,
    dialer: Dialer,
    /// False during the handshake, whose polls are not counted as responses, like an upgrade.
    is_established: bool,
}

#[derive(Debug)]
enum EngineConnection {
    Polling(Box<Polls>),
    WebSocket(Box<WebSocket>),
}

/// Requests, one at a time. A pending request continues when the future that waits for it is
/// dropped: the server has already removed the packets of its response from the session.
#[derive(Debug)]
struct Polls {
    path: String,
    /// Whether `path` contains the id of the session.
    has_session: bool,
    idle: Option<HttpConnection>,
    under_way: Option<ReusableBoxFuture<'static, CompletedRequest>>,
    arrived: VecDeque<String>,
}

/// A request whose response has arrived.
struct CompletedRequest {
    http: HttpConnection,
    is_poll: bool,
    answer: Result<Bytes, ClientError>,
}

/// The fields of the open packet that this client uses.
#[derive(Debug, Deserialize)]
struct Opened {
    sid: String,
}

impl Engine {
    /// Opens a session on one transport, without an upgrade later.
    pub async fn open(on_websocket: bool, dialer: Dialer) -> Result<Engine, ClientError> {
        let connection = if on_websocket {
            let path = format!("{PATH}/?EIO=4&transport=websocket");
            EngineConnection::WebSocket(Box::new(WebSocket::connect(&dialer, &path).await?))
        } else {
            let path = format!("{PATH}/?EIO=4&transport=polling");
            let idle = Some(HttpConnection::new(dialer.clone()));
            EngineConnection::Polling(Box::new(Polls {
                path,
                has_session: false,
                idle,
                under_way: None,
                arrived: VecDeque::new(),
            }))
        };
        let mut engine = Engine { connection, dialer, is_established: false };
        let packet = engine.packet().await?;
        let opened = packet.strip_prefix(OPEN).map(serde_json::from_str::<Opened>);
        let Some(Ok(Opened { sid })) = opened else {
            return Err(ClientError::ProtocolError(format!("'{packet}' does not open a session")));
        };
        if let EngineConnection::Polling(polls) = &mut engine.connection {
            polls.path.push_str(&format!("&sid={sid}"));
            polls.has_session = true;
        }
        Ok(engine)
    }

    pub fn meter(&self) -> &Meter {
        self.dialer.meter()
    }

    /// Ends the handshake: from now on responses without a message count as empty.
    pub fn end_handshake(&mut self) {
        self.is_established = true;
    }

    /// Sends a message packet.
    pub async fn send(&mut self, message: &str) -> Result<(), ClientError> {
        self.put(format!("{MESSAGE}{message}")).await
    }

    /// The content of the next message packet.
    pub async fn receive(&mut self) -> Result<String, ClientError> {
        loop {
            let mut packet = self.packet().await?;
            match packet.chars().next() {
                Some(MESSAGE) => return Ok(packet.split_off(1)),
                Some(PING) => self.put(PONG.to_owned()).await?,
                Some(CLOSE) => return Err(ClientError::Closed("a close packet".to_owned())),
                // A NOOP ends a poll that is no longer needed.
                _ => {}
            }
        }
    }

    async fn put(&mut self, packet: String) -> Result<(), ClientError> {
        match &mut self.connection {
            EngineConnection::Polling(polls) => {
                if polls.under_way.is_some() {
                    polls.finish(&self.dialer, self.is_established).await?;
                }
                polls.begin(Some(packet));
                polls.finish(&self.dialer, self.is_established).await
            }
            EngineConnection::WebSocket(socket) => socket.send(&packet).await,
        }
    }

    async fn packet(&mut self) -> Result<String, ClientError> {
        match &mut self.connection {
            EngineConnection::Polling(polls) => loop {
                if let Some(packet) = polls.arrived.pop_front() {
                    return Ok(packet);
                }
                if polls.under_way.is_none() {
                    polls.begin(None);
                }
                polls.finish(&self.dialer, self.is_established).await?;
            },
            EngineConnection::WebSocket(socket) => socket.receive(str::to_owned).await,
        }
    }
}

impl Polls {
    /// Sends a packet, or polls for packets.
    fn begin(&mut self, packet: Option<String>) {
        let mut http = self.idle.take().expect("no other request is pending");
        let path = self.path.clone();
        self.under_way = Some(ReusableBoxFuture::new(async move {
            let is_poll = packet.is_none();
            let answer = match packet {
                Some(packet) => http.post(&path, packet.into()).await,
                None => http.get(&path).await,
            };
            CompletedRequest { http, is_poll, answer }
        }));
    }

    /// Waits for the response to the pending request.
    async fn finish(&mut self, dialer: &Dialer, is_established: bool) -> Result<(), ClientError> {
        let under_way = self.under_way.as_mut().expect("a request is pending");
        let CompletedRequest { http, is_poll, answer } = under_way.await;
        self.under_way = None;
        self.idle = Some(http);
        let body = match answer {
            Err(ClientError::Refused { status: StatusCode::BAD_REQUEST, body, .. })
                if self.has_session =>
            {
                // Sessions end with their server: a restarted server does not know them.
                return Err(ClientError::Closed(body));
            }
            answer => answer?,
        };
        if !is_poll {
            dialer.meter().move_down(ByteKind::Headers, ByteKind::Framing, body.len());
            return Ok(());
        }
        let text = std::str::from_utf8(&body)
            .map_err(|_| ClientError::ProtocolError("a response that is not text".to_owned()))?;
        let is_message = |packet: &&str| packet.starts_with("42[\"message\",");
        let messages = text.split(SEPARATOR).filter(is_message).count();
        if messages > 0 || is_established {
            dialer.answered(messages, 0, body.len());
        } else {
            dialer.meter().move_down(ByteKind::Headers, ByteKind::Framing, body.len());
        }
        self.arrived.extend(text.split(SEPARATOR).map(str::to_owned));
        Ok(())
    }
}
