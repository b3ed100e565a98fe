//! Serves one connection to its end, with HTTP/1.1 or HTTP/2 as the client chooses.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::protocol::{self, Protocol, Rewind};
use super::timeout_stream::ConnectionPhase;
use crate::app::metrics::Refusal;
use crate::app::{App, AwakeTimer};

/// Bytes that are buffered for one HTTP/2 stream.
const H2_SEND_BYTES: usize = 32 << 10;
/// The flow-control window of an HTTP/2 stream, and of a connection: bytes that a client may send
/// before the server has read them.
const H2_WINDOW_BYTES: u32 = 64 << 10;

/// The HTTP versions, configured.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    app: Arc<App>,
    http1: http1::Builder,
    http2: http2::Builder<Tasks>,
}

/// Spawns the tasks of HTTP/2 streams on the server's task tracker.
#[derive(Debug, Clone)]
pub(super) struct Tasks(Arc<App>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

impl Protocols {
    /// Both versions, with the limits of `app`.
    pub fn of(app: &Arc<App>) -> Protocols {
        let config = &app.config;
        let mut http1 = http1::Builder::new();
        http1.timer(AwakeTimer(app.pauses.clone())).header_read_timeout(config.idle_timeout);
        http1.max_buf_size(config.max_header_bytes).half_close(true);
        let mut http2 = http2::Builder::new(Tasks(app.clone()));
        http2
            .timer(AwakeTimer(app.pauses.clone()))
            .keep_alive_interval(config.heartbeat)
            .keep_alive_timeout(config.send_timeout)
            .max_concurrent_streams(config.h2_max_streams)
            .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(config.h2_max_resets)
            .max_local_error_reset_streams(config.h2_max_resets)
            .max_send_buf_size(H2_SEND_BYTES)
            .initial_stream_window_size(H2_WINDOW_BYTES)
            .initial_connection_window_size(H2_WINDOW_BYTES);
        Protocols { app: app.clone(), http1, http2 }
    }

    /// Serves one connection to its end.
    pub async fn serve<I, S, B>(
        &self,
        mut io: I,
        service: S,
        phase: &ConnectionPhase,
        address: IpAddr,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: 'static,
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
        Tasks: Http2ServerConnExec<S::Future, B>,
    {
        let detected = tokio::select! {
            detected = protocol::detect(&mut io) => detected,
            () = self.app.drain.cancelled() => return,
        };
        let Ok((protocol, first)) = detected else { return };
        let io = TokioIo::new(Rewind::new(first, io));
        match protocol {
            Protocol::Http1 => {
                let connection = pin!(self.http1.serve_connection(io, service).with_upgrades());
                self.until_end(connection, |it| it.graceful_shutdown(), address).await;
            }
            Protocol::Http2 => {
                // Its requests overlap, and pings show whether the client is alive.
                phase.set(ConnectionPhase::MANY);
                // Boxed, so that the task of an HTTP/1.1 connection does not have the size of this.
                let mut connection = Box::pin(self.http2.serve_connection(io, service));
                self.until_end(connection.as_mut(), |it| it.graceful_shutdown(), address).await;
            }
        }
    }

    /// Drives a connection to its end, and shuts it down gracefully when the drain begins.
    async fn until_end<C>(
        &self,
        mut connection: Pin<&mut C>,
        shut_down: impl FnOnce(Pin<&mut C>),
        address: IpAddr,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.app.drain.cancelled() => {
                shut_down(connection.as_mut());
                connection.await
            }
        };
        if let Err(error) = ended {
            if error.is_parse_too_large() {
                self.app.metrics.refused(Refusal::HeaderBytes);
            } else if error.is_timeout() {
                self.app.metrics.refused(Refusal::Idle);
            }
            debug!(%error, %address, "connection ended");
        }
    }
}
