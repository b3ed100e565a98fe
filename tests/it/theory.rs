//! The closed forms compared with an independent simulation, with their limits, and with published
//! figures.

use std::time::Duration;

use poll_vs_push::scenario::{Headers, Process, Workload};
use poll_vs_push::theory::bytes::{Sizes, traffic};
use poll_vs_push::theory::crossover::{
    bytes_crossover, pimentel_rate, requests_crossover, requests_crossover_with_hold,
    worst_transits,
};
use poll_vs_push::theory::{self, predict};
use poll_vs_push::variant::Pacing;
use poll_vs_push::variant::Transport::{self, LongPolling, ShortPolling, WebSocket};
use poll_vs_push::variant::{Extra, Variant, Waiting};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Messages of a simulation, over all subscribers.
const MESSAGES: usize = 150_000;

/// Results of simulated subscribers.
#[derive(Default)]
struct Seen {
    latencies_s: Vec<f64>,
    requests: f64,
    empty_answers: f64,
    time_s: f64,
}

impl Seen {
    fn mean_s(&self) -> f64 {
        self.latencies_s.iter().sum::<f64>() / self.latencies_s.len() as f64
    }

    /// Share of the latencies, which must be sorted, below `limit_s`.
    fn share_below(&self, limit_s: f64) -> f64 {
        let below = self.latencies_s.partition_point(|latency_s| *latency_s < limit_s);
        below as f64 / self.latencies_s.len() as f64
    }
}

/// Simulates the messages one by one for `subscribers` independent subscribers.
fn simulate(
    variant: Variant,
    workload: &Workload,
    subscribers: usize,
    messages: usize,
    rng: &mut ChaCha8Rng,
) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..subscribers {
        let published_s = publications(workload, messages, rng);
        match variant.transport.waiting() {
            Waiting::InClient | Waiting::PerRequest => {
                ask(variant, workload, &published_s, rng, &mut seen)
            }
            Waiting::PerConnection => {
                let one_way_s = workload.rtt.as_secs_f64() / 2.0;
                seen.latencies_s.extend(published_s.iter().map(|_| one_way_s));
                seen.time_s += published_s[published_s.len() - 1];
            }
        }
    }
    seen
}

fn publications(workload: &Workload, messages: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut now_s = match workload.process {
        Process::Poisson => 0.0,
        Process::Periodic => rng.random::<f64>() / workload.rate,
    };
    let next = |_| {
        now_s += match workload.process {
            Process::Poisson => -(1.0 - rng.random::<f64>()).ln() / workload.rate,
            Process::Periodic => 1.0 / workload.rate,
        };
        now_s
    };
    (0..messages).map(next).collect()
}

/// Simulates one polling subscriber, request by request.
fn ask(
    variant: Variant,
    workload: &Workload,
    published_s: &[f64],
    rng: &mut ChaCha8Rng,
    seen: &mut Seen,
) {
    let one_way_s = workload.rtt.as_secs_f64() / 2.0;
    let base_s = workload.poll_interval.as_secs_f64();
    let longest_s = match variant.has(Extra::Adaptive) {
        true => base_s.max(workload.poll_interval_max.as_secs_f64()),
        false => base_s,
    };
    // Connecting takes round trips of its own before the request is sent.
    let connect_s = (theory::poll_round_trips(variant) - 1.0) * workload.rtt.as_secs_f64();
    let mut interval_s = base_s;
    let start_s = rng.random::<f64>() * interval_s.min(10.0 / workload.rate);
    let mut send_s = start_s;
    // The steady state starts with the first request.
    let first_s = start_s + connect_s + one_way_s;
    let mut next = published_s.partition_point(|at_s| *at_s <= first_s);
    while next < published_s.len() {
        let arrival_s = send_s + connect_s + one_way_s;
        let mut answer_s = arrival_s;
        if variant.transport.waiting() == Waiting::PerRequest && published_s[next] > arrival_s {
            let hold_s = workload.long_poll_hold.as_secs_f64() * rng.random_range(0.9..=1.0);
            answer_s = published_s[next].min(arrival_s + hold_s);
        }
        let received_s = answer_s + one_way_s;
        let first = next;
        while next < published_s.len() && published_s[next] <= answer_s {
            seen.latencies_s.push(received_s - published_s[next]);
            next += 1;
        }
        seen.requests += 1.0;
        seen.empty_answers += f64::from(u8::from(next == first));
        interval_s = if next == first { (2.0 * interval_s).min(longest_s) } else { base_s };
        send_s = match (variant.transport.waiting(), workload.poll_pacing) {
            (Waiting::PerRequest | Waiting::PerConnection, _) => received_s,
            (Waiting::InClient, Pacing::AfterResponse) => received_s + interval_s,
            (Waiting::InClient, Pacing::FixedRate) => (send_s + interval_s).max(received_s),
        };
    }
    seen.time_s += send_s - start_s;
}

