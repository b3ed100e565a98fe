//! One model for both kinds of polling: a gap, in which the server has no request of the client,
//! followed by a hold, in which a request waits at the server.
//!
//! Messages published in the gap wait for the next request. A message published in the hold is sent
//! at once and ends the hold. Short polling is a cycle with a hold of 0, long polling a cycle with
//! a gap of one round trip.

use super::{Delay, Gap};

/// The cycle of a polling client: a gap and a hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycle {
    /// Messages per second for this subscriber (lambda), above 0.
    pub rate: f64,
    /// Delay from server to subscriber, seconds (d).
    pub one_way_s: f64,
    /// From sending a response to receiving the next request, at the server, seconds (g).
    pub gap_s: f64,
    /// Longest time that a request waits at the server for a message, seconds (tau).
    pub hold_s: f64,
}

impl Cycle {
    /// Mean number of messages in a gap (a = lambda g).
    fn per_gap(&self) -> f64 {
        self.rate * self.gap_s
    }

    /// Mean length of a gap and the hold after it, seconds, for Poisson messages:
    /// `C = g + e^-a (1 - e^(-lambda tau)) / lambda`.
    ///
    /// There is a hold if the gap contains no message (e^-a). It ends with the first message or at
    /// tau.
    pub fn length_s(&self) -> f64 {
        let mean_hold_s = -(-self.rate * self.hold_s).exp_m1() / self.rate;
        self.gap_s + (-self.per_gap()).exp() * mean_hold_s
    }

    /// Requests per second for Poisson messages, `1 / C`.
    pub fn requests_per_s(&self) -> f64 {
        1.0 / self.length_s()
    }

    /// Share of responses without a message, for Poisson messages: `e^(-lambda (g + tau))`.
    pub fn empty_share(&self) -> f64 {
        (-self.rate * (self.gap_s + self.hold_s)).exp()
    }

    /// Publication to receipt, for Poisson messages (PASTA: a share `g / C` of them is published in
    /// gaps).
    pub fn delay(&self) -> Delay {
        let gap_share = if self.gap_s > 0.0 { self.gap_s / self.length_s() } else { 0.0 };
        self.delay_with(gap_share)
    }

    fn delay_with(&self, gap_share: f64) -> Delay {
        let gap = Gap { length_s: self.gap_s, share: gap_share };
        Delay { one_way_s: self.one_way_s, gaps: vec![gap] }
    }

    /// Delay, requests per second and share of empty responses for periodic messages.
    ///
    /// The phase between messages and polls is assumed to be random, which holds over many
    /// subscribers and because clocks drift. (It does not hold if a gap is a multiple of the
    /// message interval: then each request has the same phase.) Three cases have a closed form:
    ///
    /// - Without a hold, a message waits for a uniformly random part of the gap.
    /// - If the message interval exceeds the gap, every message finds a waiting request (Pimentel
    ///   and Nickerson 2012).
    /// - If it is shorter than the gap, no request waits, and long polling equals short polling
    ///   with the gap as its period.
    ///
    /// `None` if holds time out without a message, since the result then depends on their phases.
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

/// The server's shortest timeout as a share of the mean: 0.9 and 0.95 of the requested timeout.
const SHORTEST_PER_MEAN_HOLD: f64 = 0.9 / super::MEAN_HOLD_SHARE;
