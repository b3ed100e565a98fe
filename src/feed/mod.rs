//! The feed: topics, each a bounded log of encoded messages with a way to wait for the next one.
//!
//! Every transport uses two functions: [`Topic::read_after`] returns at once, and
//! [`Topic::wait_after`] returns when there is something to read. The feed does not depend on HTTP.
//!
//! There is no queue per subscriber: a subscriber is a cursor into the log. A slow subscriber lags
//! behind without using more memory of the server, and receives a gap if retention overtakes it.
//!
//! A [`store`] keeps the log in memory, in a file, or on NATS for several servers.

mod log;
mod retained_memory;
mod shared;
pub mod store;
mod tail;
mod topic;
mod waiters;

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::message::{Epoch, Offset, TopicName};

pub use log::{ReadLimit, Retention, unix_micros};
use retained_memory::RetainedMemory;
pub use retained_memory::{MESSAGE_OVERHEAD, TOPIC_OVERHEAD};
pub use shared::SharedRead;
use store::{MemoryStore, Store, StoreError};
pub use tail::Tail;
pub use topic::Topic;
pub use waiters::{Registration, Waiters};

/// Bounds of a feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// Topics that exist at the same time.
    pub topics: usize,
    /// Retention of each topic.
    pub retention: Retention,
    /// Limit of the bytes of messages that one read returns; one message is returned even if it
    /// exceeds the limit.
    pub slice_bytes: usize,
    /// Limit of the memory for the messages of all topics, bytes.
    pub total_bytes: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        let (retention, slice_bytes) = (Retention::default(), 1 << 20);
        FeedLimits { topics: 10_000, retention, slice_bytes, total_bytes: 32 << 20 }
    }
}

/// All topics of a server.
#[derive(Debug)]
pub struct Feed {
    store: Arc<dyn Store>,
    limits: FeedLimits,
    topics: RwLock<Topics>,
    retained: Arc<RetainedMemory>,
    /// Locked while old messages are dropped.
    making_room: Mutex<()>,
}

/// Topics by name, and those that may be dropped to make room for others.
#[derive(Debug)]
struct Topics {
    by_name: HashMap<TopicName, Arc<Topic>>,
    /// Topics that were new or empty when they were last checked, so that one of them can be
    /// dropped without a search through all topics.
    candidates: VecDeque<TopicName>,
}

/// Number of candidates checked to make room for one topic.
const CANDIDATES_MAX: usize = 64;

impl Topics {
    /// Drops a candidate that is not in use and keeps no message, if one is soon found.
    fn make_room(&mut self, store: &dyn Store) {
        for _ in 0..CANDIDATES_MAX {
            let Some(name) = self.candidates.pop_front() else { return };
            let Some(topic) = self.by_name.get(&name) else { continue };
            if Arc::strong_count(topic) > 1 {
                self.candidates.push_back(name);
                continue;
            }
            let is_forgotten = || topic.oldest_at().is_none() && store.forget(topic.head().offset);
            if !topic.has_begun() || is_forgotten() {
                self.by_name.remove(&name);
                return;
            }
        }
    }

    /// Drops unused topics that never had a message, and collects new candidates.
    fn drop_unused(&mut self) {
        self.by_name.retain(|_, topic| Arc::strong_count(topic) > 1 || topic.has_begun());
        if self.by_name.len() < self.by_name.capacity() / 4 {
            self.by_name.shrink_to_fit();
        }
        let empty = self.by_name.iter().filter(|(_, topic)| topic.oldest_at().is_none());
        self.candidates = empty.map(|(name, _)| name.clone()).collect();
    }
}

/// A value of the creator of a topic, dropped with the topic.
pub type TopicOwner = Box<dyn Any + Send + Sync>;

