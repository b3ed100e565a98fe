//! One way under one need: what it would take, and how well that is known.

use std::time::Duration;

use serde::Serialize;

use super::{Cost, Need, Origin, WayCosts};
use crate::scenario::{Headers, Workload};
use crate::theory::bytes::{Sizes, traffic};
use crate::theory::crossover::fan_out_delay_s;
use crate::theory::predict;
use crate::variant::{Transport, Waiting};

/// The share of a core that is planned with: the rest is room for bursts.
pub const BUSY_SHARE_MAX: f64 = 0.7;

/// What one way would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub transport: Transport,
    /// The worst delay that it can promise, seconds, if that is more than what is tolerated.
    pub too_slow_s: Option<f64>,
    /// Short polling: sleep this long after each answer, seconds. As long as the staleness allows.
    pub poll_interval_s: Option<f64>,
    /// Long polling: how long to hold a request, seconds.
    pub hold_s: Option<f64>,
    /// Publication to receipt, the fan-out's duration included.
    pub latency_mean_s: f64,
    /// Of the subscriber that is served last.
    pub latency_max_s: f64,
    /// How long a publication's fan-out keeps `cores` busy, seconds. Short polls come at random, so
    /// that theirs is spread out.
    pub fan_out_s: f64,
    /// Requests per second of all subscribers.
    pub requests_s: f64,
    /// Messages per second to all subscribers; for WebSocket with its pings and pongs.
    pub messages_s: f64,
    /// Messages in an answer, empty ones included; absent for push.
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
    /// Server CPU seconds per second: cores kept busy on average, publishing included.
    pub cpu_cores_busy: f64,
    /// Cores to plan with: [`BUSY_SHARE_MAX`] on average, and every fan-out within the staleness.
    pub cores: f64,
    /// The server's resident memory of all subscribers, bytes. The kernel's is not in it.
    pub memory_bytes: f64,
    /// How well the CPU figures are known.
    pub cpu_standing: Standing,
    /// How well the memory is known.
    pub memory_standing: Standing,
}

/// How well a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "standing")]
pub enum Standing {
    /// Within what the run measured.
    Measured,
    /// The run's cost of one, times so many that the whole lies this factor beyond the run.
    Extrapolated { factor: f64 },
    /// The cost of one comes with the program: it was not measured on this machine.
    Reference,
}

impl Standing {
    fn of(origin: Origin, asked: f64, measured: f64) -> Standing {
        match origin {
            Origin::Reference => Standing::Reference,
            Origin::Run if asked <= measured => Standing::Measured,
            Origin::Run => Standing::Extrapolated { factor: asked / measured },
        }
    }
}

impl Estimate {
    /// Absent for a way whose bytes have no model.
    pub(super) fn of(
        transport: Transport,
        need: &Need,
        costs: &WayCosts,
        publish_cpu_us: f64,
    ) -> Option<Estimate> {
        let workload = workload(need);
        let prediction = predict(transport, &workload)?;
        let sizes = with_headers(transport, need.headers, costs.sizes);
        let carried = traffic(transport, &workload, &sizes)?;
        let nature = Nature::of(transport, need, &sizes);
        let records = if need.is_tls {
            tls_records_s(transport, need.rate, prediction.requests_per_subscriber_s, &sizes)
        } else {
            [0.0; 2]
        };
        let [tls_up, tls_down] = records.map(|records_s| records_s * TLS_RECORD_BYTES);
        let subscribers = f64::from(need.subscribers);
        let requests_s = subscribers * prediction.requests_per_subscriber_s;
        let messages_s = subscribers * nature.messages_s;
        let publications_s = need.rate * f64::from(need.topics);
        let cpu_us_per_s = requests_s * costs.request_cpu_us
            + messages_s * costs.message_cpu_us
            + publications_s * publish_cpu_us;
        let cpu_cores_busy = cpu_us_per_s / 1e6;
        let worst_s = prediction.latency_max_s();
        let fan_out_cpu_s =
            fan_out_delay_s(nature.at_once, (costs.request_cpu_us + costs.message_cpu_us) / 1e6);
        let cores = cores(cpu_cores_busy, fan_out_cpu_s, need.staleness_s - worst_s);
        let fan_out_s = fan_out_cpu_s / cores;
        let is = |which| transport == which;
        Some(Estimate {
            transport,
            too_slow_s: too_slow_s(transport, need, nature.fastest_s),
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
                // Without a request at the server during each round trip.
                Waiting::PerRequest => subscribers - requests_s * need.rtt_s,
                Waiting::PerConnection => subscribers,
            },
            message_bytes: f64::from(need.message_bytes) + sizes.message_object,
            bytes_up_s: subscribers * (carried.up.total() + tls_up),
            bytes_down_s: subscribers * (carried.down.total() + tls_down),
            cpu_cores_busy,
            cores,
            memory_bytes: subscribers * costs.memory_bytes,
            cpu_standing: Standing::of(
                costs.origin,
                requests_s.max(messages_s),
                costs.events_s_max,
            ),
            memory_standing: Standing::of(
                costs.origin,
                subscribers,
                f64::from(costs.subscribers_max),
            ),
        })
    }

    /// What it costs by one count; the unit is that of the figure counted.
    pub fn cost(&self, cost: Cost) -> f64 {
        match cost {
            Cost::Cpu => self.cpu_cores_busy,
            Cost::Bytes => self.bytes_up_s + self.bytes_down_s,
            Cost::Requests => self.requests_s,
            Cost::Memory => self.memory_bytes,
        }
    }
}

