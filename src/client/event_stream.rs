//! A response that does not end, of server-sent events: the parser of `text/event-stream`, and the
//! stream that it reads.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ClientError, Dialer, HttpStream, RETRY_AFTER_MAX};
use crate::message::StreamItem;

/// Largest event, and largest line of an event, that a client reads, bytes.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// Default time that a client waits before it reconnects.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// The byte order mark. At the beginning of a stream it is not part of the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The events, as they arrive.
#[derive(Debug)]
pub struct EventStream {
    stream: HttpStream,
    parser: EventParser,
    reconnect_delay: Duration,
}

impl EventStream {
    /// As [`HttpStream::get`].
    ///
    /// # Errors
    /// As [`HttpStream::get`].
    pub async fn get(dialer: &Dialer, path: &str) -> Result<EventStream, ClientError> {
        let stream = HttpStream::get(dialer, path).await?;
        let (parser, reconnect_delay) = (EventParser::default(), RECONNECT_DELAY);
        Ok(EventStream { stream, parser, reconnect_delay })
    }

    /// The next event.
    ///
    /// # Errors
    /// If the stream ends or breaks, or an event is too long.
    pub async fn next_event(&mut self) -> Result<StreamEvent, ClientError> {
        loop {
            match self.parser.next() {
                Some(Parsed::Retry(delay)) => self.reconnect_delay = delay,
                Some(Parsed::Event(event)) => return Ok(event),
                None => self.parser.feed(&self.stream.next_chunk().await?)?,
            }
        }
    }

    /// The next event, whose data is a message or an event of this project.
    ///
    /// # Errors
    /// As [`EventStream::next_event`], or if the data is neither of the two.
    pub async fn next_item(&mut self) -> Result<StreamItem, ClientError> {
        let event = self.next_event().await?;
        self.stream.item(&event.data)
    }

    /// How long the server wants a client that lost its connection to wait before it reconnects.
    pub fn reconnect_delay(&self) -> Duration {
        self.reconnect_delay
    }

    /// Counts message objects that the caller has found in an event.
    pub fn count_payload(&self, bytes: usize) {
        self.stream.count_payload(bytes);
    }
}

/// An event as a client receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamEvent {
    /// Empty for a message.
    pub name: String,
    /// The id of this event, or of the last that had one.
    pub id: String,
    pub data: String,
}

/// The content of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    Event(StreamEvent),
    Retry(Duration),
}

/// Parses a stream, in any fragmentation, by the rules of WHATWG HTML, section 9.2.6; lines may end
/// in LF, CR or both.
#[derive(Debug)]
pub struct EventParser {
    /// Largest line, and largest data of an event, bytes.
    event_bytes_max: usize,
    line: Vec<u8>,
    /// No line has ended yet: a byte order mark may precede the first one.
    at_start: bool,
    /// The last byte was a CR: an LF that follows belongs to the same line end.
    after_cr: bool,
    event: StreamEvent,
    has_data: bool,
    parsed: VecDeque<Parsed>,
}

impl Default for EventParser {
    /// A reader of events of up to [`EVENT_BYTES_MAX`].
    fn default() -> Self {
        EventParser::up_to(EVENT_BYTES_MAX)
    }
}

impl EventParser {
    /// A reader with this limit on the bytes of a line and of the data of an event.
    pub fn up_to(event_bytes_max: usize) -> Self {
        EventParser {
            event_bytes_max,
            line: Vec::new(),
            at_start: true,
            after_cr: false,
            event: StreamEvent::default(),
            has_data: false,
            parsed: VecDeque::new(),
        }
    }

    /// Parses more bytes.
    ///
    /// # Errors
    /// If a line or an event is too long. Earlier events are not lost.
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
        let next = StreamEvent { id: self.event.id.clone(), ..StreamEvent::default() };
        let event = std::mem::replace(&mut self.event, next);
        if std::mem::take(&mut self.has_data) {
            self.parsed.push_back(Parsed::Event(event));
        }
    }
}

/// The next complete event; after a `None` more data may arrive.
impl Iterator for EventParser {
    type Item = Parsed;

    fn next(&mut self) -> Option<Parsed> {
        self.parsed.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parser: &mut EventParser, text: &[u8]) -> Vec<Parsed> {
        parser.feed(text).expect("short enough");
        parser.collect()
    }

    fn event(name: &str, id: &str, data: &str) -> Parsed {
        Parsed::Event(StreamEvent { name: name.into(), id: id.into(), data: data.into() })
    }

    #[test]
    fn every_line_ending_is_recognized() {
        let text =
            "retry: 5\n:comment\r\nid:a:1\rdata: x\r\ndata:y\n\r\nevent:gap\ndata\r\rdata:z\n\n";
        let wanted = [
            Parsed::Retry(Duration::from_millis(5)),
            event("", "a:1", "x\ny"),
            event("gap", "a:1", ""),
            event("", "a:1", "z"),
        ];
        assert_eq!(parse(&mut EventParser::default(), text.as_bytes()), wanted);
    }

    #[test]
    fn one_byte_order_mark_at_the_start_is_skipped() {
        let marked = "\u{feff}data:1\n\n\u{feff}data:2\ndata:3\n\n";
        for cut in [1, 2, 4, 100] {
            let mut parser = EventParser::default();
            marked.as_bytes().chunks(cut).for_each(|part| parser.feed(part).expect("short enough"));
            let events: Vec<_> = parser.collect();
            assert_eq!(events, [event("", "", "1"), event("", "", "3")], "{cut}");
        }
    }

    #[test]
    fn a_retry_field_is_bounded() {
        let parsed = parse(&mut EventParser::default(), b"retry:18446744073709551615\n");
        assert_eq!(parsed, [Parsed::Retry(RETRY_AFTER_MAX)]);
    }

    #[test]
    fn event_without_data_is_ignored_and_incomplete_event_is_not_returned() {
        let mut parser = EventParser::default();
        assert_eq!(parse(&mut parser, b"event:gap\n\ndata:1\n"), []);
        assert_eq!(parse(&mut parser, b"\n"), [event("", "", "1")]);
    }

    #[test]
    fn lengths_of_lines_and_events_are_limited() {
        let endless = ["x", ":", "data:x\n", "data\n"];
        for part in endless {
            let mut parser = EventParser::up_to(100);
            let fed = (0..1000).find_map(|_| parser.feed(part.as_bytes()).err());
            let error = fed.expect("refused").to_string();
            assert!(error.contains("an event of more than 100 bytes"), "{error}");
            assert!(parser.line.len() + parser.event.data.len() <= 2 * 101);
        }
        let mut parser = EventParser::up_to(100);
        let whole = format!("data:{}\n\n", "x".repeat(95)).repeat(2);
        assert_eq!(parse(&mut parser, whole.as_bytes()).len(), 2);
        assert!(parser.feed(format!("data:{}\n", "x".repeat(96)).as_bytes()).is_err());
    }
}
