//! Serves one connection to its end, with HTTP/1.1 or HTTP/2 as the client chooses.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::debug;

use super::parking::{Parking, PendingOutput, ResponseSlot, write_stream};
use super::protocol::{self, Protocol, Rewind};
use super::streams::Streams;
use super::timeout_stream::ConnectionPhase;
use crate::app::metrics::Refusal;
use crate::app::{App, AwakeTimer, WhenWoken};

/// Bytes that are buffered for one HTTP/2 stream.
const H2_SEND_BYTES: usize = 32 << 10;
/// The flow-control window of an HTTP/2 stream, and of a connection: bytes that a client may send
/// before the server has read them.
const H2_WINDOW_BYTES: u32 = 64 << 10;

/// How long a connection waits for a response before it is parked. On a busy feed a response is
/// ready sooner, and parking would cost more than it saves.
const PARK_AFTER: Duration = Duration::from_millis(100);

/// The HTTP versions, configured.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    app: Arc<App>,
    http1: http1::Builder,
}

impl Protocols {
    /// Both versions, with the limits of `app`.
    pub fn of(app: &Arc<App>) -> Protocols {
        let config = &app.config;
        let mut http1 = http1::Builder::new();
        // `TimeoutStream` has timeouts that cost less than a timer for each request.
        http1.header_read_timeout(None).max_buf_size(config.max_header_bytes).half_close(true);
        Protocols { app: app.clone(), http1 }
    }

    /// HTTP/2 for a connection with these streams.
    fn http2(&self, streams: Streams) -> http2::Builder<Streams> {
        let (app, config) = (&self.app, &self.app.config);
        let mut http2 = http2::Builder::new(streams);
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
        http2
    }

    /// Serves one connection to its end.
    pub async fn serve<I, S, B>(
        self: Arc<Self>,
        mut io: I,
        service: S,
        phase: Arc<ConnectionPhase>,
        address: IpAddr,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Unpin + Send + 'static,
        Streams: Http2ServerConnExec<S::Future, B>,
    {
        let detected = tokio::select! {
            detected = protocol::detect(&mut io) => detected,
            () = self.app.drain.cancelled() => return,
        };
        let Ok((protocol, first)) = detected else { return };
        let io = Rewind::new(first, io);
        match protocol {
            Protocol::Http1 => self.serve_http1(io, service, &phase, address).await,
            Protocol::Http2 => {
                // Its requests overlap, and pings show whether the client is alive.
                phase.set(ConnectionPhase::MANY);
                // Boxed, so that the task of an HTTP/1.1 connection does not reserve memory for
                // this future.
                Box::pin(self.serve_http2(io, service, address)).await;
            }
        }
    }

    async fn serve_http2<I, S, B>(&self, io: I, service: S, address: IpAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: 'static,
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
        Streams: Http2ServerConnExec<S::Future, B>,
    {
        let streams = Streams::new(self.app.clone());
        let http2 = self.http2(streams.clone());
        let mut connection = http2.serve_connection(TokioIo::new(io), service);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.app.drain.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                connection.await
            }
            () = streams.idle() => {
                self.app.metrics.refused(Refusal::Idle);
                Pin::new(&mut connection).graceful_shutdown();
                let limit = self.app.config.send_timeout;
                // A client that does not answer is disconnected.
                self.app.pauses.timeout(limit, connection).await.unwrap_or(Ok(()))
            }
        };
        self.log_end(ended, address);
    }