fn workload(rate: f64, interval_ms: u64, hold_ms: u64, rtt_ms: u64) -> Workload {
    Workload {
        rate,
        poll_interval: Duration::from_millis(interval_ms),
        long_poll_hold: Duration::from_millis(hold_ms),
        rtt: Duration::from_millis(rtt_ms),
        ..Workload::default()
    }
}

/// Compares every prediction with the simulation: means and rates within 1 %, the share of messages
/// below a quantile and the share of empty answers within 0.005.
fn hold_to_simulation(variant: impl Into<Variant>, workload: &Workload, subscribers: usize) {
    let variant = variant.into();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut seen = simulate(variant, workload, subscribers, MESSAGES / subscribers, &mut rng);
    seen.latencies_s.sort_unstable_by(f64::total_cmp);
    let prediction = predict(variant, workload).expect("a closed form");
    let messages = seen.latencies_s.len() as f64;
    let close = |what: &str, predicted: f64, simulated: f64, allowed: f64| {
        assert!(
            (predicted - simulated).abs() <= allowed,
            "{variant} {what}: predicted {predicted}, simulated {simulated}, for {workload:?}"
        );
    };
    let within = |what, predicted: f64, simulated: f64| {
        close(what, predicted, simulated, 0.01 * simulated + 1e-9);
    };
    within("mean", prediction.latency_mean_s(), seen.mean_s());
    for (p, allowed) in [(0.1, 0.005), (0.5, 0.005), (0.9, 0.005), (0.99, 0.002)] {
        let quantile_s = prediction.latency_quantile_s(p);
        let below = seen.share_below(quantile_s - 1e-6);
        let not_above = seen.share_below(quantile_s + 1e-6);
        assert!(below <= p + allowed && p - allowed <= not_above, "{variant} p{p}: {below}");
    }
    assert_eq!(seen.share_below(prediction.latency_max_s() + 1e-6), 1.0, "{variant} maximum");
    within("requests/s", prediction.requests_per_subscriber_s, seen.requests / seen.time_s);
    within("requests/message", prediction.requests_per_message, seen.requests / messages);
    if let Some(empty_share) = prediction.empty_share {
        close("empty share", empty_share, seen.empty_answers / seen.requests, 0.005);
    }
    if let Some(messages_per_answer) = prediction.messages_per_answer {
        within("messages/answer", messages_per_answer, messages / seen.requests);
    }
}

#[test]
fn poisson_messages_match_the_prediction() {
    for (rate, interval_ms, hold_ms, rtt_ms) in [
        (0.4, 1_000, 25_000, 40),
        (1.0, 1_000, 25_000, 40),
        (1.0, 1_000, 1_000, 0),
        (0.05, 60_000, 25_000, 100),
        (5.0, 250, 500, 100),
        (20.0, 100, 25_000, 100),
        (50.0, 1_000, 25_000, 20),
        (3.0, 500, 200, 600),
    ] {
        let workload = workload(rate, interval_ms, hold_ms, rtt_ms);
        hold_to_simulation(ShortPolling, &workload, 1);
        hold_to_simulation(LongPolling, &workload, 1);
    }
}

#[test]
fn fixed_rate_polling_matches_the_prediction() {
    for (interval_ms, rtt_ms) in [(1_000, 40), (100, 250)] {
        let base = workload(2.0, interval_ms, 25_000, rtt_ms);
        let workload = Workload { poll_pacing: Pacing::FixedRate, ..base };
        hold_to_simulation(ShortPolling, &workload, 1);
    }
}

#[test]
fn connection_for_each_poll_adds_a_round_trip_and_tls_another() {
    let variant = |name: &str| name.parse::<Variant>().expect("a variant");
    for (name, round_trips) in [
        ("long-polling+tls", 1.0),
        ("long-polling+new-connection", 2.0),
        ("long-polling+new-connection+tls", 3.0),
        ("short-polling+new-connection+tls+resumed", 3.0),
        ("short-polling+adaptive+new-connection", 2.0),
    ] {
        let variant = variant(name);
        assert_eq!(theory::poll_round_trips(variant), round_trips, "{name}");
        for poll_pacing in [Pacing::AfterResponse, Pacing::FixedRate] {
            for (rate, interval_ms) in [(0.5, 1_000), (5.0, 100)] {
                let base = workload(rate, interval_ms, 25_000, 80);
                hold_to_simulation(variant, &Workload { poll_pacing, ..base }, 1);
            }
        }
    }
    // A long poll misses what is published in a gap of 2 R: RFC 6202, section 2.2.
    let cycle =
        theory::poll_cycle(variant("long-polling+new-connection"), &workload(1.0, 1, 1, 80));
    assert!((cycle.gap_s - 0.16).abs() < 1e-12);
}

