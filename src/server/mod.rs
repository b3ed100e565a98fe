//! The server: every transport mounted on one feed, behind an accept loop of our own.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] serves until it is told to stop and then
//! drains: no new connections, every WebSocket closed with 1001, every held request answered, and
//! an end to the waiting for those who do not leave.

mod accept;
mod addresses;
mod auth;
pub mod batch;
mod bytes_written;
mod config;
mod connection;
mod host;
pub mod metrics;
mod peer;
mod protocol;
pub mod respond;
pub mod route_table;
mod routes;
mod subscription;
mod timeout_stream;
pub mod token;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::future::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::store::StoreError;
use crate::feed::{Feed, NoTopic, Topic};
use crate::message::TopicName;
use crate::transport::Transport;
use accept::Entrance;
use addresses::Rates;
use metrics::{Refusal, SubscriberGuard};
use token::{BadKey, TokenKey};
use tracing::warn;
use warp::http::StatusCode;

pub use auth::Client;
pub use bytes_written::BytesWritten;
pub use config::ServerConfig;
pub use metrics::Metrics;
pub use respond::ApiError;
pub use subscription::{Query, Subscription};

/// The name and version that the server gives in its `server` header and on `/healthz`.
pub const SERVER_NAME: &str = concat!("poll-vs-push/", env!("CARGO_PKG_VERSION"));

/// What every route shares.
#[derive(Debug)]
pub struct App {
    pub feed: Feed,
    pub config: ServerConfig,
    pub metrics: Metrics,
    /// Cancelled when the server drains: whoever holds a client lets it go.
    pub drain: CancellationToken,
    drained_at: OnceLock<Instant>,
    /// Who has published how much lately.
    pub(crate) publish_rates: Rates,
    /// What tokens are checked with; without one, everybody may do everything.
    pub(crate) token_key: Option<TokenKey>,
    /// The tasks of all connections, upgraded ones included.
    tasks: TaskTracker,
    /// Cancelled when the drain's time is over: those who have not left are cut off.
    cut: CancellationToken,
}

impl App {
    /// The heartbeat of a connection that is held: the first is one period from now.
    pub fn heartbeat(&self) -> Heartbeat {
        let period = self.config.heartbeat;
        let mut interval = tokio::time::interval_at(Instant::now() + period, period);
        // After a pause of the process there is one beat, and then a whole period to answer it.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Heartbeat { interval }
    }

