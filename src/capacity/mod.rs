//! How many subscribers, or messages per second, a server carries: the largest load at which an
//! objective holds, for each transport, and what stops a larger one.
//!
//! [`Plan::search`] measures short cells of the load test, first with twice the load each time,
//! then between the last load that held and the first that failed. A load counts as held or failed
//! once two cells agree.

mod document;
mod search;
mod trial;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::load::ServerSource;
use crate::report::figures::{Expected, LATENCY_P99};
use crate::report::threshold::Condition;
use crate::run::{Machine, ReadError, Tool};
use crate::scenario::{BadValue, RATES, Scenario, Workload};
use crate::theory::{NetworkPath, ProcessingTime};
use crate::units::{Unit, show_duration, significant, thousands};
use crate::variant::Variant;

pub use search::Range;
pub use trial::{SearchError, Trial};

/// Version of the format of `capacity.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// How far the p99 latency may exceed the one that theory predicts for an unloaded server, seconds,
/// if no objective is given.
pub const EXCESS_S: f64 = 0.05;

/// The kind of load that a search increases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LoadKind {
    /// The number of subscribers; the number of topics stays, so each message reaches more of them
    Subscribers,
    /// Messages per second and topic
    Rate,
}

impl LoadKind {
    /// The level of `workload`.
    pub fn of(self, workload: &Workload) -> f64 {
        match self {
            LoadKind::Subscribers => f64::from(workload.subscribers),
            LoadKind::Rate => workload.rate,
        }
    }

    /// `workload` at `level`. With fewer subscribers than topics, there are fewer topics.
    pub fn at(self, level: f64, workload: &Workload) -> Workload {
        let mut workload = workload.clone();
        match self {
            LoadKind::Subscribers => {
                workload.subscribers = level as u32;
                workload.topics = workload.topics.min(workload.subscribers);
            }
            LoadKind::Rate => workload.rate = level,
        }
        workload
    }

    /// The levels that can be tried, up to `most`.
    pub fn range(self, start: f64, most: f64, precision: f64) -> Range {
        let (least, is_whole) = match self {
            LoadKind::Subscribers => (1.0, true),
            LoadKind::Rate => (*RATES.start(), false),
        };
        Range { start, least, most, precision, is_whole }
    }

    /// What a level counts.
    pub fn label(self) -> &'static str {
        match self {
            LoadKind::Subscribers => "subscribers",
            LoadKind::Rate => "messages per second and topic",
        }
    }

    /// A level with what it counts: `1 subscriber`.
    pub fn count(self, level: f64) -> String {
        match self {
            LoadKind::Subscribers if level == 1.0 => "1 subscriber".to_owned(),
            _ => format!("{} {}", self.show(level), self.label()),
        }
    }

    /// A level as text.
    pub fn show(self, level: f64) -> String {
        match self {
            LoadKind::Subscribers => thousands(level as i64),
            LoadKind::Rate => significant(level),
        }
    }
}

/// The objective.
#[derive(Debug, Clone, Copy)]
pub enum Objective {
    /// The p99 latency is at most [`EXCESS_S`] above theory.
    NearTheory,
    Condition(Condition),
}

impl Objective {
    /// The condition for `variant` under `workload` over `network`; `None` if theory has no closed
    /// form for it.
    pub fn condition(
        &self,
        variant: Variant,
        workload: &Workload,
        network: &NetworkPath,
    ) -> Option<Condition> {
        match self {
            Objective::Condition(condition) => Some(*condition),
            Objective::NearTheory => {
                let own = ProcessingTime::default();
                let expected = Expected::of(variant, workload, &own, network, false)?;
                let theory_s = LATENCY_P99.predicted(&expected)?;
                Some(Condition::at_most(&LATENCY_P99, theory_s + EXCESS_S))
            }
        }
    }
}

/// What stopped a larger load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoppedBy {
    /// The objective did not hold, although the server had CPU time left.
    Objective,
    /// The server used all of its cores.
    ServerCpu,
    /// Deliveries were lost or wrong.
    LostMessages,
    /// The cell failed: the server refused, or did not keep up.
    Failure,
    /// Memory of the machine.
    Memory,
    /// A limit of the operating system on file descriptors or ports.
    SystemLimit,
    LoadGenerator,
    /// Other processes on the machine, in every cell of a level.
    OtherProcesses,
    /// The largest load that the search may try.
    Largest,
}

