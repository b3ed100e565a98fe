//! All figures in order: name, unit and derivation of each.

use super::derive::{
    NONE, away, back, expected_part, latency, link_packets, link_share, over, part, per_message,
    quantile_s, ready, recovery, rtt, timeout_share,
};
use super::{Derivation, Expected, Figure, Statistic};
use crate::measure::Histogram;
use crate::run::Cell;
use crate::units::Unit;

/// Every figure, in the order in which tables show them.
pub static ALL: &[&Figure] = &[
    &LATENCY_MEAN,
    &LATENCY_P50,
    &LATENCY_P90,
    &LATENCY_P99,
    &LATENCY_P999,
    &LATENCY_MAX,
    &LATENCY_TIMEOUT_SHARE,
    &REQUESTS_PER_SECOND,
    &REQUESTS_PER_SUBSCRIBER,
    &REQUESTS_PER_MESSAGE,
    &EMPTY_SHARE,
    &MESSAGES_PER_ANSWER,
    &BYTES_PER_MESSAGE,
    &BYTES_UP,
    &BYTES_DOWN,
    &BYTES_PAYLOAD,
    &BYTES_FRAMING,
    &BYTES_HEADERS,
    &BYTES_TCP_IP,
    &BYTES_PER_SECOND,
    &CPU_PER_MESSAGE,
    &CPU_BUSY,
    &CPU_IDLE,
    &MEMORY_PER_SUBSCRIBER,
    &SOCKET_MEMORY,
    &CONNECTIONS_OPENED,
    &CONNECTIONS_READY_MEAN,
    &CONNECTIONS_READY_P99,
    &NETWORK_RTT_P50,
    &NETWORK_RTT_MIN,
    &NETWORK_RTT_P90,
    &NETWORK_RTT_MAX,
    &NETWORK_PUBLISHER_RTT,
    &LINK_LOST,
    &LINK_OVERFLOWED,
    &LINK_PACKETS,
    &LINK_CPU,
    &LINK_LATE_P99,
    &RECOVERY_DOWN,
    &RECOVERY_NOTICED,
    &RECOVERY_AWAY_MEAN,
    &RECOVERY_AWAY_MAX,
    &RECOVERY_BACK_MEAN,
    &RECOVERY_BACK_P99,
    &RECOVERY_BACK_MAX,
    &RECOVERY_LATENCY_MAX,
    &GENERATOR_CPU_PER_MESSAGE,
    &PUBLISHER_LATE_P99,
    &POLL_LATE_P99,
];

/// The most important figures: short tables show them, and cautions check their spread.
pub static HEADLINES: &[&Figure] = &[
    &LATENCY_MEAN,
    &LATENCY_P50,
    &LATENCY_P99,
    &REQUESTS_PER_SUBSCRIBER,
    &EMPTY_SHARE,
    &BYTES_PER_MESSAGE,
    &CPU_PER_MESSAGE,
];

const fn of(
    name: &'static str,
    label: &'static str,
    histogram: fn(&Cell) -> &Histogram,
    statistic: Statistic,
    predicted: Option<fn(&Expected) -> Option<f64>>,
) -> Figure {
    let source = Derivation::Of(histogram, statistic);
    Figure { name, label, unit: Unit::Seconds, source, error: None, predicted }
}

const fn computed(
    name: &'static str,
    label: &'static str,
    unit: Unit,
    compute: fn(&Cell) -> Option<f64>,
    predicted: Option<fn(&Expected) -> Option<f64>>,
) -> Figure {
    Figure { name, label, unit, source: Derivation::Computed(compute), error: None, predicted }
}

/// A figure of CPU or memory, whose instrument has the error `error`.
const fn with_error(
    name: &'static str,
    label: &'static str,
    unit: Unit,
    compute: fn(&Cell) -> Option<f64>,
    error: fn(&Cell, f64) -> Option<f64>,
) -> Figure {
    let source = Derivation::Computed(compute);
    Figure { name, label, unit, source, error: Some(error), predicted: None }
}

