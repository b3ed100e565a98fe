//! The stream of a connection with its timeouts for reading and writing. It also owns what must
//! live as long as the connection, upgraded or not: its share of the limits, its count in the
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
use crate::app::memory::{Account, Charge, OverLimit};
use crate::app::metrics::Refusal;
use crate::app::peer::Peer;
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
    /// An HTTP/2 connection, where all of these overlap. It never changes.
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
pub(super) struct Admission {
    pub _permit: OwnedSemaphorePermit,
    /// `None` for an address whose connections are not counted.
    pub _address_permit: Option<AddressPermit>,
}

/// Bytes of headers without a charge: every connection has a buffer of this size anyway. The
/// beginning of a body may be read together with the headers.
const HEAD_BYTES_FREE: usize = 8 << 10;

/// Headers that have not arrived completely.
#[derive(Debug)]
struct Head {
    timeout: Pin<Box<AwakeSleep>>,
    bytes: usize,
    charge: Charge,
}

/// A stream whose writes fail with `TimedOut` when the peer has read nothing for `--send-timeout`,
/// and whose reads fail when the headers take longer than `--header-timeout`.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    app: Arc<App>,
    phase: Arc<ConnectionPhase>,
    /// Runs while a write is blocked.
    blocked: Option<Pin<Box<AwakeSleep>>>,
    /// While headers are arriving.
    head: Option<Box<Head>>,
    account: Account,
    peer: Peer,
    expiry: Option<Box<ExpiryWatch>>,
    _admission: Admission,
}

impl<S> TimeoutStream<S> {
    pub fn new(
        stream: S,
        app: Arc<App>,
        phase: Arc<ConnectionPhase>,
        remote: &Remote,
        admission: Admission,
    ) -> Self {
        app.metrics.open_connections.inc();
        TimeoutStream {
            stream,
            app,
            phase,
            blocked: None,
            head: None,
            account: remote.account.clone(),
            peer: remote.peer.clone(),
            expiry: None,
            _admission: admission,
        }
    }

    /// True once the client of a token that has expired would receive what was written before.
    fn has_expired(&mut self, cx: &mut Context<'_>) -> bool {
        // Streams of HTTP/2 end on their own, and others may be blocked.
        let is_blocked = self.blocked.is_some() && !self.phase.is(ConnectionPhase::MANY);
        let TimeoutStream { expiry, phase, peer, .. } = self;
        let has_expired = poll_expired(expiry, &phase.expiries, peer, is_blocked, cx).is_ready();
        if has_expired {
            self.app.metrics.refused(Refusal::SlowReader);
        }
        has_expired
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
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.phase.is(ConnectionPhase::IDLE) && buf.filled().len() > before {
            this.phase.set(ConnectionPhase::HEAD);
        }
        if !this.phase.is(ConnectionPhase::HEAD) {
            this.head = None;
            return result;
        }
        let limit = this.app.config.header_timeout;
        let head = this.head.get_or_insert_with(|| {
            let timeout = Box::pin(this.app.pauses.sleep(limit));
            Box::new(Head { timeout, bytes: 0, charge: this.account.charge() })
        });
        if let Poll::Ready(result) = result {
            head.bytes += buf.filled().len() - before;
            let charged = if head.bytes > HEAD_BYTES_FREE { head.bytes } else { 0 };
            if head.charge.set(charged).is_err() {
                this.app.metrics.refused(Refusal::HeldBytes);
                return Poll::Ready(Err(io::Error::other(OverLimit)));
            }
            return Poll::Ready(result);
        }
        ready!(head.timeout.as_mut().poll(cx));
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
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
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
