//! The writer thread: stores all pending messages in one commit, then replies to their publishers.
//! After a failure it reopens the file at once, for readers, and writes again a second later, so
//! that publishing continues when the cause is removed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::archive::Archive;
use super::rows::Rows;
use super::trim::FileRetention;
use super::{Shared, StoreError};
use crate::feed::tail::Tail;
use crate::message::{NewMessage, Offset, TopicName};

/// Limit of the messages in one commit. It bounds the memory of a group and the time that its first
/// message waits for the last.
const GROUP_MESSAGES: usize = 1_000;
/// Limit of the text in one commit, bytes; one message is stored even if it exceeds the limit.
const GROUP_BYTES: usize = 4 << 20;
/// Time after a failure in which nothing is written, and the file is not opened once more.
const BEFORE_RETRYING: Duration = Duration::from_secs(1);

/// A command to the writer.
#[derive(Debug)]
pub enum WriterCommand {
    Append(Append),
    Expire(oneshot::Sender<()>),
    /// Reopens the file if it is closed after a failure: for readers, who would otherwise wait for
    /// the next publication.
    Reopen(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub struct Append {
    pub topic: TopicName,
    pub tail: Arc<Tail>,
    pub new_message: NewMessage,
    pub reply: oneshot::Sender<Result<Offset, StoreError>>,
}

pub struct Writer {
    shared: Arc<Shared>,
    rows: Rows,
    retention: FileRetention,
    /// The last failure, until the file is used again.
    failure: Option<(StoreError, Instant)>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, rows: Rows, retention: FileRetention) -> Writer {
        Writer { shared, rows, retention, failure: None }
    }

    /// Runs until `WriterCommand::Close`, or until all senders are dropped.
    pub fn run(mut self, mut commands: mpsc::Receiver<WriterCommand>) {
        while let Some(first) = commands.blocking_recv() {
            let (group, then) = gather(first, &mut commands);
            if !group.is_empty() {
                self.append(group);
            }
            match then {
                Some(WriterCommand::Expire(done)) => {
                    self.expire();
                    let _ = done.send(());
                }
                Some(WriterCommand::Reopen(done)) => {
                    // The reader finds the file open, or reports that it is not.
                    let _ = self.prepare();
                    let _ = done.send(());
                }
                Some(WriterCommand::Close(done)) => {
                    self.close();
                    let _ = done.send(());
                    return;
                }
                Some(WriterCommand::Append(_)) | None => {}
            }
        }
        self.close();
    }

    fn append(&mut self, group: Vec<Append>) {
        let retention = self.retention;
        let mut rest = Vec::with_capacity(group.len());
        let mut new_messages = Vec::with_capacity(group.len());
        for Append { topic, tail, new_message, reply } in group {
            new_messages.push((topic, new_message));
            rest.push((tail, reply));
        }
        match self
            .attempt(|archive, rows| archive.append(rows, new_messages.into_iter(), retention))
        {
            Ok(all_written) => {
                for ((tail, reply), written) in rest.into_iter().zip(all_written) {
                    tail.push(written.offset, written.stored_at, written.message);
                    let _ = reply.send(Ok(written.offset));
                }
            }
            Err(error) => {
                for (_, reply) in rest {
                    let _ = reply.send(Err(error.clone()));
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

    /// Runs `work` on the file. If it fails, the file is reopened: until then, redb rejects writes
    /// after a failed commit.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Archive, &mut Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.prepare()?;
        let archive = self.shared.archive.read().expect("no panic under this lock");
        let result = work(archive.as_ref().expect("it is open"), &mut self.rows);
        drop(archive);
        if let Err(error) = &result {
            error!(%error, "the feed's file was closed after an error and will be reopened");
            *self.shared.archive.write().expect("no panic under this lock") = None;
            self.failure = Some((error.clone(), Instant::now()));
            // A failure is stored, for the next attempt.
            let _ = self.reopen();
        }
        result
    }

    /// Makes sure that the file is open, and that no failure is recent.
    fn prepare(&mut self) -> Result<(), StoreError> {
        if let Some((error, since)) = &self.failure
            && since.elapsed() < BEFORE_RETRYING
        {
            return Err(error.clone());
        }
        if self.shared.is_closed() {
            self.reopen()?;
        }
        self.failure = None;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let opened = Archive::open(&self.shared.file)
            .and_then(|archive| Ok((archive.checked_rows()?, archive)));
        match opened {
            Ok((rows, archive)) => {
                info!("the feed's file is open again");
                *self.shared.archive.write().expect("no panic under this lock") = Some(archive);
                self.rows = rows;
                Ok(())
            }
            Err(error) => {
                self.failure = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// Syncs everything to the disk and closes the file.
    fn close(&mut self) {
        self.shared.file.sync_from_now_on();
        let archive = self.shared.archive.write().expect("no panic under this lock").take();
        if let Some(archive) = archive
            && let Err(error) = archive.record_stop()
        {
            error!(%error, "cannot close the feed's file cleanly");
        }
    }
}

/// The pending appends, from `first` up to the limits of a group, and the command that ended it.
fn gather(
    first: WriterCommand,
    commands: &mut mpsc::Receiver<WriterCommand>,
) -> (Vec<Append>, Option<WriterCommand>) {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(command) = next {
        let WriterCommand::Append(append) = command else { return (group, Some(command)) };
        bytes += append.new_message.text.len();
        group.push(append);
        if group.len() >= GROUP_MESSAGES || bytes >= GROUP_BYTES {
            break;
        }
        next = commands.try_recv().ok();
    }
    (group, None)
}
