//! A pause of the server shows in the latencies of all messages that were planned during it.

use std::time::Duration;

use exercises::latency::{Server, measure};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_pause_of_one_second_delays_a_hundred_messages() {
    let start = Instant::now();
    let server = Server {
        pause_from: start + Duration::from_secs(1),
        pause_until: start + Duration::from_secs(2),
    };
    let mut latencies = measure(&server, 500).await;
    latencies.sort();
    // In one second of pause 100 messages were planned; half of them waited for at least 0.5 s.
    let slow = latencies.iter().filter(|latency| **latency >= Duration::from_millis(500)).count();
    assert!((45..=60).contains(&slow), "{slow} messages took 0.5 s or more");
    let p90 = latencies[latencies.len() * 9 / 10];
    assert!(p90 >= Duration::from_millis(400), "p90 is {p90:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_at_once_has_low_latencies() {
    let now = Instant::now();
    let latencies = measure(&Server { pause_from: now, pause_until: now }, 100).await;
    assert_eq!(latencies.len(), 100);
    assert!(latencies.iter().all(|latency| *latency <= Duration::from_millis(2)));
}
