//! The store on disk: one file and one writer thread with group commit. A commit contains all
//! messages that arrived during the previous commit.
//!
//! A publisher receives its response after the commit of its message. Messages published one by one
//! need an fsync each; concurrent publications share an fsync.

mod archive;
mod file;
mod rows;
mod stamps;
mod trim;
mod writer;

use std::collections::HashMap;
use std::future::ready;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{OlderMessages, Pending, Store, StoreError};
use crate::feed::log::{ReadLimit, Retention};
use crate::feed::tail::Tail;
use crate::message::{Cursor, Epoch, NewMessage, Offset, TopicName};

pub use archive::Archive;
pub use file::Durability;
use file::FeedFile;
pub use rows::{Rows, TopicRow};
pub use trim::FileRetention;
use writer::{Append, Writer, WriterCommand};

/// Capacity of the queue to the writer; further publishers wait.
const QUEUE: usize = 4_096;
/// Retention of a topic in memory: enough for subscribers that lag little.
const TAIL: Retention =
    Retention { messages: 1_000, bytes: 1 << 20, age: std::time::Duration::MAX };

/// Stores messages in a directory.
#[derive(Debug)]
pub struct RedbStore {
    shared: Arc<Shared>,
    epoch: Epoch,
    /// The topics in the file when it was opened.
    heads: HashMap<TopicName, Offset>,
    commands: mpsc::Sender<WriterCommand>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Whether messages have a maximum age.
    is_expiring: bool,
}

/// State shared by the writer and the readers.
#[derive(Debug)]
struct Shared {
    file: FeedFile,
    /// `None` between a failure and the next attempt to open the file again.
    archive: RwLock<Option<Archive>>,
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.archive.read().expect("no panic under this lock").is_none()
    }
}

impl RedbStore {
    /// Opens the feed in `directory`, or creates it.
    ///
    /// # Errors
    /// If another process has it, the file is not a feed or is damaged, or the system refuses.
    pub fn open(
        directory: &Path,
        retention: FileRetention,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let file = FeedFile::lock(directory, durability)?;
        let archive = Archive::open(&file)?;
        let rows = archive.checked_rows()?;
        let is_expiring = retention.topic.age < Duration::MAX;
        if is_expiring {
            archive.order_stamps(&rows)?;
        }
        archive.record_start(durability)?;
        let epoch = archive.epoch()?;
        let heads = rows.iter().map(|(name, row)| (name.clone(), row.head)).collect();
        let shared = Arc::new(Shared { file, archive: RwLock::new(Some(archive)) });
        let (commands, received) = mpsc::channel(QUEUE);
        let writer = Writer::new(shared.clone(), rows, retention);
        let writer = std::thread::Builder::new()
            .name("feed-writer".to_owned())
            .spawn(move || writer.run(received))
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let writer = Mutex::new(Some(writer));
        Ok(RedbStore { shared, epoch, heads, commands, writer, is_expiring })
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> WriterCommand) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for RedbStore {
    /// Waits for the writer, so that the file is free when the store is gone.
    fn drop(&mut self) {
        self.commands = mpsc::channel(1).0;
        let writer = self.writer.lock().expect("no panic under this lock").take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Store for RedbStore {
    fn topics(&self) -> Vec<TopicName> {
        self.heads.keys().cloned().collect()
    }

    fn head(&self, topic: &TopicName) -> Result<Cursor, StoreError> {
        // The feed opens the topics of the file at the start; later topics begin at 0.
        let offset = self.heads.get(topic).copied().unwrap_or(0);
        Ok(Cursor { epoch: self.epoch, offset })
    }

    fn tail_retention(&self, kept: Retention) -> Retention {
        Retention {
            messages: kept.messages.min(TAIL.messages),
            bytes: kept.bytes.min(TAIL.bytes),
            age: kept.age,
        }
    }

    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        tail: &'a Arc<Tail>,
        new_message: NewMessage,
    ) -> Pending<'a, Result<Offset, StoreError>> {
        Box::pin(async move {
            let (reply, answered) = oneshot::channel();
            let append = Append { topic: topic.clone(), tail: tail.clone(), new_message, reply };
            self.commands
                .send(WriterCommand::Append(append))
                .await
                .map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    /// Reads on the blocking pool: the file may be slow and must not block the runtime's threads.
    fn read_older<'a>(
        &'a self,
        topic: &'a TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Pending<'a, Result<Option<OlderMessages>, StoreError>> {
        let shared = self.shared.clone();
        let topic = topic.clone();
        let read = move || {
            let archive = shared.archive.read().expect("no panic under this lock");
            let closed = || StoreError::Failed("its file is closed after an error".to_owned());
            archive.as_ref().ok_or_else(closed)?.read(&topic, after, head, limit).map(Some)
        };
        Box::pin(async move {
            if self.shared.is_closed() {
                self.command(WriterCommand::Reopen).await;
            }
            let reading = tokio::task::spawn_blocking(read).await;
            let result = reading.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())));
            result.map_err(StoreError::of_read)
        })
    }

    fn expire(&self) -> Pending<'_, ()> {
        if !self.is_expiring {
            return Box::pin(ready(()));
        }
        Box::pin(self.command(WriterCommand::Expire))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.command(WriterCommand::Close).await;
            let writer = self.writer.lock().expect("no panic under this lock").take();
            if let Some(writer) = writer {
                let _ = tokio::task::spawn_blocking(|| writer.join()).await;
            }
        })
    }
}

fn failed(error: impl Into<::redb::Error>) -> StoreError {
    match error.into() {
        ::redb::Error::Io(error) if is_full(error.kind()) => StoreError::Full,
        other => StoreError::Failed(other.to_string()),
    }
}

fn is_full(kind: ErrorKind) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | FileTooLarge)
}
