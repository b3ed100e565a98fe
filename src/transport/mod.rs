//! The transports: one file for each, with its server half and its client half.
//!
//! Compare two of the files. They have the same sections in the same order, and they differ in what
//! this project is about: *where the waiting happens*.
//!
//! # One message, from publication to receipt
//! A publisher sends `POST /topics/{topic}/messages`. `publish` in `server/routes.rs` checks the
//! request and calls [`Topic::publish`](crate::feed::Topic::publish). The store of the topic adds
//! the message to the topic's memory, `feed/tail.rs`, and that completes every pending
//! [`Topic::wait_after`](crate::feed::Topic::wait_after). The server half of a transport then reads
//! the message with [`Topic::read_after`](crate::feed::Topic::read_after) and sends it. The client
//! half returns it from `Subscriber::next`, as a part of an [`Update`].
//!
//! | transport | who waits, where | reads | sends | receives, moves the client's cursor |
//! |---|---|---|---|---|
//! | short polling | client, `next` | `poll` | `poll_response::respond` | `PollClient::poll` |
//! | long polling | server, `long_poll` | `long_poll` | the same | `PollClient::poll` |
//! | SSE | server, `events` | `events` | `StreamWriter::send` | `next_item`, `Update::of` |
//! | WebSocket | server, `frames` | `frames` | `Socket::send` | `next_item`, `Update::of` |
//!
//! The table of functions in `docs/architecture.md` has the steps in between.
//!
//! # Names in the files
//! - A [`Cursor`] is a position in a topic: the *offset* of the last message that was read, and the
//!   *epoch*, which changes when the topic loses its messages. The *head* is the newest position,
//!   where a subscription without a cursor begins. Messages that retention dropped before they were
//!   read are a *gap*; a cursor of another epoch is *reset* to the head.
//! - [`Subscription`](crate::app::Subscription): what a client requested, after all checks: the
//!   `topic`, the `cursor` after which to continue, the `limit` of one read, and for a long poll
//!   how long to `wait`. Its `ended()` resolves with the reason, an [`End`](crate::app::End), when
//!   the server has to end it.
//! - [`SharedRead`](crate::feed::SharedRead): the result of `read_after`: the messages, and the
//!   cursor after them. Subscribers at the same position share it.
//! - [`Batch`](crate::message::Batch): the JSON of a response to a poll, with messages and cursor.
//!   [`StreamItem`](crate::message::StreamItem): what is pushed, a message or an
//!   [`Event`](crate::message::Event) such as a gap.
//! - `poll_response`, `stream_response` and `websocket::socket`: everything between these functions
//!   and HTTP. They parse the request, create the `Subscription`, write to the client and send
//!   heartbeats. `server/parking.rs` writes for HTTP/1.1 connections that have waited.
//! - [`PollClient`](crate::client::PollClient), [`EventStream`](crate::client::EventStream) and
//!   [`WebSocket`](crate::client::WebSocket): the client's connections. They send requests, parse
//!   what they receive and count every byte. A [`Dialer`] opens them.

pub mod long_polling;
pub mod ndjson;
mod poll_response;
mod poll_schedule;
mod reconnecting;
pub mod short_polling;
pub mod socketio;
pub mod sse;
mod stream_response;
pub mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::client::Update;
pub use poll_schedule::PollSchedule;
pub use reconnecting::{Backoff, Outage, Reconnecting};

use crate::client::{ClientError, Dialer, PollOptions};
use crate::message::{Cursor, TopicName};
use crate::variant::{Extra, Extras, Pacing, Transport, Variant};
// Shared by WebSocket and by Socket.IO over WebSocket.
use websocket::{handshake, server_frames};

/// The options of a subscriber, for all transports; each uses those that apply to it.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    pub topic: TopicName,
    /// Where to continue; `None` begins at the head.
    pub cursor: Option<Cursor>,
    /// Short polling: time between polls.
    pub interval: Duration,
    /// Adaptive short polling: the longest time between polls, if longer than `interval`.
    pub interval_max: Duration,
    /// Short polling: what `interval` is counted from.
    pub pacing: Pacing,
    /// Short polling: when the first poll after the subscription is due; `None` is at once.
    pub first_poll: Option<Instant>,
    /// Long polling: how long the server may wait before it responds.
    pub wait: Duration,
    /// Long polling: the same for the first poll, if it differs from that of the others.
    pub first_wait: Option<Duration>,
    /// Options of the variant; set by [`Subscriber::connect`].
    pub extras: Extras,
}

