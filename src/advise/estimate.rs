//! The estimate of one transport for one need, and its basis: measured, extrapolated, or the
//! reference.

use std::time::Duration;

use serde::Serialize;

use super::{Candidate, Cost, CostSource, Need, TransportCosts};
use crate::scenario::{Headers, Workload};
use crate::theory::bytes::{Sizes, TLS_RECORD_BYTES, tls_records_s, traffic};
use crate::theory::crossover::fan_out_delay_s;
use crate::theory::predict;
use crate::variant::{Transport, Waiting};

/// Planned utilisation of a core; the rest is reserved for bursts.
pub const BUSY_SHARE_MAX: f64 = 0.7;

/// The estimated load and costs of one transport.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub transport: Transport,
    /// The lowest worst-case latency it can have, seconds, if that exceeds the acceptable age.
    pub too_slow_s: Option<f64>,
    /// Short polling: the pause after each response, seconds, as long as the acceptable age allows.
    pub poll_interval_s: Option<f64>,
    /// Long polling: timeout of a request, seconds.
    pub hold_s: Option<f64>,
    /// Publication to receipt, seconds, fan-out included.
    pub latency_mean_s: f64,
    /// The same for the subscriber that is served last.
    pub latency_max_s: f64,
    /// How long one publication keeps `cores` busy, seconds. 0 for short polling, whose requests
    /// arrive at random times.
    pub fan_out_s: f64,
    /// Requests per second of all subscribers.
    pub requests_s: f64,
    /// Messages per second to all subscribers; for push, pings and pongs included.
    pub messages_s: f64,
    /// Mean messages per response, empty ones included; `None` for push.
    pub messages_per_answer: Option<f64>,
    /// Connections that stay open.
    pub connections: u32,
    /// Requests, or connections of a push transport, that are open at the server at one time, on
    /// average. A short poll is open for as long as the CPU needs to answer it.
    pub open_requests: f64,
    /// A message as it is delivered, without framing, bytes.
    pub message_bytes: f64,
    /// From all subscribers to the server, bytes per second.
    pub bytes_up_s: f64,
    /// From the server to all subscribers, bytes per second.
    pub bytes_down_s: f64,
    /// Mean server CPU use, cores, publishing included.
    pub cpu_cores_busy: f64,
    /// Cores to plan: at most [`BUSY_SHARE_MAX`] busy, and every fan-out within the acceptable age.
    pub cores: f64,
    /// Memory of all subscribers while they are idle, bytes, without kernel memory.
    pub memory_bytes: f64,
    /// Total of the monthly bill, in the currency of the price list; absent without a list, or if
    /// the platform cannot carry the transport.
    pub monthly_bill: Option<f64>,
    /// How well the CPU figures are known: by requests or messages per second.
    pub cpu_basis: Basis,
    /// How well the memory is known: by subscribers.
    pub memory_basis: Basis,
}

/// A load counts as extrapolated if it exceeds the largest measured one by this factor: heartbeats
/// are part of a need, and not of what a run counts.
pub const MEASURED_UP_TO: f64 = 1.1;

/// How well a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Basis {
    /// Where its costs were measured.
    pub origin: CostSource,
    /// How many times the largest measured load the need has; absent within the measured range.
    pub extrapolated: Option<f64>,
}

impl Basis {
    fn of(origin: CostSource, asked: f64, measured: f64) -> Basis {
        let is_beyond = asked > measured * MEASURED_UP_TO;
        Basis { origin, extrapolated: is_beyond.then_some(asked / measured) }
    }
}

impl Estimate {
    /// True if even the worst-case latency does not exceed the acceptable age.
    pub fn is_fast_enough(&self) -> bool {
        self.too_slow_s.is_none()
    }

    /// `None` for a transport whose bytes have no model.
    pub(super) fn of(
        transport: Transport,
        need: &Need,
        costs: &TransportCosts,
        publish_cpu_us: f64,
    ) -> Option<Estimate> {
        let workload = workload(need);
        let prediction = predict(transport, &workload)?;
        let sizes = with_headers(transport, need.headers, costs.sizes);
        let carried = traffic(transport, &workload, &sizes)?;
        let characteristics = Characteristics::of(transport, need, &sizes);
        let requests = prediction.requests_per_subscriber_s;
        let records = match need.is_tls {
            true => tls_records_s(transport, need.rate, requests, &sizes),
            false => [0.0; 2],
        };
        let [tls_up, tls_down] = records.map(|records_s| records_s * TLS_RECORD_BYTES);
        let subscribers = f64::from(need.subscribers);
        let requests_s = subscribers * prediction.requests_per_subscriber_s;
        let messages_s = subscribers * characteristics.messages_s;
        let publications_s = need.rate * f64::from(need.topics);
        let cpu_us_per_s = requests_s * costs.request_cpu_us
            + messages_s * costs.message_cpu_us
            + publications_s * publish_cpu_us;
        let cpu_cores_busy = cpu_us_per_s / 1e6;
        let worst_s = prediction.latency_max_s();
        let fan_out_cpu_s = fan_out_delay_s(
            characteristics.at_once,
            (costs.request_cpu_us + costs.message_cpu_us) / 1e6,
        );
        let cores = cores(cpu_cores_busy, fan_out_cpu_s, need.staleness_s - worst_s);
        let fan_out_s = fan_out_cpu_s / cores;
        let is = |which| transport == which;
        Some(Estimate {
            transport,
            too_slow_s: too_slow_s(transport, need, characteristics.fastest_s),
            poll_interval_s: is(Transport::ShortPolling)
                .then_some(workload.poll_interval.as_secs_f64()),
            hold_s: is(Transport::LongPolling).then_some(workload.long_poll_hold.as_secs_f64()),
            latency_mean_s: prediction.latency_mean_s() + fan_out_s / 2.0,
            latency_max_s: worst_s + fan_out_s,
            fan_out_s,
            requests_s,
            messages_s,
            messages_per_answer: prediction.messages_per_answer,
            connections: need.subscribers,
            open_requests: match transport.waiting() {
                Waiting::InClient => requests_s * costs.request_cpu_us / 1e6,
                // There is no request at the server during each round trip. A difference below the
                // rounding error counts as none.
                Waiting::PerRequest => Some(subscribers - requests_s * need.rtt_s)
                    .filter(|open| *open > 1e-6 * subscribers)
                    .unwrap_or(0.0),
                Waiting::PerConnection => subscribers,
            },
            message_bytes: f64::from(need.message_bytes) + sizes.message_object,
            bytes_up_s: subscribers * (carried.up.total() + tls_up),
            bytes_down_s: subscribers * (carried.down.total() + tls_down),
            cpu_cores_busy,
            cores,
            memory_bytes: subscribers * costs.memory_bytes,
            monthly_bill: None,
            cpu_basis: Basis::of(costs.origin, requests_s.max(messages_s), costs.events_s_max),
            memory_basis: Basis::of(costs.origin, subscribers, f64::from(costs.subscribers_max)),
        })
    }

