//! How much memory the messages of all topics take together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that a message takes beside its encoding: its entry in the log, whose spare capacity can
/// be as large again, and what the allocator and the reference count need.
pub const MESSAGE_OVERHEAD: usize = 112;
/// Bytes that a topic takes beside its messages.
pub const TOPIC_OVERHEAD: usize = 1 << 10;

/// Bytes of messages that a feed keeps in memory, and how many it should keep at most.
#[derive(Debug)]
pub struct Retained {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Retained {
    pub fn new(bytes_max: usize) -> Retained {
        Retained { bytes: AtomicUsize::new(0), bytes_max }
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

    /// True while more is to be dropped. It stops below the limit, since finding the oldest
    /// messages of all topics is not worth the while for one message.
    pub(super) fn is_near(&self) -> bool {
        self.bytes() > self.bytes_max / 8 * 7
    }
}
