//! Scenarios: the workloads and transports of a run, read from TOML.
//!
//! A file contains a base workload, and optionally cases that override some of its values and
//! sweeps that vary one value. All values are validated here.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{as_given, show_duration, thousands};
use crate::variant::{Pacing, Transport, Variant};

mod link;
mod overrides;
mod points;
mod ramp;
mod rate;
mod segment;
mod sweep;

pub use link::Link;
pub use overrides::Overrides;
pub use points::{CellGroup, SweepPoint};
pub use ramp::Ramp;
pub use segment::Segment;
pub use sweep::Sweep;

mod friendly {
    pub use jiff::fmt::serde::unsigned_duration::friendly::compact::{optional, required};
}

/// A scenario: workloads, transports and a description for the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short name, which appears in file names: `default`.
    pub name: String,
    /// One line, the heading of the report.
    pub title: String,
    /// Text for the report: what the scenario shows.
    pub description: String,
    /// The variants to compare, in order, for example `short-polling+conditional`.
    #[serde(default = "all_transports")]
    pub transports: Vec<Variant>,
    /// Number of times each cell is measured.
    #[serde(default = "default_repeats")]
    pub repeats: u32,
    /// Seed of schedule, polling phases and jitter. Repeat `n` uses `seed + n`.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The base workload, whose values a case may override.
    #[serde(default)]
    pub workload: Workload,
    /// Varies one value of the workload, or of each case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Raises the load in steps, in the workload or in each case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Variations of the workload. Without cases the workload itself is measured.
    #[serde(default, rename = "case", skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
}

fn all_transports() -> Vec<Variant> {
    Transport::ALL.map(Variant::from).to_vec()
}

fn default_repeats() -> u32 {
    3
}

fn default_seed() -> u64 {
    1
}

/// A workload: subscribers, messages, link and phases of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Number of subscribers, distributed evenly over the topics. Each has its own connection,
    /// except in HTTP/2 variants.
    pub subscribers: u32,
    /// Number of topics; the fan-out of a message is `subscribers / topics`.
    pub topics: u32,
    /// Messages per second and topic, and so per subscriber (theory's lambda). TOML: `0.5`, or
    /// `"1/20s"`.
    #[serde(deserialize_with = "rate::required")]
    pub rate: f64,
    /// Distribution of the publication times.
    pub process: Process,
    /// Size of a message's text, bytes.
    pub message_bytes: u32,
    /// Short polling: interval between polls (theory's T).
    #[serde(with = "friendly::required")]
    pub poll_interval: Duration,
    /// Adaptive short polling: upper limit of the interval. A value below `poll_interval` has no
    /// effect.
    #[serde(with = "friendly::required")]
    pub poll_interval_max: Duration,
    /// Short polling: start of the interval.
    pub poll_pacing: Pacing,
    /// Long polling: timeout after which an empty long poll is answered (theory's tau).
    #[serde(with = "friendly::required")]
    pub long_poll_hold: Duration,
    /// HTTP/2: number of subscribers that share a connection.
    pub streams_per_connection: u32,
    /// Round trip of the link, both directions together, without jitter (theory's R).
    #[serde(with = "friendly::required")]
    pub rtt: Duration,
    /// The kind of the link between subscribers and server.
    #[serde(skip_serializing_if = "Link::is_in_process")]
    pub link: Link,
    /// Packet link: largest additional delay of a packet, beyond half the round trip.
    #[serde(with = "friendly::required", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// Packet link: packets lost in each direction, percent.
    #[serde(skip_serializing_if = "is_zero")]
    pub loss: f64,
    /// Packet link: mean length of a burst of losses; 0 for independent losses.
    #[serde(with = "friendly::required", skip_serializing_if = "Duration::is_zero")]
    pub loss_burst: Duration,
    /// Packet link: bits per second to each subscriber, in thousands; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_down_kbit: Option<u32>,
    /// Packet link: bits per second from each subscriber, in thousands; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_up_kbit: Option<u32>,
    /// Packet link: size of the queue of each limited direction, bytes.
    #[serde(skip_serializing_if = "link::is_default_queue")]
    pub queue_bytes: u32,
    /// Request headers of the subscribers.
    pub headers: Headers,
    /// Length of the idle phase: all subscribers connected, nothing published.
    #[serde(with = "friendly::required")]
    pub idle: Duration,
    /// Length of the warm-up: messages are published, nothing is counted.
    #[serde(with = "friendly::required")]
    pub warm_up: Duration,
    /// Length of the steady state, the measurement.
    #[serde(with = "friendly::required")]
    pub duration: Duration,
    /// Length of publishing after the steady state, during which the server is restarted; 0 for no
    /// restart.
    #[serde(with = "friendly::required", skip_serializing_if = "Duration::is_zero")]
    pub restart: Duration,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            subscribers: 1_000,
            topics: 100,
            rate: 1.0,
            process: Process::Poisson,
            message_bytes: 100,
            poll_interval: Duration::from_secs(1),
            poll_interval_max: Duration::from_secs(8),
            poll_pacing: Pacing::AfterResponse,
            long_poll_hold: Duration::from_secs(25),
            streams_per_connection: 10,
            rtt: Duration::from_millis(40),
            link: Link::InProcess,
            jitter: Duration::ZERO,
            loss: 0.0,
            loss_burst: Duration::ZERO,
            bandwidth_down_kbit: None,
            bandwidth_up_kbit: None,
            queue_bytes: link::QUEUE_BYTES,
            headers: Headers::Minimal,
            idle: Duration::from_millis(750),
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(6),
            restart: Duration::ZERO,
        }
    }
}

