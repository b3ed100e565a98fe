//! The schema of `run.json`, which contains all measurements of a run. It is the only interface
//! between measuring and reporting.
//!
//! The load test writes it after each cell; the report reads it and nothing else. It stores whole
//! histograms instead of percentiles, so that repeats are merged and never averaged. The report
//! derives everything else (warnings, medians, the summary).

mod merge;
mod segments;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::measure::{Histogram, Ledger, RoundTrips};
use crate::message::Object;
use crate::packet_link::PathCounts;
use crate::scenario::{Scenario, Workload};
use crate::theory::{NetworkPath, ProcessingTime};
use crate::variant::Variant;

pub use merge::{MergeError, merge};
pub use segments::{CellSegment, RunSegment};

/// The version of the schema. A reader rejects any other.
pub const SCHEMA_VERSION: u32 = 1;

/// A run: scenario, circumstances (tool, machine) and measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema: u32,
    pub tool: Tool,
    pub started_at: Timestamp,
    /// Time of the last write.
    pub finished_at: Timestamp,
    /// Why the run ended before its last cell, if it did.
    pub stopped_early: Option<StoppedEarly>,
    /// Cells that could not be completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedCell>,
    pub machine: Machine,
    pub server: MeasuredServer,
    /// Processing time of a push and a poll on this machine, measured before the first cell.
    /// Without it, predictions are theory alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "own_time")]
    pub processing_time: Option<ProcessingTime>,
    pub scenario: Scenario,
    /// The segments whose measurements these are: one if it is a share of a run, all if they were
    /// merged, none if one load generator measured the whole scenario.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<RunSegment>,
    /// One cell per variant, workload and repeat, in the order of measurement.
    pub cells: Vec<Cell>,
}

/// Why a run ended before its last cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoppedEarlyFormat")]
pub struct StoppedEarly {
    pub reason: StopReason,
    /// Description of where and why it ended.
    pub text: String,
}

/// Why a run ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    Interrupted,
    /// The server could not be reached or started, or several cells in a row failed.
    Failed,
}

/// Older versions stored only the text.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoppedEarlyFormat {
    Full { reason: StopReason, text: String },
    Text(String),
}

impl From<StoppedEarlyFormat> for StoppedEarly {
    fn from(format: StoppedEarlyFormat) -> StoppedEarly {
        match format {
            StoppedEarlyFormat::Full { reason, text } => StoppedEarly { reason, text },
            StoppedEarlyFormat::Text(text) => {
                let is_interrupt = text.ends_with("interrupted");
                let reason =
                    if is_interrupt { StopReason::Interrupted } else { StopReason::Failed };
                StoppedEarly { reason, text }
            }
        }
    }
}

/// A cell that could not be completed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedCell {
    #[serde(rename = "transport")]
    pub variant: Variant,
    /// The scenario's case, empty if the scenario has none.
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// Description of the error.
    pub error: String,
}

/// The program that measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
    /// Commit of the source tree, if it was built in a git repository, with `-dirty` appended if
    /// there were uncommitted changes.
    pub commit: Option<String>,
    pub rustc: String,
    /// `release` or `debug`. Figures of a debug build are not comparable.
    pub profile: String,
}

/// The machine of the generator, and of the server unless a target was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub os: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: u32,
    pub memory_bytes: u64,
    /// Load average of the minute before the run, as a measure of other load.
    pub load_average_before: f64,
}

/// The server that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeasuredServer {
    /// True for a child process started for each cell, false for a `--target`.
    pub is_child: bool,
    /// The version that it reports, for example `poll-vs-push/0.1.0`.
    pub version: String,
    /// Whether the connections used TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_tls: bool,
}

/// The measurement of one transport under one workload, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    #[serde(rename = "transport")]
    pub variant: Variant,
    /// The scenario's case, empty if the scenario has none.
    pub case: String,
    /// The workload with overrides and the value of the sweep applied.
    pub workload: Workload,
    /// 0, 1, 2, ...
    pub repeat: u32,
    /// Length of the steady state, to which all figures below refer unless stated otherwise.
    pub steady_s: f64,
    /// Messages published in the steady state, independent of the number of subscribers.
    pub published: u64,
    pub deliveries: Deliveries,
    /// Delivery latency: planned publication to receipt at the subscriber, microseconds.
    pub latency_us: Histogram,
    pub requests: Requests,
    pub bytes: Bytes,
    pub connections: Connections,
    /// Absent if the server's usage is unknown.
    pub server: Option<ServerCost>,
    pub generator: Generator,
    /// The network between load test and server. Absent if this program started the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Absent without a packet link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUse>,
    /// Absent if the system does not report it, or if the server runs on this machine and its CPU
    /// time is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<OtherLoad>,
    /// Absent if the server was not restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// The first seconds of one subscriber.
    pub trace: Trace,
    /// What each load generator contributed, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<CellSegment>,
}

