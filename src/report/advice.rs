//! Advice as a document, and the sentences about a recommendation that the report shares with it.

use crate::advise::{
    Advice, Alternative, BUSY_SHARE_MAX, Basis, Choice, Cost, CostSource, Costs, Estimate, Margin,
    Need, Parameter, SMALL_LOAD, TOO_CLOSE, TOO_CLOSE_MEANING, is_two_way, simplicity,
};
use crate::scenario::Headers;
use crate::units::{Unit, money, sentence_case, significant, thousands};
use crate::variant::Transport;

use super::document::{Block, Field, Row, Section, Table};
use super::prose::{list, range};

/// Units of message rates: their seconds, and the rate per second from which on each is used.
const RATE_UNITS: [(&str, f64, f64); 3] =
    [("s", 1.0, 0.01), ("h", 3_600.0, 1.0 / 3_600.0), ("d", 86_400.0, 0.0)];

/// The advice for one need.
pub fn sections(advice: &Advice, costs: &Costs) -> Vec<Section> {
    let recommendation = match recommended(advice) {
        Some((choice, estimate)) => {
            let lines = [
                Some(verdict(&advice.need, choice, advice.fast_enough().count() == 1, "")),
                load(advice, costs),
            ];
            let blocks = lines.into_iter().flatten().map(Block::text);
            let title =
                format!("Recommendation: {}{}.", choice.transport.label(), parameters(estimate));
            let blocks = std::iter::once(Block::note(need_in_words(&advice.need))).chain(blocks);
            Section::new("recommendation", title, blocks.collect())
        }
        None => Section::new(
            "recommendation",
            "No transport is fast enough.",
            vec![
                Block::note(need_in_words(&advice.need)),
                Block::text(
                    "The one-way delay, half of the round trip, already exceeds the acceptable \
                     age, or no transport meets the other conditions.",
                ),
            ],
        ),
    };
    let why = recommended(advice).map(|(choice, estimate)| {
        Section::new("why", "Why", vec![Block::list(reasons(advice, choice, estimate))])
    });
    let changes =
        changes(&advice.need, &advice.choice, &advice.margins, &advice.alternatives, costs);
    let extrapolation = extrapolation(&advice.estimates, costs).map(Block::note);
    let table = std::iter::once(Block::Table(table(&advice.estimates)));
    let rest = [
        Section::new("transports", "", table.chain(extrapolation).collect()),
        Section::new("changes", "What would change the recommendation", vec![Block::list(changes)]),
        Section::new(
            "sources",
            "Where the numbers come from",
            vec![Block::list(sources(advice, costs))],
        ),
    ];
    std::iter::once(recommendation).chain(why).chain(rest).collect()
}

fn recommended(advice: &Advice) -> Option<(&Choice, &Estimate)> {
    let choice = advice.choice.as_ref()?;
    Some((choice, advice.estimate(choice.transport)?))
}

/// The need as a sentence.
pub fn need_in_words(need: &Need) -> String {
    let headers = match need.headers {
        Headers::Minimal => "minimal request headers",
        Headers::Browser => "a browser's request headers",
    };
    let conditions = [
        Some(headers),
        Some(if need.is_tls { "TLS" } else { "no TLS" }),
        need.browser_only.then_some("clients in browsers"),
        need.two_way.then_some("messages in both directions on one connection"),
    ];
    let conditions: Vec<&str> = conditions.into_iter().flatten().collect();
    let topics = match (need.topics, need.subscribers) {
        (1, 1) => "of one topic".to_owned(),
        (1, _) => "all of one topic".to_owned(),
        (topics, subscribers) if topics == subscribers => "each with its own topic".to_owned(),
        (topics, subscribers) => {
            format!("{} per topic", significant(f64::from(subscribers) / f64::from(topics)))
        }
    };
    format!(
        "For {} subscribers ({topics}) that each receive {} of {} B, at most {} old; round trip {}; \
         {}.",
        thousands(need.subscribers.into()),
        messages(need.rate, need.rate),
        thousands(need.message_bytes.into()),
        Unit::Seconds.show(need.staleness_s),
        Unit::Seconds.show(need.rtt_s),
        conditions.join("; "),
    )
}

