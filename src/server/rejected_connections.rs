//! Connections over a limit on connections: the server answers their first request with the limit
//! and its flag, and closes them.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::Protocols;
use super::timeout_stream::ConnectionPhase;
use crate::app::metrics::Refusal;
use crate::app::{ApiError, App};

/// Connections that are answered at the same time; further ones are closed without a response, so
/// that a flood of them costs little.
const ANSWERED_MAX: usize = 64;
/// Time for a TLS handshake, a request and its response: several round trips of a distant client.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The limit that a connection exceeds.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExceededLimit {
    /// `--max-connections`
    Connections,
    /// `--max-connections-per-address`
    ConnectionsPerAddress,
}

impl ExceededLimit {
    fn refusal(self) -> Refusal {
        match self {
            ExceededLimit::Connections => Refusal::Connections,
            ExceededLimit::ConnectionsPerAddress => Refusal::ConnectionsPerAddress,
        }
    }

    fn error(self, app: &App) -> ApiError {
        let config = &app.config;
        let (status, limit, what, flag) = match self {
            ExceededLimit::Connections => (
                StatusCode::SERVICE_UNAVAILABLE,
                config.max_connections,
                "connections",
                "--max-connections",
            ),
            ExceededLimit::ConnectionsPerAddress => (
                StatusCode::TOO_MANY_REQUESTS,
                config.max_connections_per_address,
                "connections of your address",
                "--max-connections-per-address",
            ),
        };
        ApiError::at_limit(status, "the server", limit, what, flag)
    }
}

/// The client of an accepted connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct AcceptedClient {
    pub address: IpAddr,
    /// As [`Remote::limited_address`](crate::app::Remote).
    pub limited_address: Option<IpAddr>,
}

/// Answers connections over a limit.
#[derive(Debug)]
pub(super) struct RejectedConnections {
    app: Arc<App>,
    protocols: Arc<Protocols>,
    room: Arc<Semaphore>,
}

impl RejectedConnections {
    pub fn new(app: Arc<App>, protocols: Arc<Protocols>) -> RejectedConnections {
        RejectedConnections { app, protocols, room: Arc::new(Semaphore::new(ANSWERED_MAX)) }
    }

    /// Waits until another connection can be answered.
    pub async fn place(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("this semaphore is never closed")
    }

    /// Answers the requests on a connection, which `opening` completes, and closes it. Without
    /// `place`, it needs one of those that are free.
    pub fn respond<I>(
        &self,
        opening: impl Future<Output = Option<I>> + Send + 'static,
        exceeded: ExceededLimit,
        client: AcceptedClient,
        place: Option<OwnedSemaphorePermit>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.app.metrics.refused(exceeded.refusal());
        let place = place.or_else(|| self.room.clone().try_acquire_owned().ok());
        let Some(place) = place else { return };
        let error = exceeded.error(&self.app);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut response = error.clone().into_response::<Full<Bytes>>();
            // HTTP/2 has no such header (RFC 9113, section 8.2.2).
            if request.version() != Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let protocols = self.protocols.clone();
        self.app.spawn_for(client.limited_address, async move {
            let _place = place;
            let answering = async {
                if let Some(io) = opening.await {
                    protocols.serve(io, service, ConnectionPhase::new(), client.address).await;
                }
            };
            let _ = timeout(ANSWER_TIMEOUT, answering).await;
        });
    }
}
