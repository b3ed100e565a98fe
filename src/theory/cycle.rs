//! One model for both kinds of polling: a gap without a request at the server, then a hold.
//!
//! Messages that fall into the gap wait for the next request; one that falls into the hold is
//! answered at once and ends it. Short polling is the cycle whose hold is 0, and long polling the
//! one whose gap is a round trip.

use super::{Delay, Gap};

/// A poller's life: a gap during which the server has no request of it, then a hold, over again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycle {
    /// Messages per second for this subscriber (lambda), above 0.
    pub rate: f64,
    /// Delay from server to subscriber, seconds (d).
    pub one_way_s: f64,
    /// From an answer's leaving the server to the next request's arrival there, seconds (g).
    pub gap_s: f64,
    /// How long a request waits at the server for a message, at most, seconds (tau).
    pub hold_s: f64,
}

impl Cycle {
    /// Messages that fall into one gap, on average (a = lambda g).
    fn per_gap(&self) -> f64 {
        self.rate * self.gap_s
    }

    /// Mean length of a gap and the hold after it, seconds, for Poisson messages:
    /// `C = g + e^-a (1 - e^(-lambda tau)) / lambda`.
    ///
    /// The hold happens if the gap stayed empty (e^-a), and ends with the first message or at tau.
    pub fn length_s(&self) -> f64 {
        let mean_hold_s = -(-self.rate * self.hold_s).exp_m1() / self.rate;
        self.gap_s + (-self.per_gap()).exp() * mean_hold_s
    }

    /// Requests per second for Poisson messages, `1 / C`.
    pub fn requests_per_s(&self) -> f64 {
        1.0 / self.length_s()
    }

    /// Share of answers without a message, for Poisson messages: `e^(-lambda (g + tau))`.
    pub fn empty_share(&self) -> f64 {
        (-self.rate * (self.gap_s + self.hold_s)).exp()
    }

    /// Publication to receipt, for Poisson messages, which see time averages: a share `g / C` of
    /// them falls into gaps.
    pub fn delay(&self) -> Delay {
        let gap_share = if self.gap_s > 0.0 { self.gap_s / self.length_s() } else { 0.0 };
        self.delay_with(gap_share)
    }

    fn delay_with(&self, gap_share: f64) -> Delay {
        let gap = Gap { length_s: self.gap_s, share: gap_share };
        Delay { one_way_s: self.one_way_s, gaps: vec![gap] }
    }

    /// Delay, requests per second and share of empty answers for messages at equal distances.
    ///
    /// The phase of the messages against the polls is taken to be random: over many subscribers it
    /// is, and clocks drift. (It is not if a gap is a whole number of message intervals: then the
    /// phase in which a hold once ended returns with every request.) Three cases have a closed
    /// form. Without a hold, each message meets a uniformly random part of the gap. With one,
    /// messages further apart than the gap all meet a waiting request (Pimentel and Nickerson
    /// 2012), and messages closer than it never do, so that the long poll is a short poll whose
    /// period is the gap. Absent for the fourth: holds that end without a message, since then the
    /// phases at which they end matter.
    pub fn periodic(&self) -> Option<(Delay, f64, f64)> {
        let between_s = 1.0 / self.rate;
        if self.hold_s == 0.0 || self.gap_s > between_s {
            let empty_share = (1.0 - self.per_gap()).max(0.0);
            return Some((self.delay_with(1.0), 1.0 / self.gap_s, empty_share));
        }
        let shortest_hold_s = self.hold_s * SHORTEST_PER_MEAN_HOLD;
        (self.gap_s + shortest_hold_s >= between_s).then(|| (self.delay_with(0.0), self.rate, 0.0))
    }
}

/// The server's shortest hold as a share of its mean one: 0.9 against 0.95 of what was asked for.
const SHORTEST_PER_MEAN_HOLD: f64 = 0.9 / super::MEAN_HOLD_SHARE;
