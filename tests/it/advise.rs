//! Advice: obvious recommendations, limits, and the values at which the recommendation changes.

use poll_vs_push::advise::prices::{HOURS_PER_MONTH, Meter, PriceList};
use poll_vs_push::advise::{
    Advice, BYTES_TOO_CLOSE, Basis, Cost, Costs, Need, Origin, advise, choose,
};
use poll_vs_push::scenario::Headers;
use poll_vs_push::variant::Transport::{self, LongPolling, Ndjson, ShortPolling, Sse, WebSocket};
use poll_vs_push::variant::Waiting;
use proptest::prelude::*;

const NEED: Need = Need {
    subscribers: 10_000,
    topics: 10,
    rate: 0.5,
    staleness_s: 2.0,
    rtt_s: 0.08,
    poll_interval_s: None,
    message_bytes: 100,
    headers: Headers::Minimal,
    is_tls: false,
    browser_only: false,
    two_way: false,
    cost: Cost::Cpu,
};

/// Costs of a machine that needs 20, 30 and 8 µs for a short poll, a long poll and a push.
fn costs() -> Costs {
    let mut costs = Costs::reference();
    costs.publish_cpu_us = 25.0;
    for (transport, own) in &mut costs.transports {
        own.origin = Origin::Run;
        own.subscribers_max = 5_000;
        own.events_s_max = 4_000.0;
        (own.request_cpu_us, own.message_cpu_us) = match transport.waiting() {
            Waiting::InClient => (20.0, 0.1),
            Waiting::PerRequest => (30.0, 0.1),
            Waiting::PerConnection => (0.0, 8.0),
        };
    }
    costs
}

fn choice(need: Need) -> Option<Transport> {
    choose(&need, &costs()).map(|choice| choice.transport)
}

#[test]
fn obvious_needs_have_obvious_recommendations() {
    let hourly = Need { rate: 1.0 / 3_600.0, staleness_s: 60.0, ..NEED };
    assert_eq!(choice(hourly), Some(ShortPolling));
    assert_eq!(choice(Need { staleness_s: 0.05, ..NEED }), Some(Sse), "as cheap as WebSocket");
    assert_eq!(choice(Need { staleness_s: 0.039, ..NEED }), None);
    assert_eq!(choice(Need { cost: Cost::Requests, ..NEED }), Some(Sse), "none sends requests");
    assert_eq!(choice(Need { rate: 50.0, staleness_s: 5.0, ..NEED }), Some(ShortPolling));
}

#[test]
fn one_transport_is_recommended_even_if_costs_are_close() {
    let advice = advise(&Need { staleness_s: 0.05, ..NEED }, &costs());
    let choice = advice.choice.expect("push is fast enough");
    assert!(choice.close.len() > 1 && choice.close.contains(&WebSocket), "{choice:?}");
    assert_eq!(choice.transport, Sse);
}

#[test]
fn bytes_decide_between_costs_that_are_close() {
    let mut costs = costs();
    let poll = costs.transports.get_mut(&ShortPolling).expect("the reference has every transport");
    // As much CPU as push, for several times the bytes.
    poll.request_cpu_us = 9.5;
    let need = Need { rate: 1.0, staleness_s: 1.12, ..NEED };
    let advice = advise(&need, &costs);
    let choice = advice.choice.as_ref().expect("all are fast enough");
    assert!(choice.close.contains(&ShortPolling), "{choice:?}");
    assert_eq!(choice.transport, Sse);
    let bytes =
        |transport| advice.estimate(transport).expect("its cost is known").cost(Cost::Bytes);
    assert!(bytes(ShortPolling) > bytes(Sse) * BYTES_TOO_CLOSE);
}

#[test]
fn messages_in_both_directions_require_one_connection_for_both() {
    let advice = advise(&Need { staleness_s: 0.05, ..NEED }, &costs());
    let two_way = advice.alternatives.iter().find(|other| other.need.two_way).expect("it changes");
    assert_eq!(two_way.becomes, Some(WebSocket));
    assert_eq!(choice(two_way.need), Some(WebSocket));
}

/// The report and `advise` must not give opposite answers.
#[test]
fn the_reference_recommends_what_the_sample_run_does() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sample/run.json");
    let text = std::fs::read_to_string(sample).expect("the sample is part of the repository");
    let run = poll_vs_push::run::Run::from_json(&text).expect("this version wrote it");
    let answer = poll_vs_push::report::Report::new(&run).answer();
    let need =
        Need { subscribers: 1_000, topics: 100, rate: 1.0, staleness_s: 1.06, rtt_s: 0.04, ..NEED };
    for costs in [Costs::reference(), Costs::from_run(&run)] {
        let advised = choose(&need, &costs).expect("all are fast enough").transport;
        let expected = format!("Recommendation: {}.", advised.label());
        assert!(answer.contains(&expected), "{expected} {answer:?}");
    }
}

