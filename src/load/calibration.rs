//! Measures the machine's processing time before the first cell, with pushes and polls over a link
//! with a short round trip.
//!
//! Pushes at a moderate rate give the time of a delivery. A subscriber that polls without a pause
//! gives the time of a request with its response. Both are means over the fastest 95 % of samples,
//! so that a single stall of the machine does not affect them.

use std::time::Duration;

use anyhow::Context as _;

use super::ServerSource;
use super::plan::CellPlan;
use crate::run::{Cell, Network, TraceWhat};
use crate::scenario::{Link, Workload};
use crate::theory::ProcessingTime;
use crate::variant::{Pacing, Transport};

/// Round trip of the simulated link in both measurements.
const ROUND_TRIP: Duration = Duration::from_millis(4);
/// Share of the samples, the largest ones, that are discarded.
const DISCARDED_SHARE: f64 = 0.05;

/// The two measurements of the machine's processing time.
#[derive(Debug, Clone)]
pub struct Calibration {
    push: CellPlan,
    poll: CellPlan,
}

impl Calibration {
    /// Plans the measurements, on topics whose names start with `topic_prefix`. `on_disk` selects
    /// a server that stores its messages on disk, and `link` the kind of link, as in the run.
    pub fn plan(seed: u64, topic_prefix: &str, on_disk: bool, link: Link) -> Calibration {
        let plan = |transport: Transport, name: &str, workload| CellPlan {
            variant: transport.into(),
            case: String::new(),
            workload,
            repeat: 0,
            seed,
            topic_prefix: format!("{topic_prefix}{name}-"),
            on_disk,
            later_steps: Vec::new(),
            share: None,
        };
        let base = Workload {
            rtt: ROUND_TRIP,
            link,
            idle: Duration::ZERO,
            warm_up: Duration::from_millis(300),
            ..Workload::default()
        };
        let push = Workload {
            subscribers: 100,
            topics: 50,
            rate: 5.0,
            duration: Duration::from_secs(3),
            ..base.clone()
        };
        let poll = Workload {
            subscribers: 4,
            topics: 1,
            rate: 5.0,
            poll_interval: Duration::from_millis(1),
            poll_pacing: Pacing::FixedRate,
            duration: Duration::from_secs(2),
            ..base
        };
        Calibration {
            push: plan(Transport::WebSocket, "push", push),
            poll: plan(Transport::ShortPolling, "poll", poll),
        }
    }

    /// Approximate duration of the measurements.
    pub fn expected_duration(&self) -> Duration {
        self.push.expected_duration() + self.poll.expected_duration()
    }

    /// Runs both measurements.
    ///
    /// # Errors
    /// The errors of a cell.
    pub async fn measure(&self, source: &ServerSource) -> anyhow::Result<ProcessingTime> {
        let (push, poll) =
            (only_cell(&self.push, source).await?, only_cell(&self.poll, source).await?);
        let deliveries = push.latency_us.0.iter_recorded();
        let latencies = deliveries.flat_map(|value| {
            let count = value.count_at_value() as usize;
            std::iter::repeat_n(value.value_iterated_to() as f64 / 1e6, count)
        });
        let round_trip_s = ROUND_TRIP.as_secs_f64();
        // The network to a server elsewhere is measured with each cell, and is not part of this.
        let path = |cell: &Cell| cell.network.as_ref().map(Network::path).unwrap_or_default();
        let (push_path, poll_path) = (path(&push), path(&poll));
        let own = |times_s: Vec<f64>, link_s: f64| Some((trimmed_mean(times_s)? - link_s).max(0.0));
        let nothing = || {
            anyhow::anyhow!(
                "cannot measure the machine's processing time: no message was delivered"
            )
        };
        Ok(ProcessingTime {
            push_s: own(latencies.collect(), round_trip_s / 2.0 + push_path.push_s())
                .ok_or_else(nothing)?,
            round_trip_s: own(between_requests_s(&poll), round_trip_s + poll_path.subscriber_rtt_s)
                .ok_or_else(nothing)?,
        })
    }
}

/// Measures a cell of one step.
async fn only_cell(plan: &CellPlan, source: &ServerSource) -> anyhow::Result<Cell> {
    let mut measured = plan.measure(source, &|_| ()).await?;
    measured.cells.pop().context("the cell has no result")
}

/// Times between consecutive requests of the traced subscriber, seconds.
fn between_requests_s(cell: &Cell) -> Vec<f64> {
    let is_request = |what: TraceWhat| matches!(what, TraceWhat::Request);
    let requests = cell.trace.events.iter().filter(|event| is_request(event.what));
    let at_us: Vec<i64> = requests.map(|event| event.at_us).collect();
    at_us.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect()
}

/// The mean without the largest [`DISCARDED_SHARE`]; `None` without values.
fn trimmed_mean(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let kept = values.len() - (values.len() as f64 * DISCARDED_SHARE) as usize;
    (kept > 0).then(|| values[..kept].iter().sum::<f64>() / kept as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimmed_mean_ignores_the_slowest_samples() {
        let mut values = vec![0.001; 95];
        values.extend([0.1; 5]);
        let mean = trimmed_mean(values).expect("there are some");
        assert!((mean - 0.001).abs() < 1e-12, "{mean}");
        assert_eq!(trimmed_mean(Vec::new()), None);
    }
}
