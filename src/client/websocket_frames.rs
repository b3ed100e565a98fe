//! WebSocket frames (RFC 6455, section 5) as a client reads and writes them. This code uses no
//! socket: the result depends on the bytes alone, in any fragmentation.
//!
//! The server uses tungstenite. This reader exists so that a delivery costs the load test little
//! compared with the server: one buffer, many frames per read, no copy of a text.

use std::mem::take;
use std::str::from_utf8;

/// Bytes received at a time, and the buffer of an idle subscriber.
const RECEIVED_BYTES: usize = 1 << 10;
/// A larger buffer is freed once it is empty.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// The longest payload of a control frame (section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// A message or control frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The last frame: code and reason, if it has them.
    Close(Option<(u16, &'a str)>),
}

/// A protocol error of the server, after which the connection cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a masked frame from a server")]
    Masked,
    #[error("a frame with reserved bits")]
    ReservedBits,
    #[error("a frame with the reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    #[error("a fragmented control frame")]
    FragmentedControl,
    #[error("a control frame of more than {CONTROL_BYTES_MAX} bytes")]
    LongControl,
    #[error("a continuation frame without a message")]
    ContinuationOfNothing,
    #[error("a message that begins within another")]
    MessageInMessage,
    #[error("a message of more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("a close frame with half a code")]
    HalfACode,
    #[error("a close frame with the invalid code {0}")]
    BadCode(u16),
}

impl FrameError {
    /// The code to close the connection with (section 7.4.1).
    pub fn closing_code(self) -> u16 {
        match self {
            FrameError::NotUtf8 => 1007,
            FrameError::TooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

/// Parses the bytes from a server.
#[derive(Debug)]
pub struct FrameReader {
    /// Received bytes; the first `taken` of them have been parsed.
    buffer: Vec<u8>,
    taken: usize,
    /// The type of a message whose first fragments have arrived.
    begun: Option<Opcode>,
    parts: Vec<u8>,
    is_closed: bool,
    bytes_max: usize,
}

impl FrameReader {
    /// A reader that accepts messages of up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> FrameReader {
        let (buffer, parts) = (Vec::new(), Vec::new());
        FrameReader { buffer, taken: 0, begun: None, parts, is_closed: false, bytes_max }
    }

    /// The buffer to append received bytes to. It grows with the bytes that arrive, not with the
    /// length that a frame announces.
    pub fn read_buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..take(&mut self.taken));
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve(RECEIVED_BYTES);
        }
        &mut self.buffer
    }

    /// The next message or control frame; `None` if more bytes are needed, and after a close.
    ///
    /// # Errors
    /// If the server breaks the protocol.
    pub fn next_frame(&mut self) -> Result<Option<ServerFrame<'_>>, FrameError> {
        if self.begun.is_none() {
            self.parts = Vec::new();
        }
        while !self.is_closed {
            let unparsed = &self.buffer[self.taken..];
            let Some(header) = FrameHeader::read(unparsed)? else { break };
            let so_far = if header.opcode.is_control() { 0 } else { self.parts.len() };
            if header.payload_bytes > (self.bytes_max - so_far) as u64 {
                return Err(FrameError::TooLarge { bytes_max: self.bytes_max });
            }
            let end = header.bytes + header.payload_bytes as usize;
            let Some(payload) = unparsed.get(header.bytes..end) else { break };
            self.taken += end;
            let opcode = match (header.opcode, self.begun) {
                (Opcode::Continuation, None) => return Err(FrameError::ContinuationOfNothing),
                (Opcode::Text | Opcode::Binary, Some(_)) => {
                    return Err(FrameError::MessageInMessage);
                }
                (Opcode::Continuation, Some(begun)) => begun,
                (other, _) => other,
            };
            if opcode.is_control() {
                self.is_closed = opcode == Opcode::Close;
                return decode(opcode, payload).map(Some);
            }
            if header.is_final && self.begun.is_none() {
                return decode(opcode, payload).map(Some);
            }
            self.parts.extend_from_slice(payload);
            self.begun = (!header.is_final).then_some(opcode);
            if header.is_final {
                return decode(opcode, &self.parts).map(Some);
            }
        }
        Ok(None)
    }
}

