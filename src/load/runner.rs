//! A whole run: every cell of a scenario, repeats interleaved, written down as it goes.

use std::time::Duration;

use jiff::Timestamp;

use super::calibration::Calibration;
use super::cell::{CellError, Phase};
use super::plan::CellPlan;
use super::{ServerSource, machine, preflight};
use crate::run::{Cell, FailedCell, Run, SCHEMA_VERSION, Server, StopReason, StoppedEarly};
use crate::scenario::{Link, Scenario};
use crate::text::causes;
use crate::variant::Variant;

/// What is to be measured, in order.
#[derive(Debug)]
pub struct Campaign {
    run: Run,
    source: ServerSource,
    /// Absent if predictions are to be theory alone.
    calibration: Option<Calibration>,
    plans: Vec<CellPlan>,
}

/// What happens while a campaign is under way.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The machine's own time is measured, which comes first; `left` as below.
    Calibrating {
        left: Duration,
    },
    /// A cell begins; `left` is how long it and the rest will take, about.
    Cell {
        number: usize,
        of: usize,
        variant: Variant,
        case: &'a str,
        repeat: u32,
        left: Duration,
    },
    Phase(Phase),
    /// A cell is complete, and the run with it is worth keeping.
    Done(&'a Cell, &'a Run),
    /// A cell failed; the next one is measured all the same.
    Failed(&'a FailedCell, &'a Run),
}

/// Cells in a row that may fail before the run is given up.
const FAILURES_IN_A_ROW_MAX: usize = 3;

impl Campaign {
    /// Plans a run of `scenario`, which begins with measuring the machine's own time if the server
    /// is one of ours.
    ///
    /// # Errors
    /// If this machine cannot carry it.
    pub fn new(scenario: Scenario, source: ServerSource) -> anyhow::Result<Campaign> {
        let points = scenario.points();
        let most = points.iter().map(|point| point.workload.subscribers).max().unwrap_or(0);
        preflight::check(most)?;
        let is_child = matches!(source, ServerSource::Child { .. });
        let topic_prefix = match is_child {
            true => String::new(),
            false => format!("{:08x}-", rand::random::<u32>()),
        };
        let is_all_packets = points.iter().all(|point| point.workload.link == Link::Packets);
        let restarts = points.iter().any(|point| point.workload.restarts());
        anyhow::ensure!(
            is_child || !restarts,
            "workload.restart: only a server that this program starts can be restarted; leave out \
             --target, or set it to 0s"
        );
        anyhow::ensure!(
            is_child || points.iter().all(|point| point.workload.packet_profile().is_none()),
            "workload.link: a packet link leads to a server that this program starts; leave out \
             --target, or set it to in-process"
        );
        let is_ours = !matches!(source, ServerSource::Foreign { .. });
        let link = if is_all_packets { Link::Packets } else { Link::InProcess };
        let calibration =
            is_ours.then(|| Calibration::plan(scenario.seed, &topic_prefix, restarts, link));
        let plans = plan(&scenario, &topic_prefix);
        let run = Run {
            schema: SCHEMA_VERSION,
            tool: machine::tool(),
            started_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            stopped_early: None,
            failed: Vec::new(),
            machine: machine::machine(),
            server: Server { is_child, version: String::new(), is_tls: source.is_tls() },
            own_time: None,
            scenario,
            cells: Vec::new(),
        };
        Ok(Campaign { run, source, calibration, plans })
    }

    /// The same without measuring the machine's own time: predictions then are theory alone.
    pub fn uncalibrated(self) -> Campaign {
        Campaign { calibration: None, ..self }
    }

    /// Whether a cell needs the packet link, so that the process has to be in a namespace for it.
    pub fn uses_packet_link(&self) -> bool {
        self.plans.iter().any(|plan| plan.workload.link == Link::Packets)
    }

    /// How long all of it takes, about.
    pub fn expected_duration(&self) -> Duration {
        let calibrating = self.calibration.iter().map(Calibration::expected_duration);
        calibrating.chain(self.plans.iter().map(CellPlan::expected_duration)).sum()
    }

