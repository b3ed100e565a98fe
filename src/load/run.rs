//! A whole run: every cell of a scenario, repeats interleaved, written down as it goes.

use std::time::Duration;

use jiff::Timestamp;

use super::cell::{CellPlan, Phase};
use super::scenario::Scenario;
use super::{ServerSource, machine, preflight};
use crate::run::{Cell, Run, SCHEMA_VERSION, Server};
use crate::transport::Variant;

/// What is to be measured, in order.
#[derive(Debug)]
pub struct Campaign {
    run: Run,
    source: ServerSource,
    plans: Vec<CellPlan>,
}

/// What happens while a campaign is under way.
#[derive(Debug)]
pub enum Progress<'a> {
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
}

impl Campaign {
    /// Plans a run of `scenario`.
    ///
    /// # Errors
    /// If this machine cannot carry it.
    pub fn new(scenario: Scenario, source: ServerSource) -> anyhow::Result<Campaign> {
        let points = scenario.points();
        let most = points.iter().map(|point| point.workload.subscribers).max().unwrap_or(0);
        preflight::check(most)?;
        let is_child = matches!(source, ServerSource::Child { .. });
        let plans = plan(&scenario, !is_child);
        let run = Run {
            schema: SCHEMA_VERSION,
            tool: machine::tool(),
            started_at: Timestamp::now(),
            finished_at: Timestamp::now(),
            stopped_early: None,
            machine: machine::machine(),
            server: Server { is_child, version: String::new() },
            scenario,
            cells: Vec::new(),
        };
        Ok(Campaign { run, source, plans })
    }

    /// How long all of it takes, about.
    pub fn expected_duration(&self) -> Duration {
        self.plans.iter().map(CellPlan::expected_duration).sum()
    }

    /// Measures all cells, or those before `stop` is ready or something fails; the run says so.
    pub async fn measure(
        mut self,
        stop: impl Future<Output = ()>,
        tell: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Run {
        let mut stop = std::pin::pin!(stop);
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
            let outcome = tokio::select! {
                biased;
                () = &mut stop => Err(anyhow::anyhow!("interrupted")),
                outcome = plan.measure(&self.source, &tell_phase) => outcome,
            };
            self.run.finished_at = Timestamp::now();
            match outcome {
                Ok((cell, version)) => {
                    self.run.server.version = version;
                    self.run.cells.push(cell);
                    tell(Progress::Done(self.run.cells.last().expect("just pushed"), &self.run));
                }
                Err(error) => {
                    let at = format!("{}, repeat {}", plan.variant, plan.repeat + 1);
                    self.run.stopped_early = Some(format!("{at}: {error:#}"));
                    break;
                }
            }
        }
        self.run
    }
}

/// The cells of a scenario. The order of the transports moves on by one with each repeat (A B C,
/// B C A, ...), so that what drifts on the machine does not favour one of them.
fn plan(scenario: &Scenario, server_outlives_cells: bool) -> Vec<CellPlan> {
    let mut plans = Vec::new();
    let run_prefix: u32 = rand::random();
    for repeat in 0..scenario.repeats {
        for point in scenario.points() {
            let mut variants = point.transports;
            let shift = repeat as usize % variants.len();
            variants.rotate_left(shift);
            for variant in variants {
                let topic_prefix = match server_outlives_cells {
                    true => format!("{run_prefix:08x}-{}-", plans.len()),
                    false => String::new(),
                };
                plans.push(CellPlan {
                    variant,
                    case: point.case.clone(),
                    workload: point.workload.clone(),
                    repeat,
                    seed: scenario.seed + u64::from(repeat),
                    topic_prefix,
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
        let plans = plan(&scenario, false);
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
