//! Splits the content of a response, a chunk or a frame into messages and their framing.

use std::ops::Range;

use serde_json::value::RawValue;

use super::part::{Part, PartKind};
use crate::message::{Batch, Message, StreamItem};

/// The format of some content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentFormat {
    /// A batch of messages, the response to a poll.
    Batch,
    /// `text/event-stream`
    EventStream,
    /// Lines of JSON.
    Lines,
    /// Socket.IO packets, separated by U+001E.
    Packets,
    /// A message object, a JSON event, or a Socket.IO packet: the text of a frame.
    Text,
    /// None of these, such as an error.
    Other,
}

/// The parts of `content`, in order.
pub(super) fn parts(format: ContentFormat, content: &[u8]) -> Vec<Part> {
    let Ok(text) = std::str::from_utf8(content) else {
        return vec![Part::of(PartKind::Envelope, content)];
    };
    match format {
        ContentFormat::Other => around(text, &[], PartKind::Envelope),
        ContentFormat::Batch => {
            let batch: Option<Batch<&RawValue>> = serde_json::from_str(text).ok();
            let messages = batch.map(|batch| batch.messages).unwrap_or_default();
            let ranges: Vec<_> =
                messages.into_iter().map(|message| range(text, message.get())).collect();
            around(text, &ranges, PartKind::Envelope)
        }
        ContentFormat::EventStream => text.split_inclusive('\n').flat_map(field).collect(),
        ContentFormat::Lines => {
            let of_line = |line| around(line, &message(line), PartKind::Envelope);
            text.split_inclusive('\n').flat_map(of_line).collect()
        }
        ContentFormat::Packets => {
            let of_packet = |packet| around(packet, &in_packet(packet), PartKind::Envelope);
            text.split_inclusive('\x1e').flat_map(of_packet).collect()
        }
        ContentFormat::Text => {
            let found = message(text);
            let found = if found.is_empty() { in_packet(text) } else { found };
            around(text, &found, PartKind::Envelope)
        }
    }
}

/// A line of an event stream: the name of the field, its value, and the line end.
fn field(line: &str) -> Vec<Part> {
    let name = "data:";
    match line.strip_prefix(name).map(message) {
        Some(found) if !found.is_empty() => {
            let shifted: Vec<_> = found
                .into_iter()
                .map(|range| range.start + name.len()..range.end + name.len())
                .collect();
            around(line, &shifted, PartKind::EventField)
        }
        _ => around(line, &[], PartKind::EventField),
    }
}

/// `text` split at `messages`: these are payload, the rest is of the kind `other`.
fn around(text: &str, messages: &[Range<usize>], other: PartKind) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    for message in messages {
        parts.push(Part::of(other, &text.as_bytes()[at..message.start]));
        parts.push(Part::of(PartKind::Payload, &text.as_bytes()[message.clone()]));
        at = message.end;
    }
    parts.push(Part::of(other, &text.as_bytes()[at..]));
    parts.retain(|part| part.bytes > 0);
    parts
}

/// The range of `part`, a slice of `text`, in it.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// The message in a line, without the line end.
fn message(line: &str) -> Vec<Range<usize>> {
    let json = line.trim_end_matches('\n');
    match StreamItem::decode(json) {
        Ok(StreamItem::Message(_)) => vec![range(line, json)],
        _ => Vec::new(),
    }
}

/// The message in a Socket.IO event, `42["message",{..}]`.
fn in_packet(packet: &str) -> Vec<Range<usize>> {
    let json = packet.strip_prefix("42").map(|json| json.trim_end_matches('\x1e'));
    let event: Option<(&str, &RawValue)> = json.and_then(|json| serde_json::from_str(json).ok());
    event
        .filter(|(name, data)| {
            *name == "message" && serde_json::from_str::<Message>(data.get()).is_ok()
        })
        .map(|(_, data)| range(packet, data.get()))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"offset":1,"published_at":2,"sender":"A","text":"hi"}"#;

    fn kinds(format: ContentFormat, content: &str) -> Vec<(PartKind, usize)> {
        let parts = parts(format, content.as_bytes());
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<usize>(), content.len(), "{content}");
        parts.iter().map(|part| (part.kind, part.bytes)).collect()
    }

    #[test]
    fn messages_are_payload_in_every_format() {
        use PartKind::{Envelope, EventField, Payload};
        let size = MESSAGE.len();
        let batch =
            format!(r#"{{"epoch":"000000ab","cursor":2,"messages":[{MESSAGE},{MESSAGE}]}}"#);
        let wanted =
            [(Envelope, 43), (Payload, size), (Envelope, 1), (Payload, size), (Envelope, 2)];
        assert_eq!(kinds(ContentFormat::Batch, &batch), wanted);
        let event = format!("id:000000ab:1\ndata:{MESSAGE}\n\n");
        let wanted = [(EventField, 14), (EventField, 5), (Payload, size), (EventField, 1)];
        assert_eq!(kinds(ContentFormat::EventStream, &event)[..4], wanted);
        assert_eq!(kinds(ContentFormat::Lines, &format!("{MESSAGE}\n"))[0], (Payload, size));
        assert_eq!(kinds(ContentFormat::Text, MESSAGE), [(Payload, size)]);
        let packet = format!(r#"42["message",{MESSAGE}]"#);
        let wanted = [(Envelope, 13), (Payload, size), (Envelope, 1)];
        assert_eq!(kinds(ContentFormat::Text, &packet), wanted);
        let two = format!("{packet}\x1e{packet}");
        assert_eq!(kinds(ContentFormat::Packets, &two).len(), 6);
    }

    #[test]
    fn other_content_has_no_payload() {
        let event = r#"{"event":"heartbeat"}"#;
        for format in [
            ContentFormat::Batch,
            ContentFormat::Lines,
            ContentFormat::Text,
            ContentFormat::Packets,
            ContentFormat::Other,
        ] {
            let parts = kinds(format, event);
            assert_eq!(parts, [(PartKind::Envelope, event.len())], "{format:?}");
        }
        assert_eq!(kinds(ContentFormat::EventStream, ":\n"), [(PartKind::EventField, 2)]);
        assert_eq!(parts(ContentFormat::Text, b"\xff\xfe")[0].bytes, 2);
    }
}
