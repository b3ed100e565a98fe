//! The distribution of the delivery latency: a message published in a gap waits for a uniformly
//! random part of it, other messages do not wait; the one-way delay is added to both.

/// The distribution of a delay.
#[derive(Debug, Clone, PartialEq)]
pub struct Delay {
    /// Server to subscriber, seconds (d).
    pub one_way_s: f64,
    /// The kinds of gaps, shortest first.
    pub gaps: Vec<Gap>,
}

/// A kind of gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// The longest wait, seconds (g).
    pub length_s: f64,
    /// Share of the messages published in such a gap, 0 to 1 (rho).
    pub share: f64,
}

impl Delay {
    /// Mean, seconds: `d + rho g / 2`, with a sum over the kinds of gaps.
    pub fn mean_s(&self) -> f64 {
        let waits_s = self.gaps.iter().map(|gap| gap.share * gap.length_s / 2.0);
        self.one_way_s + waits_s.sum::<f64>()
    }

    /// The latency that a share `p` (0 to 1) of the messages does not exceed, seconds. With one
    /// kind of gap `d + max(0, g (p - (1 - rho)) / rho)`; with more, a piecewise linear function
    /// with a bend at the end of each kind.
    pub fn quantile_s(&self, p: f64) -> f64 {
        let meets = |gap: &&Gap| gap.share > 0.0 && gap.length_s > 0.0;
        let gaps: Vec<&Gap> = self.gaps.iter().filter(meets).collect();
        let mut reached = 1.0 - gaps.iter().map(|gap| gap.share).sum::<f64>();
        let mut wait_s = 0.0;
        for (index, gap) in gaps.iter().enumerate() {
            let density: f64 = gaps[index..].iter().map(|gap| gap.density()).sum();
            let until_end = (gap.length_s - wait_s) * density;
            if p <= reached + until_end {
                return self.one_way_s + wait_s + (p - reached).max(0.0) / density;
            }
            reached += until_end;
            wait_s = gap.length_s;
        }
        self.one_way_s + wait_s
    }

    /// Maximum, seconds: `d + g`, or `d` if no message is published in a gap.
    pub fn max_s(&self) -> f64 {
        self.quantile_s(1.0)
    }
}

impl Gap {
    /// Share of the messages for each second of waiting.
    fn density(&self) -> f64 {
        self.share / self.length_s
    }
}
