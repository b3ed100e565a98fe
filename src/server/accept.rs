//! The accept loop. `warp::serve` is not used, because it does not set `TCP_NODELAY` and has
//! neither timeouts nor limits.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};
use warp::reply::Response;

use super::auth::authenticate;
use super::connection::Protocols;
use super::rejected_connections::{AcceptedClient, ExceededLimit, RejectedConnections};
use super::route_table::Handler;
use super::routes;
use super::timeout_stream::{ConnectionPermits, ConnectionPhase, TimeoutStream};
#[cfg(feature = "tls")]
use crate::app::metrics::Refusal;
use crate::app::peer::{PeerStream, set_keepalive};
use crate::app::{AddressShares, App, Remote, ServerConfig, client_of};

/// Connections that the kernel completes before they are accepted: thousands may connect at once.
const BACKLOG: i32 = 4096;
/// Connections that are accepted before other tasks run.
const ACCEPTED_AT_ONCE: usize = 4;
/// Pause after a failed accept, for instance when file descriptors are exhausted.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);
/// How long connections wait at the limit `--max-connections` before they get 503.
const FULL_MAX: Duration = Duration::from_secs(5);

/// Opens the port of `address`; port 0 is any free port.
///
/// # Errors
/// If it is in use, or the address is not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restarted server can bind while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listening socket.
pub(super) struct Listener {
    pub tcp: TcpListener,
    #[cfg(feature = "tls")]
    pub tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Completes a connection: its TLS handshake, if this listener requires one.
    #[cfg(feature = "tls")]
    fn opening(&self, stream: PeerStream) -> impl Future<Output = Option<BoxedStream>> + use<> {
        let tls = self.tls.clone();
        async move {
            Some(match tls {
                Some(tls) => Box::new(tls.accept(stream).await.ok()?) as BoxedStream,
                None => Box::new(stream) as BoxedStream,
            })
        }
    }

    /// Completes a connection.
    #[cfg(not(feature = "tls"))]
    fn opening(&self, stream: PeerStream) -> impl Future<Output = Option<PeerStream>> + use<> {
        std::future::ready(Some(stream))
    }
}

/// A stream with or without TLS, for the few connections that are rejected.
#[cfg(feature = "tls")]
type BoxedStream = Box<dyn AnyStream>;
#[cfg(feature = "tls")]
trait AnyStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
#[cfg(feature = "tls")]
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> AnyStream for T {}

