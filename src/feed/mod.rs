//! The feed: topics, each a bounded log of encoded messages with a way to wait for the next one.
//!
//! Every transport is built on two calls: [`Topic::read_after`], which answers at once, and
//! [`Topic::wait_after`], which answers when there is something. The feed knows no HTTP.
//!
//! There is no queue per subscriber. The log *is* the queue: a subscriber is a cursor into it, so a
//! slow one costs the server nothing but a growing lag, and is told of a gap if retention overtakes
//! it.

mod log;
mod topic;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use crate::message::{Epoch, TopicName};

pub use log::Retention;
pub use topic::Topic;

/// Bounds of a feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    /// Topics that exist at the same time.
    pub topics: usize,
    /// What each topic keeps.
    pub retention: Retention,
}

impl Default for FeedLimits {
    fn default() -> Self {
        FeedLimits { topics: 10_000, retention: Retention::default() }
    }
}

/// All topics of a server.
#[derive(Debug)]
pub struct Feed {
    epoch: Epoch,
    limits: FeedLimits,
    topics: RwLock<HashMap<TopicName, Arc<Topic>>>,
}

/// The server has as many topics as its limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server has {limit} topics, which is its limit; use one of them, or raise the limit")]
pub struct TooManyTopics {
    limit: usize,
}

impl Feed {
    /// An empty feed. `epoch` must differ from the epochs of earlier lives.
    pub fn new(epoch: Epoch, limits: FeedLimits) -> Self {
        Feed { epoch, limits, topics: RwLock::default() }
    }

    /// The topic of that name, made if there is none yet: whoever comes first, publisher or
    /// subscriber, need not care.
    ///
    /// # Errors
    /// If it would be one topic too many, even after those that nobody ever published to or is
    /// using now are dropped.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, TooManyTopics> {
        if let Some(topic) = self.topics.read().expect("no panic under this lock").get(name) {
            return Ok(topic.clone());
        }
        let mut topics = self.topics.write().expect("no panic under this lock");
        if topics.len() >= self.limits.topics && !topics.contains_key(name) {
            topics.retain(|_, topic| Arc::strong_count(topic) > 1 || topic.head().offset > 0);
            if topics.len() >= self.limits.topics {
                return Err(TooManyTopics { limit: self.limits.topics });
            }
        }
        let new = || Arc::new(Topic::new(self.epoch, self.limits.retention));
        Ok(topics.entry(name.clone()).or_insert_with(new).clone())
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.read().expect("no panic under this lock").len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Draft;

    fn name(text: &str) -> TopicName {
        text.parse().expect("a good name")
    }

    #[test]
    fn the_limit_on_topics_drops_unused_ones_before_it_refuses() {
        let limits = FeedLimits { topics: 2, ..FeedLimits::default() };
        let feed = Feed::new(Epoch(1), limits);
        let held = feed.topic(&name("held")).expect("room");
        feed.topic(&name("unused")).expect("room");
        let used = feed.topic(&name("used")).expect("'unused' is dropped");
        used.publish(Draft { sender: "A".into(), text: "hi".into() });
        drop(used);
        assert_eq!(feed.topic(&name("one-more")).unwrap_err(), TooManyTopics { limit: 2 });
        assert_eq!(feed.topic(&name("held")).expect("still there").head(), held.head());
        assert_eq!(feed.topic(&name("used")).expect("still there").head().offset, 1);
    }
}
