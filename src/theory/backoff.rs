//! Short polling with an interval that doubles while answers are empty: one step on a list of
//! periods for each empty answer, back to its foot after any other.
//!
//! The steps form a Markov chain, exactly, since Poisson messages in different periods know nothing
//! of each other: a period `P` is empty with the probability `q = e^(-lambda P)`.

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
struct Step {
    period_s: f64,
    /// Share of the periods that are this one.
    share: f64,
    /// Share of them that bring no message.
    empty_share: f64,
}

impl BackoffChain {
    /// The share of each step `k`: `q0 q1 ... q(k-1)` times that of the first. On the top step an
    /// empty answer leads to the same step again, so its own is divided by `1 - q`.
    fn steps(&self) -> Vec<Step> {
        let mut reached = 1.0;
        let mut steps: Vec<Step> = Vec::with_capacity(self.periods_s.len());
        for (index, period_s) in self.periods_s.iter().copied().enumerate() {
            let empty_share = (-self.rate * period_s).exp();
            let is_top = index + 1 == self.periods_s.len();
            let stays = if is_top { -(-self.rate * period_s).exp_m1() } else { 1.0 };
            steps.push(Step { period_s, share: reached / stays, empty_share });
            reached *= empty_share;
        }
        let total: f64 = steps.iter().map(|step| step.share).sum();
        steps.iter_mut().for_each(|step| step.share /= total);
        steps
    }

    /// Requests per second: one a period.
    pub fn requests_per_s(&self) -> f64 {
        1.0 / mean_period_s(&self.steps())
    }

    /// Share of answers without a message.
    pub fn empty_share(&self) -> f64 {
        self.steps().iter().map(|step| step.share * step.empty_share).sum()
    }

    /// Publication to receipt: messages see time averages, so a long period meets more of them.
    pub fn delay(&self) -> Delay {
        let steps = self.steps();
        let mean_s = mean_period_s(&steps);
        let gap = |step: &Step| Gap {
            length_s: step.period_s,
            share: step.share * step.period_s / mean_s,
        };
        Delay { one_way_s: self.one_way_s, gaps: steps.iter().map(gap).collect() }
    }
}

fn mean_period_s(steps: &[Step]) -> f64 {
    steps.iter().map(|step| step.share * step.period_s).sum()
}
