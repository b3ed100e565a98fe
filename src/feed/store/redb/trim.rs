//! What goes from the file to make room: the oldest messages of a topic that keeps more than its
//! retention allows, and those of the largest topics when all together keep too much.
//!
//! Over all topics the largest give way first, and not the oldest messages: whoever fills a topic,
//! or many, then loses what he stored before topics that are small.

use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use ::redb::ReadableTable as _;

use super::StoreError;
use super::archive::{Kept, Rows, failed};
use super::stamps::Messages;
use crate::feed::log::Retention;
use crate::message::TopicName;

/// What the file keeps.
#[derive(Debug, Clone, Copy)]
pub struct FileRetention {
    /// What each topic keeps.
    pub topic: Retention,
    /// Bytes of the messages of all topics together.
    pub total_bytes: u64,
}

/// Drops the oldest messages of a topic until `retention` is kept.
pub(super) fn trim(
    messages: &mut Messages<'_>,
    kept: &mut Kept,
    retention: Retention,
) -> Result<(), StoreError> {
    let oldest_allowed = retention.oldest_allowed();
    while kept.oldest <= kept.head {
        let key = (kept.number, kept.oldest);
        let exceeded = retention.is_exceeded_by(kept.messages() as usize, kept.bytes as usize);
        let expired = || -> Result<bool, StoreError> {
            let oldest = messages.get(key).map_err(failed)?;
            Ok(oldest.is_some_and(|oldest| oldest.value().0 < oldest_allowed))
        };
        if !exceeded && (retention.age == Duration::MAX || !expired()?) {
            break;
        }
        drop_oldest(messages, kept)?;
    }
    Ok(())
}

fn drop_oldest(messages: &mut Messages<'_>, kept: &mut Kept) -> Result<(), StoreError> {
    let Some(dropped) = messages.remove((kept.number, kept.oldest)).map_err(failed)? else {
        return Err(StoreError::Failed(format!("message {} is missing", kept.oldest)));
    };
    kept.bytes = kept.bytes.saturating_sub(dropped.value().1.len() as u64);
    kept.oldest += 1;
    Ok(())
}

/// Drops the oldest messages of the largest topics if all together keep more than `total_bytes`.
/// `changed` has the topics that differ from `rows`; those that are changed here are added. The
/// newest message of each of them stays: it has just been stored.
pub(super) fn trim_all(
    messages: &mut Messages<'_>,
    rows: &Rows,
    changed: &mut HashMap<TopicName, Kept>,
    total_bytes: u64,
) -> Result<(), StoreError> {
    let before = |topic: &TopicName| rows.get(topic).map_or(0, |kept| kept.bytes);
    let stored = changed.iter().fold(rows.bytes(), |bytes, (topic, kept)| {
        (bytes + kept.bytes).saturating_sub(before(topic))
    });
    if stored <= total_bytes {
        return Ok(());
    }
    // A little more than necessary, since finding the largest takes a look at all topics.
    let mut excess = stored - (total_bytes - total_bytes / 64);
    let unchanged = rows.iter().filter(|(topic, _)| !changed.contains_key(topic));
    let unchanged = unchanged.map(|(topic, kept)| (topic.clone(), *kept, 0));
    let written = changed.iter().map(|(topic, kept)| (topic.clone(), *kept, 1));
    let mut largest: BinaryHeap<_> = unchanged
        .chain(written)
        .map(|(topic, kept, stays)| Largest { bytes: kept.bytes, topic, kept, stays })
        .collect();
    while excess > 0
        && let Some(mut largest_topic) = largest.pop()
    {
        let Largest { kept, stays, topic, .. } = &mut largest_topic;
        if kept.messages() <= *stays {
            continue;
        }
        let bytes = kept.bytes;
        drop_oldest(messages, kept)?;
        excess = excess.saturating_sub(bytes - kept.bytes);
        changed.insert(topic.clone(), *kept);
        largest_topic.bytes = largest_topic.kept.bytes;
        largest.push(largest_topic);
    }
    Ok(())
}

/// A topic, ordered by its bytes.
struct Largest {
    bytes: u64,
    topic: TopicName,
    kept: Kept,
    /// Messages that are not dropped.
    stays: u64,
}

impl PartialEq for Largest {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Largest {}

impl PartialOrd for Largest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Largest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes).then_with(|| self.topic.cmp(&other.topic))
    }
}
