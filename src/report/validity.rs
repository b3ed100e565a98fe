//! What speaks against a run's figures: a typed list, each entry void or caution.
//!
//! A cell is void if its deliveries were wrong or if the generator, not the server, was the limit.
//! A repeat that is void does not count; a transport that got one delivery wrong has no figures at
//! all. Everything else is a caution: the figures stand, with the warning beside them.

use crate::run::{Cell, Histogram, Run, TcpIpSource};
use crate::transport::Variant;

use super::figures::{self, Figure};
use super::warning::{Finding, Severity, Warning};
use super::{Point, Way};

/// A publisher later than this voids a cell, whatever the latency is.
const PUBLISHER_LATE_S: f64 = 0.005;
/// ... unless the latency is long enough for it not to matter: a share of the median.
const PUBLISHER_LATE_SHARE: f64 = 0.25;
/// Mean lateness of the publisher, as a share of the mean latency, worth a warning.
const LATENESS_SHARE: f64 = 0.05;
/// Lateness of polls as a share of their interval, worth a warning.
const POLL_LATE_SHARE: f64 = 0.05;
/// Share of the cores that the generator has threads for at which it counts as saturated.
const SATURATED_SHARE: f64 = 0.85;
/// Share of the cores, generator and server together, at which latency contains queueing for them.
const FULL_SHARE: f64 = 0.9;
/// Largest minus smallest repeat, as a share of the value.
const WIDE_SPREAD: f64 = 0.25;
/// Load before the run, as a share of the cores.
const OTHER_LOAD_SHARE: f64 = 0.25;

/// Everything that speaks against the run, the gravest first.
pub fn findings(run: &Run, points: &[Point]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = of_run(run).collect();
    for cell in &run.cells {
        let place = || {
            let point = points
                .iter()
                .find(|point| point.name == cell.case && *point.workload == cell.workload);
            let title = point.map_or(String::new(), |point| point.title(run));
            let repeat = format!("repeat {}", cell.repeat + 1);
            place(cell.variant, &[&title, &repeat])
        };
        let warnings = void_reasons(run, cell).into_iter().chain(cautions(run, cell));
        findings.extend(warnings.map(|warning| Finding::new(warning, place())));
    }
    for point in points {
        let title = point.title(run);
        for way in point.valid_ways() {
            let at = place(way.variant, &[&title]);
            findings.extend(of_way(run, way).map(|warning| Finding::new(warning, at.clone())));
        }
    }
    findings.sort_by_key(|finding| finding.warning.severity());
    findings
}

pub(super) fn place(variant: Variant, details: &[&str]) -> String {
    let details: Vec<&str> = details.iter().copied().filter(|text| !text.is_empty()).collect();
    match details.is_empty() {
        true => variant.label(),
        false => format!("{} ({})", variant.label(), details.join(", ")),
    }
}

/// The cells that count, and why the others do not.
pub(super) fn separate<'run>(
    run: &Run,
    measured: Vec<&'run Cell>,
) -> (Vec<&'run Cell>, Vec<String>) {
    let mut valid = Vec::new();
    let mut reasons = Vec::new();
    let mut wrong = false;
    for cell in measured {
        let warnings = void_reasons(run, cell);
        wrong |= warnings.iter().any(Warning::is_wrong);
        if warnings.is_empty() {
            valid.push(cell);
        }
        let describe = |warning| format!("repeat {}: {warning}", cell.repeat + 1);
        reasons.extend(warnings.into_iter().map(describe));
    }
    if wrong {
        valid.clear();
    }
    (valid, reasons)
}

/// Why the cell does not count; empty if it does.
pub fn void_reasons(run: &Run, cell: &Cell) -> Vec<Warning> {
    let counts = cell.deliveries;
    let expected = counts.expected;
    let mut warnings = Vec::new();
    let mut note = |holds: bool, warning: Warning| warnings.extend(holds.then_some(warning));
    note(counts.lost != 0, Warning::Lost { lost: counts.lost, expected });
    note(counts.duplicated != 0, Warning::Duplicated { duplicated: counts.duplicated, expected });
    note(counts.reordered != 0, Warning::Reordered { reordered: counts.reordered, expected });
    note(counts.steady == 0, Warning::NothingDelivered);
    let (client, server) = (cell.requests.client_total, cell.requests.server_total);
    let server = server.unwrap_or(client);
    note(client != server, Warning::RequestsDisagree { client, server });

    let cores = cell.generator.threads.unwrap_or(u32::MAX).min(run.machine.cores);
    let used = cell.generator.cpu_s / cell.steady_s;
    let saturated = used > SATURATED_SHARE * f64::from(cores);
    note(saturated, Warning::GeneratorSaturated { used, cores });
    if let Some(p90_s) = quantile_s(&cell.generator.publisher_late_us, 0.9) {
        let limit_s = publisher_late_max_s(cell);
        note(p90_s > limit_s, Warning::PublisherTooLate { p90_s, limit_s });
    }
    let polls_late = polls_late(cell).filter(|late| late.severity() == Severity::Void);
    warnings.extend(polls_late);
    warnings
}

