//! Advice: obvious recommendations, limits, and the values at which the recommendation changes.

use poll_vs_push::advise::prices::{Billable, PriceList};
use poll_vs_push::advise::{
    Advice, Basis, Cost, CostSource, Costs, Margin, Need, Parameter, TOO_CLOSE, TOO_CLOSE_MEANING,
    advise, choose,
};
use poll_vs_push::scenario::Headers;
use poll_vs_push::variant::Transport::{self, LongPolling, Ndjson, ShortPolling, Sse, WebSocket};
use poll_vs_push::variant::Waiting;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

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
        own.origin = CostSource::Run;
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
    assert!(bytes(ShortPolling) > bytes(Sse) * TOO_CLOSE);
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
    let basis = Basis { origin: CostSource::Run, extrapolated: Some(2_000.0) };
    assert_eq!(push.memory_basis, basis);
}

#[test]
fn measured_extrapolated_and_reference_costs_are_distinguished() {
    let small = Need { subscribers: 1_000, ..NEED };
    let advice = advise(&small, &costs());
    let measured = Basis { origin: CostSource::Run, extrapolated: None };
    assert!(advice.estimates.iter().all(|estimate| estimate.cpu_basis == measured));
    let reference = advise_with_reference(small);
    let expected = Basis { origin: CostSource::Reference, extrapolated: None };
    assert!(reference.iter().all(|basis| *basis == expected));
    let many = advise_with_reference(Need { subscribers: 1_000_000, ..small });
    assert!(many.iter().all(|basis| basis.extrapolated > Some(10.0)), "{many:?}");
}

#[test]
fn meaning_of_too_close_names_the_factor() {
    let percent = format!("{} %", (TOO_CLOSE - 1.0) * 100.0);
    assert_eq!(TOO_CLOSE_MEANING.matches(&percent).count(), 2, "{TOO_CLOSE_MEANING}");
}

fn advise_with_reference(need: Need) -> Vec<Basis> {
    let mut costs = costs();
    costs.transports.values_mut().for_each(|own| own.origin = CostSource::Reference);
    advise(&need, &costs).estimates.iter().map(|estimate| estimate.cpu_basis).collect()
}

/// Workloads of every kind, with every cost.
fn needs(count: usize) -> Vec<Need> {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let costs = [Cost::Cpu, Cost::Bytes, Cost::Requests, Cost::Memory];
    let workload = |index: usize| {
        let mut log = |low: f64, high: f64| 10f64.powf(rng.random_range(low..high));
        let subscribers = log(0.0, 6.0);
        Need {
            subscribers: subscribers as u32,
            topics: (log(-6.0, 0.0) * subscribers).max(1.0) as u32,
            rate: log(-3.0, 2.0),
            staleness_s: log(-1.0, 2.5),
            message_bytes: log(0.0, 3.3) as u32,
            headers: if rng.random() { Headers::Browser } else { Headers::Minimal },
            is_tls: rng.random(),
            browser_only: rng.random(),
            two_way: rng.random_range(0..4) == 0,
            cost: costs[index % costs.len()],
            ..NEED
        }
    };
    (0..count).map(workload).collect()
}

/// True if both changes are of one value in one direction.
fn is_same_direction(a: &Margin, b: &Margin) -> bool {
    a.parameter == b.parameter && (a.factor > 1.0) == (b.factor > 1.0)
}

#[test]
fn the_recommendation_changes_at_its_margins_and_nowhere_nearer() {
    let recommended = |need: &Need| choice(*need);
    let (mut checks, mut wrong) = (0, Vec::new());
    for need in needs(40) {
        let present = recommended(&need);
        let advice = advise(&need, &costs());
        for chain in advice.margins.chunk_by(is_same_direction) {
            let mut before = present;
            for margin in chain {
                let moved = |further: f64| {
                    let up = margin.factor > 1.0;
                    let factor = if up { margin.factor * further } else { margin.factor / further };
                    recommended(&margin.parameter.moved(&need, factor))
                };
                assert!(margin.becomes != before, "{margin:?}");
                assert_eq!(moved(1.0), margin.becomes, "at the value: {need:?} {margin:?}");
                // Values that are small whole numbers move in larger steps than this.
                let is_whole =
                    [Parameter::MessageBytes, Parameter::Subscribers].contains(&margin.parameter);
                if !is_whole || margin.at > 1_000.0 {
                    let around = (moved(0.97), moved(1.001));
                    checks += 1;
                    if around != (before, margin.becomes) {
                        wrong.push((need, *margin, around));
                    }
                }
                before = margin.becomes;
            }
            // Half of the way to the first, nothing has changed yet.
            let half = chain[0].parameter.moved(&need, chain[0].factor.sqrt());
            checks += 1;
            if recommended(&half) != present {
                wrong.push((need, chain[0], (recommended(&half), present)));
            }
        }
        for other in &advice.alternatives {
            assert!(other.becomes != present && other.becomes == recommended(&other.need));
        }
    }
    // Recommendations that hold over a few percent are passed over.
    assert!(checks > 100 && wrong.len() * 33 < checks, "{} of {checks}: {wrong:#?}", wrong.len());
}

