//! `capacity`: searches the largest load that a server carries with each transport.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::compare::{check_tls, dialer};
use super::directory::note_replaced;
use super::output::{EXIT_INTERRUPTED, note, parse_file, print, print_styled, usage};
use crate::capacity::{CapacityRun, LoadKind, Objective, Plan, SearchError, SearchEvent, Trial};
use crate::load::ServerSource;
use crate::load::target::Target;
use crate::report::TableStyle;
use crate::report::figures::Figure;
use crate::report::threshold::Condition;
use crate::scenario::{Link, Overrides, Scenario, Workload};
use crate::units::{Unit, as_given, count, number, show_duration, significant, whole_number};
use crate::variant::Variant;

/// The workload that is measured without `--scenario`.
const DEFAULT_SCENARIO: &str = include_str!("../../load-tests/scenarios/capacity.toml");

/// Search the largest number of subscribers, or messages per second, that a server carries
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push capacity
  poll-vs-push capacity --transports websocket,sse --slo 'latency.p99 < 200ms'
  poll-vs-push capacity --over rate --subscribers 1000 --topics 10
  poll-vs-push capacity --target http://192.0.2.7:3030 --most 50000

A server started by this command has one worker thread, so the result is what one core carries; see
--server-threads. The result is 'at least N' if something other than the server was the limit, such as
the load generator. Without --slo, the p99 latency may exceed theory by 50 ms.

Exit codes: 0 success, 1 error, 2 invalid usage, 130 interrupted or terminated.")]
pub struct Args {
    /// The load to increase
    #[arg(long, value_enum, default_value_t = LoadKind::Subscribers)]
    over: LoadKind,
    /// What must hold, for example 'latency.p99 < 200ms'
    #[arg(long, value_name = "CONDITION")]
    slo: Option<Condition>,
    /// Largest load to try [default: 100000 subscribers, or a rate of 10000]
    #[arg(long, value_name = "N", value_parser = number)]
    most: Option<f64>,
    /// How close the result must be, as a share
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = precision)]
    precision: f64,
    /// Worker threads of a server started by this command [default: 1]
    #[arg(long, value_name = "N", value_parser = threads)]
    server_threads: Option<u32>,
    /// Transports and workload [default: load-tests/scenarios/capacity.toml, built in]
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Transports to search, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    transports: Option<Vec<Variant>>,
    /// Seed of the schedules
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>)]
    seed: Option<u64>,
    #[command(flatten)]
    overrides: Overrides,
    /// Measure this running server instead of a child process
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// TOML file that describes the protocol of a third-party server
    #[arg(long, value_name = "FILE", requires = "target")]
    target_file: Option<PathBuf>,
    /// Process id of a third-party server on this machine, to measure its CPU time and memory
    #[arg(long, value_name = "PID", requires = "target_file", value_parser = whole_number::<u32>)]
    pid: Option<u32>,
    /// PEM file with the certificate of an https:// target, or of its certificate authority
    #[arg(long, value_name = "FILE", requires = "target", hide = cfg!(not(feature = "tls")))]
    ca: Option<PathBuf>,
    /// Directory for capacity.json and capacity.html; without it, nothing is written
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print only the results, as JSON, on standard output
    #[arg(long)]
    json: bool,
}

fn precision(text: &str) -> Result<f64, String> {
    let share = Unit::Share.parse(text)?;
    let is_valid = (0.01..=0.5).contains(&share);
    is_valid.then_some(share).ok_or_else(|| "must be between 1% and 50%".to_owned())
}

fn threads(text: &str) -> Result<u32, String> {
    count(text, 1, 1_024)
}

