//! Follows the stream: delivers what any server has published to the feed.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use super::{NatsError, Shared};
use crate::feed::Feed;
use crate::message::{Offset, TopicName};

/// Time between two attempts to follow the stream.
const RETRY_DELAY: Duration = Duration::from_millis(200);

impl Shared {
    /// Follows the stream whenever the connection is open.
    pub(super) async fn follow(&self, feed: &Feed) {
        let mut connected = self.connected.clone();
        loop {
            let _ = connected.wait_for(|is_connected| *is_connected).await;
            let ended = tokio::select! {
                ended = self.follow_connection(feed) => ended,
                _ = connected.wait_for(|is_connected| !is_connected) => NatsError::Away,
            };
            if self.check() == Err(NatsError::Closed) {
                return std::future::pending().await;
            }
            if self.status.send_replace(Err(ended.clone())) != Err(ended.clone()) {
                tracing::warn!("NATS: {ended}");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Follows the stream from the position reached, until that fails.
    async fn follow_connection(&self, feed: &Feed) -> NatsError {
        let unreadable =
            |error: &dyn std::error::Error| NatsError::Unreadable { why: error.to_string() };
        let end = match self.stream_end().await {
            Ok(end) => end,
            Err(error) => return error,
        };
        let config = OrderedConfig {
            deliver_subject: self.jetstream.client().new_inbox(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: *self.position.borrow() + 1,
            },
            ..OrderedConfig::default()
        };
        let stream = &self.config.stream;
        let created = self.jetstream.create_consumer_on_stream(config, stream).await;
        let consumer = match created {
            Ok(consumer) => consumer,
            Err(error) => return unreadable(&error),
        };
        // The messages at the end may have been deleted.
        let is_at_end = consumer.cached_info().num_pending == 0;
        let mut messages = match consumer.messages().await {
            Ok(messages) => messages,
            Err(error) => return unreadable(&error),
        };
        if is_at_end {
            self.advance(end);
        }
        if self.status.send_replace(Ok(())) == Err(NatsError::Away) {
            tracing::warn!("NATS is back");
        }
        loop {
            match messages.next().await {
                Some(Ok(message)) => self.receive(feed, &message, end),
                Some(Err(error)) => return unreadable(&error),
                None => return NatsError::Away,
            }
        }
    }

    /// Processes one message of the stream, which ended at `end` when it was last followed.
    fn receive(&self, feed: &Feed, message: &Message, end: u64) {
        let Ok(info) = message.info() else { return };
        let (sequence, is_last) = (info.stream_sequence, info.pending == 0);
        if sequence <= *self.position.borrow() {
            return;
        }
        let stored_at = info.published.unix_timestamp_nanos() / 1_000;
        let stored_at = u64::try_from(stored_at).unwrap_or_default();
        match self.topic_of(&message.subject) {
            Some(topic) => self.deliver(feed, &topic, sequence, stored_at, message),
            None => tracing::warn!(subject = %message.subject, "a message that is not of the feed"),
        }
        self.advance(if is_last { sequence.max(end) } else { sequence });
    }

    fn deliver(
        &self,
        feed: &Feed,
        topic: &TopicName,
        sequence: u64,
        stored_at: u64,
        message: &Message,
    ) {
        #[derive(Deserialize)]
        struct Stored {
            offset: Offset,
        }
        let head = self.topics().get(topic).map_or(0, |state| state.head);
        let offset = match serde_json::from_slice(&message.payload) {
            Ok(Stored { offset }) if offset > head => offset,
            _ => {
                // Publishers still have to name it as the last one of the topic.
                self.topics().entry(topic.clone()).or_default().sequence = sequence;
                tracing::warn!(%topic, sequence, "another application has written to the stream");
                return;
            }
        };
        // A copy, since the payload shares the buffer of many messages.
        let payload = Bytes::copy_from_slice(&message.payload);
        if let Err(error) = feed.deliver(topic, offset, stored_at, payload) {
            tracing::warn!(%topic, %error, "cannot open a topic of another server");
        }
        let mut topics = self.topics();
        let state = topics.entry(topic.clone()).or_default();
        if offset != state.head + 1 {
            state.kept.clear();
        }
        (state.head, state.sequence) = (offset, sequence);
        state.kept.push_back(sequence);
        if state.kept.len() > self.config.retention.messages {
            state.kept.pop_front();
        }
        drop(topics);
        let headers = message.headers.as_ref();
        let id = headers.and_then(|it| it.get_last(async_nats::header::NATS_MESSAGE_ID));
        if let Some(publisher) = id.and_then(|id| self.arrivals().remove(id.as_str())) {
            let _ = publisher.send(offset);
        }
    }

    fn advance(&self, sequence: u64) {
        self.position.send_if_modified(|position| {
            let is_newer = sequence > *position;
            *position = sequence.max(*position);
            is_newer
        });
    }
}