fn cautions(run: &Run, cell: &Cell) -> impl Iterator<Item = Warning> {
    let cores = run.machine.cores;
    let server_s = cell.server.filter(|_| run.server.is_child).map_or(0.0, |server| server.cpu_s);
    let used = (cell.generator.cpu_s + server_s) / cell.steady_s;
    let full =
        (used > FULL_SHARE * f64::from(cores)).then_some(Warning::MachineFull { used, cores });

    let mean_s = cell.generator.publisher_late_us.0.mean() / 1e6;
    let latency_mean_s = cell.latency_us.0.mean() / 1e6;
    let late = (mean_s > LATENESS_SHARE * latency_mean_s)
        .then_some(Warning::PublisherLate { mean_s, latency_mean_s });
    let p99_s = quantile_s(&cell.generator.publisher_late_us, 0.99);
    let hiccups = p99_s.filter(|p99_s| *p99_s > publisher_late_max_s(cell));
    let hiccups = hiccups.map(|p99_s| Warning::PublisherHiccups { p99_s });
    let polls = polls_late(cell).filter(|late| late.severity() == Severity::Caution);
    [full, late, hiccups, polls].into_iter().flatten()
}

/// True if the cell counts, but its mean is not fit to be held against theory.
pub(super) fn is_disturbed(run: &Run, cell: &Cell) -> bool {
    cautions(run, cell).any(|warning| warning.disturbs())
}

/// How late publications may be before the figures suffer.
fn publisher_late_max_s(cell: &Cell) -> f64 {
    let median_s = quantile_s(&cell.latency_us, 0.5).unwrap_or(0.0);
    (PUBLISHER_LATE_SHARE * median_s).max(PUBLISHER_LATE_S)
}

fn polls_late(cell: &Cell) -> Option<Warning> {
    let p99_s = quantile_s(&cell.generator.poll_late_us, 0.99)?;
    let interval_s = cell.workload.poll_interval.as_secs_f64();
    (p99_s > POLL_LATE_SHARE * interval_s).then_some(Warning::PollsLate { p99_s, interval_s })
}

fn quantile_s(histogram: &Histogram, p: f64) -> Option<f64> {
    (!histogram.0.is_empty()).then(|| histogram.0.value_at_quantile(p) as f64 / 1e6)
}

fn of_run(run: &Run) -> impl Iterator<Item = Finding> {
    let (load, cores) = (run.machine.load_average_before, run.machine.cores);
    let other_load = load > OTHER_LOAD_SHARE * f64::from(cores);
    let estimated = run.cells.iter().any(|cell| cell.bytes.tcp_ip_source == TcpIpSource::Estimated);
    let stopped = run.stopped_early.clone().map(|reason| Warning::StoppedEarly { reason });
    let single = run.scenario.repeats == 1;
    [
        stopped,
        (run.tool.profile == "debug").then_some(Warning::DebugBuild),
        other_load.then_some(Warning::OtherLoad { load, cores }),
        single.then_some(Warning::SingleRepeat),
        estimated.then_some(Warning::TcpIpEstimated),
    ]
    .into_iter()
    .flatten()
    .map(|warning| Finding::new(warning, ""))
}

fn of_way(run: &Run, way: &Way) -> impl Iterator<Item = Warning> {
    let (valid, of) = (way.cells.len(), run.scenario.repeats);
    let missing = (valid < of as usize).then_some(Warning::RepeatsMissing { valid, of });
    let wide = figures::HEADLINES.iter().filter_map(|figure| {
        let spread = way.summary(figure)?.relative_spread()?;
        (spread > WIDE_SPREAD).then_some((figure.name, spread))
    });
    let wide: Vec<(&'static str, f64)> = wide.collect();
    let wide = (!wide.is_empty()).then_some(Warning::SpreadWide { figures: wide });
    [missing, wide, too_few_samples(way)].into_iter().flatten()
}

fn too_few_samples(way: &Way) -> Option<Warning> {
    let (deliveries, messages) = (way.latency_us.0.len(), way.published());
    let unsupported = |figure: &&&Figure| {
        figure.section() == "latency"
            && figure.quantile().is_some_and(|p| !figures::supports(p, deliveries, messages))
    };
    let figures: Vec<&'static str> =
        figures::ALL.iter().filter(unsupported).map(|figure| figure.name).collect();
    (!figures.is_empty()).then_some(Warning::TooFewSamples { figures, deliveries, messages })
}
