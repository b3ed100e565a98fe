//! What travels: messages, the cursors that say how far a subscriber has read, and the batches and
//! events in which a server answers. The one wire format of every transport.
//!
//! A message is encoded once, when it is published. From then on its bytes are shared: a batch or a
//! frame is those bytes with a transport's wrapping around them.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message's place in its topic: 1, 2, 3, ... and 0 for "before the first".
pub type Offset = u64;

/// One life of a topic's offsets, eight hex digits on the wire. A server that lost its messages
/// counts from 1 again; its new epoch tells old cursors that they mean nothing any more.
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
        value.map(Epoch).ok_or_else(|| {
            BadInput::new("epoch", text, "the eight hex digits that the server gave you")
        })
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

/// How far a subscriber has read: everything up to and including `offset`, in this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub epoch: Epoch,
    pub offset: Offset,
}

/// The name of a topic: 1 to 64 of `A-Z a-z 0-9 . _ -`, so that it needs no escaping in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(String);

impl TopicName {
    /// The longest name, bytes.
    pub const MAX_BYTES: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
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

/// Input that is not what it should be; the text names the field and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: '{given}' is not {wanted}")]
pub struct BadInput {
    field: &'static str,
    given: String,
    wanted: &'static str,
}

impl BadInput {
    /// `given` is shortened to what is worth repeating to its sender.
    pub fn new(field: &'static str, given: &str, wanted: &'static str) -> Self {
        BadInput { field, given: given.chars().take(80).collect(), wanted }
    }
}

/// What user A asks the server to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    pub sender: String,
    pub text: String,
}

/// A message as user B receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub offset: Offset,
    /// When the server stored it, microseconds since the Unix epoch. For people to read: the load
    /// test trusts no clock but its own.
    pub published_at: u64,
    pub sender: String,
    pub text: String,
}

impl Message {
    /// The JSON object, ready to be shared. It keeps no spare capacity, since it is stored.
    pub fn encode(&self) -> Bytes {
        let json = serde_json::to_vec(self).expect("numbers and strings always encode");
        json.into_boxed_slice().into()
    }

    /// Whether the object that [`Message::encode`] returned is that of a message with `offset`.
    pub fn encoding_has_offset(json: &[u8], offset: Offset) -> bool {
        json.starts_with(format!("{{\"offset\":{offset},").as_bytes())
    }
}

/// Where a publisher's message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub epoch: Epoch,
    pub offset: Offset,
}

/// What a reader of the feed gets: messages still encoded, and how complete they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadResult {
    /// Read up to here: the cursor for the next read.
    pub cursor: Cursor,
    /// Message objects, in order.
    pub messages: Vec<Bytes>,
    /// Messages between the given cursor and the first of these that retention has dropped.
    pub gap: u64,
    /// The given cursor meant nothing here (another epoch, or ahead of the head); `cursor` is the
    /// head.
    pub reset: bool,
}

impl ReadResult {
    /// Nothing to tell, except that the reader is at `cursor`.
    pub fn nothing_yet(cursor: Cursor) -> ReadResult {
        ReadResult { cursor, messages: Vec::new(), gap: 0, reset: false }
    }

    /// What a push connection tells its client before the messages.
    pub fn events(&self) -> impl Iterator<Item = Event> + use<> {
        let Cursor { epoch, offset } = self.cursor;
        let gap = (self.gap > 0).then_some(Event::Gap { gap: self.gap });
        let reset = self.reset.then_some(Event::Reset { epoch, cursor: offset });
        gap.into_iter().chain(reset)
    }

    /// The JSON of a [`Batch`], made by copying the messages' bytes.
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

    /// `,"gap":n` and `,"reset":true`, as far as they apply.
    fn loss(&self) -> String {
        let mut text = String::new();
        if self.gap > 0 {
            write!(text, ",\"gap\":{}", self.gap).expect("a String takes all text");
        }
        if self.reset {
            text.push_str(",\"reset\":true");
        }
        text
    }
}

/// The answer to a poll or a long poll.
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

/// What a push connection carries beside message objects, which have no `event` key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first event: the subscription reads on from here.
    Subscribed { epoch: Epoch, cursor: Offset },
    /// `gap` messages before the next one were dropped by retention.
    Gap { gap: u64 },
    /// The given cursor meant nothing here; the subscription reads on from this one.
    Reset { epoch: Epoch, cursor: Offset },
    /// A message that this client published on the connection is stored.
    Published { epoch: Epoch, offset: Offset },
    /// Something this client sent was refused.
    Error { error: String },
}

impl Event {
    /// What it says in its `event` key.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Subscribed { .. } => "subscribed",
            Event::Gap { .. } => "gap",
            Event::Reset { .. } => "reset",
            Event::Published { .. } => "published",
            Event::Error { .. } => "error",
        }
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always encode")
    }
}

/// One text frame from server to subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Message(Message),
    Event(Event),
}

impl Frame {
    /// Reads a frame. Nearly all are messages, so that is tried first; serde's untagged enums would
    /// copy the whole object before they look at it.
    ///
    /// # Errors
    /// If it is neither a message nor an event.
    pub fn decode(json: &str) -> Result<Frame, serde_json::Error> {
        serde_json::from_str(json)
            .map(Frame::Message)
            .or_else(|_| serde_json::from_str(json).map(Frame::Event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(messages: Vec<Bytes>, gap: u64, reset: bool) -> ReadResult {
        ReadResult { cursor: Cursor { epoch: Epoch(0xab), offset: 7 }, messages, gap, reset }
    }

    #[test]
    fn a_batch_is_the_messages_bytes_in_an_envelope() {
        let message =
            Message { offset: 7, published_at: 5, sender: "A".into(), text: "\"hé\"\r\n".into() };
        let bytes = slice(vec![message.encode(), message.encode()], 3, false).encode_batch();
        let batch: Batch = serde_json::from_slice(&bytes).expect("valid JSON");
        assert_eq!(batch.messages, vec![message.clone(), message]);
        assert_eq!((batch.epoch, batch.cursor, batch.gap, batch.reset), (Epoch(0xab), 7, 3, false));
        assert_eq!(bytes, serde_json::to_vec(&batch).expect("encodes"));
    }

    #[test]
    fn an_empty_batch_says_only_where_the_head_is() {
        assert_eq!(
            slice(vec![], 0, true).encode_batch(),
            &br#"{"epoch":"000000ab","cursor":7,"messages":[],"reset":true}"#[..]
        );
    }

    #[test]
    fn frames_are_told_apart() {
        let message = r#"{"offset":1,"published_at":2,"sender":"A","text":"hi"}"#;
        let gap = Event::Gap { gap: 4 }.encode();
        assert!(matches!(Frame::decode(message), Ok(Frame::Message(m)) if m.offset == 1));
        assert!(matches!(Frame::decode(&gap), Ok(Frame::Event(Event::Gap { gap: 4 }))));
        assert!(Frame::decode(r#"{"offset":1}"#).is_err());
        assert_eq!(gap, format!(r#"{{"event":"{}","gap":4}}"#, Event::Gap { gap: 4 }.name()));
    }

    #[test]
    fn names_and_epochs_say_what_would_be_right() {
        for bad in ["", "a b", "ä", &"x".repeat(65), "a/b"] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad}");
        }
        for bad in ["", "+1234567", "123456789", "12345", "ghijklmn"] {
            let error = bad.parse::<Epoch>().expect_err(bad).to_string();
            assert!(error.contains("eight hex digits"), "{error}");
        }
    }
}
