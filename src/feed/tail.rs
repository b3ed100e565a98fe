//! The newest messages of a topic in memory, shared by all readers, and waiting for the next one.
//! The memory store keeps nothing else; with a store on disk, nearly all reads are served from
//! here.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::log::{Log, ReadLimit, Retention, unix_micros};
use super::retained_memory::RetainedMemory;
use super::waiters::{Registration, Waiters};
use crate::message::{Message, NewMessage, Offset};

/// A log behind a lock, and the tasks that wait for its next message.
#[derive(Debug)]
pub struct Tail {
    log: RwLock<Log>,
    /// The log's head, which can be read without the lock. It is set under the lock.
    head: AtomicU64,
    waiters: Waiters,
}

impl Tail {
    /// An empty tail whose next offset follows `head`.
    pub(super) fn after(head: Offset, retention: Retention, retained: Arc<RetainedMemory>) -> Self {
        let log = RwLock::new(Log::after(head, retention, retained));
        Tail { log, head: AtomicU64::new(head), waiters: Waiters::default() }
    }

    /// Appends the message with the next offset, for a store whose order is that of these calls.
    pub fn append(&self, new_message: NewMessage) -> Offset {
        let log = self.log.write().expect("no panic under this lock");
        let offset = log.head() + 1;
        let (stored_at, message) = encode(offset, new_message);
        self.add(log, offset, stored_at, message);
        offset
    }

    /// Appends a message that the store has assigned an offset and stored. Must be called in the
    /// order of the offsets.
    pub fn push(&self, offset: Offset, stored_at: u64, message: Bytes) {
        let log = self.log.write().expect("no panic under this lock");
        self.add(log, offset, stored_at, message);
    }

    /// Adds a message and wakes all waiting subscribers.
    fn add(
        &self,
        mut log: RwLockWriteGuard<'_, Log>,
        offset: Offset,
        stored_at: u64,
        message: Bytes,
    ) {
        log.push(offset, stored_at, message);
        self.head.store(offset, Ordering::Release);
        drop(log);
        self.waiters.wake_all();
    }

    /// The newest offset.
    pub fn head(&self) -> Offset {
        self.head.load(Ordering::Acquire)
    }

    /// When the oldest message was stored; `None` if there is none.
    pub(super) fn oldest_at(&self) -> Option<u64> {
        self.read().oldest_at()
    }

    /// See [`Log::make_room`].
    pub(super) fn make_room(&self, until: u64) {
        self.log.write().expect("no panic under this lock").make_room(until);
    }

    /// Drops expired messages.
    pub(super) fn expire(&self) {
        self.log.write().expect("no panic under this lock").expire();
    }

    /// The head and the result of [`Log::read_after`]; `None` for the latter if `after` is ahead.
    pub(super) fn read_after(
        &self,
        after: Offset,
        limit: ReadLimit,
    ) -> (Offset, Option<(u64, Vec<Bytes>)>) {
        let log = self.read();
        let head = log.head();
        (head, (after <= head).then(|| log.read_after(after, limit)))
    }

    /// Returns once the head is beyond `offset`. Cancel safe.
    pub(super) fn wait_beyond(&self, offset: Offset) -> impl Future<Output = ()> {
        WaitBeyond { tail: self, offset, registration: None }
    }

    fn read(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().expect("no panic under this lock")
    }
}

/// The encoded message with this offset and the current time as its timestamp, and that timestamp.
pub fn encode(offset: Offset, new_message: NewMessage) -> (u64, Bytes) {
    let NewMessage { sender, text } = new_message;
    let published_at = unix_micros();
    (published_at, Message { offset, published_at, sender, text }.encode())
}

/// See [`Tail::wait_beyond`].
struct WaitBeyond<'a> {
    tail: &'a Tail,
    offset: Offset,
    registration: Option<Registration>,
}

impl Future for WaitBeyond<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = || self.tail.head() > self.offset;
        if is_over() {
            return Poll::Ready(());
        }
        match self.tail.waiters.register(self.registration, cx.waker(), is_over) {
            None => Poll::Ready(()),
            registration => {
                self.registration = registration;
                Poll::Pending
            }
        }
    }
}

impl Drop for WaitBeyond<'_> {
    fn drop(&mut self) {
        // After a wake-up there is nothing to remove, and no lock to take.
        if let Some(registration) = self.registration.filter(|_| self.tail.head() <= self.offset) {
            self.tail.waiters.remove(registration);
        }
    }
}
