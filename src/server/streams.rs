//! The streams of one connection of HTTP/2: each runs in a task of its own, with its timeouts, and
//! the connection ends once it has been without streams for `--idle-timeout`. Pings do not count.

use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

use super::token_expiry::GRACE;
use crate::app::metrics::Refusal;
use crate::app::{App, AwakeSleep};

/// Spawns the tasks of the streams of one connection on the server's task tracker.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    app: Arc<App>,
    count: Arc<StreamCount>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let open = OpenStream::new(self.count.clone());
        let stream = run_stream(self.app.clone(), stream);
        self.app.spawn(async move {
            stream.await;
            drop(open);
        });
    }
}

impl Streams {
    /// The streams of a new connection: none.
    pub fn new(app: Arc<App>) -> Streams {
        let (created_at, open, idle_since) =
            (Instant::now(), AtomicUsize::new(0), AtomicU64::new(0));
        Streams { app, count: Arc::new(StreamCount { created_at, open, idle_since }) }
    }

    /// Resolves when there has been no stream for `--idle-timeout`.
    pub async fn idle(&self) {
        let limit = self.app.config.idle_timeout;
        let Some(mut check_at) = self.count.created_at.checked_add(limit) else {
            return pending().await;
        };
        loop {
            sleep_until(check_at).await;
            let now = Instant::now();
            check_at = match self.count.idle_since() {
                Some(since) => self.app.pauses.deadline(since, limit),
                None => now + limit,
            };
            if check_at <= now {
                return;
            }
        }
    }
}

#[derive(Debug)]
struct StreamCount {
    created_at: Instant,
    open: AtomicUsize,
    /// When the last stream ended, milliseconds after `created_at`.
    idle_since: AtomicU64,
}

impl StreamCount {
    fn idle_since(&self) -> Option<Instant> {
        let since = self.created_at + Duration::from_millis(self.idle_since.load(Relaxed));
        (self.open.load(Relaxed) == 0).then_some(since)
    }
}

/// Counts a stream until it is dropped.
struct OpenStream(Arc<StreamCount>);

impl OpenStream {
    fn new(count: Arc<StreamCount>) -> OpenStream {
        count.open.fetch_add(1, Relaxed);
        OpenStream(count)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let StreamCount { created_at, open, idle_since } = &*self.0;
        idle_since.store(created_at.elapsed().as_millis() as u64, Relaxed);
        open.fetch_sub(1, Relaxed);
    }
}

/// The progress of a stream's response, and when the stream has to end.
#[derive(Debug, Default)]
pub(super) struct WriteProgress {
    /// Pieces handed over; 0 while the response, or its next part, is awaited.
    pieces: AtomicUsize,
    last: AtomicUsize,
    /// When the token expires, after which nothing more may be sent.
    ends_at: OnceLock<Instant>,
}

tokio::task_local! {
    /// The state of the stream that this task serves.
    static PROGRESS: Arc<WriteProgress>;
}

impl WriteProgress {
    /// `None` on HTTP/1.
    pub fn of_this_stream() -> Option<Arc<WriteProgress>> {
        PROGRESS.try_with(Arc::clone).ok()
    }

    pub fn hands_over(&self) {
        self.pieces.store(self.last.fetch_add(1, Relaxed) + 1, Relaxed);
    }

    pub fn waits_for_body(&self) {
        self.pieces.store(0, Relaxed);
    }

    /// The token of the request expires after `left`.
    pub fn expires_after(&self, left: Duration) {
        if let Some(at) = left.checked_add(GRACE).and_then(|it| Instant::now().checked_add(it)) {
            let _ = self.ends_at.set(at);
        }
    }
}

/// Runs the task of one stream until it ends, until the client's window has not admitted the next
/// piece of the response for `--send-timeout`, or until the token has expired. Dropping the task
/// then resets the stream.
async fn run_stream(app: Arc<App>, stream: impl Future<Output = ()>) {
    let progress = Arc::new(WriteProgress::default());
    let mut stream = pin!(PROGRESS.scope(progress.clone(), stream));
    let mut timers = Timers::default();
    let is_stalled = poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        timers.poll(&app, &progress, cx).map(|()| true)
    });
    if is_stalled.await {
        app.metrics.refused(Refusal::SlowReader);
    }
}

/// The timers of a stream, as long as they are needed.
#[derive(Default)]
struct Timers {
    /// The piece for which the client's window has no space.
    stall: Option<(usize, Pin<Box<AwakeSleep>>)>,
    expiry: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// Ready when the stream has to be reset.
    fn poll(&mut self, app: &App, progress: &WriteProgress, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(at) = progress.ends_at.get() {
            let expiry = self.expiry.get_or_insert_with(|| Box::pin(sleep_until(*at)));
            if expiry.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        let pieces = progress.pieces.load(Relaxed);
        if pieces == 0 {
            self.stall = None;
            return Poll::Pending;
        }
        if self.stall.as_ref().is_none_or(|(since, _)| *since != pieces) {
            self.stall = Some((pieces, Box::pin(app.pauses.sleep(app.config.send_timeout))));
        }
        let (_, stall) = self.stall.as_mut().expect("it was just set");
        stall.as_mut().poll(cx)
    }
}
