//! The format of `text/event-stream`, both halves of it: fields in lines, an empty line after each
//! event.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::client::{ClientError, HttpStream, RETRY_AFTER_MAX};
use crate::message::{Cursor, Epoch, Event, Offset};

/// Bytes of an event, of a line of it too, that a client reads: a server that never ends one
/// would else fill its memory.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// One at the beginning of a stream is not part of its first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Writes events into one chunk.
#[derive(Debug)]
pub(super) struct Encoder {
    epoch: String,
    chunk: Vec<u8>,
}

impl Encoder {
    /// An empty chunk; its events' ids are of `epoch`.
    pub fn new(epoch: Epoch) -> Self {
        Encoder { epoch: epoch.to_string(), chunk: Vec::new() }
    }

    /// How long to wait before connecting again.
    pub fn retry(&mut self, wait: Duration) {
        self.put(format_args!("retry:{}\n", wait.as_millis()));
    }

    /// An event of ours under its own name, for `addEventListener`. With an id it moves the cursor.
    pub fn event(&mut self, id: Option<Offset>, event: &Event) {
        let json = event.encode();
        let name = event.name();
        self.put(format_args!("event:{name}\n"));
        if let Some(offset) = id {
            self.id(offset);
        }
        self.data(json.as_bytes());
    }

    /// A message object: an event without a name, for `onmessage`.
    pub fn message(&mut self, offset: Offset, json: &[u8]) {
        self.id(offset);
        self.data(json);
    }

    pub fn finish(self) -> Bytes {
        self.chunk.into()
    }

    fn id(&mut self, offset: Offset) {
        self.chunk.extend_from_slice(b"id:");
        self.chunk.extend_from_slice(self.epoch.as_bytes());
        self.put(format_args!(":{offset}\n"));
    }

    /// One line is enough: JSON escapes every line break that a text may have.
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

/// An event as a client receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// Empty for a message.
    pub name: String,
    /// The id of this event, or of the last that had one.
    pub id: String,
    pub data: String,
}

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    Event(Received),
    Retry(Duration),
}

/// Reads a stream however it is cut into chunks, by the rules of WHATWG HTML, section 9.2.6; lines
/// may end in LF, CR or both.
#[derive(Debug)]
pub struct Parser {
    /// Bytes of a line, and of an event's data, that are read at most.
    event_bytes_max: usize,
    line: Vec<u8>,
    /// No line has ended yet: a byte order mark may precede the first one.
    at_start: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    event: Received,
    has_data: bool,
    parsed: VecDeque<Parsed>,
}

impl Default for Parser {
    /// One that reads events of up to [`EVENT_BYTES_MAX`].
    fn default() -> Self {
        Parser::up_to(EVENT_BYTES_MAX)
    }
}

impl Parser {
    /// One that reads lines, and events whose data have so many bytes at most.
    pub fn up_to(event_bytes_max: usize) -> Self {
        Parser {
            event_bytes_max,
            line: Vec::new(),
            at_start: true,
            after_cr: false,
            event: Received::default(),
            has_data: false,
            parsed: VecDeque::new(),
        }
    }

    /// The next thing that `stream` says.
    ///
    /// # Errors
    /// If the stream ends or breaks, or an event is too long.
    pub async fn next_of(&mut self, stream: &mut HttpStream) -> Result<Parsed, ClientError> {
        loop {
            if let Some(parsed) = self.next() {
                return Ok(parsed);
            }
            let ended = || ClientError::Closed("the stream has ended".to_owned());
            self.feed(&stream.chunk().await?.ok_or_else(ended)?)?;
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// If a line or an event is too long. What came before it is not lost.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ClientError> {
        for &byte in chunk {
            let completes_crlf = std::mem::take(&mut self.after_cr) && byte == b'\n';
            match byte {
                b'\n' if completes_crlf => {}
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    let is_first = std::mem::take(&mut self.at_start);
                    let marked = is_first.then(|| line.strip_prefix(BYTE_ORDER_MARK)).flatten();
                    self.end_line(marked.unwrap_or(&line));
                    self.line = line;
                    self.line.clear();
                    self.check(self.event.data.len())?;
                }
                _ => {
                    self.line.push(byte);
                    self.check(self.line.len())?;
                }
            }
        }
        Ok(())
    }

    fn check(&self, bytes: usize) -> Result<(), ClientError> {
        let most = self.event_bytes_max;
        let too_long = || ClientError::ProtocolError(format!("an event of more than {most} bytes"));
        if bytes > most { Err(too_long()) } else { Ok(()) }
    }

