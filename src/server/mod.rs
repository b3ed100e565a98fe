//! The server: every transport mounted on one feed, behind an accept loop of our own.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] serves until it is told to stop and then
//! drains: no new connections, every WebSocket closed with 1001, every held request answered, and
//! an end to the waiting for those who do not leave.

mod accept;
mod auth;
mod connection;
mod host;
mod protocol;
pub mod route_table;
mod routes;
mod timeout_stream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::warn;

use crate::app::token::{BadKey, TokenKey};
use crate::app::{App, ServerConfig};
use crate::feed::Feed;
use crate::feed::store::StoreError;
use crate::private::warn_if_exposed;
use accept::Listener;

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
        if token_key.is_none() && !address.ip().is_loopback() {
            warn!(
                "ANYBODY who reaches {address} may read and publish: there is no --token-key, and \
                 this address is not loopback"
            );
        }
        let app = App::new(config, token_key)?;
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
        let listener = Listener {
            tcp: self.listener,
            #[cfg(feature = "tls")]
            tls: self.tls.map(Into::into),
        };
        tokio::select! {
            () = accept::serve(listener, self.app, shutdown) => {}
            () = expire_now_and_then(&app.feed) => {}
            () = app.pauses.run() => {}
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
