//! A load test that publishes a message every 10 ms and measures how long each takes.
//!
//! Latency counts from the instant at which the schedule planned the message, not from the instant
//! at which the load test got round to it. A message that had to wait because the server was busy
//! with the one before it has waited all the same. Leaving that out is called coordinated omission.
//!
//! Source: G. Tene, "How NOT to Measure Latency", 2013.

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
        server.publish().await;
        latencies.push(planned.elapsed());
    }
    latencies
}