    fn end_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.event.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let wait = value.parse().ok().map(Duration::from_millis);
                let wait = wait.map(|wait| wait.min(RETRY_AFTER_MAX));
                self.parsed.extend(wait.map(Parsed::Retry));
            }
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let next = Received { id: self.event.id.clone(), ..Received::default() };
        let event = std::mem::replace(&mut self.event, next);
        if std::mem::take(&mut self.has_data) {
            self.parsed.push_back(Parsed::Event(event));
        }
    }
}

/// What is complete so far; more may come after a `None`.
impl Iterator for Parser {
    type Item = Parsed;

    fn next(&mut self) -> Option<Parsed> {
        self.parsed.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;

    fn parse(parser: &mut Parser, text: &[u8]) -> Vec<Parsed> {
        parser.feed(text).expect("short enough");
        parser.collect()
    }

    fn event(name: &str, id: &str, data: &str) -> Parsed {
        Parsed::Event(Received { name: name.into(), id: id.into(), data: data.into() })
    }

    #[test]
    fn every_way_to_end_a_line_is_understood() {
        let text =
            "retry: 5\n:comment\r\nid:a:1\rdata: x\r\ndata:y\n\r\nevent:gap\ndata\r\rdata:z\n\n";
        let wanted = [
            Parsed::Retry(Duration::from_millis(5)),
            event("", "a:1", "x\ny"),
            event("gap", "a:1", ""),
            event("", "a:1", "z"),
        ];
        assert_eq!(parse(&mut Parser::default(), text.as_bytes()), wanted);
    }

    #[test]
    fn one_byte_order_mark_at_the_start_is_skipped() {
        let marked = "\u{feff}data:1\n\n\u{feff}data:2\ndata:3\n\n";
        for cut in [1, 2, 4, 100] {
            let mut parser = Parser::default();
            marked.as_bytes().chunks(cut).for_each(|part| parser.feed(part).expect("short enough"));
            let events: Vec<_> = parser.collect();
            assert_eq!(events, [event("", "", "1"), event("", "", "3")], "{cut}");
        }
    }

    #[test]
    fn a_retry_field_is_bounded() {
        let parsed = parse(&mut Parser::default(), b"retry:18446744073709551615\n");
        assert_eq!(parsed, [Parsed::Retry(RETRY_AFTER_MAX)]);
    }

    #[test]
    fn an_event_without_data_is_none_and_an_unfinished_one_waits() {
        let mut parser = Parser::default();
        assert_eq!(parse(&mut parser, b"event:gap\n\ndata:1\n"), []);
        assert_eq!(parse(&mut parser, b"\n"), [event("", "", "1")]);
    }

    #[test]
    fn neither_a_line_nor_an_event_may_be_without_end() {
        let endless = ["x", ":", "data:x\n", "data\n"];
        for part in endless {
            let mut parser = Parser::up_to(100);
            let fed = (0..1000).find_map(|_| parser.feed(part.as_bytes()).err());
            let error = fed.expect("refused").to_string();
            assert!(error.contains("an event of more than 100 bytes"), "{error}");
            assert!(parser.line.len() + parser.event.data.len() <= 2 * 101);
        }
        let mut parser = Parser::up_to(100);
        let whole = format!("data:{}\n\n", "x".repeat(95)).repeat(2);
        assert_eq!(parse(&mut parser, whole.as_bytes()).len(), 2);
        assert!(parser.feed(format!("data:{}\n", "x".repeat(96)).as_bytes()).is_err());
    }

    #[test]
    fn only_our_own_ids_are_cursors() {
        let cursor = Cursor { epoch: Epoch(0xab), offset: 7 };
        assert_eq!(cursor_of(b"000000ab:7"), Some(cursor));
        for bad in ["", "7", "000000ab", "000000ab:", "000000ab:-1", "ab:7", "000000ab:7:7"] {
            assert_eq!(cursor_of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(cursor_of(b"\xff:1"), None);
    }

    proptest! {
        #[test]
        fn any_text_arrives_intact_however_the_stream_is_cut(
            texts in prop::collection::vec("(\\PC|[\r\n\0:]){0,20}", 1..5),
            cut in 1..40usize,
        ) {
            let mut chunk = Encoder::new(Epoch(0xab));
            let mut sent = Vec::new();
            for (offset, text) in (1..).zip(texts) {
                sent.push(Message { offset, published_at: 0, sender: "A".into(), text });
                chunk.message(offset, &sent[sent.len() - 1].encode());
            }
            let mut parser = Parser::default();
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
