//! Packets of Engine.IO (protocol v4) and, in its messages, of Socket.IO (protocol v5): how they
//! are encoded as text, as the body of a poll's response, and as WebSocket frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::feed::SharedRead;
use crate::message::ReadResult;
use crate::transport::server_frames::{BINARY, TEXT, push_frame};
use crate::variant::Transport;

/// Separates the packets of one body (Engine.IO, "Packet encoding").
pub const SEPARATOR: u8 = b'\x1e';
/// The text before and after the JSON of a message of the feed.
const MESSAGE_PREFIX: &[u8] = b"42[\"message\",";
const MESSAGE_SUFFIX: &[u8] = b"]";
/// Longest name of a namespace, bytes.
const NAMESPACE_BYTES_MAX: usize = 64;

/// An Engine.IO packet from a client that may come at any time. Those of the upgrade come in a
/// fixed order and are compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<'a> {
    Close,
    Pong,
    Noop,
    Message(&'a str),
    Binary(Bytes),
}

impl Incoming<'_> {
    /// `None` if it is malformed, or a packet that only a server sends.
    pub fn decode(text: &str) -> Option<Incoming<'_>> {
        Some(match (text, text.as_bytes().first()?) {
            ("1", _) => Incoming::Close,
            ("3", _) => Incoming::Pong,
            ("6", _) => Incoming::Noop,
            (_, b'4') => Incoming::Message(&text[1..]),
            (_, b'b') => Incoming::Binary(STANDARD.decode(&text[1..]).ok()?.into()),
            _ => return None,
        })
    }
}

/// An Engine.IO packet to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The whole packet, with the digit of its type.
    Text(String),
    Binary(Bytes),
}

impl From<&str> for Outgoing {
    fn from(packet: &str) -> Outgoing {
        Outgoing::Text(packet.to_owned())
    }
}

impl Outgoing {
    pub fn len(&self) -> usize {
        match self {
            Outgoing::Text(text) => text.len(),
            Outgoing::Binary(bytes) => bytes.len(),
        }
    }
}

impl From<Outgoing> for Output {
    fn from(packet: Outgoing) -> Output {
        Output { packets: vec![packet], messages: None }
    }
}

/// The content of one write to a client: packets, then messages of the feed.
#[derive(Debug, Default)]
pub struct Output {
    pub packets: Vec<Outgoing>,
    pub messages: Option<SharedRead>,
}

impl Output {
    /// The body of a poll's response.
    pub fn payload(&self) -> Bytes {
        let mut body = Vec::new();
        for packet in &self.packets {
            separate(&mut body);
            match packet {
                Outgoing::Text(text) => body.extend_from_slice(text.as_bytes()),
                Outgoing::Binary(bytes) => {
                    body.push(b'b');
                    body.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                }
            }
        }
        let messages = self.messages_as(Transport::SocketioPolling, |body, message| {
            separate(body);
            message.iter().for_each(|part| body.extend_from_slice(part));
        });
        if body.is_empty() {
            return messages;
        }
        if !messages.is_empty() {
            separate(&mut body);
        }
        body.extend_from_slice(&messages);
        body.into()
    }

    /// WebSocket frames, one for each packet.
    pub fn frames(&self) -> Bytes {
        let mut frames = Vec::new();
        for packet in &self.packets {
            match packet {
                Outgoing::Text(text) => push_frame(&mut frames, TEXT, &[text.as_bytes()]),
                Outgoing::Binary(bytes) => push_frame(&mut frames, BINARY, &[bytes]),
            }
        }
        let messages = self.messages_as(Transport::SocketioWebsocket, |frames, message| {
            push_frame(frames, TEXT, &message);
        });
        if frames.is_empty() {
            return messages;
        }
        frames.extend_from_slice(&messages);
        frames.into()
    }

    /// The messages, each appended by `append`, once for all subscribers of `transport`.
    fn messages_as(
        &self,
        transport: Transport,
        append: impl Fn(&mut Vec<u8>, [&[u8]; 3]),
    ) -> Bytes {
        let encode = |result: &ReadResult| {
            let size: usize = result.messages.iter().map(|message| message.len() + 24).sum();
            let mut encoded = Vec::with_capacity(size);
            for message in &result.messages {
                append(&mut encoded, [MESSAGE_PREFIX, message, MESSAGE_SUFFIX]);
            }
            encoded.into()
        };
        self.messages.as_ref().map_or_else(Bytes::new, |read| read.encoded(transport, encode))
    }
}

