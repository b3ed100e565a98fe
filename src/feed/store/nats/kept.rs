//! What the stream keeps of each topic, and its retention: servers delete what exceeds the limits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::{Shared, TopicState};
use crate::feed::log::Retention;
use crate::message::TopicName;

/// Bytes that NATS stores with a message: subject, headers and its own.
const OVERHEAD_BYTES: usize = 250;
/// Share of the stream's bytes beyond which the oldest messages of all topics are deleted ...
const FULL_SHARE: f64 = 0.9;
/// ... until this share is left.
const ROOM_SHARE: f64 = 0.75;

/// A message in the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptMessage {
    pub sequence: u64,
    /// Microseconds since the Unix epoch.
    pub stored_at: u64,
    /// Without NATS's overhead.
    pub bytes: u32,
}

/// The newest messages of a topic, by offset, up to its head.
#[derive(Debug, Default)]
pub(super) struct KeptMessages {
    messages: VecDeque<KeptMessage>,
    bytes: usize,
    /// Whether the stream still has messages that are no longer kept.
    has_dropped: bool,
}

impl KeptMessages {
    /// Adds the newest one, and drops what then exceeds `retention`, except for its age.
    pub fn push(&mut self, message: KeptMessage, retention: &Retention) {
        self.bytes += message.bytes as usize;
        self.messages.push_back(message);
        while retention.is_exceeded_by(self.messages.len(), self.bytes) {
            // The stream has the same limit on their number.
            self.has_dropped |= self.messages.len() <= retention.messages;
            self.pop();
        }
    }

    /// Drops those stored before `oldest_allowed`, except for the last one.
    fn drop_before(&mut self, oldest_allowed: u64) {
        while self.len() > 1 && self.oldest().is_some_and(|it| it.stored_at < oldest_allowed) {
            self.has_dropped = true;
            self.pop();
        }
    }

    /// Drops the oldest one.
    fn pop(&mut self) {
        if let Some(oldest) = self.messages.pop_front() {
            self.bytes -= oldest.bytes as usize;
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn oldest(&self) -> Option<&KeptMessage> {
        self.messages.front()
    }

    /// The messages from the oldest on.
    pub fn iter(&self) -> impl Iterator<Item = &KeptMessage> {
        self.messages.iter()
    }

    /// What they take in the stream.
    fn stored_bytes(&self) -> usize {
        self.bytes + OVERHEAD_BYTES * self.messages.len()
    }
}

/// Drops the oldest messages of all topics, if together they nearly fill a stream of this size.
fn make_room(topics: &mut HashMap<TopicName, TopicState>, stream_bytes: usize) {
    let share = |share: f64| (share * stream_bytes as f64) as usize;
    let mut stored: usize = topics.values().map(|state| state.kept.stored_bytes()).sum();
    if stored <= share(FULL_SHARE) {
        return;
    }
    let oldest = |(name, state): (&TopicName, &TopicState)| {
        let oldest = state.kept.oldest().filter(|_| state.kept.len() > 1)?;
        Some(Reverse((oldest.stored_at, name.clone())))
    };
    let mut heap: BinaryHeap<_> = topics.iter().filter_map(oldest).collect();
    while stored > share(ROOM_SHARE)
        && let Some(Reverse((_, name))) = heap.pop()
    {
        let Some(state) = topics.get_mut(&name) else { continue };
        let before = state.kept.stored_bytes();
        state.kept.has_dropped = true;
        state.kept.pop();
        stored -= before - state.kept.stored_bytes();
        heap.extend(oldest((&name, &*state)));
    }
}

impl Shared {
    /// Forgets the messages that exceed the limits, except for the last one of each topic, which
    /// has the topic's offset. Returns the topics of which the stream has too many, each with the
    /// sequence number of the first message to keep.
    pub(super) fn outdated(&self) -> Vec<(TopicName, u64)> {
        let oldest_allowed = self.config.retention.oldest_allowed();
        let mut topics = self.topics();
        for state in topics.values_mut() {
            state.kept.drop_before(oldest_allowed);
        }
        make_room(&mut topics, self.config.stream_bytes);
        let first_kept = |(name, state): (&TopicName, &mut TopicState)| {
            let has_dropped = std::mem::take(&mut state.kept.has_dropped);
            let first = state.kept.oldest().filter(|_| has_dropped)?.sequence;
            Some((name.clone(), first))
        };
        topics.iter_mut().filter_map(first_kept).collect()
    }

    /// Deletes the messages of topics before the given sequence numbers from the stream.
    pub(super) async fn purge(&self, outdated: Vec<(TopicName, u64)>) {
        for (topic, first) in outdated {
            let Ok(stream) = self.jetstream.get_stream_no_info(&self.config.stream).await else {
                return;
            };
            let purge = stream.purge().sequence(first).filter(self.subject(&topic));
            if let Err(error) = purge.await {
                tracing::debug!(%topic, %error, "cannot delete expired messages on NATS");
                return;
            }
        }
    }
}