    /// Runs the task of a connection until it ends, or until the drain's time is over.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(connection.with_cancellation_token_owned(self.cut.clone()));
    }

    /// Reads the name of a topic, within the limit of this server.
    ///
    /// # Errors
    /// If it is no name, or too long.
    pub fn topic_name(&self, text: &str) -> Result<TopicName, ApiError> {
        let name: TopicName = text.parse()?;
        // A client cannot ask for these: it takes them out of a path (RFC 3986, section 5.2.4).
        if [".", ".."].contains(&name.as_str()) {
            self.metrics.refused(Refusal::TopicName);
            let text = format!("'{name}' cannot be a topic: clients remove it from a path");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
        let limit = self.config.max_topic_name_bytes;
        if name.as_str().len() > limit {
            self.metrics.refused(Refusal::TopicName);
            let text = format!("the names of topics have at most {limit} characters here");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
        Ok(name)
    }

    /// The topic of that name, made if there is none.
    ///
    /// # Errors
    /// If it would be one too many, or the store cannot open it.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, ApiError> {
        let topic = self.feed.topic(name);
        if let Err(NoTopic::TooMany { .. }) = topic {
            self.metrics.refused(Refusal::Topics);
        }
        Ok(topic?)
    }

    /// Counts a subscriber as held until what this returns is dropped.
    ///
    /// # Errors
    /// If the server holds as many already as it may.
    pub fn hold(&self, transport: Transport) -> Result<SubscriberGuard, ApiError> {
        let (limit, refusal) = match transport {
            Transport::ShortPolling | Transport::LongPolling => {
                (self.config.max_waiters, Refusal::Waiters)
            }
            Transport::WebSocket
            | Transport::Sse
            | Transport::SocketioPolling
            | Transport::SocketioWebsocket
            | Transport::Ndjson => (self.config.max_subscriptions, Refusal::Subscriptions),
        };
        self.metrics.of(transport).hold(limit).ok_or_else(|| {
            self.metrics.refused(refusal);
            let text = format!("the server holds {limit} subscribers, which is its limit");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }

    /// True if only this machine is meant to be served: the address is loopback, and no token is
    /// asked for.
    fn serves_own_machine_only(&self) -> bool {
        self.token_key.is_none() && self.config.listen.ip().is_loopback()
    }

    /// Begins the drain.
    fn tell_to_leave(&self) {
        let _ = self.drained_at.set(Instant::now());
        self.drain.cancel();
    }

    /// Ready when the server drains and it is this client's turn to leave.
    pub async fn told_to_leave(&self, turn: DrainSlot) {
        self.drain.cancelled().await;
        if !self.config.drain_window.is_zero() {
            let began_at = *self.drained_at.get().expect("it is set before the drain begins");
            let leave_at = began_at + self.config.drain_window.mul_f64(turn.0);
            // In a box, since thousands wait here for ever who never get to it.
            Box::pin(tokio::time::sleep_until(leave_at)).await;
        }
    }

    /// The code with which WebSockets are closed when the server drains.
    pub fn farewell(&self) -> CloseCode {
        if self.config.restarting { CloseCode::Restart } else { CloseCode::Away }
    }
}

/// The times at which a quiet connection is sent a sign of life.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Interval,
}

impl Heartbeat {
    /// Waits for the next beat. Returns whether it came on time: a late one shows that the process
    /// was stopped or the machine suspended, and that clients had no chance to be heard.
    pub async fn tick(&mut self) -> bool {
        let due = self.interval.tick().await;
        due.elapsed() < self.interval.period() / 2
    }
}

/// When in the drain's window a client is told to leave, from 0 for at once to 1 for at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrainSlot(f64);

impl DrainSlot {
    pub fn random() -> DrainSlot {
        DrainSlot(rand::random())
    }
}

/// A server that has its port and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}; name another with --listen, port 0 takes any free one")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot open the feed")]
    Store(#[from] StoreError),
    #[error("cannot use the key of the tokens")]
    TokenKey(#[from] BadKey),
    #[cfg(feature = "tls")]
    #[error("cannot use the certificate")]
    Tls(#[from] crate::tls::BadCertificate),
    #[cfg(not(feature = "tls"))]
    #[error("--tls-cert: {}", crate::NO_TLS)]
    NoTls,
}

impl Server {
    /// Takes the port that `config` names, port 0 takes any free one; and opens the feed.
    ///
    /// # Errors
    /// If the address is in use or not ours, the store cannot be opened, or there is a certificate
    /// that cannot be used.
    pub async fn bind(config: ServerConfig) -> Result<Server, BindError> {
        let address = config.listen;
        let listener =
            accept::listen(address).map_err(|source| BindError::Listen { address, source })?;
        let token_key = config.token_key.as_deref().map(TokenKey::read).transpose()?;
        #[cfg(feature = "tls")]
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => Some(crate::tls::server(cert, key)?),
            _ => None,
        };
        #[cfg(not(feature = "tls"))]
        if config.tls_cert.is_some() || config.tls_key.is_some() {
            return Err(BindError::NoTls);
        }
        if token_key.is_none() && !address.ip().is_loopback() {
            warn!(
                "ANYBODY who reaches {address} may read and publish: there is no --token-key, and \
                 this address is not loopback"
            );
        }
        let app = App {
            feed: config.open_feed()?,
            publish_rates: Rates::new(config.publish_rate),
            token_key,
            metrics: Metrics::new(),
            config,
            drain: CancellationToken::new(),
            drained_at: OnceLock::new(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        Ok(Server {
            listener,
            app: Arc::new(app),
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// The address it listens on, with the port it was given.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What comes before the colon of its address.
    pub fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// The state behind the routes, for tests and benches that look inside.
    pub fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Serves until `shutdown` is ready, then drains. Returns when the last connection is gone or
    /// the drain's time is over.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let app = self.app.clone();
        let entrance = Entrance {
            listener: self.listener,
            #[cfg(feature = "tls")]
            tls: self.tls.map(Into::into),
        };
        tokio::select! {
            () = accept::serve(entrance, self.app, shutdown) => {}
            () = expire_now_and_then(&app.feed) => {}
        }
        app.feed.close().await;
    }
}

/// Time between two looks for messages that are too old.
const SWEEP: Duration = Duration::from_secs(5);

async fn expire_now_and_then(feed: &Feed) {
    loop {
        tokio::time::sleep(SWEEP).await;
        feed.expire().await;
    }
}
