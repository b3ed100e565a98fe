//! The store on NATS JetStream: one stream that several servers share, with a subject for each
//! topic.
//!
//! A message contains its offset. The server that publishes it chooses the offset, and JetStream
//! accepts the message only if no other was stored in the topic meanwhile
//! (`Nats-Expected-Last-Subject-Sequence`), so offsets are contiguous and the same on all servers.
//! A server that was too slow waits until it has received the other message, and tries again.
//!
//! Every server follows the stream and delivers its messages to the feed, which serves readers from
//! memory, and from the stream what memory has dropped. Neither the last message of a topic nor the
//! creation time of the stream, from which the epoch is derived, ever change, so cursors are valid
//! on all servers. If NATS loses messages that it had stored, the stream begins another generation
//! with another epoch.

mod error;
mod follower;
mod kept;
mod older;
mod publisher;
mod stream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::jetstream::Context;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use super::{Following, OlderMessages, Pending, Store, StoreError};
use crate::feed::Feed;
use crate::feed::log::{ReadLimit, Retention};
use crate::feed::tail::Tail;
use crate::message::{Cursor, Epoch, NewMessage, Offset, TopicName};
use kept::KeptMessages;
use stream::Identity;

pub use error::NatsError;

/// How long NATS may take to answer one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads of older messages at the same time; more of them wait.
const READING_OLDER_MAX: usize = 16;
/// How long the next message of the stream may take to arrive while the store catches up.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream on NATS, and what it has to hold.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `--nats`.
    pub url: String,
    /// `--nats-stream`.
    pub stream: String,
    /// `--nats-bytes`: what NATS reserves for the stream.
    pub stream_bytes: usize,
    /// `--max-message-bytes`, and the same encoded.
    pub message_bytes: usize,
    pub message_bytes_encoded: usize,
    /// Retention of each topic.
    pub retention: Retention,
}

/// Stores messages in a stream of NATS JetStream.
#[derive(Debug)]
pub struct NatsStore(Arc<Shared>);

/// State shared by publishers, the follower and background requests.
#[derive(Debug)]
struct Shared {
    config: NatsConfig,
    jetstream: Context,
    identity: Identity,
    epoch: Epoch,
    /// Whether the connection to NATS is open.
    connected: watch::Receiver<bool>,
    /// Whether the stream is followed, or why not.
    status: watch::Sender<Result<(), NatsError>>,
    /// Everything up to this sequence number of the stream has been delivered to the feed.
    position: watch::Sender<u64>,
    topics: Mutex<HashMap<TopicName, TopicState>>,
    /// The sequence number of the last message that was received, and when it was stored,
    /// nanoseconds since the Unix epoch.
    last_received: Mutex<Option<(u64, i128)>>,
    /// Permits to read older messages from the stream.
    reading_older: Semaphore,
    /// Publications that wait for their message to arrive, by `Nats-Msg-Id`.
    arrivals: Mutex<HashMap<String, oneshot::Sender<Offset>>>,
}

