//! `run.json`: everything that a run measured, and all that measuring and reporting share.
//!
//! The load test writes it, cell by cell; the report reads it and nothing else. Percentiles are not
//! stored, only whole histograms, so that repeats are merged and never averaged. What follows from
//! the figures (warnings, medians, the answer in words) is derived by the report, not stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::measure::{Histogram, Ledger};
use crate::scenario::{Scenario, Workload};
use crate::theory::OwnTime;
use crate::variant::Variant;

/// The version of this file's schema. A reader refuses any other.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole run: the question (scenario), the circumstances (tool, machine) and the measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema: u32,
    pub tool: Tool,
    pub started_at: Timestamp,
    /// The instant at which this file was last written.
    pub finished_at: Timestamp,
    /// Why the run ended before its last cell, if it did.
    pub stopped_early: Option<StoppedEarly>,
    /// Cells that could not be measured to their end. The others are not affected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedCell>,
    pub machine: Machine,
    pub server: Server,
    /// What a push and a poll take on this machine beyond the link, measured before the first cell.
    /// Absent if it was not measured: predictions then are theory alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_time: Option<OwnTime>,
    pub scenario: Scenario,
    /// One a variant of a transport, a workload and a repeat, in the order in which they ran.
    pub cells: Vec<Cell>,
}

/// Why a run ended before its last cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoppedEarlyFormat")]
pub struct StoppedEarly {
    pub reason: StopReason,
    /// Where it ended and why, in words.
    pub text: String,
}

/// What ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    Interrupted,
    /// The server could not be reached or started, or several cells in a row failed.
    Failed,
}

/// Runs of older versions have the text alone.
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

/// A cell that could not be measured to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedCell {
    #[serde(rename = "transport")]
    pub variant: Variant,
    /// The scenario's case, empty if the scenario has none.
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// Why, in words.
    pub error: String,
}

/// The program that measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub version: String,
    /// The commit of the source tree it was built from, if it was built in one; `-dirty` is
    /// appended if the tree had uncommitted changes.
    pub commit: Option<String>,
    pub rustc: String,
    /// `release` or `debug`. Figures of a debug build are not worth comparing.
    pub profile: String,
}

/// The machine on which generator (and, unless a target was given, server) ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub os: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: u32,
    pub memory_bytes: u64,
    /// Mean length of the run queue over the minute before the run: other load on the machine.
    pub load_average_before: f64,
}

/// The server that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// True if it was a child process started for each cell, false if `--target` named it.
    pub is_child: bool,
    /// What it says of itself, for instance `poll-vs-push/0.1.0`.
    pub version: String,
    /// True if subscribers and publishers spoke TLS with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_tls: bool,
}

/// What one transport did under one workload, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    #[serde(rename = "transport")]
    pub variant: Variant,
    /// The scenario's case, empty if the scenario has none.
    pub case: String,
    /// Everything that was asked of the cell, overrides and swept value applied.
    pub workload: Workload,
    /// 0, 1, 2, ...
    pub repeat: u32,
    /// Length of the steady state; all figures below are of the steady state unless they say
    /// otherwise.
    pub steady_s: f64,
    /// Messages published in the steady state (one counts once, however many subscribers it has).
    pub published: u64,
    pub deliveries: Deliveries,
    /// Planned instant of publication to receipt at the subscriber, microseconds.
    pub latency_us: Histogram,
    pub requests: Requests,
    pub bytes: Bytes,
    pub connections: Connections,
    /// Absent if the server does not tell its own usage.
    pub server: Option<ServerCost>,
    pub generator: Generator,
    /// Absent without a packet link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUse>,
    /// Absent where the system does not tell, or the server's own CPU time is not known and cannot
    /// be told from that of other processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<OtherLoad>,
    /// Absent if the server was not restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// A few seconds of one subscriber's life.
    pub trace: Trace,
}

/// Every delivery of the whole cell (warm-up included), checked one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Messages times their subscribers.
    pub expected: u64,
    pub received: u64,
    /// Expected and never received.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a message that was published later.
    pub reordered: u64,
    /// Received sooner than the link allows after their planned publication.
    #[serde(default)]
    pub early: u64,
    /// Received although their text is that of no message that was published to the topic.
    #[serde(default)]
    pub unknown: u64,
    /// Of `received`, those whose message was planned in the steady state: the latency's samples.
    pub steady: u64,
    /// Of `received`, those that arrived in the steady state: what its requests, bytes and CPU time
    /// paid for.
    pub in_steady: u64,
}

/// HTTP requests of the subscribers (an upgrade to WebSocket is one; publishing is not counted).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Sent in the steady state.
    pub sent: u64,
    /// Answers in the steady state.
    pub answers: u64,
    /// Of `answers`, those without a message.
    pub empty_answers: u64,
    /// Requests of the whole cell that were sent a second time, because the server had closed the
    /// connection that they were first sent on. They count once.
    #[serde(default)]
    pub repeated: u64,
    /// Sent in the whole cell, as the client counted them ...
    pub client_total: u64,
    /// ... and as the server did. They must agree. Absent if the server does not tell, or was
    /// restarted, when its count began anew.
    pub server_total: Option<u64>,
}

/// What crossed the subscribers' connections in the steady state, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// From subscriber to server.
    pub up: Ledger,
    /// From server to subscriber.
    pub down: Ledger,
    pub tcp_ip_source: TcpIpSource,
}

/// Where the number of TCP segments comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpIpSource {
    /// One segment a write and one acknowledgement for every second: a guess, marked as such.
    #[default]
    Estimated,
    /// The kernel's TCP_INFO counted them.
    TcpInfo,
}