#[test]
fn headers_and_tls_cost_bytes_and_browsers_exclude_transports() {
    let bytes = |advice: &Advice, transport| {
        advice.estimate(transport).expect("its cost is known").cost(Cost::Bytes)
    };
    let plain = advise(&NEED, &costs());
    let browser = advise(&Need { headers: Headers::Browser, ..NEED }, &costs());
    let poll = plain.estimate(ShortPolling).expect("its cost is known");
    let added = bytes(&browser, ShortPolling) - bytes(&plain, ShortPolling);
    assert!(added / poll.requests_s >= 561.99, "the headers, and a segment if they need one");
    assert_eq!(bytes(&browser, WebSocket), bytes(&plain, WebSocket));
    let tls = advise(&Need { is_tls: true, ..NEED }, &costs());
    let added = bytes(&tls, ShortPolling) - bytes(&plain, ShortPolling);
    assert!((added / poll.requests_s - 44.0).abs() < 1e-6, "a record each way");
    assert!(bytes(&tls, Sse) > bytes(&plain, Sse));
    assert!(plain.estimate(Ndjson).is_some());
    let ready_made = advise(&Need { browser_only: true, ..NEED }, &costs());
    assert!(ready_made.estimate(Ndjson).is_none());
}

#[test]
fn the_poll_interval_is_as_long_as_the_staleness_allows() {
    let advice = advise(&NEED, &costs());
    let poll = advice.estimate(ShortPolling).expect("its cost is known");
    assert!((poll.poll_interval_s.expect("it polls") - (2.0 - 0.12)).abs() < 1e-9);
    assert!((poll.latency_max_s - 2.0).abs() < 1e-9);
}

#[test]
fn a_large_fan_out_needs_more_cores() {
    let crowd = Need { subscribers: 10_000_000, topics: 1, rate: 0.001, ..NEED };
    let advice = advise(&crowd, &costs());
    let push = advice.estimate(WebSocket).expect("its cost is known");
    // 80 s of CPU time within 1.96 s.
    assert_eq!(push.cores, 41.0);
    assert!(push.latency_max_s <= 2.0);
    assert_eq!(push.memory_basis, Basis::Extrapolated { factor: 2_000.0 });
}

#[test]
fn measured_extrapolated_and_reference_costs_are_distinguished() {
    let small = Need { subscribers: 1_000, ..NEED };
    let advice = advise(&small, &costs());
    assert!(advice.estimates.iter().all(|estimate| estimate.cpu_basis == Basis::Measured));
    let reference = advise_with_reference(small);
    assert!(reference.iter().all(|basis| *basis == Basis::Reference));
}

fn advise_with_reference(need: Need) -> Vec<Basis> {
    let mut costs = costs();
    costs.transports.values_mut().for_each(|own| own.origin = Origin::Reference);
    advise(&need, &costs).estimates.iter().map(|estimate| estimate.cpu_basis).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_recommendation_changes_at_its_margins(
        rate_log in -3.0..2.0f64,
        staleness_log in -1.0..2.5f64,
    ) {
        let need = Need { rate: 10f64.powf(rate_log), staleness_s: 10f64.powf(staleness_log), ..NEED };
        let advice = advise(&need, &costs());
        for margin in &advice.margins {
            prop_assert!(margin.becomes != choice(need));
            let moved = margin.parameter.moved(&need, margin.factor);
            prop_assert_eq!(choice(moved), margin.becomes);
            // Half of the way there, nothing has changed yet.
            prop_assert_eq!(choice(margin.parameter.moved(&need, margin.factor.sqrt())), choice(need));
        }
    }

    #[test]
    fn means_never_exceed_maxima(
        rate_log in -3.0..2.0f64,
        staleness_log in -2.5..2.5f64,
        rtt_s in 0.0..2.0f64,
        subscribers in 1..10_000_000u32,
    ) {
        let (rate, staleness_s) = (10f64.powf(rate_log), 10f64.powf(staleness_log));
        let need = Need { rate, staleness_s, rtt_s, subscribers, topics: 1, ..NEED };
        for estimate in advise(&need, &costs()).estimates {
            prop_assert!(estimate.latency_mean_s <= estimate.latency_max_s + 1e-9, "{:?}", estimate);
        }
    }

    #[test]
    fn no_fast_enough_transport_is_clearly_cheaper_than_the_choice(
        rate_log in -3.0..2.0f64,
        staleness_log in -1.0..2.5f64,
    ) {
        let need = Need { rate: 10f64.powf(rate_log), staleness_s: 10f64.powf(staleness_log), ..NEED };
        for cost in [Cost::Cpu, Cost::Bytes, Cost::Requests, Cost::Memory] {
            let advice = advise(&Need { cost, ..need }, &costs());
            let choice = advice.choice.as_ref().expect("push is fast enough for all of these");
            let chosen = advice.estimate(choice.transport).expect("its cost is known").cost(cost);
            for estimate in advice.estimates.iter().filter(|estimate| estimate.too_slow_s.is_none()) {
                prop_assert!(chosen <= estimate.cost(cost) * cost.too_close());
                prop_assert!(estimate.latency_max_s <= need.staleness_s + 1e-6);
            }
        }
    }
}

