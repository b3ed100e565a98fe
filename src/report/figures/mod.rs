//! The named figures: the one list that tables, CSV, thresholds and baselines share.
//!
//! Each figure has a name, a rule that derives it from a cell and, where theory has a closed form,
//! a prediction. A percentile that too few values support does not exist.

mod derive;
mod list;

use crate::measure::Histogram;
use crate::run::{Cell, ERROR_SHARE_MAX};
use crate::scenario::Workload;
use crate::theory::bytes::{Sizes, Traffic, traffic};
use crate::theory::{NetworkPath, Prediction, ProcessingTime};
use crate::variant::{Transport, Variant};

use crate::units::Unit;

pub use list::*;

/// One figure of a cell.
#[derive(Debug)]
pub struct Figure {
    /// The name in thresholds: `latency.p99`. The part before the first dot is its section.
    pub name: &'static str,
    /// The label of a table's row: `p99`. The section's heading is above it.
    pub label: &'static str,
    pub unit: Unit,
    source: Derivation,
    /// Half-width of the error of one cell's value, in base units, given the resolution of the CPU
    /// clock in seconds. Absent for what is counted exactly.
    error: Option<fn(&Cell, f64) -> Option<f64>>,
    predicted: Option<fn(&Expected) -> Option<f64>>,
}

/// The prediction of theory for a variant under a workload.
pub struct Expected {
    pub prediction: Prediction,
    /// The traffic of one subscriber; absent for a third-party server, whose headers and envelopes
    /// have other sizes, and for a variant whose bytes have no model.
    pub traffic: Option<Traffic>,
    /// Messages per second that one subscriber receives.
    pub rate: f64,
    pub subscribers: u32,
    /// Configured packet loss of the packet link; absent without one.
    pub loss: Option<f64>,
    /// The machine's processing time of a push, which is part of every latency; 0 if it is unknown.
    own_push_s: f64,
}

impl Expected {
    /// Absent where theory has no closed form.
    pub fn of(
        variant: Variant,
        workload: &Workload,
        processing_time: &ProcessingTime,
        network: &NetworkPath,
        server_is_ours: bool,
    ) -> Option<Self> {
        let workload = &network.with_round_trip(workload);
        let transport = variant.transport;
        let sizes = server_is_ours.then(|| seen_sizes(transport, workload));
        Some(Expected {
            prediction: network.with_publishing(processing_time.predict(variant, workload)?),
            traffic: sizes.and_then(|sizes| {
                traffic(variant, &processing_time.with_processing_time(workload), &sizes)
            }),
            rate: workload.rate,
            subscribers: workload.subscribers,
            loss: workload.packet_link_parameters().map(|profile| profile.loss.share),
            own_push_s: processing_time.push_s,
        })
    }

    /// Whether at least half of the predicted latency is the machine's processing time. Then the
    /// ratio of measured to predicted latency does not test the theory.
    pub fn latency_is_processing_time(&self) -> bool {
        self.prediction.latency_mean_s() <= 2.0 * self.own_push_s
    }
}

/// The sizes of our server's messages, without heartbeats if the steady state ends before the first
/// one is due.
fn seen_sizes(transport: Transport, workload: &Workload) -> Sizes {
    let sizes = Sizes::ours(transport, workload.headers);
    let connected = workload.idle + workload.warm_up + workload.duration;
    match connected.as_secs_f64() < sizes.heartbeat_s {
        true => Sizes { heartbeat_s: f64::INFINITY, ..sizes },
        false => sizes,
    }
}

/// How a figure is derived from a cell.
#[derive(Debug)]
enum Derivation {
    /// From a histogram, so that repeats can be merged.
    Of(fn(&Cell) -> &Histogram, Statistic),
    /// Computed from counters.
    Computed(fn(&Cell) -> Option<f64>),
}

#[derive(Debug, Clone, Copy)]
enum Statistic {
    Mean,
    Quantile(f64),
    Min,
    Max,
}

/// Values that must lie above a percentile before it is printed.
const VALUES_ABOVE: f64 = 10.0;

/// Messages that must be expected above it: one message reaches many subscribers, and a single
/// late one is no percentile.
const MESSAGES_ABOVE: f64 = 1.0;

/// True if `values` deliveries of `messages` messages support the quantile `p`.
pub fn supports(p: f64, values: u64, messages: u64) -> bool {
    // The slack compensates for rounding: in binary, 1 - 0.99 is not 0.01.
    let above = (1.0 - p) * (1.0 + 1e-9);
    values as f64 * above >= VALUES_ABOVE && messages as f64 * above >= MESSAGES_ABOVE
}

