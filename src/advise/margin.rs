//! How far a need would have to move for the answer to change.

use serde::Serialize;

use super::{Costs, Need, choose};
use crate::variant::Transport;

/// A value of a need that may turn out different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    Rate,
    Staleness,
    Rtt,
    MessageBytes,
}

/// Where the answer changes, if one value moves and the others stay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Margin {
    pub knob: Parameter,
    /// The value at which it changes, in the need's unit.
    pub at: f64,
    /// That value divided by the present one: below 1 if it has to shrink.
    pub factor: f64,
    /// The cheapest way beyond it; absent if none is fast enough there.
    pub becomes: Option<Transport>,
}

/// How far is looked, as a factor: what is further is no reason to decide otherwise.
const FACTOR_MAX: f64 = 1_000.0;

/// The nearest change in either direction of each value.
pub(super) fn margins(need: &Need, costs: &Costs) -> Vec<Margin> {
    let knobs = [Parameter::Rate, Parameter::Staleness, Parameter::Rtt, Parameter::MessageBytes];
    let directions =
        knobs.into_iter().flat_map(|knob| [(knob, FACTOR_MAX), (knob, 1.0 / FACTOR_MAX)]);
    directions.filter_map(|(knob, furthest)| nearest(need, costs, knob, furthest)).collect()
}

fn nearest(need: &Need, costs: &Costs, knob: Parameter, furthest: f64) -> Option<Margin> {
    const STEPS: i32 = 120;
    let choice =
        |factor: f64| choose(&knob.moved(need, factor), costs).map(|choice| choice.transport);
    let step = furthest.powf(1.0 / f64::from(STEPS));
    let present = choice(1.0);
    let changed = (1..=STEPS).find(|index| choice(step.powi(*index)) != present)?;
    let (mut same, mut other) = (step.powi(changed - 1), step.powi(changed));
    for _ in 0..20 {
        let middle = (same * other).sqrt();
        *(if choice(middle) == present { &mut same } else { &mut other }) = middle;
    }

    Some(Margin { knob, at: knob.of(need) * other, factor: other, becomes: choice(other) })
}

impl Parameter {
    fn of(self, need: &Need) -> f64 {
        match self {
            Parameter::Rate => need.rate,
            Parameter::Staleness => need.staleness_s,
            Parameter::Rtt => need.rtt_s,
            Parameter::MessageBytes => f64::from(need.message_bytes),
        }
    }

    /// `need` with this value multiplied by `factor`.
    pub fn moved(self, need: &Need, factor: f64) -> Need {
        let value = self.of(need) * factor;
        match self {
            Parameter::Rate => Need { rate: value, ..*need },
            Parameter::Staleness => Need { staleness_s: value, ..*need },
            Parameter::Rtt => Need { rtt_s: value, ..*need },
            Parameter::MessageBytes => Need { message_bytes: value.round() as u32, ..*need },
        }
    }
}
