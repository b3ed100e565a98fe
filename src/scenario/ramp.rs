//! Ramps: a cell whose load rises in steps, on one server and with the same connections.

use serde::{Deserialize, Serialize};

use super::{ScenarioError, Workload, rate};

/// Largest number of steps.
const STEPS_MAX: usize = 50;

/// The loads of consecutive steps. TOML: `ramp = { rate = [1, 2, 4] }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    Rate(#[serde(deserialize_with = "rate::list")] Vec<f64>),
    Subscribers(Vec<u32>),
}

impl Ramp {
    /// The workloads of the steps.
    pub(super) fn steps(&self, workload: &Workload) -> Vec<Workload> {
        match self {
            Ramp::Rate(rates) => {
                rates.iter().map(|rate| Workload { rate: *rate, ..workload.clone() }).collect()
            }
            Ramp::Subscribers(counts) => counts
                .iter()
                .map(|count| Workload { subscribers: *count, ..workload.clone() })
                .collect(),
        }
    }

    /// Checks the number and the order of the steps. Their values are those of the workload's keys.
    pub(super) fn check(&self, workload: &Workload) -> Result<(), ScenarioError> {
        let loads: Vec<f64> = match self {
            Ramp::Rate(rates) => rates.clone(),
            Ramp::Subscribers(counts) => counts.iter().map(|count| f64::from(*count)).collect(),
        };
        let error = |rule: String| Err(ScenarioError::new(format!("ramp: {rule}")));
        if !(2..=STEPS_MAX).contains(&loads.len()) {
            return error(format!(
                "must have between 2 and {STEPS_MAX} steps, not {}",
                loads.len()
            ));
        }
        if let Some(pair) = loads
            .windows(2)
            .find(|pair| pair[1].partial_cmp(&pair[0]).is_none_or(|order| order.is_le()))
        {
            return error(format!(
                "each step must be above the one before; {} is not above {}",
                pair[1], pair[0]
            ));
        }
        if workload.restarts() {
            return error("cannot be combined with workload.restart".to_owned());
        }
        Ok(())
    }
}