/// Connections of the subscribers in the whole cell; those after a restart are left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connections {
    pub opened: u64,
    /// Start of the TCP connect to the end of the handshake (first answer, or 101), simulated
    /// round trips included, microseconds.
    pub ready_us: Histogram,
}

/// What the server spent, as it tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// CPU seconds in the steady state, publishing included.
    pub cpu_s: f64,
    /// CPU seconds per second, server running, no subscriber connected.
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
    /// Absent where the system does not tell.
    pub kernel_socket_bytes: Option<u64>,
}

impl ServerCost {
    /// CPU seconds of the steady state beyond those of an unused server.
    pub fn cpu_caused_s(&self, steady_s: f64) -> f64 {
        (self.cpu_s - self.cpu_unused * steady_s).max(0.0)
    }
}

/// The error of a CPU or memory figure that is still used, as a share of the figure. A larger one
/// means that the run was too short, or its subscribers too few.
pub const ERROR_SHARE_MAX: f64 = 0.25;

impl Server {
    /// Resolution assumed of the CPU clock, seconds. Our own server counts nanoseconds, but needs
    /// time to serve the two readings; for another, `/proc/PID/stat` counts ticks of 10 ms.
    pub fn cpu_clock_s(&self) -> f64 {
        if self.is_child { 0.001 } else { 0.01 }
    }
}

impl Cell {
    /// Half-width of the error of [`ServerCost::cpu_caused_s`], seconds: two readings of a clock
    /// that resolves `clock_s`, the whole correction for an unused server, which was measured at
    /// another time, and the number of messages. Absent if the server did not report its CPU.
    pub fn server_cpu_error_s(&self, clock_s: f64) -> Option<f64> {
        let server = self.server?;
        let instrument_s = 2.0 * clock_s + server.cpu_unused * self.steady_s;
        Some(instrument_s.hypot(server.cpu_caused_s(self.steady_s) * self.message_error()))
    }

    /// Relative error (95 %) of a mean cost per message: two standard errors of as many independent
    /// values as messages were published, each of which varies about as much as it costs.
    /// Deliveries of one message share a wake-up and are not independent.
    pub fn message_error(&self) -> f64 {
        2.0 / (self.published.max(1) as f64).sqrt()
    }
}

/// How well the generator kept to its own plan, and what it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Actual minus planned instant of publication, microseconds.
    pub publisher_late_us: Histogram,
    /// Actual minus planned instant of a poll, microseconds; empty if nothing was polled.
    pub poll_late_us: Histogram,
    /// CPU seconds of the generator's process in the steady state, without a packet link's.
    pub cpu_s: f64,
    /// Threads that it had to do it. Absent from older runs: one for each core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// What the packet link did in the steady state, and what that cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkUse {
    /// CPU seconds of the link's thread: its own work, and the kernel's on receipt of what it hands
    /// back. Not part of the generator's.
    pub cpu_s: f64,
    /// From subscriber to server.
    pub up: LinkPackets,
    /// From server to subscriber.
    pub down: LinkPackets,
    /// Packets that were lost although the link was not asked to lose them: it fell behind.
    pub missed: u64,
    /// Actual minus planned instant at which packets arrived, microseconds.
    pub late_us: Histogram,
}

/// Packets of one direction, acknowledgements and retransmissions included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPackets {
    /// That entered the link.
    pub packets: u64,
    /// Of these, dropped as the loss demands.
    pub lost: u64,
    /// Of these, dropped because a queue was full.
    pub overflowed: u64,
}

/// What processes other than generator and server used in the steady state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OtherLoad {
    /// CPU seconds, those stolen by other virtual machines included.
    pub cpu_s: f64,
    /// Cores of the machine that the system counts CPU time of.
    pub cores: u32,
}

/// What a restart of the server, after the steady state, meant to its subscribers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovery {
    /// From the server being told to stop until it listened again, microseconds: its clients'
    /// leave, its stop and its start.
    pub down_us: u64,
    /// How long each subscriber that noticed was without a server: from losing it until it was
    /// subscribed again, or had an answer, microseconds.
    pub away_us: Histogram,
    /// From the server listening again until each of them was back, microseconds.
    pub back_us: Histogram,
    /// Planned publication to receipt of the messages that were planned after the steady state,
    /// microseconds.
    pub latency_us: Histogram,
}

/// What one subscriber saw in the first seconds of the steady state. Instants are microseconds
/// since the steady state began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trace {
    /// Length of the recorded stretch.
    pub length_us: u64,
    /// When the subscriber's topic was published to, as planned.
    pub published_us: Vec<i64>,
    pub events: Vec<TraceEvent>,
}

/// Something that the traced subscriber did or saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    pub at_us: i64,
    #[serde(flatten)]
    pub what: TraceWhat,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum TraceWhat {
    /// A request left the subscriber.
    Request,
    /// The answer to the last request was complete.
    Answer { messages: u32 },
    /// A message was received that was planned for `planned_us`.
    Message { planned_us: i64 },
}

/// A `run.json` that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("not a run.json: {0}")]
    Format(#[from] serde_json::Error),
    #[error(
        "its schema is version {found}, this program reads {SCHEMA_VERSION}; use the version of the program that wrote it"
    )]
    Schema { found: u32 },
}

impl Run {
    /// Reads a `run.json`.
    pub fn from_json(text: &str) -> Result<Run, ReadError> {
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: u32,
        }
        let SchemaOnly { schema } = serde_json::from_str(text)?;
        if schema != SCHEMA_VERSION {
            return Err(ReadError::Schema { found: schema });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The text of a `run.json`: JSON without spaces, since a run has thousands of values.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a run has no map keys that JSON lacks")
    }
}