fn adaptive() -> Variant {
    "short-polling+adaptive".parse().expect("a variant")
}

#[test]
fn adaptive_interval_matches_the_prediction() {
    for (rate, interval_ms, longest_ms, rtt_ms) in [
        (1.0, 1_000, 8_000, 40),
        (0.1, 1_000, 30_000, 40),
        (0.5, 500, 3_000, 0),
        (10.0, 100, 8_000, 100),
        (0.02, 1_000, 60_000, 200),
        (1.0, 1_000, 500, 40),
    ] {
        let poll_interval_max = Duration::from_millis(longest_ms);
        for poll_pacing in [Pacing::AfterResponse, Pacing::FixedRate] {
            let base = workload(rate, interval_ms, 25_000, rtt_ms);
            let workload = Workload { poll_interval_max, poll_pacing, ..base };
            hold_to_simulation(adaptive(), &workload, 1);
        }
    }
    // Without backoff it equals plain short polling.
    let never = Workload { poll_interval_max: Duration::ZERO, ..workload(1.0, 1_000, 25_000, 40) };
    let [backing_off, plain] = [adaptive(), ShortPolling.into()]
        .map(|variant| predict(variant, &never).expect("a closed form"));
    assert!((backing_off.latency_mean_s() - plain.latency_mean_s()).abs() < 1e-9);
    assert!((backing_off.requests_per_message - plain.requests_per_message).abs() < 1e-9);
    let periodic = Workload { process: Process::Periodic, ..never };
    assert!(predict(adaptive(), &periodic).is_none());
}

#[test]
fn periodic_messages_match_the_prediction() {
    for (rate, interval_ms, hold_ms, rtt_ms) in [
        (1.0, 1_037, 25_000, 40),
        (0.31, 1_000, 25_000, 100),
        (7.3, 250, 500, 41),
        (13.57, 900, 25_000, 173),
    ] {
        let workload =
            Workload { process: Process::Periodic, ..workload(rate, interval_ms, hold_ms, rtt_ms) };
        for transport in Transport::ALL {
            hold_to_simulation(transport, &workload, 50);
        }
    }
}

#[test]
fn periodic_messages_beyond_the_hold_have_no_closed_form() {
    let workload = Workload { process: Process::Periodic, ..workload(0.01, 1_000, 25_000, 40) };
    assert!(predict(LongPolling, &workload).is_none());
    assert!(predict(ShortPolling, &workload).is_some());
}

#[test]
fn published_examples_are_reproduced() {
    let near = |value: f64, wanted: f64, digits: i32| {
        assert!((value - wanted).abs() < 0.5 * 10f64.powi(-digits), "{value} is not {wanted}");
    };
    near(requests_crossover(0.05, 1.05).expect("they cross"), 0.953, 3);
    near(requests_crossover(0.0, 2.0).expect("they cross"), 0.5, 9);
    assert_eq!(requests_crossover(1.0, 0.5), None);

    // A minimal client: GET 49 B, response 108 B, frame header 2 B, polled every second.
    near(bytes_crossover(1.0, 49.0 + 108.0 + 3.0 * 52.0, 2.0 + 2.0 * 52.0), 2.95, 2);
    near(bytes_crossover(1.0, 49.0 + 108.0, 2.0), 78.5, 1);

    let transits = worst_transits(&theory::long_poll(&workload(1.0, 1_000, 25_000, 80)));
    near(transits, 3.0, 9);
    near(pimentel_rate(0.1), 10.0, 9);
}

#[test]
fn long_polling_without_waiting_equals_short_polling() {
    let busy = workload(1e4, 100, 25_000, 100);
    let prediction = predict(LongPolling, &busy).expect("a closed form");
    assert!((prediction.requests_per_subscriber_s - 10.0).abs() < 1e-6);
    assert!((prediction.latency_mean_s() - 0.1).abs() < 1e-6);
}

#[test]
fn idle_topic_costs_empty_answers_or_heartbeats() {
    let sizes = |transport| Sizes::ours(transport, Headers::Minimal);
    let quiet = workload(1e-6, 1_000, 25_000, 0);
    let bytes = |transport| traffic(transport, &quiet, &sizes(transport)).expect("a model").total();
    assert!((bytes(ShortPolling) - sizes(ShortPolling).exchange()).abs() < 0.01);
    assert!((bytes(LongPolling) - sizes(LongPolling).exchange() / 23.75).abs() < 0.01);
    assert!((bytes(WebSocket) - (2.0 + 6.0 + 3.0 * 52.0) / 25.0).abs() < 0.01);
}

