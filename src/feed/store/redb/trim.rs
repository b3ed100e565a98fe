//! Retention in the file: drops the oldest messages of a topic that exceeds its own retention, and
//! of the largest topics when all topics together exceed the limit of the file.
//!
//! The limit of the file drops from the largest topics, not the oldest messages of all: a client
//! that fills one topic, or many, thus displaces its own messages before those of small topics.

use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use ::redb::ReadableTable as _;

use super::rows::{Rows, TopicRow};
use super::stamps::Messages;
use super::{StoreError, failed};
use crate::feed::log::Retention;
use crate::message::TopicName;

/// Retention of a feed file.
#[derive(Debug, Clone, Copy)]
pub struct FileRetention {
    /// Retention of each topic.
    pub topic: Retention,
    /// Bytes of the messages of all topics together.
    pub total_bytes: u64,
}

/// Drops the oldest messages of a topic until it is within `retention`.
pub(super) fn trim(
    messages: &mut Messages<'_>,
    kept: &mut TopicRow,
    retention: Retention,
) -> Result<(), StoreError> {
    let oldest_allowed = retention.oldest_allowed();
    let limited = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    while kept.oldest <= kept.head {
        let key = (kept.number, kept.oldest);
        let exceeded = retention.is_exceeded_by(limited(kept.messages()), limited(kept.bytes));
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

fn drop_oldest(messages: &mut Messages<'_>, kept: &mut TopicRow) -> Result<(), StoreError> {
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
    changed: &mut HashMap<TopicName, TopicRow>,
    total_bytes: u64,
) -> Result<(), StoreError> {
    let before = |topic: &TopicName| rows.get(topic).map_or(0, |kept| kept.bytes);
    let stored = changed.iter().fold(rows.bytes(), |bytes, (topic, kept)| {
        (bytes + kept.bytes).saturating_sub(before(topic))
    });
    if stored <= total_bytes {
        return Ok(());
    }
    // 1/64 more than necessary, because finding the largest topics reads all rows.
    let mut excess = stored - (total_bytes - total_bytes / 64);
    // By bytes, each with the number of messages that stay.
    let unchanged = rows.iter().filter(|(topic, _)| !changed.contains_key(topic));
    let unchanged = unchanged.map(|(topic, kept)| (kept.bytes, topic.clone(), 0));
    let written = changed.iter().map(|(topic, kept)| (kept.bytes, topic.clone(), 1));
    let mut largest: BinaryHeap<_> = unchanged.chain(written).collect();
    while excess > 0
        && let Some((bytes, topic, stays)) = largest.pop()
    {
        let Some(mut kept) = changed.get(&topic).or_else(|| rows.get(&topic)).copied() else {
            continue;
        };
        if kept.messages() <= stays {
            continue;
        }
        drop_oldest(messages, &mut kept)?;
        excess = excess.saturating_sub(bytes - kept.bytes);
        changed.insert(topic.clone(), kept);
        largest.push((kept.bytes, topic, stays));
    }
    Ok(())
}
