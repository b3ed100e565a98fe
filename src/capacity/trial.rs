//! One cell of a search: whether the objective held, and if not, why.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Plan, StoppedBy};
use crate::load::LoadTest;
use crate::report::figures::{self, Figure};
use crate::report::threshold::Condition;
use crate::run::{Cell, Network, Run, StopReason};
use crate::scenario::{Scenario, Workload};
use crate::text::causes;
use crate::theory::NetworkPath;
use crate::units::{Unit, significant};
use crate::validity::{self, Severity};
use crate::variant::Variant;

/// Number of cells that must agree.
const AGREEING: usize = 2;
/// Number of disturbed cells of one level after which the search ends.
const DISTURBED_MAX: usize = 4;
/// Longest steady state of a cell, which is extended to support a percentile.
const STEADY_MAX: Duration = Duration::from_secs(60);
/// Planned number of values of a cell, relative to the number that a percentile needs.
const VALUES_SPARE: f64 = 1.5;
/// Share of its cores above which the server's CPU is the limit.
const FULL_SHARE: f64 = 0.9;
/// Share of the machine's memory that server and load generator may use together.
const MEMORY_SHARE: f64 = 0.7;

/// Why a search ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("interrupted")]
    Interrupted,
    /// The server cannot be started or reached.
    #[error("{0}")]
    NoServer(String),
}

/// One cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    pub level: f64,
    /// The objective's figure, in its base unit; absent if the cell has none.
    pub value: Option<f64>,
    /// The network to a server that this program did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPath>,
    /// CPU time of the server per second of the steady state; absent if unknown.
    pub server_cores: Option<f64>,
    pub generator_cores: Option<f64>,
    /// Resident memory that the server had gained at the end of the steady state.
    pub server_memory_bytes: Option<u64>,
    /// Why the level failed in this cell; absent if it held.
    pub failure: Option<(StoppedBy, String)>,
}

/// The decision on one level, once two of its `trials` agree. Cells that other processes disturbed
/// do not count.
pub fn verdict(trials: &[Trial]) -> Option<Result<(), (StoppedBy, String)>> {
    let failures = || trials.iter().filter_map(|trial| trial.failure.as_ref());
    let (disturbed, failures): (Vec<_>, Vec<_>) =
        failures().partition(|(stop, _)| *stop == StoppedBy::OtherProcesses);
    if trials.len() - failures.len() - disturbed.len() >= AGREEING {
        return Some(Ok(()));
    }
    if disturbed.len() >= DISTURBED_MAX {
        return Some(Err(disturbed[0].clone()));
    }
    // If the server was not the limit in one of them, it is not known to be the limit.
    let strongest = failures.iter().find(|(stop, _)| stop.is_of_generator());
    let failure = strongest.or(failures.last());
    failure.filter(|_| failures.len() >= AGREEING).map(|failure| Err((**failure).clone()))
}

impl Plan {
    /// Measures `level` once. `number` counts the cells of the level, and `before` are the cells
    /// of the variant so far.
    ///
    /// # Errors
    /// If `stop` is cancelled, or there is no server.
    pub(super) async fn measure(
        &self,
        variant: Variant,
        level: f64,
        number: usize,
        before: &[Trial],
        stop: &CancellationToken,
        server: &mut String,
    ) -> Result<Trial, SearchError> {
        let failed = |stop, detail| Trial {
            level,
            value: None,
            network: None,
            server_cores: None,
            generator_cores: None,
            server_memory_bytes: None,
            failure: Some((stop, detail)),
        };
        if let Some(needed) = memory_needed(level, before) {
            let total = crate::load::machine().memory_bytes as f64;
            if needed > MEMORY_SHARE * total {
                let [needed, total] = [needed, total].map(|bytes| Unit::Bytes.show(bytes));
                let detail = format!("about {needed} of {total} needed");
                return Ok(failed(StoppedBy::Memory, detail));
            }
        }
        let scenario = Scenario {
            transports: vec![variant],
            workload: self.long_enough(self.over.at(level, &self.scenario.workload)),
            repeats: 1,
            seed: self.scenario.seed.wrapping_add(number as u64),
            ..self.scenario.clone()
        };
        let load_test = match LoadTest::new(scenario, self.source.clone()) {
            Ok(load_test) => load_test.uncalibrated(),
            Err(error) => return Ok(failed(StoppedBy::SystemLimit, causes(&error))),
        };
        let run = load_test.measure(stop.cancelled(), &|_| {}).await;
        if !run.server.version.is_empty() {
            server.clone_from(&run.server.version);
        }
        if let Some(cell) = run.cells.first() {
            return Ok(self.judge(&run, cell, level));
        }
        match (&run.stopped_early, run.failed.first()) {
            (Some(why), _) if why.reason == StopReason::Interrupted => {
                Err(SearchError::Interrupted)
            }
            (Some(why), None) => Err(SearchError::NoServer(why.text.clone())),
            (_, cell) => {
                let detail = cell.map(|cell| cell.error.clone()).unwrap_or_default();
                Ok(failed(StoppedBy::Failure, detail))
            }
        }
    }

    /// The workload with a steady state long enough for the figure.
    fn long_enough(&self, workload: Workload) -> Workload {
        let quantile = Figure::named(self.figure()).ok().and_then(Figure::quantile);
        let Some((values, messages)) = quantile.map(figures::needed) else { return workload };
        let deliveries = workload.rate * f64::from(workload.subscribers);
        let published = workload.rate * f64::from(workload.topics);
        let seconds = VALUES_SPARE * (values / deliveries).max(messages / published);
        let needed = Duration::from_secs_f64(seconds.min(STEADY_MAX.as_secs_f64()));
        Workload { duration: workload.duration.max(needed), ..workload }
    }

