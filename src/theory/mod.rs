//! Predictions: closed forms for every transport, with which measurements are compared.
//!
//! This module measures nothing and reads no clock. [`predict`] computes figures from a workload.
//! [`cycle`] models both kinds of polling, [`backoff`] an adaptive interval, [`bytes`] the traffic,
//! and [`crossover`] the workloads at which one transport overtakes another. The closed forms
//! assume that server and client need no time; [`processing_time`] adds the time that they need
//! on a machine where it was measured.

pub mod backoff;
pub mod bytes;
pub mod crossover;
pub mod cycle;
mod delay;
pub mod loss;
mod network_path;
pub mod processing_time;

use std::time::Duration;

use crate::scenario::{Process, Workload};
use crate::variant::{Extra, Pacing, Transport, Variant, Waiting};

pub use backoff::BackoffChain;
pub use cycle::Cycle;
pub use delay::{Delay, Gap};
pub use network_path::NetworkPath;
pub use processing_time::ProcessingTime;

/// Mean timeout of an empty long poll, as a share of the requested timeout. The server uses a
/// random share between 0.9 and 1.0, so that long polls do not all time out at the same moment.
pub const MEAN_HOLD_SHARE: f64 = 0.95;

/// The prediction for one transport under one workload, in the steady state.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Publication to receipt.
    pub delay: Delay,
    /// Requests per second that one subscriber sends; 0 for push, after its handshake.
    pub requests_per_subscriber_s: f64,
    /// Requests per message that one subscriber receives; 0 for push.
    pub requests_per_message: f64,
    /// Share of responses without a message, 0 to 1; `None` for push.
    pub empty_share: Option<f64>,
    /// Mean number of messages in a response, including empty responses; `None` for push.
    pub messages_per_answer: Option<f64>,
    /// The effects of lost and queued packets; `None` for a link that neither loses nor queues.
    pub network: Option<LinkEffects>,
}

/// The predicted effects of a link that loses or queues packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkEffects {
    /// Mean delay that the retransmissions of a delivery add, seconds; `None` if the mean latency
    /// has no closed form, which is the case with a limited bandwidth, a shared connection, and a
    /// loss of 50 % or more.
    pub retransmission_s: Option<f64>,
    /// Share of the deliveries that are delayed by at least a retransmission timeout; `None` if it
    /// has no closed form.
    pub late_share: Option<f64>,
}

impl Prediction {
    /// Mean delivery latency, seconds; without the effects of the network if they are unknown.
    pub fn latency_mean_s(&self) -> f64 {
        let added_s = self.network.and_then(|network| network.retransmission_s);
        self.delay.mean_s() + added_s.unwrap_or(0.0)
    }

    /// Whether [`Prediction::latency_mean_s`] includes the effects of the network.
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
        Some(Prediction::of_polls(delay, cycle.rate, requests_s, empty_share))
    }

    fn adaptive_polling(chain: &BackoffChain) -> Self {
        let requests_s = chain.requests_per_s();
        Prediction::of_polls(chain.delay(), chain.rate, requests_s, chain.empty_share())
    }

    fn of_polls(delay: Delay, rate: f64, requests_s: f64, empty_share: f64) -> Self {
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

/// The prediction for a transport, or a variant of it, under `workload`. Conditional requests,
/// compression and shared connections change neither the number of requests nor the latency.
///
/// `None` if no closed form is known: for long polling of periodic messages whose interval exceeds
/// the timeout, and for an adaptive interval with periodic messages.
pub fn predict(variant: impl Into<Variant>, workload: &Workload) -> Option<Prediction> {
    let variant = variant.into();
    let prediction = without_network(variant, workload)?;
    Some(match workload.has_network() {
        true => loss::with_network(prediction, variant, workload),
        false => prediction,
    })
}

/// [`predict`] for a link that neither loses nor queues packets.
fn without_network(variant: Variant, workload: &Workload) -> Option<Prediction> {
    let round_trips = poll_round_trips(variant);
    match variant.transport.waiting() {
        Waiting::InClient if variant.has(Extra::Adaptive) => match workload.process {
            Process::Poisson => {
                let chain = adaptive_poll(workload, round_trips);
                Some(Prediction::adaptive_polling(&chain))
            }
            Process::Periodic => None,
        },
        Waiting::InClient | Waiting::PerRequest => {
            Prediction::polling(&poll_cycle(variant, workload), workload.process)
        }
        Waiting::PerConnection => Some(Prediction::push(workload.mean_rtt().as_secs_f64() / 2.0)),
    }
}

/// Round trips from the start of a poll until its response has arrived: one on an open connection,
/// one more to open a TCP connection (RFC 9293, section 3.5), and one more for a TLS 1.3 handshake,
/// full or resumed (RFC 8446, sections 2 and 2.2).
pub fn poll_round_trips(variant: Variant) -> f64 {
    match (variant.has(Extra::NewConnection), variant.has(Extra::Tls)) {
        (false, _) => 1.0,
        (true, false) => 2.0,
        (true, true) => 3.0,
    }
}

/// The cycle of a polling variant without an adaptive interval.
pub fn poll_cycle(variant: Variant, workload: &Workload) -> Cycle {
    let round_trips = poll_round_trips(variant);
    let (gap_s, hold_s) = match variant.transport.waiting() {
        Waiting::InClient => (period_s(workload, workload.poll_interval, round_trips), 0.0),
        Waiting::PerRequest | Waiting::PerConnection => (
            round_trips * workload.mean_rtt().as_secs_f64(),
            MEAN_HOLD_SHARE * workload.long_poll_hold.as_secs_f64(),
        ),
    };
    let one_way_s = workload.mean_rtt().as_secs_f64() / 2.0;
    Cycle { rate: workload.rate, one_way_s, gap_s, hold_s }
}

/// Short polling as a cycle without a hold.
///
/// The interval of a fixed rate is at least the round trip, since a connection carries one request
/// at a time.
pub fn short_poll(workload: &Workload) -> Cycle {
    poll_cycle(Transport::ShortPolling.into(), workload)
}

/// Short polling whose interval doubles with each empty response, up to `poll_interval_max`.
fn adaptive_poll(workload: &Workload, round_trips: f64) -> BackoffChain {
    let longest = workload.poll_interval_max.max(workload.poll_interval);
    let doubled = |interval: &Duration| (*interval < longest).then(|| (2 * *interval).min(longest));
    let intervals = std::iter::successors(Some(workload.poll_interval), doubled);
    BackoffChain {
        rate: workload.rate,
        one_way_s: workload.mean_rtt().as_secs_f64() / 2.0,
        periods_s: intervals.map(|interval| period_s(workload, interval, round_trips)).collect(),
    }
}

/// From one short poll to the next, seconds.
fn period_s(workload: &Workload, interval: Duration, round_trips: f64) -> f64 {
    let interval_s = interval.as_secs_f64();
    let poll_s = round_trips * workload.mean_rtt().as_secs_f64();
    match workload.poll_pacing {
        Pacing::AfterResponse => interval_s + poll_s,
        Pacing::FixedRate => interval_s.max(poll_s),
    }
}

/// Long polling over a persistent connection: the gap is one round trip, the hold the mean timeout.
///
/// Also used for Socket.IO over polling, whose polls end at the server's next heartbeat instead.
/// There is no difference as long as messages are more frequent than heartbeats.
pub fn long_poll(workload: &Workload) -> Cycle {
    poll_cycle(Transport::LongPolling.into(), workload)
}
