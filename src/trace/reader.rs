//! Splits one direction of a connection into units: a request, a response, a chunk of a response,
//! or a frame. It reads HTTP/1.1 (RFC 9112) and WebSocket frames (RFC 6455).

use std::time::Instant;

use super::content::{self, ContentFormat};
use super::part::{Part, PartKind};

/// The direction that a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// A complete unit.
#[derive(Debug)]
pub(super) struct WireUnit {
    /// When its first bytes were sent or received.
    pub at: Instant,
    pub kind: UnitKind,
    pub parts: Vec<Part>,
}

/// The type of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitKind {
    Request {
        is_post: bool,
    },
    /// A response with its body, or the head of one that is chunked.
    Response {
        status: u16,
        is_chunked: bool,
    },
    Chunk,
    Text,
    /// A WebSocket frame without a text: ping, pong, close.
    Control,
    /// Bytes that were not complete at the end of the trace.
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    Chunks(ContentFormat),
    Frames,
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Reader {
    direction: Direction,
    mode: Mode,
    /// Bytes of the incomplete unit, and when the first of them arrived.
    buffer: Vec<u8>,
    began: Option<Instant>,
}

impl Reader {
    pub fn new(direction: Direction) -> Reader {
        Reader { direction, mode: Mode::Http, buffer: Vec::new(), began: None }
    }

    /// Reads frames from here on, after an upgrade.
    pub fn switch_protocols(&mut self) {
        self.mode = Mode::Frames;
    }

    pub fn feed(&mut self, at: Instant, bytes: &[u8]) {
        self.began.get_or_insert(at);
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete unit.
    pub fn next_unit(&mut self) -> Option<WireUnit> {
        let at = self.began?;
        let (length, kind, parts) = match self.mode {
            Mode::Http => self.http()?,
            Mode::Chunks(format) => self.chunk(format)?,
            Mode::Frames => frame(&self.buffer)?,
        };
        self.buffer.drain(..length);
        if self.buffer.is_empty() {
            self.began = None;
        }
        if let UnitKind::Response { is_chunked: true, .. } = kind {
            self.mode = Mode::Chunks(stream_format(&parts));
        }
        Some(WireUnit { at, kind, parts })
    }

    /// The incomplete unit at the end.
    pub fn rest(self) -> Option<WireUnit> {
        let kind = match self.mode {
            Mode::Http => PartKind::Header,
            Mode::Chunks(_) => PartKind::ChunkSize,
            Mode::Frames => PartKind::Envelope,
        };
        let parts = vec![Part::of(kind, &self.buffer)];
        self.began.map(|at| WireUnit { at, kind: UnitKind::Incomplete, parts })
    }

    /// A head, with its body if the length of that is known.
    fn http(&self) -> Option<(usize, UnitKind, Vec<Part>)> {
        let head = find(&self.buffer, b"\r\n\r\n")? + 4;
        let first = match self.direction {
            Direction::Up => PartKind::RequestLine,
            Direction::Down => PartKind::StatusLine,
        };
        let lines = self.buffer[..head].split_inclusive(|byte| *byte == b'\n');
        let kinds = std::iter::once(first).chain(std::iter::repeat(PartKind::Header));
        let mut parts: Vec<Part> =
            lines.zip(kinds).map(|(line, kind)| Part::of(kind, line)).collect();
        let length = header(&parts, "content-length").and_then(|length| length.parse().ok());
        let is_chunked = header(&parts, "transfer-encoding").is_some();
        let end = head.checked_add(length.unwrap_or(0_usize))?;
        let body = self.buffer.get(head..end)?;
        let start = &self.buffer[..head];
        let kind = match self.direction {
            Direction::Up => UnitKind::Request { is_post: start.starts_with(b"POST") },
            Direction::Down => {
                let status = std::str::from_utf8(start.get(9..12)?).ok()?.parse().ok()?;
                UnitKind::Response { status, is_chunked }
            }
        };
        let format = match (self.direction, header(&parts, "content-type")) {
            (Direction::Up, _) => ContentFormat::Other,
            (_, Some(json)) if json.starts_with("application/json") => ContentFormat::Batch,
            _ => ContentFormat::Packets,
        };
        parts.extend(content::parts(format, body));
        Some((end, kind, parts))
    }

    fn chunk(&self, format: ContentFormat) -> Option<(usize, UnitKind, Vec<Part>)> {
        let line = find(&self.buffer, b"\r\n")? + 2;
        let size = std::str::from_utf8(&self.buffer[..line - 2]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let end = line.checked_add(size)?.checked_add(2)?;
        let chunk = self.buffer.get(line..end)?;
        let mut parts = vec![Part::of(PartKind::ChunkSize, &self.buffer[..line])];
        parts.extend(content::parts(format, &chunk[..size]));
        parts.push(Part::of(PartKind::ChunkSize, &chunk[size..]));
        Some((end, UnitKind::Chunk, parts))
    }
}

/// The value of a header in the parts of a head.
fn header<'a>(parts: &'a [Part], name: &str) -> Option<&'a str> {
    parts.iter().find_map(|part| {
        let (given, value) = part.text.split_once(": ")?;
        given.eq_ignore_ascii_case(name).then(|| value.trim_end_matches("\\r\\n"))
    })
}

