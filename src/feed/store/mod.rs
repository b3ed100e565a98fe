//! Stores of messages: a trait and its implementations.
//!
//! A store decides the order of a topic's messages. It appends a message to the topic's [`Tail`],
//! from which subscribers read, only when the message is durable, so that no subscriber receives a
//! message that a crash could lose.

mod memory;
#[cfg(feature = "nats")]
mod nats;
mod redb;

use std::fmt;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::Feed;
use super::log::{ReadLimit, Retention};
use super::tail::Tail;
use crate::message::{Cursor, NewMessage, Offset, TopicName};

pub use memory::MemoryStore;
#[cfg(feature = "nats")]
pub use nats::{NatsConfig, NatsError, NatsStore};
pub use redb::{Archive, Durability, FileRetention, RedbStore, Rows, TopicRow};

/// The future of a slow call. It is `Sync`, which warp requires of response bodies.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + Sync + 'a>>;
/// The future of [`Store::follow`].
pub type Following<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Keeps the messages of all topics of a feed.
pub trait Store: fmt::Debug + Send + Sync {
    /// The topics that have ever had a message.
    fn topics(&self) -> Vec<TopicName>;

    /// The epoch and newest offset of a topic; the offset is 0 if it never had a message.
    ///
    /// # Errors
    /// If they cannot be read.
    fn head(&self, topic: &TopicName) -> Result<Cursor, StoreError>;

    /// The head of a topic that never had a message.
    fn begins_at(&self) -> Offset {
        0
    }

    /// Removes an empty topic with this head. Later topics start after this head, so that an old
    /// cursor receives a gap if the topic is created again. Returns `false` if the store does not
    /// support this.
    fn forget(&self, _head: Offset) -> bool {
        false
    }

    /// The retention of the [`Tail`] in memory, for a topic with the retention `kept`.
    fn tail_retention(&self, kept: Retention) -> Retention {
        kept
    }

    /// Stores `new_message` as the next message of the topic, appends it to the tail, and returns
    /// its offset.
    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        tail: &'a Arc<Tail>,
        new_message: NewMessage,
    ) -> Pending<'a, Result<Offset, StoreError>>;

    /// Messages after `after` up to `head`, which the tail may have dropped. `None` if the store
    /// keeps no more messages than the tail.
    ///
    /// # Errors
    /// If the messages cannot be read.
    fn read_older<'a>(
        &'a self,
        _topic: &'a TopicName,
        _after: Offset,
        _head: Offset,
        _limit: ReadLimit,
    ) -> Pending<'a, Result<Option<OlderMessages>, StoreError>> {
        Box::pin(ready(Ok(None)))
    }

    /// Delivers to `feed` what any server publishes, if several servers share the store. It never
    /// returns.
    fn follow<'a>(&'a self, _feed: &'a Feed) -> Following<'a> {
        Box::pin(pending())
    }

    /// Returns once everything that was stored before the call has been delivered to the feed.
    ///
    /// # Errors
    /// If a shared store cannot be reached.
    fn catch_up(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }

    /// Drops expired messages. Those in memory have been dropped.
    fn expire(&self) -> Pending<'_, ()>;

    /// Stores pending messages and closes the files. Later appends fail.
    fn close(&self) -> Pending<'_, ()>;
}

/// Messages that a tail no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderMessages {
    /// Number of dropped messages before these.
    pub gap: u64,
    pub messages: Vec<Bytes>,
}

/// Why a store cannot store or read messages. Cloned for each publisher of a failed commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. The message is not stored.
    #[error("the disk is full: the message is not stored; free some space to continue publishing")]
    Full,
    /// Another error of the system.
    #[error("the store failed, the message may be stored or not: {0}")]
    Failed(String),
    /// As `Failed`, of a read.
    #[error("the store cannot read older messages: {0}")]
    NotRead(String),
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Nats(NatsError),
    /// The store was closed because the server shuts down.
    #[error("the server is shutting down: the message is not stored")]
    Closed,
    #[error("'{file}' is in use by another process: stop that one, or name another directory")]
    InUse { file: String },
    #[error(
        "'{file}' is not a feed of this program ({why}): name another directory, or move the file \
         away"
    )]
    UnknownFormat { file: String, why: String },
    #[error(
        "'{file}' is damaged ({why}): restore a copy, or move the file away to start an empty feed"
    )]
    Damaged { file: String, why: String },
    /// Written by a version that could give one number to several topics.
    #[error(
        "'{file}': messages of the topics {topics} have overwritten each other. An earlier version \
         of this program stored them under one number when they were first published to while \
         other topics were. Nothing has been deleted; the other topics are intact. `inspect` lists \
         the topics and their messages. To continue, move the file away, which starts an empty feed"
    )]
    Mixed { file: String, topics: String },
    #[error("cannot open '{file}': {why}")]
    Unreadable { file: String, why: String },
}

impl StoreError {
    /// The error of a read: nothing was to be stored.
    fn of_read(self) -> StoreError {
        match self {
            StoreError::Failed(why) => StoreError::NotRead(why),
            other => other,
        }
    }
}