pub static LATENCY_MEAN: Figure = of(
    "latency.mean",
    "mean",
    latency,
    Statistic::Mean,
    Some(|e| e.prediction.knows_mean().then(|| e.prediction.latency_mean_s())),
);
pub static LATENCY_P50: Figure = of(
    "latency.p50",
    "p50 (median)",
    latency,
    Statistic::Quantile(0.5),
    Some(|e| quantile_s(e, 0.5)),
);
pub static LATENCY_P90: Figure =
    of("latency.p90", "p90", latency, Statistic::Quantile(0.9), Some(|e| quantile_s(e, 0.9)));
pub static LATENCY_P99: Figure =
    of("latency.p99", "p99", latency, Statistic::Quantile(0.99), Some(|e| quantile_s(e, 0.99)));
pub static LATENCY_P999: Figure = of(
    "latency.p99.9",
    "p99.9",
    latency,
    Statistic::Quantile(0.999),
    Some(|e| quantile_s(e, 0.999)),
);
pub static LATENCY_MAX: Figure =
    of("latency.max", "maximum", latency, Statistic::Max, Some(|e| quantile_s(e, 1.0)));

pub static LATENCY_TIMEOUT_SHARE: Figure = computed(
    "latency.timeout_share",
    "late by a retransmission timeout or more",
    Unit::Share,
    timeout_share,
    Some(|e| e.prediction.network?.late_share),
);

pub static REQUESTS_PER_SECOND: Figure = computed(
    "requests.per_second",
    "per second, all subscribers together",
    Unit::PerSecond,
    |cell| over(cell.requests.sent as f64, cell.steady_s),
    Some(|e| Some(e.prediction.requests_per_subscriber_s * f64::from(e.subscribers))),
);
pub static REQUESTS_PER_SUBSCRIBER: Figure = computed(
    "requests.per_subscriber_per_second",
    "per second, each subscriber",
    Unit::PerSecond,
    |cell| over(cell.requests.sent as f64, cell.steady_s * f64::from(cell.workload.subscribers)),
    Some(|e| Some(e.prediction.requests_per_subscriber_s)),
);
pub static REQUESTS_PER_MESSAGE: Figure = computed(
    "requests.per_message",
    "requests per delivered message",
    Unit::Count,
    |cell| per_message(cell, cell.requests.sent as f64),
    Some(|e| Some(e.prediction.requests_per_message)),
);
pub static EMPTY_SHARE: Figure = computed(
    "requests.empty_share",
    "responses without a message",
    Unit::Share,
    |cell| over(cell.requests.empty_answers as f64, cell.requests.answers as f64),
    Some(|e| e.prediction.empty_share),
);
pub static MESSAGES_PER_ANSWER: Figure = computed(
    "requests.messages_per_answer",
    "messages per response",
    Unit::Count,
    |cell| over(cell.deliveries.in_steady as f64, cell.requests.answers as f64),
    Some(|e| e.prediction.messages_per_answer),
);

pub static BYTES_PER_MESSAGE: Figure = computed(
    "bytes.per_message",
    "per delivered message, both directions",
    Unit::Bytes,
    |cell| per_message(cell, (cell.bytes.up.total() + cell.bytes.down.total()) as f64),
    Some(|e| Some(e.traffic?.total() / e.rate)),
);
pub static BYTES_UP: Figure = computed(
    "bytes.up_per_message",
    "of these, subscriber to server",
    Unit::Bytes,
    |cell| per_message(cell, cell.bytes.up.total() as f64),
    Some(|e| Some(e.traffic?.up.total() / e.rate)),
);
pub static BYTES_DOWN: Figure = computed(
    "bytes.down_per_message",
    "of these, server to subscriber",
    Unit::Bytes,
    |cell| per_message(cell, cell.bytes.down.total() as f64),
    Some(|e| Some(e.traffic?.down.total() / e.rate)),
);
pub static BYTES_PAYLOAD: Figure = computed(
    "bytes.payload_per_message",
    "of these, payload",
    Unit::Bytes,
    |cell| part(cell, |ledger| ledger.payload),
    Some(|e| expected_part(e, |flow| flow.payload)),
);
pub static BYTES_FRAMING: Figure = computed(
    "bytes.framing_per_message",
    "of these, framing",
    Unit::Bytes,
    |cell| part(cell, |ledger| ledger.framing),
    Some(|e| expected_part(e, |flow| flow.framing)),
);
pub static BYTES_HEADERS: Figure = computed(
    "bytes.headers_per_message",
    "of these, HTTP headers",
    Unit::Bytes,
    |cell| part(cell, |ledger| ledger.headers),
    Some(|e| expected_part(e, |flow| flow.headers)),
);
pub static BYTES_TCP_IP: Figure = computed(
    "bytes.tcp_ip_per_message",
    "of these, TCP/IP headers",
    Unit::Bytes,
    |cell| part(cell, |ledger| ledger.tcp_ip),
    Some(|e| expected_part(e, |flow| flow.tcp_ip)),
);
pub static BYTES_PER_SECOND: Figure = computed(
    "bytes.per_second",
    "per second, all subscribers together",
    Unit::BytesPerSecond,
    |cell| over((cell.bytes.up.total() + cell.bytes.down.total()) as f64, cell.steady_s),
    Some(|e| Some(e.traffic?.total() * f64::from(e.subscribers))),
);

