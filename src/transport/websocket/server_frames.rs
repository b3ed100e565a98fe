//! WebSocket frames from the server, as bytes. Messages are encoded as frames once for all
//! subscribers; tungstenite would encode and copy each frame for each subscriber.

use std::io;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// FIN, and the opcode of a text message (RFC 6455, section 5.2).
pub const TEXT: u8 = 0x81;
/// FIN, and the opcode of a binary message.
pub const BINARY: u8 = 0x82;

/// Appends an unmasked frame (RFC 6455, section 5.2) whose payload is `parts`, one after the
/// other. `first` has FIN and the opcode.
pub fn push_frame(frames: &mut Vec<u8>, first: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    frames.push(first);
    match length {
        0..=125 => frames.push(length as u8),
        126..=0xffff => {
            frames.push(126);
            frames.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frames.push(127);
            frames.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    parts.iter().for_each(|part| frames.extend_from_slice(part));
}

/// Writes encoded frames. What is left of `frames` if this is dropped has not been written.
///
/// # Errors
/// If the stream breaks.
pub async fn write_frames(
    stream: &mut (impl AsyncWrite + Unpin),
    frames: &mut Bytes,
) -> io::Result<()> {
    while !frames.is_empty() {
        match stream.write(frames).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => frames.advance(count),
        }
    }
    // A TLS stream may have buffered a part of it.
    stream.flush().await
}
