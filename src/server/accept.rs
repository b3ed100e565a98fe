//! The accept loop. `warp::serve` sets no `TCP_NODELAY` and has neither timeouts nor limits, so it
//! is not used.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::auth::authenticate;
use super::connection::Protocols;
use super::routes;
use super::timeout_stream::{Admission, ConnectionPhase, TimeoutStream};
use crate::app::metrics::Refusal;
use crate::app::peer::{PeerStream, set_keepalive};
use crate::app::{AddressShares, App, Remote, ServerConfig, client_of};

/// Connections that the kernel completes before they are accepted: thousands may connect at once.
const BACKLOG: i32 = 4096;
/// Pause after a failed accept, for instance when file descriptors are exhausted.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Takes the port of `address`; port 0 takes any free one.
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

pub(super) async fn serve(listener: Listener, app: Arc<App>, shutdown: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(app.config.max_connections.min(Semaphore::MAX_PERMITS)));
    let connections = AddressShares::new(app.config.max_connections_per_address);
    let routes = Arc::new(routes::all(&app));
    let protocols = Arc::new(Protocols::of(&app));
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = accept(&app, &listener.tcp, &room) => accepted,
            () = &mut shutdown => break,
        };
        let is_limited = app.config.limit_loopback || !peer.is_loopback();
        let limited_address = is_limited.then(|| client_of(peer));
        let address_permit = limited_address.map(|address| connections.enter(address));
        if let Some(None) = address_permit {
            app.metrics.refused(Refusal::ConnectionsPerAddress);
            continue;
        }
        let admission = Admission { _permit: permit, _address_permit: address_permit.flatten() };
        let phase = ConnectionPhase::new();
        let stream = PeerStream::new(stream);
        let remote = Arc::new(Remote {
            limited_address,
            peer: stream.peer(),
            account: app.memory.account(limited_address),
        });
        let service = authenticate(app.clone(), routes.clone(), remote.clone(), phase.clone());
        let (protocols, host) = (protocols.clone(), app.clone());
        #[cfg(feature = "tls")]
        if let Some(tls) = listener.tls.clone() {
            app.spawn(async move {
                let limit = host.config.header_timeout;
                let shaking = host.pauses.timeout(limit, tls.accept(stream));
                let stream = match shaking.await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        return debug!(%error, address = %peer, "the TLS handshake failed");
                    }
                    Err(_) => return host.metrics.refused(Refusal::SlowHead),
                };
                let io = TimeoutStream::new(stream, host.clone(), phase.clone(), remote, admission);
                protocols.serve(io, service, phase, peer).await;
            });
            continue;
        }
        let io = TimeoutStream::new(stream, host, phase.clone(), remote, admission);
        app.spawn(protocols.serve(io, service, phase, peer));
    }
    drop(listener);
    app.shut_down().await;
}

/// The next connection, once there are fewer than `--max-connections`. Further ones wait in the
/// backlog of the kernel.
async fn accept(
    app: &App,
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("this semaphore is never closed");
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
                return (stream, peer.ip().to_canonical(), permit);
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}
