//! The plan of a cell: variant, workload and seed, and the share of a segment.

use std::time::{Duration, Instant};

use crate::scenario::{Segment, Workload};
use crate::variant::{Extra, Variant, Waiting};

/// Length of the baseline measurement before the first subscriber connects.
pub(super) const UNUSED: Duration = Duration::from_millis(250);

/// The parameters of one cell.
#[derive(Debug, Clone)]
pub struct CellPlan {
    pub variant: Variant,
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// Seed of the schedule and the polling phases, the same for all transports of a repeat.
    pub seed: u64,
    /// Prefix of the topic names.
    pub topic_prefix: String,
    /// Whether the server stores its messages on disk, as needed for a restart.
    pub on_disk: bool,
    /// The workloads of the further steps of a ramp.
    pub later_steps: Vec<Workload>,
    /// `None` if one load generator measures the whole workload.
    pub share: Option<CellShare>,
}

/// The share of a segment in a cell.
#[derive(Debug, Clone, Copy)]
pub struct CellShare {
    pub segment: Segment,
    pub times: CellTimes,
}

/// When the phases of a cell start.
#[derive(Debug, Clone, Copy)]
pub struct CellTimes {
    pub begin: Instant,
    /// All subscribers are connected.
    pub idle: Instant,
    /// The warm-up.
    pub publish: Instant,
    /// All messages have arrived, and no further request is sent.
    pub count_requests: Instant,
    /// The next cell begins.
    pub end: Instant,
}

/// A phase of a cell, for progress messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellPhase {
    /// For the other segments.
    Waiting,
    Connecting,
    Idle,
    WarmUp,
    Steady,
    Restarting,
    Draining,
}

impl CellPlan {
    /// A plan for each step. Each has a schedule of its own.
    pub fn steps(&self) -> Vec<CellPlan> {
        let workloads = std::iter::once(&self.workload).chain(&self.later_steps);
        let step = |(number, workload): (u64, &Workload)| CellPlan {
            workload: workload.clone(),
            later_steps: Vec::new(),
            seed: self.seed.wrapping_add(number << 32),
            ..self.clone()
        };
        (0..).zip(workloads).map(step).collect()
    }

    /// Whether the topic is measured here.
    pub fn owns(&self, topic: u32) -> bool {
        self.share.is_none_or(|share| share.segment.owns(topic))
    }

    /// Number of subscribers that are measured here.
    pub fn own_subscribers(&self) -> u32 {
        match &self.share {
            None => self.workload.subscribers,
            Some(share) => share.segment.subscribers(&self.workload),
        }
    }

    /// When the phases start, if other segments go through them at the same time.
    pub fn times(&self) -> Option<CellTimes> {
        self.share.map(|share| share.times)
    }

    /// Approximate duration of the cell.
    pub fn expected_duration(&self) -> Duration {
        self.steps().iter().map(CellPlan::expected_of_step).sum()
    }

    fn expected_of_step(&self) -> Duration {
        let Workload { rtt, idle, .. } = &self.workload;
        let drain = match self.variant.transport.waiting() {
            Waiting::InClient => self.poll_interval_max() + *rtt,
            Waiting::PerRequest | Waiting::PerConnection => *rtt,
        };
        let starting_and_stopping = Duration::from_millis(200);
        UNUSED
            + self.connecting()
            + *idle
            + self.workload.publishing()
            + drain
            + starting_and_stopping
    }

    /// Approximate time in which the subscribers connect.
    pub(super) fn connecting(&self) -> Duration {
        let Workload { subscribers, rtt, .. } = self.workload;
        rtt * (3 + subscribers / 256) + Duration::from_micros(300) * subscribers
    }

    /// Longest interval between two polls of a subscriber.
    pub(super) fn poll_interval_max(&self) -> Duration {
        let Workload { poll_interval, poll_interval_max, .. } = self.workload;
        match self.variant.has(Extra::Adaptive) {
            true => poll_interval_max.max(poll_interval),
            false => poll_interval,
        }
    }
}
