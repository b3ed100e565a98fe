//! The bounded log of one topic: plain data, no waiting and no locks.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::message::Offset;

/// What a topic keeps; whatever is older is dropped, and readers that needed it are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest messages kept, at least 1.
    pub messages: usize,
    /// Encoded bytes kept; the newest message is kept whatever its size.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { messages: 10_000, bytes: 16 << 20 }
    }
}

/// The newest messages of a topic, in order, by offset.
#[derive(Debug)]
pub(super) struct Log {
    retention: Retention,
    messages: VecDeque<Bytes>,
    bytes: usize,
    head: Offset,
}

impl Log {
    pub fn new(retention: Retention) -> Self {
        Log { retention, messages: VecDeque::new(), bytes: 0, head: 0 }
    }

    /// The newest offset, 0 if nothing was ever appended.
    pub fn head(&self) -> Offset {
        self.head
    }

    /// Appends the message that `encode` makes for the next offset, and drops what is too old.
    pub fn append(&mut self, encode: impl FnOnce(Offset) -> Bytes) -> Offset {
        self.head += 1;
        let message = encode(self.head);
        self.bytes += message.len();
        self.messages.push_back(message);
        while self.messages.len() > 1
            && (self.messages.len() > self.retention.messages || self.bytes > self.retention.bytes)
        {
            let dropped = self.messages.pop_front().expect("more than one is there");
            self.bytes -= dropped.len();
        }
        self.head
    }

    /// Messages after `after`, at most `limit` of them, and how many before them are gone.
    /// `after` must not be ahead of the head.
    pub fn read_after(&self, after: Offset, limit: usize) -> (u64, Vec<Bytes>) {
        let kept_after = self.head - self.messages.len() as u64;
        let gap = kept_after.saturating_sub(after);
        let skip = after.saturating_sub(kept_after) as usize;
        (gap, self.messages.range(skip..).take(limit).cloned().collect())
    }
}
