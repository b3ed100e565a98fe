//! A load test that publishes a message every 10 ms and measures how long each takes.
//!
//! The fault: the server does not answer for a whole second, and the load test reports that 99 %
//! of the messages took 1 ms.
//!
//! Hint: while the server does not answer, this load test does not publish. Which messages should
//! have been published in that second, and when? From which instant does a user wait?

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// The time from one planned publication to the next.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// A server that answers after 1 ms, except during its pause.
#[derive(Debug)]
pub struct Server {
    pub pause_from: Instant,
    pub pause_until: Instant,
}

impl Server {
    /// Publishes a message; returns when it is delivered.
    pub async fn publish(&self) {
        sleep(Duration::from_millis(1)).await;
        if (self.pause_from..self.pause_until).contains(&Instant::now()) {
            sleep_until(self.pause_until).await;
        }
    }
}

/// Publishes `count` messages, one after the other, and returns the latency of each.
pub async fn measure(server: &Server, count: u32) -> Vec<Duration> {
    let start = Instant::now();
    let mut latencies = Vec::new();
    for number in 0..count {
        let planned = start + INTERVAL * number;
        sleep_until(planned).await;
        let published = Instant::now();
        server.publish().await;
        latencies.push(published.elapsed());
    }
    latencies
}
