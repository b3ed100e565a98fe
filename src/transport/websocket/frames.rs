//! WebSocket frames from the server, as bytes: messages are written as frames that are encoded once
//! for all subscribers, and not by tungstenite, which encodes and copies each frame for each.

/// FIN, and the opcode of a text message (RFC 6455, section 5.2).
pub const TEXT: u8 = 0x81;
/// FIN, and the opcode of a binary message.
pub const BINARY: u8 = 0x82;

/// Appends an unmasked frame (RFC 6455, section 5.2) whose payload are all `parts`. `first` has FIN
/// and the opcode.
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
