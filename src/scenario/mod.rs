//! A scenario: what is asked of every transport, read from TOML.
//!
//! A file gives a base workload and, if it wants, cases that override some of it and sweeps that
//! vary one value. All of it is checked here, so that nothing behind this file meets a nonsensical
//! workload.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{show_duration, thousands};
use crate::variant::{Pacing, Transport, Variant};

mod link;
mod overrides;
mod sweep;

pub use link::Link;
pub use overrides::Overrides;
pub use sweep::Sweep;

mod friendly {
    pub use jiff::fmt::serde::unsigned_duration::friendly::compact::{optional, required};
}

/// A question to measure, with the prose that says what it is to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name, used in file names: `default`.
    pub name: String,
    /// One line for headings.
    pub title: String,
    /// What the scenario is to show, as prose.
    pub description: String,
    /// The transports to compare, in order; a variant is `short-polling+conditional`.
    #[serde(default = "all_transports")]
    pub transports: Vec<Variant>,
    /// How often each cell is measured.
    #[serde(default = "default_repeats")]
    pub repeats: u32,
    /// Makes schedule, poll phases and jitter repeatable. Repeat `n` uses `seed + n`.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What is asked, unless a case overrides it.
    #[serde(default)]
    pub workload: Workload,
    /// Vary one value of the workload (of the cases, if there are any).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Variations of the workload, each measured; none means the workload itself.
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

/// What is asked of the server and its subscribers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Subscribers, spread evenly over the topics; each has a connection of its own, but for
    /// variants on HTTP/2.
    pub subscribers: u32,
    /// Topics; a message's fan-out is `subscribers / topics`.
    pub topics: u32,
    /// Messages per second and topic, so also per subscriber (theory's lambda).
    pub rate: f64,
    /// How publications are spaced.
    pub process: Process,
    /// Bytes of a message's text.
    pub message_bytes: u32,
    /// Short polling: how long a subscriber waits between polls (theory's T).
    #[serde(with = "friendly::required")]
    pub poll_interval: Duration,
    /// Adaptive short polling: the longest that the interval grows to while there is nothing; no
    /// shorter than `poll_interval` in any case.
    #[serde(with = "friendly::required")]
    pub poll_interval_max: Duration,
    /// Short polling: what the interval is counted from.
    pub poll_pacing: Pacing,
    /// Long polling: how long a request may be held (theory's tau).
    #[serde(with = "friendly::required")]
    pub long_poll_hold: Duration,
    /// HTTP/2: subscribers that share a connection.
    pub streams_per_connection: u32,
    /// Round trip of the link, both directions together, without jitter (theory's R).
    #[serde(with = "friendly::required")]
    pub rtt: Duration,
    /// What carries bytes between subscribers and server.
    #[serde(skip_serializing_if = "Link::is_in_process")]
    pub link: Link,
    /// Packet link: each packet is held up to this much longer than half the round trip.
    #[serde(with = "friendly::required", skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// Packet link: packets lost in each direction, percent.
    #[serde(skip_serializing_if = "is_zero")]
    pub loss: f64,
    /// Packet link: mean number of packets lost in a row; 1 for independent losses.
    #[serde(skip_serializing_if = "is_one")]
    pub loss_burst: u32,
    /// Packet link: bits per second to each subscriber, in thousands; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_down_kbit: Option<u32>,
    /// Packet link: bits per second from each subscriber, in thousands; absent for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_up_kbit: Option<u32>,
    /// Packet link: bytes that wait for each limited direction, at most.
    #[serde(skip_serializing_if = "link::is_default_queue")]
    pub queue_bytes: u32,
    /// Which request headers the subscribers send.
    pub headers: Headers,
    /// All subscribers connected, nothing published: what an idle server costs.
    #[serde(with = "friendly::required")]
    pub idle: Duration,
    /// Messages flow, nothing counts yet.
    #[serde(with = "friendly::required")]
    pub warm_up: Duration,
    /// The steady state: what counts.
    #[serde(with = "friendly::required")]
    pub duration: Duration,
    /// How long messages go on flowing after the steady state, in which the server is stopped and
    /// started again; 0 for a server that is left alone.
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
            loss_burst: 1,
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

/// How publications are spaced in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Independent arrivals: exponential gaps.
    Poisson,
    /// Equal gaps, each topic with a random phase.
    Periodic,
}

/// A profile of request headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Headers {
    /// `Host` and what the protocol demands.
    Minimal,
    /// What a browser sends with its cookies.
    Browser,
}

/// A variation of the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A short name, unique in the scenario.
    pub name: String,
    /// What the case is to show, as prose.
    #[serde(default)]
    pub description: String,
    /// Which transports it concerns, if not all of the scenario's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transports: Option<Vec<Variant>>,
    /// What differs from the scenario's workload.
    #[serde(default)]
    pub workload: Overrides,
    /// Vary one value of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// A published figure to put beside the measured one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// A figure that somebody published, to stand beside ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Who and where.
    pub source: String,
    /// What the figure is, in words.
    pub figure: String,
    /// As published, unit included.
    pub value: String,
    /// The measured figure to compare it with, as `--fail-if` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
    /// Why ours differs, or need not.
    pub why: String,
}

/// One workload that is measured with several transports, under one schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The case's name, empty if the scenario has no cases.
    pub case: String,
    pub workload: Workload,
    pub transports: Vec<Variant>,
}

/// A scenario that cannot be used; the text says which key, which line and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{0}")]
    Text(String),
    /// A value that makes no sense, in a table of the file, `workload.` for instance.
    #[error("{table}{value}")]
    Value { table: String, value: BadValue },
}

