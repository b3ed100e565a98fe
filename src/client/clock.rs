//! Precise sleeps. Tokio's timers have a resolution of a millisecond and round up, which would add
//! up to 10 % to the simulated delays; this clock is as precise as the kernel's timers (some 50
//! µs).
//!
//! Each runtime has one clock: a task that sleeps until the earliest deadline and wakes the tasks
//! whose deadlines have passed. No other thread has to wake up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};

use super::kernel_timer::KernelTimer;

/// How late a timer may fire: the default timer slack of Linux for sleeping threads. Deadlines
/// within it share one wake-up.
const SLACK: Duration = Duration::from_micros(50);
/// Shortest time between two wake-ups. The receivers of a fan-out set their deadlines some
/// microseconds apart, and a wake-up for each would cost more than receiving the message. A single
/// timer is not delayed by it.
const PAUSE: Duration = Duration::from_micros(200);

/// Wakes a task at an instant. The task must check the time again, since a timer that is no longer
/// needed still wakes it.
#[derive(Debug, Default)]
pub struct Timer {
    set: Option<(Instant, Waker)>,
    clock: Option<Arc<Clock>>,
}

impl Timer {
    /// Wakes the task of `cx` at `deadline`, unless that is set already.
    pub fn set(&mut self, deadline: Instant, cx: &Context<'_>) {
        let is_set = self
            .set
            .as_ref()
            .is_some_and(|(instant, waker)| *instant == deadline && waker.will_wake(cx.waker()));
        if !is_set {
            self.set = Some((deadline, cx.waker().clone()));
            self.clock.get_or_insert_with(Clock::of_this_runtime).wake_at(deadline, cx.waker());
        }
    }
}

/// Completes at `deadline`, never before.
pub fn sleep_until(deadline: Instant) -> SleepUntil {
    SleepUntil { deadline, timer: Timer::default() }
}

/// The future of [`sleep_until`].
#[derive(Debug)]
pub struct SleepUntil {
    deadline: Instant,
    timer: Timer,
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        self.timer.set(deadline, cx);
        Poll::Pending
    }
}

static CLOCKS: LazyLock<Mutex<HashMap<Id, Arc<Clock>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
struct Clock {
    timer: KernelTimer,
    deadlines: Mutex<Deadlines>,
}

#[derive(Debug, Default)]
struct Deadlines {
    queue: BinaryHeap<Reverse<PendingSleep>>,
    /// Orders entries of the same instant by arrival.
    count: u64,
    /// The end of the pause after the last wake-up.
    pause_ends: Option<Instant>,
}

#[derive(Debug)]
struct PendingSleep {
    deadline: Instant,
    number: u64,
    waker: Waker,
}

/// Removes the clock when its runtime ends.
struct RemoveOnDrop(Id);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        CLOCKS.lock().expect("no panic under this lock").remove(&self.0);
    }
}

impl Clock {
    fn of_this_runtime() -> Arc<Clock> {
        let runtime = Handle::current();
        let mut clocks = CLOCKS.lock().expect("no panic under this lock");
        let start = || {
            let clock = Arc::new(Clock { timer: KernelTimer::new(), deadlines: Mutex::default() });
            let guard = RemoveOnDrop(runtime.id());
            let this = clock.clone();
            runtime.spawn(async move {
                let _guard = guard;
                this.run().await;
            });
            clock
        };
        clocks.entry(runtime.id()).or_insert_with(start).clone()
    }

    fn wake_at(&self, deadline: Instant, waker: &Waker) {
        let mut deadlines = self.deadlines.lock().expect("no panic under this lock");
        let is_earliest =
            deadlines.queue.peek().is_none_or(|Reverse(earliest)| deadline < earliest.deadline);
        let (number, waker) = (deadlines.count, waker.clone());
        deadlines.count += 1;
        deadlines.queue.push(Reverse(PendingSleep { deadline, number, waker }));
        if is_earliest {
            self.set_timer(&deadlines, Instant::now());
        }
    }

    /// The caller holds the lock, so that the timer is set for the earliest deadline.
    fn set_timer(&self, deadlines: &Deadlines, now: Instant) {
        if let Some(Reverse(earliest)) = deadlines.queue.peek() {
            let due = earliest.deadline + SLACK;
            let due = deadlines.pause_ends.map_or(due, |end| end.max(due));
            self.timer.set(due.saturating_duration_since(now));
        }
    }

    async fn run(&self) {
        let mut due = Vec::new();
        loop {
            self.timer.expired().await;
            self.take_due(&mut due);
            due.drain(..).for_each(Waker::wake);
        }
    }

    fn take_due(&self, due: &mut Vec<Waker>) {
        let mut deadlines = self.deadlines.lock().expect("no panic under this lock");
        let now = Instant::now();
        while deadlines.queue.peek().is_some_and(|Reverse(entry)| entry.deadline <= now) {
            due.extend(deadlines.queue.pop().map(|Reverse(entry)| entry.waker));
        }
        deadlines.pause_ends = Some(now + PAUSE);
        self.set_timer(&deadlines, now);
    }
}

impl Ord for PendingSleep {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.deadline, self.number).cmp(&(other.deadline, other.number))
    }
}

impl PartialOrd for PendingSleep {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PendingSleep {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PendingSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_end_in_the_order_of_their_deadlines_and_never_early() {
        let start = Instant::now();
        let (ended, mut order) = tokio::sync::mpsc::unbounded_channel();
        for ms in [30, 5, 20, 5, 0] {
            let ended = ended.clone();
            let deadline = start + Duration::from_millis(ms);
            tokio::spawn(async move {
                sleep_until(deadline).await;
                assert!(Instant::now() >= deadline);
                ended.send(ms).expect("the test is still there");
            });
        }
        drop(ended);
        let mut seen = Vec::new();
        while let Some(ms) = order.recv().await {
            seen.push(ms);
        }
        assert_eq!(seen, [0, 5, 5, 20, 30]);
    }
}