    /// The transport with this cost, for a [`super::Choice`].
    pub fn candidate(&self, cost: f64) -> Candidate {
        let bytes = self.cost(Cost::Bytes);
        Candidate { transport: self.transport, cost, bytes, is_tied: false }
    }

    /// The cost, in the unit of the figure that it is taken from; infinite without a bill.
    pub fn cost(&self, cost: Cost) -> f64 {
        match cost {
            Cost::Cpu => self.cpu_cores_busy,
            Cost::Bytes => self.bytes_up_s + self.bytes_down_s,
            Cost::Requests => self.requests_s,
            Cost::Memory => self.memory_bytes,
            Cost::Money => self.monthly_bill.unwrap_or(f64::INFINITY),
        }
    }
}

/// The lowest worst-case latency, or that of the given interval, if it exceeds the acceptable age.
fn too_slow_s(transport: Transport, need: &Need, fastest_s: f64) -> Option<f64> {
    let chosen_s = need.poll_interval_s.filter(|_| transport.waiting() == Waiting::InClient);
    match chosen_s.map(|interval_s| interval_s + 1.5 * need.rtt_s) {
        Some(worst_s) => Some(worst_s).filter(|worst_s| *worst_s > need.staleness_s),
        None => Some(fastest_s).filter(|fastest_s| *fastest_s >= need.staleness_s),
    }
}

/// `sizes`, which are for minimal headers, with those of `headers`. Only polling sends request
/// heads in the steady state.
fn with_headers(transport: Transport, headers: Headers, sizes: Sizes) -> Sizes {
    let is_polling = transport.waiting() != Waiting::PerConnection;
    let more = match headers {
        Headers::Browser if is_polling => Sizes::BROWSER_HEADERS,
        Headers::Browser | Headers::Minimal => 0.0,
    };
    Sizes { request_head: sizes.request_head + more, ..sizes }
}

/// The figures that differ between transports, for one subscriber.
struct Characteristics {
    /// Messages sent to it, and heartbeats, per second.
    messages_s: f64,
    /// Subscribers that the server serves at the same moment after one publication.
    at_once: f64,
    /// The lowest worst-case latency, seconds, however short the poll interval.
    fastest_s: f64,
}

impl Characteristics {
    fn of(transport: Transport, need: &Need, sizes: &Sizes) -> Characteristics {
        let fan_out = f64::from(need.subscribers) / f64::from(need.topics);
        // A message that a request just missed waits at least one round trip for the next.
        let asking_s = 1.5 * need.rtt_s;
        match transport.waiting() {
            Waiting::InClient => {
                Characteristics { messages_s: need.rate, at_once: 0.0, fastest_s: asking_s }
            }
            Waiting::PerRequest => {
                Characteristics { messages_s: need.rate, at_once: fan_out, fastest_s: asking_s }
            }
            // A ping that is sent and a pong that is read count as two messages.
            Waiting::PerConnection => Characteristics {
                messages_s: need.rate + 2.0 / sizes.heartbeat_s,
                at_once: fan_out,
                fastest_s: need.rtt_s / 2.0,
            },
        }
    }
}

/// The workload for theory: the longest poll interval that the acceptable age allows, and the usual
/// long-poll timeout.
fn workload(need: &Need) -> Workload {
    let longest_s = (need.staleness_s - 1.5 * need.rtt_s).max(0.0);
    let interval_s = need.poll_interval_s.unwrap_or(longest_s);
    Workload {
        subscribers: need.subscribers,
        topics: need.topics,
        rate: need.rate,
        message_bytes: need.message_bytes,
        rtt: Duration::from_secs_f64(need.rtt_s),
        poll_interval: Duration::from_secs_f64(interval_s),
        ..Workload::default()
    }
}

/// Whole cores for the load, and for a fan-out to complete in the time left.
fn cores(busy: f64, fan_out_cpu_s: f64, time_left_s: f64) -> f64 {
    let for_fan_out = if time_left_s > 0.0 { fan_out_cpu_s / time_left_s } else { 0.0 };
    (busy / BUSY_SHARE_MAX).max(for_fan_out).ceil().max(1.0)
}
