//! The timestamps by which messages expire. The timestamps of a topic are kept in the order of its
//! offsets, even after the clock was set back.
//!
//! Otherwise a message with a future timestamp would prevent the expiry of itself and its
//! successors.

use std::ops::RangeInclusive;

use ::redb::{ReadableTable as _, StorageError, Table};

use crate::message::Offset;

/// Number of the topic and offset -> stamp and message object.
pub type Messages<'a> = Table<'a, Key, (u64, &'static [u8])>;
type Key = (u32, Offset);

/// A message and its new timestamp.
type Late = (Key, u64, Vec<u8>);

/// Sets the timestamps of the newest messages of `topic` to `now` if they are later. The earlier
/// timestamps must be in order. Returns whether any was changed.
pub fn clamp(
    messages: &mut Messages<'_>,
    topic: RangeInclusive<Key>,
    now: u64,
) -> Result<bool, StorageError> {
    let mut late = Vec::new();
    for entry in messages.range(topic)?.rev() {
        let (key, stored) = entry?;
        let (stored_at, message) = stored.value();
        if stored_at <= now {
            break;
        }
        late.push((key.value(), now, message.to_vec()));
    }
    write(messages, late)
}

/// Sets each timestamp of `topic` to the earliest of its own, those of all later messages, and
/// `now`.
pub fn order(
    messages: &mut Messages<'_>,
    topic: RangeInclusive<Key>,
    now: u64,
) -> Result<bool, StorageError> {
    let (mut bound, mut late) = (now, Vec::new());
    for entry in messages.range(topic)?.rev() {
        let (key, stored) = entry?;
        let (stored_at, message) = stored.value();
        if stored_at > bound {
            late.push((key.value(), bound, message.to_vec()));
        }
        bound = bound.min(stored_at);
    }
    write(messages, late)
}

fn write(messages: &mut Messages<'_>, late: Vec<Late>) -> Result<bool, StorageError> {
    for (key, stored_at, message) in &late {
        messages.insert(*key, (*stored_at, &message[..]))?;
    }
    Ok(!late.is_empty())
}
