//! The stream of a connection with its timeouts for reading and writing. It also owns what must
//! live as long as the connection, upgraded or not: its share of the limits and its count in the
//! gauge.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::token_expiry::{ExpiryWatch, TokenExpiries, poll_expired};
use crate::app::memory::{Charge, OverLimit};
use crate::app::metrics::Refusal;
use crate::app::work_share::{self, poll_may_read, poll_may_write};
use crate::app::{AddressPermit, App, AwakeSleep, Remote};

/// What a connection is doing. hyper has one timeout for both the idle time between requests and
/// the time of the headers; here they differ, since a client may be idle for long.
#[derive(Debug)]
pub(super) struct ConnectionPhase {
    now: AtomicU8,
    /// A write, or a flush, waits for the peer to read.
    is_blocked: AtomicBool,
    pub expiries: TokenExpiries,
}

impl ConnectionPhase {
    /// The first request has not arrived completely, or the headers of a later one have begun.
    pub const HEAD: u8 = 0;
    /// A request is being processed, or was an upgrade.
    pub const SERVING: u8 = 1;
    /// Between two requests.
    pub const IDLE: u8 = 2;
    /// An HTTP/2 connection, where all other phases overlap. This phase never changes.
    pub const MANY: u8 = 3;

    pub fn new() -> Arc<ConnectionPhase> {
        Arc::new(ConnectionPhase {
            now: AtomicU8::new(ConnectionPhase::HEAD),
            is_blocked: AtomicBool::new(false),
            expiries: TokenExpiries::default(),
        })
    }

    /// True if the last write, or flush, could not be completed.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    pub fn set(&self, phase: u8) {
        let next = |now| (now != ConnectionPhase::MANY).then_some(phase);
        // An error means that the phase is `MANY`, which never changes.
        let _ = self.now.fetch_update(Relaxed, Relaxed, next);
    }

    fn is(&self, phase: u8) -> bool {
        self.now.load(Relaxed) == phase
    }
}

/// The share of the limits that an open connection takes.
#[derive(Debug)]
pub(super) struct ConnectionPermits {
    pub _permit: OwnedSemaphorePermit,
    /// `None` for an address whose connections are not counted.
    pub _address_permit: Option<AddressPermit>,
}

/// Bytes of headers without a charge: every connection has a buffer of this size anyway. The
/// beginning of a body may be read together with the headers.
const HEAD_BYTES_FREE: usize = 8 << 10;

/// Bytes that HTTP/2 reads at once in the time of an address: some 15 requests.
const H2_READ_BYTES: usize = 1 << 10;

/// Headers that did not arrive at once, or are large.
#[derive(Debug)]
struct PendingHeaders {
    timeout: AwakeSleep,
    charge: Charge,
}

/// A stream whose writes fail with `TimedOut` when the peer has read nothing for `--send-timeout`,
/// and whose reads fail when the headers take longer than `--header-timeout`, or the next request
/// does not come within `--idle-timeout`.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    app: Arc<App>,
    phase: Arc<ConnectionPhase>,
    /// Runs while a write is blocked.
    blocked: Option<Pin<Box<AwakeSleep>>>,
    /// While headers are arriving.
    head: Option<Box<PendingHeaders>>,
    /// Bytes of the headers that have arrived.
    head_bytes: usize,
    /// Set between two requests. The timeout is kept from one to the next.
    is_idle: bool,
    idle: Option<Box<AwakeSleep>>,
    remote: Arc<Remote>,
    expiry: Option<Box<ExpiryWatch>>,
    _permits: ConnectionPermits,
}

impl<S> TimeoutStream<S> {
    pub fn new(
        stream: S,
        app: Arc<App>,
        phase: Arc<ConnectionPhase>,
        remote: Arc<Remote>,
        permits: ConnectionPermits,
    ) -> Self {
        app.metrics.open_connections.inc();
        TimeoutStream {
            stream,
            app,
            phase,
            blocked: None,
            head: None,
            head_bytes: 0,
            is_idle: false,
            idle: None,
            remote,
            expiry: None,
            _permits: permits,
        }
    }

    /// True once the token has expired and earlier data may still be delivered to its client.
    fn has_expired(&mut self, cx: &mut Context<'_>) -> bool {
        // Streams of HTTP/2 end on their own, and others may be blocked.
        let is_blocked = self.blocked.is_some() && !self.phase.is(ConnectionPhase::MANY);
        let TimeoutStream { expiry, phase, remote, .. } = self;
        let has_expired =
            poll_expired(expiry, &phase.expiries, &remote.peer, is_blocked, cx).is_ready();
        if has_expired {
            self.app.metrics.refused(Refusal::SlowReader);
        }
        has_expired
    }