/// Distribution of the publication times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Random times with exponential gaps.
    Poisson,
    /// Equal gaps, each topic with a random phase.
    Periodic,
}

/// A profile of request headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Headers {
    /// `Host` and the headers required by the protocol.
    Minimal,
    /// The headers of a browser, with cookies.
    Browser,
}

/// A variation of the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Short name, unique in the scenario.
    pub name: String,
    /// Text for the report: what the case shows.
    #[serde(default)]
    pub description: String,
    /// The transports of this case, if not all of the scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transports: Option<Vec<Variant>>,
    /// The values that differ from the scenario's workload.
    #[serde(default)]
    pub workload: Overrides,
    /// Varies one value of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Raises the load in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Published figures to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// A published figure, shown beside a measured one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Authors and publication.
    pub source: String,
    /// Description of the figure.
    pub figure: String,
    /// The published value with its unit.
    pub value: String,
    /// The measured figure to compare with, named as in `--fail-if`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
    /// Why the two figures differ or agree.
    pub why: String,
}

/// An invalid scenario; the text names the key or line, and the rule.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{0}")]
    Text(String),
    /// A value out of range, in a table of the file, for example `workload.`.
    #[error("{table}{value}")]
    Value { table: String, value: BadValue },
}

impl ScenarioError {
    /// An error with this text.
    pub(super) fn new(error: impl ToString) -> ScenarioError {
        ScenarioError::Text(error.to_string())
    }
}

/// A value out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {rule}")]
pub struct BadValue {
    /// The key in the file: `poll_interval`.
    pub key: &'static str,
    pub value: String,
    /// The rule that the value violates.
    pub rule: String,
}

impl BadValue {
    /// The text for a value given as a flag.
    pub fn of_flag(&self) -> String {
        format!("--{} {}: {}", self.key.replace('_', "-"), self.value, self.rule)
    }
}

impl Scenario {
    /// Parses and validates a scenario.
    ///
    /// # Errors
    /// If the text is invalid; the error names the line and the key.
    pub fn from_toml(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text).map_err(ScenarioError::new)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Removes the variants that are not `supported`, and the cases without a supported variant. If
    /// none is left, [`Scenario::check`] returns an error.
    pub fn keep_transports(&mut self, supported: impl Fn(Variant) -> bool) {
        let had_cases = !self.cases.is_empty();
        let keep = |transports: &mut Vec<Variant>| transports.retain(|variant| supported(*variant));
        keep(&mut self.transports);
        for transports in self.cases.iter_mut().filter_map(|case| case.transports.as_mut()) {
            keep(transports);
        }
        self.cases.retain(|case| case.transports.as_ref().is_none_or(|some| !some.is_empty()));
        if had_cases && self.cases.is_empty() {
            self.transports.clear();
        }
    }