/// The worst delay that the transport can promise, or has with the interval asked for, if that is
/// more than what is tolerated.
fn too_slow_s(transport: Transport, need: &Need, fastest_s: f64) -> Option<f64> {
    let chosen_s = need.poll_interval_s.filter(|_| transport.waiting() == Waiting::InClient);
    match chosen_s.map(|interval_s| interval_s + 1.5 * need.rtt_s) {
        Some(worst_s) => Some(worst_s).filter(|worst_s| *worst_s > need.staleness_s),
        None => Some(fastest_s).filter(|fastest_s| *fastest_s >= need.staleness_s),
    }
}

/// What TLS 1.3 adds to a record: header 5, content type 1, tag 16 (RFC 8446, section 5.2).
pub const TLS_RECORD_BYTES: f64 = 22.0;

/// Costs hold sizes for minimal headers; only polling sends heads in the steady state.
fn with_headers(transport: Transport, headers: Headers, sizes: Sizes) -> Sizes {
    let is_polling = transport.waiting() != Waiting::PerConnection;
    let more = match headers {
        Headers::Browser if is_polling => Sizes::BROWSER_HEADERS,
        Headers::Browser | Headers::Minimal => 0.0,
    };
    Sizes { request_head: sizes.request_head + more, ..sizes }
}

/// TLS records per second of one subscriber, up and down: one for each request, response, message
/// and heartbeat, and one for the pong where the heartbeat has one.
fn tls_records_s(transport: Transport, rate: f64, requests_s: f64, sizes: &Sizes) -> [f64; 2] {
    let pings_s = 1.0 / sizes.heartbeat_s;
    match transport {
        Transport::ShortPolling | Transport::LongPolling | Transport::SocketioPolling => {
            [requests_s, requests_s]
        }
        Transport::WebSocket | Transport::SocketioWebsocket => [pings_s, rate + pings_s],
        Transport::Sse | Transport::Ndjson => [0.0, rate + pings_s],
    }
}

/// What the ways differ in, for one subscriber.
struct Nature {
    /// What is sent to it, beside answers' heads, per second.
    messages_s: f64,
    /// Subscribers whom one publication makes the server serve at the same time.
    at_once: f64,
    /// The worst delay that the way can promise, however often it asks, seconds.
    fastest_s: f64,
}

impl Nature {
    fn of(transport: Transport, need: &Need, sizes: &Sizes) -> Nature {
        let fan_out = f64::from(need.subscribers) / f64::from(need.topics);
        // A message just missed waits for the next request, at best a round trip later.
        let asking_s = 1.5 * need.rtt_s;
        match transport.waiting() {
            Waiting::InClient => {
                Nature { messages_s: need.rate, at_once: 0.0, fastest_s: asking_s }
            }
            Waiting::PerRequest => {
                Nature { messages_s: need.rate, at_once: fan_out, fastest_s: asking_s }
            }
            // A ping is sent and its pong is read: taken for two messages.
            Waiting::PerConnection => Nature {
                messages_s: need.rate + 2.0 / sizes.heartbeat_s,
                at_once: fan_out,
                fastest_s: need.rtt_s / 2.0,
            },
        }
    }
}

/// What theory is asked about: polls as rare as the staleness allows, holds as long as is usual.
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

/// Whole cores for the load, and for a fan-out to end while there is still time.
fn cores(busy: f64, fan_out_cpu_s: f64, time_left_s: f64) -> f64 {
    let for_fan_out = if time_left_s > 0.0 { fan_out_cpu_s / time_left_s } else { 0.0 };
    (busy / BUSY_SHARE_MAX).max(for_fan_out).ceil().max(1.0)
}