#[test]
fn values_without_a_margin_do_not_change_the_recommendation() {
    let (mut checks, mut wrong) = (0, Vec::new());
    for need in needs(20) {
        let advice = advise(&need, &costs());
        let present = advice.choice.as_ref().map(|choice| choice.transport);
        for (parameter, factor) in Parameter::ALL.into_iter().flat_map(|parameter| {
            [0.0011, 0.013, 0.37, 2.3, 41.0, 970.0].map(|factor| (parameter, factor))
        }) {
            let is_found = |margin: &Margin| {
                margin.parameter == parameter && (margin.factor > 1.0) == (factor > 1.0)
            };
            let value = parameter.of(&need) * factor;
            if parameter.bounds().contains(&value) && !advice.margins.iter().any(is_found) {
                checks += 1;
                if choice(parameter.moved(&need, factor)) != present {
                    wrong.push((need, parameter, factor));
                }
            }
        }
    }
    assert!(checks > 100 && wrong.len() * 50 < checks, "{} of {checks}: {wrong:#?}", wrong.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
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
                prop_assert!(chosen <= estimate.cost(cost) * TOO_CLOSE);
                prop_assert!(estimate.latency_max_s <= need.staleness_s + 1e-6);
            }
        }
    }
}

/// 1,000 subscribers of one message every 10 s.
const BILLED: Need = Need {
    subscribers: 1_000,
    topics: 1,
    rate: 0.1,
    rtt_s: 0.04,
    poll_interval_s: Some(9.94),
    staleness_s: 10.0,
    ..NEED
};

/// Round sizes, so that a bill can be computed by hand: 100 and 150 bytes of headers, 45 around the
/// messages of a response, 67 around each message.
fn round_sizes() -> Costs {
    let mut costs = costs();
    for own in costs.transports.values_mut() {
        own.sizes.request_head = 100.0;
        own.sizes.response_head = 150.0;
        own.sizes.envelope = 45.0;
        own.sizes.message_object = 67.0;
    }
    costs
}

/// The items of a bill under a built-in list, as `(billable, amount)`, and its total.
fn amounts(list: usize, transport: Transport, need: &Need) -> (Vec<(Billable, f64)>, f64) {
    let advice = advise(need, &round_sizes());
    let estimate = advice.estimate(transport).expect("its cost is known");
    let bill = PriceList::built_in()[list].bill(estimate, need).expect("it is offered");
    (bill.items.iter().map(|item| (item.billable, item.amount)).collect(), bill.total)
}

#[track_caller]
fn assert_bill(bill: (Vec<(Billable, f64)>, f64), expected: &[(Billable, f64)]) {
    let total: f64 = expected.iter().map(|(_, amount)| amount).sum();
    assert!((bill.1 - total).abs() < 0.01, "{bill:?}");
    assert_eq!(bill.0.len(), expected.len(), "{bill:?}");
    for item in expected {
        let is_same = |(billable, amount): &(Billable, f64)| {
            *billable == item.0 && (amount - item.1).abs() < 0.005
        };
        assert!(bill.0.iter().any(is_same), "{item:?} is not in {bill:?}");
    }
}

