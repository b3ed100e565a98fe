//! Deliveries per second: one topic, one publisher, and 100 to 10,000 subscribers.
//!
//! Messages are published as fast as they are received, a few ahead, so that no subscriber waits
//! for the slowest subscriber of each message. The server is a process of its own. It shares the
//! machine's cores with publisher and subscribers, so the time includes the work of both; the CPU
//! time of the server alone for each delivery is printed below it.
//!
//! With the variable `NCHAN` set, nginx with nchan is measured beside it, transport by transport.

mod support;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Throughput};
use poll_vs_push::client::Dialer;
use poll_vs_push::transport::SubscribeOptions;
use poll_vs_push::usage::raise_connection_limit;
use poll_vs_push::variant::Transport;
use support::server_process::{Program, ServerProcess};
use support::{Crowd, Publisher};
use tokio::runtime::Runtime;

/// Messages published and not yet received by all subscribers.
const AHEAD: u64 = 8;
/// Largest number of pollers. More of them send requests faster than one machine can answer them.
const POLLERS_MAX: u64 = 1_000;

/// `fan-out/{transport}/{subscribers}`, `fan-out/nchan-{transport}/{subscribers}`
fn main() {
    let mut criterion = support::criterion(WallTime);
    let runtime = support::runtime();
    let connections_max = raise_connection_limit();
    // Each size once, if the benches are run as tests.
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u64] = if is_test { &[100] } else { &[100, 1_000, 10_000] };
    let mut programs = vec![Program::PollVsPush];
    programs.extend(std::env::var_os("NCHAN").map(|_| Program::Nchan));
    let mut group = support::group(&mut criterion, "fan-out");
    for transport in Transport::ALL {
        let subscribers_max = match transport {
            Transport::ShortPolling => POLLERS_MAX,
            _ => connections_max,
        };
        for subscribers in sizes.iter().copied().filter(|it| *it <= subscribers_max) {
            for program in programs.iter().copied().filter(|it| it.has(transport)) {
                let setting = Setting { program, transport, subscribers };
                group.throughput(Throughput::Elements(subscribers));
                group.measurement_time(setting.measurement_time());
                bench(&mut group, &runtime, setting);
            }
        }
    }
    group.finish();
    criterion.final_summary();
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    program: Program,
    transport: Transport,
    subscribers: u64,
}

impl Setting {
    /// Time for ten samples of at least two messages each; with fewer, criterion warns. A delivery
    /// by a poll takes a request.
    fn measurement_time(&self) -> Duration {
        let delivery = Duration::from_micros(match self.transport {
            Transport::ShortPolling => 400,
            Transport::LongPolling | Transport::SocketioPolling => 200,
            _ => 80,
        });
        Duration::from_secs(1).max(20 * delivery * self.subscribers as u32)
    }
}

/// A server, its publisher and its connected subscribers.
struct Stage {
    server: ServerProcess,
    publisher: Publisher,
    crowd: Crowd,
    subscribers: u64,
}

impl Stage {
    async fn open(setting: Setting) -> Stage {
        let Setting { program, transport, subscribers } = setting;
        let server = ServerProcess::start(program);
        let dialer = Dialer::new(server.address);
        // A poller polls again at once: otherwise its interval would dominate the measurement.
        let interval = Duration::ZERO;
        let options = SubscribeOptions { interval, ..SubscribeOptions::new(support::topic()) };
        let target = server.target.clone();
        let crowd = Crowd::connect(transport, target, subscribers, dialer, options).await;
        let route = server.publish_route();
        let publisher = Publisher::new(server.address, route, &support::topic());
        Stage { publisher, crowd, server, subscribers }
    }

    /// Messages that must have been received if all that were published have been.
    fn due(&self) -> u64 {
        self.publisher.published * self.subscribers
    }

    /// Time until all subscribers have received the given number of messages.
    async fn deliver(&mut self, messages: u64) -> Duration {
        let started = Instant::now();
        for number in 0..messages {
            let ahead = AHEAD.min(number) * self.subscribers;
            self.crowd.has_received(self.due() - ahead).await;
            self.publisher.publish().await;
        }
        let elapsed = self.crowd.has_received(self.due()).await - started;
        assert_eq!(self.crowd.received(), self.due(), "nothing comes twice");
        elapsed
    }
}

fn bench(group: &mut BenchmarkGroup<WallTime>, runtime: &Runtime, setting: Setting) {
    let Setting { program, transport, subscribers } = setting;
    let id = BenchmarkId::new(format!("{}{transport}", program.prefix()), subscribers);
    let mut stage = None;
    let (mut cpu_seconds, mut deliveries) = (0.0, 0);
    group.bench_function(id, |bencher| {
        let stage = stage.get_or_insert_with(|| runtime.block_on(Stage::open(setting)));
        bencher.iter_custom(|messages| {
            let before = stage.server.cpu_seconds();
            let elapsed = runtime.block_on(stage.deliver(messages));
            let used = stage.server.cpu_seconds().zip(before).map(|(after, before)| after - before);
            cpu_seconds += used.unwrap_or(0.0);
            deliveries += messages * subscribers;
            elapsed
        });
    });
    if let Some(stage) = stage {
        runtime.block_on(stage.crowd.leave());
        let cost_us = cpu_seconds * 1e6 / deliveries.max(1) as f64;
        println!("{:24}server: {cost_us:.1} us of CPU for each delivery", "");
    }
}
