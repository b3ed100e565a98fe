//! The timetable of a run that several load generators carry out together: each of them derives
//! from the scenario and the start of the run when every phase of every cell starts.

use std::time::{Duration, Instant};

use anyhow::ensure;
use jiff::Timestamp;

use super::plan::{CellPlan, CellTimes, UNUSED};

/// Time for connecting, in addition to twice the expected time.
const CONNECT_SPARE: Duration = Duration::from_secs(2);
/// Time for connecting the publisher.
const PUBLISHER: Duration = Duration::from_millis(500);
/// Time for the last messages to arrive, in addition to the delays caused by the workload.
const DRAIN: Duration = Duration::from_secs(1);
/// Time in which the server closes the connections of a cell.
const CLOSE: Duration = Duration::from_millis(1_500);
/// How late a load generator may start a cell.
const LATE_MAX: Duration = Duration::from_millis(500);

impl CellTimes {
    /// The times of a cell that begins at `begin`.
    fn of(plan: &CellPlan, begin: Instant) -> CellTimes {
        let idle = begin + UNUSED + 2 * plan.connecting() + CONNECT_SPARE;
        let publish = idle + plan.workload.idle + PUBLISHER;
        let arriving = plan.poll_interval_max() + 2 * plan.workload.rtt + DRAIN;
        let count_requests = publish + plan.workload.publishing() + arriving;
        CellTimes { begin, idle, publish, count_requests, end: count_requests + CLOSE }
    }

    /// The times of consecutive cells.
    pub fn of_all(plans: &[CellPlan], first: Instant) -> Vec<CellTimes> {
        let mut begin = first;
        let next = |plan| {
            let times = CellTimes::of(plan, begin);
            begin = times.end;
            times
        };
        plans.iter().map(next).collect()
    }

    /// # Errors
    /// If the cell should have begun some time ago.
    pub fn check_begin(&self) -> anyhow::Result<()> {
        let late = self.begin.elapsed();
        ensure!(
            late <= LATE_MAX,
            "should have begun {:.1} s ago with the other segments; the last cell took too long",
            late.as_secs_f64()
        );
        Ok(())
    }

    /// # Errors
    /// If the warm-up should have started.
    pub fn check_publish(&self) -> anyhow::Result<()> {
        ensure!(
            Instant::now() <= self.publish,
            "the publisher was not connected when the other segments started to publish"
        );
        Ok(())
    }
}

/// The instant on this machine's monotonic clock.
pub fn instant_of(at: Timestamp) -> Instant {
    let left = at.duration_since(Timestamp::now());
    let now = Instant::now();
    match Duration::try_from(left) {
        Ok(left) => now + left,
        Err(_) => now.checked_sub(left.unsigned_abs()).unwrap_or(now),
    }
}

/// The time of `instant` on this machine's clock.
pub fn timestamp_of(instant: Instant) -> Timestamp {
    let now = Timestamp::now();
    let since = instant.elapsed();
    let until = instant.saturating_duration_since(Instant::now());
    now.checked_sub(since).and_then(|at| at.checked_add(until)).unwrap_or(now)
}
