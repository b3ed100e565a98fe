//! Sleeps that end when they should. Tokio's timers have a resolution of a millisecond and round
//! up, which would add up to 10 % to the delays simulated here; this one is as exact as the
//! kernel's (some 50 µs).
//!
//! One thread waits for the earliest deadline of all and wakes whoever asked for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// An alarm: wakes a task at an instant. Whoever is woken looks at the time again, since an alarm
/// that is not needed any more rings all the same.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<(Instant, Waker)>,
}

impl Alarm {
    /// Has the task of `cx` woken at `deadline`, unless that is arranged already.
    pub fn set(&mut self, deadline: Instant, cx: &Context<'_>) {
        let arranged = self
            .set
            .as_ref()
            .is_some_and(|(instant, waker)| *instant == deadline && waker.will_wake(cx.waker()));
        if !arranged {
            self.set = Some((deadline, cx.waker().clone()));
            CLOCK.ring_at(deadline, cx.waker().clone());
        }
    }
}

/// Completes at `deadline`, never before.
pub fn sleep_until(deadline: Instant) -> SleepUntil {
    SleepUntil { deadline, alarm: Alarm::default() }
}

/// The future of [`sleep_until`].
#[derive(Debug)]
pub struct SleepUntil {
    deadline: Instant,
    alarm: Alarm,
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        self.alarm.set(deadline, cx);
        Poll::Pending
    }
}

static CLOCK: LazyLock<&'static Clock> = LazyLock::new(|| {
    let clock: &'static Clock = Box::leak(Box::default());
    let thread = std::thread::Builder::new().name("clock".to_owned());
    thread.spawn(|| clock.run()).expect("the system lets us have one thread");
    clock
});

#[derive(Default)]
struct Clock {
    alarms: Mutex<Alarms>,
    earlier: Condvar,
}

#[derive(Default)]
struct Alarms {
    queue: BinaryHeap<Reverse<Entry>>,
    /// Tells entries of the same instant apart, in order of arrival.
    count: u64,
}

struct Entry {
    deadline: Instant,
    number: u64,
    waker: Waker,
}

impl Clock {
    fn ring_at(&self, deadline: Instant, waker: Waker) {
        let mut alarms = self.alarms.lock().expect("no panic under this lock");
        let is_earliest =
            alarms.queue.peek().is_none_or(|Reverse(earliest)| deadline < earliest.deadline);
        let number = alarms.count;
        alarms.count += 1;
        alarms.queue.push(Reverse(Entry { deadline, number, waker }));
        drop(alarms);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    fn run(&self) {
        let mut due = Vec::new();
        let mut alarms = self.alarms.lock().expect("no panic under this lock");
        loop {
            let now = Instant::now();
            while alarms.queue.peek().is_some_and(|Reverse(entry)| entry.deadline <= now) {
                due.extend(alarms.queue.pop().map(|Reverse(entry)| entry.waker));
            }
            if !due.is_empty() {
                drop(alarms);
                due.drain(..).for_each(Waker::wake);
                alarms = self.alarms.lock().expect("no panic under this lock");
                continue;
            }
            alarms = match alarms.queue.peek().map(|Reverse(entry)| entry.deadline - now) {
                Some(wait) => {
                    self.earlier.wait_timeout(alarms, wait).expect("no panic under this lock").0
                }
                None => self.earlier.wait(alarms).expect("no panic under this lock"),
            };
        }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.deadline, self.number).cmp(&(other.deadline, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