    /// Measures all cells, or those before `stop` is ready or the server is gone; the run says so.
    /// A cell that fails is named in the run, and the next one is measured.
    pub async fn measure(
        mut self,
        stop: impl Future<Output = ()>,
        tell: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Run {
        let mut stop = std::pin::pin!(stop);
        if let Some(calibration) = &self.calibration {
            tell(Progress::Calibrating { left: self.expected_duration() });
            let measuring = calibration.measure(&self.source);
            let stopped = match or_interrupted(&mut stop, measuring).await {
                Ok(Ok(own_time)) => {
                    self.run.own_time = Some(own_time);
                    None
                }
                Ok(Err(error)) => Some((StopReason::Failed, causes(&error))),
                Err(Interrupted) => Some((StopReason::Interrupted, "interrupted".to_owned())),
            };
            if let Some((reason, why)) = stopped {
                let text = format!("before the first cell: {why}");
                self.run.stopped_early = Some(StoppedEarly { reason, text });
                return self.run;
            }
        }
        let mut failures_in_a_row = 0;
        for (index, plan) in self.plans.iter().enumerate() {
            let left = self.plans[index..].iter().map(CellPlan::expected_duration).sum();
            tell(Progress::Cell {
                number: index + 1,
                of: self.plans.len(),
                variant: plan.variant,
                case: &plan.case,
                repeat: plan.repeat,
                left,
            });
            let tell_phase = |phase| tell(Progress::Phase(phase));
            let measuring = plan.measure(&self.source, &tell_phase);
            let outcome = or_interrupted(&mut stop, measuring).await;
            self.run.finished_at = Timestamp::now();
            let stopped = match outcome {
                Ok(Ok((cell, version))) => {
                    failures_in_a_row = 0;
                    self.run.server.version = version;
                    self.run.cells.push(cell);
                    tell(Progress::Done(self.run.cells.last().expect("just pushed"), &self.run));
                    None
                }
                Ok(Err(CellError::Failed(error))) => {
                    failures_in_a_row += 1;
                    self.run.failed.push(failed(plan, causes(&error)));
                    tell(Progress::Failed(self.run.failed.last().expect("just pushed"), &self.run));
                    let is_hopeless = failures_in_a_row >= FAILURES_IN_A_ROW_MAX;
                    let why = format!("{failures_in_a_row} cells in a row failed");
                    is_hopeless.then_some((StopReason::Failed, why))
                }
                Ok(Err(error @ CellError::NoServer(_))) => {
                    Some((StopReason::Failed, error.to_string()))
                }
                Err(Interrupted) => Some((StopReason::Interrupted, "interrupted".to_owned())),
            };
            if let Some((reason, why)) = stopped {
                let text = format!("{}, repeat {}: {why}", plan.variant, plan.repeat + 1);
                self.run.stopped_early = Some(StoppedEarly { reason, text });
                break;
            }
        }
        self.run
    }
}

fn failed(plan: &CellPlan, error: String) -> FailedCell {
    let CellPlan { variant, case, workload, repeat, .. } = plan;
    FailedCell {
        variant: *variant,
        case: case.clone(),
        workload: workload.clone(),
        repeat: *repeat,
        error,
    }
}

/// A signal came before some work was done.
struct Interrupted;

/// What `work` comes to, unless `stop` is ready before.
async fn or_interrupted<T>(
    stop: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    tokio::select! {
        biased;
        () = stop => Err(Interrupted),
        outcome = work => Ok(outcome),
    }
}

/// The cells of a scenario. The order of the transports moves on by one with each repeat (A B C,
/// B C A, ...), so that what drifts on the machine does not favour one of them. A server that
/// outlives its cells is given other topics by each, whose names begin with `topic_prefix`.
fn plan(scenario: &Scenario, topic_prefix: &str) -> Vec<CellPlan> {
    let mut plans = Vec::new();
    for repeat in 0..scenario.repeats {
        for point in scenario.points() {
            let mut variants = point.transports;
            let shift = repeat as usize % variants.len();
            variants.rotate_left(shift);
            for variant in variants {
                let topic_prefix = match topic_prefix {
                    "" => String::new(),
                    prefix => format!("{prefix}{}-", plans.len()),
                };
                plans.push(CellPlan {
                    variant,
                    case: point.case.clone(),
                    workload: point.workload.clone(),
                    repeat,
                    seed: scenario.seed.wrapping_add(u64::from(repeat)),
                    topic_prefix,
                    on_disk: point.workload.restarts(),
                });
            }
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_interleaved_and_share_a_schedule() {
        let text = "name = 'x'\ntitle = 'x'\ndescription = 'x'\nrepeats = 2\nseed = 5\n\
                    transports = ['short-polling', 'long-polling', 'websocket']";
        let scenario = Scenario::from_toml(text).expect("a good scenario");
        let plans = plan(&scenario, "");
        let order: Vec<_> =
            plans.iter().map(|plan| (plan.variant.to_string(), plan.seed)).collect();
        let wanted = [
            ("short-polling", 5),
            ("long-polling", 5),
            ("websocket", 5),
            ("long-polling", 6),
            ("websocket", 6),
            ("short-polling", 6),
        ];
        assert_eq!(order, wanted.map(|(name, seed)| (name.to_owned(), seed)));
    }
}
