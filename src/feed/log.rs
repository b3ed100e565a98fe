//! The bounded log of one topic: plain data without waiting and locks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::retained_memory::{MESSAGE_OVERHEAD, RetainedMemory, TOPIC_OVERHEAD};

use crate::message::Offset;

/// Limits of the messages that a topic keeps. Older messages are dropped; readers that have not
/// read them receive a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest messages kept, at least 1.
    pub messages: usize,
    /// Encoded bytes kept; the newest message is kept even if it exceeds the limit.
    pub bytes: usize,
    /// Maximum age of a message, including the newest one; [`Duration::MAX`] means no limit.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { messages: 10_000, bytes: 16 << 20, age: Duration::MAX }
    }
}

impl Retention {
    /// Whether `messages` messages of `bytes` bytes in total exceed the limits.
    pub fn is_exceeded_by(&self, messages: usize, bytes: usize) -> bool {
        messages > 1 && (messages > self.messages || bytes > self.bytes)
    }

    /// Messages stored before this time are expired; microseconds since the Unix epoch.
    pub fn oldest_allowed(&self) -> u64 {
        unix_micros().saturating_sub(u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The current time, microseconds since the Unix epoch.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}

/// Limits of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Maximum number of messages.
    pub messages: usize,
    /// Maximum encoded bytes; one message is returned even if it exceeds the limit.
    pub bytes: usize,
}

impl From<usize> for ReadLimit {
    /// A limit of `messages` messages.
    fn from(messages: usize) -> ReadLimit {
        ReadLimit { messages, bytes: usize::MAX }
    }
}

impl ReadLimit {
    /// The same, with at most `bytes`.
    pub(super) fn within(self, bytes: usize) -> ReadLimit {
        ReadLimit { bytes: self.bytes.min(bytes), ..self }
    }

    /// The first of `messages`, up to the limits.
    ///
    /// # Errors
    /// The first error among them.
    pub fn of<E>(&self, messages: impl Iterator<Item = Result<Bytes, E>>) -> Result<Vec<Bytes>, E> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        for message in messages.take(self.messages) {
            let message = message?;
            bytes += message.len();
            if bytes > self.bytes && !taken.is_empty() {
                break;
            }
            taken.push(message);
        }
        Ok(taken)
    }
}

/// The newest messages of a topic, in order, by offset.
#[derive(Debug)]
pub(super) struct Log {
    retention: Retention,
    messages: VecDeque<RetainedMessage>,
    bytes: usize,
    head: Offset,
    /// Memory of the logs of all topics.
    retained: Arc<RetainedMemory>,
}

#[derive(Debug)]
struct RetainedMessage {
    /// Microseconds since the Unix epoch.
    stored_at: u64,
    message: Bytes,
}

impl Log {
    /// An empty log whose next offset follows `head`.
    pub fn after(head: Offset, retention: Retention, retained: Arc<RetainedMemory>) -> Self {
        retained.add(TOPIC_OVERHEAD);
        Log { retention, messages: VecDeque::new(), bytes: 0, head, retained }
    }

    /// The newest offset, 0 if nothing was ever appended.
    pub fn head(&self) -> Offset {
        self.head
    }

    /// The offset before the oldest message held.
    pub fn begins_after(&self) -> Offset {
        self.head - self.messages.len() as u64
    }

    /// Appends the message with this offset and drops messages beyond the retention.
    pub fn push(&mut self, offset: Offset, stored_at: u64, message: Bytes) {
        if offset != self.head + 1 {
            // The messages in between are only in the store.
            self.clear();
        }
        self.clamp_stamps(stored_at);
        self.head = offset;
        self.bytes += message.len();
        self.retained.add(message.len() + MESSAGE_OVERHEAD);
        self.messages.push_back(RetainedMessage { stored_at, message });
        while self.retention.is_exceeded_by(self.messages.len(), self.bytes) {
            self.drop_oldest();
        }
        self.expire();
    }

    /// Drops expired messages.
    pub fn expire(&mut self) {
        if self.retention.age == Duration::MAX {
            return;
        }
        self.clamp_stamps(unix_micros());
        let oldest_allowed = self.retention.oldest_allowed();
        while self.messages.front().is_some_and(|oldest| oldest.stored_at < oldest_allowed) {
            self.drop_oldest();
        }
    }

    /// Sets stamps that are later than `now` to `now`, so that stamps are always in order: after
    /// the clock was set back, a message stamped in the future would keep itself and its successors
    /// from expiring.
    fn clamp_stamps(&mut self, now: u64) {
        for entry in self.messages.iter_mut().rev().take_while(|entry| entry.stored_at > now) {
            entry.stored_at = now;
        }
    }

    fn drop_oldest(&mut self) {
        let dropped = self.messages.pop_front().expect("the caller checked it");
        self.bytes -= dropped.message.len();
        self.retained.subtract(dropped.message.len() + MESSAGE_OVERHEAD);
        if self.messages.is_empty() {
            // An empty topic keeps no room for messages.
            self.messages = VecDeque::new();
        }
    }

    fn clear(&mut self) {
        self.retained.subtract(self.bytes + self.messages.len() * MESSAGE_OVERHEAD);
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    /// When the oldest message was stored; `None` if there is none.
    pub fn oldest_at(&self) -> Option<u64> {
        self.messages.front().map(|oldest| oldest.stored_at)
    }

    /// Drops messages stored at or before `until`, as long as all topics together exceed the memory
    /// limit.
    pub fn make_room(&mut self, until: u64) {
        while self.retained.is_near() && self.oldest_at().is_some_and(|oldest| oldest <= until) {
            self.drop_oldest();
        }
    }

    /// Messages after `after` up to `limit`, and the number of dropped messages before them.
    /// `after` must not be ahead of the head.
    pub fn read_after(&self, after: Offset, limit: ReadLimit) -> (u64, Vec<Bytes>) {
        let gap = self.begins_after().saturating_sub(after);
        let skip = after.saturating_sub(self.begins_after()) as usize;
        let messages = self.messages.range(skip..).map(|entry| Ok(entry.message.clone()));
        let Ok::<_, std::convert::Infallible>(messages) = limit.of(messages);
        (gap, messages)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.clear();
        self.retained.subtract(TOPIC_OVERHEAD);
    }
}
