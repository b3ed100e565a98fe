//! Avoids polls of a future, or a stream, in a task that waits for several. A woken task polls
//! everything that it waits for, which takes locks and touches memory for every message to each of
//! thousands of subscribers. This wrapper polls the wrapped value only if its own waker was called.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;

/// Polls `T` only when it has been woken since it was polled.
#[derive(Debug)]
pub struct WhenWoken<T> {
    /// `None` before the first poll, and after a poll that was ready.
    flag: Option<Arc<Flag>>,
    inner: T,
}

#[derive(Debug)]
struct Flag {
    is_woken: AtomicBool,
    task: Waker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<T> WhenWoken<T> {
    pub fn new(inner: T) -> WhenWoken<T> {
        WhenWoken { flag: None, inner }
    }

    /// The wrapped value. Polling it directly does not depend on its waker.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    fn poll_with<O>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O> {
        let flag = match &self.flag {
            Some(flag) if flag.task.will_wake(cx.waker()) => {
                if !flag.is_woken.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                flag.is_woken.swap(false, Ordering::Acquire);
                flag.clone()
            }
            _ => {
                let flag = Flag { is_woken: AtomicBool::new(false), task: cx.waker().clone() };
                Arc::new(flag)
            }
        };
        let waker = Waker::from(flag.clone());
        let polled = poll(&mut self.inner, &mut Context::from_waker(&waker));
        if polled.is_ready() {
            // A stream may have more.
            flag.is_woken.store(true, Ordering::Relaxed);
        }
        self.flag = Some(flag);
        polled
    }
}

impl<F: Future + Unpin> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_with(cx, |future, cx| Pin::new(future).poll(cx))
    }
}

impl<S: Stream + Unpin> Stream for WhenWoken<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.poll_with(cx, |stream, cx| Pin::new(stream).poll_next(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::StreamExt as _;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_future_is_polled_when_it_is_woken_and_not_for_others() {
        // In a task: the wakers of tasks can be compared.
        let task = tokio::spawn(async {
            let mut polls = 0;
            let (send, mut receive) = oneshot::channel::<u32>();
            let mut counted = WhenWoken::new(poll_fn(|cx| {
                polls += 1;
                Pin::new(&mut receive).poll(cx)
            }));
            for _ in 0..5 {
                poll_fn(|cx| Poll::Ready(Pin::new(&mut counted).poll(cx).is_pending())).await;
            }
            send.send(7).expect("it is received");
            (counted.await, polls)
        });
        assert_eq!(task.await.expect("no panic"), (Ok(7), 2));
    }

    #[tokio::test]
    async fn a_stream_yields_all_that_is_sent() {
        let (send, mut receive) = mpsc::channel::<u32>(8);
        let mut stream = WhenWoken::new(futures_util::stream::poll_fn(|cx| receive.poll_recv(cx)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_next(&mut cx).is_pending());
        let sending = async {
            for number in 0..100 {
                send.send(number).await.expect("it is received");
                tokio::task::yield_now().await;
            }
            drop(send);
        };
        let receiving = async {
            let mut next = 0;
            while let Some(number) = stream.next().await {
                assert_eq!(number, next);
                next += 1;
            }
            next
        };
        let ((), received) = tokio::join!(sending, receiving);
        assert_eq!(received, 100);
    }
}
