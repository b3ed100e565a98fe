//! The content of the file: the tables, and how they are read and written. No threads and no
//! waiting.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use ::redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    TableError, TableHandle,
};
use bytes::Bytes;
use tracing::warn;

use super::file::{Durability, FeedFile};
use super::rows::{Rows, TopicRow};
use super::stamps;
use super::trim::{FileRetention, trim, trim_all};
use super::{OlderMessages, StoreError, failed, is_full};
use crate::feed::log::{ReadLimit, Retention, unix_micros};
use crate::feed::tail::encode;
use crate::message::{Epoch, Message, NewMessage, Offset, TopicName};

/// Properties of the file: "format", "epoch", "boot".
const PROPERTIES: TableDefinition<&str, &str> = TableDefinition::new("about");
/// Topic -> its number, the oldest stored offset, the head, stored bytes.
const TOPICS: TableDefinition<&str, (u32, Offset, Offset, u64)> = TableDefinition::new("topics");
/// Number of the topic, offset -> time of storing (Unix time, microseconds), the message object.
const MESSAGES: TableDefinition<(u32, Offset), (u64, &[u8])> = TableDefinition::new("messages");

/// No topic reaches this offset; a larger head means that the file was not written by this program.
/// Up to here JSON numbers are exact in every client (RFC 8259, section 6).
const HEAD_MAX: Offset = (1 << 53) - 1;
const FORMAT: &str = "poll-vs-push feed 1";
/// Cache of redb, bytes.
const CACHE_BYTES: usize = 64 << 20;

/// An open feed file.
#[derive(Debug)]
pub struct Archive {
    database: Database,
    /// Its path, for messages.
    file: String,
}

/// A message as it was stored.
#[derive(Debug)]
pub struct Written {
    pub offset: Offset,
    pub stored_at: u64,
    pub message: Bytes,
}

impl Archive {
    /// Opens an existing feed for reading. It is repaired if its last process was killed, and
    /// otherwise not changed.
    ///
    /// # Errors
    /// If another process uses it, it is not a feed, or it is damaged.
    pub fn open_existing(directory: &Path) -> Result<Archive, StoreError> {
        Archive::open(&FeedFile::lock_existing(directory)?)
    }

    pub(super) fn open(file: &FeedFile) -> Result<Archive, StoreError> {
        let name = || file.path().display().to_string();
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(file.backend())
            .map_err(|error| not_opened(name(), error))?;
        let archive = Archive { database, file: name() };
        match archive.property("format")?.as_deref() {
            Some(FORMAT) => Ok(archive),
            Some(other) => Err(StoreError::UnknownFormat {
                file: name(),
                why: format!("its format is '{other}'"),
            }),
            None if archive.has_tables()? => Err(StoreError::UnknownFormat {
                file: name(),
                why: "a database of another program".to_owned(),
            }),
            None => {
                archive.write_properties(&[
                    ("format", FORMAT),
                    ("epoch", &Epoch(rand::random()).to_string()),
                ])?;
                Ok(archive)
            }
        }
    }

    /// Records the durability of the following writes. Begins a new epoch if acknowledged messages
    /// may be lost: if the previous durability was `os` and the machine has been restarted since.
    pub(super) fn record_start(&self, durability: Durability) -> Result<(), StoreError> {
        let present = super::file::boot_id();
        if let Some(boot) = self.property("boot")?
            && !boot.is_empty()
            && boot != present
        {
            warn!("the machine was restarted under `--durability os`: old cursors are reset");
            self.write_properties(&[("epoch", &Epoch(rand::random()).to_string())])?;
        }
        self.write_properties(&[("boot", if durability == Durability::Os { &present } else { "" })])
    }

    /// Records that everything is on the disk.
    pub(super) fn record_stop(&self) -> Result<(), StoreError> {
        self.write_properties(&[("boot", "")])
    }

