//! The server: all transports on one feed, with its own accept loop.
//!
//! [`Server::bind`] opens the port. [`Server::serve`] serves until its shutdown future is ready,
//! and then drains: no new connections are accepted, WebSockets are closed, waiting polls get their
//! responses, and connections that are open after `--drain-timeout` are dropped.

mod accept;
mod auth;
mod body_codings;
mod connection;
mod host;
mod parking;
mod protocol;
mod rejected_connections;
mod repetitions;
mod response_body;
pub mod route_table;
mod routes;
mod streams;
mod timeout_stream;
mod token_expiry;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{debug, warn};

use crate::app::token::{BadKey, TokenKey};
use crate::app::{App, BadLimits, MemoryBudget, ServerConfig};
use crate::feed::Feed;
use crate::feed::store::StoreError;
use crate::private_files::warn_if_exposed;
use accept::Listener;
pub use accept::listen;

/// A server that has opened its port and does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "cannot listen on {address}; choose another address with --listen (port 0 is any free port)"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("these limits cannot be used together")]
    Limits(#[from] BadLimits),
    #[error(
        "--demo with --listen {address}: every client that can reach it could stop the server; \
         listen on 127.0.0.1"
    )]
    DemoExposed { address: SocketAddr },
    #[error("cannot open the feed")]
    Store(#[from] StoreError),
    #[error(
        "--allow-origin '{0}': no page has this origin; give '*', or scheme, host and port, such as \
         https://example.com"
    )]
    AllowOrigin(String),
    #[error("--allow-host '{0}': not the name of a host; give it without scheme and port, or '*'")]
    AllowHost(String),
    #[error("cannot use the token key")]
    TokenKey(#[from] BadKey),
    #[cfg(feature = "tls")]
    #[error("cannot use the certificate")]
    Tls(#[from] crate::tls::BadCertificate),
    #[error("--reports: '{}' is not a directory", .0.display())]
    Reports(std::path::PathBuf),
    #[cfg(not(feature = "tls"))]
    #[error("--tls-cert: {}", crate::NO_TLS)]
    NoTls,
    #[cfg(not(feature = "nats"))]
    #[error("--nats: this program was built without NATS; build it with --features nats")]
    NoNats,
}

/// Rejects names that no request could match.
fn check_names(config: &ServerConfig) -> Result<(), BindError> {
    if let Some(origin) = config.allow_origin.iter().find(|it| !host::can_be_allowed(it)) {
        return Err(BindError::AllowOrigin(origin.clone()));
    }
    let is_host = |name: &&String| *name == "*" || host::is_name(name);
    match config.allow_host.iter().find(|name| !is_host(name)) {
        Some(name) => Err(BindError::AllowHost(name.clone())),
        None => Ok(()),
    }
}

impl Server {
    /// Opens the port in `config` (port 0 is any free port) and the feed.
    ///
    /// # Errors
    /// If the address cannot be bound, the limits cannot be used together, the store cannot be
    /// opened, or the token key or certificate cannot be used.
    pub async fn bind(config: ServerConfig) -> Result<Server, BindError> {
        let address = config.listen;
        let listener = listen(address).map_err(|source| BindError::Listen { address, source })?;
        Server::on(listener, config).await
    }

    /// Opens the feed, to be served on a port that is [open](listen) already.
    ///
    /// # Errors
    /// Those of [`Server::bind`], except for the address.
    pub async fn on(
        listener: std::net::TcpListener,
        config: ServerConfig,
    ) -> Result<Server, BindError> {
        let address = config.listen;
        // An IPv4 address may be written as one of IPv6.
        let is_loopback = address.ip().to_canonical().is_loopback();
        if config.demo && !is_loopback {
            return Err(BindError::DemoExposed { address });
        }
        let unusable = |source| BindError::Listen { address, source };
        let listener = TcpListener::from_std(listener).map_err(unusable)?;
        let config = ServerConfig { listen: listener.local_addr().map_err(unusable)?, ..config };
        config.check()?;
        check_names(&config)?;
        if let Some(reports) = config.reports.as_ref().filter(|it| it.exists() && !it.is_dir()) {
            return Err(BindError::Reports(reports.clone()));
        }
        let MemoryBudget { connection, address: of_address, server } = MemoryBudget::of(&config);
        debug!(connection, of_address, server, "bounds on the memory of clients, bytes");
        for file in [&config.token_key, &config.tls_key].into_iter().flatten() {
            warn_if_exposed(file);
        }
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
        #[cfg(not(feature = "nats"))]
        if config.nats.is_some() {
            return Err(BindError::NoNats);
        }
        if token_key.is_none() && !is_loopback {
            warn!(
                "every client that can reach {address} may read and publish: there is no \
                 --token-key, and the address is not loopback"
            );
        }
        if !config.allow_host.is_empty() && (token_key.is_some() || !is_loopback) {
            warn!(
                "--allow-host has no effect: only a server without --token-key on a loopback \
                 address checks the host of requests"
            );
        }
        let app = App::new(config, token_key).await?;
        Ok(Server {
            listener,
            app: Arc::new(app),
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// The address that it listens on, with the actual port.
    ///
    /// # Errors
    /// If the system call fails.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// The state behind the routes, for tests and benches.
    pub fn app(&self) -> Arc<App> {
        self.app.clone()
    }

    /// Serves until `shutdown` is ready, then drains. Returns when all connections have ended.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let app = self.app.clone();
        let listener = Listener {
            tcp: self.listener,
            #[cfg(feature = "tls")]
            tls: self.tls.map(Into::into),
        };
        tokio::select! {
            () = accept::serve(listener, self.app, shutdown) => {}
            () = expire_periodically(&app.feed) => {}
            () = app.feed.follow() => {}
            () = app.pauses.run() => {}
            () = publish_to_class(&app) => {}
        }
        app.feed.close().await;
    }
}

/// Publishes to the class; without one it waits forever.
async fn publish_to_class(app: &App) {
    match &app.class {
        Some(class) => class.publish(app).await,
        None => std::future::pending().await,
    }
}

/// Time between two searches for messages older than `--retain-age`.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);

async fn expire_periodically(feed: &Feed) {
    loop {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        feed.expire().await;
    }
}
