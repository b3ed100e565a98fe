//! Decides whether a cell's figures count: what voids the cell, and what only qualifies it.
//!
//! A cell is void if its deliveries were wrong or if the generator, not the server, was the limit.
//! Everything else is a caution: the figures stand, with the warning beside them.

mod warning;

use crate::measure::Histogram;
use crate::run::{Cell, Run};

pub use warning::{Finding, Severity, Warning};

/// A publisher later than this voids a cell, whatever the latency is.
const PUBLISHER_LATE_S: f64 = 0.005;
/// ... unless the latency is long enough for it not to matter: a share of the median.
const PUBLISHER_LATE_SHARE: f64 = 0.25;
/// A packet link that hands over 1 % of its packets later than this voids a cell ...
const LINK_LATE_S: f64 = 0.002;
/// ... unless the round trip is long enough for it not to matter: a share of it.
const LINK_LATE_SHARE: f64 = 0.05;
/// Mean lateness of the publisher, as a share of the mean latency, worth a warning.
const LATENESS_SHARE: f64 = 0.05;
/// Lateness of polls as a share of their interval, worth a warning.
const POLL_LATE_SHARE: f64 = 0.05;
/// Share of the cores that the generator has threads for at which it counts as saturated.
const SATURATED_SHARE: f64 = 0.85;
/// Share of the cores, generator and server together, at which latency contains queueing for them.
const FULL_SHARE: f64 = 0.9;
/// CPU time of other processes in the steady state, in cores, worth a warning.
const OTHERS_BUSY: f64 = 0.1;

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
    warnings.extend(link_behind(cell));
    let others = [polls_late(cell), others_busy(cell)].into_iter().flatten();
    warnings.extend(others.filter(|warning| warning.severity() == Severity::Void));
    warnings
}

/// What limits the use of a cell's figures without voiding it.
pub fn cautions(run: &Run, cell: &Cell) -> impl Iterator<Item = Warning> {
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
pub fn is_disturbed(run: &Run, cell: &Cell) -> bool {
    cautions(run, cell).any(|warning| warning.disturbs())
}

/// How late publications may be before the figures suffer.
fn publisher_late_max_s(cell: &Cell) -> f64 {
    let median_s = quantile_s(&cell.latency_us, 0.5).unwrap_or(0.0);
    (PUBLISHER_LATE_SHARE * median_s).max(PUBLISHER_LATE_S)
}

/// A packet link that did not do what it was asked to, if it did not.
fn link_behind(cell: &Cell) -> Option<Warning> {
    let link = cell.link.as_ref()?;
    let p99_s = quantile_s(&link.late_us, 0.99).unwrap_or(0.0);
    let limit_s = (LINK_LATE_SHARE * cell.workload.rtt.as_secs_f64()).max(LINK_LATE_S);
    let is_behind = p99_s > limit_s || link.missed > 0;
    is_behind.then_some(Warning::LinkBehind { p99_s, limit_s, missed: link.missed })
}

fn polls_late(cell: &Cell) -> Option<Warning> {
    let p99_s = quantile_s(&cell.generator.poll_late_us, 0.99)?;
    let interval_s = cell.workload.poll_interval.as_secs_f64();
    (p99_s > POLL_LATE_SHARE * interval_s).then_some(Warning::PollsLate { p99_s, interval_s })
}

fn quantile_s(histogram: &Histogram, p: f64) -> Option<f64> {
    (!histogram.0.is_empty()).then(|| histogram.0.value_at_quantile(p) as f64 / 1e6)
}
