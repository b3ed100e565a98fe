//! Shares the processor between client addresses. Tokio runs tasks in the order in which they were
//! woken: an address whose 10,000 requests arrive at the same time would delay every other client
//! by the time of all of them. Therefore the tasks of one address get a slice of time together,
//! `--address-slice`. Once it is used, they wait until the tasks of other addresses have run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::addresses::OfAddress;

/// The most tasks that one round lets run.
const TASKS_OF_ROUND_MAX: usize = 64;
/// The most bytes that a task of an address writes at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The share of one address.
#[derive(Debug)]
pub struct WorkShare {
    slice_ns: u64,
    /// Time that its tasks have used in this round, nanoseconds.
    used_ns: AtomicU64,
    /// The length of `state.waiting`.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Tasks that wait for a round, in the order in which they run.
    waiting: VecDeque<(Waker, Turn)>,
    /// How many of them the next round lets run.
    tasks_of_round: usize,
    /// Whether [`run_rounds`] is running.
    has_rounds: bool,
}

/// The share of one address, as long as one of its connections uses it.
pub type Share = Arc<OfAddress<WorkShare>>;

/// Set when the task that waits may run.
type Turn = Arc<AtomicBool>;

thread_local! {
    /// The slice of the task that runs on this thread.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

struct Current {
    share: Share,
    /// When the slice of the task ends.
    ends_at: Instant,
    /// Whether it has read from its connection in this slice.
    has_read: bool,
    /// Whether it has written to its connection in this slice.
    has_written: bool,
}

/// The share of the task that runs on this thread; `None` if its time is not limited.
pub fn current() -> Option<Share> {
    CURRENT.with_borrow(|current| current.as_ref().map(|it| it.share.clone()))
}

/// True if the task that runs on this thread has used a whole slice.
fn is_slice_over() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(|it| it.ends_at <= Instant::now()))
}

/// Lets other tasks run if this one has used a whole slice. For loops that may not wait for
/// anything else.
pub async fn yield_if_slice_is_over() {
    if is_slice_over() {
        tokio::task::yield_now().await;
    }
}

/// Ready if the task may read more from its connection in this slice: always once, so that it makes
/// progress, and otherwise until the slice is over.
pub fn poll_may_read(cx: &mut Context<'_>) -> Poll<()> {
    poll_in_slice(cx, |current| &mut current.has_read)
}

/// How many bytes the task may write to its connection at once, as often as it may read. The kernel
/// may need milliseconds to take all that fits into the buffer of a socket.
pub fn poll_may_write(cx: &mut Context<'_>) -> Poll<usize> {
    let bytes = if is_limited() { WRITE_BYTES_MAX } else { usize::MAX };
    poll_in_slice(cx, |current| &mut current.has_written).map(|()| bytes)
}

