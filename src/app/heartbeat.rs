//! Heartbeats of idle connections, and how long the process has run without a pause.
//!
//! A process that was stopped (SIGSTOP, a suspended machine) finds every timeout expired when it
//! continues, although its clients have answered in time: what they sent has not been read yet. So
//! a client counts as silent only if the process has run for the whole timeout.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep as HyperSleep, Timer};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, sleep_until};

/// Time between two readings of the clock.
const TICK: Duration = Duration::from_millis(250);
/// If the process has not read the clock for this long, it was paused.
const PAUSE: Duration = Duration::from_millis(750);

/// The times at which a heartbeat is sent on an idle connection: the first is one period from now.
/// After a pause of the process there is one heartbeat, not one for each that was missed.
pub fn heartbeat(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Detects that the process was paused.
#[derive(Debug)]
pub struct PauseDetector {
    created_at: Instant,
    /// When [`PauseDetector::run`] last read the clock, milliseconds after `created_at`.
    looked_at: AtomicU64,
    /// When the last pause ended, in the same unit.
    resumed_at: AtomicU64,
}

impl Default for PauseDetector {
    fn default() -> PauseDetector {
        let (looked_at, resumed_at) = (AtomicU64::new(0), AtomicU64::new(0));
        PauseDetector { created_at: Instant::now(), looked_at, resumed_at }
    }
}

impl PauseDetector {
    /// Reads the clock periodically. It never returns.
    pub async fn run(&self) {
        loop {
            let now = self.created_at.elapsed().as_millis() as u64;
            let before = self.looked_at.swap(now, Relaxed);
            if Duration::from_millis(now - before) > PAUSE {
                self.resumed_at.store(now, Relaxed);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Since when the process has run without a pause. That is now if a pause has just ended, even
    /// if [`PauseDetector::run`] has not detected it yet.
    pub fn awake_since(&self) -> Instant {
        let at = |millis: &AtomicU64| self.created_at + Duration::from_millis(millis.load(Relaxed));
        let now = Instant::now();
        if now.saturating_duration_since(at(&self.looked_at)) > PAUSE {
            return now;
        }
        at(&self.resumed_at)
    }

    /// When a timeout that began at `start` expires, if the process is not paused again.
    pub fn deadline(&self, start: Instant, timeout: Duration) -> Instant {
        start.max(self.awake_since()) + timeout
    }

    /// Ends once the process has run for `timeout`.
    pub fn sleep(self: &Arc<Self>, timeout: Duration) -> AwakeSleep {
        let start = Instant::now();
        let sleep = Box::pin(sleep_until(start + timeout));
        AwakeSleep { pauses: self.clone(), start, timeout, sleep }
    }

    /// Waits for `future` for at most `limit` of the time in which the process runs; then it is an
    /// error.
    pub fn timeout<F: Future>(self: &Arc<Self>, limit: Duration, future: F) -> AwakeTimeout<'_, F> {
        AwakeTimeout { future, limit, sleep: None, pauses: self }
    }
}

pin_project! {
    /// See [`PauseDetector::timeout`]. It is no `async fn`, which would have room for the future
    /// twice.
    #[derive(Debug)]
    pub struct AwakeTimeout<'a, F> {
        #[pin]
        future: F,
        limit: Duration,
        // Most writes are ready at once, and need no timer.
        sleep: Option<AwakeSleep>,
        pauses: &'a Arc<PauseDetector>,
    }
}

impl<F: Future> Future for AwakeTimeout<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let sleep = this.sleep.get_or_insert_with(|| this.pauses.sleep(*this.limit));
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// The time limit of a future has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit has passed")]
pub struct Elapsed;

/// A timer for hyper whose timeouts begin anew when the process was paused meanwhile. Without it a
/// client of HTTP/2 that has answered a ping is cut off if the process is stopped before it has
/// read the answer.
#[derive(Debug, Clone)]
pub struct AwakeTimer(pub Arc<PauseDetector>);

impl Timer for AwakeTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn HyperSleep>> {
        self.sleep_until(std::time::Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn HyperSleep>> {
        Box::pin(
            self.0.sleep(Instant::from_std(deadline).saturating_duration_since(Instant::now())),
        )
    }
}

/// Ends once the process has run for the whole of `timeout` after `start`.
#[derive(Debug)]
pub struct AwakeSleep {
    pauses: Arc<PauseDetector>,
    start: Instant,
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl AwakeSleep {
    /// Restarts. The timer is reset when it fires, not on each call.
    pub fn restart(&mut self) {
        self.start = Instant::now();
    }
}

impl HyperSleep for AwakeSleep {}

impl Future for AwakeSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let deadline = self.pauses.deadline(self.start, self.timeout);
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn timeout_restarts_after_a_pause() {
        let pauses = Arc::new(PauseDetector::default());
        let start = Instant::now();
        std::thread::sleep(PAUSE + TICK);
        let resumed_at = Instant::now();
        assert!(pauses.awake_since() >= resumed_at, "before the clock was looked at");
        let timeout = Duration::from_millis(300);
        let sleeping = AwakeTimer(pauses.clone()).sleep_until((start + timeout).into_std());
        tokio::select! {
            () = pauses.run() => {}
            () = sleeping => {}
        }
        let awake_since = pauses.awake_since();
        assert!((resumed_at - TICK..).contains(&awake_since), "{awake_since:?}");
        assert_eq!(pauses.deadline(start, timeout), awake_since + timeout);
        let later = awake_since + TICK;
        assert_eq!(pauses.deadline(later, timeout), later + timeout);
    }
}
