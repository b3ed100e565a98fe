//! The server: every transport mounted on one feed, behind an accept loop of our own.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] serves until it is told to stop and then
//! drains: no new connections, every WebSocket closed with 1001, every held request answered, and
//! an end to the waiting for those who do not leave.

mod accept;
pub mod batch;
mod config;
mod guarded;
pub mod metrics;
pub mod respond;
mod routes;
mod subscription;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::{Instant, Interval};
use tokio_util::future::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::{Feed, FeedLimits, Retention};
use crate::message::Epoch;

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
    /// The tasks of all connections, upgraded ones included.
    tasks: TaskTracker,
    /// Cancelled when the drain's time is over: those who have not left are cut off.
    cut: CancellationToken,
}

impl App {
    /// The beat of a connection that is held: the first is one period from now.
    pub fn heartbeat(&self) -> Interval {
        let period = self.config.heartbeat;
        tokio::time::interval_at(Instant::now() + period, period)
    }

    /// Runs the task of a connection until it ends, or until the drain's time is over.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(connection.with_cancellation_token_owned(self.cut.clone()));
    }
}

/// A server that has its port and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
}

impl Server {
    /// Takes the port that `config` names; port 0 takes any free one.
    ///
    /// # Errors
    /// If the address is in use or not ours.
    pub async fn bind(config: ServerConfig) -> std::io::Result<Server> {
        let listener = accept::listen(config.listen)?;
        let limits = FeedLimits {
            topics: config.max_topics,
            retention: Retention { messages: config.retain_messages, bytes: config.retain_bytes },
        };
        let app = App {
            feed: Feed::new(Epoch(rand::random()), limits),
            metrics: Metrics::new(),
            config,
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        };
        Ok(Server { listener, app: Arc::new(app) })
    }

    /// The address it listens on, with the port it was given.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The state behind the routes, for tests and benches that look inside.
    pub fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Serves until `shutdown` is ready, then drains. Returns when the last connection is gone or
    /// the drain's time is over.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        accept::serve(self.listener, self.app, shutdown).await;
    }
}
