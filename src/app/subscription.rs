//! A subscription: what a client requested, and everything that can end it. Path and query are
//! parsed in the same way for every transport.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use warp::{Filter, Rejection};

use super::metrics::{SubscriberGuard, TransportMetrics};
use super::{ApiError, App, Client, DrainSlot, End, WhenWoken};
use crate::feed::{ReadLimit, Topic};
use crate::message::{BadInput, Cursor, Stored};
use crate::variant::Transport;

/// Share of the requested time for which a long poll waits. It is random, so that polls that began
/// together do not time out together.
const WAIT_SHARE: std::ops::RangeInclusive<f64> = 0.9..=1.0;

/// The shortest interval of heartbeats that a client can request.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// The query as the client sent it: every value still text, so that an error can quote it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    pub epoch: Option<String>,
    pub after: Option<String>,
    pub limit: Option<String>,
    pub wait: Option<String>,
    pub heartbeat: Option<String>,
}

/// A checked query.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// Where to continue; `None` if the client has no cursor yet.
    pub cursor: Option<Cursor>,
    /// Messages in one response, at most.
    pub limit: usize,
    /// How long a long poll may wait.
    pub wait: Duration,
    /// How often a stream is sent an [`Event::Heartbeat`](crate::message::Event); `None` if not.
    pub heartbeat: Option<Duration>,
}

impl Query {
    /// Checks the values.
    ///
    /// `after` without `epoch` refers to the present epoch, for manually typed URLs; a program
    /// returns both as received.
    ///
    /// # Errors
    /// Names the invalid value and states the valid ones.
    pub fn check(&self, app: &App, topic: &Topic) -> Result<ReadOptions, ApiError> {
        let present = topic.head().epoch;
        let epoch = self.epoch.as_deref().map_or(Ok(present), str::parse)?;
        let after = self.after.as_deref().map(|text| whole_number("after", text)).transpose()?;
        let limit = match &self.limit {
            None => app.config.max_batch,
            Some(text) => match whole_number("limit", text)? as usize {
                0 => return Err(BadInput::new("limit", text, "at least 1").into()),
                limit => limit.min(app.config.max_batch),
            },
        };
        let wait = match &self.wait {
            None => app.config.max_hold,
            Some(text) => seconds("wait", text)?.min(app.config.max_hold),
        };
        let heartbeat = match &self.heartbeat {
            None => None,
            Some(text) => match seconds("heartbeat", text)? {
                period if period < HEARTBEAT_MIN => {
                    return Err(BadInput::new("heartbeat", text, "at least 1 (second)").into());
                }
                period => Some(period.min(app.config.heartbeat)),
            },
        };
        let cursor = after.map(|offset| Cursor { epoch, offset });
        Ok(ReadOptions { cursor, limit, wait, heartbeat })
    }
}

/// A request to read a topic, not yet validated.
#[derive(Debug)]
pub struct SubscribeRequest {
    pub topic: String,
    pub query: Query,
    pub client: Client,
}

impl SubscribeRequest {
    /// Matches `GET /topics/{topic}/{name}`.
    pub fn filter(
        name: &'static str,
    ) -> impl Filter<Extract = (SubscribeRequest,), Error = Rejection> + Clone {
        warp::path("topics")
            .and(warp::path::param())
            .and(warp::path(name))
            .and(warp::path::end())
            .and(warp::get())
            .and(warp::query())
            .and(warp::ext::get())
            .map(|topic, query, client| SubscribeRequest { topic, query, client })
    }
}

/// One client that reads one topic.
#[derive(Debug)]
pub struct Subscription {
    pub topic: Arc<Topic>,
    /// Where the subscription begins: the cursor of the client, or the head if it has none.
    pub cursor: Cursor,
    /// How much one read may return.
    pub limit: ReadLimit,
    /// How long a long poll waits: not at all for a client without a cursor, which requests one.
    pub wait: Duration,
    /// Interval of the heartbeats that the client requested.
    pub heartbeat: Option<Duration>,
    pub(super) app: Arc<App>,
    pub(super) client: Client,
    pub transport: Transport,
    drain_slot: DrainSlot,
    _guard: Option<SubscriberGuard>,
}

impl Subscription {
    /// Checks a request and counts the client as a subscriber until this is dropped. Short polls
    /// are not counted: they never wait.
    ///
    /// # Errors
    /// If a value is invalid or a limit is reached.
    pub fn new(
        app: &Arc<App>,
        transport: Transport,
        request: SubscribeRequest,
    ) -> Result<Subscription, ApiError> {
        let topic = app.topic(&app.topic_name(&request.topic)?, Some(&request.client))?;
        let ReadOptions { cursor, limit, wait, heartbeat } = request.query.check(app, &topic)?;
        let is_counted = transport != Transport::ShortPolling;
        Ok(Subscription {
            cursor: cursor.unwrap_or_else(|| topic.head()),
            limit: limit.into(),
            wait: cursor.map_or(Duration::ZERO, |_| wait.mul_f64(rand::random_range(WAIT_SHARE))),
            heartbeat,
            topic,
            _guard: is_counted
                .then(|| app.admit_subscriber(transport, &request.client))
                .transpose()?,
            app: app.clone(),
            client: request.client,
            transport,
            drain_slot: DrainSlot::random(),
        })
    }

    /// Resolves with the reason when the server has to end the subscription. Call it once and poll
    /// the same future again: each future is registered in a list behind a lock.
    pub fn ended(&self) -> WhenWoken<Pin<Box<impl Future<Output = End> + Send + Sync + '_>>> {
        WhenWoken::new(Box::pin(self.wait_for_end()))
    }

    async fn wait_for_end(&self) -> End {
        let client_gone = async {
            if self.transport == Transport::WebSocket {
                return pending().await; // The end of the connection shows when it is read.
            }
            // Boxed for all transports but WebSocket.
            Box::pin(self.client.has_left()).await;
        };
        tokio::select! {
            () = self.app.drained(self.drain_slot) => self.app.drain_end(),
            () = self.client.token_expired() => End::TokenExpired,
            () = client_gone => End::ClientGone,
        }
    }

    /// Checks, before anything is written, that the client may still receive it.
    ///
    /// # Errors
    /// If its token has expired.
    pub fn check_token(&self) -> Result<(), End> {
        self.client.check_token()
    }

    /// Stores a message that the client sent on its connection.
    ///
    /// # Errors
    /// As [`Client::authorize_publish`] and [`App::publish_for`].
    pub fn publish(&self, json: &[u8]) -> impl Future<Output = Result<Stored, ApiError>> + Send {
        // Boxed, so that an idle subscriber does not keep room for it.
        Box::pin(async {
            self.client.authorize_publish(&self.app, self.topic.name())?;
            self.app.publish_for(Some(&self.client), self.topic.name(), json).await
        })
    }

    /// The counters of the transport.
    pub fn metrics(&self) -> &TransportMetrics {
        self.app.metrics.of(self.transport)
    }
}

fn whole_number(field: &'static str, text: &str) -> Result<u64, BadInput> {
    text.parse().map_err(|_| BadInput::new(field, text, "a whole number"))
}

fn seconds(field: &'static str, text: &str) -> Result<Duration, BadInput> {
    let parsed = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    parsed.ok_or_else(|| BadInput::new(field, text, "a number of seconds"))
}