impl ScenarioError {
    /// Says what is wrong.
    pub(super) fn new(error: impl ToString) -> ScenarioError {
        ScenarioError::Text(error.to_string())
    }
}

/// A value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {rule}")]
pub struct BadValue {
    /// As in a file: `poll_interval`.
    pub key: &'static str,
    pub value: String,
    /// What the value must be.
    pub rule: String,
}

impl BadValue {
    /// The same for somebody who gave the value as a flag.
    pub fn of_flag(&self) -> String {
        format!("--{} {}: {}", self.key.replace('_', "-"), self.value, self.rule)
    }
}

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// Names the line and key that is wrong and says what would be right.
    pub fn from_toml(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text).map_err(ScenarioError::new)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Leaves out the variants that are not `known`, and the cases of which none is left. If that
    /// is all of them, [`Scenario::check`] says that there is nothing to measure.
    pub fn keep_transports(&mut self, known: impl Fn(Variant) -> bool) {
        let had_cases = !self.cases.is_empty();
        let keep = |transports: &mut Vec<Variant>| transports.retain(|variant| known(*variant));
        keep(&mut self.transports);
        for transports in self.cases.iter_mut().filter_map(|case| case.transports.as_mut()) {
            keep(transports);
        }
        self.cases.retain(|case| case.transports.as_ref().is_none_or(|some| !some.is_empty()));
        if had_cases && self.cases.is_empty() {
            self.transports.clear();
        }
    }

    /// Every workload the scenario asks for, in order: each case at each value of its sweep.
    pub fn points(&self) -> Vec<Point> {
        let expand = |workload: &Workload, sweep: &Option<Sweep>| match sweep {
            Some(sweep) => sweep.expand(workload),
            None => vec![workload.clone()],
        };
        if self.cases.is_empty() {
            let point = |workload| Point {
                case: String::new(),
                workload,
                transports: self.transports.clone(),
            };
            return expand(&self.workload, &self.sweep).into_iter().map(point).collect();
        }
        let of_case = |case: &Case| {
            let mut workload = self.workload.clone();
            case.workload.apply(&mut workload);
            let transports = case.transports.clone().unwrap_or_else(|| self.transports.clone());
            let point = |workload| Point {
                case: case.name.clone(),
                workload,
                transports: transports.clone(),
            };
            let sweep = case.sweep.as_ref().or(self.sweep.as_ref()).cloned();
            expand(&workload, &sweep).into_iter().map(point).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }

    /// Checks what the types cannot: ranges, emptiness, uniqueness.
    ///
    /// # Errors
    /// Names the key that is wrong and says what would be right.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let name_is_plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let ensure = |holds: bool, text: &str| match holds {
            true => Ok(()),
            false => Err(ScenarioError::new(text)),
        };
        ensure(name_is_plain(&self.name), "name: use letters, digits and '-' only")?;
        let no_table = |value| ScenarioError::Value { table: String::new(), value };
        between("repeats", self.repeats, 1, 100).map_err(no_table)?;
        let mut names = std::collections::HashSet::new();
        for case in &self.cases {
            let at = format!("case '{}': name", case.name);
            ensure(name_is_plain(&case.name), &format!("{at}: use letters, digits and '-' only"))?;
            ensure(names.insert(&case.name), &format!("{at}: another case has it already"))?;
        }
        let points = self.points();
        ensure(!points.is_empty(), "sweep: name at least one value")?;
        for point in points {
            let at = if point.case.is_empty() {
                String::new()
            } else {
                format!("case '{}': ", point.case)
            };
            let mut seen = std::collections::HashSet::new();
            let distinct = point.transports.iter().all(|transport| seen.insert(transport));
            ensure(!point.transports.is_empty(), &format!("{at}transports: name at least one"))?;
            ensure(distinct, &format!("{at}transports: one is named twice"))?;
            let table = format!("{at}workload.");
            point.workload.check().map_err(|value| ScenarioError::Value { table, value })?;
        }
        Ok(())
    }
}

impl Workload {
    /// Whether the server is stopped and started again.
    pub fn restarts(&self) -> bool {
        !self.restart.is_zero()
    }

    /// Time in which messages are published.
    pub fn publishing(&self) -> Duration {
        self.warm_up + self.duration + self.restart
    }

    /// Messages a publication fans out to: subscribers per topic.
    pub fn fan_out(&self) -> f64 {
        f64::from(self.subscribers) / f64::from(self.topics)
    }

    /// Checks that every value makes sense.
    ///
    /// # Errors
    /// Names the key and the value that is wrong and says what would be right.
    pub fn check(&self) -> Result<(), BadValue> {
        let ms = Duration::from_millis;
        let hour = ms(3_600_000);
        between("subscribers", self.subscribers, 1, 1_000_000)?;
        if !(1..=self.subscribers).contains(&self.topics) {
            let rule = "must be at least 1 and at most the number of subscribers".to_owned();
            return Err(BadValue { key: "topics", value: self.topics.to_string(), rule });
        }
        if !(self.rate > 0.0 && self.rate <= RATE_MAX) {
            let rule = "must be above 0 and at most 10,000 (messages per second and topic)";
            let (value, rule) = (self.rate.to_string(), rule.to_owned());
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
                "with {} topics and {} of publishing these are {publications:.0} messages, more \
                 than the {PUBLICATIONS_MAX:.0} that a cell plans",
                self.topics,
                show_duration(self.publishing())
            );
            return Err(BadValue { key: "rate", value: self.rate.to_string(), rule });
        }
        Ok(())
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Messages per second and topic.
const RATE_MAX: f64 = 10_000.0;
/// Publications of a cell: each of them is kept in memory.
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
