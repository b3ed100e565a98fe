//! Decides whether the figures of a cell count: what voids a cell, and what only limits its use.
//!
//! A cell is void if its deliveries were wrong, or if the load generator was the limit rather than
//! the server. Everything else is a caution: the figures are shown with the finding beside them.

use std::fmt;

use crate::measure::Histogram;
use crate::run::{Cell, CellSegment, Generator, OtherLoad, Run};
use crate::units::{Unit, significant, thousands};

/// The consequence of a finding for the figures, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Deliveries or counts are wrong: no repeat of the transport counts.
    Wrong,
    /// The cell does not count.
    Void,
    /// The cell counts, but its mean contains effects that the model leaves out, so it is not
    /// compared with theory.
    Disturbed,
    /// The figures count, with this caution.
    Caution,
}

/// Something that limits the use of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    /// The transport, case and repeat concerned; empty for the whole run.
    pub place: String,
    text: String,
}

impl Finding {
    /// A finding about the whole run.
    pub fn new(severity: Severity, text: impl Into<String>) -> Finding {
        Finding { severity, place: String::new(), text: text.into() }
    }

    /// The same about `place`.
    pub fn at(self, place: impl Into<String>) -> Finding {
        Finding { place: place.into(), ..self }
    }

    /// True if figures are omitted because of it.
    pub fn is_void(&self) -> bool {
        self.severity <= Severity::Void
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.place, self.text)
    }
}

/// Lateness of the publisher at p90, seconds, that voids a cell with a short latency.
const PUBLISHER_LATE_S: f64 = 0.005;
/// The same as a share of the median latency, where that allows more.
const PUBLISHER_LATE_SHARE: f64 = 0.25;
/// Mean lateness of the publisher as a share of the mean latency: a caution.
const LATENESS_SHARE: f64 = 0.05;
/// Lateness of polls at p99 as a share of their interval: a caution.
const POLL_LATE_SHARE: f64 = 0.05;
/// Lateness of polls at p99 as a share of their interval that voids.
const POLL_LATE_SHARE_VOID: f64 = 0.5;
/// Lateness of the packet link at p99, seconds, that voids a cell with a short round trip.
const LINK_LATE_S: f64 = 0.002;
/// The same as a share of the round trip, where that allows more.
const LINK_LATE_SHARE: f64 = 0.1;
/// Lateness as a share of what voids: a caution.
const LINK_LATE_CAUTION: f64 = 0.5;
/// CPU use of the generator that voids, as a share of the cores that it has threads for.
const SATURATED_SHARE: f64 = 0.85;
/// CPU use of generator and server, as a share of the cores, above which latency contains queueing.
const FULL_SHARE: f64 = 0.9;
/// CPU use of other processes in the steady state, cores: a caution.
const OTHERS_BUSY: f64 = 0.1;
/// Share of the steady states in which all segments measured, below which they did not measure the
/// same load, by the clocks of their machines ...
const OVERLAP_SHARE: f64 = 0.9;
/// ... and by the server's CPU time, which is less even.
const OVERLAP_SHARE_CPU: f64 = 0.5;

/// A load generator in a cell.
struct Load<'a> {
    /// The segment's number, if there are several generators.
    segment: Option<u32>,
    generator: &'a Generator,
    others: Option<OtherLoad>,
    /// Cores of its machine.
    cores: u32,
}

impl<'a> Load<'a> {
    /// The load generators of the cell.
    fn all(run: &Run, cell: &'a Cell) -> Vec<Load<'a>> {
        if run.segments.len() < 2 {
            let (generator, others, cores) = (&cell.generator, cell.others, run.machine.cores);
            return vec![Load { segment: None, generator, others, cores }];
        }
        let of_segment = |part: &'a CellSegment| {
            let known = run.segments.iter().find(|known| known.segment.number == part.number);
            Load {
                segment: Some(part.number),
                generator: &part.generator,
                others: part.others,
                cores: known.map_or(run.machine.cores, |known| known.machine.cores),
            }
        };
        cell.segments.iter().map(of_segment).collect()
    }

    /// What limits the use of the cell's figures because of this generator.
    fn findings(&self, run: &Run, cell: &Cell) -> Vec<Finding> {
        let single = [
            saturated(cell, self),
            polls_late(cell, self),
            machine_full(run, cell, self),
            others_busy(cell, self),
        ];
        let found = single.into_iter().flatten().chain(lateness(cell, self));
        let named = |finding: Finding| match self.segment {
            Some(number) => {
                Finding { text: format!("segment {number}: {}", finding.text), ..finding }
            }
            None => finding,
        };
        found.map(named).collect()
    }
}

/// Why the cell does not count; empty if it does.
pub fn void_reasons(run: &Run, cell: &Cell) -> Vec<Finding> {
    findings(run, cell).filter(Finding::is_void).collect()
}