    fn judge(&self, run: &Run, cell: &Cell, level: f64) -> Trial {
        let network = cell.network.as_ref().map(Network::path);
        let (workload, path) = (&self.scenario.workload, network.unwrap_or_default());
        let condition = self.objective.condition(cell.variant, workload, &path);
        let condition = condition.expect("checked before the search");
        let value = condition.figure.of_cell(cell);
        let per_second = |cpu_s: f64| cpu_s / cell.steady_s;
        let server_cores = cell.server.map(|server| per_second(server.cpu_s));
        Trial {
            level,
            value,
            network,
            server_cores,
            generator_cores: Some(per_second(cell.generator.cpu_s)),
            server_memory_bytes: cell.server.map(|server| {
                server.resident_end_bytes.saturating_sub(server.resident_before_bytes)
            }),
            failure: failure(run, cell, &condition, value)
                .map(|failure| self.or_cpu(failure, server_cores)),
        }
    }

    /// If the server had no CPU time left, that is the reason of its failure.
    fn or_cpu(&self, failure: (StoppedBy, String), used: Option<f64>) -> (StoppedBy, String) {
        let cores = self.server_cores().map(f64::from);
        match (failure, used, cores) {
            ((StoppedBy::Objective | StoppedBy::LostMessages, detail), Some(used), Some(cores))
                if used > FULL_SHARE * cores =>
            {
                let used = significant(used);
                (StoppedBy::ServerCpu, format!("{detail}; the server used {used} of {cores} cores"))
            }
            (failure, ..) => failure,
        }
    }
}

/// Why the cell does not show that the objective holds.
fn failure(
    run: &Run,
    cell: &Cell,
    condition: &Condition,
    value: Option<f64>,
) -> Option<(StoppedBy, String)> {
    let void = validity::void_reasons(run, cell);
    let unit = condition.figure.unit;
    let name = condition.figure.name;
    if let Some(finding) = void.iter().min_by_key(|finding| finding.severity) {
        let stop = match finding.severity {
            Severity::Wrong => StoppedBy::LostMessages,
            _ if validity::is_void_by_others(cell) => StoppedBy::OtherProcesses,
            _ => StoppedBy::LoadGenerator,
        };
        return Some((stop, finding.to_string()));
    }
    match value {
        Some(value) if condition.holds(value) => None,
        Some(value) => Some((StoppedBy::Objective, format!("{name} was {}", unit.show(value)))),
        None => {
            let detail =
                format!("the cell is too short for {name}; increase --duration, or the rate");
            Some((StoppedBy::LoadGenerator, detail))
        }
    }
}

/// Memory that server and load generator need at `level`, extrapolated from the largest level so
/// far; `None` below twice that level, which has been tried.
fn memory_needed(level: f64, before: &[Trial]) -> Option<f64> {
    let known = before.iter().filter(|trial| trial.server_memory_bytes.is_some());
    let largest = known.max_by(|a, b| a.level.total_cmp(&b.level))?;
    let bytes = largest.server_memory_bytes? as f64;
    // The load generator holds about as much for each connection as the server.
    (level > largest.level).then(|| 2.0 * bytes * level / largest.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(failure: Option<StoppedBy>) -> Trial {
        Trial {
            level: 100.0,
            value: None,
            network: None,
            server_cores: None,
            generator_cores: None,
            server_memory_bytes: Some(1 << 20),
            failure: failure.map(|stop| (stop, stop.label().to_owned())),
        }
    }

    #[test]
    fn two_cells_must_agree() {
        let of = |failures: &[Option<StoppedBy>]| {
            let trials: Vec<Trial> = failures.iter().copied().map(trial).collect();
            verdict(&trials).map(|verdict| verdict.map_err(|(stop, _)| stop))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[None]), None);
        assert_eq!(of(&[Some(StoppedBy::Objective)]), None);
        assert_eq!(of(&[None, None]), Some(Ok(())));
        assert_eq!(of(&[None, Some(StoppedBy::Objective)]), None);
        assert_eq!(of(&[None, Some(StoppedBy::Objective), None]), Some(Ok(())));
        let fails = [Some(StoppedBy::Objective), None, Some(StoppedBy::ServerCpu)];
        assert_eq!(of(&fails), Some(Err(StoppedBy::ServerCpu)));
        let unclear = [Some(StoppedBy::LoadGenerator), Some(StoppedBy::Objective)];
        assert_eq!(of(&unclear), Some(Err(StoppedBy::LoadGenerator)));
    }

    #[test]
    fn cells_disturbed_by_other_processes_are_repeated() {
        let disturbed = Some(StoppedBy::OtherProcesses);
        let of = |failures: &[Option<StoppedBy>]| {
            let trials: Vec<Trial> = failures.iter().copied().map(trial).collect();
            verdict(&trials).map(|verdict| verdict.map_err(|(stop, _)| stop))
        };
        assert_eq!(of(&[disturbed, disturbed, None]), None);
        assert_eq!(of(&[disturbed, disturbed, None, None]), Some(Ok(())));
        assert_eq!(of(&[disturbed; 4]), Some(Err(StoppedBy::OtherProcesses)));
    }

    #[test]
    fn memory_is_extrapolated_beyond_the_largest_level_only() {
        let before = [trial(None)];
        assert_eq!(memory_needed(100.0, &before), None);
        assert_eq!(memory_needed(400.0, &before), Some(8.0 * f64::from(1 << 20)));
        assert_eq!(memory_needed(400.0, &[]), None);
    }
}
