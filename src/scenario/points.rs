//! The workloads of a scenario: each case at each value of its sweep, or at each step of its ramp.

use super::{Case, Ramp, Scenario, Sweep, Workload};
use crate::variant::Variant;

/// A cell of each of the transports: one workload, or the steps of a ramp in order.
#[derive(Debug, Clone, PartialEq)]
pub struct CellGroup {
    /// Name of the case, empty if the scenario has no cases.
    pub case: String,
    /// At least one.
    pub steps: Vec<Workload>,
    pub transports: Vec<Variant>,
}

/// A workload with the transports to measure, all under the same schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// Name of the case, empty if the scenario has no cases.
    pub case: String,
    pub workload: Workload,
    pub transports: Vec<Variant>,
}

impl Scenario {
    /// All workloads of the scenario, in order: each case at each value of its sweep or ramp.
    pub fn points(&self) -> Vec<SweepPoint> {
        let of_group = |CellGroup { case, steps, transports }: CellGroup| {
            let point = move |workload| SweepPoint {
                case: case.clone(),
                workload,
                transports: transports.clone(),
            };
            steps.into_iter().map(point)
        };
        self.cell_groups().into_iter().flat_map(of_group).collect()
    }

    /// The workloads as they are measured: each value of a sweep in a cell of its own, the steps of
    /// a ramp in one cell.
    pub fn cell_groups(&self) -> Vec<CellGroup> {
        if self.cases.is_empty() {
            let parts = expand(&self.workload, self.sweep.as_ref(), self.ramp.as_ref());
            let transports = self.transports.clone();
            let group =
                |steps| CellGroup { case: String::new(), steps, transports: transports.clone() };
            return parts.into_iter().map(group).collect();
        }
        let of_case = |case: &Case| {
            let workload = case.workload.applied_to(&self.workload);
            let transports = case.transports.clone().unwrap_or_else(|| self.transports.clone());
            let group = |steps| CellGroup {
                case: case.name.clone(),
                steps,
                transports: transports.clone(),
            };
            let (sweep, ramp) = self.variations(case);
            expand(&workload, sweep, ramp).into_iter().map(group).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }

    /// The sweep and the ramp of a case: its own, or else those of the scenario.
    pub(super) fn variations<'a>(
        &'a self,
        case: &'a Case,
    ) -> (Option<&'a Sweep>, Option<&'a Ramp>) {
        match (&case.sweep, &case.ramp) {
            (None, None) => (self.sweep.as_ref(), self.ramp.as_ref()),
            (sweep, ramp) => (sweep.as_ref(), ramp.as_ref()),
        }
    }

    /// What varies the workload of a case, named as in [`SweepPoint`].
    pub fn variations_of(&self, case: &str) -> (Option<&Sweep>, Option<&Ramp>) {
        match self.cases.iter().find(|known| known.name == case) {
            Some(case) => self.variations(case),
            None => (self.sweep.as_ref(), self.ramp.as_ref()),
        }
    }
}

/// The workloads of the cells, each with its steps.
fn expand(workload: &Workload, sweep: Option<&Sweep>, ramp: Option<&Ramp>) -> Vec<Vec<Workload>> {
    match (sweep, ramp) {
        (_, Some(ramp)) => vec![ramp.steps(workload)],
        (Some(sweep), None) => sweep.expand(workload).into_iter().map(|one| vec![one]).collect(),
        (None, None) => vec![vec![workload.clone()]],
    }
}