/// What limits the use of the cell's figures without voiding it.
pub fn cautions(run: &Run, cell: &Cell) -> impl Iterator<Item = Finding> {
    findings(run, cell).filter(|finding| !finding.is_void())
}

/// True if other processes on the machine used too much CPU time for the cell to count.
pub fn is_void_by_others(cell: &Cell) -> bool {
    let load =
        Load { segment: None, generator: &cell.generator, others: cell.others, cores: u32::MAX };
    others_busy(cell, &load).is_some_and(|finding| finding.is_void())
}

/// True if the cell counts, but its mean is not comparable with theory.
pub fn is_disturbed(run: &Run, cell: &Cell) -> bool {
    cautions(run, cell).any(|finding| finding.severity == Severity::Disturbed)
}

fn findings(run: &Run, cell: &Cell) -> impl Iterator<Item = Finding> {
    let mut findings = wrong_deliveries(cell);
    findings.extend(not_simultaneous(run, cell));
    findings.extend(nothing_delivered(cell));
    findings.extend(repeated_requests(cell));
    findings.extend(link_behind(cell));
    for load in Load::all(run, cell) {
        findings.extend(load.findings(run, cell));
    }
    findings.into_iter()
}

fn wrong_deliveries(cell: &Cell) -> Vec<Finding> {
    let counts = cell.deliveries;
    let of_expected = [
        (counts.lost, "deliveries were lost"),
        (counts.duplicated, "deliveries were duplicates"),
        (counts.reordered, "deliveries were out of order"),
        (counts.early, "deliveries arrived earlier than the delay of the link allows"),
    ];
    let expected = thousands(counts.expected as i64);
    let wrong = of_expected.into_iter().filter(|(count, _)| *count != 0).map(|(count, what)| {
        let count = thousands(count as i64);
        Finding::new(Severity::Wrong, format!("{count} of {expected} {what}"))
    });
    let unknown = (counts.unknown != 0).then(|| {
        let count = thousands(counts.unknown as i64);
        let text = format!(
            "{count} messages were received that were never published, in addition to {expected} \
             expected deliveries"
        );
        Finding::new(Severity::Wrong, text)
    });
    let client = cell.requests.client_total;
    let server = cell.requests.server_total.unwrap_or(client);
    // The server may have counted a repeated request twice.
    let agree = (client..=client.saturating_add(cell.requests.repeated)).contains(&server);
    let disagree = (!agree).then(|| {
        let [client, server] = [client, server].map(|count| thousands(count as i64));
        let text = format!("the subscribers counted {client} requests, the server {server}");
        Finding::new(Severity::Wrong, text)
    });
    wrong.chain(unknown).chain(disagree).collect()
}

/// Segments that did not measure at the same time, if they are merged.
fn not_simultaneous(run: &Run, cell: &Cell) -> Option<Finding> {
    if run.segments.len() < 2 {
        return None;
    }
    let (by_clock, by_cpu) = cell.overlap();
    let (share, measure) = match by_cpu {
        _ if by_clock < OVERLAP_SHARE => (by_clock, "time, by the clocks of their machines"),
        Some(by_cpu) if by_cpu < OVERLAP_SHARE_CPU => (by_cpu, "CPU time of the server"),
        _ => return None,
    };
    let text = format!(
        "the segments did not measure at the same time: their steady states have {} of the {measure} \
         in common",
        Unit::Share.show(share)
    );
    Some(Finding::new(Severity::Void, text))
}

fn nothing_delivered(cell: &Cell) -> Option<Finding> {
    (cell.deliveries.steady == 0)
        .then(|| Finding::new(Severity::Void, "nothing was delivered in the steady state"))
}

fn repeated_requests(cell: &Cell) -> Option<Finding> {
    (cell.requests.repeated != 0).then(|| {
        let text = format!(
            "{} requests were repeated because the server had closed their connection",
            thousands(cell.requests.repeated as i64)
        );
        Finding::new(Severity::Caution, text)
    })
}

fn saturated(cell: &Cell, load: &Load) -> Option<Finding> {
    let cores = load.generator.threads.unwrap_or(u32::MAX).min(load.cores);
    let used = load.generator.cpu_s / cell.steady_s;
    (used > SATURATED_SHARE * f64::from(cores)).then(|| {
        let text = format!(
            "the load generator used {} of {cores} core{}, so it was the limit instead of the \
             server",
            significant(used),
            if cores == 1 { "" } else { "s" }
        );
        Finding::new(Severity::Void, text)
    })
}

