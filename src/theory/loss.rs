//! The delay that lost packets cause on a connection with one segment in flight at a time, such as
//! one with infrequent messages.
//!
//! If no segment follows a lost one, the sender detects the loss by TCP's retransmission timeout
//! (RFC 6298): the smoothed round trip plus four deviations, at least 200 ms on Linux, doubled for
//! each further loss of the same segment. A lost acknowledgement delays no message; the segment is
//! retransmitted unnecessarily. If another segment follows within about 200 ms, its selective
//! acknowledgement reveals the loss earlier (RACK, RFC 8985).

use super::{Cycle, Delay, Gap, Network, Prediction, long_poll, short_poll};
use crate::scenario::{Process, Workload};
use crate::variant::{Extra, Variant, Waiting};

/// Least time by which a retransmission timeout exceeds the round trip, seconds: `TCP_RTO_MIN` of
/// Linux.
pub const TIMEOUT_MIN_S: f64 = 0.2;
/// How long after a round trip an out-of-order acknowledgement is waited for, as a share of the
/// round trip (RFC 8985, section 7.1).
const REORDERING_SHARE: f64 = 0.25;

/// `prediction` with the effects of the link's losses and limits.
pub(super) fn with_network(
    prediction: Prediction,
    variant: Variant,
    workload: &Workload,
) -> Prediction {
    let loss = Loss::of(workload);
    let limits = [workload.bandwidth_down_kbit, workload.bandwidth_up_kbit];
    let is_limited = limits.into_iter().any(|limit| limit.is_some());
    let retransmission_s = loss.mean_s.filter(|_| !is_limited);
    let is_shared = variant.has(Extra::H2);
    let network = |late_share: Option<f64>| {
        Some(Network { retransmission_s: retransmission_s.filter(|_| !is_shared), late_share })
    };
    match variant.transport.waiting() {
        Waiting::PerConnection => {
            let streams = if is_shared { workload.streams_per_connection } else { 1 };
            let rate = workload.rate * f64::from(streams);
            Prediction { network: network(Some(loss.late_pushes(rate))), ..prediction }
        }
        // A lost SYN takes a second (RFC 6298, section 2), for which there is no closed form here.
        _ if variant.has(Extra::Adaptive)
            || variant.has(Extra::NewConnection)
            || workload.process == Process::Periodic =>
        {
            Prediction { network: Some(Network::default()), ..prediction }
        }
        Waiting::InClient => {
            let polled = loss.slow_down(&prediction, &short_poll(workload));
            Prediction { network: network(None), ..polled }
        }
        Waiting::PerRequest => {
            let cycle = long_poll(workload);
            let late_share = loss.late_answers(cycle.gap_s, cycle.length_s());
            let late_share = (!is_shared).then_some(late_share);
            let polled = loss.slow_down(&prediction, &cycle);
            Prediction { network: network(late_share), ..polled }
        }
    }
}

/// The effect of losses on one kind of segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Loss {
    /// Probability that the first transmission of a segment is lost.
    pub first: f64,
    /// The retransmission timeout, seconds.
    pub timeout_s: f64,
    /// Mean delay that losses add to a segment, seconds; `None` for losses in bursts, in which most
    /// retransmissions are lost too and the doubled timeouts have no useful mean.
    pub mean_s: Option<f64>,
}

impl Loss {
    /// The effect on the link of `workload`.
    pub fn of(workload: &Workload) -> Loss {
        let share = workload.loss / 100.0;
        let timeout_s = workload.mean_rtt().as_secs_f64() + TIMEOUT_MIN_S;
        let is_burst = workload.loss_burst > 1;
        // In bursts a segment is seldom sent into one: it begins with a loss after a success, and
        // most of what it swallows are retransmissions.
        let first = match is_burst {
            true => share / (1.0 - share) / f64::from(workload.loss_burst),
            false => share,
        };
        // p RTO + p^2 2 RTO + p^3 4 RTO + ...
        let mean_s = share * timeout_s / (1.0 - 2.0 * share);
        Loss { first, timeout_s, mean_s: (!is_burst && share < 0.5).then_some(mean_s) }
    }

    /// `prediction` of a poller some of whose gaps are longer by a timeout: those in which the
    /// request or the answer before it was lost.
    fn slow_down(&self, prediction: &Prediction, cycle: &Cycle) -> Prediction {
        let slow = Cycle { gap_s: cycle.gap_s + self.timeout_s, ..*cycle };
        let slow_share = 1.0 - (1.0 - self.first).powi(2);
        let kinds = [(cycle, 1.0 - slow_share), (&slow, slow_share)];
        let length_s: f64 = kinds.iter().map(|(cycle, share)| share * cycle.length_s()).sum();
        let gap = |(cycle, share): &(&Cycle, f64)| Gap {
            length_s: cycle.gap_s,
            share: share * cycle.gap_s / length_s,
        };
        let empty_share = kinds.iter().map(|(cycle, share)| share * cycle.empty_share()).sum();
        let one_way_s = prediction.delay.one_way_s;
        let delay = Delay { one_way_s, gaps: kinds.iter().map(gap).collect() };
        Prediction::asking(delay, cycle.rate, 1.0 / length_s, empty_share)
    }

    /// Share of pushed messages that are delayed by at least a timeout, on a connection with `rate`
    /// messages per second: they are lost, and no segment follows in time to reveal the loss.
    pub fn late_pushes(&self, rate: f64) -> f64 {
        let rtt_s = self.timeout_s - TIMEOUT_MIN_S;
        let alone_s = (TIMEOUT_MIN_S - (1.0 + REORDERING_SHARE) * rtt_s).max(0.0);
        self.first * (-rate * alone_s).exp()
    }

    /// The same of messages that a long poll answers, where the gap between two polls is `gap_s`
    /// and the mean cycle `cycle_s`: those of a lost answer, and those that come while the next
    /// request waits for its turn, or for that answer's, by more than a timeout.
    pub fn late_answers(&self, gap_s: f64, cycle_s: f64) -> f64 {
        let late_s = gap_s + self.timeout_s - TIMEOUT_MIN_S;
        self.first * (1.0 + 2.0 * late_s / cycle_s)
    }
}
