//! The store on disk: one file, one thread that writes it, and a commit for as many messages as
//! came while the commit before was under way.
//!
//! A publisher is answered after the commit that its message is in. So publishing one by one costs
//! an fsync each, and publishing by many at once costs an fsync for all of them.

mod archive;
mod file;
mod stamps;
mod trim;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Older, Pending, Store, StoreError};
use crate::feed::log::{ReadLimit, Retention};
use crate::feed::tail::Tail;
use crate::message::{Cursor, Epoch, NewMessage, Offset, TopicName};

pub use archive::{Archive, Kept, Rows};
pub use file::Durability;
use file::FeedFile;
pub use trim::FileRetention;
use writer::{Append, Order, Writer};

/// Messages that wait for the writer; further publishers wait for a place here.
const QUEUE: usize = 4_096;
/// What a topic holds in memory, in front of the file: enough for those who are up to date or
/// nearly so.
const TAIL: Retention =
    Retention { messages: 1_000, bytes: 1 << 20, age: std::time::Duration::MAX };

/// Keeps messages in a directory.
#[derive(Debug)]
pub struct RedbStore {
    shared: Arc<Shared>,
    epoch: Epoch,
    /// The topics that the file held when it was opened.
    heads: HashMap<TopicName, Offset>,
    orders: mpsc::Sender<Order>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer and the readers share.
#[derive(Debug)]
struct Shared {
    file: FeedFile,
    /// `None` between a failure and the next attempt to open the file again.
    archive: RwLock<Option<Archive>>,
}

impl RedbStore {
    /// Opens the feed in `directory`, or begins one there.
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
        if retention.topic.age < Duration::MAX {
            archive.order_stamps(&rows)?;
        }
        archive.begin_life(durability)?;
        let epoch = archive.epoch()?;
        let heads = rows.iter().map(|(name, row)| (name.clone(), row.head)).collect();
        let shared = Arc::new(Shared { file, archive: RwLock::new(Some(archive)) });
        let (orders, received) = mpsc::channel(QUEUE);
        let writer = Writer::new(shared.clone(), rows, retention);
        let writer = std::thread::Builder::new()
            .name("feed-writer".to_owned())
            .spawn(move || writer.run(received))
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(RedbStore { shared, epoch, heads, orders, writer: Mutex::new(Some(writer)) })
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(order(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for RedbStore {
    /// Waits for the writer, so that the file is free when the store is gone.
    fn drop(&mut self) {
        self.orders = mpsc::channel(1).0;
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
        // The feed opens what the file held at once, and whatever comes later begins at 0.
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
        draft: NewMessage,
    ) -> Pending<'a, Result<Offset, StoreError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let append = Append { topic: topic.clone(), tail: tail.clone(), draft, answer };
            self.orders.send(Order::Append(append)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    /// Reads on the blocking pool: the file may be slow, and the runtime's threads serve everybody.
    fn read_older<'a>(
        &'a self,
        topic: &'a TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Pending<'a, Result<Option<Older>, StoreError>> {
        let shared = self.shared.clone();
        let topic = topic.clone();
        let read = move || {
            let archive = shared.archive.read().expect("no panic under this lock");
            let reopening = || StoreError::Failed("the file is being opened again".to_owned());
            archive.as_ref().ok_or_else(reopening)?.read(&topic, after, head, limit).map(Some)
        };
        Box::pin(async move {
            let reading = tokio::task::spawn_blocking(read);
            reading.await.map_err(|error| StoreError::Failed(error.to_string()))?
        })
    }

    fn expire(&self) -> Pending<'_, ()> {
        Box::pin(self.order(Order::Expire))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.order(Order::Close).await;
            let writer = self.writer.lock().expect("no panic under this lock").take();
            if let Some(writer) = writer {
                let _ = tokio::task::spawn_blocking(|| writer.join()).await;
            }
        })
    }
}
