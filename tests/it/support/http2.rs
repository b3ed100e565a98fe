//! HTTP/2 in bytes: sends frames unchanged, valid or not, and reads them one by one.

use std::collections::HashMap;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::soon;

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The largest window (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// A frame with this payload.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and settings with this initial window of streams.
pub fn opening(window: u32) -> Vec<u8> {
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &setting)[..]].concat()
}

/// The preface of a client whose flow control never stops the server.
pub fn opening_without_flow_control() -> Vec<u8> {
    // The window of a connection is 65,535 bytes at first, independent of the settings.
    let more = (WINDOW_MAX - 65_535).to_be_bytes();
    [opening(WINDOW_MAX), frame(WINDOW_UPDATE, 0, 0, &more)].concat()
}

/// A header field without indexing (RFC 7541, section 6.2.2), whose name has this index in the
/// static table. The value must be short.
fn field(index: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("short");
    [&[index, length], value.as_bytes()].concat()
}

/// A header field with this name, without indexing.
pub fn named_field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|it| *it < 127).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The fields of a request: `:method`, `:scheme`, `:authority`, `:path`.
pub fn request_fields(is_post: bool, path: &str) -> Vec<u8> {
    let (method, scheme) = (if is_post { 0x83 } else { 0x82 }, 0x86);
    let path = named_field(":path", path);
    [&[method, scheme], &field(0x01, "localhost")[..], &path[..]].concat()
}

/// A GET that ends its stream.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request_fields(false, path))
}

/// A frame from the server.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// True for a ping that requires an answer.
    pub fn is_ping(&self) -> bool {
        self.kind == PING && self.flags & ACK == 0
    }

    /// True if it is the last frame of its stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The next frame.
pub async fn next_frame(io: &mut (impl AsyncRead + Unpin)) -> Frame {
    let mut head = [0; 9];
    soon(io.read_exact(&mut head)).await.expect("a frame");
    let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, l1, l2, l3]) as usize];
    soon(io.read_exact(&mut payload)).await.expect("a whole frame");
    Frame { kind, flags, stream: u32::from_be_bytes([s1, s2, s3, s4]), payload }
}

/// A client that sends as much data as the windows of the server allow (RFC 9113, section 6.9).
pub struct Sender<S> {
    io: S,
    /// Of the connection, with the number 0, and of its streams.
    windows: HashMap<u32, usize>,
}

/// The initial windows of the server.
const WINDOW: usize = (64 << 10) - 1;

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    pub fn new(io: S) -> Sender<S> {
        Sender { io, windows: HashMap::new() }
    }

    /// Sends data on `stream` once there is room. False if the server has reset the stream, or
    /// answered it, instead.
    pub async fn send_data(&mut self, stream: u32, data: &[u8]) -> bool {
        while [0, stream].iter().any(|it| *self.windows.entry(*it).or_insert(WINDOW) < data.len()) {
            let frame = next_frame(&mut self.io).await;
            match frame.kind {
                WINDOW_UPDATE => {
                    let more: [u8; 4] = frame.payload.try_into().expect("four bytes");
                    *self.windows.entry(frame.stream).or_insert(WINDOW) +=
                        u32::from_be_bytes(more) as usize;
                }
                HEADERS | RST_STREAM if frame.stream == stream => return false,
                GOAWAY => return false,
                _ => {}
            }
        }
        [0, stream].iter().for_each(|it| *self.windows.get_mut(it).expect("set") -= data.len());
        let bytes = self::frame(DATA, 0, stream, data);
        soon(self.io.write_all(&bytes)).await.is_ok()
    }
}
