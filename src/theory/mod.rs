//! What a measurement ought to show: closed forms for every transport, to be held against it.
//!
//! Nothing here measures, draws or reads a clock. [`predict`] turns a workload into figures;
//! [`cycle`] is the one model behind both kinds of polling, [`backoff`] that of an adaptive
//! interval, [`bytes`] what crosses the wire, and [`crossover`] where one way overtakes another.
//! Server and client are taken to need no time of their own; [`own_time`] adds what they do need on
//! a machine where that was measured.

pub mod backoff;
pub mod bytes;
pub mod crossover;
pub mod cycle;
mod delay;
pub mod loss;
pub mod processing_time;

use std::time::Duration;

use crate::scenario::{Process, Workload};
use crate::variant::{Extra, Pacing, Variant, Waiting};

pub use backoff::BackoffChain;
pub use cycle::Cycle;
pub use delay::{Delay, Gap};
pub use processing_time::ProcessingTime;

/// The mean of a long poll's hold, as a share of the hold that was asked for: the server holds for
/// a random share between 0.9 and 1.0, lest everybody's hold end together.
pub const MEAN_HOLD_SHARE: f64 = 0.95;

/// What one transport ought to do under one workload, in the steady state.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Publication to receipt.
    pub delay: Delay,
    /// Requests per second that one subscriber sends; 0 for push, after its handshake.
    pub requests_per_subscriber_s: f64,
    /// Requests per message that one subscriber receives; 0 for push.
    pub requests_per_message: f64,
    /// Share of answers without a message, 0 to 1; absent where there are no answers.
    pub empty_share: Option<f64>,
    /// Mean number of messages in an answer, empty ones included; absent where there are none.
    pub messages_per_answer: Option<f64>,
    /// What the packets that the link loses or queues change; absent for a link that does neither.
    pub network: Option<Network>,
}

/// What a prediction knows of a link that loses or queues packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Network {
    /// Mean delay that a delivery's own retransmissions add, seconds; absent where the mean latency
    /// is not known: with losses in bursts, with a limited bandwidth.
    pub retransmission_s: Option<f64>,
    /// Share of the deliveries that arrive a retransmission timeout late or later; absent where it
    /// is not known.
    pub late_share: Option<f64>,
}

impl Prediction {
    /// Mean delivery latency, seconds; without what the network adds, if that is not known.
    pub fn latency_mean_s(&self) -> f64 {
        let added_s = self.network.and_then(|network| network.retransmission_s);
        self.delay.mean_s() + added_s.unwrap_or(0.0)
    }

    /// Whether [`Prediction::latency_mean_s`] is all that is to be expected.
    pub fn knows_mean(&self) -> bool {
        self.network.is_none_or(|network| network.retransmission_s.is_some())
    }

    /// Whether quantiles and maximum are known: not on a link that loses or queues packets.
    pub fn knows_quantiles(&self) -> bool {
        self.network.is_none()
    }

    /// Delivery latency that a share `p` (0 to 1) of the messages does not exceed, seconds.
    pub fn latency_quantile_s(&self, p: f64) -> f64 {
        self.delay.quantile_s(p)
    }

    /// Longest delivery latency, seconds.
    pub fn latency_max_s(&self) -> f64 {
        self.delay.max_s()
    }

    fn push(one_way_s: f64) -> Self {
        Prediction {
            delay: Delay { one_way_s, gaps: Vec::new() },
            requests_per_subscriber_s: 0.0,
            requests_per_message: 0.0,
            empty_share: None,
            messages_per_answer: None,
            network: None,
        }
    }

    fn polling(cycle: &Cycle, process: Process) -> Option<Self> {
        let (delay, requests_s, empty_share) = match process {
            Process::Poisson => (cycle.delay(), cycle.requests_per_s(), cycle.empty_share()),
            Process::Periodic => cycle.periodic()?,
        };
        Some(Prediction::asking(delay, cycle.rate, requests_s, empty_share))
    }

