//! A time limit without the cost of a timer for what is ready at once, as most writes are.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// What `future` returns, unless it takes longer than `limit` after its first poll.
///
/// # Errors
/// If it takes longer.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        // In a box, so that those who need no timer keep no room for one.
        Poll::Pending => Box::pin(timeout(limit, future)).await,
    }
}