/// The verified deliveries of the whole cell, warm-up included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Number of messages times their subscribers.
    pub expected: u64,
    pub received: u64,
    /// Expected but never received.
    pub lost: u64,
    /// Received more than once.
    pub duplicated: u64,
    /// Received after a message that was published later.
    pub reordered: u64,
    /// Received earlier than the link allows after the planned publication.
    #[serde(default)]
    pub early: u64,
    /// Received with a text that was not published to the topic.
    #[serde(default)]
    pub unknown: u64,
    /// Of `received`, those whose message was planned in the steady state: the samples of latency.
    pub steady: u64,
    /// Of `received`, those that arrived in the steady state. Requests, bytes and CPU time per
    /// message are divided by this number.
    pub in_steady: u64,
}

/// HTTP requests of the subscribers. A WebSocket upgrade counts as one; publications do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Sent in the steady state.
    pub sent: u64,
    /// Answers in the steady state.
    pub answers: u64,
    /// Of `answers`, those without a message.
    pub empty_answers: u64,
    /// Requests of the whole cell that were retried because the server had closed the connection.
    /// Each counts once.
    #[serde(default)]
    pub repeated: u64,
    /// Requests of the whole cell, counted by the client.
    pub client_total: u64,
    /// Requests of the whole cell, counted by the server; must equal `client_total`. Absent if the
    /// server does not report it, or was restarted and counts from 0.
    pub server_total: Option<u64>,
}

/// Bytes on the subscribers' connections in the steady state, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// From subscriber to server.
    pub up: Ledger,
    /// From server to subscriber.
    pub down: Ledger,
    pub tcp_ip_source: TcpIpSource,
}

/// Source of the number of TCP segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpIpSource {
    /// Estimate: one segment per write, and one acknowledgement for every second segment.
    #[default]
    Estimated,
    /// Counted by the kernel (`TCP_INFO`).
    TcpInfo,
}

/// Connections of the subscribers in the whole cell, except those after a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connections {
    pub opened: u64,
    /// Of these, the ones that resumed a TLS session.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: u64,
    /// Start of the TCP connect to the end of the handshake (first response, or 101), including
    /// simulated round trips, microseconds.
    pub ready_us: Histogram,
}

/// Round trips between load test and server, to which a simulated link adds its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// One value for each connection of a subscriber.
    pub subscribers: RoundTrips,
    /// One value for each connection of the publisher.
    pub publisher: RoundTrips,
}

impl Network {
    /// Median round trips for predictions: subscribers connect in bursts, which delay some of them.
    pub fn path(&self) -> NetworkPath {
        let median_s = |trips: &RoundTrips| trips.best_us().0.value_at_quantile(0.5) as f64 / 1e6;
        NetworkPath {
            subscriber_rtt_s: median_s(&self.subscribers),
            publisher_rtt_s: median_s(&self.publisher),
        }
    }
}

/// Resource usage reported by the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// CPU seconds in the steady state, publishing included.
    pub cpu_s: f64,
    /// CPU seconds per second, without subscribers.
    pub cpu_unused: f64,
    /// CPU seconds per second, all subscribers connected, no message published.
    pub cpu_idle: f64,
    /// Resident memory before the first subscriber connected.
    pub resident_before_bytes: u64,
    /// Resident memory with all subscribers connected, no message published yet.
    pub resident_idle_bytes: u64,
    /// Resident memory at the end of the steady state.
    pub resident_end_bytes: u64,
    /// Kernel memory of the machine's TCP sockets, both ends, per connection that the cell added.
    /// Absent if the system does not report it.
    pub kernel_socket_bytes: Option<u64>,
}

impl ServerCost {
    /// CPU seconds of the steady state minus those of an unused server.
    pub fn cpu_caused_s(&self, steady_s: f64) -> f64 {
        (self.cpu_s - self.cpu_unused * steady_s).max(0.0)
    }
}

/// Largest accepted error of a CPU or memory figure, as a share of the figure. A larger error means
/// that the run was too short or had too few subscribers.
pub const ERROR_SHARE_MAX: f64 = 0.25;

impl MeasuredServer {
    /// Assumed resolution of the CPU clock, seconds. Our own server counts nanoseconds, but serving
    /// the two readings takes time; for other servers `/proc/PID/stat` counts ticks of 10 ms.
    pub fn cpu_clock_s(&self) -> f64 {
        if self.is_child { 0.001 } else { 0.01 }
    }
}