impl StoppedBy {
    /// True if the server was not the limit, so that it may carry more than was found.
    pub fn is_of_generator(self) -> bool {
        match self {
            StoppedBy::Objective
            | StoppedBy::ServerCpu
            | StoppedBy::LostMessages
            | StoppedBy::Failure => false,
            StoppedBy::Memory
            | StoppedBy::SystemLimit
            | StoppedBy::LoadGenerator
            | StoppedBy::OtherProcesses
            | StoppedBy::Largest => true,
        }
    }

    /// As in `stopped by ...`.
    pub fn label(self) -> &'static str {
        match self {
            StoppedBy::Objective => "the objective",
            StoppedBy::ServerCpu => "the server's CPU",
            StoppedBy::LostMessages => "lost messages",
            StoppedBy::Failure => "a failure",
            StoppedBy::Memory => "memory",
            StoppedBy::SystemLimit => "a limit of the system",
            StoppedBy::LoadGenerator => "the load generator",
            StoppedBy::OtherProcesses => "other processes",
            StoppedBy::Largest => "the end of the search",
        }
    }
}

/// The result for one variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Capacity {
    #[serde(rename = "transport")]
    pub variant: Variant,
    /// The objective, as text.
    pub objective: String,
    /// The objective's limit, in the base unit of its figure.
    pub limit: f64,
    /// The largest level that held; `None` if even the least did not.
    pub largest: Option<f64>,
    /// The smallest level that did not hold; `None` if the largest that may be tried did.
    pub smallest_failed: Option<f64>,
    pub stopped_by: StoppedBy,
    /// The observation at the smallest level that failed.
    pub detail: String,
    /// All cells, in the order of measurement.
    pub trials: Vec<Trial>,
}

impl Capacity {
    /// `at least 1,600` if the server was not the limit.
    pub fn show(&self, over: LoadKind) -> String {
        match self.largest {
            None => "none".to_owned(),
            Some(level) if self.stopped_by.is_of_generator() => {
                format!("at least {}", over.show(level))
            }
            Some(level) => over.show(level),
        }
    }
}

/// The results of a search, `capacity.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CapacityRun {
    pub schema: u32,
    pub tool: Tool,
    pub machine: Machine,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// The version that the server reports.
    pub server: String,
    /// The server's cores; `None` for a server that this program did not start.
    pub server_cores: Option<u32>,
    pub over: LoadKind,
    /// The name of the figure that the objective limits.
    pub figure: String,
    /// The workload; the search replaces its subscribers or its rate.
    pub workload: Workload,
    pub precision: f64,
    pub seed: u64,
    pub results: Vec<Capacity>,
}

impl CapacityRun {
    /// Parses a `capacity.json`.
    ///
    /// # Errors
    /// If the text is invalid or its schema has another version.
    pub fn from_json(text: &str) -> Result<CapacityRun, ReadError> {
        crate::run::read(text, "capacity.json", SCHEMA_VERSION)
    }
}

/// What to search, and how.
#[derive(Debug)]
pub struct Plan {
    /// Transports, workload and seed; without cases and sweep.
    pub scenario: Scenario,
    pub source: ServerSource,
    pub over: LoadKind,
    pub objective: Objective,
    /// The largest level to try.
    pub most: f64,
    pub precision: f64,
}

