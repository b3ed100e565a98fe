//! Merges the runs of all segments into the run that one load generator would have measured:
//! histograms are merged and counts added. The server is the same for all segments, so its cost is
//! counted once.

use super::{
    Cell, CellSegment, Connections, FailedCell, Network, Run, RunSegment, StoppedEarly, TcpIpSource,
};
use crate::measure::{Ledger, RoundTrips};
use crate::scenario::Workload;
use crate::variant::Variant;

/// Why runs cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("{0}: not a segment; only runs of `compare --segment` can be merged")]
    NotASegment(String),
    #[error("{a} and {b}: cannot be merged: {what}")]
    Differ { a: String, b: String, what: &'static str },
    #[error("{a} and {b}: both are segment {number}")]
    Duplicate { a: String, b: String, number: u32 },
    #[error("segment{s} {missing} of {of} missing; give the run.json of every segment")]
    Missing { s: &'static str, missing: String, of: u32 },
}

/// Merges `runs`, each with its name for errors. Without segments, a single run is returned as it
/// is.
///
/// # Errors
/// If they are not all segments of one run of the same scenario, seed and server.
pub fn merge(mut runs: Vec<(String, Run)>) -> Result<Run, MergeError> {
    if let [(_, run)] = runs.as_slice()
        && run.partial().is_none()
    {
        return Ok(runs.remove(0).1);
    }
    check(&runs)?;
    runs.sort_by_key(|(_, run)| number(run));
    let runs: Vec<Run> = runs.into_iter().map(|(_, run)| run).collect();
    let first = &runs[0];
    let segments: Vec<RunSegment> = runs.iter().flat_map(|run| run.segments.clone()).collect();
    let (mut cells, failed) = cells(&runs);
    cells.iter_mut().for_each(|cell| finish(cell, &segments));
    Ok(Run {
        schema: first.schema,
        tool: first.tool.clone(),
        started_at: runs.iter().map(|run| run.started_at).min().unwrap_or(first.started_at),
        finished_at: runs.iter().map(|run| run.finished_at).max().unwrap_or(first.finished_at),
        stopped_early: runs.iter().find_map(stopped_early),
        failed,
        machine: first.machine.clone(),
        server: first.server.clone(),
        processing_time: runs.iter().find_map(|run| run.processing_time),
        scenario: first.scenario.clone(),
        segments,
        cells,
    })
}

/// The number of the segment that `run` is; 0 if it is none.
fn number(run: &Run) -> u32 {
    run.partial().map_or(0, |segment| segment.number)
}

/// Checks that the runs are all segments of one run.
fn check(runs: &[(String, Run)]) -> Result<(), MergeError> {
    let mut seen: Vec<(u32, &str)> = Vec::new();
    let mut of = 0;
    for (name, run) in runs {
        let segment = run.partial().ok_or_else(|| MergeError::NotASegment(name.clone()))?;
        let (first_name, first) = &runs[0];
        if let Some(what) = difference(first, run) {
            return Err(MergeError::Differ { a: first_name.clone(), b: name.clone(), what });
        }
        if let Some((number, other)) = seen.iter().find(|(number, _)| *number == segment.number) {
            let (a, b) = ((*other).to_owned(), name.clone());
            return Err(MergeError::Duplicate { a, b, number: *number });
        }
        seen.push((segment.number, name));
        of = segment.of;
    }
    let is_missing = |number: &u32| seen.iter().all(|(known, _)| known != number);
    let missing: Vec<String> =
        (1..=of).filter(is_missing).map(|number| number.to_string()).collect();
    match missing.len() {
        0 => Ok(()),
        count => Err(MergeError::Missing {
            s: if count == 1 { "" } else { "s" },
            missing: missing.join(", "),
            of,
        }),
    }
}

/// What keeps `a` and `b` from being segments of the same run, if anything.
fn difference(a: &Run, b: &Run) -> Option<&'static str> {
    let seedless = |run: &Run| super::Scenario { seed: 0, ..run.scenario.clone() };
    let version = |run: &Run| {
        let tool = &run.tool;
        (tool.version.clone(), tool.commit.clone(), tool.profile.clone())
    };
    let start_at = |run: &Run| run.segments.first().map(|part| part.start_at);
    let of = |run: &Run| run.partial().map(|segment| segment.of);
    let server = |run: &Run| (run.server.is_tls, run.server.version.clone());
    // A segment without cells does not know the server.
    let both_measured = !a.cells.is_empty() && !b.cells.is_empty();
    let differences = [
        (seedless(a) != seedless(b), "they measured different scenarios"),
        (a.scenario.seed != b.scenario.seed, "their seeds differ"),
        (of(a) != of(b), "they are shares of different numbers of segments"),
        (start_at(a) != start_at(b), "their --start-at differs"),
        (version(a) != version(b), "different builds of this program measured them"),
        (both_measured && server(a) != server(b), "they measured different servers"),
    ];
    differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
}

