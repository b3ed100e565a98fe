//! Warnings: what can speak against figures, what each means for them, and its words.
//!
//! A typed list, so that nothing is judged by its text; [`super`] decides which apply.

use std::fmt;

use crate::units::{Unit, significant, thousands};

/// What a warning means for the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// They do not count.
    Void,
    /// They count, with a grain of salt.
    Caution,
}

/// Something that speaks against figures. Times in seconds, loads in cores.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    NothingDelivered,
    Lost {
        lost: u64,
        expected: u64,
    },
    Duplicated {
        duplicated: u64,
        expected: u64,
    },
    Reordered {
        reordered: u64,
        expected: u64,
    },
    Early {
        early: u64,
        expected: u64,
    },
    Unknown {
        unknown: u64,
        expected: u64,
    },
    RequestsRepeated {
        repeated: u64,
    },
    RequestsDisagree {
        client: u64,
        server: u64,
    },
    GeneratorSaturated {
        used: f64,
        cores: u32,
    },
    PublisherTooLate {
        p90_s: f64,
        limit_s: f64,
    },
    PublisherHiccups {
        p99_s: f64,
    },
    /// 1 % of the packets were later than this, or packets were dropped that should not have been.
    LinkBehind {
        p99_s: f64,
        limit_s: f64,
        missed: u64,
    },
    PublisherLate {
        mean_s: f64,
        latency_mean_s: f64,
    },
    PollsLate {
        p99_s: f64,
        interval_s: f64,
    },
    MachineFull {
        used: f64,
        cores: u32,
    },
    RepeatsMissing {
        valid: usize,
        of: u32,
    },
    SingleRepeat,
    /// Figures, and how far their repeats lie apart as a share of the value.
    SpreadWide {
        figures: Vec<(&'static str, f64)>,
    },
    TooFewSamples {
        figures: Vec<&'static str>,
        deliveries: u64,
        messages: u64,
    },
    TcpIpEstimated,
    OtherLoad {
        load: f64,
        cores: u32,
    },
    /// CPU time of other processes in the steady state, in cores, and what it left to generator or
    /// server.
    OthersBusy {
        used: f64,
        left: f64,
    },
    DebugBuild,
    CellFailed {
        error: String,
    },
    StoppedEarly {
        reason: String,
    },
}

/// A warning and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub warning: Warning,
    /// In words: a transport, a case, a repeat; empty if it is about the whole run.
    pub place: String,
}

/// Lateness of polls, as a share of their interval, that voids.
const POLL_LATE_SHARE_VOID: f64 = 0.5;

impl Warning {
    /// What it means for the figures.
    pub fn severity(&self) -> Severity {
        use Warning::*;
        match self {
            NothingDelivered
            | Lost { .. }
            | Duplicated { .. }
            | Reordered { .. }
            | Early { .. }
            | Unknown { .. }
            | CellFailed { .. }
            | RequestsDisagree { .. }
            | GeneratorSaturated { .. }
            | LinkBehind { .. }
            | PublisherTooLate { .. } => Severity::Void,
            PollsLate { p99_s, interval_s } if *p99_s > POLL_LATE_SHARE_VOID * interval_s => {
                Severity::Void
            }
            OthersBusy { used, left } if used > left => Severity::Void,
            PublisherLate { .. }
            | PublisherHiccups { .. }
            | PollsLate { .. }
            | MachineFull { .. }
            | RepeatsMissing { .. }
            | SingleRepeat
            | SpreadWide { .. }
            | TooFewSamples { .. }
            | TcpIpEstimated
            | OtherLoad { .. }
            | OthersBusy { .. }
            | RequestsRepeated { .. }
            | DebugBuild
            | StoppedEarly { .. } => Severity::Caution,
        }
    }

    /// True if the cell's mean holds what the model leaves out, so that it is not fit to be held
    /// against theory.
    pub fn disturbs(&self) -> bool {
        use Warning::*;
        matches!(
            self,
            PublisherHiccups { .. } | PollsLate { .. } | MachineFull { .. } | OthersBusy { .. }
        )
    }

