//! Where the recommendation changes: along each value of a need, and under other conditions.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::{Choice, Need};
use crate::scenario::{Headers, RATES};
use crate::variant::Transport;

/// A value of a need whose actual value may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    Rate,
    Staleness,
    Rtt,
    MessageBytes,
    Subscribers,
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
/// Steps in which that factor is examined: one is 6 %.
const STEPS: i32 = 120;
/// A recommendation that holds over this factor ends the search. Near the boundary between two
/// transports a third may be the simplest of those that are close.
const LASTING_FACTOR: f64 = 1.25;
/// A recommendation that holds over a smaller factor is passed over.
const SHOWN_FACTOR: f64 = 1.02;
/// Changes listed in one direction.
const CHANGES_MAX: usize = 3;

/// The nearest change of the recommendation `present` in either direction of each value. If the new
/// recommendation does not hold for long, the changes after it follow, until one does.
pub fn margins(
    need: &Need,
    present: Option<Transport>,
    choose: impl Fn(&Need) -> Option<Choice>,
) -> Vec<Margin> {
    let directions =
        Parameter::ALL.into_iter().flat_map(|p| [(p, FACTOR_MAX), (p, 1.0 / FACTOR_MAX)]);
    directions
        .flat_map(|(parameter, furthest)| towards(need, present, &choose, parameter, furthest))
        .collect()
}

fn towards(
    need: &Need,
    present: Option<Transport>,
    choose: &impl Fn(&Need) -> Option<Choice>,
    parameter: Parameter,
    furthest: f64,
) -> Vec<Margin> {
    let at = |factor: f64| choose(&parameter.moved(need, factor)).map(|choice| choice.transport);
    let value = |factor: f64| parameter.of(need) * factor;
    let step = furthest.powf(1.0 / f64::from(STEPS));
    let (mut current, mut near) = (present, 1.0);
    let mut changes: Vec<Margin> = Vec::new();
    for index in 1..=STEPS {
        let far = step.powi(index);
        if !parameter.bounds().contains(&value(far)) {
            break;
        }
        let next = at(far);
        while current != next && changes.len() < CHANGES_MAX {
            let factor = boundary(near, far, |factor| at(factor) == current);
            (current, near) = (at(factor), factor);
            let is_brief = |last: &Margin| ratio(last.factor, factor) < SHOWN_FACTOR;
            if changes.last().is_some_and(is_brief) {
                changes.pop();
            }
            if changes.last().map_or(present, |last| last.becomes) != current {
                changes.push(Margin { parameter, at: value(factor), factor, becomes: current });
            }
        }
        let is_lasting = |last: &Margin| ratio(last.factor, far) >= LASTING_FACTOR;
        let is_over = current != present && changes.last().is_some_and(is_lasting);
        if is_over || changes.len() == CHANGES_MAX {
            break;
        }
        near = far;
    }
    changes
}

/// How far apart two factors are, at least 1.
fn ratio(a: f64, b: f64) -> f64 {
    (a / b).max(b / a)
}

/// The first factor between `near`, where `holds` is true, and `far`, where it is not.
fn boundary(mut near: f64, mut far: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..24 {
        let middle = (near * far).sqrt();
        *(if holds(middle) { &mut near } else { &mut far }) = middle;
    }
    far
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
    pub const ALL: [Parameter; 5] = [
        Parameter::Rate,
        Parameter::Staleness,
        Parameter::Rtt,
        Parameter::MessageBytes,
        Parameter::Subscribers,
    ];

    /// The value in `need`, in its unit.
    pub fn of(self, need: &Need) -> f64 {
        match self {
            Parameter::Rate => need.rate,
            Parameter::Staleness => need.staleness_s,
            Parameter::Rtt => need.rtt_s,
            Parameter::MessageBytes => f64::from(need.message_bytes),
            Parameter::Subscribers => f64::from(need.subscribers),
        }
    }

    /// The values that a need may have, in its unit.
    pub fn bounds(self) -> RangeInclusive<f64> {
        match self {
            Parameter::Rate => RATES,
            Parameter::Staleness => 1e-6..=86_400.0,
            Parameter::Rtt => 0.0..=10.0,
            Parameter::MessageBytes => 0.0..=1e6,
            Parameter::Subscribers => 1.0..=f64::from(u32::MAX),
        }
    }

    /// `need` with this value multiplied by `factor`. Topics cannot outnumber subscribers.
    pub fn moved(self, need: &Need, factor: f64) -> Need {
        let value = self.of(need) * factor;
        match self {
            Parameter::Rate => Need { rate: value, ..*need },
            Parameter::Staleness => Need { staleness_s: value, ..*need },
            Parameter::Rtt => Need { rtt_s: value, ..*need },
            Parameter::MessageBytes => Need { message_bytes: value.round() as u32, ..*need },
            Parameter::Subscribers => {
                let subscribers = (value.round() as u32).max(1);
                Need { subscribers, topics: need.topics.min(subscribers), ..*need }
            }
        }
    }
}