fn separate(body: &mut Vec<u8>) {
    if !body.is_empty() {
        body.push(SEPARATOR);
    }
}

/// The types of Socket.IO packets that clients and server exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketType {
    Connect = 0,
    Disconnect = 1,
    Event = 2,
    Ack = 3,
    ConnectError = 4,
    BinaryEvent = 5,
    BinaryAck = 6,
}

/// A Socket.IO packet: `<type>[<attachments>-][<namespace>,][<id>]<data>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub kind: PacketType,
    /// Number of binary packets that follow.
    pub attachments: usize,
    pub namespace: &'a str,
    /// Digits of the id by which an acknowledgement is requested or given; empty without one.
    pub id: &'a str,
    /// JSON, not yet checked.
    pub data: &'a str,
}

impl<'a> Packet<'a> {
    /// Reads what is before the data; `None` if it is malformed.
    pub fn decode(text: &'a str) -> Option<Packet<'a>> {
        let kind = match text.as_bytes().first()? {
            b'0' => PacketType::Connect,
            b'1' => PacketType::Disconnect,
            b'2' => PacketType::Event,
            b'3' => PacketType::Ack,
            b'5' => PacketType::BinaryEvent,
            b'6' => PacketType::BinaryAck,
            _ => return None,
        };
        let (mut attachments, mut rest) = (0, &text[1..]);
        if matches!(kind, PacketType::BinaryEvent | PacketType::BinaryAck) {
            let (count, after) = rest.split_once('-')?;
            (attachments, rest) = (count.parse().ok()?, after);
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        let is_short = namespace.len() <= NAMESPACE_BYTES_MAX && digits <= 20;
        is_short.then_some(Packet { kind, attachments, namespace, id, data })
    }

    /// The Engine.IO packet that carries it.
    pub fn encode(&self) -> Outgoing {
        let mut text = format!("4{}", self.kind as u8);
        if matches!(self.kind, PacketType::BinaryEvent | PacketType::BinaryAck) {
            text.push_str(&format!("{}-", self.attachments));
        }
        if self.namespace != "/" {
            text.push_str(self.namespace);
            text.push(',');
        }
        text.push_str(self.id);
        text.push_str(self.data);
        Outgoing::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Cursor, Epoch};

    #[test]
    fn packets_are_written_as_they_are_read() {
        for text in [
            "0",
            r#"0/custom,{"token":"1"}"#,
            "1/custom,",
            r#"2["message",1]"#,
            r#"2/custom,456["m"]"#,
            r#"52-["m",{"_placeholder":true,"num":0}]"#,
            r#"61-/custom,7[{"_placeholder":true,"num":0}]"#,
        ] {
            let packet = Packet::decode(text).expect(text);
            assert_eq!(packet.encode(), Outgoing::Text(format!("4{text}")));
        }
        for text in ["", "abc", "4{}", "5[]", "5x-[]", &format!("0/{}", "x".repeat(64))] {
            assert_eq!(Packet::decode(text), None, "{text}");
        }
        assert_eq!(Packet::decode("1/custom").expect("a packet").namespace, "/custom");
    }

    #[test]
    fn server_packets_from_a_client_are_malformed() {
        for text in ["", "0{}", "2", "2probe", "5", "11", "3probe", "abc", "b*"] {
            assert_eq!(Incoming::decode(text), None, "{text}");
        }
        let binary = Incoming::Binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(Incoming::decode("bAQIDBA=="), Some(binary));
    }

    #[test]
    fn output_is_encoded_as_a_body_and_as_frames() {
        let cursor = Cursor { epoch: Epoch(1), offset: 2 };
        let messages = vec![Bytes::from_static(b"{}"); 2];
        let read = ReadResult { cursor, messages, gap: 0, reset: false };
        let output = Output {
            packets: vec![Outgoing::Text("2".into()), Outgoing::Binary(Bytes::from_static(b"\0"))],
            messages: Some(read.into()),
        };
        assert_eq!(
            output.payload(),
            &b"2\x1ebAA==\x1e42[\"message\",{}]\x1e42[\"message\",{}]"[..]
        );
        let message = b"\x81\x1042[\"message\",{}]";
        assert_eq!(output.frames(), [b"\x81\x012\x82\x01\0", &message[..], &message[..]].concat());
        for (length, head) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let packets = vec![Outgoing::Text("x".repeat(length))];
            let frames = Output { packets, messages: None }.frames();
            assert_eq!(frames.len(), length + head);
        }
    }
}