pub static CPU_PER_MESSAGE: Figure = with_error(
    "server.cpu_per_message",
    "CPU time per delivered message",
    Unit::Seconds,
    |cell| per_message(cell, cell.server?.cpu_caused_s(cell.steady_s)),
    |cell, clock_s| per_message(cell, cell.server_cpu_error_s(clock_s)?),
);
pub static CPU_BUSY: Figure = with_error(
    "server.cpu_busy",
    "CPU in the steady state, of one core",
    Unit::Share,
    |cell| over(cell.server?.cpu_caused_s(cell.steady_s), cell.steady_s),
    |cell, clock_s| over(cell.server_cpu_error_s(clock_s)?, cell.steady_s),
);
pub static CPU_IDLE: Figure = computed(
    "server.cpu_idle",
    "CPU with idle subscribers, of one core",
    Unit::Share,
    |cell| cell.server.map(|server| (server.cpu_idle - server.cpu_unused).max(0.0)),
    None,
);
pub static MEMORY_PER_SUBSCRIBER: Figure = with_error(
    "server.memory_per_idle_subscriber",
    "resident memory per idle subscriber",
    Unit::Bytes,
    |cell| {
        let server = cell.server?;
        let added = server.resident_idle_bytes.saturating_sub(server.resident_before_bytes);
        over(added as f64, f64::from(cell.workload.subscribers))
    },
    |cell, _| over(2.0 * HEAP_STEP_BYTES, f64::from(cell.workload.subscribers)),
);
pub static SOCKET_MEMORY: Figure = with_error(
    "server.socket_memory_per_connection",
    "kernel socket memory per connection, both ends",
    Unit::Bytes,
    |cell| cell.server?.kernel_socket_bytes.map(|bytes| bytes as f64),
    |cell, _| over(2.0 * PAGE_BYTES, f64::from(cell.workload.subscribers)),
);

pub static CONNECTIONS_OPENED: Figure = computed(
    "connections.opened",
    "opened",
    Unit::Count,
    |cell| Some(cell.connections.opened as f64),
    None,
);
pub static CONNECTIONS_READY_MEAN: Figure =
    of("connections.ready_mean", "connect and handshake, mean", ready, Statistic::Mean, None);
pub static CONNECTIONS_READY_P99: Figure = of(
    "connections.ready_p99",
    "connect and handshake, p99",
    ready,
    Statistic::Quantile(0.99),
    None,
);

pub static NETWORK_RTT_P50: Figure = of(
    "network.rtt_p50",
    "round trip of a connection, median",
    rtt,
    Statistic::Quantile(0.5),
    None,
);
pub static NETWORK_RTT_MIN: Figure =
    of("network.rtt_min", "round trip of a connection, shortest", rtt, Statistic::Min, None);
pub static NETWORK_RTT_P90: Figure =
    of("network.rtt_p90", "round trip of a connection, p90", rtt, Statistic::Quantile(0.9), None);
pub static NETWORK_RTT_MAX: Figure =
    of("network.rtt_max", "round trip of a connection, longest", rtt, Statistic::Max, None);