/// The format of a response that does not end.
fn stream_format(head: &[Part]) -> ContentFormat {
    match header(head, "content-type") {
        Some("text/event-stream") => ContentFormat::EventStream,
        Some("application/x-ndjson") => ContentFormat::Lines,
        _ => ContentFormat::Other,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A frame (RFC 6455, section 5.2).
fn frame(bytes: &[u8]) -> Option<(usize, UnitKind, Vec<Part>)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let header = 2 + extended;
    let length = match extended {
        0 => u64::from(second & 0x7f),
        _ => bytes.get(2..header)?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    };
    let is_masked = second & 0x80 != 0;
    let start = header + if is_masked { 4 } else { 0 };
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let payload = bytes.get(start..end)?;
    let (name, kind) = match first & 0x0f {
        0x1 => ("text", UnitKind::Text),
        0x2 => ("binary", UnitKind::Text),
        0x8 => ("close", UnitKind::Control),
        0x9 => ("ping", UnitKind::Control),
        0xa => ("pong", UnitKind::Control),
        _ => ("continuation", UnitKind::Text),
    };
    let fin = if first & 0x80 != 0 { "FIN, " } else { "" };
    let masked = if is_masked { "masked, " } else { "" };
    let text = format!("{}= {fin}{name}, {masked}length {length}", hex(&bytes[..header]));
    let mut parts = vec![Part::described(PartKind::FrameHeader, header, text)];
    if !is_masked {
        parts.extend(match kind {
            UnitKind::Text => content::parts(ContentFormat::Text, payload),
            _ => content::parts(ContentFormat::Other, payload),
        });
        return Some((end, kind, parts));
    }
    let mask = &bytes[header..start];
    let plain: Vec<u8> =
        payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let text = format!("{}= random; what follows is XORed with it", hex(mask));
    parts.push(Part::described(PartKind::Mask, 4, text));
    parts.extend(content::parts(ContentFormat::Other, &plain));
    Some((end, kind, parts))
}

/// `81 7e `
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(direction: Direction, frames: bool, bytes: &[u8], cut: usize) -> Vec<WireUnit> {
        let mut reader = Reader::new(direction);
        if frames {
            reader.switch_protocols();
        }
        let mut units = Vec::new();
        for part in bytes.chunks(cut) {
            reader.feed(Instant::now(), part);
            while let Some(unit) = reader.next_unit() {
                units.push(unit);
            }
        }
        units.extend(reader.rest());
        units
    }

    fn size(units: &[WireUnit]) -> usize {
        units.iter().flat_map(|unit| &unit.parts).map(|part| part.bytes).sum()
    }

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
        transfer-encoding: chunked\r\n\r\n2\r\n:\n\r\n9\r\ndata:{}\n\n\r\n";

    #[test]
    fn units_do_not_depend_on_how_the_bytes_are_cut() {
        let request = b"GET /a HTTP/1.1\r\nhost: b\r\n\r\nPOST /c HTTP/1.1\r\n\
            Content-Length: 2\r\n\r\n40GET";
        for cut in [1, 2, 3, 7, 1000] {
            let up = units(Direction::Up, false, request, cut);
            let kinds: Vec<_> = up.iter().map(|unit| unit.kind).collect();
            let is_post = |is_post| UnitKind::Request { is_post };
            assert_eq!(kinds, [is_post(false), is_post(true), UnitKind::Incomplete], "{cut}");
            assert_eq!(size(&up), request.len());
            let down = units(Direction::Down, false, STREAM, cut);
            let kinds: Vec<_> = down.iter().map(|unit| unit.kind).collect();
            let head = UnitKind::Response { status: 200, is_chunked: true };
            assert_eq!(kinds, [head, UnitKind::Chunk, UnitKind::Chunk], "{cut}");
            assert_eq!(size(&down), STREAM.len());
        }
    }

    #[test]
    fn a_masked_frame_is_shown_unmasked() {
        let mut bytes = vec![0x81, 0x82, 1, 2, 3, 4];
        bytes.extend([b'4' ^ 1, b'0' ^ 2]);
        let parts = &units(Direction::Up, true, &bytes, 1)[0].parts;
        assert_eq!(parts[0].text, "81 82 = FIN, text, masked, length 2");
        assert_eq!((parts[1].kind, parts[1].bytes), (PartKind::Mask, 4));
        assert_eq!((parts[2].kind, parts[2].text.as_str()), (PartKind::Envelope, "40"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_once(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in 1..40_usize,
            frames: bool,
            head: bool,
        ) {
            let bytes = if head && !frames { [STREAM, &bytes].concat() } else { bytes };
            prop_assert_eq!(size(&units(Direction::Down, frames, &bytes, cut)), bytes.len());
        }
    }
}
