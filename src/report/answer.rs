//! The answer in a few sentences, each made from the numbers of the run at hand.
//!
//! Nothing is claimed that lies within the spread, and nothing about a way that is void.

use crate::variant::Variant;

use super::differences::{Ranking, Standing};
use super::figures::{self, Figure};
use super::{Point, Report, Way, charts, differences, recovery, sweep, variants};
use crate::units::{Unit, sentence_case, significant};

/// The sentences, the most important first.
pub fn sentences(report: &Report) -> Vec<String> {
    let void = report.points.iter().flat_map(|point| {
        let title = point.title(report.run);
        point.ways.iter().filter(|way| way.is_void()).map(move |way| void(way, &title))
    });
    let results: Vec<String> = match report.points.as_slice() {
        [] => vec!["Nothing was measured.".to_owned()],
        [point] => of_point(point),
        points => across(report, points),
    };
    void.chain(results).collect()
}

fn void(way: &Way, title: &str) -> String {
    let at = if title.is_empty() { String::new() } else { format!(" ({title})") };
    let reasons = way.void_reasons.join("; ");
    format!("Void: {}{at} has no result. {}.", way.variant.label(), sentence_case(&reasons))
}

fn of_point(point: &Point) -> Vec<String> {
    let parts = [latency(point), requests(point), bytes(point), cpu(point), advice(point)];
    let parts = parts.into_iter().flatten();
    parts.chain(variants::sentences(point)).chain(recovery::sentences(point)).collect()
}

fn latency(point: &Point) -> Option<String> {
    of_figure(point, &figures::LATENCY_MEAN, "lowest mean latency", 1)
}

fn bytes(point: &Point) -> Option<String> {
    of_figure(point, &figures::BYTES_PER_MESSAGE, "fewest bytes per delivered message", 2)
}

fn cpu(point: &Point) -> Option<String> {
    let quality = "least server CPU time per delivered message";
    of_figure(point, &figures::CPU_PER_MESSAGE, quality, 2)
}

/// The ranking of a figure that at least `least` transports have.
fn ranking<'a>(point: &'a Point<'a>, figure: &Figure, least: usize) -> Option<Ranking<'a>> {
    let ranking = differences::ranking(point, figure);
    let placed: usize = ranking.groups.iter().map(Vec::len).sum();
    (placed + ranking.unplaced.len() >= least).then_some(ranking)
}

/// `Lowest mean latency: WebSocket, 20 ms. Long polling: 30 ms (1.5 times).`
fn of_figure(point: &Point, figure: &Figure, quality: &str, least: usize) -> Option<String> {
    let Ranking { groups, unplaced } = ranking(point, figure, least)?;
    let (leaders, rest) = groups.split_first()?;
    let show = |(_, summary): &Standing| figure.unit.show(summary.value);
    let values = match leaders.as_slice() {
        [only] => show(only),
        [first, .., last] => {
            let (low, high) = (show(first), show(last));
            let range = if low == high { low } else { format!("{low} to {high}") };
            format!("{range} (the run establishes no order among them)")
        }
        [] => String::new(),
    };
    let first = sentence_case(&format!("{quality}: {}, {values}.", names(leaders)));
    let best = leaders.first().map_or(0.0, |(_, summary)| summary.value);
    let each = rest.iter().flatten().map(|standing| {
        let (way, summary) = standing;
        let times = match best > 0.0 {
            true => format!(" ({} times)", significant(summary.value / best)),
            false => String::new(),
        };
        format!("{}: {}{times}", way.variant.label(), show(standing))
    });
    let unplaced = (!unplaced.is_empty()).then(|| {
        let name =
            |standing: &Standing| format!("{} ({})", standing.0.variant.label(), show(standing));
        format!("too uncertain to place: {}", list(unplaced.iter().map(name)))
    });
    let each = each.chain(unplaced).collect::<Vec<_>>().join("; ");
    Some(if each.is_empty() { first } else { format!("{first} {}.", sentence_case(&each)) })
}

fn requests(point: &Point) -> Option<String> {
    let mut ranked = point.ranked(&figures::REQUESTS_PER_SUBSCRIBER);
    ranked.reverse();
    let (polling, pushed): (Vec<_>, Vec<_>) =
        ranked.into_iter().partition(|(_, summary)| summary.value > 0.0);
    let each = polling.iter().map(|(way, summary)| {
        let name = way.variant.label();
        let empty = way.summary(&figures::EMPTY_SHARE).map(|empty| match empty.value {
            0.0 => " (no empty response)".to_owned(),
            share => format!(" ({} of responses empty)", figures::EMPTY_SHARE.unit.show(share)),
        });
        format!("{} with {name}{}", significant(summary.value), empty.unwrap_or_default())
    });
    let pushed = list(pushed.iter().map(|(way, _)| way.variant.label()));
    let none = (!pushed.is_empty()).then(|| format!("none after the handshake with {pushed}"));
    let each = list(each.chain(none));
    (!each.is_empty()).then(|| format!("Requests per second per subscriber: {each}."))
}

