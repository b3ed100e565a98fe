//! All warnings about a run, with the cell or transport that each is about.
//!
//! A repeat that is void does not count; a transport that got one delivery wrong has no figures at
//! all. Everything else is a caution: the figures stand, with the warning beside them.

use crate::run::{Cell, Run, TcpIpSource};
use crate::variant::Variant;

use super::figures::{self, Figure};
use super::{Point, Way};
use crate::validity::{Finding, Warning, cautions, void_reasons};

/// Largest minus smallest repeat, as a share of the value.
const WIDE_SPREAD: f64 = 0.25;
/// Load before the run, as a share of the cores.
const OTHER_LOAD_SHARE: f64 = 0.25;

/// Everything that speaks against the run, the gravest first.
pub fn all(run: &Run, points: &[Point]) -> Vec<Finding> {
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
