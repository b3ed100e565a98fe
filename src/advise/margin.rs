//! Where the recommendation changes: along each value of a need, and under other conditions.

use serde::Serialize;

use super::{Choice, Need};
use crate::scenario::Headers;
use crate::variant::Transport;

/// A value of a need whose actual value may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    Rate,
    Staleness,
    Rtt,
    MessageBytes,
}

/// Where the recommendation changes if one value changes and the others stay the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Margin {
    pub parameter: Parameter,
    /// The value at which it changes, in the need's unit.
    pub at: f64,
    /// `at` divided by the present value: below 1 if the value has to decrease.
    pub factor: f64,
    /// The recommendation beyond it; `None` if no transport is fast enough there.
    pub becomes: Option<Transport>,
}

/// A condition under which the recommendation is another one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Alternative {
    pub need: Need,
    /// The recommendation then; `None` if no transport is fast enough.
    pub becomes: Option<Transport>,
}

/// Largest change of a value that is examined, as a factor.
const FACTOR_MAX: f64 = 1_000.0;

/// The nearest change of the recommendation `present` in either direction of each value.
pub fn margins(
    need: &Need,
    present: Option<Transport>,
    choose: impl Fn(&Need) -> Option<Choice>,
) -> Vec<Margin> {
    let parameters =
        [Parameter::Rate, Parameter::Staleness, Parameter::Rtt, Parameter::MessageBytes];
    let directions = parameters.into_iter().flat_map(|p| [(p, FACTOR_MAX), (p, 1.0 / FACTOR_MAX)]);
    directions
        .filter_map(|(parameter, furthest)| nearest(need, present, &choose, parameter, furthest))
        .collect()
}

fn nearest(
    need: &Need,
    present: Option<Transport>,
    choose: &impl Fn(&Need) -> Option<Choice>,
    parameter: Parameter,
    furthest: f64,
) -> Option<Margin> {
    const STEPS: i32 = 120;
    // A recommendation that holds over less than about a quarter of a value is passed over: near
    // the boundary between two transports a third may be the simplest of those that are close.
    const LASTING_STEPS: i32 = 4;
    let at = |factor: f64| choose(&parameter.moved(need, factor)).map(|choice| choice.transport);
    let step = furthest.powf(1.0 / f64::from(STEPS));
    let later = |index: i32| at(step.powi(index + LASTING_STEPS));
    let is_change = |index: &i32| at(step.powi(*index)) != present && later(*index) != present;
    let changed = (1..=STEPS).find(is_change)?;
    let becomes = later(changed);
    let (mut before, mut other) = (step.powi(changed - 1), step.powi(changed + LASTING_STEPS));
    // Where the new recommendation begins.
    for _ in 0..24 {
        let middle = (before * other).sqrt();
        *(if at(middle) == becomes { &mut other } else { &mut before }) = middle;
    }
    Some(Margin { parameter, at: parameter.of(need) * other, factor: other, becomes })
}

/// The other conditions that change the recommendation `present`: headers, TLS, and messages in
/// both directions.
pub fn alternatives(
    need: &Need,
    present: Option<Transport>,
    choose: impl Fn(&Need) -> Option<Choice>,
) -> Vec<Alternative> {
    let headers = match need.headers {
        Headers::Minimal => Headers::Browser,
        Headers::Browser => Headers::Minimal,
    };
    let others = [
        Need { headers, ..*need },
        Need { is_tls: !need.is_tls, ..*need },
        Need { two_way: true, ..*need },
    ];
    let alternative = |need: Need| {
        let becomes = choose(&need).map(|choice| choice.transport);
        (becomes != present).then_some(Alternative { need, becomes })
    };
    others.into_iter().filter_map(alternative).collect()
}

impl Parameter {
    /// The value in `need`, in its unit.
    pub fn of(self, need: &Need) -> f64 {
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
