//! Engine.IO, protocol v4, the client's half: one session of packets over long polls or over a
//! WebSocket. A packet's first character says what it is; heartbeats are answered here.

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
/// Between two packets in one body.
const SEPARATOR: char = '\x1e';

/// A session.
#[derive(Debug)]
pub(super) struct Engine {
    connection: Connection,
    dialer: Dialer,
    /// The polls of the start are no more counted as answers than an upgrade is.
    is_settled: bool,
}

#[derive(Debug)]
enum Connection {
    Polling(Box<Polls>),
    WebSocket(Box<WebSocket>),
}

/// Requests, one at a time. A pending request continues when the future that waits for it is
/// dropped: the server has given away what is in its answer.
#[derive(Debug)]
struct Polls {
    path: String,
    /// Whether `path` names the session.
    has_session: bool,
    idle: Option<HttpConnection>,
    under_way: Option<ReusableBoxFuture<'static, Exchange>>,
    arrived: VecDeque<String>,
}

/// A request that has been answered.
struct Exchange {
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
    /// Opens a session on the transport that it is to stay on.
    pub async fn open(on_websocket: bool, dialer: Dialer) -> Result<Engine, ClientError> {
        let connection = if on_websocket {
            let path = format!("{PATH}/?EIO=4&transport=websocket");
            Connection::WebSocket(Box::new(WebSocket::connect(&dialer, &path).await?))
        } else {
            let path = format!("{PATH}/?EIO=4&transport=polling");
            let idle = Some(HttpConnection::new(dialer.clone()));
            Connection::Polling(Box::new(Polls {
                path,
                has_session: false,
                idle,
                under_way: None,
                arrived: VecDeque::new(),
            }))
        };
        let mut engine = Engine { connection, dialer, is_settled: false };
        let packet = engine.packet().await?;
        let opened = packet.strip_prefix(OPEN).map(serde_json::from_str::<Opened>);
        let Some(Ok(Opened { sid })) = opened else {
            return Err(ClientError::ProtocolError(format!("'{packet}' does not open a session")));
        };
        if let Connection::Polling(polls) = &mut engine.connection {
            polls.path.push_str(&format!("&sid={sid}"));
            polls.has_session = true;
        }
        Ok(engine)
    }

    pub fn meter(&self) -> &Meter {
        self.dialer.meter()
    }

    /// Ends the start: from now on answers without a message count as empty.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Sends a message packet.
    pub async fn send(&mut self, message: &str) -> Result<(), ClientError> {
        self.put(format!("{MESSAGE}{message}")).await
    }

    /// What is in the next message packet.
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
            Connection::Polling(polls) => {
                if polls.under_way.is_some() {
                    polls.finish(&self.dialer, self.is_settled).await?;
                }
                polls.begin(Some(packet));
                polls.finish(&self.dialer, self.is_settled).await
            }
            Connection::WebSocket(socket) => socket.send(&packet).await,
        }
    }

    async fn packet(&mut self) -> Result<String, ClientError> {
        match &mut self.connection {
            Connection::Polling(polls) => loop {
                if let Some(packet) = polls.arrived.pop_front() {
                    return Ok(packet);
                }
                if polls.under_way.is_none() {
                    polls.begin(None);
                }
                polls.finish(&self.dialer, self.is_settled).await?;
            },
            Connection::WebSocket(socket) => socket.receive(str::to_owned).await,
        }
    }
}

impl Polls {
    /// Sends a packet, or polls for packets.
    fn begin(&mut self, packet: Option<String>) {
        let mut http = self.idle.take().expect("no other request is under way");
        let path = self.path.clone();
        self.under_way = Some(ReusableBoxFuture::new(async move {
            let is_poll = packet.is_none();
            let answer = match packet {
                Some(packet) => http.post(&path, packet.into()).await,
                None => http.get(&path).await,
            };
            Exchange { http, is_poll, answer }
        }));
    }

    /// Waits for the answer to the request that is under way.
    async fn finish(&mut self, dialer: &Dialer, is_settled: bool) -> Result<(), ClientError> {
        let under_way = self.under_way.as_mut().expect("a request is under way");
        let Exchange { http, is_poll, answer } = under_way.await;
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
            .map_err(|_| ClientError::ProtocolError("an answer that is no text".to_owned()))?;
        let is_message = |packet: &&str| packet.starts_with("42[\"message\",");
        let messages = text.split(SEPARATOR).filter(is_message).count();
        if messages > 0 || is_settled {
            dialer.answered(messages, 0, body.len());
        } else {
            dialer.meter().move_down(ByteKind::Headers, ByteKind::Framing, body.len());
        }
        self.arrived.extend(text.split(SEPARATOR).map(str::to_owned));
        Ok(())
    }
}
