//! From the publication of a message until its last subscriber has received it.
//!
//! The result is a mean over loopback: the cost of the code, without a network. The load test
//! measures percentiles and longer round trips.

mod support;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkId, Criterion};
use poll_vs_push::client::clock::sleep_until;
use poll_vs_push::variant::Transport;
use rand::RngExt;
use support::{Setting, Stage};
use tokio::runtime::Runtime;

/// Interval of short polling: the shortest one at which a thousand polling clients leave two cores
/// idle half of the time.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Short enough for many samples, and long compared with the cost of the code.
const ROUND_TRIP: Duration = Duration::from_millis(10);

fn main() {
    let mut criterion = support::criterion(WallTime);
    let runtime = support::runtime();
    on_loopback(&mut criterion, &runtime);
    with_a_round_trip(&mut criterion, &runtime);
    criterion.final_summary();
}

/// `latency/{transport}/{subscribers}`
fn on_loopback(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = support::group(criterion, "latency");
    for transport in Transport::ALL {
        group.measurement_time(measurement_time(transport));
        for subscribers in [1, 100, 1_000] {
            let round_trip = Duration::ZERO;
            let setting = Setting { transport, subscribers, round_trip, interval: POLL_INTERVAL };
            let id = BenchmarkId::new(transport.name(), subscribers);
            support::bench(&mut group, id, runtime, setting, latencies);
        }
    }
}

/// `latency-rtt/{transport}/10ms`
fn with_a_round_trip(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = support::group(criterion, "latency-rtt");
    for transport in Transport::ALL {
        group.measurement_time(measurement_time(transport));
        let round_trip = ROUND_TRIP;
        let setting = Setting { transport, subscribers: 100, round_trip, interval: POLL_INTERVAL };
        let id = BenchmarkId::new(transport.name(), format!("{}ms", ROUND_TRIP.as_millis()));
        support::bench(&mut group, id, runtime, setting, latencies);
    }
}

/// Time for ten samples of at least two messages each; with fewer, criterion warns. A message takes
/// short polling at most two intervals, one of which is the pause before it.
fn measurement_time(transport: Transport) -> Duration {
    match transport {
        Transport::ShortPolling => 25 * POLL_INTERVAL,
        _ => Duration::from_secs(1),
    }
}

/// Publishes messages one after another and returns the sum of their latencies.
async fn latencies(stage: &mut Stage, messages: u64) -> Duration {
    let mut sum = Duration::ZERO;
    for _ in 0..messages {
        let pause = longest_pause(&stage.setting).mul_f64(rand::rng().random());
        sleep_until(Instant::now() + pause).await;
        let sent_at = Instant::now();
        stage.publisher.publish().await;
        sum += stage.crowd.has_received(stage.due()).await - sent_at;
    }
    sum
}

/// A random pause precedes each message. Without it, each message would be published at the same
/// phase of the polls, and while the next long polls are in flight.
fn longest_pause(setting: &Setting) -> Duration {
    match setting.transport {
        Transport::ShortPolling => setting.interval,
        _ => 3 * setting.round_trip + Duration::from_micros(300),
    }
}
