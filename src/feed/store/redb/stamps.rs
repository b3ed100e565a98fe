//! The stamps by which messages expire: the order of a topic's stamps is that of its offsets, also
//! after the clock was set back.
//!
//! A message stamped in the future would otherwise keep itself and its successors from expiring.

use std::ops::RangeInclusive;

use ::redb::{ReadableTable as _, StorageError, Table};

use crate::message::Offset;

/// Number of the topic and offset -> stamp and message object.
pub type Messages<'a> = Table<'a, Key, (u64, &'static [u8])>;
type Key = (u32, Offset);

/// A message whose stamp is to change, and its new stamp.
type Late = (Key, u64, Vec<u8>);

/// Sets the stamps of the newest messages of `topic` to `now` where they are later. The stamps
/// before them must be in order. Returns whether there were any.
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

/// Sets each stamp of `topic` to the earliest of its own, those of all later messages, and `now`.
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
