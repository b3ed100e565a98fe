//! What speaks against a run's figures: a typed list, each entry void or caution.
//!
//! A cell is void if its deliveries were wrong or if the generator, not the server, was the limit.
//! A repeat that is void does not count; a transport that got one delivery wrong has no figures at
//! all. Everything else is a caution: the figures stand, with the warning beside them.

use crate::measure::Histogram;
use crate::run::{Cell, Run, TcpIpSource};
use crate::variant::Variant;

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

/// CPU time of other processes in the steady state, in cores, worth a warning.
const OTHERS_BUSY: f64 = 0.1;

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
    for failed in &run.failed {
        let repeat = format!("repeat {}", failed.repeat + 1);
        let at = place(failed.variant, &[&failed.case, &repeat]);
        let error = failed.error.clone();
        findings.push(Finding::new(Warning::CellFailed { error }, at));
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
    note(counts.early != 0, Warning::Early { early: counts.early, expected });
    note(counts.unknown != 0, Warning::Unknown { unknown: counts.unknown, expected });
    note(counts.steady == 0, Warning::NothingDelivered);
    let (client, server) = (cell.requests.client_total, cell.requests.server_total);
    let server = server.unwrap_or(client);
    // The server may have counted a request that was sent twice, twice.
    let agree = (client..=client.saturating_add(cell.requests.repeated)).contains(&server);
    note(!agree, Warning::RequestsDisagree { client, server });

    let cores = cell.generator.threads.unwrap_or(u32::MAX).min(run.machine.cores);
    let used = cell.generator.cpu_s / cell.steady_s;
    let saturated = used > SATURATED_SHARE * f64::from(cores);
    note(saturated, Warning::GeneratorSaturated { used, cores });
    if let Some(p90_s) = quantile_s(&cell.generator.publisher_late_us, 0.9) {
        let limit_s = publisher_late_max_s(cell);
        note(p90_s > limit_s, Warning::PublisherTooLate { p90_s, limit_s });
    }
    let others = [polls_late(cell), others_busy(cell)].into_iter().flatten();
    warnings.extend(others.filter(|warning| warning.severity() == Severity::Void));
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
    let cautions = [polls_late(cell), others_busy(cell)].into_iter().flatten();
    let cautions = cautions.filter(|warning| warning.severity() == Severity::Caution);
    let repeated = cell.requests.repeated;
    let repeated = (repeated != 0).then_some(Warning::RequestsRepeated { repeated });
    [full, late, hiccups, repeated].into_iter().flatten().chain(cautions)
}

/// Other processes on the machine, if they used enough to matter. The generator has a thread for
/// each core that it may use, the server the other cores; what either did not use of its share is
/// what others could take without disturbing it.
fn others_busy(cell: &Cell) -> Option<Warning> {
    let others = cell.others?;
    let used = others.cpu_s / cell.steady_s;
    let cores = f64::from(others.cores);
    let threads = cell.generator.threads.map_or(cores, f64::from).min(cores);
    let generator_left = threads - cell.generator.cpu_s / cell.steady_s;
    let server_s = cell.server.map_or(0.0, |server| server.cpu_s);
    let server_left = (cores - threads).max(1.0) - server_s / cell.steady_s;
    let left = generator_left.min(server_left).max(0.0);
    (used > OTHERS_BUSY).then_some(Warning::OthersBusy { used, left })
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
    let stopped = run.stopped_early.as_ref();
    let stopped = stopped.map(|stop| Warning::StoppedEarly { reason: stop.text.clone() });
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