/// What happened in a search.
#[derive(Debug)]
pub enum SearchEvent<'a> {
    Started(Variant),
    Tried(Variant, &'a Trial),
    Found(&'a Capacity),
}

impl Plan {
    /// Checks that each transport can be searched.
    ///
    /// # Errors
    /// Names the value that is out of range, or the transport that needs an objective.
    pub fn check(&self) -> Result<(), PlanError> {
        let workload = &self.scenario.workload;
        self.over.at(self.most, workload).check().map_err(PlanError::Most)?;
        let network = NetworkPath::default();
        let is_unknown =
            |variant: &&Variant| self.objective.condition(**variant, workload, &network).is_none();
        match self.scenario.transports.iter().find(is_unknown) {
            Some(variant) => Err(PlanError::NoTheory(*variant)),
            None => Ok(()),
        }
    }

    /// Searches all transports, one after the other. If `stop` is cancelled, the result contains
    /// the transports whose search was complete.
    ///
    /// # Errors
    /// If there is no server, or none was complete when it was interrupted.
    pub async fn search(
        &self,
        stop: &CancellationToken,
        on_event: &(dyn Fn(SearchEvent<'_>) + Sync),
    ) -> Result<CapacityRun, SearchError> {
        let started_at = Timestamp::now();
        let mut server = String::new();
        let mut results = Vec::new();
        for variant in &self.scenario.transports {
            on_event(SearchEvent::Started(*variant));
            let found = self.search_one(*variant, stop, &mut server, on_event).await;
            if matches!(found, Err(SearchError::Interrupted)) && !results.is_empty() {
                break;
            }
            let capacity = found?;
            on_event(SearchEvent::Found(&capacity));
            results.push(capacity);
        }
        Ok(CapacityRun {
            schema: SCHEMA_VERSION,
            tool: crate::load::tool(),
            machine: crate::load::machine(),
            started_at,
            finished_at: Timestamp::now(),
            server,
            server_cores: self.server_cores(),
            over: self.over,
            figure: self.figure().to_owned(),
            workload: self.scenario.workload.clone(),
            precision: self.precision,
            seed: self.scenario.seed,
            results,
        })
    }

    async fn search_one(
        &self,
        variant: Variant,
        stop: &CancellationToken,
        server: &mut String,
        on_event: &(dyn Fn(SearchEvent<'_>) + Sync),
    ) -> Result<Capacity, SearchError> {
        let workload = &self.scenario.workload;
        let start = self.over.of(workload);
        let range = self.over.range(start, self.most, self.precision);
        let mut trials: Vec<Trial> = Vec::new();
        let mut largest = None;
        let attempt = async |level: f64| {
            let first = trials.len();
            let verdict = loop {
                if let Some(verdict) = trial::verdict(&trials[first..]) {
                    break verdict;
                }
                let number = trials.len() - first;
                let trial = self.measure(variant, level, number, &trials, stop, server).await?;
                on_event(SearchEvent::Tried(variant, &trial));
                trials.push(trial);
            };
            match verdict {
                Ok(()) => largest = Some(largest.map_or(level, |held: f64| held.max(level))),
                // A smaller load would not help.
                Err((StoppedBy::OtherProcesses, detail)) => {
                    return Err(Ended::Disturbed(level, detail));
                }
                Err(_) => {}
            }
            Ok(verdict)
        };
        let (smallest_failed, (stopped_by, detail)) = match search::search(&range, attempt).await {
            Ok(search::Bracket { fails: Some((level, reason)), .. }) => (Some(level), reason),
            Ok(_) => (None, (StoppedBy::Largest, format!("{} held", self.over.show(self.most)))),
            Err(Ended::Disturbed(level, detail)) => {
                (Some(level), (StoppedBy::OtherProcesses, detail))
            }
            Err(Ended::Error(error)) => return Err(error),
        };
        let network = trials.iter().rev().find_map(|trial| trial.network).unwrap_or_default();
        let condition = self.objective.condition(variant, workload, &network);
        let condition = condition.expect("checked before");
        Ok(Capacity {
            variant,
            objective: condition.to_string(),
            limit: condition.limit(),
            largest,
            smallest_failed,
            stopped_by,
            detail,
            trials,
        })
    }

    fn server_cores(&self) -> Option<u32> {
        match self.source {
            ServerSource::Child { worker_threads, .. } => worker_threads,
            _ => None,
        }
    }

    fn figure(&self) -> &'static str {
        match self.objective {
            Objective::NearTheory => LATENCY_P99.name,
            Objective::Condition(condition) => condition.figure.name,
        }
    }
}

/// Why the search of a variant ended early.
enum Ended {
    Error(SearchError),
    /// Other processes disturbed this level.
    Disturbed(f64, String),
}

impl From<SearchError> for Ended {
    fn from(error: SearchError) -> Ended {
        Ended::Error(error)
    }
}

/// Why a search cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("--most {}: {}", .0.value, .0.rule)]
    Most(BadValue),
    #[error("theory predicts no p99 latency for {0}; give an objective with --slo")]
    NoTheory(Variant),
}

/// The workload in one line.
fn described(workload: &Workload, over: LoadKind) -> String {
    let Workload { topics, message_bytes, rtt, poll_interval, .. } = workload;
    let fixed = match over {
        LoadKind::Subscribers => {
            format!("{} per second in each topic", Unit::Count.show(workload.rate))
        }
        LoadKind::Rate => format!("{} subscribers", thousands(workload.subscribers.into())),
    };
    format!(
        "{topics} topics, {fixed}, messages of {message_bytes} bytes, a round trip of {}, a poll \
         every {}.",
        show_duration(*rtt),
        show_duration(*poll_interval)
    )
}
