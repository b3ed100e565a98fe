//! One topic: the two ways to read it, and the one to publish. Everything a transport needs is
//! here.

use std::sync::Arc;

use super::log::ReadLimit;
use super::retained::Retained;
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
    /// Bytes in one slice, at most.
    slice_bytes: usize,
    /// The head when the topic was opened, if nothing was ever published to it.
    begins_at: Offset,
    /// What is kept for whoever created the topic.
    _owner: Option<TopicOwner>,
}

impl Topic {
    /// Goes on where the store says that the topic ended.
    pub(super) fn open(
        name: &TopicName,
        store: &Arc<dyn Store>,
        limits: &FeedLimits,
        retained: &Arc<Retained>,
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

    /// Stores a message, and wakes everybody who waits for it once it is stored. Returns where.
    ///
    /// If this is dropped while it waits, the message may be stored or not, as with any publisher
    /// that hears no answer.
    ///
    /// # Errors
    /// If the store cannot keep it. Readers then do not see it, unless the store says that it
    /// does not know.
    pub async fn publish(&self, draft: NewMessage) -> Result<Cursor, StoreError> {
        let offset = self.store.append(&self.name, &self.tail, draft).await?;
        Ok(Cursor { epoch: self.epoch, offset })
    }

    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// The newest offset: where a subscription without a cursor begins.
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch, offset: self.tail.head() }
    }

    /// What there is after `cursor`, at once, within `limit`: a number of messages, or a
    /// [`ReadLimit`].
    ///
    /// A cursor that retention has overtaken gets what is left and the size of the gap. One of
    /// another epoch, or ahead of the head, gets a reset to the head.
    ///
    /// Subscribers at the same place share what this returns, and its encodings.
    ///
    /// # Errors
    /// If the store has what is asked for, and cannot read it.
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

    /// Returns as soon as [`Topic::read_after`] has something to say about `cursor`: a message, or
    /// that the cursor means nothing here. Waits without end otherwise; dropping it is safe.
    pub async fn wait_after(&self, cursor: Cursor) {
        if cursor.epoch == self.epoch && cursor.offset <= self.tail.head() {
            self.tail.wait_beyond(cursor.offset).await;
        }
    }

    /// Drops from memory what is older than the retention's age, and what was kept for
    /// subscribers that read it at about the same time.
    pub(super) fn expire(&self) {
        self.tail.expire();
        self.recent_reads.clear();
    }

    /// When the oldest message in memory was stored; `None` if there is none.
    pub(super) fn oldest_at(&self) -> Option<u64> {
        self.tail.oldest_at()
    }

    /// Drops messages that were stored at `until` or before from memory, as long as all topics
    /// together keep too much.
    pub(super) fn make_room(&self, until: u64) {
        self.tail.make_room(until);
    }

    /// True if a message was ever published.
    pub(super) fn has_begun(&self) -> bool {
        self.tail.head() > self.begins_at
    }
}