/// `1 message/s`, `2 messages/s`, `2 messages/h`, in the unit that suits `like`.
fn messages(rate: f64, like: f64) -> String {
    // A rate that was given per hour is not exactly a multiple.
    let suits = |least: f64| like >= least * (1.0 - 1e-9);
    let suitable = RATE_UNITS.iter().find(|(_, _, least)| suits(*least));
    let (unit, seconds, _) = suitable.expect("the last one suits every rate");
    let rate = significant(rate * seconds);
    let plural = if rate == "1" { "" } else { "s" };
    format!("{rate} message{plural}/{unit}")
}

/// The recommended configuration of the transport.
fn parameters(estimate: &Estimate) -> String {
    match (estimate.poll_interval_s, estimate.hold_s) {
        (Some(interval_s), _) => {
            format!(", with a pause of {} after each response", Unit::Seconds.show(interval_s))
        }
        (_, Some(hold_s)) => format!(", with a timeout of {}", Unit::Seconds.show(hold_s)),
        _ => String::new(),
    }
}

/// How clear the choice is. `tie` says what else, beside close costs, makes transports tie.
pub fn verdict(need: &Need, choice: &Choice, is_only: bool, tie: &str) -> String {
    let cost = need.cost.label();
    let labels = |transports: &[Transport]| {
        list(transports.iter().map(|transport| transport.label().to_owned()))
    };
    let name = choice.transport.label();
    let why = simplicity(choice.transport).1;
    if is_only {
        return "No other transport is fast enough.".to_owned();
    }
    let (least, much) = match need.cost {
        Cost::Cpu | Cost::Memory | Cost::Money => ("least", "much"),
        Cost::Bytes | Cost::Requests => ("fewest", "many"),
    };
    if choice.close.len() == 1 && need.cost == Cost::Money {
        let next = choice.lead.map_or(String::new(), |lead| {
            format!("; the next is {} times as high", significant(lead))
        });
        return format!("{} has the lowest {cost}{next}.", sentence_case(name));
    }
    if choice.close.len() == 1 {
        return match choice.lead {
            Some(lead) => format!(
                "{} needs the {least} {cost}; the next transport needs {} times as {much}.",
                sentence_case(name),
                significant(lead)
            ),
            None => format!("{} needs no {cost} at all.", sentence_case(name)),
        };
    }
    let within = Unit::Share.show(TOO_CLOSE - 1.0);
    let close = format!(
        "By {cost}, {} are too close to call (within {within}{tie}).",
        labels(&choice.close)
    );
    match choice.finalists.as_slice() {
        [_] => format!("{close} Of these, {name} needs the fewest bytes."),
        finalists if finalists.len() == choice.close.len() => {
            format!(
                "{close} {} is the simplest of them to run, because {why}.",
                sentence_case(name)
            )
        }
        finalists => format!(
            "{close} Of these, {} need the fewest bytes (within {within}). {} is the simplest of them \
             to run, because {why}.",
            labels(finalists),
            sentence_case(name)
        ),
    }
}

/// A remark if CPU does not matter.
fn load(advice: &Advice, costs: &Costs) -> Option<String> {
    let is_small = advice.need.cost == Cost::Cpu
        && advice.fast_enough().all(|estimate| estimate.cpu_cores_busy < SMALL_LOAD);
    is_small.then(|| {
        format!(
            "Every transport that is fast enough uses less than {} of one core, so CPU hardly matters \
             here: compare the bills ({}), and choose what is easiest to operate.",
            Unit::Share.show(SMALL_LOAD),
            if costs.prices.is_some() { "below" } else { "`--prices`" }
        )
    })
}

