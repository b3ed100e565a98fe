//! Follows the stream: delivers what any server has published to the feed.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt;

use super::kept::{KeptMessage, KeptMessages};
use super::{NatsError, Shared, offset_of};
use crate::feed::Feed;
use crate::message::TopicName;

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
                error = self.until_unusable() => error,
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
        let end = match self.stream_info().await {
            Ok(info) => match self.check_last_received(&info).await {
                Ok(()) => info.state.last_sequence,
                Err(error) => return error,
            },
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
            tracing::warn!("connected to NATS again");
        }
        loop {
            match messages.next().await {
                Some(Ok(message)) => self.receive(feed, &message, end),
                Some(Err(error)) => return unreadable(&error),
                None => return NatsError::Away,
            }
        }
    }

    /// Returns when the periodic check has found that the stream is no longer the one that was
    /// opened.
    async fn until_unusable(&self) -> NatsError {
        let mut status = self.status.subscribe();
        // Only a new error counts: that of the last attempt does not end the next one.
        loop {
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Err(error) = &*status.borrow_and_update()
                && error.needs_restart()
            {
                return error.clone();
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
        let stored_at = info.published.unix_timestamp_nanos();
        *self.last_received.lock().expect("no panic under this lock") = Some((sequence, stored_at));
        let stored_at = u64::try_from(stored_at / 1_000).unwrap_or_default();
        match self.topic_of(&message.subject) {
            Some(topic) => self.deliver(feed, &topic, sequence, stored_at, message),
            None => {
                tracing::warn!(subject = %message.subject, "skipped a message whose subject is not a topic")
            }
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
        let (head, _) = self.last_of(topic);
        let offset = match offset_of(&message.payload) {
            Some(offset) if offset > head => offset,
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
            state.kept = KeptMessages::default();
        }
        (state.head, state.sequence) = (offset, sequence);
        let bytes = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
        let retention = &self.config.retention;
        state.kept.push(KeptMessage { sequence, stored_at, bytes }, retention);
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