    fn has_tables(&self) -> Result<bool, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let mut tables = read.list_tables().map_err(failed)?;
        Ok(tables.any(|table| table.name() != PROPERTIES.name()))
    }

    fn property(&self, key: &str) -> Result<Option<String>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let Some(properties) = if_exists(read.open_table(PROPERTIES))? else { return Ok(None) };
        let value = properties.get(key).map_err(failed)?;
        Ok(value.map(|text| text.value().to_owned()))
    }

    fn write_properties(&self, entries: &[(&str, &str)]) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut properties = write.open_table(PROPERTIES).map_err(failed)?;
            for (key, value) in entries {
                properties.insert(*key, *value).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// The epoch of the feed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn epoch(&self) -> Result<Epoch, StoreError> {
        let text = self.property("epoch")?.unwrap_or_default();
        text.parse().map_err(|_| StoreError::Failed(format!("the epoch is '{text}'")))
    }

    /// Every topic.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn rows(&self) -> Result<Rows, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let Some(topics) = if_exists(read.open_table(TOPICS))? else { return Ok(Rows::default()) };
        let row = |row: Result<(::redb::AccessGuard<&str>, _), StorageError>| {
            let (name, kept): (_, ::redb::AccessGuard<(u32, Offset, Offset, u64)>) =
                row.map_err(failed)?;
            let name: TopicName = name
                .value()
                .parse()
                .map_err(|error: crate::message::BadInput| StoreError::Failed(error.to_string()))?;
            Ok((name, TopicRow::from_row(kept.value())))
        };
        let mut rows = Rows::default();
        for row in topics.iter().map_err(failed)?.map(row) {
            let (name, kept) = row?;
            rows.insert(name, kept);
        }
        Ok(rows)
    }

    /// Every topic, once the whole file has been [checked](Archive::check).
    pub(super) fn checked_rows(&self) -> Result<Rows, StoreError> {
        let rows = self.rows()?;
        self.check(&rows)?;
        Ok(rows)
    }

    /// Checks that the file is consistent: no two topics have the same number, and each topic's
    /// messages agree with its row. redb's checksums do not cover this.
    ///
    /// # Errors
    /// If the file is inconsistent or cannot be read.
    pub fn check(&self, rows: &Rows) -> Result<(), StoreError> {
        let file = self.file.clone();
        if rows.next_number == u32::MAX {
            return Err(StoreError::Damaged {
                file,
                why: "a topic's number is too large".to_owned(),
            });
        }
        let shared = rows.sharing_a_number();
        if !shared.is_empty() {
            let topics: Vec<_> = shared.iter().map(|name| format!("'{name}'")).collect();
            return Err(StoreError::Mixed { file, topics: topics.join(", ") });
        }
        self.check_messages(rows)?.map_err(|why| StoreError::Damaged { file, why })
    }

    /// Compares the stored messages with the topics' rows. The outer error is a read error, the
    /// inner one describes the inconsistency.
    fn check_messages(&self, rows: &Rows) -> Result<Result<(), String>, StoreError> {
        let mut topics: Vec<_> = rows.iter().collect();
        topics.sort_by_key(|(_, kept)| kept.number);
        let read = self.database.begin_read().map_err(failed)?;
        let table = if_exists(read.open_table(MESSAGES))?;
        let mut stored = match &table {
            Some(table) => Some(table.iter().map_err(failed)?),
            None => None,
        };
        for (name, kept) in topics {
            if kept.oldest == 0
                || kept.oldest > kept.head.saturating_add(1)
                || kept.head >= HEAD_MAX
            {
                let TopicRow { oldest, head, .. } = kept;
                return Ok(Err(format!("topic '{name}' has the range {oldest} to {head}")));
            }
            let mut bytes = 0;
            for offset in kept.oldest..=kept.head {
                let next = stored.as_mut().and_then(Iterator::next).transpose().map_err(failed)?;
                match next {
                    Some((key, value)) if key.value() == (kept.number, offset) => {
                        bytes += value.value().1.len() as u64;
                    }
                    _ => return Ok(Err(format!("message {offset} of topic '{name}' is missing"))),
                }
            }
            if bytes != kept.bytes {
                let counted = kept.bytes;
                let why = format!("topic '{name}' has {bytes} bytes of messages, not {counted}");
                return Ok(Err(why));
            }
        }
        let left_over = stored.as_mut().and_then(Iterator::next).is_some();
        Ok(if left_over { Err("some messages belong to no topic".to_owned()) } else { Ok(()) })
    }

    /// Messages after `after` up to `head`, and the number of dropped messages before them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(
        &self,
        topic: &TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Result<OlderMessages, StoreError> {
        let nothing = OlderMessages { gap: head.saturating_sub(after), messages: Vec::new() };
        let read = self.database.begin_read().map_err(failed)?;
        let Some(topics) = if_exists(read.open_table(TOPICS))? else { return Ok(nothing) };
        let Some(row) = topics.get(topic.as_str()).map_err(failed)? else { return Ok(nothing) };
        let kept = TopicRow::from_row(row.value());
        // Messages stored after `head` was read may have displaced older ones.
        let first = kept.oldest.max(after.saturating_add(1));
        if first > head {
            return Ok(nothing);
        }
        let gap = first - 1 - after;
        let table = read.open_table(MESSAGES).map_err(failed)?;
        let range = table.range((kept.number, first)..=(kept.number, head)).map_err(failed)?;
        let mut expected = first;
        let messages = limit.of(range.map(|entry| {
            let (key, stored) = entry.map_err(failed)?;
            let message = stored.value().1;
            if key.value().1 != expected || !Message::encoding_has_offset(message, expected) {
                let why = format!(
                    "message {expected} of topic '{topic}' is missing, or another is in its place"
                );
                return Err(StoreError::Failed(why));
            }
            expected += 1;
            Ok(Bytes::copy_from_slice(message))
        }))?;
        Ok(OlderMessages { gap, messages })
    }

    /// Stores all of `new` in one commit, or none, and drops messages beyond `retention`. `rows` is
    /// updated after the commit.
    pub(super) fn append(
        &self,
        rows: &mut Rows,
        new: impl Iterator<Item = (TopicName, NewMessage)>,
        retention: FileRetention,
    ) -> Result<Vec<Written>, StoreError> {
        let mut changed: HashMap<TopicName, TopicRow> = HashMap::new();
        let mut next_number = rows.next_number;
        let mut all_written = Vec::new();
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut messages = write.open_table(MESSAGES).map_err(failed)?;
            let mut topics = write.open_table(TOPICS).map_err(failed)?;
            for (topic, message) in new {
                let kept = changed.entry(topic).or_insert_with_key(|topic| {
                    rows.get(topic).copied().unwrap_or_else(|| {
                        next_number += 1;
                        TopicRow::new(next_number - 1)
                    })
                });
                let offset = kept.head + 1;
                let (stored_at, message) = encode(offset, message);
                stamps::clamp(&mut messages, kept.keys(), stored_at).map_err(failed)?;
                let key = (kept.number, offset);
                messages.insert(key, (stored_at, &message[..])).map_err(failed)?;
                kept.head = offset;
                kept.bytes += message.len() as u64;
                all_written.push(Written { offset, stored_at, message });
            }
            for kept in changed.values_mut() {
                trim(&mut messages, kept, retention.topic)?;
            }
            trim_all(&mut messages, rows, &mut changed, retention.total_bytes)?;
            for (topic, kept) in &changed {
                write_row(&mut topics, topic, kept)?;
            }
        }
        write.commit().map_err(failed)?;
        rows.extend(changed);
        Ok(all_written)
    }

    /// Orders the timestamps of all messages, which files of older versions may not do.
    pub(super) fn order_stamps(&self, rows: &Rows) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut messages = write.open_table(MESSAGES).map_err(failed)?;
            for (_, kept) in rows.iter() {
                stamps::order(&mut messages, kept.keys(), unix_micros()).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// Drops expired messages of every topic. `rows` is updated after the commit.
    pub(super) fn expire(&self, rows: &mut Rows, retention: Retention) -> Result<(), StoreError> {
        let mut changed = HashMap::new();
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut messages = write.open_table(MESSAGES).map_err(failed)?;
            let mut topics = write.open_table(TOPICS).map_err(failed)?;
            let now = unix_micros();
            for (topic, before) in rows.iter() {
                let mut kept = *before;
                let clamped = stamps::clamp(&mut messages, kept.keys(), now).map_err(failed)?;
                trim(&mut messages, &mut kept, retention)?;
                if clamped || kept != *before {
                    write_row(&mut topics, topic, &kept)?;
                    changed.insert(topic.clone(), kept);
                }
            }
        }
        if changed.is_empty() {
            return write.abort().map_err(failed);
        }
        write.commit().map_err(failed)?;
        rows.extend(changed);
        Ok(())
    }
}

type TopicTable<'a> = Table<'a, &'static str, (u32, Offset, Offset, u64)>;

fn write_row(
    topics: &mut TopicTable<'_>,
    topic: &TopicName,
    kept: &TopicRow,
) -> Result<(), StoreError> {
    let row = (kept.number, kept.oldest, kept.head, kept.bytes);
    topics.insert(topic.as_str(), row).map_err(failed)?;
    Ok(())
}

/// A table does not exist before the first write.
fn if_exists<T>(table: Result<T, TableError>) -> Result<Option<T>, StoreError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn not_opened(file: String, error: DatabaseError) -> StoreError {
    let why = error.to_string();
    match error {
        DatabaseError::Storage(StorageError::Io(error)) if is_full(error.kind()) => {
            StoreError::Full
        }
        // A truncated file.
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
        {
            StoreError::Unreadable { file, why }
        }
        DatabaseError::UpgradeRequired(_) => StoreError::UnknownFormat { file, why },
        _ => StoreError::Damaged { file, why },
    }
}