fn reasons(advice: &Advice, choice: &Choice, own: &Estimate) -> Vec<String> {
    let relative = |cost: Cost| {
        let mut others: Vec<(f64, Transport)> = advice
            .fast_enough()
            .filter(|estimate| estimate.transport != choice.transport)
            .map(|estimate| (estimate.cost(cost) / own.cost(cost), estimate.transport))
            .filter(|(times, _)| times.is_finite())
            .collect();
        others.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let others = others.into_iter();
        others
            .map(|(times, transport)| format!("{} {} times", transport.label(), significant(times)))
    };
    let reason = |cost: Cost, value: String| {
        let others = list(relative(cost));
        let others = if others.is_empty() { others } else { format!(". In comparison: {others}") };
        format!("{}: {value}{others}.", sentence_case(cost.label()))
    };
    let latency = format!(
        "Latency: {} on average, {} at most. {}",
        Unit::Seconds.show(own.latency_mean_s),
        Unit::Seconds.show(own.latency_max_s),
        too_slow(advice)
    );
    let polling =
        advice.fast_enough().find(|estimate| estimate.transport == Transport::ShortPolling);
    let polling = polling.and_then(|estimate| polling_pause(&advice.need, estimate));
    let bytes = own.bytes_up_s + own.bytes_down_s;
    let cost = match advice.need.cost {
        Cost::Cpu | Cost::Bytes => {
            reason(Cost::Cpu, format!("{} cores busy", significant(own.cpu_cores_busy)))
        }
        Cost::Requests => reason(Cost::Requests, Unit::PerSecond.show(own.requests_s)),
        Cost::Memory => reason(Cost::Memory, Unit::Bytes.show(own.memory_bytes)),
        Cost::Money => reason(Cost::Money, money(own.monthly_bill.unwrap_or_default())),
    };
    let bytes = reason(Cost::Bytes, Unit::BytesPerSecond.show(bytes));
    let fan_out = (own.fan_out_s > advice.need.staleness_s / 10.0).then(|| {
        format!(
            "Fan-out: one message keeps the planned cores busy for {}, since {} subscribers \
             receive it.",
            Unit::Seconds.show(own.fan_out_s),
            thousands(i64::from(advice.need.subscribers / advice.need.topics)),
        )
    });
    let first = [cost, latency.trim_end().to_owned(), bytes].into_iter();
    first.chain(polling).chain(fan_out).collect()
}

/// What determines the number of short polls.
fn polling_pause(need: &Need, estimate: &Estimate) -> Option<String> {
    let seconds = |value| Unit::Seconds.show(value);
    let pause = seconds(estimate.poll_interval_s?);
    let mean = seconds(estimate.latency_mean_s);
    Some(match need.poll_interval_s {
        Some(_) => format!(
            "Short polling: {mean} on average, with a pause of {pause} after each response. Half \
             the pause means about twice as many requests."
        ),
        None => format!(
            "Short polling: {mean} on average. Its pause of {pause} is what the acceptable age of \
             {} leaves after one and a half round trips. Half the age means about twice as many \
             requests, each with its CPU time and bytes; the requests of the other transports do \
             not depend on it.",
            seconds(need.staleness_s)
        ),
    })
}

/// The transports that are too slow.
fn too_slow(advice: &Advice) -> String {
    let slow = advice.estimates.iter().filter_map(|estimate| {
        let least = Unit::Seconds.show(estimate.too_slow_s?);
        Some(format!("{} (at least {least})", estimate.transport.label()))
    });
    let slow = list(slow);
    match slow.as_str() {
        "" => slow,
        slow => format!("Too slow in the worst case: {slow}."),
    }
}

fn table(estimates: &[Estimate]) -> Table {
    let head = [
        "transport",
        "mean latency",
        "max latency",
        "requests",
        "up",
        "down",
        "connections",
        "cores busy",
        "cores to plan",
        "memory",
    ];
    let row = |estimate: &Estimate| {
        let late = if estimate.too_slow_s.is_some() { " too slow" } else { "" };
        let mark = |basis: Basis| if basis.extrapolated.is_some() { "*" } else { "" };
        let (cpu, memory) = (mark(estimate.cpu_basis), mark(estimate.memory_basis));
        let fields = [
            Unit::Seconds.show(estimate.latency_mean_s),
            format!("{}{late}", Unit::Seconds.show(estimate.latency_max_s)),
            Unit::PerSecond.show(estimate.requests_s),
            Unit::BytesPerSecond.show(estimate.bytes_up_s),
            Unit::BytesPerSecond.show(estimate.bytes_down_s),
            thousands(estimate.connections.into()),
            format!("{}{cpu}", significant(estimate.cpu_cores_busy)),
            format!("{}{cpu}", thousands(estimate.cores as i64)),
            format!("{}{memory}", Unit::Bytes.show(estimate.memory_bytes)),
        ];
        let name = Field::variant(estimate.transport);
        Row::Fields(std::iter::once(name).chain(fields.map(Field::new)).collect())
    };
    let rows = estimates.iter().map(row).collect();
    Table { head: head.map(Field::new).into(), names: 1, is_numeric: true, rows }
}

