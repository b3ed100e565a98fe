//! All findings about a run, with the transport, case or repeat that each is about.

use crate::run::{Cell, Run, TcpIpSource};
use crate::units::{Unit, significant, thousands};
use crate::validity::{Finding, Severity, cautions, void_reasons};
use crate::variant::Variant;

use super::figures::{self, Figure};
use super::{PointResults, VariantResult};

/// Largest minus smallest repeat, as a share of the value: a caution.
const WIDE_SPREAD: f64 = 0.25;
/// Load before the run, as a share of the cores: a caution.
const OTHER_LOAD_SHARE: f64 = 0.25;

/// All findings, the most severe first.
pub fn all(run: &Run, points: &[PointResults]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = of_run(run).collect();
    for cell in &run.cells {
        let same =
            |point: &&PointResults| point.name == cell.case && *point.workload == cell.workload;
        let title = points.iter().find(same).map_or(String::new(), |point| point.title(run));
        let place = place(cell.variant, &[&title, &format!("repeat {}", cell.repeat + 1)]);
        let of_cell = void_reasons(run, cell).into_iter().chain(cautions(run, cell));
        findings.extend(of_cell.map(|finding| finding.at(place.clone())));
    }
    findings.extend(run.failed.iter().map(|failed| {
        let repeat = format!("repeat {}", failed.repeat + 1);
        let text = format!("not measured: {}", failed.error);
        Finding::new(Severity::Void, text).at(place(failed.variant, &[&failed.case, &repeat]))
    }));
    for point in points {
        let title = point.title(run);
        for result in point.valid_results() {
            let place = place(result.variant, &[&title]);
            findings.extend(of_variant(run, result).map(|finding| finding.at(place.clone())));
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The transport with its case or repeat: `SSE (rate 1/s, repeat 2)`.
pub(super) fn place(variant: Variant, details: &[&str]) -> String {
    let details: Vec<&str> = details.iter().copied().filter(|text| !text.is_empty()).collect();
    match details.is_empty() {
        true => variant.label(),
        false => format!("{} ({})", variant.label(), details.join(", ")),
    }
}

/// The valid cells, and why the others are not valid.
pub(super) fn separate<'run>(
    run: &Run,
    measured: Vec<&'run Cell>,
) -> (Vec<&'run Cell>, Vec<String>) {
    let (mut valid, mut reasons, mut is_wrong) = (Vec::new(), Vec::new(), false);
    for cell in measured {
        let findings = void_reasons(run, cell);
        is_wrong |= findings.iter().any(|finding| finding.severity == Severity::Wrong);
        if findings.is_empty() {
            valid.push(cell);
        }
        let place = format!("repeat {}", cell.repeat + 1);
        reasons.extend(findings.into_iter().map(|finding| finding.at(&place).to_string()));
    }
    if is_wrong {
        valid.clear();
    }
    (valid, reasons)
}

fn of_run(run: &Run) -> impl Iterator<Item = Finding> {
    let (load, cores) = (run.machine.load_average_before, run.machine.cores);
    let other_load = load > OTHER_LOAD_SHARE * f64::from(cores);
    let is_estimated =
        run.cells.iter().any(|cell| cell.bytes.tcp_ip_source == TcpIpSource::Estimated);
    let stopped = run.stopped_early.as_ref();
    [
        stopped.map(|stop| format!("the run ended before its last cell: {}", stop.text)),
        (run.tool.profile == "debug").then(|| {
            "measured with a debug build, which is slower than a release build".to_owned()
        }),
        other_load.then(|| {
            format!(
                "the machine was busy before the run: its load average over one minute was {}, on \
                 {cores} cores",
                significant(load)
            )
        }),
        (run.scenario.repeats == 1).then(|| {
            "there is only one repeat, so the spread is unknown and only differences beyond a \
             factor of 1.5 are claimed"
                .to_owned()
        }),
        is_estimated.then(|| {
            "TCP/IP bytes are estimated (one segment per write, one acknowledgement for every \
             second segment) and not counted by the kernel"
                .to_owned()
        }),
    ]
    .into_iter()
    .flatten()
    .map(|text| Finding::new(Severity::Caution, text))
}

fn of_variant(run: &Run, result: &VariantResult) -> impl Iterator<Item = Finding> {
    let (valid, all) = (result.cells.len(), run.scenario.repeats);
    let missing = (valid < all as usize).then(|| format!("only {valid} of {all} repeats count"));
    [missing, wide_spreads(result), too_few_samples(result)]
        .into_iter()
        .flatten()
        .map(|text| Finding::new(Severity::Caution, text))
}

fn wide_spreads(result: &VariantResult) -> Option<String> {
    let wide = figures::HEADLINES.iter().filter_map(|figure| {
        let spread = result.summary(figure)?.relative_spread()?;
        let is_wide = spread > WIDE_SPREAD;
        is_wide.then(|| format!("{} by {}", figure.name, Unit::Share.show(spread)))
    });
    let wide: Vec<String> = wide.collect();
    (!wide.is_empty()).then(|| {
        format!(
            "the repeats differ widely (largest minus smallest, as a share of the value): {}",
            wide.join(", ")
        )
    })
}

fn too_few_samples(result: &VariantResult) -> Option<String> {
    let (deliveries, messages) = (result.latency_us.0.len(), result.published());
    let is_unsupported = |figure: &&&Figure| {
        figure.section() == "latency"
            && figure.quantile().is_some_and(|p| !figures::supports(p, deliveries, messages))
    };
    let figures: Vec<&str> =
        figures::ALL.iter().filter(is_unsupported).map(|figure| figure.name).collect();
    let [deliveries, messages] = [deliveries, messages].map(|count| thousands(count as i64));
    (!figures.is_empty()).then(|| {
        format!(
            "{} not shown: {deliveries} deliveries of {messages} messages are too few",
            figures.join(", ")
        )
    })
}
