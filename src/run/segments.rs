//! The part of the schema that describes segments: a run that several load generators carried out
//! together.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cell, Generator, Machine, OtherLoad, Run};
use crate::scenario::Segment;

/// A segment, and the load generator that measured it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSegment {
    pub segment: Segment,
    /// The planned start of the run, the same for all segments.
    pub start_at: Timestamp,
    /// Differs between machines.
    pub machine_id: u32,
    pub machine: Machine,
}

/// What one load generator contributed to a cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellSegment {
    /// The segment's number.
    pub number: u32,
    /// Start and end of the steady state, by the clock of the generator's machine.
    pub steady: [Timestamp; 2],
    /// The server's counter of CPU seconds at these times, if known. It counts for all segments.
    pub server_cpu_s: Option<[f64; 2]>,
    /// The server's counter of requests before the first subscriber connected and after the last
    /// request, if known. It counts for all segments.
    pub server_requests: Option<[u64; 2]>,
    pub generator: Generator,
    pub others: Option<OtherLoad>,
}

impl Run {
    /// The segment whose measurements these are, if other segments are missing.
    pub fn partial(&self) -> Option<Segment> {
        match self.segments.as_slice() {
            [one] => Some(one.segment),
            _ => None,
        }
    }

    /// Number of machines with a load generator.
    pub fn generator_machines(&self) -> usize {
        let mut ids: Vec<u32> = self.segments.iter().map(|part| part.machine_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len().max(1)
    }
}

impl Cell {
    /// The share of the time between the first start and the last end of a steady state in which
    /// all segments were in it, by the clocks of their machines, and the same in CPU seconds of
    /// the server. 1 without segments.
    pub fn overlap(&self) -> (f64, Option<f64>) {
        let seconds = |at: Timestamp| at.as_microsecond() as f64 / 1e6;
        let times = self.segments.iter().map(|part| part.steady.map(seconds));
        let cpu: Option<Vec<[f64; 2]>> =
            self.segments.iter().map(|part| part.server_cpu_s).collect();
        (common_share(times), cpu.map(|cpu| common_share(cpu.into_iter())))
    }
}

/// The length that is common to all intervals, as a share of the length that they cover; 0 if they
/// have nothing in common, and 1 if they are empty.
fn common_share(intervals: impl Iterator<Item = [f64; 2]>) -> f64 {
    let none = [f64::MAX, f64::MIN, f64::MAX, f64::MIN];
    let [first, start, end, last] =
        intervals.fold(none, |[first, start, end, last], [from, to]| {
            [first.min(from), start.max(from), end.min(to), last.max(to)]
        });
    if last <= first { 1.0 } else { ((end - start) / (last - first)).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::common_share;

    #[test]
    fn common_share_is_that_of_all_intervals() {
        let share = |intervals: &[[f64; 2]]| common_share(intervals.iter().copied());
        assert_eq!(share(&[]), 1.0);
        assert_eq!(share(&[[3.0, 3.0]]), 1.0);
        assert_eq!(share(&[[0.0, 10.0], [0.0, 10.0]]), 1.0);
        assert_eq!(share(&[[0.0, 8.0], [2.0, 10.0]]), 0.6);
        assert_eq!(share(&[[0.0, 8.0], [2.0, 10.0], [8.5, 9.0]]), 0.0);
    }
}
