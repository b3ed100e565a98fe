//! A synthetic run for tests: every transport simulated event by event, without a server.
//!
//! Latencies are those of the theory plus a short processing time; bytes and CPU are plausible.

use std::time::Duration;

use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::measure::{Histogram, Ledger};
use crate::run::{
    Bytes, Cell, Connections, Deliveries, Generator, Machine, MeasuredServer, OtherLoad, Recovery,
    Requests, Run, SCHEMA_VERSION, ServerCost, TcpIpSource, Tool, Trace, TraceEvent, TraceWhat,
};
use crate::scenario::{Scenario, SweepPoint, Workload};
use crate::variant::{Transport, Variant, Waiting};

/// Three valid repeats of a small workload.
pub fn run() -> Run {
    run_of(&scenario("name = 'fixture'\ntitle = 'Poll or push?'\ndescription = 'A fixture.'"))
}

/// A sweep over the message rate.
pub fn sweep() -> Run {
    let mut scenario = scenario(
        "name = 'sweep'\ntitle = 'Poll or push, by rate'\ndescription = 'A fixture.'\n\
         sweep = { rate = [0.1, 0.5, 2, 10, 50] }",
    );
    scenario.workload.duration = Duration::from_secs(20);
    run_of(&scenario)
}

/// A scenario with a smaller workload than the default's.
pub fn scenario(toml: &str) -> Scenario {
    let mut scenario = Scenario::from_toml(toml).expect("the fixture's scenario is valid");
    if scenario.transports == Transport::ALL {
        let first = [Transport::ShortPolling, Transport::LongPolling, Transport::WebSocket];
        scenario.transports = first.map(Variant::from).to_vec();
    }
    scenario.workload.subscribers = 60;
    scenario.workload.topics = 6;
    scenario.workload.duration = Duration::from_secs(7);
    scenario
}

/// A simulated run of the scenario.
pub fn run_of(scenario: &Scenario) -> Run {
    let cell = |repeat: u32| {
        scenario.points().into_iter().flat_map(move |point| {
            let variants = point.transports.clone();
            variants.into_iter().map(move |variant| cell(variant, &point, repeat))
        })
    };
    let started_at: Timestamp = "2026-11-22T20:00:00Z".parse().expect("a valid instant");
    Run {
        schema: SCHEMA_VERSION,
        tool: Tool {
            name: "poll-vs-push".into(),
            version: "0.1.0".into(),
            commit: Some("0123456789abcdef".into()),
            rustc: "rustc 1.95.0".into(),
            profile: "release".into(),
        },
        started_at,
        finished_at: started_at + Duration::from_secs(95),
        stopped_early: None,
        failed: Vec::new(),
        machine: Machine {
            os: "Debian GNU/Linux 13".into(),
            kernel: "6.12.0".into(),
            cpu: "Example CPU".into(),
            cores: 2,
            memory_bytes: 8_000_000_000,
            load_average_before: 0.1,
        },
        server: MeasuredServer {
            is_child: true,
            version: "poll-vs-push/0.1.0".into(),
            is_tls: false,
        },
        processing_time: None,
        scenario: scenario.clone(),
        segments: Vec::new(),
        cells: (0..scenario.repeats).flat_map(cell).collect(),
    }
}

/// How a transport waits: [`crate::theory`] has one model for both kinds of polling.
#[derive(Clone, Copy)]
enum Pattern {
    Asking { gap_s: f64, hold_s: f64 },
    Told,
}

fn pattern(variant: Variant, workload: &Workload) -> Pattern {
    let rtt_s = workload.rtt.as_secs_f64();
    match variant.transport.waiting() {
        Waiting::InClient => {
            Pattern::Asking { gap_s: workload.poll_interval.as_secs_f64() + rtt_s, hold_s: 0.0 }
        }
        Waiting::PerRequest => {
            Pattern::Asking { gap_s: rtt_s, hold_s: workload.long_poll_hold.as_secs_f64() }
        }
        Waiting::PerConnection => Pattern::Told,
    }
}

/// The events of one subscriber, seconds since the steady state began.
#[derive(Default)]
struct Seen {
    requests: Vec<f64>,
    answers: Vec<(f64, u32)>,
    /// Planned, received.
    messages: Vec<(f64, f64)>,
}

fn cell(variant: Variant, point: &SweepPoint, repeat: u32) -> Cell {
    let workload = &point.workload;
    let seed = 100 * u64::from(repeat) + 1;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let length_s = workload.duration.as_secs_f64();
    let topics: Vec<Vec<f64>> =
        (0..workload.topics).map(|_| arrivals(workload.rate, length_s, &mut random)).collect();
    let pattern = pattern(variant, workload);
    let seen: Vec<Seen> = (0..workload.subscribers)
        .map(|subscriber| {
            let arrivals = &topics[(subscriber % workload.topics) as usize];
            subscriber_of(pattern, arrivals, workload, &mut random)
        })
        .collect();
    let published = topics.iter().map(|arrivals| arrivals.len() as u64).sum();
    measured(variant, point, repeat, &seen, published, &topics[0])
}

fn arrivals(rate: f64, length_s: f64, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut at = 0.0;
    std::iter::from_fn(|| {
        at += -(1.0 - random.random::<f64>()).ln() / rate;
        (at < length_s).then_some(at)
    })
    .collect()
}