    fn head(&mut self) -> &mut PendingHeaders {
        let TimeoutStream { app, remote, .. } = self;
        self.head.get_or_insert_with(|| {
            let timeout = app.pauses.sleep(app.config.header_timeout);
            Box::new(PendingHeaders { timeout, charge: remote.account.charge() })
        })
    }

    /// Waits for the next request; fails if it does not arrive in time.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let app = &self.app;
        let sleep = || Box::new(app.pauses.sleep(app.config.idle_timeout));
        let timeout = self.idle.get_or_insert_with(sleep);
        if !std::mem::replace(&mut self.is_idle, true) {
            (self.head, self.head_bytes) = (None, 0);
            timeout.restart();
        }
        ready!(Pin::new(timeout).poll(cx));
        self.app.metrics.refused(Refusal::Idle);
        let text = "there was no other request within --idle-timeout";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }

    /// Returns the result of a write, or an error if writing has been blocked for too long.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.has_expired(cx) {
            return Poll::Ready(Err(expired()));
        }
        if result.is_ready() {
            if self.blocked.take().is_some() {
                self.phase.is_blocked.store(false, Relaxed);
            }
            return result;
        }
        self.phase.is_blocked.store(true, Relaxed);
        let time_limit = self.app.config.send_timeout;
        let blocked =
            self.blocked.get_or_insert_with(|| Box::pin(self.app.pauses.sleep(time_limit)));
        ready!(blocked.as_mut().poll(cx));
        self.app.metrics.refused(Refusal::SlowReader);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

fn expired() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the token expired before the client had read")
}

impl<S> Drop for TimeoutStream<S> {
    fn drop(&mut self) {
        self.app.metrics.open_connections.dec();
    }
}

impl<S: AsyncRead + Unpin> TimeoutStream<S> {
    /// Reads. HTTP/2 processes all frames that were read before it yields, so it is given few.
    fn read_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut self.stream);
        if !self.phase.is(ConnectionPhase::MANY) || !work_share::is_limited() {
            return stream.poll_read(cx, buf);
        }
        let mut some = [0; H2_READ_BYTES];
        let mut some = ReadBuf::new(&mut some[..H2_READ_BYTES.min(buf.remaining())]);
        ready!(stream.poll_read(cx, &mut some))?;
        buf.put_slice(some.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_expired(cx) {
            return Poll::Ready(Err(expired()));
        }
        ready!(poll_may_read(cx));
        let before = buf.filled().len();
        let result = this.read_some(cx, buf);
        let count = buf.filled().len() - before;
        if this.phase.is(ConnectionPhase::IDLE) {
            match &result {
                Poll::Pending => return this.poll_idle(cx),
                Poll::Ready(_) if count > 0 => this.phase.set(ConnectionPhase::HEAD),
                Poll::Ready(_) => return result,
            }
        }
        this.is_idle = false;
        if !this.phase.is(ConnectionPhase::HEAD) {
            (this.head, this.head_bytes) = (None, 0);
            return result;
        }
        this.head_bytes += count;
        let bytes = this.head_bytes;
        if bytes > HEAD_BYTES_FREE && this.head().charge.set(bytes).is_err() {
            this.app.metrics.refused(Refusal::HeldBytes);
            return Poll::Ready(Err(io::Error::other(OverLimit)));
        }
        ready!(match result {
            // Most headers arrive at once, and need no timer.
            Poll::Ready(result) => return Poll::Ready(result),
            Poll::Pending => Pin::new(&mut this.head().timeout).poll(cx),
        });
        this.app.metrics.refused(Refusal::SlowHead);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the headers did not arrive within --header-timeout",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match poll_may_write(cx) {
            Poll::Ready(bytes) => {
                Pin::new(&mut self.stream).poll_write(cx, &buf[..bytes.min(buf.len())])
            }
            Poll::Pending => Poll::Pending,
        };
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        let stream = Pin::new(&mut self.stream);
        let result = match poll_may_write(cx) {
            Poll::Ready(bytes) if size <= bytes => stream.poll_write_vectored(cx, bufs),
            Poll::Ready(bytes) => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).expect("the size is not 0");
                stream.poll_write(cx, &first[..bytes.min(first.len())])
            }
            Poll::Pending => Poll::Pending,
        };
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            self.phase.is_blocked.store(true, Relaxed);
        } else if self.blocked.is_none() && self.phase.is_blocked() {
            self.phase.is_blocked.store(false, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
