//! The topics of a feed file: which messages it has of each, and how many bytes.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::message::{Offset, TopicName};

/// The stored range of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRow {
    pub(super) number: u32,
    /// The oldest stored offset; `head + 1` if there is none.
    pub oldest: Offset,
    pub head: Offset,
    /// Bytes of the message objects, without the overhead of the file.
    pub bytes: u64,
}

impl TopicRow {
    pub(super) fn new(number: u32) -> TopicRow {
        TopicRow { number, oldest: 1, head: 0, bytes: 0 }
    }

    /// Number of stored messages.
    pub fn messages(&self) -> u64 {
        self.head + 1 - self.oldest
    }

    /// Keys of the stored messages.
    pub(super) fn keys(&self) -> RangeInclusive<(u32, Offset)> {
        (self.number, self.oldest)..=(self.number, self.head)
    }

    pub(super) fn from_row((number, oldest, head, bytes): (u32, Offset, Offset, u64)) -> TopicRow {
        TopicRow { number, oldest, head, bytes }
    }
}

/// The topics of a file.
#[derive(Debug, Default)]
pub struct Rows {
    topics: HashMap<TopicName, TopicRow>,
    /// Larger than every number in use. The number of topics is not sufficient: one commit can
    /// create several topics, and a commit that only adds to existing topics creates none.
    pub(super) next_number: u32,
    bytes: u64,
}

impl Rows {
    /// Every topic, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &TopicRow)> {
        self.topics.iter()
    }

    pub(super) fn get(&self, topic: &TopicName) -> Option<&TopicRow> {
        self.topics.get(topic)
    }

    /// Bytes of the messages of all topics.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn insert(&mut self, topic: TopicName, kept: TopicRow) {
        self.next_number = self.next_number.max(kept.number.saturating_add(1));
        self.bytes = self.bytes.saturating_add(kept.bytes);
        let replaced = self.topics.insert(topic, kept);
        self.bytes = self.bytes.saturating_sub(replaced.map_or(0, |kept| kept.bytes));
    }

    pub(super) fn extend(&mut self, changed: HashMap<TopicName, TopicRow>) {
        for (topic, kept) in changed {
            self.insert(topic, kept);
        }
    }

    /// Topics that share a number, sorted by name. Their messages have overwritten each other.
    pub fn sharing_a_number(&self) -> Vec<&TopicName> {
        let mut uses = HashMap::new();
        for kept in self.topics.values() {
            *uses.entry(kept.number).or_insert(0) += 1;
        }
        let mut shared: Vec<_> = self.iter().filter(|(_, kept)| uses[&kept.number] > 1).collect();
        shared.sort_by_key(|(name, _)| *name);
        shared.into_iter().map(|(name, _)| name).collect()
    }
}
