//! The answer in a few sentences, each made from the numbers of the run at hand.
//!
//! Nothing is claimed that lies within the spread, and nothing about a way that is void.

use crate::transport::Variant;

use super::figures::{self, Figure};
use super::stats::Summary;
use super::units::{Unit, sentence_case, significant};
use super::{Point, Report, Way, charts, recovery, sweep, variants};

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

/// A way's place in a ranking.
type Standing<'a> = (&'a Way<'a>, &'a Summary);

/// The leaders of a ranking (the first and those not to be told from it), and the rest.
fn split<'a, 'b>(ranked: &'b [Standing<'a>]) -> (&'b [Standing<'a>], &'b [Standing<'a>]) {
    let best = ranked[0].1;
    let leaders = ranked.iter().take_while(|(_, summary)| !summary.differs_from(best)).count();
    ranked.split_at(leaders.max(1))
}

fn latency(point: &Point) -> Option<String> {
    let figure = &figures::LATENCY_MEAN;
    let ranked = point.ranked(figure);
    if ranked.is_empty() {
        return None;
    }
    let (leaders, rest) = split(&ranked);
    let times = list(leaders.iter().map(|(_, summary)| figure.unit.show(summary.value)));
    let verb = match leaders.len() {
        _ if ranked.len() == 1 => "needed",
        1 => "was fastest:",
        _ => "were fastest:",
    };
    let first = format!(
        "{} {verb} {times} from publication to receipt on average{}.",
        names(leaders),
        tied(leaders)
    );
    Some([sentence_case(&first), multiples(figure, leaders, rest, "took", "long")].concat())
}

fn bytes(point: &Point) -> Option<String> {
    let figure = &figures::BYTES_PER_MESSAGE;
    ranking(point, figure, "moved the fewest bytes for a delivered message", "moved")
}

fn cpu(point: &Point) -> Option<String> {
    let figure = &figures::CPU_PER_MESSAGE;
    ranking(point, figure, "cost the server the least CPU time for a delivered message", "cost")
}

fn ranking(point: &Point, figure: &Figure, superlative: &str, verb: &str) -> Option<String> {
    let ranked = point.ranked(figure);
    if ranked.len() < 2 {
        return None;
    }
    let (leaders, rest) = split(&ranked);
    let values = list(leaders.iter().map(|(_, summary)| figure.unit.show(summary.value)));
    let first = format!("{} {superlative}: {values}{}.", names(leaders), tied(leaders));
    Some([sentence_case(&first), multiples(figure, leaders, rest, verb, "much")].concat())
}

fn tied(leaders: &[Standing]) -> &'static str {
    match leaders {
        [] | [_] => "",
        _ if leaders.iter().any(|(way, _)| way.cells.len() < 2) => {
            ", too close to be told apart by one repeat"
        }
        _ => ", no difference beyond the spread",
    }
}

/// ` Long polling took 1.5 times as long (30 ms) and short polling 27 times (541 ms).`
fn multiples(
    figure: &Figure,
    leaders: &[Standing],
    rest: &[Standing],
    verb: &str,
    quality: &str,
) -> String {
    let best = leaders[0].1.value;
    if rest.is_empty() || best <= 0.0 {
        return String::new();
    }
    let each = rest.iter().enumerate().map(|(index, (way, summary))| {
        let value = figure.unit.show(summary.value);
        let times = significant(summary.value / best);
        match index {
            0 => format!("{} {verb} {times} times as {quality} ({value})", way.variant.label()),
            _ => format!("{} {times} times ({value})", way.variant.label()),
        }
    });
    format!(" {}.", sentence_case(&list(each)))
}

fn requests(point: &Point) -> Option<String> {
    let mut ranked = point.ranked(&figures::REQUESTS_PER_SUBSCRIBER);
    ranked.reverse();
    let (asking, told): (Vec<_>, Vec<_>) =
        ranked.into_iter().partition(|(_, summary)| summary.value > 0.0);
    let each = asking.iter().map(|(way, summary)| {
        let name = way.variant.label();
        let empty = way.summary(&figures::EMPTY_SHARE).map(|empty| match empty.value {
            0.0 => " (none answered empty)".to_owned(),
            share => format!(" ({} answered empty)", figures::EMPTY_SHARE.unit.show(share)),
        });
        format!("{} with {name}{}", significant(summary.value), empty.unwrap_or_default())
    });
    let told = list(told.iter().map(|(way, _)| way.variant.label()));
    let none = (!told.is_empty()).then(|| format!("none after the handshake with {told}"));
    let each = list(each.chain(none));
    (!each.is_empty()).then(|| format!("Requests a second that each subscriber sent: {each}."))
}

/// What to take, and for which workload: the rule of thumb, with this run's figures in it.
fn advice(point: &Point) -> Option<String> {
    let first = |figure: &'static Figure| {
        let ranked = point.ranked(figure);
        (ranked.len() >= 2)
            .then(|| split(&ranked).0.iter().map(|(way, _)| way.variant).collect::<Vec<_>>())
    };
    let fast = first(&figures::LATENCY_MEAN)?;
    let thrifty = first(&figures::BYTES_PER_MESSAGE);
    let light = first(&figures::CPU_PER_MESSAGE);
    let others = [thrifty, light];
    let leads =
        |variant: &&Variant| others.iter().flatten().all(|leaders| leaders.contains(variant));
    let everywhere: Vec<String> =
        fast.iter().filter(leads).map(|variant| variant.label()).collect();
    let verdict = match everywhere.len() {
        0 => "For this workload no way is best in everything: weigh delay against cost.".to_owned(),
        _ => format!("For this workload nothing beat {}.", everywhere.join(" or ")),
    };
    Some([verdict, rule_of_thumb(point)].join(" "))
}

fn rule_of_thumb(point: &Point) -> String {
    let workload = point.workload;
    let interval = Unit::Seconds.show(workload.poll_interval.as_secs_f64());
    let rtt = Unit::Seconds.show(workload.rtt.as_secs_f64());
    format!(
        "Rule of thumb: push when messages must be seen at once, or are rare; long polling where \
         push cannot pass, as fast while messages are further apart than a round trip ({rtt} \
         here); short polling when a message may be an interval old ({interval} here) and most \
         polls find one (here {} per interval on average).",
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
        let ranked = point.ranked(figure);
        ranked.len() >= 2 && split(&ranked).0.iter().any(|(way, _)| way.variant == variant)
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
        "{name}: {range} from publication to receipt on average, over {} workloads; fastest, or \
         not to be told from the fastest, {led}.",
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