/// What to take, and for which workload: the rule of thumb, with this run's figures in it.
fn advice(point: &Point) -> Option<String> {
    let first = |figure: &'static Figure| {
        let ranking = ranking(point, figure, 2)?;
        Some(ranking.groups.first()?.iter().map(|(way, _)| way.variant).collect::<Vec<_>>())
    };
    let fast = first(&figures::LATENCY_MEAN)?;
    let thrifty = first(&figures::BYTES_PER_MESSAGE);
    let light = first(&figures::CPU_PER_MESSAGE);
    let others = [thrifty, light];
    let leads =
        |variant: &&Variant| others.iter().flatten().all(|leaders| leaders.contains(variant));
    let everywhere: Vec<String> =
        fast.iter().filter(leads).map(|variant| variant.label()).collect();
    let ranked = [Some("mean latency"), others[0].as_ref().map(|_| "bytes")]
        .into_iter()
        .chain([others[1].as_ref().map(|_| "server CPU")]);
    let ranked = list(ranked.flatten().map(str::to_owned));
    let verdict = match everywhere.as_slice() {
        [] => format!("No transport leads in {ranked} at once: weigh latency against cost."),
        [only] => format!("{} is in the leading group for {ranked}.", sentence_case(only)),
        _ => format!(
            "{} are in the leading group for {ranked}.",
            sentence_case(&list(everywhere.clone()))
        ),
    };
    Some([verdict, rule_of_thumb(point)].join(" "))
}

fn rule_of_thumb(point: &Point) -> String {
    let workload = point.workload;
    let interval = Unit::Seconds.show(workload.poll_interval.as_secs_f64());
    let rtt = Unit::Seconds.show(workload.rtt.as_secs_f64());
    format!(
        "Rule of thumb: use push if messages must arrive at once or are rare; use long polling \
         where push is blocked (it is as fast while messages are further apart than one round \
         trip, here {rtt}); use short polling if messages may be one interval old (here \
         {interval}) and most polls return some (here {} per interval on average).",
        significant(workload.rate * workload.poll_interval.as_secs_f64())
    )
}

/// Several points: each way's range, who was fastest how often, and where ways meet.
fn across(report: &Report, points: &[Point]) -> Vec<String> {
    let ranges = report.variants().into_iter().filter_map(|way| range(points, way));
    let lines = sweep::lines(report);
    let meetings = lines.iter().flat_map(|line| {
        let figures: [(&Figure, &str); 3] = [
            (&figures::REQUESTS_PER_SUBSCRIBER, "Requests"),
            (&figures::BYTES_PER_MESSAGE, "Bytes"),
            (&figures::CPU_BUSY, "Server CPU"),
        ];
        figures.into_iter().filter_map(|(figure, name)| {
            let found = line.crossovers(figure);
            let words: Vec<String> =
                found.iter().map(|crossover| charts::sweep::in_words(crossover, line)).collect();
            let axis = line.axis.label();
            (!words.is_empty()).then(|| format!("{name}, along {axis}: {}", words.join(" ")))
        })
    });
    let variants = points.iter().flat_map(|point| {
        let title = point.title(report.run);
        variants::sentences(point).into_iter().map(move |sentence| format!("{title}: {sentence}"))
    });
    ranges.chain(meetings).chain(variants).collect()
}

fn range(points: &[Point], variant: Variant) -> Option<String> {
    let figure = &figures::LATENCY_MEAN;
    let ways = points.iter().filter_map(|point| point.way(variant));
    let means: Vec<f64> = ways.filter_map(|way| Some(way.summary(figure)?.value)).collect();
    let low = means.iter().copied().reduce(f64::min)?;
    let high = means.iter().copied().reduce(f64::max)?;
    let led = points.iter().filter(|point| {
        ranking(point, figure, 2).is_some_and(|ranking| {
            ranking.groups.first().into_iter().flatten().any(|(way, _)| way.variant == variant)
        })
    });
    let (name, low, high) =
        (sentence_case(&variant.label()), figure.unit.show(low), figure.unit.show(high));
    let range = if low == high { low } else { format!("{low} to {high}") };
    let led = match led.count() {
        0 => "in none".to_owned(),
        n if n == means.len() => "in all".to_owned(),
        n => format!("in {n}"),
    };
    Some(format!(
        "{name}: mean latency {range} over {} workloads; in the fastest group {led}.",
        means.len(),
    ))
}

fn names(ways: &[Standing]) -> String {
    list(ways.iter().map(|(way, _)| way.variant.label()))
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items: Vec<String> = items.into_iter().collect();
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}
