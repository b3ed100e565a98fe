//! The server: every transport mounted on one feed, behind an accept loop of our own.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] serves until it is told to stop and then
//! drains: no new connections, every WebSocket closed with 1001, every held request answered, and
//! an end to the waiting for those who do not leave.

mod accept;
mod config;
mod guarded;
pub mod metrics;
pub mod respond;
mod routes;
mod subscription;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::feed::store::StoreError;

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
    /// Tasks that outlive the request that started them (upgraded connections).
    pub tasks: TaskTracker,
}

/// A server that has its port and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}; name another with --listen, port 0 takes any free one")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot open the feed")]
    Store(#[from] StoreError),
}

impl Server {
    /// Takes the port that `config` names, port 0 takes any free one; and opens the feed.
    ///
    /// # Errors
    /// If the address is in use or not ours, or the store cannot be opened.
    pub async fn bind(config: ServerConfig) -> Result<Server, BindError> {
        let address = config.listen;
        let listener =
            accept::listen(address).map_err(|source| BindError::Listen { address, source })?;
        let app = App {
            feed: config.open_feed()?,
            metrics: Metrics::new(),
            config,
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
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
        let feed = &self.app.feed;
        tokio::select! {
            () = accept::serve(self.listener, self.app.clone(), shutdown) => {}
            () = expire_now_and_then(feed) => {}
        }
        feed.close().await;
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