fn decode(opcode: Opcode, payload: &[u8]) -> Result<ServerFrame<'_>, FrameError> {
    let text = |bytes| from_utf8(bytes).map_err(|_| FrameError::NotUtf8);
    Ok(match opcode {
        Opcode::Text => ServerFrame::Text(text(payload)?),
        Opcode::Continuation | Opcode::Binary => ServerFrame::Binary(payload),
        Opcode::Ping => ServerFrame::Ping(payload),
        Opcode::Pong => ServerFrame::Pong(payload),
        Opcode::Close => match payload {
            [] => ServerFrame::Close(None),
            [_] => return Err(FrameError::HalfACode),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                // Codes of the RFC that may be sent, codes registered since, and codes for private
                // use.
                if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                    return Err(FrameError::BadCode(code));
                }
                ServerFrame::Close(Some((code, text(reason)?)))
            }
        },
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    fn of(bits: u8) -> Result<Opcode, FrameError> {
        Ok(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            reserved => return Err(FrameError::ReservedOpcode(reserved)),
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

/// The header of a frame.
struct FrameHeader {
    is_final: bool,
    opcode: Opcode,
    /// Length of the header itself.
    bytes: usize,
    payload_bytes: u64,
}

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

impl FrameHeader {
    /// Parses the header at the start of `bytes`; `None` if it is incomplete.
    fn read(bytes: &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        if second & MASKED != 0 {
            return Err(FrameError::Masked);
        }
        let (is_final, opcode) = (first & FINAL != 0, Opcode::of(first & 0xf)?);
        if opcode.is_control() && !is_final {
            return Err(FrameError::FragmentedControl);
        }
        if opcode.is_control() && usize::from(*second) > CONTROL_BYTES_MAX {
            return Err(FrameError::LongControl);
        }
        let length = match second {
            126 => rest.first_chunk().map(|two| (4, u64::from(u16::from_be_bytes(*two)))),
            127 => rest.first_chunk().map(|eight| (10, u64::from_be_bytes(*eight))),
            short => Some((2, u64::from(*short))),
        };
        let header =
            |(bytes, payload_bytes)| FrameHeader { is_final, opcode, bytes, payload_bytes };
        Ok(length.map(header))
    }
}

/// Appends a client's text frame to `frames`, masked with `mask`.
pub fn text(text: &str, mask: [u8; 4], frames: &mut Vec<u8>) {
    put(Opcode::Text, text.as_bytes(), mask, frames);
}

/// Appends a client's pong to `frames`, masked with `mask`.
pub fn pong(payload: &[u8], mask: [u8; 4], frames: &mut Vec<u8>) {
    put(Opcode::Pong, payload, mask, frames);
}

/// Appends a client's close to `frames`, masked with `mask`.
pub fn close(code: Option<u16>, mask: [u8; 4], frames: &mut Vec<u8>) {
    let code = code.map(u16::to_be_bytes);
    put(Opcode::Close, code.as_ref().map_or(&[], |code| &code[..]), mask, frames);
}

fn put(opcode: Opcode, payload: &[u8], mask: [u8; 4], frames: &mut Vec<u8>) {
    frames.push(FINAL | opcode as u8);
    match payload.len() {
        short @ ..126 => frames.push(MASKED | short as u8),
        long @ ..65_536 => {
            frames.push(MASKED | 126);
            frames.extend((long as u16).to_be_bytes());
        }
        huge => {
            frames.push(MASKED | 127);
            frames.extend((huge as u64).to_be_bytes());
        }
    }
    frames.extend(mask);
    frames.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
