//! Requests and bytes per message, as a custom measurement of criterion: a count instead of a time.
//!
//! An iteration is a session: subscribers connect, receive a fixed number of messages at random
//! instants, and disconnect. The requests and bytes of connecting are included, because push has
//! hardly any others.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Throughput};
use poll_vs_push::client::clock::sleep_until;
use poll_vs_push::client::{Dialer, Meter, MeterCounts};
use poll_vs_push::load::target::PublishRoute;
use poll_vs_push::transport::SubscribeOptions;
use poll_vs_push::variant::Transport;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Crowd, Publisher, TestServer};
use tokio::runtime::Runtime;

/// Messages of a session.
const MESSAGES: u64 = 20;
/// Concurrent subscribers of a session, so that it averages over the phases of their polls.
const SUBSCRIBERS: u64 = 20;
/// Messages per second. The result depends on the product of rate and poll interval: an application
/// that polls each second has the same result at a hundredth of these rates.
const RATES: [f64; 3] = [50.0, 200.0, 800.0];
const INTERVALS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(20)];
/// Time limit for starting the server and for connecting and disconnecting the subscribers.
const CONNECTING: Duration = Duration::from_millis(50);

fn main() {
    count(Count {
        name: "requests",
        per_message: "requests/message",
        of: |counts| counts.requests,
    });
    count(Count { name: "bytes", per_message: "bytes/message", of: bytes });
}

/// All bytes, both directions, TCP and IP headers included.
fn bytes(counts: &MeterCounts) -> u64 {
    counts.up().total() + counts.down().total()
}

/// `{count}/{transport}/{rate}`; for short polling `{count}/short-polling-{interval}/{rate}`
fn count(count: Count) {
    let Count { name, of, .. } = count;
    let mut criterion = support::criterion(count);
    let runtime = support::runtime();
    let mut group = support::group(&mut criterion, name);
    group.throughput(Throughput::Elements(MESSAGES * SUBSCRIBERS));
    for (function, transport, interval) in cases() {
        for rate in RATES {
            let session = BenchSession { transport, interval, rate };
            group.measurement_time(session.measurement_time());
            group.bench_function(BenchmarkId::new(&function, rate), |bencher| {
                bencher.iter_custom(|sessions| {
                    let counts = (0..sessions).map(|_| session.counts(&runtime));
                    counts.map(|counts| of(&counts)).sum()
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

/// Each transport; short polling once for each interval.
fn cases() -> Vec<(String, Transport, Duration)> {
    let of = |transport: Transport| match transport {
        Transport::ShortPolling => INTERVALS
            .map(|interval| (format!("{transport}-{interval:?}"), transport, interval))
            .to_vec(),
        _ => vec![(transport.to_string(), transport, INTERVALS[0])],
    };
    Transport::ALL.into_iter().flat_map(of).collect()
}

struct BenchSession {
    transport: Transport,
    interval: Duration,
    rate: f64,
}

impl BenchSession {
    /// Time for ten samples of two sessions each; with one session per sample, criterion warns.
    fn measurement_time(&self) -> Duration {
        let publishing = Duration::from_secs_f64(MESSAGES as f64 / self.rate);
        19 * (publishing + self.interval + CONNECTING)
    }

    /// Runs the session and returns the counts of the subscribers.
    fn counts(&self, runtime: &Runtime) -> MeterCounts {
        runtime.block_on(async {
            let server = TestServer::start().await;
            let meter = Arc::new(Meter::default());
            let dialer = Dialer::new(server.address).with_meter(meter.clone());
            let options = SubscribeOptions {
                interval: self.interval,
                ..SubscribeOptions::new(support::topic())
            };
            let crowd = Crowd::connect(self.transport, None, SUBSCRIBERS, dialer, options).await;
            let route = PublishRoute::ours();
            let mut publisher = Publisher::new(server.address, route, &support::topic());
            let mut due = Instant::now();
            for gap in self.gaps() {
                due += gap;
                sleep_until(due).await;
                publisher.publish().await;
            }
            crowd.has_received(MESSAGES * SUBSCRIBERS).await;
            // A short pause, so that polling clients have sent their next poll.
            sleep_until(Instant::now() + self.interval).await;
            let counts = meter.counts();
            crowd.leave().await;
            server.stop().await;
            counts
        })
    }

    /// The gaps of a Poisson process, the same in each session.
    fn gaps(&self) -> impl Iterator<Item = Duration> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let rate = self.rate;
        // 1 - u is never 0, so its logarithm is finite.
        let gap = move || -(1.0 - random.random::<f64>()).ln() / rate;
        std::iter::repeat_with(gap).map(Duration::from_secs_f64).take(MESSAGES as usize)
    }
}

/// A count as a measurement of criterion. The value comes from the meter of the subscribers, so
/// only `iter_custom` can be used.
#[derive(Clone, Copy)]
struct Count {
    name: &'static str,
    per_message: &'static str,
    of: fn(&MeterCounts) -> u64,
}

impl Measurement for Count {
    type Intermediate = std::convert::Infallible;
    type Value = u64;

    fn start(&self) -> Self::Intermediate {
        unreachable!("a count has no clock to start: use iter_custom")
    }

    fn end(&self, started: Self::Intermediate) -> u64 {
        match started {}
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Count {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        self.name
    }

    /// The count per message, the inverse of a rate.
    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        if let Throughput::Elements(messages) = throughput {
            values.iter_mut().for_each(|value| *value /= *messages as f64);
        }
        self.per_message
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        self.name
    }
}
