//! The accept loop. `warp::serve` has one of its own, but it sets no `TCP_NODELAY`, gives a client
//! for ever to send its request and limits nothing, so the routes are served from here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::guarded::Guarded;
use super::{App, routes};
use crate::transport::socketio;

/// Connections that the kernel completes before we accept them; a ramp of thousands needs room.
const BACKLOG: i32 = 4096;
/// After a failed accept (out of file descriptors, say) a moment for some to be closed.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port back from connections that are still in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(app.config.max_connections));
    let routes = TowerToHyperService::new(warp::service(routes::all(&app)));
    let service = socketio::beside(&app, routes);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(app.config.header_timeout);
    // The smallest that hyper allows: what is read here are requests without a body, or short ones.
    http.max_buf_size(8 << 10);
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut shutdown => break,
        };
        let io = Guarded::new(
            stream,
            app.config.send_timeout,
            app.metrics.open_connections.clone(),
            permit,
        );
        let connection = http.serve_connection(TokioIo::new(io), service.clone()).with_upgrades();
        let drain = app.drain.clone();
        app.tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    drain(&app).await;
}

/// The next connection, once there is room for it. Those without room wait in the kernel's backlog.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("this semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "the connection was gone before it was served");
                    continue;
                }
                return (stream, permit);
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}

/// Tells everybody to leave, and waits for them as long as the configuration allows.
async fn drain(app: &App) {
    app.drain.cancel();
    app.tasks.close();
    if tokio::time::timeout(app.config.drain_timeout, app.tasks.wait()).await.is_err() {
        warn!(left = app.tasks.len(), "clients that did not leave are cut off");
    }
}
