//! The machine's processing time in the closed forms, compared with a simulation in which
//! publications, responses and requests have random delays.

use std::time::Duration;

use poll_vs_push::scenario::Workload;
use poll_vs_push::theory::{ProcessingTime, predict};
use poll_vs_push::variant::Transport::{self, LongPolling, ShortPolling, WebSocket};
use poll_vs_push::variant::Waiting;
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const MESSAGES: usize = 30_000;
/// Mean delays of a publication, a server response, and a request, seconds.
const PUBLICATION_S: f64 = 0.000_5;
const ANSWER_S: f64 = 0.000_6;
const REQUEST_S: f64 = 0.000_9;

/// Results of one simulated subscriber: mean latency and requests per second.
fn simulate(transport: Transport, workload: &Workload) -> (f64, f64) {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let one_way_s = workload.rtt.as_secs_f64() / 2.0;
    let mut late = {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        move |mean_s: f64| -mean_s * (1.0 - random.random::<f64>()).ln()
    };
    let mut planned_s = 0.0;
    // The planned time, and the time of arrival at the server.
    let mut messages: Vec<(f64, f64)> = (0..MESSAGES)
        .map(|_| {
            planned_s += -(1.0 - random.random::<f64>()).ln() / workload.rate;
            (planned_s, planned_s + late(PUBLICATION_S))
        })
        .collect();
    messages.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let (mut waited_s, mut requests, mut next, mut asked_s) = (0.0, 0.0, 0, 0.0);
    while next < MESSAGES {
        let (planned_s, ready_s) = messages[next];
        if transport.waiting() == Waiting::PerConnection {
            waited_s += ready_s + late(ANSWER_S) + one_way_s - planned_s;
            next += 1;
            continue;
        }
        let pause_s = match transport {
            ShortPolling => workload.poll_interval.as_secs_f64(),
            _ => 0.0,
        };
        let hold_s = match transport {
            LongPolling => random.random_range(0.9..=1.0) * workload.long_poll_hold.as_secs_f64(),
            _ => 0.0,
        };
        let answered_s = ready_s.min(asked_s + hold_s).max(asked_s);
        let received_s = answered_s + late(ANSWER_S) + one_way_s;
        while next < MESSAGES && messages[next].1 <= answered_s {
            waited_s += received_s - messages[next].0;
            next += 1;
        }
        requests += 1.0;
        asked_s = received_s + pause_s + late(REQUEST_S) + one_way_s;
    }
    (waited_s / MESSAGES as f64, requests / planned_s)
}

#[test]
fn processing_time_is_added_to_delays_and_gaps() {
    let processing_time =
        ProcessingTime { push_s: PUBLICATION_S + ANSWER_S, round_trip_s: ANSWER_S + REQUEST_S };
    let settings = [
        (0.1, 2_000, 5_000, 20),
        (1.0, 3_000, 1_000, 0),
        (10.0, 3_000, 200, 20),
        (50.0, 500, 50, 20),
    ];
    for (rate, hold_ms, interval_ms, rtt_ms) in settings {
        let workload = Workload {
            rate,
            long_poll_hold: Duration::from_millis(hold_ms),
            poll_interval: Duration::from_millis(interval_ms),
            rtt: Duration::from_millis(rtt_ms),
            ..Workload::default()
        };
        for transport in [ShortPolling, LongPolling, WebSocket] {
            let (mean_s, requests_s) = simulate(transport, &workload);
            let here = processing_time.predict(transport.into(), &workload).expect("a closed form");
            let close = |a: f64, b: f64| (a - b).abs() <= 0.01 * b;
            let told = format!("{transport} at {rate}/s and {rtt_ms} ms: {here:?}");
            assert!(close(here.latency_mean_s(), mean_s), "{told}, simulated {mean_s}");
            assert!(close(here.requests_per_subscriber_s, requests_s), "{told}, {requests_s}");
        }
    }
}

#[test]
fn without_processing_time_predictions_are_theory_alone() {
    let workload = Workload::default();
    for transport in Transport::ALL {
        let here = ProcessingTime::default().predict(transport.into(), &workload);
        assert_eq!(here, predict(transport, &workload));
    }
}
