//! The wire format shared by all transports: messages, cursors, batches and events.
//!
//! A message is encoded once, when it is published, and its bytes are shared from then on. A batch
//! or a frame contains these bytes inside the framing of the transport.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Position of a message in its topic: 1, 2, 3, ...; 0 is before the first message.
pub type Offset = u64;

/// One lifetime of a topic's offsets, eight hex digits on the wire. A server that has lost its
/// messages starts again at offset 1 with a new epoch, which invalidates old cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = BadInput;

    fn from_str(text: &str) -> Result<Self, BadInput> {
        let is_hex = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = if is_hex { u32::from_str_radix(text, 16).ok() } else { None };
        value
            .map(Epoch)
            .ok_or_else(|| BadInput::new("epoch", text, "eight hex digits, as sent by the server"))
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> String {
        epoch.to_string()
    }
}

impl TryFrom<String> for Epoch {
    type Error = BadInput;

    fn try_from(text: String) -> Result<Self, BadInput> {
        text.parse()
    }
}

/// The position of a subscriber: it has read everything up to and including `offset` of this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub epoch: Epoch,
    pub offset: Offset,
}

/// The name of a topic: 1 to 64 characters from `A-Z a-z 0-9 . _ -`, which need no escaping in a
/// path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(String);

impl TopicName {
    /// Longest name, bytes.
    pub const MAX_BYTES: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for names that clients remove from a path (RFC 3986, section 5.2.4), so that they
    /// cannot be topics.
    pub fn is_removed_from_paths(&self) -> bool {
        [".", ".."].contains(&self.as_str())
    }
}

impl FromStr for TopicName {
    type Err = BadInput;

    fn from_str(text: &str) -> Result<Self, BadInput> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            Ok(TopicName(text.to_owned()))
        } else {
            Err(BadInput::new("topic", text, "1 to 64 letters, digits, '.', '_' or '-'"))
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Invalid input; the text names the field and the expected value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: '{given}' is not {wanted}")]
pub struct BadInput {
    field: &'static str,
    given: String,
    wanted: &'static str,
}

impl BadInput {
    /// Shortens `given` to 80 characters.
    pub fn new(field: &'static str, given: &str, wanted: &'static str) -> Self {
        BadInput { field, given: given.chars().take(80).collect(), wanted }
    }
}

/// A value that must be a JSON object. serde reads the fields of a struct from an array as well.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    pub sender: String,
    pub text: String,
}

/// A stored message, as subscribers receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub offset: Offset,
    /// When the server stored it, microseconds since the Unix epoch. The load test does not use it,
    /// because it measures with its own clock.
    pub published_at: u64,
    pub sender: String,
    pub text: String,
}

impl Message {
    /// The JSON object, without spare capacity, since it is stored.
    pub fn encode(&self) -> Bytes {
        let json = serde_json::to_vec(self).expect("numbers and strings always encode");
        json.into_boxed_slice().into()
    }

    /// Whether `json`, returned by [`Message::encode`], has this offset.
    pub fn encoding_has_offset(json: &[u8], offset: Offset) -> bool {
        json.starts_with(format!("{{\"offset\":{offset},").as_bytes())
    }
}

/// The position at which a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub epoch: Epoch,
    pub offset: Offset,
}

/// The result of a read: encoded messages, and whether some are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResult {
    /// The cursor for the next read.
    pub cursor: Cursor,
    /// Message objects, in order.
    pub messages: Vec<Bytes>,
    /// Number of messages between the given cursor and the first of these, dropped by retention.
    pub gap: u64,
    /// The given cursor was invalid (another epoch, or ahead of the head); `cursor` is the head.
    pub reset: bool,
}

impl ReadResult {
    /// The events that a push connection sends before the messages: a gap or a reset, if there is
    /// one.
    pub fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let Cursor { epoch, offset } = self.cursor;
        let gap = (self.gap > 0).then_some(Event::Gap { gap: self.gap });
        let reset = self.reset.then_some(Event::Reset { epoch, cursor: offset });
        gap.into_iter().chain(reset)
    }

    /// The JSON of a [`Batch`], built by copying the bytes of the messages.
    pub fn encode_batch(&self) -> Bytes {
        let size: usize = self.messages.iter().map(|message| message.len() + 1).sum();
        let mut json = Vec::with_capacity(size + 96);
        json.extend_from_slice(b"{\"epoch\":\"");
        json.extend_from_slice(self.cursor.epoch.to_string().as_bytes());
        json.extend_from_slice(b"\",\"cursor\":");
        json.extend_from_slice(self.cursor.offset.to_string().as_bytes());
        json.extend_from_slice(b",\"messages\":[");
        for (index, message) in self.messages.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(message);
        }
        json.push(b']');
        json.extend_from_slice(self.loss().as_bytes());
        json.push(b'}');
        json.into()
    }

    /// `,"gap":n` and `,"reset":true`, if they apply.
    fn loss(&self) -> String {
        let mut text = String::new();
        if self.gap > 0 {
            write!(text, ",\"gap\":{}", self.gap).expect("writing to a String succeeds");
        }
        if self.reset {
            text.push_str(",\"reset\":true");
        }
        text
    }
}

