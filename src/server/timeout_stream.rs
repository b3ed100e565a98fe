//! A connection's stream with what must live as long as the connection does, through an upgrade and
//! beyond: its place among the allowed connections, its count in the gauge, and the patience with a
//! peer that does not read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::metrics::Refusal;
use crate::app::{App, AwakeSleep, Place};

/// What a connection is doing, as far as its service can tell. hyper has one timeout for the time
/// between two requests and the time of a head; a client may idle for long, and not dawdle.
#[derive(Debug)]
pub(super) struct ConnectionPhase {
    now: AtomicU8,
}

impl ConnectionPhase {
    /// The first head is awaited, or a later one has begun.
    pub const HEAD: u8 = 0;
    /// A request is being answered, or was an upgrade.
    pub const SERVING: u8 = 1;
    /// Between two requests.
    pub const IDLE: u8 = 2;
    /// Any of these at the same time, on a connection of HTTP/2. It stays so.
    pub const MANY: u8 = 3;

    pub fn new() -> Arc<ConnectionPhase> {
        Arc::new(ConnectionPhase { now: AtomicU8::new(ConnectionPhase::HEAD) })
    }

    pub fn set(&self, phase: u8) {
        let goes_on = |now| (now != ConnectionPhase::MANY).then_some(phase);
        // That it stays as it is is no failure.
        let _ = self.now.fetch_update(Relaxed, Relaxed, goes_on);
    }

    fn is(&self, phase: u8) -> bool {
        self.now.load(Relaxed) == phase
    }
}

/// What a connection holds as long as it is open.
#[derive(Debug)]
pub(super) struct Admission {
    pub _permit: OwnedSemaphorePermit,
    /// `None` for an address whose connections are not counted.
    pub _place: Option<Place>,
}

/// A stream whose writes fail with `TimedOut` once the peer has taken nothing for as long as
/// `--send-timeout` says, and its reads when a head takes longer than `--header-timeout`.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    app: Arc<App>,
    phase: Arc<ConnectionPhase>,
    /// Runs while a write is stuck.
    stuck: Option<Pin<Box<AwakeSleep>>>,
    /// Runs while a head is on its way.
    head: Option<Pin<Box<AwakeSleep>>>,
    _admission: Admission,
}

impl<S> TimeoutStream<S> {
    pub fn new(
        stream: S,
        app: Arc<App>,
        phase: Arc<ConnectionPhase>,
        admission: Admission,
    ) -> Self {
        app.metrics.open_connections.inc();
        TimeoutStream { stream, app, phase, stuck: None, head: None, _admission: admission }
    }

    /// Passes on what the stream said to a write, unless it has been saying "later" for too long.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        said: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if said.is_ready() {
            self.stuck = None;
            return said;
        }
        let patience = self.app.config.send_timeout;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(self.app.pauses.sleep(patience)));
        ready!(stuck.as_mut().poll(cx));
        self.app.metrics.refused(Refusal::SlowReader);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
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
        let before = buf.filled().len();
        let said = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.phase.is(ConnectionPhase::IDLE) && buf.filled().len() > before {
            this.phase.set(ConnectionPhase::HEAD);
        }
        if !this.phase.is(ConnectionPhase::HEAD) {
            this.head = None;
            return said;
        }
        let limit = this.app.config.header_timeout;
        let head = this.head.get_or_insert_with(|| Box::pin(this.app.pauses.sleep(limit)));
        ready!(match said {
            Poll::Ready(said) => return Poll::Ready(said),
            Poll::Pending => head.as_mut().poll(cx),
        });
        this.app.metrics.refused(Refusal::SlowHead);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head takes too long")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, said)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
