//! Publishes messages, one at a time in each topic.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::{NatsError, Shared};
use crate::feed::tail::encode;
use crate::message::{NewMessage, Offset, TopicName};

/// How long a publication may take, the wait for those before it included.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two attempts to store the same message.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The exclusive right to publish to a topic, held by one publication at a time.
pub(super) struct PublicationSlot {
    shared: Arc<Shared>,
    topic: TopicName,
    deadline: Instant,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Shared {
    /// Waits for the publications before this one to end.
    pub(super) async fn turn(
        self: &Arc<Self>,
        topic: &TopicName,
    ) -> Result<PublicationSlot, NatsError> {
        self.check()?;
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let turn = self.topics().entry(topic.clone()).or_default().turn.clone();
        // Created before the wait, so that the topic is forgotten if the wait is cancelled.
        let mut waiting =
            PublicationSlot { shared: self.clone(), topic: topic.clone(), deadline, guard: None };
        let guard = timeout_at(deadline, turn.lock_owned()).await;
        waiting.guard = Some(guard.map_err(|_| NatsError::Busy)?);
        self.check()?;
        Ok(waiting)
    }
}

impl Drop for PublicationSlot {
    /// Forgets a topic without messages after its last publication, since clients choose the names.
    fn drop(&mut self) {
        self.guard = None;
        let mut topics = self.shared.topics();
        let is_unused = |turn| Arc::strong_count(turn) == 1;
        if topics.get(&self.topic).is_some_and(|it| it.sequence == 0 && is_unused(&it.turn)) {
            topics.remove(&self.topic);
        }
    }
}

/// The result of one attempt to store the message.
enum Attempt {
    /// The message is in the stream. The offset is `None` if an earlier attempt stored it.
    Stored(Option<Offset>),
    /// Another message was stored first.
    Conflict,
    /// There is no room.
    Full(String),
    /// It is unknown whether the message was stored.
    Unknown(String),
}

impl PublicationSlot {
    /// Stores the message, and waits until it has arrived on this server.
    pub async fn publish(self, new_message: NewMessage) -> Result<Offset, NatsError> {
        let id = format!("{:032x}", rand::random::<u128>());
        let (sender, mut arrival) = oneshot::channel();
        self.shared.arrivals().insert(id.clone(), sender);
        let result = tokio::select! {
            biased;
            Ok(offset) = &mut arrival => Ok(offset),
            result = self.store(&id, new_message) => result,
        };
        self.shared.arrivals().remove(&id);
        // It may have arrived at the last moment.
        arrival.try_recv().or(result)
    }

    /// Tries to store the message until that has succeeded or failed permanently. After a success
    /// it waits for the arrival, but not for ever.
    async fn store(&self, id: &str, new_message: NewMessage) -> Result<Offset, NatsError> {
        let mut position = self.shared.position.subscribe();
        let mut unknown = None;
        loop {
            position.mark_unchanged();
            let (head, sequence) = self.shared.last_of(&self.topic);
            match self.attempt(id, head + 1, sequence, new_message.clone()).await {
                Attempt::Stored(offset) => {
                    tokio::time::sleep_until(self.deadline).await;
                    let why = "it is stored, but was not received from the stream".to_owned();
                    return offset.ok_or(NatsError::Unconfirmed { why });
                }
                Attempt::Conflict => self.until_newer(sequence, &mut position).await,
                Attempt::Full(why) if unknown.is_none() => return Err(NatsError::Full { why }),
                Attempt::Full(why) | Attempt::Unknown(why) => {
                    unknown = Some(why);
                    sleep(RETRY_DELAY).await;
                }
            }
            if Instant::now() >= self.deadline {
                return Err(unknown.map_or(NatsError::Busy, |why| NatsError::Unconfirmed { why }));
            }
        }
    }

    /// Waits until this server has received a message of the topic beyond `sequence`.
    async fn until_newer(&self, sequence: u64, position: &mut watch::Receiver<u64>) {
        while self.shared.last_of(&self.topic).1 == sequence {
            if timeout_at(self.deadline, position.changed()).await.is_err() {
                return;
            }
        }
    }

    async fn attempt(
        &self,
        id: &str,
        offset: Offset,
        last: u64,
        new_message: NewMessage,
    ) -> Attempt {
        let (_, payload) = encode(offset, new_message);
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(id)
            .expected_stream(&self.shared.config.stream)
            .expected_last_subject_sequence(last);
        let subject = self.shared.subject(&self.topic);
        let publishing =
            async { self.shared.jetstream.send_publish(subject, message).await?.await };
        match timeout_at(self.deadline, publishing).await {
            Ok(Ok(PublishAck { duplicate, .. })) => Attempt::Stored((!duplicate).then_some(offset)),
            Ok(Err(error)) => Attempt::failed(&error),
            Err(_) => Attempt::Unknown("no answer".to_owned()),
        }
    }
}

impl Attempt {
    fn failed(error: &PublishError) -> Attempt {
        let source = std::error::Error::source(error);
        let cause = source.and_then(|it| it.downcast_ref::<async_nats::jetstream::Error>());
        let Some(cause) = cause else { return Attempt::Unknown(error.to_string()) };
        match cause.error_code() {
            _ if error.kind() == PublishErrorKind::WrongLastSequence => Attempt::Conflict,
            // The first is the answer of a cluster, the second while it stores another message.
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
            | ErrorCode::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY => Attempt::Conflict,
            ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED => Attempt::Full(cause.to_string()),
            _ => Attempt::Unknown(cause.to_string()),
        }
    }
}