/// Deliveries and messages that the quantile `p` needs at least.
pub fn needed(p: f64) -> (f64, f64) {
    (VALUES_ABOVE / (1.0 - p), MESSAGES_ABOVE / (1.0 - p))
}

impl Figure {
    /// The section's name: `latency`.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(section, _)| section)
    }

    /// The largest possible value, in base units. More than one core may be busy.
    pub fn most(&self) -> f64 {
        match self.unit {
            Unit::Share if !self.name.contains(".cpu_") => 1.0,
            _ => f64::INFINITY,
        }
    }

    /// A heading for tables without sections.
    pub fn heading(&self) -> &'static str {
        match self.name {
            "latency.mean" => "mean latency",
            "latency.p50" => "median latency",
            "latency.p99" => "p99 latency",
            "requests.per_subscriber_per_second" => "requests per subscriber",
            "requests.empty_share" => "empty responses",
            "bytes.per_message" => "bytes per message",
            "server.cpu_per_message" => "server CPU per message",
            _ => self.label,
        }
    }

    /// The figure of one cell, in base units; absent if the cell does not have it.
    pub fn of_cell(&self, cell: &Cell) -> Option<f64> {
        match &self.source {
            Derivation::Of(histogram, statistic) => statistic.of(histogram(cell), cell.published),
            Derivation::Computed(compute) => compute(cell),
        }
    }

    /// The figure of all `cells`' values together, for figures that come from histograms.
    pub fn pooled(&self, cells: &[&Cell]) -> Option<f64> {
        let Derivation::Of(histogram, statistic) = &self.source else { return None };
        let mut merged = Histogram::new();
        cells.iter().for_each(|cell| merged.merge(histogram(cell)));
        statistic.of(&merged, cells.iter().map(|cell| cell.published).sum())
    }

    /// Half-width of the error of the figure over `cells`, in base units: independent errors, so
    /// that repeats reduce it. 0 for figures that are counted exactly.
    pub fn error(&self, cells: &[&Cell], clock_s: f64) -> f64 {
        let Some(error) = self.error else { return 0.0 };
        let squares = cells.iter().filter_map(|cell| error(cell, clock_s)).map(|e| e * e);
        squares.sum::<f64>().sqrt() / cells.len().max(1) as f64
    }

    /// True if the sample supports a value with this error.
    pub fn is_resolved(&self, value: f64, error: f64) -> bool {
        self.error.is_none() || error <= ERROR_SHARE_MAX * value.abs()
    }

    /// True if the cell has values of the figure, even if too few to print it.
    pub fn has_values(&self, cell: &Cell) -> bool {
        match &self.source {
            Derivation::Of(histogram, _) => !histogram(cell).0.is_empty(),
            Derivation::Computed(compute) => compute(cell).is_some(),
        }
    }

    /// The prediction of the figure, in base units.
    pub fn predicted(&self, expected: &Expected) -> Option<f64> {
        self.predicted.and_then(|predicted| predicted(expected))
    }

    /// The quantile, if the figure is one.
    pub fn quantile(&self) -> Option<f64> {
        match self.source {
            Derivation::Of(_, Statistic::Quantile(p)) => Some(p),
            _ => None,
        }
    }

    /// The figure of that name.
    ///
    /// # Errors
    /// Lists the valid names.
    pub fn named(name: &str) -> Result<&'static Figure, String> {
        let known = || ALL.iter().map(|figure| figure.name).collect::<Vec<_>>().join(", ");
        ALL.iter()
            .copied()
            .find(|figure| figure.name == name)
            .ok_or_else(|| format!("unknown figure '{name}'; known are {}", known()))
    }
}

impl Statistic {
    /// In seconds, from a histogram of microseconds.
    fn of(self, histogram: &Histogram, messages: u64) -> Option<f64> {
        let inner = &histogram.0;
        let micros = match self {
            _ if inner.is_empty() => return None,
            Statistic::Mean => inner.mean(),
            Statistic::Quantile(p) if !supports(p, inner.len(), messages) => return None,
            Statistic::Quantile(p) => inner.value_at_quantile(p) as f64,
            Statistic::Min => inner.min() as f64,
            Statistic::Max => inner.max() as f64,
        };
        Some(micros / 1e6)
    }
}

/// A section's heading.
pub fn heading(section: &str) -> &'static str {
    match section {
        "latency" => "Delivery latency, planned publication to receipt",
        "requests" => "Requests of the subscribers",
        "bytes" => "Bytes on the subscribers' connections",
        "server" => "Server",
        "connections" => "Connections, whole cell",
        "network" => "Network to the server, without a simulated link",
        "link" => "Packet link, steady state",
        "recovery" => "After a restart of the server",
        "generator" => "Load generator",
        other => unreachable!("the section {other} has no heading"),
    }
}