    /// Serves requests with hyper, except while the client waits.
    async fn serve_http1<I, S, B>(
        &self,
        mut io: Rewind<I>,
        service: S,
        phase: &ConnectionPhase,
        address: IpAddr,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Unpin + Send + 'static,
    {
        let slot = ResponseSlot::new();
        let mut service = Parking::new(service, slot.clone());
        loop {
            // Boxed, so that all memory of hyper is freed while the client waits.
            let serving = Box::pin(self.until_parked(io, service, &slot, phase, address));
            let Some(mut parked) = serving.await else { return };
            let request = match slot.take() {
                PendingOutput::Response(response, head) => slot.respond(response, &head).await,
                PendingOutput::Stream(body, head) => {
                    let written = write_stream(&mut parked.stream, body, &head).await;
                    phase.set(ConnectionPhase::IDLE);
                    match written {
                        Ok(true) if !self.app.drain.is_cancelled() => BytesMut::new(),
                        Ok(_) => return drop(parked.stream.shutdown().await),
                        Err(error) => return debug!(%error, %address, "connection ended"),
                    }
                }
                PendingOutput::Nothing => BytesMut::new(),
            };
            let first = [request.as_ref(), &parked.unread].concat();
            (io, service) = (Rewind::new(first.into(), parked.stream), parked.service);
        }
    }

    /// Serves requests with hyper until the connection ends, or its client waits.
    async fn until_parked<I, S, F, B>(
        &self,
        io: Rewind<I>,
        service: Parking<S, F, B>,
        slot: &ResponseSlot<F, B>,
        phase: &ConnectionPhase,
        address: IpAddr,
    ) -> Option<Parked<I, Parking<S, F, B>>>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future = F>,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
        B: Unpin + Send + 'static,
    {
        let connection = self.http1.serve_connection(TokioIo::new(io), service);
        let mut connection = connection.with_upgrades();
        let ended = self.until_waiting(&mut connection, slot, phase).await;
        let Some(parts) = connection.into_parts().filter(|_| ended.is_none()) else {
            self.log_end(ended.unwrap_or(Ok(())), address);
            return None;
        };
        let (unread, stream) = parts.io.into_inner().into_parts();
        // A copy, without the capacity of hyper's buffer.
        let unread = Bytes::from([parts.read_buf.as_ref(), &unread].concat());
        Some(Parked { stream, service: parts.service, unread })
    }

    /// Drives a connection to its end, which follows soon after the drain begins. Returns `None`
    /// when its client waits and nothing remains to be written.
    async fn until_waiting<C, F, B>(
        &self,
        connection: &mut C,
        slot: &ResponseSlot<F, B>,
        phase: &ConnectionPhase,
    ) -> Option<hyper::Result<()>>
    where
        C: Future<Output = hyper::Result<()>> + Drain + Unpin,
    {
        // Both are boxed and freed when the connection is parked.
        let mut drain = Some(WhenWoken::new(Box::pin(self.app.drain.clone().cancelled_owned())));
        let mut delay = None;
        poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(Some(ended));
            }
            // Not before the first poll: hyper would close a connection that has read nothing yet,
            // while a response waits to be written on it.
            if begins(&mut drain, cx) {
                drain = None;
                connection.drain();
                if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                    return Poll::Ready(Some(ended));
                }
            }
            if phase.is_blocked() {
                return Poll::Pending;
            }
            if slot.has_stream() {
                return Poll::Ready(None);
            }
            if !slot.has_response() {
                delay = None;
                return Poll::Pending;
            }
            let delay = delay.get_or_insert_with(|| Box::pin(sleep(PARK_AFTER)));
            delay.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    fn log_end(&self, ended: hyper::Result<()>, address: IpAddr) {
        let Err(error) = ended else { return };
        if error.is_parse_too_large() {
            self.app.metrics.refused(Refusal::HeaderBytes);
        }
        debug!(%error, %address, "connection ended");
    }
}

/// A connection while its client waits.
struct Parked<I, S> {
    stream: I,
    service: S,
    /// Bytes that the client has sent since then.
    unread: Bytes,
}

/// The beginning of the drain, unless it has been handled.
type DrainBegins = Option<WhenWoken<Pin<Box<WaitForCancellationFutureOwned>>>>;

fn begins(drain: &mut DrainBegins, cx: &mut std::task::Context<'_>) -> bool {
    drain.as_mut().is_some_and(|drain| Pin::new(drain).poll(cx).is_ready())
}

/// A connection that can be closed after the current response.
trait Drain {
    fn drain(&mut self);
}

impl<I, S, B> Drain for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    fn drain(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}
