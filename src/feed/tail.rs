//! The newest messages of a topic, shared by all who read it, and the way to wait for the next one.
//! The memory store keeps nothing else; in front of a store on disk this is what nearly every read
//! is answered from.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::log::{Log, ReadLimit, Retention, unix_micros};
use super::retained::Retained;
use crate::message::{Message, NewMessage, Offset};

/// A log with a lock around it and a bell on it.
#[derive(Debug)]
pub struct Tail {
    log: RwLock<Log>,
    /// Mirrors the log's head, for those who wait. It is set after the log, so whoever it wakes
    /// finds the message there.
    head: watch::Sender<Offset>,
}

impl Tail {
    /// Holds no message, and goes on after `head`.
    pub(super) fn after(head: Offset, retention: Retention, retained: Arc<Retained>) -> Self {
        let log = RwLock::new(Log::after(head, retention, retained));
        Tail { log, head: watch::Sender::new(head) }
    }

    /// Gives the draft the next offset and appends it. For a store that decides by this order.
    pub fn append(&self, draft: NewMessage) -> Offset {
        let mut log = self.log.write().expect("no panic under this lock");
        let offset = log.head() + 1;
        let (stored_at, message) = encode(offset, draft);
        log.push(offset, stored_at, message);
        drop(log);
        self.announce(offset);
        offset
    }

    /// Appends a message that the store has given its offset, and has stored. Calls must come in
    /// the order of the offsets.
    pub fn push(&self, offset: Offset, stored_at: u64, message: Bytes) {
        self.log.write().expect("no panic under this lock").push(offset, stored_at, message);
        self.announce(offset);
    }

    /// Wakes everybody who waits for this offset.
    fn announce(&self, offset: Offset) {
        self.head.send_if_modified(|head| {
            let newer = offset > *head;
            *head = offset.max(*head);
            newer
        });
    }

    /// The newest offset.
    pub fn head(&self) -> Offset {
        self.read().head()
    }

    /// When the oldest message was stored; `None` if there is none.
    pub(super) fn oldest_at(&self) -> Option<u64> {
        self.read().oldest_at()
    }

    /// See [`Log::make_room`].
    pub(super) fn make_room(&self, until: u64) {
        self.log.write().expect("no panic under this lock").make_room(until);
    }

    /// Drops what is older than the retention's age.
    pub(super) fn expire(&self) {
        self.log.write().expect("no panic under this lock").expire();
    }

    /// The head, then what [`Log::read_after`] says; `None` for the latter if `after` is ahead.
    pub(super) fn read_after(
        &self,
        after: Offset,
        limit: ReadLimit,
    ) -> (Offset, Option<(u64, Vec<Bytes>)>) {
        let log = self.read();
        let head = log.head();
        (head, (after <= head).then(|| log.read_after(after, limit)))
    }

    /// Returns once the head is beyond `offset`; dropping it is safe.
    pub(super) async fn wait_beyond(&self, offset: Offset) {
        let mut head = self.head.subscribe();
        let newer = head.wait_for(|head| *head > offset).await;
        newer.expect("the sender lives as long as the tail");
    }

    fn read(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().expect("no panic under this lock")
    }
}

/// The message of this offset as of now, and when that is.
pub fn encode(offset: Offset, draft: NewMessage) -> (u64, Bytes) {
    let NewMessage { sender, text } = draft;
    let published_at = unix_micros();
    (published_at, Message { offset, published_at, sender, text }.encode())
}