fn stopped_early(run: &Run) -> Option<StoppedEarly> {
    let stopped = run.stopped_early.as_ref()?;
    let text = format!("segment {}: {}", number(run), stopped.text);
    Some(StoppedEarly { reason: stopped.reason, text })
}

/// The cells that all segments measured, merged, and those that only some did.
fn cells(runs: &[Run]) -> (Vec<Cell>, Vec<FailedCell>) {
    let (mut merged, mut failed): (Vec<Cell>, Vec<FailedCell>) = (Vec::new(), Vec::new());
    // In the order of the first segment that has the cell.
    for cell in runs.iter().flat_map(|run| &run.cells) {
        let key = key_of(cell);
        let is_known = merged.iter().any(|known| key_of(known) == key)
            || failed.iter().any(|known| key_of_failed(known) == key);
        if is_known {
            continue;
        }
        match runs.iter().find(|run| find(run, key).is_none()) {
            Some(run) => failed.push(not_measured(run, cell)),
            None => {
                let parts = runs.iter().filter_map(|run| find(run, key).cloned());
                merged.extend(parts.reduce(add));
            }
        }
    }
    for run in runs {
        for cell in &run.failed {
            if !failed.iter().any(|known| key_of_failed(known) == key_of_failed(cell)) {
                let error = format!("segment {}: {}", number(run), cell.error);
                failed.push(FailedCell { error, ..cell.clone() });
            }
        }
    }
    (merged, failed)
}

/// What identifies a cell within a run.
type CellKey<'a> = (Variant, u32, &'a str, &'a Workload);

fn key_of(cell: &Cell) -> CellKey<'_> {
    (cell.variant, cell.repeat, &cell.case, &cell.workload)
}

fn key_of_failed(cell: &FailedCell) -> CellKey<'_> {
    (cell.variant, cell.repeat, &cell.case, &cell.workload)
}

fn find<'a>(run: &'a Run, key: CellKey<'_>) -> Option<&'a Cell> {
    run.cells.iter().find(|cell| key_of(cell) == key)
}

/// The failure of a cell that `run` lacks.
fn not_measured(run: &Run, cell: &Cell) -> FailedCell {
    let known = run.failed.iter().find(|failed| key_of_failed(failed) == key_of(cell));
    let why = known.map_or("not measured", |failed| failed.error.as_str());
    FailedCell {
        variant: cell.variant,
        case: cell.case.clone(),
        workload: cell.workload.clone(),
        repeat: cell.repeat,
        error: format!("segment {}: {why}", number(run)),
    }
}