/// The figures that lie beyond what was measured, marked with `*` in the table.
fn extrapolation(estimates: &[Estimate], costs: &Costs) -> Option<String> {
    let most = |of: fn(&Estimate) -> Basis| {
        estimates.iter().filter_map(|estimate| of(estimate).extrapolated).reduce(f64::max)
    };
    let memory = most(|estimate| estimate.memory_basis)
        .map(|factor| format!("memory is for {} times as many subscribers", significant(factor)));
    let cpu = most(|estimate| estimate.cpu_basis).map(|factor| {
        format!("CPU is for up to {} times as many requests or messages", significant(factor))
    });
    let parts = list([memory, cpu].into_iter().flatten());
    (!parts.is_empty()).then(|| {
        format!(
            "* Extrapolated in proportion: measured up to {}; {parts}.",
            measured_up_to(estimates, costs)
        )
    })
}

/// `1,000 subscribers, and 963/s to 1,051/s requests or messages`: the largest measured load of the
/// transports in `estimates`.
fn measured_up_to(estimates: &[Estimate], costs: &Costs) -> String {
    let own = || estimates.iter().filter_map(|estimate| costs.transports.get(&estimate.transport));
    let ends = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        (low, values.into_iter().fold(0.0, f64::max))
    };
    let subscribers = ends(own().map(|own| f64::from(own.subscribers_max)).collect());
    let events = ends(own().map(|own| own.events_s_max).collect());
    format!(
        "{} subscribers, and {} requests or messages per second",
        range(Unit::Count, subscribers.0, subscribers.1),
        range(Unit::Count, events.0, events.1)
    )
}

/// The values and conditions that change the recommendation, one line for each. Those of the
/// subscribers state how many `costs` were measured with.
pub fn changes(
    need: &Need,
    choice: &Option<Choice>,
    margins: &[Margin],
    alternatives: &[Alternative],
    costs: &Costs,
) -> Vec<String> {
    let most = costs.transports.values().map(|own| own.subscribers_max).max().unwrap_or_default();
    let measured =
        format!(" (extrapolated: measured up to {} subscribers)", thousands(most.into()));
    if margins.is_empty() && alternatives.is_empty() {
        return vec!["Nothing, up to a factor of 1,000 in each value.".to_owned()];
    }
    let present = choice.as_ref().map(|choice| choice.transport);
    let of_subscribers = |margin: &Margin| margin.parameter == Parameter::Subscribers;
    let subscribers = (!margins.iter().any(of_subscribers)).then(|| {
        format!("Number of subscribers: no change up to 1,000 times as many or as few{measured}.")
    });
    let is_same =
        |a: &Margin, b: &Margin| a.parameter == b.parameter && (a.factor > 1.0) == (b.factor > 1.0);
    let of_chain = |chain: &[Margin]| {
        let is_beyond = of_subscribers(&chain[0]) && chain[0].at > f64::from(most);
        let line = of_margins(need, chain);
        format!("{line}{}.", if is_beyond { measured.as_str() } else { "" })
    };
    let margins = margins.chunk_by(is_same).map(of_chain);
    let alternatives =
        alternatives.iter().map(|alternative| of_alternative(need, present, alternative));
    margins.chain(alternatives).chain(subscribers).collect()
}

