//! The state that every connection of the server shares: configuration, feed, limits, metrics and
//! the shutdown signal.

mod abort;
mod addresses;
pub mod charged_reads;
pub mod class;
mod client;
mod config;
mod end;
mod forward_writes;
mod heartbeat;
pub mod memory;
mod memory_budget;
pub mod metrics;
pub mod peer;
pub mod request_body;
pub mod response;
mod subscription;
pub mod token;
mod when_woken;
pub mod work_share;

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use warp::http::StatusCode;

use crate::feed::store::StoreError;
use crate::feed::{Feed, Topic, TopicError, TopicOwner};
use crate::message::{NewMessage, Object, Stored, TopicName};
use crate::variant::Transport;
use abort::Abort;
use addresses::{AddressMap, Rates};
use class::Class;
use memory::{ClientMemory, ClientMemoryLimits};
use metrics::{Refusal, SubscriberGuard};
use token::TokenKey;
use work_share::{Share, WorkShare};

pub use addresses::{AddressPermit, AddressShares, client_of};
pub use client::{Client, Remote};
pub use config::{BadLimits, ServerConfig};
pub use end::{End, TOO_SLOW};
pub(crate) use forward_writes::forward_writes;
pub use heartbeat::{AwakeSleep, AwakeTimer, PauseDetector, heartbeat};
pub use memory_budget::MemoryBudget;
pub use metrics::Metrics;
pub use response::ApiError;
pub use subscription::{Query, ReadOptions, SubscribeRequest, Subscription};
pub use when_woken::WhenWoken;

/// The name and version that the server gives in its `server` header and on `/healthz`.
pub const SERVER_NAME: &str = concat!("poll-vs-push/", env!("CARGO_PKG_VERSION"));

/// State shared by all routes.
#[derive(Debug)]
pub struct App {
    pub feed: Feed,
    pub config: ServerConfig,
    pub metrics: Metrics,
    /// Whether the process was stopped while its clients waited.
    pub pauses: Arc<PauseDetector>,
    /// Cancelled when the server drains: subscriptions end.
    pub drain: CancellationToken,
    drained_at: OnceLock<Instant>,
    /// Limits how often each address publishes.
    pub(crate) publish_rates: Rates,
    /// The classroom, with `--class`.
    pub class: Option<Class>,
    /// Cancelled by the lesson, with `--demo`, to restart the server.
    pub restart: CancellationToken,
    /// Verifies tokens; without it none is required.
    pub(crate) token_key: Option<TokenKey>,
    waiters: Arc<AddressShares>,
    subscriptions: Arc<AddressShares>,
    topics: Arc<AddressShares>,
    /// The memory that is held for clients.
    pub memory: Arc<ClientMemory>,
    /// The processor time of each address.
    work: Arc<AddressMap<WorkShare>>,
    /// The tasks of all connections, upgraded ones included.
    tasks: TaskTracker,
    /// Set after `--drain-timeout`: connections that are still open are dropped.
    abort: Arc<Abort>,
}

