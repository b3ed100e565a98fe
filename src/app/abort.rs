//! Ends the tasks of connections that are still open after the drain.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::feed::{Registration, Waiters};

/// A flag that is set once. Each poll of a task only reads it: a cancellation token would take two
/// locks for each poll, and 200 bytes for each task.
#[derive(Debug, Default)]
pub(super) struct Abort {
    is_set: AtomicBool,
    tasks: Waiters,
}

impl Abort {
    /// Ends all tasks.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.tasks.wake_all();
    }

    /// Runs `task` until it ends or the flag is set. It must be spawned as a task of its own,
    /// because its waker must never change.
    pub fn run_until_set<F: Future<Output = ()>>(self: &Arc<Self>, task: F) -> UntilAbort<F> {
        UntilAbort { task, abort: self.clone(), registration: None }
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }
}

pin_project! {
    /// See [`Abort::run_until_set`]. It is no `async` block, which would have room for the task
    /// twice.
    pub(super) struct UntilAbort<F> {
        #[pin]
        task: F,
        abort: Arc<Abort>,
        registration: Option<Registration>,
    }

    impl<F> PinnedDrop for UntilAbort<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(registration) = this.registration.take() {
                this.abort.tasks.remove(registration);
            }
        }
    }
}

impl<F: Future<Output = ()>> Future for UntilAbort<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.task.poll(cx).is_ready() || this.abort.is_set() {
            return Poll::Ready(());
        }
        if this.registration.is_none() {
            let is_set = || this.abort.is_set();
            *this.registration = this.abort.tasks.register(None, cx.waker(), is_set);
            if this.registration.is_none() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn aborted_tasks_end_and_finished_tasks_leave_nothing_behind() {
        let abort = Arc::<Abort>::default();
        let waiting: Vec<_> =
            (0..20).map(|_| tokio::spawn(abort.run_until_set(pending()))).collect();
        for _ in 0..100 {
            tokio::spawn(abort.run_until_set(tokio::task::yield_now())).await.expect("it ends");
        }
        assert!(abort.tasks.slots() < 120, "slots of finished tasks are used again");
        abort.set();
        for task in waiting {
            task.await.expect("it ends");
        }
        tokio::spawn(abort.run_until_set(pending())).await.expect("it ends at once");
    }

    #[test]
    fn task_is_stored_once() {
        let task = async { tokio::task::yield_now().await };
        let size = size_of_val(&task);
        let whole = size_of_val(&Arc::<Abort>::default().run_until_set(task));
        assert!(whole <= size + 40, "{whole}");
    }
}
