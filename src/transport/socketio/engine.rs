//! Engine.IO, protocol v4, the client's half: one session of packets over long polls or over a
//! WebSocket. A packet's first character says what it is; heartbeats are answered here.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::PATH;
use crate::wire::{Dialer, HttpConnection, Meter, WireError, WireStream, upgrade};

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
    carrier: Carrier,
    dialer: Dialer,
}

#[derive(Debug)]
enum Carrier {
    Polling { http: HttpConnection, path: String, arrived: VecDeque<String> },
    WebSocket(Box<WebSocketStream<WireStream>>),
}

/// What the server says of a new session; the rest of it is for clients with other needs.
#[derive(Debug, Deserialize)]
struct Opened {
    sid: String,
}

impl Engine {
    /// Opens a session on the transport that it is to stay on.
    pub async fn open(on_websocket: bool, dialer: Dialer) -> Result<Engine, WireError> {
        let carrier = if on_websocket {
            let path = format!("{PATH}?EIO=4&transport=websocket");
            Carrier::WebSocket(Box::new(upgrade(&dialer, &path).await?))
        } else {
            let path = format!("{PATH}?EIO=4&transport=polling");
            let http = HttpConnection::new(dialer.clone());
            Carrier::Polling { http, path, arrived: VecDeque::new() }
        };
        let mut engine = Engine { carrier, dialer };
        let packet = engine.packet().await?;
        let opened = packet.strip_prefix(OPEN).map(serde_json::from_str::<Opened>);
        let Some(Ok(Opened { sid })) = opened else {
            return Err(WireError::Nonsense(format!("'{packet}' does not open a session")));
        };
        if let Carrier::Polling { path, .. } = &mut engine.carrier {
            path.push_str(&format!("&sid={sid}"));
        }
        Ok(engine)
    }

    pub fn meter(&self) -> &Meter {
        self.dialer.meter()
    }

    /// Sends a message packet.
    pub async fn send(&mut self, message: &str) -> Result<(), WireError> {
        self.put(format!("{MESSAGE}{message}")).await
    }

    /// What is in the next message packet.
    pub async fn receive(&mut self) -> Result<String, WireError> {
        loop {
            let mut packet = self.packet().await?;
            match packet.chars().next() {
                Some(MESSAGE) => return Ok(packet.split_off(1)),
                Some(PING) => self.put(PONG.to_owned()).await?,
                Some(CLOSE) => return Err(WireError::Closed("a close packet".to_owned())),
                // A NOOP ends a poll that nobody needs any more.
                _ => {}
            }
        }
    }

    async fn put(&mut self, packet: String) -> Result<(), WireError> {
        match &mut self.carrier {
            Carrier::Polling { http, path, .. } => http.post(path, packet.into()).await.map(drop),
            Carrier::WebSocket(socket) => Ok(socket.send(Frame::text(packet)).await?),
        }
    }

    async fn packet(&mut self) -> Result<String, WireError> {
        match &mut self.carrier {
            Carrier::Polling { http, path, arrived } => loop {
                if let Some(packet) = arrived.pop_front() {
                    return Ok(packet);
                }
                let body = http.get(path).await?;
                let text = std::str::from_utf8(&body)
                    .map_err(|_| WireError::Nonsense("an answer that is no text".to_owned()))?;
                let is_message = |packet: &&str| packet.starts_with("42[\"message\",");
                let messages = text.split(SEPARATOR).filter(is_message).count();
                self.dialer.answered(messages, 0, body.len());
                arrived.extend(text.split(SEPARATOR).map(str::to_owned));
            },
            Carrier::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Frame::Text(text))) => return Ok(text.as_str().to_owned()),
                    Some(Ok(Frame::Close(_))) | None => {
                        return Err(WireError::Closed("without a word".to_owned()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            },
        }
    }
}