/// Ready once in a slice, which sets `has_done`, and otherwise until the slice is over.
fn poll_in_slice(cx: &mut Context<'_>, has_done: fn(&mut Current) -> &mut bool) -> Poll<()> {
    let is_ready = CURRENT.with_borrow_mut(|current| {
        let Some(current) = current else { return true };
        !std::mem::replace(has_done(current), true) || Instant::now() < current.ends_at
    });
    if is_ready {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// True if the time of the task that runs on this thread is limited.
pub fn is_limited() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

impl WorkShare {
    /// The share of an address that may use `slice` at a time.
    pub fn new(slice: Duration) -> WorkShare {
        WorkShare {
            slice_ns: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
            used_ns: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                has_rounds: false,
                tasks_of_round: 1,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    fn has_time(&self) -> bool {
        self.used_ns.load(Ordering::Relaxed) < self.slice_ns
    }
}

/// Whether a task may run now. Otherwise `turn` is set, and `waker` is called once it may.
fn admits(share: &Share, turn: &mut Option<Turn>, waker: &Waker) -> bool {
    if let Some(granted) = turn {
        if !granted.load(Ordering::Acquire) {
            return false;
        }
        *turn = None;
        return true;
    }
    if share.waiting.load(Ordering::Relaxed) == 0 && share.has_time() {
        return true;
    }
    let mut state = share.lock();
    let granted = Turn::default();
    state.waiting.push_back((waker.clone(), granted.clone()));
    *turn = Some(granted);
    share.waiting.store(state.waiting.len(), Ordering::Relaxed);
    begin_rounds(share, state);
    false
}

/// Counts time that a task has used.
fn spend(share: &Share, time: Duration) {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let before = share.used_ns.fetch_add(ns, Ordering::Relaxed);
    if before < share.slice_ns && before.saturating_add(ns) >= share.slice_ns {
        begin_rounds(share, share.lock());
    }
}

/// Makes sure that the address gets another slice.
fn begin_rounds(share: &Share, mut state: MutexGuard<'_, State>) {
    if !std::mem::replace(&mut state.has_rounds, true) {
        // It ends on its own, when nothing waits.
        tokio::spawn(run_rounds(share.clone()));
    }
}

/// Gives the address another slice after each round of the scheduler, until it needs none.
async fn run_rounds(share: Share) {
    loop {
        // Resumes after all other tasks that are ready, and after the sockets were looked at.
        tokio::task::yield_now().await;
        let used_ns = share.used_ns.load(Ordering::Relaxed);
        share.used_ns.fetch_sub(used_ns.min(share.slice_ns), Ordering::Relaxed);
        if used_ns >= share.slice_ns.saturating_mul(2) {
            continue; // One task needed the time of several slices.
        }
        let mut state = share.lock();
        if state.waiting.is_empty() {
            state.has_rounds = false;
            return;
        }
        let tasks = match used_ns < share.slice_ns / 2 {
            true => state.tasks_of_round.saturating_mul(2).min(TASKS_OF_ROUND_MAX),
            false if used_ns > share.slice_ns => (state.tasks_of_round / 2).max(1),
            false => state.tasks_of_round,
        };
        state.tasks_of_round = tasks;
        let tasks = tasks.min(state.waiting.len());
        let next: Vec<_> = state.waiting.drain(..tasks).collect();
        share.waiting.store(state.waiting.len(), Ordering::Relaxed);
        drop(state);
        for (waker, turn) in next {
            turn.store(true, Ordering::Release);
            waker.wake();
        }
    }
}

pin_project! {
    /// A task that uses the time of an address. Only for a task that is spawned: its waker never
    /// changes.
    pub(super) struct Sharing<F> {
        #[pin]
        task: F,
        share: Option<Share>,
        turn: Option<Turn>,
    }
}

/// Runs `task` in the time of `share`.
pub(super) fn run_in<F>(share: Option<Share>, task: F) -> Sharing<F> {
    Sharing { task, share, turn: None }
}

/// Restores what [`CURRENT`] was.
struct Restore(Option<Current>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(CURRENT.replace(before));
    }
}

impl<F: Future> Future for Sharing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(share) = this.share else { return this.task.poll(cx) };
        if !admits(share, this.turn, cx.waker()) {
            return Poll::Pending;
        }
        let began_at = Instant::now();
        let ends_at = began_at + Duration::from_nanos(share.slice_ns);
        let current =
            Current { share: share.clone(), ends_at, has_read: false, has_written: false };
        let restore = Restore(CURRENT.replace(Some(current)));
        let polled = this.task.poll(cx);
        drop(restore);
        spend(share, began_at.elapsed());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::app::addresses::AddressMap;

    const SLICE: Duration = Duration::from_millis(1);

    fn busy(time: Duration) {
        let began_at = Instant::now();
        while began_at.elapsed() < time {}
    }

    /// Many tasks of one address are ready before one of another address.
    #[tokio::test]
    async fn tasks_of_one_address_wait_for_those_of_others_after_a_slice() {
        const TASKS: usize = 50;
        let map = AddressMap::new(move || WorkShare::new(SLICE));
        let of = |number| Some(map.of(IpAddr::from(Ipv4Addr::from_bits(number))));
        let done = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for _ in 0..TASKS {
            let done = done.clone();
            tasks.push(tokio::spawn(run_in(of(1), async move {
                busy(SLICE / 4);
                tokio::task::yield_now().await;
                busy(SLICE / 4);
                done.fetch_add(1, Ordering::Relaxed);
            })));
        }
        let seen = done.clone();
        let other = async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            seen.load(Ordering::Relaxed)
        };
        let before = tokio::spawn(run_in(of(2), other)).await.expect("no panic");
        assert!(before < TASKS / 2, "{before} of {TASKS} tasks ran first");
        for task in tasks {
            task.await.expect("every task gets its turn");
        }
        assert_eq!(done.load(Ordering::Relaxed), TASKS);
    }

    #[tokio::test]
    async fn task_learns_that_its_slice_is_over() {
        assert!(!is_limited() && !is_slice_over() && current().is_none());
        let map = AddressMap::new(move || WorkShare::new(SLICE));
        let share = map.of(Ipv4Addr::LOCALHOST.into());
        let task = async {
            assert!(is_limited() && current().is_some());
            let before = is_slice_over();
            busy(SLICE);
            (before, is_slice_over())
        };
        assert_eq!(run_in(Some(share), task).await, (false, true));
        assert!(!is_limited());
        run_in(None, async { assert!(!is_slice_over()) }).await;
    }

    #[tokio::test]
    async fn task_reads_and_writes_once_after_its_slice_is_over() {
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(poll_may_write(&mut cx), Poll::Ready(usize::MAX));
        let map = AddressMap::new(move || WorkShare::new(SLICE));
        let share = map.of(Ipv4Addr::LOCALHOST.into());
        let task = async {
            busy(SLICE);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(poll_may_read(&mut cx).is_ready() && poll_may_read(&mut cx).is_pending());
            assert_eq!(poll_may_write(&mut cx), Poll::Ready(WRITE_BYTES_MAX));
            assert_eq!(poll_may_write(&mut cx), Poll::Pending);
        };
        run_in(Some(share), task).await;
    }
}
