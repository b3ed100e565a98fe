//! The bounded log of one topic: plain data, no waiting and no locks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::retained::{MESSAGE_OVERHEAD, Retained, TOPIC_OVERHEAD};

use crate::message::Offset;

/// What a topic keeps; whatever is older is dropped, and readers that needed it are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Newest messages kept, at least 1.
    pub messages: usize,
    /// Encoded bytes kept; the newest message is kept whatever its size.
    pub bytes: usize,
    /// How long a message is kept, the newest one too; [`Duration::MAX`] is for ever.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { messages: 10_000, bytes: 16 << 20, age: Duration::MAX }
    }
}

impl Retention {
    /// True if the oldest of `messages` messages of `bytes` bytes together has to go.
    pub fn is_exceeded_by(&self, messages: usize, bytes: usize) -> bool {
        messages > 1 && (messages > self.messages || bytes > self.bytes)
    }

    /// Messages stored before this are too old; microseconds since the Unix epoch.
    pub fn oldest_allowed(&self) -> u64 {
        unix_micros().saturating_sub(u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The present, microseconds since the Unix epoch.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}

/// How much one read may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Messages at most.
    pub messages: usize,
    /// Encoded bytes at most; one message is answered whatever its size.
    pub bytes: usize,
}

impl From<usize> for ReadLimit {
    /// That many messages.
    fn from(messages: usize) -> ReadLimit {
        ReadLimit { messages, bytes: usize::MAX }
    }
}

impl ReadLimit {
    /// The same, with at most `bytes`.
    pub(super) fn within(self, bytes: usize) -> ReadLimit {
        ReadLimit { bytes: self.bytes.min(bytes), ..self }
    }

    /// As many of `messages` as this allows, from the first.
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
    messages: VecDeque<Entry>,
    bytes: usize,
    head: Offset,
    /// What the logs of all topics keep together.
    retained: Arc<Retained>,
}

#[derive(Debug)]
struct Entry {
    /// Microseconds since the Unix epoch.
    stored_at: u64,
    message: Bytes,
}

impl Log {
    /// Holds no message, and goes on after `head`.
    pub fn after(head: Offset, retention: Retention, retained: Arc<Retained>) -> Self {
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

    /// Appends the message of this offset, and drops what is too old.
    pub fn push(&mut self, offset: Offset, stored_at: u64, message: Bytes) {
        if offset != self.head + 1 {
            // What lies between is in the store, but not here.
            self.clear();
        }
        self.clamp_stamps(stored_at);
        self.head = offset;
        self.bytes += message.len();
        self.retained.add(message.len() + MESSAGE_OVERHEAD);
        self.messages.push_back(Entry { stored_at, message });
        while self.retention.is_exceeded_by(self.messages.len(), self.bytes) {
            self.drop_oldest();
        }
        self.expire();
    }

    /// Drops what is older than the retention's age.
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
        let dropped = self.messages.pop_front().expect("whoever drops has looked");
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

    /// Drops messages that were stored at `until` or before, as long as all topics together keep
    /// too much.
    pub fn make_room(&mut self, until: u64) {
        while self.retained.is_near() && self.oldest_at().is_some_and(|oldest| oldest <= until) {
            self.drop_oldest();
        }
    }

    /// Messages after `after`, at most `limit` of them, and how many before them are not here.
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
