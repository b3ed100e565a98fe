//! Deliveries a second: one topic, one publisher, ever more subscribers.
//!
//! Messages are published as fast as they are received, a few ahead, so that nobody waits for the
//! slowest subscriber of each message. Server and subscribers share the machine's cores, so this is
//! what both can do together, and a lower bound of what a server alone could.

mod support;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkId, Throughput};
use poll_vs_push::variant::Transport;
use support::{Setting, Stage};

/// Messages that are published and not yet received by all.
const AHEAD: u64 = 8;

/// `fan-out/{transport}/{subscribers}`
fn main() {
    let mut criterion = support::criterion(WallTime);
    let runtime = support::runtime();
    let mut group = support::group(&mut criterion, "fan-out");
    for transport in Transport::ALL {
        for subscribers in [1, 10, 100, 1_000] {
            // A poller asks again at once: its interval would be all that is measured.
            let (interval, round_trip) = (Duration::ZERO, Duration::ZERO);
            let setting = Setting { transport, subscribers, round_trip, interval };
            group.throughput(Throughput::Elements(subscribers));
            let id = BenchmarkId::new(transport.name(), subscribers);
            support::bench(&mut group, id, &runtime, setting, deliver);
        }
    }
    group.finish();
    criterion.final_summary();
}

/// How long it takes to bring so many messages to all subscribers.
async fn deliver(stage: &mut Stage, messages: u64) -> Duration {
    let started = Instant::now();
    for number in 0..messages {
        let ahead = AHEAD.min(number) * stage.setting.subscribers;
        stage.crowd.has_received(stage.due() - ahead).await;
        stage.publisher.publish().await;
    }
    let elapsed = stage.crowd.has_received(stage.due()).await - started;
    assert_eq!(stage.crowd.received(), stage.due(), "nothing comes twice");
    elapsed
}