/// Searches, prints the result and writes it.
///
/// # Errors
/// If a flag or file is invalid, or the results cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    plan.check().map_err(usage)?;
    if let Some(directory) = &args.output {
        note_replaced(directory, &["capacity.json", "capacity.html"]);
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the directory {}", directory.display()))?;
    }
    let Some(found) = super::load_runtime()?.block_on(search(&plan))? else {
        note("interrupted before the search of a transport was complete");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    let missing: Vec<_> = plan.scenario.transports[found.results.len()..]
        .iter()
        .map(|variant| variant.label())
        .collect();
    let json = serde_json::to_string(&found)?;
    // The results are shown even if a file cannot be written.
    let shown = match args.json {
        true => print(&json),
        false => print_styled(&found.text(TableStyle::of_stdout())),
    };
    if let Some(directory) = &args.output {
        for (name, text) in [("capacity.json", json), ("capacity.html", found.html())] {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    shown?;
    if !missing.is_empty() {
        note(format!("interrupted; not searched: {}", missing.join(", ")));
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Searches until it is interrupted; `None` if no transport was complete then.
///
/// # Errors
/// If there is no server.
async fn search(plan: &Plan) -> anyhow::Result<Option<CapacityRun>> {
    let stop = CancellationToken::new();
    let interrupted = super::shutdown_signal()?;
    let cancel = stop.clone();
    let waiting = tokio::spawn(async move {
        interrupted.await;
        cancel.cancel();
    });
    let found = plan.search(&stop, &|event| note(progress(plan, &event))).await;
    waiting.abort();
    match found {
        Ok(found) => Ok(Some(found)),
        Err(SearchError::Interrupted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn progress(plan: &Plan, event: &SearchEvent<'_>) -> String {
    let over = plan.over;
    match event {
        SearchEvent::Started(variant) => format!("{}: searching", variant.label()),
        SearchEvent::Tried(variant, trial) => {
            let outcome = match &trial.failure {
                None => "held".to_owned(),
                Some((stop, detail)) => format!("failed, {}: {detail}", stop.label()),
            };
            let label = variant.label();
            format!("{label}: {}: {outcome}{}", over.count(trial.level), usage_of(plan, trial))
        }
        SearchEvent::Found(found) => {
            let stopped = found.stopped_by.label();
            format!("{}: {} (stopped by {stopped})", found.variant.label(), found.show(over))
        }
    }
}

/// The figure and the CPU use of a cell, as far as they are known.
fn usage_of(plan: &Plan, trial: &Trial) -> String {
    let figure: Option<&Figure> = match plan.objective {
        Objective::Condition(condition) => Some(condition.figure),
        Objective::NearTheory => Figure::named("latency.p99").ok(),
    };
    let value = figure.zip(trial.value);
    let value = value.map(|(figure, value)| format!("{} {}", figure.name, figure.unit.show(value)));
    let cores = |name: &str, used: Option<f64>| {
        used.map(|used| format!("{name} {} cores", significant(used)))
    };
    let parts = [
        value,
        cores("server", trial.server_cores),
        cores("load generator", trial.generator_cores),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let (source, known) = self.source()?;
        let mut scenario = match &self.scenario {
            None => Scenario::from_toml(DEFAULT_SCENARIO)?,
            Some(path) => parse_file("--scenario", path, Scenario::from_toml)?,
        };
        let varies = scenario.sweep.is_some() || scenario.ramp.is_some();
        if varies || !scenario.cases.is_empty() {
            let what = "one workload, without cases, sweep and ramp";
            return Err(usage(format!("--scenario: a search needs {what}")));
        }
        scenario.workload = self.overrides.applied_to(&scenario.workload);
        let Workload { restart, link, .. } = scenario.workload;
        if !restart.is_zero() {
            let given = show_duration(restart);
            return Err(usage(format!("--restart {given}: cannot be part of a search; omit it")));
        }
        if link == Link::Packets {
            return Err(usage("--link packets: cannot be part of a search; use in-process"));
        }
        if let Some(transports) = &self.transports {
            scenario.transports = transports.clone();
        }
        if let Some(known) = known {
            let is_known = |variant| known.iter().any(|transport| variant == *transport);
            if let Some(unknown) = self.transports.iter().flatten().find(|v| !is_known(**v)) {
                return Err(usage(format!("--transports {unknown}: not in the target file")));
            }
            scenario.keep_transports(is_known);
        }
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        let given = [("transports", self.transports.is_some())];
        scenario.check().map_err(|error| usage(self.overrides.explain(&error, &given)))?;
        let most = self.most.unwrap_or(match self.over {
            LoadKind::Subscribers => 100_000.0,
            LoadKind::Rate => 10_000.0,
        });
        let whole = match self.over {
            LoadKind::Subscribers => most.fract() == 0.0 && (1.0..=1e6).contains(&most),
            LoadKind::Rate => most > 0.0 && most <= 10_000.0,
        };
        if !whole {
            let given = as_given(most);
            return Err(usage(match self.over {
                LoadKind::Subscribers => {
                    format!("--most {given}: must be a whole number between 1 and 1,000,000")
                }
                LoadKind::Rate => format!("--most {given}: must be above 0 and at most 10,000"),
            }));
        }
        let objective = self.slo.map_or(Objective::NearTheory, Objective::Condition);
        check_tls(&scenario, &source)?;
        let (over, precision) = (self.over, self.precision);
        Ok(Plan { scenario, source, over, objective, most, precision })
    }

    /// The server, and its transports if it does not offer all.
    fn source(&self) -> anyhow::Result<(ServerSource, Option<Vec<crate::variant::Transport>>)> {
        let Some(url) = &self.target else {
            let program = std::env::current_exe()?;
            let worker_threads = Some(self.server_threads.unwrap_or(1));
            return Ok((ServerSource::Child { program, worker_threads }, None));
        };
        if let Some(given) = self.server_threads {
            let text = "only a server started by this command has it; leave out --target";
            return Err(usage(format!("--server-threads {given}: {text}")));
        }
        let dialer = dialer("--target", url, self.ca.as_deref())?;
        let Some(path) = &self.target_file else {
            return Ok((ServerSource::Target { dialer, behind: Vec::new() }, None));
        };
        let target = parse_file("--target-file", path, Target::from_toml)?;
        let known = target.transports();
        let source = ServerSource::ThirdParty { dialer, target: Arc::new(target), pid: self.pid };
        Ok((source, Some(known)))
    }
}
