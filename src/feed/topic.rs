//! One topic: everything that a transport needs. [`Topic::read_after`] and [`Topic::wait_after`]
//! read it, [`Topic::publish`] writes it.

use std::sync::Arc;

use bytes::Bytes;

use super::log::ReadLimit;
use super::retained_memory::RetainedMemory;
use super::shared::{RecentReads, SharedRead};
use super::store::{Store, StoreError};
use super::tail::Tail;
use super::{FeedLimits, TopicOwner};
use crate::message::{Cursor, Epoch, NewMessage, Offset, ReadResult, TopicName};

/// A named feed of messages.
#[derive(Debug)]
pub struct Topic {
    name: TopicName,
    epoch: Epoch,
    tail: Arc<Tail>,
    store: Arc<dyn Store>,
    recent_reads: RecentReads,
    /// Limit of the bytes that one read returns.
    slice_bytes: usize,
    /// The head when the topic was opened, if nothing was ever published to it.
    begins_at: Offset,
    /// Dropped with the topic, so that its creator can count the topics that it owns.
    _owner: Option<TopicOwner>,
}

impl Topic {
    /// Opens the topic at the head that the store reports.
    pub(super) fn open(
        name: &TopicName,
        store: &Arc<dyn Store>,
        limits: &FeedLimits,
        retained: &Arc<RetainedMemory>,
        owner: Option<TopicOwner>,
    ) -> Result<Self, StoreError> {
        let Cursor { epoch, offset } = store.head(name)?;
        let kept = store.tail_retention(limits.retention);
        let tail = Arc::new(Tail::after(offset, kept, retained.clone()));
        let slice_bytes = limits.slice_bytes;
        let begins_at = store.begins_at();
        let recent_reads = RecentReads::default();
        let (name, store) = (name.clone(), store.clone());
        Ok(Topic { name, epoch, tail, store, recent_reads, slice_bytes, begins_at, _owner: owner })
    }

    /// Stores a message. The store then adds it to the topic's [`Tail`], which wakes all waiting
    /// subscribers (`Tail::add`). Returns its epoch and offset.
    ///
    /// If this future is dropped before it completes, the message may or may not be stored.
    ///
    /// # Errors
    /// If the store cannot store the message. Readers then do not receive it, except after
    /// [`StoreError::Failed`], which leaves that open.
    pub async fn publish(&self, new_message: NewMessage) -> Result<Cursor, StoreError> {
        let offset = self.store.append(&self.name, &self.tail, new_message).await?;
        Ok(Cursor { epoch: self.epoch, offset })
    }

    /// Appends a message that a shared store has stored.
    pub(super) fn deliver(&self, offset: Offset, stored_at: u64, message: Bytes) {
        self.tail.push(offset, stored_at, message);
    }

    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// The newest offset, at which a subscription without a cursor starts.
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch, offset: self.tail.head() }
    }

    /// Returns the messages after `cursor` at once, up to `limit`: a number of messages, or a
    /// [`ReadLimit`].
    ///
    /// If retention has overtaken the cursor, the result contains the remaining messages and the
    /// size of the gap. A cursor of another epoch, or ahead of the head, is reset to the head.
    ///
    /// Subscribers at the same position share the result and its encodings.
    ///
    /// # Errors
    /// If the store cannot read the messages.
    pub async fn read_after(
        &self,
        cursor: Cursor,
        limit: impl Into<ReadLimit>,
    ) -> Result<SharedRead, StoreError> {
        let limit = limit.into().within(self.slice_bytes);
        let is_current = cursor.epoch == self.epoch;
        if is_current
            && let Some(read) = self.recent_reads.find(self.tail.head(), cursor.offset, limit)
        {
            return Ok(read);
        }
        if is_current && cursor.offset > self.tail.head() {
            // Another server of a shared store may have been faster.
            self.store.catch_up().await?;
        }
        let (head, read) = self.tail.read_after(cursor.offset, limit);
        let Some((mut gap, mut messages)) = read.filter(|_| is_current) else {
            let cursor = Cursor { epoch: self.epoch, offset: head };
            let result = ReadResult { cursor, messages: Vec::new(), gap: 0, reset: true };
            return Ok(result.into());
        };
        // Only a cursor that memory no longer covers has to wait, for the store to read its file.
        if gap > 0 {
            let older = self.store.read_older(&self.name, cursor.offset, head, limit).await?;
            if let Some(older) = older {
                (gap, messages) = (older.gap, older.messages);
            }
        }
        let offset = cursor.offset + gap + messages.len() as u64;
        let result =
            ReadResult { cursor: Cursor { offset, ..cursor }, messages, gap, reset: false };
        Ok(self.recent_reads.share(head, cursor.offset, limit, result))
    }

    /// Returns as soon as [`Topic::read_after`] has a result for `cursor`: a message, a gap or a
    /// reset. It has no timeout. Cancel safe.
    pub async fn wait_after(&self, cursor: Cursor) {
        if cursor.epoch == self.epoch && cursor.offset <= self.tail.head() {
            self.tail.wait_beyond(cursor.offset).await;
        }
    }

    /// Drops expired messages from memory, and the remembered reads.
    pub(super) fn expire(&self) {
        self.tail.expire();
        self.recent_reads.clear();
    }

    /// When the oldest message in memory was stored; `None` if there is none.
    pub(super) fn oldest_at(&self) -> Option<u64> {
        self.tail.oldest_at()
    }

    /// Drops messages stored at or before `until` from memory, as long as all topics together
    /// exceed the memory limit.
    pub(super) fn make_room(&self, until: u64) {
        self.tail.make_room(until);
    }

    /// True if a message was ever published.
    pub(super) fn has_begun(&self) -> bool {
        self.tail.head() > self.begins_at
    }
}
