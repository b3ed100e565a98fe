//! A part of the bytes on the network, by its purpose.

use crate::measure::Ledger;

/// The purpose of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// First line of an HTTP request.
    RequestLine,
    /// First line of an HTTP response.
    StatusLine,
    /// A header line, or the empty line after the last one.
    Header,
    /// Size of a chunk in hexadecimal, and the line end after a chunk (RFC 9112, section 7.1).
    ChunkSize,
    /// Opcode and length of a WebSocket frame (RFC 6455, section 5.2).
    FrameHeader,
    /// Masking key of a frame from a client (section 5.3).
    Mask,
    /// Name of a field of a server-sent event, its line end, or a field without a message.
    EventField,
    /// The framing of a transport around messages, or an event other than a message.
    Envelope,
    /// A message object.
    Payload,
}

impl PartKind {
    /// The name in a trace.
    pub fn name(self) -> &'static str {
        match self {
            PartKind::RequestLine => "request line",
            PartKind::StatusLine => "status line",
            PartKind::Header => "header",
            PartKind::ChunkSize => "chunk",
            PartKind::FrameHeader => "frame header",
            PartKind::Mask => "mask",
            PartKind::EventField => "event field",
            PartKind::Envelope => "envelope",
            PartKind::Payload => "payload",
        }
    }

    /// Adds bytes of this kind to a ledger.
    pub(super) fn add_to(self, ledger: &mut Ledger, bytes: u64) {
        let sum = match self {
            PartKind::RequestLine | PartKind::StatusLine | PartKind::Header => &mut ledger.headers,
            PartKind::Payload => &mut ledger.payload,
            PartKind::ChunkSize
            | PartKind::FrameHeader
            | PartKind::Mask
            | PartKind::EventField
            | PartKind::Envelope => &mut ledger.framing,
        };
        *sum += bytes;
    }
}

/// A part of a request, a response, a chunk or a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub kind: PartKind,
    /// Bytes on the network.
    pub bytes: usize,
    /// The bytes as text, with line ends as `\r\n`; of binary parts a description.
    pub text: String,
}

impl Part {
    /// A part whose bytes are text.
    pub(super) fn of(kind: PartKind, bytes: &[u8]) -> Part {
        let text = String::from_utf8_lossy(bytes).replace('\r', "\\r").replace('\n', "\\n");
        Part { kind, bytes: bytes.len(), text: text.replace('\x1e', "\\x1e") }
    }

    /// A part with a description.
    pub(super) fn described(kind: PartKind, bytes: usize, text: impl Into<String>) -> Part {
        Part { kind, bytes, text: text.into() }
    }
}
