//! Where messages are kept: an interface, and its two implementations.
//!
//! A store decides the order of a topic's messages, and says when one is as safe as it promises.
//! Only then it puts the message on the topic's [`Tail`], from which subscribers read, so nobody
//! sees a message that a crash could take back.

mod memory;
mod redb;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::log::{ReadLimit, Retention};
use super::tail::Tail;
use crate::message::{Cursor, NewMessage, Offset, TopicName};

pub use memory::MemoryStore;
pub use redb::{Archive, Durability, FileRetention, Kept, RedbStore, Rows};

/// What a store's slower calls return. `Sync`, as warp demands of everything in a response body.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + Sync + 'a>>;

/// Keeps the messages of all topics of a feed.
pub trait Store: fmt::Debug + Send + Sync {
    /// The topics that messages were ever published to.
    fn topics(&self) -> Vec<TopicName>;

    /// Where a topic is: its epoch and newest offset, 0 if nobody ever published to it.
    ///
    /// # Errors
    /// If that cannot be read.
    fn head(&self, topic: &TopicName) -> Result<Cursor, StoreError>;

    /// The head of a topic that nobody ever published to.
    fn begins_at(&self) -> Offset {
        0
    }

    /// Forgets a topic that keeps no messages and has this head. Topics begin after it from now on,
    /// so that an old cursor is told of a gap if the topic comes back. False if the store cannot.
    fn forget(&self, _head: Offset) -> bool {
        false
    }

    /// What the [`Tail`] of a topic holds in memory, if the topic is to keep `kept`.
    fn tail_retention(&self, kept: Retention) -> Retention;

    /// Stores `draft` as the next message of the topic, puts it on the tail, and returns its
    /// offset.
    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        tail: &'a Arc<Tail>,
        draft: NewMessage,
    ) -> Pending<'a, Result<Offset, StoreError>>;

    /// What the tail has dropped already: messages after `after` and not beyond `head`. `None` if
    /// the store keeps no more than the tail.
    ///
    /// # Errors
    /// If the messages are there and cannot be read.
    fn read_older<'a>(
        &'a self,
        topic: &'a TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Pending<'a, Result<Option<Older>, StoreError>>;

    /// Drops what is older than the retention's age.
    fn expire(&self) -> Pending<'_, ()>;

    /// Stores whatever is still on its way, and lets go of files. Later appends fail.
    fn close(&self) -> Pending<'_, ()>;
}

/// Messages that a tail no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// Messages before these that the store has dropped too.
    pub gap: u64,
    pub messages: Vec<Bytes>,
}

/// Why a store cannot keep or find messages. Cloned to everybody whose messages were in one group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room. The message is not stored.
    #[error("the disk is full: the message is not stored; make room, publishing then goes on")]
    Full,
    /// The system refused in another way.
    #[error("the store failed, the message may be stored or not: {0}")]
    Failed(String),
    /// The store was closed: the server is going away.
    #[error("the server is going away: the message is not stored")]
    Closed,
    #[error("'{file}' is in use by another process: stop that one, or name another directory")]
    InUse { file: String },
    #[error(
        "'{file}' is not a feed of ours ({why}): name another directory, or move the file away"
    )]
    UnknownFormat { file: String, why: String },
    #[error(
        "'{file}' is damaged ({why}): put back a copy, or move the file away to begin an empty feed"
    )]
    Damaged { file: String, why: String },
    /// Written by a version that could give one number to several topics.
    #[error(
        "'{file}': messages of the topics {topics} have overwritten each other. An earlier version \
         of this program stored them under one number when they were first published to while \
         other topics were. Nothing has been deleted; the other topics are intact. `inspect` lists \
         the topics and their messages. To go on, move the file away, which begins an empty feed"
    )]
    Mixed { file: String, topics: String },
    #[error("cannot open '{file}': {why}")]
    Unreadable { file: String, why: String },
}