    /// True if what was delivered, or counted, was wrong: no repeat makes up for that.
    pub fn is_wrong(&self) -> bool {
        use Warning::*;
        matches!(
            self,
            Lost { .. }
                | Duplicated { .. }
                | Reordered { .. }
                | Early { .. }
                | Unknown { .. }
                | RequestsDisagree { .. }
        )
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Warning::*;
        let time = |seconds: &f64| Unit::Seconds.show(*seconds);
        let count = |n: &u64| thousands(*n as i64);
        let of = |n: &u64, expected: &u64| format!("{} of {}", count(n), count(expected));
        match self {
            NothingDelivered => f.write_str("nothing was delivered in the steady state"),
            Lost { lost, expected } => write!(f, "{} deliveries were lost", of(lost, expected)),
            Duplicated { duplicated, expected } => {
                write!(f, "{} deliveries came again", of(duplicated, expected))
            }
            Reordered { reordered, expected } => {
                write!(f, "{} deliveries came out of order", of(reordered, expected))
            }
            Early { early, expected } => write!(
                f,
                "{} deliveries came sooner after their publication than the link allows",
                of(early, expected)
            ),
            Unknown { unknown, expected } => write!(
                f,
                "{} messages were received that were never published, beside {} expected deliveries",
                count(unknown),
                count(expected)
            ),
            RequestsRepeated { repeated } => write!(
                f,
                "{} requests were sent again because the server had closed their connection",
                count(repeated)
            ),
            RequestsDisagree { client, server } => write!(
                f,
                "the subscribers counted {} requests, the server {}",
                count(client),
                count(server)
            ),
            GeneratorSaturated { used, cores } => write!(
                f,
                "the load generator kept {} of {cores} core{} busy: it was the limit, not the server",
                significant(*used),
                if *cores == 1 { "" } else { "s" }
            ),
            PublisherTooLate { p90_s, limit_s } => write!(
                f,
                "10 % of the publications were {} or more behind their schedule (at most {} here): the generator was the limit",
                time(p90_s),
                time(limit_s)
            ),
            LinkBehind { p99_s, limit_s, missed } => write!(
                f,
                "the packet link fell behind: 1 % of the packets were {} or more late (at most {} here), and {} were dropped that should not have been",
                time(p99_s),
                time(limit_s),
                count(missed)
            ),
            PublisherHiccups { p99_s } => write!(
                f,
                "1 % of the publications were {} or more behind their schedule: the highest percentiles contain it",
                time(p99_s)
            ),
            PublisherLate { mean_s, latency_mean_s } => write!(
                f,
                "publications were {} late on average, which is part of the mean latency of {}",
                time(mean_s),
                time(latency_mean_s)
            ),
            PollsLate { p99_s, interval_s } => write!(
                f,
                "1 % of the polls were {} or more behind their schedule, at an interval of {}",
                time(p99_s),
                time(interval_s)
            ),
            MachineFull { used, cores } => write!(
                f,
                "server and generator kept {} of {cores} cores busy: waiting for a core is part of the latency",
                significant(*used)
            ),
            RepeatsMissing { valid, of } => write!(f, "only {valid} of {of} repeats count"),
            SingleRepeat => f.write_str(
                "one repeat only: no spread is known, so only differences beyond a factor of 1.5 are claimed",
            ),
            SpreadWide { figures } => {
                let each = |(name, spread): &(&str, f64)| {
                    format!("{name} {}", Unit::Share.show(*spread))
                };
                let each: Vec<String> = figures.iter().map(each).collect();
                let words = "the repeats lie far apart (largest minus smallest, of the value)";
                write!(f, "{words}: {}", each.join(", "))
            }
            TooFewSamples { figures, deliveries, messages } => write!(
                f,
                "{} not shown: {} deliveries of {} messages are too few",
                figures.join(", "),
                count(deliveries),
                count(messages)
            ),
            TcpIpEstimated => f.write_str(
                "TCP/IP bytes are estimated (one segment a write, an acknowledgement for every second one), not counted by the kernel",
            ),
            OtherLoad { load, cores } => write!(
                f,
                "the machine was busy before the run: load average {} on {cores} cores in the minute before",
                significant(*load)
            ),
            OthersBusy { used, left } => write!(
                f,
                "other processes kept {} cores busy in the steady state, of {} that generator or server had left",
                significant(*used),
                significant(*left)
            ),
            CellFailed { error } => write!(f, "not measured: {error}"),
            DebugBuild => f.write_str("measured with a debug build, which is slower than a release build"),
            StoppedEarly { reason } => write!(f, "the run ended before its last cell: {reason}"),
        }
    }
}

impl Finding {
    pub fn new(warning: Warning, place: impl Into<String>) -> Self {
        Finding { warning, place: place.into() }
    }

    /// True if figures were left out because of it.
    pub fn is_void(&self) -> bool {
        self.warning.severity() == Severity::Void
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => write!(f, "{}", self.warning),
            false => write!(f, "{}: {}", self.place, self.warning),
        }
    }
}