/// A month has 2,628,000 s or 43,800 min. WebSocket on a gateway at 1.00 per million messages,
/// counted for each 32,768 bytes, 0.25 per million connection minutes and 0.09 per GB:
/// - messages: 1,000 x 0.1 x 2,628,000 = 262.8 million of 40,067 bytes, so two each: 525.60
/// - connection minutes: 1,000 x 43,800 = 43.8 million: 10.95
/// - traffic: 0.1 messages/s of 40,067 + 4 (frame header) + 28 x 52 (segments of 1,448 bytes), and
///   0.04 pings/s of 2 + 52 with 52 for the acknowledgement of the pong: 4,156.94 B/s for each,
///   10,924.438 GB for all: 983.20
#[test]
fn bill_of_a_gateway_equals_the_one_computed_by_hand() {
    let need = Need { message_bytes: 40_000, cost: Cost::Bytes, ..BILLED };
    assert_bill(
        amounts(2, WebSocket, &need),
        &[
            (Billable::Messages, 525.60),
            (Billable::ConnectionMinutes, 10.95),
            (Billable::GbOut, 983.20),
        ],
    );
    let advice = advise(&need, &round_sizes());
    let poll = advice.estimate(ShortPolling).expect("known");
    assert_eq!(PriceList::built_in()[2].bill(poll, &need), None, "not offered");
}

/// Short polling: a sleep of 9.94 s and a round trip of 40 ms make a period of 9.98 s.
/// - requests: 1,000 x 2,628,000 / 9.98 = 263.327 million at 0.20: 52.67
/// - traffic: 0.1002 responses/s of 150 + 45 + 52 bytes, 0.1 messages/s of 167 bytes, and a comma
///   before all but the first message of a response, which 1 - exp(-0.998) = 63.14 % of the
///   responses have: 0.0367/s. That is 41.486 B/s for each, 109.026 GB for all, at 0.09: 9.81
/// - one core for 730 hours at 0.0408: 29.78
/// - open at 20 µs for each request: 263.327 million x 20 µs / 60 = 87.8 minutes at 125.025 per
///   million: 0.01
#[test]
fn bill_of_short_polling_equals_the_one_computed_by_hand() {
    assert_bill(
        amounts(0, ShortPolling, &BILLED),
        &[(Billable::CoreHours, 29.784), (Billable::GbOut, 9.8123)],
    );
    assert_bill(
        amounts(1, ShortPolling, &BILLED),
        &[
            (Billable::Requests, 52.6653),
            (Billable::GbOut, 9.8123),
            (Billable::ConnectionMinutes, 0.0110),
        ],
    );
}

/// SSE on functions is open all month: 43.8 million minutes at 125.025: 5,476.10. Traffic: 0.1
/// messages/s of 167 + 24 (`data`, `id` and line ends) + 6 (chunk) + 52 bytes, and 0.04
/// heartbeats/s of 2 + 5 + 52: 27.26 B/s for each, 71.6393 GB for all, at 0.09: 6.45.
#[test]
fn bill_of_a_stream_on_functions_equals_the_one_computed_by_hand() {
    assert_bill(
        amounts(1, Sse, &BILLED),
        &[
            (Billable::Requests, 0.0),
            (Billable::ConnectionMinutes, 5_476.095),
            (Billable::GbOut, 6.4475),
        ],
    );
    // A pending long poll is charged while it waits, too.
    let (items, _) = amounts(1, LongPolling, &BILLED);
    let most = items.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("three items");
    assert_eq!(most.0, Billable::ConnectionMinutes);
}

#[test]
fn money_recommends_what_the_bill_supports() {
    let need = Need {
        subscribers: 20_000,
        topics: 1,
        rate: 1.0,
        headers: Headers::Browser,
        is_tls: true,
        browser_only: true,
        ..NEED
    };
    let costs = Costs { prices: PriceList::built_in().into_iter().next(), ..costs() };
    let by_money = Need { cost: Cost::Money, ..need };
    let advice = advise(&by_money, &costs);
    let bill = |transport| advice.estimate(transport).and_then(|own| own.monthly_bill);
    let lowest = advice.estimates.iter().filter_map(|own| own.monthly_bill);
    let lowest = lowest.fold(f64::INFINITY, f64::min);
    let chosen = advice.choice.as_ref().expect("push is fast enough").transport;
    assert!(bill(chosen).expect("it has a bill") <= lowest * TOO_CLOSE);
    let gateway = Costs { prices: PriceList::built_in().pop(), ..costs.clone() };
    let on_gateway = choose(&by_money, &gateway).expect("it carries WebSocket");
    assert_eq!((on_gateway.transport, on_gateway.close.len()), (WebSocket, 1));
    let without = Costs { prices: None, ..costs };
    assert_eq!(choose(&by_money, &without), None, "there is no bill without prices");
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