impl App {
    /// Opens the feed that `config` describes. All counters are zero.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub async fn new(config: ServerConfig, token_key: Option<TokenKey>) -> Result<App, StoreError> {
        let slice = config.address_slice;
        Ok(App {
            feed: config.open_feed().await?,
            publish_rates: Rates::new(config.publish_rate),
            waiters: AddressShares::new(config.max_waiters_per_address),
            subscriptions: AddressShares::new(config.max_subscriptions_per_address),
            topics: AddressShares::new(config.max_topics_per_address),
            memory: ClientMemory::new(ClientMemoryLimits {
                connection: config.max_held_bytes,
                address: config.max_held_bytes_per_address,
                server: config.max_held_bytes_total,
            }),
            work: AddressMap::new(move || WorkShare::new(slice)),
            class: config.class.then(Class::new),
            restart: CancellationToken::new(),
            token_key,
            metrics: Metrics::new(),
            pauses: Arc::default(),
            config,
            drain: CancellationToken::new(),
            drained_at: OnceLock::new(),
            tasks: TaskTracker::new(),
            abort: Arc::default(),
        })
    }

    /// The timer for heartbeats on one connection. It first fires after one period.
    pub fn heartbeat(&self) -> Interval {
        heartbeat::heartbeat(self.config.heartbeat)
    }

    /// True if the server is meant for clients on this machine only: it listens on loopback and
    /// requires no token.
    pub fn serves_own_machine_only(&self) -> bool {
        self.token_key.is_none() && self.config.listen.ip().to_canonical().is_loopback()
    }

    /// Runs a task until it ends, or until `--drain-timeout` has passed, in the time of the address
    /// for which the current task runs.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_in(work_share::current(), task);
    }

    /// Runs the task of a connection of `address`, as [`App::spawn`] does. `None` is an address
    /// whose time is not limited.
    pub fn spawn_for(
        &self,
        address: Option<IpAddr>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_in(address.map(|address| self.work.of(address)), connection);
    }

    fn spawn_in(&self, share: Option<Share>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work_share::run_in(share, self.abort.run_until_set(task)));
    }

    /// Parses the name of a topic.
    ///
    /// # Errors
    /// If it is not a valid name, or longer than the server allows.
    pub fn topic_name(&self, text: &str) -> Result<TopicName, ApiError> {
        let name: TopicName = text.parse()?;
        if name.is_removed_from_paths() {
            self.metrics.refused(Refusal::TopicName);
            let text = format!("'{name}' cannot be a topic: clients remove it from a path");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
        let limit = self.config.max_topic_name_bytes;
        if name.as_str().len() > limit {
            self.metrics.refused(Refusal::TopicName);
            let text = format!("topic names may have at most {limit} characters on this server");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
        Ok(name)
    }

    /// The topic of that name, created if it does not exist. The limit per address applies only to
    /// topics that clients create.
    ///
    /// # Errors
    /// If `--max-topics` is reached, or `--max-topics-per-address` for the client's address, or the
    /// store cannot open the topic.
    pub fn topic(&self, name: &TopicName, client: Option<&Client>) -> Result<Arc<Topic>, ApiError> {
        let owner = || match client.and_then(|client| client.limited_address()) {
            None => Ok(None),
            Some(address) => match self.topics.enter(address) {
                Some(place) => Ok(Some(Box::new(place) as TopicOwner)),
                None => Err(TopicError::ShareUsed { limit: self.topics.limit() }),
            },
        };
        let topic = self.feed.topic_of(name, owner);
        match topic {
            Err(TopicError::TooMany { .. }) => self.metrics.refused(Refusal::Topics),
            Err(TopicError::ShareUsed { .. }) => self.metrics.refused(Refusal::TopicsPerAddress),
            _ => {}
        }
        Ok(topic?)
    }

    /// Counts a subscriber until the returned guard is dropped.
    ///
    /// # Errors
    /// If the limit on subscribers of the server, or of the client's address, is reached.
    pub fn admit_subscriber(
        &self,
        transport: Transport,
        client: &Client,
    ) -> Result<SubscriberGuard, ApiError> {
        let (limit, refusal, flag) = match transport {
            Transport::ShortPolling | Transport::LongPolling => {
                (self.config.max_waiters, Refusal::Waiters, "--max-waiters")
            }
            Transport::WebSocket
            | Transport::Sse
            | Transport::SocketioPolling
            | Transport::SocketioWebsocket
            | Transport::Ndjson => {
                (self.config.max_subscriptions, Refusal::Subscriptions, "--max-subscriptions")
            }
        };
        let refuse = |refusal, status, whose: &str, limit: usize, of_address: &str| {
            self.metrics.refused(refusal);
            let flag = [flag, of_address].concat();
            ApiError::at_limit(status, "the server", limit, whose, &flag)
        };
        let (shares, share_refusal) = match refusal {
            Refusal::Waiters => (&self.waiters, Refusal::WaitersPerAddress),
            _ => (&self.subscriptions, Refusal::SubscriptionsPerAddress),
        };
        let place = client.limited_address().map(|address| shares.enter(address));
        if let Some(None) = place {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let whose = "subscribers of your address";
            return Err(refuse(share_refusal, status, whose, shares.limit(), "-per-address"));
        }
        let guard = self.metrics.of(transport).admit(limit, place.flatten());
        let status = StatusCode::SERVICE_UNAVAILABLE;
        guard.ok_or_else(|| refuse(refusal, status, "subscribers", limit, ""))
    }

    /// Stores a message, given as JSON, that does not come from a client.
    ///
    /// # Errors
    /// As [`App::publish_for`].
    pub async fn publish(&self, topic: &TopicName, json: &[u8]) -> Result<Stored, ApiError> {
        self.publish_for(None, topic, json).await
    }

    /// Stores a message, given as JSON, that a client sent on any transport.
    ///
    /// # Errors
    /// If the JSON is not a message, the message is too large, the topic cannot be created, or the
    /// store fails.
    pub async fn publish_for(
        &self,
        client: Option<&Client>,
        topic: &TopicName,
        json: &[u8],
    ) -> Result<Stored, ApiError> {
        let Object(message): Object<NewMessage> =
            serde_json::from_slice(json).map_err(|error| {
                let wanted = r#"the body must be {"sender": "...", "text": "..."}"#;
                ApiError::new(StatusCode::BAD_REQUEST, format!("{wanted}: {error}"))
            })?;
        let size = message.sender.len() + message.text.len();
        if size > self.config.max_message_bytes {
            self.metrics.refused(Refusal::MessageBytes);
            let limit = self.config.max_message_bytes;
            let text = format!(
                "sender and text have {size} bytes together; the limit is {limit} \
                 (--max-message-bytes)"
            );
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let cursor = self.topic(topic, client)?.publish(message).await?;
        self.feed.make_room();
        self.metrics.published.inc();
        Ok(Stored { epoch: cursor.epoch, offset: cursor.offset })
    }

    /// Shuts down gracefully: begins the drain, waits for the connections to end for as long as the
    /// configuration allows, and drops the others.
    pub async fn shut_down(&self) {
        let _ = self.drained_at.set(Instant::now());
        self.drain.cancel();
        self.tasks.close();
        let time_limit = self.config.drain_window + self.config.drain_timeout;
        if tokio::time::timeout(time_limit, self.tasks.wait()).await.is_err() {
            warn!(
                left = self.tasks.len(),
                "dropping connections that are still open after --drain-timeout"
            );
            self.abort.set();
            self.tasks.wait().await;
        }
    }

    /// Resolves when the server drains and the client of this slot has to leave.
    pub async fn drained(&self, slot: DrainSlot) {
        self.drain.cancelled().await;
        if !self.config.drain_window.is_zero() {
            let began_at = *self.drained_at.get().expect("it is set before the drain begins");
            let leave_at = began_at + self.config.drain_window.mul_f64(slot.0);
            // Boxed, because thousands wait above and need memory for it only when the server
            // stops.
            Box::pin(tokio::time::sleep_until(leave_at)).await;
        }
    }

    /// Why subscriptions end when the server drains.
    pub fn drain_end(&self) -> End {
        End::Drain { is_restart: self.config.restarting }
    }
}

/// When a client has to leave a server that drains: from 0, at once, to 1, at the end of
/// `--drain-window`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainSlot(f64);

impl DrainSlot {
    pub fn random() -> DrainSlot {
        DrainSlot(rand::random())
    }
}