/// The response to a poll or a long poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<M = Message> {
    pub epoch: Epoch,
    pub cursor: Offset,
    pub messages: Vec<M>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gap: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An event on a push connection, in addition to message objects, which have no `event` key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first event: the subscription continues from this cursor.
    Subscribed { epoch: Epoch, cursor: Offset },
    /// Retention dropped `gap` messages before the next one.
    Gap { gap: u64 },
    /// The given cursor was invalid; the subscription continues from this one.
    Reset { epoch: Epoch, cursor: Offset },
    /// A message published on this connection was stored.
    Published { epoch: Epoch, offset: Offset },
    /// A frame of the client was rejected.
    Error { error: String },
    /// Sent at an interval to clients that request it: a browser hides from its scripts the pings
    /// of a WebSocket and the comments of an event stream.
    Heartbeat,
}

impl Event {
    /// The value of its `event` key.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Subscribed { .. } => "subscribed",
            Event::Gap { .. } => "gap",
            Event::Reset { .. } => "reset",
            Event::Published { .. } => "published",
            Event::Error { .. } => "error",
            Event::Heartbeat => "heartbeat",
        }
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always encode")
    }
}

/// What the server sends on a push connection: the text of a WebSocket frame, the data of a
/// server-sent event, or a line of NDJSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem {
    Message(Message),
    Event(Event),
}

impl StreamItem {
    /// Parses JSON. Nearly all items are messages, so this is tried first; an untagged enum of
    /// serde would copy the whole object first.
    ///
    /// # Errors
    /// If it is neither a message nor an event.
    pub fn decode(json: &str) -> Result<StreamItem, serde_json::Error> {
        serde_json::from_str(json)
            .map(StreamItem::Message)
            .or_else(|_| serde_json::from_str(json).map(StreamItem::Event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(messages: Vec<Bytes>, gap: u64, reset: bool) -> ReadResult {
        ReadResult { cursor: Cursor { epoch: Epoch(0xab), offset: 7 }, messages, gap, reset }
    }

    #[test]
    fn batch_contains_the_encoded_messages() {
        let message =
            Message { offset: 7, published_at: 5, sender: "A".into(), text: "\"hé\"\r\n".into() };
        let bytes = result(vec![message.encode(), message.encode()], 3, false).encode_batch();
        let batch: Batch = serde_json::from_slice(&bytes).expect("valid JSON");
        assert_eq!(batch.messages, vec![message.clone(), message]);
        assert_eq!((batch.epoch, batch.cursor, batch.gap, batch.reset), (Epoch(0xab), 7, 3, false));
        assert_eq!(bytes, serde_json::to_vec(&batch).expect("encodes"));
    }

    #[test]
    fn empty_batch_contains_only_cursor_and_flags() {
        assert_eq!(
            result(vec![], 0, true).encode_batch(),
            &br#"{"epoch":"000000ab","cursor":7,"messages":[],"reset":true}"#[..]
        );
    }

    #[test]
    fn stream_item_is_decoded_as_message_or_event() {
        let message = r#"{"offset":1,"published_at":2,"sender":"A","text":"hi"}"#;
        let gap = Event::Gap { gap: 4 }.encode();
        assert!(matches!(StreamItem::decode(message), Ok(StreamItem::Message(m)) if m.offset == 1));
        assert!(matches!(StreamItem::decode(&gap), Ok(StreamItem::Event(Event::Gap { gap: 4 }))));
        assert!(StreamItem::decode(r#"{"offset":1}"#).is_err());
        assert_eq!(gap, format!(r#"{{"event":"{}","gap":4}}"#, Event::Gap { gap: 4 }.name()));
    }

    #[test]
    fn invalid_topic_names_and_epochs_are_errors() {
        for bad in ["", "a b", "ä", &"x".repeat(65), "a/b"] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad}");
        }
        for bad in ["", "+1234567", "123456789", "12345", "ghijklmn"] {
            let error = bad.parse::<Epoch>().expect_err(bad).to_string();
            assert!(error.contains("eight hex digits"), "{error}");
        }
    }
}