impl Cell {
    /// Half-width of the error of [`ServerCost::cpu_caused_s`], seconds. It combines two readings
    /// of a clock with the resolution `clock_s`, the whole correction for an unused server
    /// (measured at another time), and the number of messages. `None` if the server's CPU time is
    /// unknown.
    pub fn server_cpu_error_s(&self, clock_s: f64) -> Option<f64> {
        let server = self.server?;
        let instrument_s = 2.0 * clock_s + server.cpu_unused * self.steady_s;
        Some(instrument_s.hypot(server.cpu_caused_s(self.steady_s) * self.message_error()))
    }

    /// Relative error (95 %) of a mean cost per message: two standard errors for one independent
    /// value per published message, with a standard deviation equal to the mean. Deliveries of the
    /// same message share a wake-up and are not independent.
    pub fn message_error(&self) -> f64 {
        2.0 / (self.published.max(1) as f64).sqrt()
    }
}

/// Lateness and CPU time of the generator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Actual minus planned instant of publication, microseconds.
    pub publisher_late_us: Histogram,
    /// Actual minus planned instant of a poll, microseconds; empty without polling.
    pub poll_late_us: Histogram,
    /// CPU seconds of the generator's process in the steady state, without a packet link's.
    pub cpu_s: f64,
    /// Number of threads. Absent from older runs, which used one per core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// The counters of the packet link in the steady state, and its CPU time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkUse {
    /// CPU seconds of the link's thread: its own work, and the work of the kernel on receipt of the
    /// packets. Not part of the generator's.
    pub cpu_s: f64,
    /// From subscriber to server.
    pub up: PathCounts,
    /// From server to subscriber.
    pub down: PathCounts,
    /// Packets dropped beyond the configured loss, because the link fell behind.
    pub missed: u64,
    /// Actual minus planned instant at which packets arrived, microseconds.
    pub late_us: Histogram,
}

/// CPU time of processes other than generator and server in the steady state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OtherLoad {
    /// CPU seconds, including time stolen by other virtual machines.
    pub cpu_s: f64,
    /// Number of cores included.
    pub cores: u32,
}

/// Effects on the subscribers of a server restart after the steady state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovery {
    /// From the shutdown request until the server listened again, microseconds: drain, exit and
    /// start.
    pub down_us: u64,
    /// For each subscriber that noticed: from the loss of the connection until it was subscribed
    /// again, or had a response, microseconds.
    pub away_us: Histogram,
    /// For each of them: from the server listening again until recovery, microseconds.
    pub back_us: Histogram,
    /// Delivery latency of the messages planned after the steady state, microseconds.
    pub latency_us: Histogram,
}

/// Events of one subscriber in the first seconds of the steady state. Times are microseconds since
/// its start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trace {
    /// Length of the recording.
    pub length_us: u64,
    /// Planned publications to the subscriber's topic.
    pub published_us: Vec<i64>,
    pub events: Vec<TraceEvent>,
}

/// An event of the traced subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    pub at_us: i64,
    #[serde(flatten)]
    pub what: TraceWhat,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum TraceWhat {
    /// A request was sent.
    Request,
    /// The response to the last request was complete.
    #[serde(rename = "answer")]
    Response { messages: u32 },
    /// A message planned for `planned_us` was received.
    Message { planned_us: i64 },
}

/// Why a `run.json` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("not a {file}: {error}")]
    Format { file: &'static str, error: serde_json::Error },
    #[error(
        "schema version {found} is not supported, only {supported}; use the version of the program \
         that wrote the file"
    )]
    Schema { found: u32, supported: u32 },
}

/// Parses results of this program, whose file is called `file`.
///
/// # Errors
/// If the text is invalid or its schema has another version than `supported`.
pub fn read<T: DeserializeOwned>(
    text: &str,
    file: &'static str,
    supported: u32,
) -> Result<T, ReadError> {
    #[derive(Deserialize)]
    struct SchemaOnly {
        schema: u32,
    }
    let format = |error| ReadError::Format { file, error };
    let Object(SchemaOnly { schema: found }) = serde_json::from_str(text).map_err(format)?;
    if found != supported {
        return Err(ReadError::Schema { found, supported });
    }
    serde_json::from_str(text).map(|Object(read)| read).map_err(format)
}

impl Run {
    /// Parses a `run.json`.
    ///
    /// # Errors
    /// If the text is invalid or its schema has another version.
    pub fn from_json(text: &str) -> Result<Run, ReadError> {
        read(text, "run.json", SCHEMA_VERSION)
    }

    /// Serializes the run as compact JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("all map keys are strings")
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
