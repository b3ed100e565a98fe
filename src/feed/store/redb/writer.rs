//! The one thread that writes: takes whatever waits, stores it in one commit, answers everybody.
//! After a failure it opens the file again, so that publishing goes on once the cause is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::archive::{Archive, Rows};
use super::trim::FileRetention;
use super::{Shared, StoreError};
use crate::feed::tail::Tail;
use crate::message::{NewMessage, Offset, TopicName};

/// Messages in one commit, at most: it bounds the memory of a group, and how long the first of it
/// waits for the last.
const GROUP_MESSAGES: usize = 1_000;
/// Text in one commit, at most, bytes; one message is taken whatever its size.
const GROUP_BYTES: usize = 4 << 20;
/// Time between two attempts to open the file again.
const BEFORE_REOPENING: Duration = Duration::from_secs(1);

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Order {
    Append(Append),
    Expire(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub struct Append {
    pub topic: TopicName,
    pub tail: Arc<Tail>,
    pub draft: NewMessage,
    pub answer: oneshot::Sender<Result<Offset, StoreError>>,
}

pub struct Writer {
    shared: Arc<Shared>,
    rows: Rows,
    retention: FileRetention,
    /// Why the file is not open, and since when.
    failure: Option<(StoreError, Instant)>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, rows: Rows, retention: FileRetention) -> Writer {
        Writer { shared, rows, retention, failure: None }
    }

    /// Works until it is told to close, or nobody is left to tell it anything.
    pub fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(first) = orders.blocking_recv() {
            let (group, then) = gather(first, &mut orders);
            if !group.is_empty() {
                self.append(group);
            }
            match then {
                Some(Order::Expire(done)) => {
                    self.expire();
                    let _ = done.send(());
                }
                Some(Order::Close(done)) => {
                    self.close();
                    let _ = done.send(());
                    return;
                }
                Some(Order::Append(_)) | None => {}
            }
        }
        self.close();
    }

    fn append(&mut self, group: Vec<Append>) {
        let retention = self.retention;
        let mut rest = Vec::with_capacity(group.len());
        let mut drafts = Vec::with_capacity(group.len());
        for Append { topic, tail, draft, answer } in group {
            drafts.push((topic, draft));
            rest.push((tail, answer));
        }
        match self.attempt(|archive, rows| archive.append(rows, drafts.into_iter(), retention)) {
            Ok(all_written) => {
                for ((tail, answer), written) in rest.into_iter().zip(all_written) {
                    tail.push(written.offset, written.stored_at, written.message);
                    let _ = answer.send(Ok(written.offset));
                }
            }
            Err(error) => {
                for (_, answer) in rest {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn expire(&mut self) {
        let retention = self.retention.topic;
        if retention.age < Duration::MAX {
            // A failure has been logged, and the next sweep tries again.
            let _ = self.attempt(|archive, rows| archive.expire(rows, retention));
        }
    }

    /// Does `work` on the file. If that fails, the file is closed: redb refuses to write after a
    /// failed commit until it has looked at the file anew.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Archive, &mut Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reopen_if_closed()?;
        let archive = self.shared.archive.read().expect("no panic under this lock");
        let result = work(archive.as_ref().expect("it is open"), &mut self.rows);
        drop(archive);
        if let Err(error) = &result {
            error!(%error, "the feed's file is closed, and opened again soon");
            *self.shared.archive.write().expect("no panic under this lock") = None;
            self.failure = Some((error.clone(), Instant::now()));
        }
        result
    }

    fn reopen_if_closed(&mut self) -> Result<(), StoreError> {
        let Some((error, since)) = &self.failure else { return Ok(()) };
        if since.elapsed() < BEFORE_REOPENING {
            return Err(error.clone());
        }
        let opened = Archive::open(&self.shared.file)
            .and_then(|archive| Ok((archive.checked_rows()?, archive)));
        match opened {
            Ok((rows, archive)) => {
                info!("the feed's file is open again");
                *self.shared.archive.write().expect("no panic under this lock") = Some(archive);
                self.rows = rows;
                self.failure = None;
                Ok(())
            }
            Err(error) => {
                self.failure = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// Leaves the file as after a power loss that never comes: everything on the disk.
    fn close(&mut self) {
        self.shared.file.sync_from_now_on();
        let archive = self.shared.archive.write().expect("no panic under this lock").take();
        if let Some(archive) = archive
            && let Err(error) = archive.end_life()
        {
            error!(%error, "the feed's file could not be closed well");
        }
    }
}

/// The appends that wait, from `first` on, up to a group's bounds; and what else was met then.
fn gather(first: Order, orders: &mut mpsc::Receiver<Order>) -> (Vec<Append>, Option<Order>) {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(order) = next {
        let Order::Append(append) = order else { return (group, Some(order)) };
        bytes += append.draft.text.len();
        group.push(append);
        if group.len() >= GROUP_MESSAGES || bytes >= GROUP_BYTES {
            break;
        }
        next = orders.try_recv().ok();
    }
    (group, None)
}