pub(super) async fn serve(listener: Listener, app: Arc<App>, shutdown: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(app.config.max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = AddressShares::new(app.config.max_connections_per_address);
    let host = ConnectionHost {
        app: app.clone(),
        routes: Arc::new(routes::all(&app)),
        protocols: Arc::new(Protocols::of(&app)),
        #[cfg(feature = "tls")]
        tls: listener.tls.clone(),
    };
    let rejected = RejectedConnections::new(app.clone(), host.protocols.clone());
    let mut full_since = None;
    let mut shutdown = pin!(shutdown);
    let mut accepted = 0;
    loop {
        accepted += 1;
        if accepted % ACCEPTED_AT_ONCE == 0 {
            // A flood of connections must not delay those that are open.
            tokio::task::yield_now().await;
        }
        let place = tokio::select! {
            place = place(&room, &mut full_since, &rejected) => place,
            () = &mut shutdown => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = accept(&app, &listener.tcp) => accepted,
            () = &mut shutdown => break,
        };
        let is_limited = app.config.limit_loopback || !peer.is_loopback();
        let limited_address = is_limited.then(|| client_of(peer));
        let address_permit = limited_address.map(|address| connections.enter(address));
        let client = AcceptedClient { address: peer, limited_address };
        let stream = PeerStream::new(stream);
        let permit = match (place.recheck(&room), matches!(address_permit, Some(None))) {
            (Place::Connection(permit), false) => permit,
            (Place::Connection(_), true) => {
                let exceeded = ExceededLimit::ConnectionsPerAddress;
                rejected.respond(listener.opening(stream), exceeded, client, None);
                continue;
            }
            (Place::Refusal(place), _) => {
                let exceeded = ExceededLimit::Connections;
                rejected.respond(listener.opening(stream), exceeded, client, Some(place));
                continue;
            }
        };
        let permits =
            ConnectionPermits { _permit: permit, _address_permit: address_permit.flatten() };
        host.serve(stream, client, permits);
    }
    drop(listener);
    app.shut_down().await;
}

/// What the connections share.
struct ConnectionHost<S> {
    app: Arc<App>,
    routes: Arc<S>,
    protocols: Arc<Protocols>,
    #[cfg(feature = "tls")]
    tls: Option<TlsAcceptor>,
}

impl<S> ConnectionHost<S>
where
    S: Service<(Request<Incoming>, Handler), Response = Response, Error = Infallible>,
    S: Send + Sync + 'static,
    S::Future: Send + 'static,
{
    /// Serves a connection in a task of its own.
    fn serve(&self, stream: PeerStream, client: AcceptedClient, permits: ConnectionPermits) {
        let AcceptedClient { address, limited_address } = client;
        let (app, protocols) = (self.app.clone(), self.protocols.clone());
        let phase = ConnectionPhase::new();
        let account = app.memory.account(limited_address);
        let remote = Arc::new(Remote { limited_address, peer: stream.peer(), account });
        let routes = self.routes.clone();
        let service = authenticate(app.clone(), routes, remote.clone(), phase.clone());
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            self.app.spawn_for(limited_address, async move {
                let limit = app.config.header_timeout;
                let shaking = app.pauses.timeout(limit, tls.accept(stream));
                let stream = match shaking.await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        return debug!(%error, %address, "the TLS handshake failed");
                    }
                    Err(_) => return app.metrics.refused(Refusal::SlowHead),
                };
                let io = TimeoutStream::new(stream, app, phase.clone(), remote, permits);
                protocols.serve(io, service, phase, address).await;
            });
            return;
        }
        let io = TimeoutStream::new(stream, app, phase.clone(), remote, permits);
        self.app.spawn_for(limited_address, protocols.serve(io, service, phase, address));
    }
}

/// How the next connection is served.
enum Place {
    Connection(OwnedSemaphorePermit),
    /// The response that names `--max-connections`.
    Refusal(OwnedSemaphorePermit),
}

impl Place {
    /// A permit, if a connection has closed in the meantime.
    fn recheck(self, room: &Arc<Semaphore>) -> Place {
        match self {
            Place::Connection(_) => self,
            Place::Refusal(_) => room.clone().try_acquire_owned().map_or(self, Place::Connection),
        }
    }
}

/// Waits for a permit for the next connection. At `--max-connections`, further connections wait in
/// the backlog of the kernel; once that has lasted for [`FULL_MAX`], they are rejected.
async fn place(
    room: &Arc<Semaphore>,
    full_since: &mut Option<Instant>,
    rejected: &RejectedConnections,
) -> Place {
    if let Ok(permit) = room.clone().try_acquire_owned() {
        *full_since = None;
        return Place::Connection(permit);
    }
    let since = *full_since.get_or_insert_with(Instant::now);
    let is_full = async {
        tokio::time::sleep_until((since + FULL_MAX).into()).await;
        rejected.place().await
    };
    tokio::select! {
        permit = room.clone().acquire_owned() => {
            *full_since = None;
            Place::Connection(permit.expect("this semaphore is never closed"))
        }
        place = is_full => Place::Refusal(place),
    }
}

/// The next connection.
async fn accept(app: &App, listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let ServerConfig { send_timeout, heartbeat, .. } = app.config;
                let prepared = stream
                    .set_nodelay(true)
                    .and_then(|()| set_keepalive(&stream, send_timeout, heartbeat));
                if let Err(error) = prepared {
                    debug!(%error, address = %peer.ip(), "the connection was closed before it was served");
                    continue;
                }
                return (stream, peer.ip().to_canonical());
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}
