//! `text/event-stream` as the server writes it: fields in lines, an empty line after each event.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use warp::http::header::{HeaderMap, HeaderName};

use super::super::stream_response::Format;
use crate::message::{Cursor, Epoch, Event, Offset};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The cursor of a client whose `Last-Event-ID` is not one of ours. It is of no topic's epoch, so
/// the client gets a reset. Any status but 200 would end a browser's attempts to reconnect.
const UNKNOWN: Cursor = Cursor { epoch: Epoch(0), offset: 0 };

/// Writes events into one chunk.
pub struct EventFormat {
    epoch: Epoch,
    chunk: Vec<u8>,
}

impl Format for EventFormat {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    /// A comment.
    const HEARTBEAT: &'static [u8] = b":\n";

    fn new(epoch: Epoch) -> Self {
        EventFormat { epoch, chunk: Vec::new() }
    }

    /// An empty `Last-Event-ID` is the same as none (WHATWG HTML, section 9.2.4).
    fn cursor(headers: &HeaderMap) -> Option<Cursor> {
        let id = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty())?;
        Some(cursor_of(id.as_bytes()).unwrap_or(UNKNOWN))
    }

    fn retry(&mut self, delay: Duration) {
        self.put(format_args!("retry:{}\n", delay.as_millis()));
    }

    /// Under its own name, for `addEventListener`.
    fn event(&mut self, offset: Option<Offset>, event: &Event) {
        self.put(format_args!("event:{}\n", event.name()));
        if let Some(offset) = offset {
            self.id(offset);
        }
        self.data(event.encode().as_bytes());
    }

    /// Without a name, for `onmessage`.
    fn message(&mut self, offset: Offset, json: &[u8]) {
        self.id(offset);
        self.data(json);
    }

    fn finish(self) -> Bytes {
        self.chunk.into()
    }
}

impl EventFormat {
    fn id(&mut self, offset: Offset) {
        let epoch = self.epoch;
        self.put(format_args!("id:{epoch}:{offset}\n"));
    }

    /// JSON escapes every line break in a text, so an object is one line.
    fn data(&mut self, json: &[u8]) {
        debug_assert!(!json.iter().any(|byte| b"\r\n".contains(byte)));
        self.chunk.reserve(json.len() + 7);
        self.chunk.extend_from_slice(b"data:");
        self.chunk.extend_from_slice(json);
        self.chunk.extend_from_slice(b"\n\n");
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.chunk.write_fmt(text).expect("a Vec takes all text");
    }
}

/// The cursor that an event's id is, if it is one of ours.
pub fn cursor_of(id: &[u8]) -> Option<Cursor> {
    let (epoch, offset) = std::str::from_utf8(id).ok()?.split_once(':')?;
    Some(Cursor { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::event_stream::{EventParser, Parsed};
    use crate::message::Message;

    #[test]
    fn only_ids_of_this_server_are_cursors() {
        let cursor = Cursor { epoch: Epoch(0xab), offset: 7 };
        assert_eq!(cursor_of(b"000000ab:7"), Some(cursor));
        for bad in ["", "7", "000000ab", "000000ab:", "000000ab:-1", "ab:7", "000000ab:7:7"] {
            assert_eq!(cursor_of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(cursor_of(b"\xff:1"), None);
    }

    proptest! {
        #[test]
        fn any_text_arrives_intact_in_any_fragmentation(
            texts in prop::collection::vec("(\\PC|[\r\n\0:]){0,20}", 1..5),
            cut in 1..40usize,
        ) {
            let mut chunk = EventFormat::new(Epoch(0xab));
            let mut sent = Vec::new();
            for (offset, text) in (1..).zip(texts) {
                sent.push(Message { offset, published_at: 0, sender: "A".into(), text });
                chunk.message(offset, &sent[sent.len() - 1].encode());
            }
            let mut parser = EventParser::default();
            for part in chunk.finish().chunks(cut) {
                parser.feed(part).expect("short enough");
            }
            for message in sent {
                let Some(Parsed::Event(event)) = parser.next() else { panic!("one is missing") };
                prop_assert_eq!(event.id, format!("000000ab:{}", message.offset));
                prop_assert_eq!(serde_json::from_str::<Message>(&event.data).unwrap(), message);
            }
            prop_assert_eq!(parser.next(), None);
        }
    }
}
