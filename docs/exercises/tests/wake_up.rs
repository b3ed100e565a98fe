//! A long poll returns a message that is published at any moment, also while the server reads.

use std::sync::Arc;
use std::time::Duration;

use exercises::wake_up::Topic;
use tokio::time::{sleep, timeout};

/// The longest time that a long poll may take once the message is published.
const PATIENCE: Duration = Duration::from_secs(60);

// The clock is paused: it jumps to the next timer when every task waits, so nothing here takes
// real time, and each run is the same.
#[tokio::test(start_paused = true)]
async fn long_poll_returns_a_message_published_at_any_moment() {
    for delay_ms in 0..20 {
        let topic = Arc::new(Topic::default());
        let poll = tokio::spawn({
            let topic = topic.clone();
            async move { topic.long_poll(0).await }
        });
        sleep(Duration::from_millis(delay_ms)).await;
        topic.publish("hello");
        let response = timeout(PATIENCE, poll).await;
        let response = response.unwrap_or_else(|_| {
            panic!("published {delay_ms} ms after the request began, and never delivered")
        });
        assert_eq!(response.expect("the poll does not panic"), ["hello"]);
    }
}
