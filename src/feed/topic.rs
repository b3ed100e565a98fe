//! One topic: its log, and the two ways to read it. Everything a transport needs is here.

use std::sync::RwLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::log::{Log, Retention};
use crate::message::{Cursor, Draft, Epoch, Message, Offset, Slice};

/// A named feed of messages.
#[derive(Debug)]
pub struct Topic {
    epoch: Epoch,
    log: RwLock<Log>,
    /// Mirrors the log's head, for those who wait. It is set after the log, so whoever it wakes
    /// finds the message there.
    head: watch::Sender<Offset>,
}

impl Topic {
    pub(super) fn new(epoch: Epoch, retention: Retention) -> Self {
        Topic { epoch, log: RwLock::new(Log::new(retention)), head: watch::Sender::new(0) }
    }

    /// Stores a message and wakes everybody who waits for it. Returns where it was stored.
    pub fn publish(&self, draft: Draft) -> Cursor {
        let Draft { sender, text } = draft;
        let mut log = self.log.write().expect("no panic under this lock");
        let offset = log.append(|offset| {
            Message { offset, published_at: unix_micros(), sender, text }.encode()
        });
        drop(log);
        self.head.send_if_modified(|head| {
            let newer = offset > *head;
            *head = offset.max(*head);
            newer
        });
        Cursor { epoch: self.epoch, offset }
    }

    /// The newest offset: where a subscription without a cursor begins.
    pub fn head(&self) -> Cursor {
        let offset = self.log.read().expect("no panic under this lock").head();
        Cursor { epoch: self.epoch, offset }
    }

    /// What there is after `cursor`, at once, at most `limit` messages.
    ///
    /// A cursor that retention has overtaken gets what is left and the size of the gap. One of
    /// another epoch, or ahead of the head, gets a reset to the head.
    pub fn read_after(&self, cursor: Cursor, limit: usize) -> Slice {
        let log = self.log.read().expect("no panic under this lock");
        if !self.knows(cursor, log.head()) {
            let cursor = Cursor { epoch: self.epoch, offset: log.head() };
            return Slice { cursor, messages: Vec::new(), gap: 0, reset: true };
        }
        let (gap, messages) = log.read_after(cursor.offset, limit);
        let offset = cursor.offset + gap + messages.len() as u64;
        Slice { cursor: Cursor { epoch: self.epoch, offset }, messages, gap, reset: false }
    }

    /// Returns as soon as [`Topic::read_after`] has something to say about `cursor`: a message, or
    /// that the cursor means nothing here. Waits without end otherwise; dropping it is safe.
    pub async fn wait_after(&self, cursor: Cursor) {
        // Subscribing comes before the first look at the log, so no publication is missed between
        // the two.
        let mut head = self.head.subscribe();
        if self.knows(cursor, self.head().offset) {
            let newer = head.wait_for(|head| *head > cursor.offset).await;
            newer.expect("the sender lives as long as the topic");
        }
    }

    /// False for a cursor of another epoch, and for one ahead of the head.
    fn knows(&self, cursor: Cursor, head: Offset) -> bool {
        cursor.epoch == self.epoch && cursor.offset <= head
    }
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}