/// 1,000 subscribers of one message every 10 s: 2,628,000 s in a month.
///
/// WebSocket on a gateway at 1.00 per million messages, counted for each 32,768 bytes, 0.25 per
/// million connection minutes and 0.09 per GB:
/// - messages: 1,000 x 0.1 x 2,628,000 = 262.8 million, of 40,067.1 bytes, so two each: 525.60
/// - connection minutes: 1,000 x 43,800 = 43.8 million: 10.95
/// - traffic: see the assertion, which takes the estimate's bytes: 0.09 for each GB.
#[test]
fn bill_of_a_gateway_equals_the_one_computed_by_hand() {
    let need = Need {
        subscribers: 1_000,
        topics: 1,
        rate: 0.1,
        message_bytes: 40_000,
        cost: Cost::Bytes,
        ..NEED
    };
    let advice = advise(&need, &Costs::reference());
    let list = &PriceList::built_in()[2];
    let estimate = advice.estimate(WebSocket).expect("known");
    let bill = list.bill(estimate, &need).expect("it carries WebSockets");
    let amount = |meter| bill.items.iter().find(|item| item.meter == meter).expect("billed").amount;
    assert!((amount(Meter::Messages) - 525.60).abs() < 1e-6, "{bill:?}");
    assert!((amount(Meter::ConnectionMinutes) - 10.95).abs() < 1e-6, "{bill:?}");
    let gb = estimate.bytes_down_s * 2_628_000.0 / 1e9;
    assert!((amount(Meter::GbOut) - 0.09 * gb).abs() < 1e-6, "{bill:?}");
    assert!(gb > 262.8e6 * 40_067.1 / 1e9 / 1e3, "{gb}");
    assert!((bill.total - bill.items.iter().map(|item| item.amount).sum::<f64>()).abs() < 1e-9);
    assert_eq!(
        bill.dominant,
        Some(if 0.09 * gb > 525.60 { Meter::GbOut } else { Meter::Messages })
    );
    assert_eq!(
        list.bill(advice.estimate(ShortPolling).expect("known"), &need),
        None,
        "not offered"
    );
}

/// Short polling on functions at 0.20 per million requests: a sleep of 9.94 s and a round trip of
/// 40 ms make a period of 9.98 s, so 1,000 subscribers send 1,000 x 2,628,000 / 9.98 = 263,326,653
/// requests a month: 52.67. On a machine: one core for 730 hours at 0.0408 is 29.78.
#[test]
fn bill_of_short_polling_equals_the_one_computed_by_hand() {
    let need = Need {
        subscribers: 1_000,
        topics: 1,
        rate: 0.1,
        rtt_s: 0.04,
        poll_interval_s: Some(9.94),
        staleness_s: 10.0,
        ..NEED
    };
    let advice = advise(&need, &Costs::reference());
    let estimate = advice.estimate(ShortPolling).expect("known");
    let lists = PriceList::built_in();
    let bill = |index: usize| lists[index].bill(estimate, &need).expect("it carries polls");
    let requests = bill(1).items[0];
    assert_eq!(requests.meter, Meter::Requests);
    assert!((requests.quantity - 263_326_653.3).abs() < 1.0, "{requests:?}");
    assert!((requests.amount - 52.665).abs() < 0.001, "{requests:?}");
    let cores = *bill(0).items.iter().find(|item| item.meter == Meter::CoreHours).expect("billed");
    assert!((cores.amount - 0.0408 * HOURS_PER_MONTH).abs() < 1e-9 && estimate.cores == 1.0);
    // Functions cost nothing between polls; a pending long poll is charged while it waits.
    let long = lists[1].bill(advice.estimate(LongPolling).expect("known"), &need).expect("carried");
    assert_eq!(long.dominant, Some(Meter::ConnectionMinutes), "{long:?}");
}

#[test]
fn poll_interval_that_exceeds_the_staleness_is_too_slow() {
    let slow = |poll_interval_s| {
        let need = Need { poll_interval_s, ..NEED };
        advise(&need, &costs()).estimate(ShortPolling).expect("known").too_slow_s
    };
    assert_eq!(slow(None), None);
    assert_eq!(slow(Some(1.0)), None);
    assert_eq!(slow(Some(2.0)), Some(2.12));
}
