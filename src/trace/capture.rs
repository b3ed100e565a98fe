//! Runs one subscriber and records its conversation with the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::time::timeout;

use super::Conversation;
use super::steps::{Pause, TracedPublication, steps};
use crate::client::{ClientError, Dialer, HttpConnection, Meter, Recording};
use crate::message::TopicName;
use crate::transport::{SubscribeOptions, Subscriber};
use crate::variant::{Extra, Variant};

/// How long a message may take in addition to the waits that the options allow.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest pause that is shown as a wait, unless messages or polls are more frequent.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// What to record.
#[derive(Debug, Clone)]
pub struct Options {
    pub topic: TopicName,
    pub messages: u32,
    /// Time between two messages, and before the first one.
    pub every: Duration,
    pub poll_interval: Duration,
    pub long_poll_hold: Duration,
    /// Round trip of the simulated link.
    pub round_trip: Duration,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("'{variant}': the trace reads plain HTTP/1.1 and cannot show +{extra}; leave it out")]
    Unreadable { variant: Variant, extra: &'static str },
    #[error("cannot publish a message")]
    Publish(#[source] ClientError),
    #[error("the subscriber of {variant} failed")]
    Subscribe { variant: Variant, source: ClientError },
    #[error("{variant}: no message within {} s", .after.as_secs())]
    TimedOut { variant: Variant, after: Duration },
    #[error("{variant}: the conversation is too long to be recorded; use fewer messages")]
    TooLong { variant: Variant },
}

/// Checks that the bytes of `variant` can be read.
///
/// # Errors
/// If they are compressed, encrypted or HTTP/2 frames.
pub fn check(variant: Variant) -> Result<(), TraceError> {
    let unreadable =
        [Extra::Gzip, Extra::H2, Extra::Tls].into_iter().find(|extra| variant.has(*extra));
    match unreadable {
        Some(extra) => Err(TraceError::Unreadable { variant, extra: extra.name() }),
        None => Ok(()),
    }
}

/// Subscribes over `variant`, publishes the messages, and returns the conversation up to the
/// arrival of the last message.
///
/// # Errors
/// If the server cannot be reached, refuses, or a message does not arrive in time.
pub async fn run(
    variant: Variant,
    dialer: &Dialer,
    options: &Options,
) -> Result<Conversation, TraceError> {
    check(variant)?;
    let (meter, recording) = (Arc::<Meter>::default(), Arc::<Recording>::default());
    let traced = dialer.clone().with_meter(meter.clone()).with_recording(recording.clone());
    let traced = traced.with_round_trip(options.round_trip);
    let started = Instant::now();
    let publications = {
        let waits = options.every * options.messages + options.poll_interval;
        let after = waits + options.long_poll_hold + options.round_trip * 10 + MESSAGE_TIMEOUT;
        let conversation = exchange(variant, traced, dialer.clone(), options);
        timeout(after, conversation)
            .await
            .map_err(|_| TraceError::TimedOut { variant, after })??
    };
    let counts = meter.counts();
    let metered = [counts.up(), counts.down()];
    let entries = recording.entries().ok_or(TraceError::TooLong { variant })?;
    let pause = Pause {
        min: WAIT_MIN.min(options.every / 2).min(options.poll_interval / 2),
        round_trip: options.round_trip,
    };
    let (steps, shown) = steps(variant.transport, started, pause, &entries, &publications);
    let rest_tcp_ip = std::array::from_fn(|i| metered[i].tcp_ip - shown[i]);
    Ok(Conversation { variant, steps, rest_tcp_ip, metered })
}

/// Subscribes, publishes, and reads until every message has arrived. Closes the connections.
async fn exchange(
    variant: Variant,
    traced: Dialer,
    dialer: Dialer,
    options: &Options,
) -> Result<Vec<TracedPublication>, TraceError> {
    let failed = |source| TraceError::Subscribe { variant, source };
    let subscribe = SubscribeOptions {
        interval: options.poll_interval,
        interval_max: options.poll_interval * 8,
        wait: options.long_poll_hold,
        ..SubscribeOptions::new(options.topic.clone())
    };
    let mut subscriber = Subscriber::connect(variant, traced, subscribe).await.map_err(failed)?;
    let reading = async {
        let mut received = 0;
        while received < options.messages as usize {
            received += subscriber.next().await.map_err(failed)?.messages.len();
        }
        Ok(())
    };
    let (publications, ()) = tokio::try_join!(publish(dialer, options), reading)?;
    Ok(publications)
}

/// Publishes the messages, on a connection that is not recorded.
async fn publish(dialer: Dialer, options: &Options) -> Result<Vec<TracedPublication>, TraceError> {
    let mut http = HttpConnection::new(dialer);
    let path = format!("/topics/{}/messages", options.topic);
    let mut publications = Vec::new();
    for number in 1..=options.messages {
        tokio::time::sleep(options.every).await;
        let text = format!("message {number}");
        let body = serde_json::json!({ "sender": "trace", "text": text }).to_string();
        let at = Instant::now();
        let response = http.request(Method::POST, &path, Bytes::from(body)).await;
        let response = response.map_err(TraceError::Publish)?;
        if response.status != StatusCode::CREATED {
            return Err(TraceError::Publish(response.refusal()));
        }
        publications.push(TracedPublication { at, text });
    }
    Ok(publications)
}
