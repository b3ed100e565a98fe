//! Short polling with an interval that doubles after each empty response and returns to the
//! shortest interval after a response with messages.
//!
//! The intervals form a Markov chain, because Poisson messages in disjoint intervals are
//! independent: an interval `P` is empty with the probability `q = e^(-lambda P)`.

use super::{Delay, Gap};

/// The intervals: from each poll to the next, seconds, from the shortest to the longest.
#[derive(Debug, Clone, PartialEq)]
pub struct BackoffChain {
    /// Messages per second for this subscriber (lambda), above 0.
    pub rate: f64,
    /// Delay from server to subscriber, seconds (d).
    pub one_way_s: f64,
    /// At least one.
    pub periods_s: Vec<f64>,
}

/// One interval in the steady state.
struct Interval {
    period_s: f64,
    /// Share of the intervals that have this length.
    share: f64,
    /// Share of them without a message.
    empty_share: f64,
}

impl BackoffChain {
    /// The share of each step `k`: `q0 q1 ... q(k-1)` times the share of the first. After an empty
    /// response, the last step is repeated, so its share is divided by `1 - q`.
    fn steps(&self) -> Vec<Interval> {
        let mut reached = 1.0;
        let mut steps: Vec<Interval> = Vec::with_capacity(self.periods_s.len());
        for (index, period_s) in self.periods_s.iter().copied().enumerate() {
            let empty_share = (-self.rate * period_s).exp();
            let is_top = index + 1 == self.periods_s.len();
            let stays = if is_top { -(-self.rate * period_s).exp_m1() } else { 1.0 };
            steps.push(Interval { period_s, share: reached / stays, empty_share });
            reached *= empty_share;
        }
        let total: f64 = steps.iter().map(|step| step.share).sum();
        steps.iter_mut().for_each(|step| step.share /= total);
        steps
    }

    /// Requests per second: one per interval.
    pub fn requests_per_s(&self) -> f64 {
        1.0 / mean_period_s(&self.steps())
    }

    /// Share of responses without a message.
    pub fn empty_share(&self) -> f64 {
        self.steps().iter().map(|step| step.share * step.empty_share).sum()
    }

    /// Publication to receipt. Messages arrive at random times, so the share of the messages in an
    /// interval is proportional to its length.
    pub fn delay(&self) -> Delay {
        let steps = self.steps();
        let mean_s = mean_period_s(&steps);
        let gap = |step: &Interval| Gap {
            length_s: step.period_s,
            share: step.share * step.period_s / mean_s,
        };
        Delay { one_way_s: self.one_way_s, gaps: steps.iter().map(gap).collect() }
    }
}

fn mean_period_s(steps: &[Interval]) -> f64 {
    steps.iter().map(|step| step.share * step.period_s).sum()
}