impl SubscribeOptions {
    /// Reads `topic` from its head, polls every second, lets long polls wait for 25 seconds.
    pub fn new(topic: TopicName) -> SubscribeOptions {
        SubscribeOptions {
            topic,
            cursor: None,
            interval: Duration::from_secs(1),
            interval_max: Duration::from_secs(8),
            pacing: Pacing::AfterResponse,
            first_poll: None,
            wait: Duration::from_secs(25),
            first_wait: None,
            extras: Extras::default(),
        }
    }

    /// The path of a request, with the cursor in its query.
    fn path(&self, route: &str) -> String {
        let path = format!("/topics/{}/{route}", self.topic);
        match self.cursor {
            Some(Cursor { epoch, offset }) => format!("{path}?epoch={epoch}&after={offset}"),
            None => path,
        }
    }

    fn poll_options(&self, route: &str) -> PollOptions {
        let path = format!("/topics/{}/{route}", self.topic);
        let (cursor, first_wait, extras) = (self.cursor, self.first_wait, self.extras);
        PollOptions { path, cursor, first_wait, extras }
    }
}

/// A subscriber on any transport, in any variant.
#[derive(Debug)]
pub enum Subscriber {
    ShortPolling(short_polling::Subscriber),
    LongPolling(long_polling::Subscriber),
    WebSocket(Box<websocket::Subscriber>),
    Sse(Box<sse::Subscriber>),
    Socketio(Box<socketio::Subscriber>),
    Ndjson(Box<ndjson::Subscriber>),
}

impl Subscriber {
    /// Connects and subscribes: when this returns, no later message will be missed.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        variant: impl Into<Variant>,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let variant = variant.into();
        let options = SubscribeOptions { extras: variant.extras(), ..options };
        // Without a shared connection, open a private one.
        let dialer = match variant.has(Extra::H2) && dialer.shared().is_none() {
            true => dialer.with_shared(Arc::default()),
            false => dialer,
        };
        Ok(match variant.transport {
            Transport::ShortPolling => Subscriber::ShortPolling(
                short_polling::Subscriber::connect(dialer, &options).await?,
            ),
            Transport::LongPolling => {
                Subscriber::LongPolling(long_polling::Subscriber::connect(dialer, &options).await?)
            }
            Transport::WebSocket => {
                let subscriber = websocket::Subscriber::connect(dialer, &options).await?;
                Subscriber::WebSocket(Box::new(subscriber))
            }
            Transport::Sse => {
                Subscriber::Sse(Box::new(sse::Subscriber::connect(dialer, &options).await?))
            }
            transport @ (Transport::SocketioPolling | Transport::SocketioWebsocket) => {
                let subscriber = socketio::Subscriber::connect(transport, dialer, options).await?;
                Subscriber::Socketio(Box::new(subscriber))
            }
            Transport::Ndjson => {
                Subscriber::Ndjson(Box::new(ndjson::Subscriber::connect(dialer, &options).await?))
            }
        })
    }

    /// Waits for the next update. May be dropped while it waits; a request in progress is then
    /// cancelled.
    ///
    /// # Errors
    /// If the connection breaks and cannot be opened again, or the server sends something invalid.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        match self {
            Subscriber::ShortPolling(subscriber) => subscriber.next().await,
            Subscriber::LongPolling(subscriber) => subscriber.next().await,
            Subscriber::WebSocket(subscriber) => subscriber.next().await,
            Subscriber::Sse(subscriber) => subscriber.next().await,
            Subscriber::Socketio(subscriber) => subscriber.next().await,
            Subscriber::Ndjson(subscriber) => subscriber.next().await,
        }
    }

    /// How long to wait before reconnecting after a lost connection, if the server has set it.
    fn reconnect_delay(&self) -> Option<Duration> {
        match self {
            Subscriber::Sse(subscriber) => Some(subscriber.stream.reconnect_delay()),
            _ => None,
        }
    }

    /// The `Retry-After` of the last response, if any.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Subscriber::ShortPolling(subscriber) => subscriber.client.retry_after(),
            Subscriber::LongPolling(subscriber) => subscriber.client.retry_after(),
            _ => None,
        }
    }

    /// How far this subscriber has read: what to resume from.
    pub fn cursor(&self) -> Cursor {
        match self {
            Subscriber::ShortPolling(subscriber) => subscriber.client.cursor(),
            Subscriber::LongPolling(subscriber) => subscriber.client.cursor(),
            Subscriber::WebSocket(subscriber) => subscriber.cursor,
            Subscriber::Sse(subscriber) => subscriber.cursor,
            Subscriber::Socketio(subscriber) => subscriber.cursor(),
            Subscriber::Ndjson(subscriber) => subscriber.cursor,
        }
    }
}