fn subscriber_of(
    pattern: Pattern,
    arrivals: &[f64],
    workload: &Workload,
    random: &mut ChaCha8Rng,
) -> Seen {
    let one_way_s = workload.rtt.as_secs_f64() / 2.0;
    let mut work = || 0.000_2 + 0.000_4 * random.random::<f64>();
    let mut seen = Seen::default();
    let Pattern::Asking { gap_s, hold_s } = pattern else {
        seen.messages = arrivals.iter().map(|at| (*at, at + one_way_s + work())).collect();
        return seen;
    };
    let mut at_server = gap_s * random.random::<f64>();
    let mut rest = arrivals;
    while at_server - one_way_s < workload.duration.as_secs_f64() {
        let answered = match rest.first() {
            Some(next) if *next <= at_server + hold_s => next.max(at_server),
            _ => at_server + hold_s,
        };
        let count = rest.iter().take_while(|at| **at <= answered).count();
        let received = answered + one_way_s + 0.000_4;
        seen.requests.push((at_server - one_way_s).max(0.0));
        if received < workload.duration.as_secs_f64() {
            seen.answers.push((received, count as u32));
        }
        seen.messages.extend(rest[..count].iter().map(|at| (*at, received)));
        rest = &rest[count..];
        at_server = received - one_way_s + gap_s;
    }
    seen
}

fn measured(
    variant: Variant,
    point: &SweepPoint,
    repeat: u32,
    seen: &[Seen],
    published: u64,
    first_topic: &[f64],
) -> Cell {
    let workload = &point.workload;
    let mut latency_us = Histogram::new();
    for (planned, received) in seen.iter().flat_map(|seen| &seen.messages) {
        latency_us.record(((received - planned) * 1e6) as u64);
    }
    let delivered = latency_us.0.len();
    let length_s = workload.duration.as_secs_f64();
    let received = seen.iter().flat_map(|seen| &seen.messages);
    let in_steady = received.filter(|(_, at)| *at < length_s).count() as u64;
    let sent: u64 = seen.iter().map(|seen| seen.requests.len() as u64).sum();
    let answers = || seen.iter().flat_map(|seen| &seen.answers);
    let requests = Requests {
        sent,
        answers: answers().count() as u64,
        repeated: 0,
        empty_answers: answers().filter(|(_, count)| *count == 0).count() as u64,
        client_total: sent + 60,
        server_total: Some(sent + 60),
    };
    let work = in_steady as f64 * 90e-6 + sent as f64 * 250e-6;
    Cell {
        variant,
        case: point.case.clone(),
        workload: workload.clone(),
        repeat,
        steady_s: length_s,
        published,
        deliveries: Deliveries {
            expected: delivered,
            received: delivered,
            steady: delivered,
            in_steady,
            ..Deliveries::default()
        },
        latency_us,
        requests,
        others: Some(OtherLoad { cpu_s: 0.01, cores: 2 }),
        bytes: bytes(workload, in_steady, sent),
        connections: Connections {
            opened: 60,
            resumed: 0,
            ready_us: all_of(&[41_000, 42_000, 80_000]),
        },
        server: Some(ServerCost {
            cpu_s: work * (1.0 + 0.05 * f64::from(repeat)),
            cpu_unused: 0.000_1,
            cpu_idle: 0.002,
            resident_before_bytes: 9_000_000,
            resident_idle_bytes: 9_000_000 + 60_000 * u64::from(workload.subscribers),
            resident_end_bytes: 9_900_000,
            kernel_socket_bytes: Some(4_300),
        }),
        generator: Generator {
            publisher_late_us: all_of(&[200; 200]),
            poll_late_us: if sent > 0 { all_of(&[700; 2_000]) } else { Histogram::new() },
            cpu_s: work * 0.6,
            threads: Some(2),
        },
        network: None,
        link: None,
        recovery: recovery(workload),
        trace: trace(&seen[0], first_topic),
        segments: Vec::new(),
    }
}

/// Half of the subscribers notice.
fn recovery(workload: &Workload) -> Option<Recovery> {
    let count = workload.subscribers as usize / 2;
    workload.restarts().then(|| Recovery {
        down_us: 1_200_000,
        away_us: all_of(&vec![900_000; count]),
        back_us: all_of(&vec![80_000; count]),
        latency_us: all_of(&[20_000, 1_300_000]),
    })
}

fn bytes(workload: &Workload, delivered: u64, sent: u64) -> Bytes {
    let payload = delivered * u64::from(workload.message_bytes + 80);
    let push = if sent == 0 { delivered } else { 0 };
    Bytes {
        up: Ledger { headers: sent * 96, tcp_ip: (sent * 2 + push) * 52, ..Ledger::default() },
        down: Ledger {
            payload,
            framing: sent * 40 + push * 4,
            headers: sent * 108,
            tcp_ip: (sent + push) * 52,
        },
        tcp_ip_source: TcpIpSource::TcpInfo,
    }
}

fn trace(seen: &Seen, published: &[f64]) -> Trace {
    const LENGTH_S: f64 = 4.0;
    let micros = |at: f64| (at * 1e6) as i64;
    let requests = seen.requests.iter().map(|at| (*at, TraceWhat::Request));
    let answers = seen
        .answers
        .iter()
        .map(|(at, messages)| (*at, TraceWhat::Response { messages: *messages }));
    let messages = seen
        .messages
        .iter()
        .map(|(planned, at)| (*at, TraceWhat::Message { planned_us: micros(*planned) }));
    let mut events: Vec<(f64, TraceWhat)> = answers.chain(messages).chain(requests).collect();
    events.retain(|(at, _)| (0.0..LENGTH_S).contains(at));
    events.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    Trace {
        length_us: micros(LENGTH_S) as u64,
        published_us: published.iter().filter(|at| **at < LENGTH_S).map(|at| micros(*at)).collect(),
        events: events
            .into_iter()
            .map(|(at, what)| TraceEvent { at_us: micros(at), what })
            .collect(),
    }
}

fn all_of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    values.iter().for_each(|value| histogram.record(*value));
    histogram
}