prop_compose! {
    fn any_workload()(
        rate_log in -3.0..3.0f64,
        interval_ms in 1..100_000u64,
        hold_ms in 1..60_000u64,
        rtt_ms in 0..2_000u64,
        fixed in any::<bool>(),
    ) -> Workload {
        let poll_pacing = if fixed { Pacing::FixedRate } else { Pacing::AfterResponse };
        Workload { poll_pacing, ..workload(10f64.powf(rate_log), interval_ms, hold_ms, rtt_ms) }
    }
}

proptest! {
    #[test]
    fn predictions_are_in_order(workload in any_workload()) {
        for transport in Transport::ALL {
            let prediction = predict(transport, &workload).expect("Poisson has closed forms");
            let quantiles: Vec<f64> =
                (0..=100).map(|p| prediction.latency_quantile_s(f64::from(p) / 100.0)).collect();
            prop_assert!(quantiles.is_sorted());
            prop_assert!(quantiles[0] >= workload.rtt.as_secs_f64() / 2.0);
            prop_assert!(quantiles[0] <= prediction.latency_mean_s() + 1e-12);
            prop_assert!(prediction.latency_mean_s() <= prediction.latency_max_s() + 1e-12);
            prop_assert!(prediction.empty_share.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }

    #[test]
    fn more_messages_never_mean_fewer_requests(workload in any_workload(), factor in 1.0..10.0f64) {
        let busier = Workload { rate: workload.rate * factor, ..workload.clone() };
        let [calm, busy] = [&workload, &busier]
            .map(|workload| predict(LongPolling, workload).expect("Poisson has closed forms"));
        prop_assert!(busy.requests_per_subscriber_s >= calm.requests_per_subscriber_s * 0.999_999);
        prop_assert!(busy.latency_mean_s() >= calm.latency_mean_s() - 1e-9);
    }

    #[test]
    fn small_changes_have_small_effects(workload in any_workload()) {
        let nearby = Workload { rate: workload.rate * 1.000_01, ..workload.clone() };
        for transport in Transport::ALL {
            let [here, there] = [&workload, &nearby]
                .map(|workload| predict(transport, workload).expect("Poisson has closed forms"));
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs() + 1e-12;
            prop_assert!(close(here.latency_mean_s(), there.latency_mean_s()));
            prop_assert!(close(here.requests_per_subscriber_s, there.requests_per_subscriber_s));
        }
    }

    #[test]
    fn without_a_round_trip_long_polling_is_as_fast_as_push(workload in any_workload()) {
        let near = Workload { rtt: Duration::ZERO, ..workload };
        let [polled, pushed] = [LongPolling, WebSocket]
            .map(|transport| predict(transport, &near).expect("Poisson has closed forms"));
        prop_assert_eq!(polled.delay.mean_s(), pushed.delay.mean_s());
        prop_assert_eq!(polled.latency_max_s(), pushed.latency_max_s());
    }

    #[test]
    fn both_kinds_of_polling_send_as_much_at_the_crossover(workload in any_workload()) {
        let (long, short) = (theory::long_poll(&workload), theory::short_poll(&workload));
        let crossover = requests_crossover_with_hold(long.gap_s, long.hold_s, short.gap_s);
        match crossover {
            None => prop_assert!(short.gap_s <= long.gap_s),
            Some(0.0) => prop_assert!(long.gap_s + long.hold_s <= short.gap_s),
            Some(rate) => {
                let long = theory::Cycle { rate, ..long };
                prop_assert!((long.length_s() / short.gap_s - 1.0).abs() < 1e-6);
                let endless = requests_crossover(long.gap_s, short.gap_s);
                prop_assert!(rate <= endless.expect("they cross") * (1.0 + 1e-9));
            }
        }
    }

    #[test]
    fn parts_add_up_and_payload_is_the_same_for_all(workload in any_workload()) {
        for transport in Transport::ALL {
            let sizes = Sizes::ours(transport, workload.headers);
            let Some(carried) = traffic(transport, &workload, &sizes) else { continue };
            let message_bytes = f64::from(workload.message_bytes) + sizes.message_object;
            prop_assert!((carried.down.payload - workload.rate * message_bytes).abs() < 1e-6);
            prop_assert!(carried.up.total() + carried.down.total() == carried.total());
            prop_assert!(carried.down.framing >= 0.0);
        }
    }
}
