//! Reads messages that memory has dropped from the stream.

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{ARRIVAL_TIMEOUT, NatsError, Shared, offset_of};
use crate::feed::log::ReadLimit;
use crate::feed::store::OlderMessages;
use crate::message::{Offset, TopicName};

impl Shared {
    /// Messages of the topic after `after`, up to `head`.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub(super) async fn read_older(
        &self,
        topic: &TopicName,
        after: Offset,
        head: Offset,
        limit: ReadLimit,
    ) -> Result<OlderMessages, NatsError> {
        let Some((first, sequence)) = self.first_after(topic, after, head) else {
            return Ok(OlderMessages { gap: head - after, messages: Vec::new() });
        };
        let _permit = self.reading_older.acquire().await.map_err(|_| NatsError::Closed)?;
        self.check()?;
        let count = limit.messages.min(usize::try_from(head + 1 - first).unwrap_or(usize::MAX));
        let messages = self.read_from(topic, sequence, count, limit.bytes).await?;
        let Some(begins_at) = messages.first().and_then(|message| offset_of(message)) else {
            return Err(NatsError::Stalled);
        };
        // Another server may have deleted some of them meanwhile.
        let gap = begins_at.saturating_sub(after + 1);
        let is_wanted = |(index, message): &(u64, Bytes)| {
            begins_at + index <= head && offset_of(message) == Some(begins_at + index)
        };
        let messages = (0..).zip(messages).take_while(is_wanted).map(|(_, message)| message);
        Ok(OlderMessages { gap, messages: messages.collect() })
    }

    /// Offset and sequence number of the first message after `after` that is kept and has not
    /// expired; `None` if there is none up to `head`.
    fn first_after(&self, topic: &TopicName, after: Offset, head: Offset) -> Option<(Offset, u64)> {
        let topics = self.topics();
        let state = topics.get(topic)?;
        let oldest_allowed = self.config.retention.oldest_allowed();
        let before_kept = state.head - state.kept.len() as u64;
        let offsets = before_kept + 1..;
        let mut kept = offsets.zip(state.kept.iter());
        let skipped = usize::try_from(after.saturating_sub(before_kept)).ok()?;
        let mut rest = kept.by_ref().skip(skipped).take_while(|(offset, _)| *offset <= head);
        let (offset, message) = rest.find(|(_, message)| message.stored_at >= oldest_allowed)?;
        Some((offset, message.sequence))
    }

    /// Up to `count` messages of the topic from `sequence` on, and up to `bytes_max` but at least
    /// one.
    async fn read_from(
        &self,
        topic: &TopicName,
        sequence: u64,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, NatsError> {
        let unreadable =
            |error: &dyn std::error::Error| NatsError::Unreadable { why: error.to_string() };
        let config = OrderedConfig {
            deliver_subject: self.jetstream.client().new_inbox(),
            filter_subject: self.subject(topic),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence },
            ..OrderedConfig::default()
        };
        let stream = &self.config.stream;
        let created = self.jetstream.create_consumer_on_stream(config, stream).await;
        let consumer = created.map_err(|error| unreadable(&error))?;
        let mut arriving = consumer.messages().await.map_err(|error| unreadable(&error))?;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < count {
            let next = timeout(ARRIVAL_TIMEOUT, arriving.next()).await;
            let message = match next.map_err(|_| NatsError::Stalled)? {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(unreadable(&error)),
                None => return Err(NatsError::Away),
            };
            let is_last = message.info().is_ok_and(|info| info.pending == 0);
            if offset_of(&message.payload).is_some() {
                bytes += message.payload.len();
                if bytes > bytes_max && !messages.is_empty() {
                    break;
                }
                // A copy, since the payload shares the buffer of many messages.
                messages.push(Bytes::copy_from_slice(&message.payload));
            }
            if is_last {
                break;
            }
        }
        Ok(messages)
    }
}
