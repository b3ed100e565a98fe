//! The memory that the messages of all topics use.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of memory for a message in addition to its encoding: its entry in the log, whose spare
/// capacity can be as large again, the allocator's overhead and the reference count.
pub const MESSAGE_OVERHEAD: usize = 112;
/// Bytes of memory for a topic in addition to its messages.
pub const TOPIC_OVERHEAD: usize = 1 << 10;

/// The bytes of messages that a feed keeps in memory, and their limit.
#[derive(Debug)]
pub struct RetainedMemory {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl RetainedMemory {
    pub fn new(bytes_max: usize) -> RetainedMemory {
        RetainedMemory { bytes: AtomicUsize::new(0), bytes_max }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    /// Whether more messages are to be dropped. Dropping continues to 7/8 of the limit, because the
    /// search for the oldest messages of all topics is too expensive for one message.
    pub(super) fn is_near(&self) -> bool {
        self.bytes() > self.bytes_max / 8 * 7
    }
}