/// The sum of two segments of a cell.
fn add(mut sum: Cell, cell: Cell) -> Cell {
    sum.published += cell.published;
    let (deliveries, other) = (&mut sum.deliveries, cell.deliveries);
    deliveries.expected += other.expected;
    deliveries.received += other.received;
    deliveries.lost += other.lost;
    deliveries.duplicated += other.duplicated;
    deliveries.reordered += other.reordered;
    deliveries.early += other.early;
    deliveries.unknown += other.unknown;
    deliveries.steady += other.steady;
    deliveries.in_steady += other.in_steady;
    sum.latency_us.merge(&cell.latency_us);
    let (requests, other) = (&mut sum.requests, cell.requests);
    requests.sent += other.sent;
    requests.answers += other.answers;
    requests.empty_answers += other.empty_answers;
    requests.repeated += other.repeated;
    requests.client_total += other.client_total;
    add_ledger(&mut sum.bytes.up, &cell.bytes.up);
    add_ledger(&mut sum.bytes.down, &cell.bytes.down);
    if cell.bytes.tcp_ip_source == TcpIpSource::Estimated {
        sum.bytes.tcp_ip_source = TcpIpSource::Estimated;
    }
    add_connections(&mut sum.connections, &cell.connections);
    // Every segment has read the cost of the whole server: one reading counts.
    sum.server = sum.server.or(cell.server);
    sum.network = match (sum.network.take(), cell.network) {
        (Some(sum), Some(other)) => Some(add_networks(sum, &other)),
        (sum, other) => sum.or(other),
    };
    sum.segments.extend(cell.segments);
    sum
}

fn add_ledger(sum: &mut Ledger, other: &Ledger) {
    sum.payload += other.payload;
    sum.framing += other.framing;
    sum.headers += other.headers;
    sum.tcp_ip += other.tcp_ip;
}

fn add_connections(sum: &mut Connections, other: &Connections) {
    sum.opened += other.opened;
    sum.resumed += other.resumed;
    sum.ready_us.merge(&other.ready_us);
}

fn add_networks(mut sum: Network, other: &Network) -> Network {
    let merge = |sum: &mut RoundTrips, other: &RoundTrips| {
        sum.connect_us.merge(&other.connect_us);
        sum.kernel_us.merge(&other.kernel_us);
    };
    merge(&mut sum.subscribers, &other.subscribers);
    merge(&mut sum.publisher, &other.publisher);
    sum
}

/// Derives what needs all segments of a cell.
fn finish(cell: &mut Cell, segments: &[RunSegment]) {
    cell.requests.server_total = server_total(&cell.segments);
    let generator = &mut cell.generator;
    generator.cpu_s = cell.segments.iter().map(|part| part.generator.cpu_s).sum();
    let threads = cell.segments.iter().map(|part| part.generator.threads);
    generator.threads = threads.sum();
    for part in cell.segments.iter().skip(1) {
        generator.publisher_late_us.merge(&part.generator.publisher_late_us);
        generator.poll_late_us.merge(&part.generator.poll_late_us);
    }
    separate_others(&mut cell.segments, segments);
    // Each segment has its own.
    cell.others = None;
}

/// Load generators on one machine counted each other as other processes.
fn separate_others(parts: &mut [CellSegment], segments: &[RunSegment]) {
    let machine_of = |number: u32| {
        let segment = segments.iter().find(|segment| segment.segment.number == number);
        segment.map(|segment| segment.machine_id)
    };
    let used: Vec<_> =
        parts.iter().map(|part| (machine_of(part.number), part.generator.cpu_s)).collect();
    for part in parts {
        let here = machine_of(part.number);
        let on_machine = used.iter().filter(|(machine, _)| *machine == here);
        let segments_s: f64 = on_machine.map(|(_, cpu_s)| cpu_s).sum();
        if let Some(others) = &mut part.others {
            others.cpu_s = (others.cpu_s - (segments_s - part.generator.cpu_s)).max(0.0);
        }
    }
}

/// The requests that the server counted from the first reading to the last.
fn server_total(segments: &[CellSegment]) -> Option<u64> {
    let readings: Option<Vec<[u64; 2]>> =
        segments.iter().map(|part| part.server_requests).collect();
    let readings = readings?;
    let before = readings.iter().map(|[before, _]| *before).min()?;
    let after = readings.iter().map(|[_, after]| *after).max()?;
    after.checked_sub(before)
}
