//! The swept value of a workload as an axis: its name, its unit, and how it is read and set.
//!
//! Draws nothing; charts over a sweep and the titles of its points are made with it.

use std::time::Duration;

use crate::load::scenario::{Scenario, Sweep, Workload};

use super::units::Unit;

/// Which value of the workload is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Rate,
    Subscribers,
    MessageBytes,
    PollInterval,
    Rtt,
}

impl Axis {
    /// The axis along which the points of the scenario's case (empty if it has none) lie, if it
    /// sweeps.
    pub fn of(scenario: &Scenario, case: &str) -> Option<Axis> {
        let case = scenario.cases.iter().find(|known| known.name == case);
        let sweep = case.and_then(|case| case.sweep.as_ref()).or(scenario.sweep.as_ref())?;
        Some(match sweep {
            Sweep::Rate(_) => Axis::Rate,
            Sweep::Subscribers(_) => Axis::Subscribers,
            Sweep::MessageBytes(_) => Axis::MessageBytes,
            Sweep::PollInterval(_) => Axis::PollInterval,
            Sweep::Rtt(_) => Axis::Rtt,
        })
    }

    /// In words, for an axis' label.
    pub fn label(self) -> &'static str {
        match self {
            Axis::Rate => "messages per second that a subscriber receives",
            Axis::Subscribers => "subscribers",
            Axis::MessageBytes => "bytes of a message's text",
            Axis::PollInterval => "poll interval",
            Axis::Rtt => "round trip",
        }
    }

    /// The unit of [`Axis::get`].
    pub fn unit(self) -> Unit {
        match self {
            Axis::Rate => Unit::PerSecond,
            Axis::Subscribers => Unit::Count,
            Axis::MessageBytes => Unit::Bytes,
            Axis::PollInterval | Axis::Rtt => Unit::Seconds,
        }
    }

    /// The workload's value on this axis, in base units.
    pub fn get(self, workload: &Workload) -> f64 {
        match self {
            Axis::Rate => workload.rate,
            Axis::Subscribers => f64::from(workload.subscribers),
            Axis::MessageBytes => f64::from(workload.message_bytes),
            Axis::PollInterval => workload.poll_interval.as_secs_f64(),
            Axis::Rtt => workload.rtt.as_secs_f64(),
        }
    }

    /// `workload` with another value on this axis; whole numbers are rounded.
    pub fn set(self, workload: &Workload, value: f64) -> Workload {
        let mut workload = workload.clone();
        match self {
            Axis::Rate => workload.rate = value,
            Axis::Subscribers => workload.subscribers = value.round() as u32,
            Axis::MessageBytes => workload.message_bytes = value.round() as u32,
            Axis::PollInterval => workload.poll_interval = Duration::from_secs_f64(value),
            Axis::Rtt => workload.rtt = Duration::from_secs_f64(value),
        }
        workload
    }

    /// The value in words: `rate 0.5/s`, `round trip 40 ms`.
    pub fn show(self, workload: &Workload) -> String {
        let value = self.unit().show(self.get(workload));
        match self {
            Axis::Rate => format!("rate {value}"),
            Axis::Subscribers => format!("{value} subscribers"),
            Axis::MessageBytes => format!("messages of {value}"),
            Axis::PollInterval => format!("poll interval {value}"),
            Axis::Rtt => format!("round trip {value}"),
        }
    }
}
