//! The client half of Socket.IO: connects, subscribes and reads events, on one transport.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Subscribe;
use super::engine::Engine;
use crate::client::{ByteKind, ClientError, Dialer};
use crate::message::{Cursor, Epoch, Event, StreamItem};
use crate::transport::{SubscribeOptions, Update};
use crate::variant::Transport;

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    cursor: Cursor,
}

/// The content of a Socket.IO packet for a subscriber.
const CONNECT: &str = "0";
const CONNECTED: &str = "0{";
const EVENT: &str = "2";

impl Subscriber {
    /// Opens a session, connects, subscribes, and receives the position where the subscription
    /// begins. It stays on the transport that it starts on; there is no upgrade.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        transport: Transport,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let mut engine = Engine::open(transport == Transport::SocketioWebsocket, dialer).await?;
        engine.send(CONNECT).await?;
        let packet = engine.receive().await?;
        if !packet.starts_with(CONNECTED) {
            return Err(ClientError::ProtocolError(format!("'{packet}' before the connection")));
        }
        let subscribe = Subscribe {
            topic: options.topic.to_string(),
            epoch: options.cursor.map(|cursor| cursor.epoch),
            after: options.cursor.map(|cursor| cursor.offset),
        };
        let json = serde_json::to_string(&("subscribe", subscribe)).expect("strings and numbers");
        engine.send(&format!("{EVENT}{json}")).await?;
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let mut subscriber = Subscriber { engine, cursor: options.cursor.unwrap_or(unknown) };
        loop {
            let (_, is_subscribed) = subscriber.receive().await?;
            if is_subscribed {
                subscriber.engine.end_handshake();
                return Ok(subscriber);
            }
        }
    }

    /// Waits for a packet from the server.
    ///
    /// # Errors
    /// If the connection is lost, or the packet is invalid.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        Ok(self.receive().await?.0)
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next packet, and whether it was the one that begins the subscription.
    async fn receive(&mut self) -> Result<(Update, bool), ClientError> {
        let packet = self.engine.receive().await?;
        let unexpected = || ClientError::ProtocolError(format!("unexpected packet {packet}"));
        let json = packet.strip_prefix(EVENT).ok_or_else(unexpected)?;
        let (name, data): (Cow<str>, &RawValue) =
            serde_json::from_str(json).map_err(|_| unexpected())?;
        let item = if name == "message" {
            let message = serde_json::from_str(data.get()).map_err(|_| unexpected())?;
            self.engine.meter().move_down(ByteKind::Framing, ByteKind::Payload, data.get().len());
            StreamItem::Message(message)
        } else {
            StreamItem::Event(serde_json::from_str(data.get()).map_err(|_| unexpected())?)
        };
        if let StreamItem::Event(Event::Subscribed { epoch, cursor }) = item {
            self.cursor = Cursor { epoch, offset: cursor };
            return Ok((Update::default(), true));
        }
        let update = Update::of(item, &mut self.cursor)?.ok_or_else(unexpected)?;
        Ok((update, false))
    }
}