/// The changes in one direction:
/// `Rate above 2 messages/s (now 1 message/s): NDJSON; above 2.5 messages/s: short polling`
fn of_margins(need: &Need, chain: &[Margin]) -> String {
    let parameter = chain[0].parameter;
    let name = match parameter {
        Parameter::Rate => "Rate",
        Parameter::Staleness => "Acceptable age",
        Parameter::Rtt => "Round trip",
        Parameter::MessageBytes => "Message text",
        Parameter::Subscribers => "Subscribers",
    };
    let show = |value| match parameter {
        Parameter::Rate => messages(value, need.rate),
        Parameter::Staleness | Parameter::Rtt => Unit::Seconds.show(value),
        Parameter::MessageBytes => Unit::Bytes.show(value),
        Parameter::Subscribers => significant(value),
    };
    let now = show(parameter.of(need));
    let change = |(index, margin): (usize, &Margin)| {
        let direction = if margin.factor > 1.0 { "above" } else { "below" };
        let now = if index == 0 { format!(" (now {now})") } else { String::new() };
        format!("{direction} {}{now}: {}", show(margin.at), becomes(margin.becomes))
    };
    let changes: Vec<String> = chain.iter().enumerate().map(change).collect();
    format!("{name} {}", changes.join("; "))
}

fn of_alternative(need: &Need, present: Option<Transport>, other: &Alternative) -> String {
    let becomes = becomes(other.becomes);
    if other.need.two_way && !need.two_way {
        let sending = match present.filter(|present| !is_two_way(*present)) {
            Some(present) => format!(
                ", which sends on the connection on which it receives; with {}, each message \
                 sent is a request",
                present.label()
            ),
            None => String::new(),
        };
        return format!("Subscribers that also send messages often: {becomes}{sending}.");
    }
    let condition = match (other.need.headers, other.need.is_tls) {
        (headers, _) if headers != need.headers => match headers {
            Headers::Minimal => "With minimal request headers",
            Headers::Browser => "With a browser's request headers",
        },
        (_, true) => "With TLS",
        (_, false) => "Without TLS",
    };
    format!("{condition}: {becomes}.")
}

fn becomes(transport: Option<Transport>) -> &'static str {
    transport.map_or("no transport is fast enough", Transport::label)
}

fn sources(advice: &Advice, costs: &Costs) -> Vec<String> {
    let is_from_run = costs.transports.values().any(|own| own.origin == CostSource::Run);
    let source = match is_from_run {
        true => "the run given with --costs",
        false => "the built-in reference",
    };
    let mut lines = vec![
        "Requests and latency: theory, for messages at random times (Poisson).".to_owned(),
        "Bytes: measured sizes of headers and messages, and a model of TCP/IP with segments of 1448 \
         bytes."
            .to_owned(),
        format!(
            "CPU and memory: {source}, {}. TLS and larger headers add bytes, but no CPU, here.",
            costs.machine
        ),
    ];
    if is_from_run {
        lines.extend(from_reference(advice));
    }
    lines.push(TOO_CLOSE_MEANING.to_owned());
    if advice.need.browser_only {
        lines.push(
            "Assumed: browsers. For other clients, such as apps, use `--browser=false`, and without \
             TLS `--tls=false`."
                .to_owned(),
        );
    }
    lines.push(
        "Not included: proxies that buffer or block, authentication in browsers, reconnecting, \
         connections per host, background tabs, operation. The report of a run has a table of \
         them for polling, SSE and WebSocket. None of the transports reaches a closed page, or an \
         app in the background of a phone: that takes the push service of the platform (Web \
         Push, APNs, FCM)."
            .to_owned(),
    );
    lines.push(format!(
        "Cores to plan: at most {} busy, and each fan-out completed within the acceptable age, if \
         the work spreads evenly over the cores.",
        Unit::Share.show(BUSY_SHARE_MAX)
    ));
    lines.push(
        "Memory: growth of the server's resident memory until all subscribers are connected and \
         nothing has been published. Kernel memory is not included."
            .to_owned(),
    );
    lines.push(
        "Polling: on connections that stay open. A client that opens one for each poll adds a \
         handshake to it, with TLS about 1.3 kB and CPU time."
            .to_owned(),
    );
    lines
}

/// The transports whose costs the run could not provide.
fn from_reference(advice: &Advice) -> Option<String> {
    let is_reference = |estimate: &&Estimate| estimate.cpu_basis.origin == CostSource::Reference;
    let estimates = advice.estimates.iter().filter(is_reference);
    let names = list(estimates.map(|estimate| estimate.transport.label().to_owned()));
    (!names.is_empty()).then(|| {
        format!(
            "CPU and memory of {names}: the built-in reference, since the run has none of them."
        )
    })
}