pub static NETWORK_PUBLISHER_RTT: Figure = computed(
    "network.publisher_rtt_p50",
    "round trip of the publisher, median",
    Unit::Seconds,
    |cell| Some(cell.network.as_ref()?.path().publisher_rtt_s),
    None,
);

pub static LINK_LOST: Figure = computed(
    "link.lost_share",
    "packets lost, both directions",
    Unit::Share,
    |cell| link_share(cell, |packets| packets.lost),
    Some(|e| e.loss),
);
pub static LINK_OVERFLOWED: Figure = computed(
    "link.overflowed_share",
    "packets dropped by a full queue",
    Unit::Share,
    |cell| link_share(cell, |packets| packets.overflowed),
    None,
);
pub static LINK_PACKETS: Figure = computed(
    "link.packets_per_message",
    "packets per delivered message",
    Unit::Count,
    |cell| per_message(cell, link_packets(cell, |packets| packets.packets)?),
    None,
);
pub static LINK_CPU: Figure = computed(
    "link.cpu_busy",
    "CPU of the link itself, of one core",
    Unit::Share,
    |cell| over(cell.link.as_ref()?.cpu_s, cell.steady_s),
    None,
);
pub static LINK_LATE_P99: Figure = of(
    "link.late_p99",
    "lateness of packets, p99",
    |cell| cell.link.as_ref().map_or(&NONE, |link| &link.late_us),
    Statistic::Quantile(0.99),
    None,
);

pub static RECOVERY_DOWN: Figure = computed(
    "recovery.server_down",
    "downtime, from the stop request until the server listens",
    Unit::Seconds,
    |cell| Some(cell.recovery.as_ref()?.down_us as f64 / 1e6),
    None,
);
pub static RECOVERY_NOTICED: Figure = computed(
    "recovery.noticed",
    "subscribers that noticed",
    Unit::Share,
    |cell| {
        let noticed = cell.recovery.as_ref()?.away_us.0.len();
        over(noticed as f64, f64::from(cell.workload.subscribers))
    },
    None,
);
pub static RECOVERY_AWAY_MEAN: Figure =
    of("recovery.away_mean", "of these, time without a server, mean", away, Statistic::Mean, None);
pub static RECOVERY_AWAY_MAX: Figure =
    of("recovery.away_max", "time without a server, longest", away, Statistic::Max, None);
pub static RECOVERY_BACK_MEAN: Figure = of(
    "recovery.back_mean",
    "recovery after the server listens, mean",
    back,
    Statistic::Mean,
    None,
);
pub static RECOVERY_BACK_P99: Figure = of(
    "recovery.back_p99",
    "recovery after the server listens, p99",
    back,
    Statistic::Quantile(0.99),
    None,
);
pub static RECOVERY_BACK_MAX: Figure = of(
    "recovery.back_max",
    "recovery after the server listens, longest",
    back,
    Statistic::Max,
    None,
);
pub static RECOVERY_LATENCY_MAX: Figure = of(
    "recovery.latency_max",
    "longest latency of a message published after the steady state",
    |cell| recovery(cell, |recovery| &recovery.latency_us),
    Statistic::Max,
    None,
);

pub static GENERATOR_CPU_PER_MESSAGE: Figure = with_error(
    "generator.cpu_per_message",
    "CPU time per delivered message",
    Unit::Seconds,
    |cell| per_message(cell, cell.generator.cpu_s),
    |cell, clock_s| {
        let chance_s = cell.generator.cpu_s * cell.message_error();
        per_message(cell, (2.0 * clock_s).hypot(chance_s))
    },
);
pub static PUBLISHER_LATE_P99: Figure = of(
    "generator.publisher_late_p99",
    "lateness of publications, p99",
    |cell| &cell.generator.publisher_late_us,
    Statistic::Quantile(0.99),
    None,
);
pub static POLL_LATE_P99: Figure = of(
    "generator.poll_late_p99",
    "lateness of polls, p99",
    |cell| &cell.generator.poll_late_us,
    Statistic::Quantile(0.99),
    None,
);

/// The steps in which an allocator obtains memory from the system (glibc's `M_TOP_PAD`).
const HEAP_STEP_BYTES: f64 = 128.0 * 1024.0;

/// The steps in which the kernel accounts for socket memory.
const PAGE_BYTES: f64 = 4096.0;
