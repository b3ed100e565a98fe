//! The feed: topics, each a bounded log of encoded messages with a way to wait for the next one.
//!
//! Every transport is built on two calls: [`Topic::read_after`], which answers at once, and
//! [`Topic::wait_after`], which answers when there is something. The feed knows no HTTP.
//!
//! There is no queue per subscriber. The log *is* the queue: a subscriber is a cursor into it, so a
//! slow one costs the server nothing but a growing lag, and is told of a gap if retention overtakes
//! it.
//!
//! Where the log is kept is a [`store`]'s matter: in memory, or in a file that outlives the
//! process.

mod log;
mod shared;
pub mod store;
mod tail;
mod topic;
mod waiters;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::message::{Epoch, TopicName};

pub use log::{ReadLimit, Retention, unix_micros};
pub use shared::SharedRead;
use store::{MemoryStore, Store, StoreError};
pub use tail::Tail;
pub use topic::Topic;

/// Bounds of a feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// Topics that exist at the same time.
    pub topics: usize,
    /// What each topic keeps.
    pub retention: Retention,
    /// Bytes of messages in one answer to a reader; one message is answered whatever its size.
    pub slice_bytes: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        FeedLimits { topics: 10_000, retention: Retention::default(), slice_bytes: 1 << 20 }
    }
}

/// All topics of a server.
#[derive(Debug)]
pub struct Feed {
    store: Arc<dyn Store>,
    limits: FeedLimits,
    topics: RwLock<HashMap<TopicName, Arc<Topic>>>,
}

/// Why there is no such topic to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTopic {
    /// The server has as many topics as its limit allows.
    #[error(
        "the server has {limit} topics, which is its limit; use one of them, or raise the limit"
    )]
    TooMany { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Feed {
    /// An empty feed in memory. `epoch` must differ from the epochs of earlier lives.
    pub fn new(epoch: Epoch, limits: FeedLimits) -> Self {
        let store = Arc::new(MemoryStore::new(epoch));
        Feed { store, limits, topics: RwLock::default() }
    }

    /// The feed that `store` keeps, with every topic that it holds, be they more than the limit.
    ///
    /// # Errors
    /// If a topic cannot be opened.
    pub fn of(store: Arc<dyn Store>, limits: FeedLimits) -> Result<Self, StoreError> {
        let open = |name| {
            let topic = Topic::open(&name, &store, &limits)?;
            Ok((name, Arc::new(topic)))
        };
        let topics = store.topics().into_iter().map(open).collect::<Result<_, StoreError>>()?;
        Ok(Feed { store, limits, topics: RwLock::new(topics) })
    }

    /// The topic of that name, made if there is none yet: whoever comes first, publisher or
    /// subscriber, need not care.
    ///
    /// # Errors
    /// If it would be one topic too many, even after those that nobody ever published to or is
    /// using now are dropped; or if the store cannot open it.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, NoTopic> {
        if let Some(topic) = self.topics.read().expect("no panic under this lock").get(name) {
            return Ok(topic.clone());
        }
        let mut topics = self.topics.write().expect("no panic under this lock");
        if topics.len() >= self.limits.topics && !topics.contains_key(name) {
            topics.retain(|_, topic| Arc::strong_count(topic) > 1 || topic.has_begun());
            if topics.len() >= self.limits.topics {
                return Err(NoTopic::TooMany { limit: self.limits.topics });
            }
        }
        if let Some(topic) = topics.get(name) {
            return Ok(topic.clone());
        }
        let topic = Arc::new(Topic::open(name, &self.store, &self.limits)?);
        topics.insert(name.clone(), topic.clone());
        Ok(topic)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.read().expect("no panic under this lock").len()
    }

    /// Drops what is older than the retention's age, and what topics keep of recent reads. To be
    /// called now and then: a topic that nobody publishes to has no other occasion.
    pub async fn expire(&self) {
        let topics: Vec<_> =
            self.topics.read().expect("no panic under this lock").values().cloned().collect();
        for topic in topics {
            topic.expire();
        }
        if self.limits.retention.age != Duration::MAX {
            self.store.expire().await;
        }
    }

    /// Stores whatever is still on its way, and lets go of the store.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::NewMessage;

    fn name(text: &str) -> TopicName {
        text.parse().expect("a good name")
    }

    #[tokio::test]
    async fn the_limit_on_topics_drops_unused_ones_before_it_refuses() {
        let limits = FeedLimits { topics: 2, ..FeedLimits::default() };
        let feed = Feed::new(Epoch(1), limits);
        let held = feed.topic(&name("held")).expect("room");
        feed.topic(&name("unused")).expect("room");
        let used = feed.topic(&name("used")).expect("'unused' is dropped");
        used.publish(NewMessage { sender: "A".into(), text: "hi".into() }).await.expect("stored");
        drop(used);
        assert_eq!(feed.topic(&name("one-more")).unwrap_err(), NoTopic::TooMany { limit: 2 });
        assert_eq!(feed.topic(&name("held")).expect("still there").head(), held.head());
        assert_eq!(feed.topic(&name("used")).expect("still there").head().offset, 1);
    }
}