    fn backing_off(chain: &BackoffChain) -> Self {
        let requests_s = chain.requests_per_s();
        Prediction::asking(chain.delay(), chain.rate, requests_s, chain.empty_share())
    }

    fn asking(delay: Delay, rate: f64, requests_s: f64, empty_share: f64) -> Self {
        Prediction {
            delay,
            requests_per_subscriber_s: requests_s,
            requests_per_message: requests_s / rate,
            empty_share: Some(empty_share),
            messages_per_answer: Some(rate / requests_s),
            network: None,
        }
    }
}

/// What a transport, or a variant of it, ought to do under `workload`. Conditional requests,
/// compression and shared connections change bytes, and neither requests nor latency.
///
/// Absent where no closed form is known: long polling of periodic messages that are further apart
/// than a hold is long, and an adaptive interval under periodic messages.
pub fn predict(variant: impl Into<Variant>, workload: &Workload) -> Option<Prediction> {
    let variant = variant.into();
    let prediction = without_network(variant, workload)?;
    Some(match workload.has_network() {
        true => loss::with_network(prediction, variant, workload),
        false => prediction,
    })
}

/// [`predict`] for a link that loses and queues nothing.
fn without_network(variant: Variant, workload: &Workload) -> Option<Prediction> {
    match variant.transport.waiting() {
        Waiting::InClient if variant.has(Extra::Adaptive) => match workload.process {
            Process::Poisson => Some(Prediction::backing_off(&adaptive_poll(workload))),
            Process::Periodic => None,
        },
        Waiting::InClient => Prediction::polling(&short_poll(workload), workload.process),
        Waiting::PerRequest => Prediction::polling(&long_poll(workload), workload.process),
        Waiting::PerConnection => Some(Prediction::push(workload.mean_rtt().as_secs_f64() / 2.0)),
    }
}

/// Short polling as a cycle that never holds.
///
/// A fixed rate faster than the round trip is slowed down to it, since a connection carries one
/// request at a time.
pub fn short_poll(workload: &Workload) -> Cycle {
    Cycle {
        rate: workload.rate,
        one_way_s: workload.mean_rtt().as_secs_f64() / 2.0,
        gap_s: period_s(workload, workload.poll_interval),
        hold_s: 0.0,
    }
}

/// Short polling whose interval doubles with each empty answer, up to the workload's longest.
pub fn adaptive_poll(workload: &Workload) -> BackoffChain {
    let longest = workload.poll_interval_max.max(workload.poll_interval);
    let doubled = |interval: &Duration| (*interval < longest).then(|| (2 * *interval).min(longest));
    let intervals = std::iter::successors(Some(workload.poll_interval), doubled);
    BackoffChain {
        rate: workload.rate,
        one_way_s: workload.mean_rtt().as_secs_f64() / 2.0,
        periods_s: intervals.map(|interval| period_s(workload, interval)).collect(),
    }
}

/// From one short poll to the next, seconds.
fn period_s(workload: &Workload, interval: Duration) -> f64 {
    let (interval_s, rtt_s) = (interval.as_secs_f64(), workload.mean_rtt().as_secs_f64());
    match workload.poll_pacing {
        Pacing::AfterResponse => interval_s + rtt_s,
        Pacing::FixedRate => interval_s.max(rtt_s),
    }
}

/// Long polling over a kept connection: the gap is one round trip, the hold the mean one.
///
/// Also taken for Socket.IO's polls, whose hold ends at the server's next heartbeat instead; as
/// long as messages come more often than heartbeats, that makes no difference.
pub fn long_poll(workload: &Workload) -> Cycle {
    let rtt_s = workload.mean_rtt().as_secs_f64();
    Cycle {
        rate: workload.rate,
        one_way_s: rtt_s / 2.0,
        gap_s: rtt_s,
        hold_s: MEAN_HOLD_SHARE * workload.long_poll_hold.as_secs_f64(),
    }
}
