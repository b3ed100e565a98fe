//! The delay that lost packets cause on a connection with one segment in flight at a time, such as
//! one with infrequent messages.
//!
//! If no segment follows a lost one, the sender detects the loss by TCP's retransmission timeout
//! (RFC 6298): the smoothed round trip plus four deviations, at least 200 ms on Linux, doubled for
//! each further loss of the same segment. A lost acknowledgement delays no message; the segment is
//! retransmitted unnecessarily. If another segment follows within about 200 ms, its selective
//! acknowledgement reveals the loss earlier (RACK, RFC 8985).
//!
//! Losses are independent or in bursts (E. N. Gilbert, "Capacity of a burst-noise channel", Bell
//! System Technical Journal 39, 1960; here in continuous time). In a burst the retransmission and
//! the segment that would reveal the loss are lost more often too.

use std::time::Duration;

use super::{Cycle, Delay, Gap, LinkEffects, Prediction, long_poll, short_poll};
use crate::packet_link::Loss;
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
    let loss = SegmentLoss::of(workload);
    let limits = [workload.bandwidth_down_kbit, workload.bandwidth_up_kbit];
    let is_limited = limits.into_iter().any(|limit| limit.is_some());
    let retransmission_s = loss.mean_s.filter(|_| !is_limited);
    let is_shared = variant.has(Extra::H2);
    let network = |late_share: Option<f64>| {
        Some(LinkEffects { retransmission_s: retransmission_s.filter(|_| !is_shared), late_share })
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
            Prediction { network: Some(LinkEffects::default()), ..prediction }
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

/// Retransmissions after which losses no longer depend on the first one.
const RETRANSMISSIONS: i32 = 8;

/// The effect of losses on one segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SegmentLoss {
    /// The losses of the link; their share is the chance that a first transmission is lost.
    link: Loss,
    /// The retransmission timeout, seconds.
    pub timeout_s: f64,
    /// Mean delay that losses add to a segment, seconds; `None` from a loss of 50 % on, where the
    /// doubled timeouts have no mean.
    pub mean_s: Option<f64>,
}

impl SegmentLoss {
    /// The effect on the link of `workload`.
    pub fn of(workload: &Workload) -> SegmentLoss {
        let link = workload.packet_loss();
        let timeout_s = workload.mean_rtt().as_secs_f64() + TIMEOUT_MIN_S;
        // With independent losses p RTO + p^2 2 RTO + p^3 4 RTO + ... = p RTO / (1 - 2 p). In
        // bursts each retransmission has its own chance to be lost as well, which tends to p.
        let timeout = |number: i32| timeout_s * 2f64.powi(number);
        let last_s = timeout(RETRANSMISSIONS) / (1.0 - 2.0 * link.share);
        let mean_s = (0..RETRANSMISSIONS).rev().fold(last_s, |later_s, number| {
            let wait_s = timeout(number);
            wait_s + link.repeated(Duration::from_secs_f64(wait_s)) * later_s
        });
        SegmentLoss { link, timeout_s, mean_s: (link.share < 0.5).then_some(link.share * mean_s) }
    }

    /// `prediction` of a poller some of whose gaps are longer by a timeout: those in which the
    /// request or the answer before it was lost.
    fn slow_down(&self, prediction: &Prediction, cycle: &Cycle) -> Prediction {
        let slow = Cycle { gap_s: cycle.gap_s + self.timeout_s, ..*cycle };
        let slow_share = 1.0 - (1.0 - self.link.share).powi(2);
        let kinds = [(cycle, 1.0 - slow_share), (&slow, slow_share)];
        let length_s: f64 = kinds.iter().map(|(cycle, share)| share * cycle.length_s()).sum();
        let gap = |(cycle, share): &(&Cycle, f64)| Gap {
            length_s: cycle.gap_s,
            share: share * cycle.gap_s / length_s,
        };
        let empty_share = kinds.iter().map(|(cycle, share)| share * cycle.empty_share()).sum();
        let one_way_s = prediction.delay.one_way_s;
        let delay = Delay { one_way_s, gaps: kinds.iter().map(gap).collect() };
        Prediction::of_polls(delay, cycle.rate, 1.0 / length_s, empty_share)
    }

    /// Share of pushed messages that are delayed by at least a timeout, on a connection with `rate`
    /// messages per second: they are lost, and no segment arrives in time to reveal the loss.
    pub fn late_pushes(&self, rate: f64) -> f64 {
        let rtt_s = self.timeout_s - TIMEOUT_MIN_S;
        let alone_s = (TIMEOUT_MIN_S - (1.0 + REORDERING_SHARE) * rtt_s).max(0.0);
        // The integral over `alone_s` of the chance that a segment is not lost with the first one.
        let memory_s = self.link.memory_s();
        let in_burst_s = match memory_s > 0.0 {
            true => memory_s * (1.0 - (-alone_s / memory_s).exp()),
            false => 0.0,
        };
        let revealing = rate * (1.0 - self.link.share) * (alone_s - in_burst_s);
        self.link.share * (-revealing).exp()
    }

    /// The same for long polling, where the gap between two polls is `gap_s` and the mean cycle
    /// `cycle_s`: the messages of a lost response, and those that are published while the next
    /// request is delayed, by its own retransmission or that of the response before it, by a
    /// timeout or more.
    pub fn late_answers(&self, gap_s: f64, cycle_s: f64) -> f64 {
        let late_s = gap_s + self.timeout_s - TIMEOUT_MIN_S;
        self.link.share * (1.0 + 2.0 * late_s / cycle_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(loss: f64, loss_burst: Duration) -> Workload {
        Workload { loss, loss_burst, ..Workload::default() }
    }

    #[test]
    fn independent_losses_have_the_mean_of_a_geometric_series() {
        let loss = SegmentLoss::of(&workload(5.0, Duration::ZERO));
        let expected = 0.05 * 0.24 / (1.0 - 0.1);
        assert!((loss.mean_s.expect("below one half") - expected).abs() < 1e-12);
        assert!(SegmentLoss::of(&workload(50.0, Duration::ZERO)).mean_s.is_none());
    }

    #[test]
    fn losses_in_bursts_delay_longer_and_are_revealed_later() {
        let [independent, short, long] =
            [0, 50, 400].map(|ms| SegmentLoss::of(&workload(2.0, Duration::from_millis(ms))));
        let mean_s = |loss: &SegmentLoss| loss.mean_s.expect("below one half");
        assert!(mean_s(&independent) < mean_s(&short) && mean_s(&short) < mean_s(&long));
        let late = |loss: &SegmentLoss| loss.late_pushes(2.0);
        assert!(late(&independent) < late(&short) && late(&short) < late(&long));
        // Only lost messages are late, and without a following message all of them are.
        assert!(late(&long) < 0.02 && (independent.late_pushes(0.0) - 0.02).abs() < 1e-12);
        // 150 ms without a message, at two messages a second, of which 2 % are lost as well.
        assert!((late(&independent) - 0.02 * (-0.294f64).exp()).abs() < 1e-12);
    }
}