    /// Validates ranges, uniqueness and non-empty lists.
    ///
    /// # Errors
    /// If a value is invalid; the error names the key and the rule.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let name_is_plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let ensure = |holds: bool, text: &str| match holds {
            true => Ok(()),
            false => Err(ScenarioError::new(text)),
        };
        ensure(name_is_plain(&self.name), "name: must consist of letters, digits and '-'")?;
        let no_table = |value| ScenarioError::Value { table: String::new(), value };
        between("repeats", self.repeats, 1, 100).map_err(no_table)?;
        let mut names = std::collections::HashSet::new();
        for case in &self.cases {
            let at = format!("case '{}': name", case.name);
            ensure(
                name_is_plain(&case.name),
                &format!("{at}: must consist of letters, digits and '-'"),
            )?;
            ensure(names.insert(&case.name), &format!("{at}: already used by another case"))?;
        }
        self.check_ramps()?;
        let points = self.points();
        ensure(!points.is_empty(), "sweep: must have at least one value")?;
        for point in points {
            let at = if point.case.is_empty() {
                String::new()
            } else {
                format!("case '{}': ", point.case)
            };
            let mut seen = std::collections::HashSet::new();
            let repeated = point.transports.iter().find(|transport| !seen.insert(**transport));
            ensure(
                !point.transports.is_empty(),
                &format!("{at}transports: must have at least one"),
            )?;
            if let Some(repeated) = repeated {
                let rule = format!("{repeated} is given twice");
                let names: Vec<_> = point.transports.iter().map(ToString::to_string).collect();
                let value = BadValue { key: "transports", value: names.join(","), rule };
                return Err(ScenarioError::Value { table: at, value });
            }
            let table = format!("{at}workload.");
            point.workload.check().map_err(|value| ScenarioError::Value { table, value })?;
        }
        Ok(())
    }

    /// Validates the ramps of the scenario and of its cases.
    fn check_ramps(&self) -> Result<(), ScenarioError> {
        let check = |at: &str, sweep: Option<&Sweep>, ramp: Option<&Ramp>, workload: &Workload| {
            let Some(ramp) = ramp else { return Ok(()) };
            let at_case = |error| ScenarioError::new(format!("{at}{error}"));
            if sweep.is_some() {
                return Err(at_case(ScenarioError::new("ramp: cannot be combined with sweep")));
            }
            ramp.check(workload).map_err(at_case)
        };
        check("", self.sweep.as_ref(), self.ramp.as_ref(), &self.workload)?;
        for case in &self.cases {
            let (sweep, ramp) = self.variations(case);
            let workload = case.workload.applied_to(&self.workload);
            check(&format!("case '{}': ", case.name), sweep, ramp, &workload)?;
        }
        Ok(())
    }
}

impl Workload {
    /// Whether the server is restarted.
    pub fn restarts(&self) -> bool {
        !self.restart.is_zero()
    }

    /// Total time of publishing.
    pub fn publishing(&self) -> Duration {
        self.warm_up + self.duration + self.restart
    }

    /// Subscribers per topic: the number of deliveries of one message.
    pub fn fan_out(&self) -> f64 {
        f64::from(self.subscribers) / f64::from(self.topics)
    }

    /// Number of subscribers of a topic, counted from 0.
    pub fn subscribers_of(&self, topic: u32) -> u32 {
        self.subscribers / self.topics + u32::from(topic < self.subscribers % self.topics)
    }

    /// Validates all values.
    ///
    /// # Errors
    /// If a value is out of range; the error names the key, the value and the rule.
    pub fn check(&self) -> Result<(), BadValue> {
        let ms = Duration::from_millis;
        let hour = ms(3_600_000);
        between("subscribers", self.subscribers, 1, 1_000_000)?;
        if !(1..=self.subscribers).contains(&self.topics) {
            let rule =
                format!("must be between 1 and the number of subscribers ({})", self.subscribers);
            return Err(BadValue { key: "topics", value: self.topics.to_string(), rule });
        }
        if !RATES.contains(&self.rate) {
            let rule = "must be between 0.000001 and 10,000 (messages per second and topic)";
            let (value, rule) = (as_given(self.rate), rule.to_owned());
            return Err(BadValue { key: "rate", value, rule });
        }
        between("message_bytes", self.message_bytes, 16, 60_000)?;
        within("poll_interval", self.poll_interval, ms(1), hour)?;
        within("poll_interval_max", self.poll_interval_max, ms(1), hour)?;
        within("long_poll_hold", self.long_poll_hold, ms(1), ms(60_000))?;
        between("streams_per_connection", self.streams_per_connection, 1, 100)?;
        within("rtt", self.rtt, Duration::ZERO, ms(10_000))?;
        link::check(self)?;
        within("idle", self.idle, Duration::ZERO, hour)?;
        within("warm_up", self.warm_up, Duration::ZERO, hour)?;
        within("duration", self.duration, ms(100), ms(86_400_000))?;
        within("restart", self.restart, Duration::ZERO, hour)?;
        let publications = self.rate * f64::from(self.topics) * self.publishing().as_secs_f64();
        if publications > PUBLICATIONS_MAX {
            let rule = format!(
                "with {} topics and {} of publishing this is {publications:.0} messages, more than \
                 the limit of {PUBLICATIONS_MAX:.0} per cell",
                self.topics,
                show_duration(self.publishing())
            );
            return Err(BadValue { key: "rate", value: as_given(self.rate), rule });
        }
        Ok(())
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// Messages per second and topic.
pub const RATES: RangeInclusive<f64> = 1e-6..=10_000.0;
/// Largest number of publications in a cell, which are kept in memory.
const PUBLICATIONS_MAX: f64 = 1e8;

fn between(key: &'static str, value: u32, low: u32, high: u32) -> Result<(), BadValue> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let rule = format!("must be between {low} and {}", thousands(i64::from(high)));
    Err(BadValue { key, value: value.to_string(), rule })
}

fn within(
    key: &'static str,
    value: Duration,
    low: Duration,
    high: Duration,
) -> Result<(), BadValue> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let rule = format!("must be between {} and {}", show_duration(low), show_duration(high));
    Err(BadValue { key, value: show_duration(value), rule })
}