/// Why a topic could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The server has as many topics as its limit allows.
    #[error(
        "the server has {limit} topics, which is its limit (--max-topics); use one of them, or raise \
         the limit"
    )]
    TooMany { limit: usize },
    /// The client has created as many topics as it may.
    #[error(
        "the server has {limit} topics that clients of your address created, which is its limit \
         for one address (--max-topics-per-address); use one of them"
    )]
    ShareUsed { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Feed {
    /// An empty feed in memory. `epoch` must differ from the epochs of earlier processes.
    pub fn new(epoch: Epoch, limits: FeedLimits) -> Self {
        let store = Arc::new(MemoryStore::new(epoch));
        Feed::with_topics(store, limits, |_| Ok(HashMap::new())).expect("there is nothing to open")
    }

    /// The feed in `store`, with every stored topic, even if they exceed the limit.
    ///
    /// # Errors
    /// If a topic cannot be opened.
    pub fn of(store: Arc<dyn Store>, limits: FeedLimits) -> Result<Self, StoreError> {
        let names = store.topics();
        let opened = store.clone();
        Feed::with_topics(store, limits, |retained| {
            let open = |name| {
                let topic = Topic::open(&name, &opened, &limits, retained, None)?;
                Ok((name, Arc::new(topic)))
            };
            names.into_iter().map(open).collect()
        })
    }

    fn with_topics(
        store: Arc<dyn Store>,
        limits: FeedLimits,
        open: impl FnOnce(&Arc<RetainedMemory>) -> Result<HashMap<TopicName, Arc<Topic>>, StoreError>,
    ) -> Result<Self, StoreError> {
        let retained = Arc::new(RetainedMemory::new(limits.total_bytes));
        let (by_name, candidates) = (open(&retained)?, VecDeque::new());
        let topics = RwLock::new(Topics { by_name, candidates });
        Ok(Feed { store, limits, topics, retained, making_room: Mutex::default() })
    }

    /// Returns the topic `name`, which is created if it does not exist.
    ///
    /// # Errors
    /// If the limit on topics is reached and no unused topic can be dropped, or if the store cannot
    /// open the topic.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, TopicError> {
        self.topic_of(name, || Ok(None))
    }

    /// As [`Feed::topic`]. A topic that does not exist is created only if `owner` returns a value,
    /// which is kept until the topic is dropped.
    ///
    /// # Errors
    /// As [`Feed::topic`], and those of `owner`.
    pub fn topic_of(
        &self,
        name: &TopicName,
        owner: impl FnOnce() -> Result<Option<TopicOwner>, TopicError>,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.read().by_name.get(name) {
            return Ok(topic.clone());
        }
        let mut topics = self.write();
        if let Some(topic) = topics.by_name.get(name) {
            return Ok(topic.clone());
        }
        let owner = owner()?;
        let limit = self.limits.topics;
        if topics.by_name.len() >= limit {
            topics.make_room(&*self.store);
        }
        if topics.by_name.len() >= limit {
            return Err(TopicError::TooMany { limit });
        }
        Ok(self.open(&mut topics, name, owner)?)
    }

    fn read(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().expect("no panic under this lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().expect("no panic under this lock")
    }

    /// The number of topics.
    pub fn topic_count(&self) -> usize {
        self.read().by_name.len()
    }

    /// Drops the oldest messages of all topics if they exceed the memory limit. Call it after a
    /// publication.
    pub fn make_room(&self) {
        if !self.retained.is_exceeded() {
            return;
        }
        // One task at a time is enough; the others do not wait for it.
        let Ok(_making_room) = self.making_room.try_lock() else { return };
        let topics: Vec<_> = self.read().by_name.values().cloned().collect();
        let oldest_of = |index: usize| topics[index].oldest_at().map(|at| Reverse((at, index)));
        let mut oldest: BinaryHeap<_> = (0..topics.len()).filter_map(oldest_of).collect();
        while self.retained.is_near()
            && let Some(Reverse((_, index))) = oldest.pop()
        {
            // What is older than the oldest message of any other topic.
            topics[index].make_room(oldest.peek().map_or(u64::MAX, |Reverse((at, _))| *at));
            oldest.extend(oldest_of(index));
        }
    }

    /// Drops unused topics, expired messages and remembered reads. Call it periodically, since a
    /// topic without publications does not expire its messages otherwise.
    pub async fn expire(&self) {
        let topics: Vec<_> = self.read().by_name.values().cloned().collect();
        for topic in topics {
            topic.expire();
        }
        self.write().drop_unused();
        self.store.expire().await;
    }

    /// Receives what any server publishes to a store that several servers share. Run it as long as
    /// the feed is used; it never returns.
    pub async fn follow(&self) {
        self.store.follow(self).await;
    }

    /// Receives what a shared store holds already.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        tokio::select! {
            () = self.follow() => Ok(()),
            result = self.store.catch_up() => result,
        }
    }

    /// Appends a message from a shared store. Its topic is created even beyond the limit: another
    /// server has admitted it.
    ///
    /// # Errors
    /// If the topic cannot be opened.
    pub fn deliver(
        &self,
        name: &TopicName,
        offset: Offset,
        stored_at: u64,
        message: Bytes,
    ) -> Result<(), StoreError> {
        let known = self.read().by_name.get(name).cloned();
        let topic = match known {
            Some(topic) => topic,
            None => self.open(&mut self.write(), name, None)?,
        };
        topic.deliver(offset, stored_at, message);
        self.make_room();
        Ok(())
    }

    /// Returns the topic, which is opened if another task has not opened it meanwhile.
    fn open(
        &self,
        topics: &mut Topics,
        name: &TopicName,
        owner: Option<TopicOwner>,
    ) -> Result<Arc<Topic>, StoreError> {
        if let Some(topic) = topics.by_name.get(name) {
            return Ok(topic.clone());
        }
        let topic = Topic::open(name, &self.store, &self.limits, &self.retained, owner)?;
        let topic = Arc::new(topic);
        topics.by_name.insert(name.clone(), topic.clone());
        topics.candidates.push_back(name.clone());
        Ok(topic)
    }

    /// Stores pending messages and closes the store.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::{Cursor, NewMessage};

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
        assert_eq!(feed.topic(&name("one-more")).unwrap_err(), TopicError::TooMany { limit: 2 });
        assert_eq!(feed.topic(&name("held")).expect("still there").head(), held.head());
        assert_eq!(feed.topic(&name("used")).expect("still there").head().offset, 1);
    }

    fn message(text: &str) -> NewMessage {
        NewMessage { sender: "A".into(), text: text.to_owned() }
    }

    #[tokio::test]
    async fn the_oldest_messages_of_all_topics_are_dropped_first() {
        const TOTAL: usize = 64 << 10;
        let feed = Feed::new(Epoch(1), FeedLimits { total_bytes: TOTAL, ..FeedLimits::default() });
        let text = "x".repeat(1_000);
        let names: Vec<_> = (0..4).map(|number| name(&format!("topic-{number}"))).collect();
        for round in 0..50_usize {
            feed.topic(&names[round % 4])
                .expect("room")
                .publish(message(&text))
                .await
                .expect("kept");
            feed.make_room();
            assert!(!feed.retained.is_exceeded());
        }
        let mut kept = Vec::new();
        for name in &names {
            let topic = feed.topic(name).expect("it exists");
            let all = Cursor { offset: 0, ..topic.head() };
            let read = topic.read_after(all, 1_000).await.expect("in memory");
            assert_eq!(
                read.gap + read.messages.len() as u64,
                topic.head().offset,
                "no silent loss"
            );
            kept.push(read.messages.len());
        }
        let (most, least) = (kept.iter().max().expect("four"), kept.iter().min().expect("four"));
        assert!(*least > 0 && most - least <= 1, "{kept:?}");
    }

    #[tokio::test]
    async fn an_empty_topic_makes_room_for_another_and_its_old_cursors_get_a_gap() {
        let retention = Retention { age: Duration::ZERO, ..Retention::default() };
        let feed =
            Feed::new(Epoch(1), FeedLimits { topics: 1, retention, ..FeedLimits::default() });
        for _ in 0..3 {
            feed.topic(&name("old")).expect("room").publish(message("hi")).await.expect("kept");
        }
        let cursor = feed.topic(&name("old")).expect("it exists").head();
        tokio::time::sleep(Duration::from_millis(1)).await;
        feed.expire().await;
        let begins_at = feed.topic(&name("new")).expect("'old' is forgotten").head();
        assert_eq!(begins_at, cursor);
        let old = feed.topic(&name("old")).expect("'new' is unused");
        old.publish(message("back")).await.expect("kept");
        let lost = Cursor { offset: 1, ..cursor };
        let read = old.read_after(lost, 10).await.expect("in memory");
        assert_eq!((read.reset, read.cursor.offset), (false, 4));
        assert_eq!(read.gap + read.messages.len() as u64, 3, "no silent loss");
    }

    #[tokio::test]
    async fn topics_that_nobody_published_to_are_freed() {
        let feed = Feed::new(Epoch(1), FeedLimits::default());
        let held = feed.topic(&name("held")).expect("room");
        for number in 0..1_000 {
            feed.topic(&name(&format!("polled-{number}"))).expect("room");
        }
        feed.expire().await;
        assert_eq!(feed.topic_count(), 1);
        assert!(feed.read().by_name.capacity() < 100);
        drop(held);
        feed.expire().await;
        assert_eq!(feed.topic_count(), 0);
    }
}
