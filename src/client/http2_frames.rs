//! Counts which bytes of an HTTP/2 connection are header blocks (RFC 9113, section 4.1).

/// The connection preface of a client.
const PREFACE_BYTES: usize = 24;
/// Length, type, flags, stream.
const HEAD_BYTES: usize = 9;
/// Types of frames that carry header blocks.
const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;

/// One direction of a connection. It may be read in any fragmentation.
#[derive(Debug)]
pub(super) struct FrameCounter {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Remaining bytes of the present frame.
    left: usize,
    is_header_block: bool,
}

impl FrameCounter {
    /// From client to server.
    pub fn up() -> FrameCounter {
        FrameCounter { left: PREFACE_BYTES, ..FrameCounter::down() }
    }

    /// From server to client.
    pub fn down() -> FrameCounter {
        FrameCounter { head: [0; HEAD_BYTES], head_bytes: 0, left: 0, is_header_block: false }
    }

    /// How many of the next `bytes` belong to header blocks. The others are frame heads, bodies and
    /// control frames.
    pub fn header_bytes(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                count += if self.is_header_block { taken } else { 0 };
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.head_bytes] = bytes[0];
            self.head_bytes += 1;
            bytes = &bytes[1..];
            if self.head_bytes == HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                self.head_bytes = 0;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.is_header_block = [HEADERS, PUSH_PROMISE, CONTINUATION].contains(&kind);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = (length as u32).to_be_bytes();
        let head = [&length_bytes[1..], &[kind, 0, 0, 0, 0, 1]].concat();
        [head, vec![0xaa; length]].concat()
    }

    #[test]
    fn header_blocks_are_found_however_the_bytes_are_cut() {
        let frames = [frame(4, 6), frame(1, 70), frame(0, 300), frame(9, 5)];
        let down = frames.concat();
        let up = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), down.clone()].concat();
        for cut in [1, 2, 8, 9, 10, 1_000] {
            let count = |mut frames: FrameCounter, bytes: &[u8]| -> usize {
                bytes.chunks(cut).map(|part| frames.header_bytes(part)).sum()
            };
            assert_eq!(count(FrameCounter::down(), &down), 75, "{cut}");
            assert_eq!(count(FrameCounter::up(), &up), 75, "{cut}");
        }
    }
}