fn lateness(cell: &Cell, load: &Load) -> Vec<Finding> {
    let late_us = &load.generator.publisher_late_us;
    let (p90_s, p99_s) = (quantile_s(late_us, 0.9), quantile_s(late_us, 0.99));
    let limit_s = publisher_late_max_s(cell);
    let void = p90_s.filter(|p90_s| *p90_s > limit_s).map(|p90_s| {
        let text = format!(
            "10 % of the publications were at least {} behind schedule (limit: {}), so the load \
             generator was the limit",
            show_s(p90_s),
            show_s(limit_s)
        );
        Finding::new(Severity::Void, text)
    });
    let hiccups = p99_s.filter(|p99_s| *p99_s > limit_s).map(|p99_s| {
        let text = format!(
            "1 % of the publications were at least {} behind schedule, which raises the \
             highest percentiles",
            show_s(p99_s)
        );
        Finding::new(Severity::Disturbed, text)
    });
    let (mean_s, latency_s) = (late_us.0.mean() / 1e6, cell.latency_us.0.mean() / 1e6);
    let mean = (mean_s > LATENESS_SHARE * latency_s).then(|| {
        let text = format!(
            "publications were {} behind schedule on average, a part of the mean latency of {}",
            show_s(mean_s),
            show_s(latency_s)
        );
        Finding::new(Severity::Caution, text)
    });
    [void, mean, hiccups].into_iter().flatten().collect()
}

/// A packet link that deviated from its configuration, if any.
fn link_behind(cell: &Cell) -> Option<Finding> {
    let link = cell.link.as_ref()?;
    let p99_s = quantile_s(&link.late_us, 0.99).unwrap_or(0.0);
    let limit_s = (LINK_LATE_SHARE * cell.workload.rtt.as_secs_f64()).max(LINK_LATE_S);
    let late = format!("1 % of the packets were at least {} late", show_s(p99_s));
    let limit = show_s(limit_s);
    if p99_s > limit_s || link.missed > 0 {
        let missed = thousands(link.missed as i64);
        let text = format!(
            "the packet link fell behind: {late} (limit: {limit}), and {missed} were dropped \
             because the link was too slow"
        );
        return Some(Finding::new(Severity::Void, text));
    }
    (p99_s > LINK_LATE_CAUTION * limit_s).then(|| {
        let text = format!("the packet link was slow: {late} (above {limit} the cell is void)");
        Finding::new(Severity::Caution, text)
    })
}

fn polls_late(cell: &Cell, load: &Load) -> Option<Finding> {
    let p99_s = quantile_s(&load.generator.poll_late_us, 0.99)?;
    let interval_s = cell.workload.poll_interval.as_secs_f64();
    let severity = match p99_s / interval_s {
        share if share > POLL_LATE_SHARE_VOID => Severity::Void,
        share if share > POLL_LATE_SHARE => Severity::Disturbed,
        _ => return None,
    };
    let text = format!(
        "1 % of the polls were at least {} behind schedule, at an interval of {}",
        show_s(p99_s),
        show_s(interval_s)
    );
    Some(Finding::new(severity, text))
}

fn machine_full(run: &Run, cell: &Cell, load: &Load) -> Option<Finding> {
    let cores = load.cores;
    let server_s = cell.server.filter(|_| run.server.is_child).map_or(0.0, |server| server.cpu_s);
    let used = (load.generator.cpu_s + server_s) / cell.steady_s;
    (used > FULL_SHARE * f64::from(cores)).then(|| {
        let text = format!(
            "server and load generator used {} of {cores} cores, so latency contains queueing for \
             a core",
            significant(used)
        );
        Finding::new(Severity::Disturbed, text)
    })
}

/// Other processes on the machine, if they used enough to matter. The generator has a thread for
/// each core that it may use, the server the other cores; others could use what either left of its
/// share without disturbing it.
fn others_busy(cell: &Cell, load: &Load) -> Option<Finding> {
    let others = load.others?;
    let used = others.cpu_s / cell.steady_s;
    let cores = f64::from(others.cores);
    let threads = load.generator.threads.map_or(cores, f64::from).min(cores);
    let generator_left = threads - load.generator.cpu_s / cell.steady_s;
    let server_s = cell.server.map_or(0.0, |server| server.cpu_s);
    let server_left = (cores - threads).max(1.0) - server_s / cell.steady_s;
    let left = generator_left.min(server_left).max(0.0);
    let severity = if used > left { Severity::Void } else { Severity::Disturbed };
    (used > OTHERS_BUSY).then(|| {
        let text = format!(
            "other processes used {} cores in the steady state; load generator and server left {}",
            significant(used),
            significant(left)
        );
        Finding::new(severity, text)
    })
}

/// Lateness of the publisher up to which the figures are valid, seconds.
fn publisher_late_max_s(cell: &Cell) -> f64 {
    let median_s = quantile_s(&cell.latency_us, 0.5).unwrap_or(0.0);
    (PUBLISHER_LATE_SHARE * median_s).max(PUBLISHER_LATE_S)
}

fn quantile_s(histogram: &Histogram, p: f64) -> Option<f64> {
    (!histogram.0.is_empty()).then(|| histogram.0.value_at_quantile(p) as f64 / 1e6)
}

fn show_s(seconds: f64) -> String {
    Unit::Seconds.show(seconds)
}