/// What this server has received of a topic.
#[derive(Debug, Default)]
struct TopicState {
    head: Offset,
    /// The sequence number of the topic's last message in the stream, 0 if there is none.
    sequence: u64,
    /// The messages up to the head that the stream keeps.
    kept: KeptMessages,
    /// Held by the publication under way; the next ones wait in order.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl NatsStore {
    /// Connects to NATS, and opens the stream or creates it.
    ///
    /// # Errors
    /// If NATS cannot be reached or has no JetStream, or the stream belongs to another application
    /// or does not fit.
    pub async fn open(config: NatsConfig) -> Result<NatsStore, NatsError> {
        let (client, connected) = stream::connect(&config).await?;
        let mut jetstream = async_nats::jetstream::new(client);
        jetstream.set_timeout(REQUEST_TIMEOUT);
        let identity = stream::open(&jetstream, &config).await?;
        Ok(NatsStore(Arc::new(Shared {
            epoch: identity.epoch(),
            identity,
            jetstream,
            connected,
            status: watch::Sender::new(Err(NatsError::NotFollowed)),
            position: watch::Sender::new(0),
            topics: Mutex::default(),
            last_received: Mutex::default(),
            reading_older: Semaphore::new(READING_OLDER_MAX),
            arrivals: Mutex::default(),
            config,
        })))
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, HashMap<TopicName, TopicState>> {
        self.topics.lock().expect("no panic under this lock")
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Offset>>> {
        self.arrivals.lock().expect("no panic under this lock")
    }

    /// Newest offset of a topic, and the sequence number of its last message.
    fn last_of(&self, topic: &TopicName) -> (Offset, u64) {
        self.topics().get(topic).map_or((0, 0), |state| (state.head, state.sequence))
    }

    /// An error while the stream is not followed.
    fn check(&self) -> Result<(), NatsError> {
        self.status.borrow().clone()
    }

    /// The subject of a topic. Points separate the tokens of a subject, and names of topics may
    /// contain them anywhere.
    fn subject(&self, topic: &TopicName) -> String {
        format!("{}.{}", self.config.stream, topic.as_str().replace('.', "="))
    }

    /// The topic of a subject; `None` if it is not one of ours.
    fn topic_of(&self, subject: &str) -> Option<TopicName> {
        let name = subject.strip_prefix(&self.config.stream)?.strip_prefix('.')?;
        name.replace('=', ".").parse().ok()
    }

    /// Returns once everything that is in the stream now has been delivered.
    async fn catch_up(&self) -> Result<(), NatsError> {
        let mut status = self.status.subscribe();
        let begun = status.wait_for(|status| *status != Err(NatsError::NotFollowed));
        let _ = timeout(ARRIVAL_TIMEOUT, begun).await;
        self.check()?;
        let end = self.stream_end().await?;
        let mut position = self.position.subscribe();
        while *position.borrow_and_update() < end {
            let arrived = timeout(ARRIVAL_TIMEOUT, position.changed()).await;
            if arrived.is_err() {
                self.check()?;
                return Err(NatsError::Stalled);
            }
        }
        Ok(())
    }
}

/// The offset in a message of the stream; `None` if another application wrote it.
fn offset_of(payload: &[u8]) -> Option<Offset> {
    #[derive(Deserialize)]
    struct Stored {
        offset: Offset,
    }
    serde_json::from_slice(payload).ok().map(|Stored { offset }| offset)
}

/// Runs `work` in a task, whose handle is `Sync`, which requests to NATS are not. It is completed
/// even if the returned future is dropped.
fn in_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, NatsError>> + Send + 'static,
) -> Pending<'static, Result<T, StoreError>> {
    let task = tokio::spawn(work);
    Box::pin(async move {
        let result = task.await.map_err(|error| StoreError::Failed(error.to_string()))?;
        result.map_err(StoreError::Nats)
    })
}

impl Store for NatsStore {
    /// The feed receives the topics with their messages.
    fn topics(&self) -> Vec<TopicName> {
        Vec::new()
    }

    fn head(&self, topic: &TopicName) -> Result<Cursor, StoreError> {
        Ok(Cursor { epoch: self.0.epoch, offset: self.0.last_of(topic).0 })
    }

    fn append<'a>(
        &'a self,
        topic: &'a TopicName,
        _: &'a Arc<Tail>,
        new_message: NewMessage,
    ) -> Pending<'a, Result<Offset, StoreError>> {
        Box::pin(async move {
            let turn = self.0.turn(topic).await.map_err(StoreError::Nats)?;
            in_task(turn.publish(new_message)).await
        })
    }

    fn read_older<'a>(
        &'a self,
        topic: &'a TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Pending<'a, Result<Option<OlderMessages>, StoreError>> {
        let (shared, topic) = (self.0.clone(), topic.clone());
        in_task(async move { shared.read_older(&topic, after, head, limit).await.map(Some) })
    }

    fn follow<'a>(&'a self, feed: &'a Feed) -> Following<'a> {
        Box::pin(self.0.follow(feed))
    }

    fn catch_up(&self) -> Pending<'_, Result<(), StoreError>> {
        let shared = self.0.clone();
        in_task(async move { shared.catch_up().await })
    }

    fn expire(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if self.0.check().is_err() {
                return;
            }
            let shared = self.0.clone();
            let expiring = async move {
                if let Err(error) = shared.stream_info().await
                    && error.needs_restart()
                {
                    tracing::warn!("NATS: {error}");
                    let _ = shared.status.send_replace(Err(error));
                    return Ok(());
                }
                let outdated = shared.outdated();
                shared.purge(outdated).await;
                Ok(())
            };
            let _ = in_task(expiring).await;
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        let shared = self.0.clone();
        Box::pin(async move {
            let _ = shared.status.send_replace(Err(NatsError::Closed));
            let _ = in_task(async move { Ok(shared.jetstream.client().drain().await) }).await;
        })
    }
}
