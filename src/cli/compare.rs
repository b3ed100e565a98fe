//! `compare`, the default command: measures the transports of a scenario and writes the report.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::directory::{RUN_FILES, RunDirectory, note_replaced};
use super::output::{
    EXIT_INTERRUPTED, EXIT_THRESHOLD, EXIT_VOID, note, parse_file, print, print_styled, usage,
};
use super::progress::ProgressLine;
use super::segment::{self, SegmentArgs};
use super::target_url::TargetUrl;
use super::watch::Watch;
use crate::client::Dialer;
use crate::load::{LoadTest, Progress, ServerSource};
use crate::packet_link;
use crate::report::baseline;
use crate::report::threshold::{FigureReference, Threshold};
use crate::report::{self, Report, TableStyle};
use crate::run::{Run, StopReason};
use crate::scenario::{Link, Overrides, Scenario};
use crate::text::{causes, without_secrets};
#[cfg(feature = "tls")]
use crate::tls::Trust;
use crate::units::{show_duration, whole_number};
use crate::variant::{Extra, Variant};

/// The scenario that is measured without `--scenario`.
const DEFAULT_SCENARIO: &str = include_str!("../../load-tests/scenarios/default.toml");

/// Default address of `--watch`.
const WATCH_ADDRESS: &str = "127.0.0.1:3030";

/// Measure transports under one scenario and write a report (the default command)
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push
  poll-vs-push compare --rate 10 --rtt 100ms
  poll-vs-push compare --watch
  poll-vs-push compare --scenario load-tests/scenarios/default.toml --transports websocket
  poll-vs-push compare --target http://127.0.0.1:3030 --output /tmp/run
  poll-vs-push compare --target http://192.0.2.7:3030 --segment 2/4 --start-at 2026-05-01T12:00:00Z
  poll-vs-push compare --fail-if 'websocket.latency.p99 > 80ms' --baseline old/run.json

Exit codes: 0 success, 1 error, 2 invalid usage, 3 the run is void, 4 a --fail-if condition was true,
130 interrupted or terminated. Results measured before an error or an interrupt are kept. A failed cell
does not end the run, but the exit code is 1.")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Measure this running server instead of a child process
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// The servers behind the load balancer of --target, separated by commas: their counters are
    /// added up
    #[arg(long, value_name = "URLS", value_delimiter = ',', requires = "target")]
    servers: Vec<String>,
}

/// Flags common to `compare` and `load`: what to measure, and what to do with the results.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Scenario to measure [default: load-tests/scenarios/default.toml, built in]
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Transports to compare, or variants such as short-polling+new-connection or websocket+tls
    /// (docs/variants.md), separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    transports: Option<Vec<Variant>>,
    /// Number of times each cell is measured
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    repeats: Option<u32>,
    /// Seed of the schedule and the polling phases
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>)]
    seed: Option<u64>,
    #[command(flatten)]
    overrides: Overrides,
    /// Skip measuring the machine's processing time; predictions are then theory alone
    #[arg(long)]
    no_calibration: bool,
    /// Directory for the results [default: reports/TIME]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Report the differences from this run that exceed noise
    #[arg(long, value_name = "RUN.JSON")]
    baseline: Option<PathBuf>,
    /// Exit with 4 if this is true, for example 'websocket.latency.p99 > 80ms'; repeatable
    #[arg(long, value_name = "CONDITION", value_parser = Threshold::parse)]
    fail_if: Vec<Threshold>,
    /// Print only the results, as JSON, on standard output
    #[arg(long)]
    json: bool,
    /// Serve a page with the progress of the run, and its report afterwards, until Ctrl-C
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = WATCH_ADDRESS)]
    watch: Option<SocketAddr>,
    /// PEM file with the certificate of an https:// target, or of its certificate authority
    #[arg(long, value_name = "FILE", requires = "target", hide = cfg!(not(feature = "tls")))]
    ca: Option<PathBuf>,
    #[command(flatten)]
    segment: SegmentArgs,
}

/// Measures the transports and writes the results.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let source = match &args.target {
        Some(url) => {
            let dialer = args.common.dialer("--target", url)?;
            let behind = args.servers.iter().map(|url| args.common.dialer("--servers", url));
            let behind: Vec<_> = behind.collect::<Result<_, _>>()?;
            check_each_once(&args.servers)?;
            ServerSource::Target { dialer, behind }
        }
        None => ServerSource::Child { program: std::env::current_exe()?, worker_threads: None },
    };
    let is_tls = source.is_tls();
    // Under TLS our server offers HTTP/1.1 only.
    args.common.measure(source, |variant| !(is_tls && variant.has(Extra::H2)))
}

/// Rejects a server that is given twice: its counters would be added twice.
fn check_each_once(servers: &[String]) -> anyhow::Result<()> {
    let plain = |url: &String| url.trim_end_matches('/').to_ascii_lowercase();
    for (index, url) in servers.iter().enumerate() {
        if servers[..index].iter().any(|other| plain(other) == plain(url)) {
            return Err(usage(format!("--servers {url}: it is given twice")));
        }
    }
    Ok(())
}

impl Common {
    /// Measures the server of `source` over the variants that it `supports`, writes the results and
    /// returns the exit code. All flags and files are checked before the measurement.
    pub(super) fn measure(
        self,
        source: ServerSource,
        supports: impl Fn(Variant) -> bool,
    ) -> anyhow::Result<ExitCode> {
        let scenario = self.scenario(supports)?;
        self.check_restart(&scenario, &source)?;
        self.check_link(&scenario, &source)?;
        check_tls(&scenario, &source)?;
        self.check_thresholds(&scenario)?;
        let baseline = self.baseline.as_deref().map(|path| super::read_run("--baseline", path));
        let baseline = baseline.transpose()?;
        if let (Some(old), Some(path)) = (&baseline, &self.baseline) {
            baseline::check_comparable(old, &scenario)
                .map_err(|reason| usage(format!("--baseline {}: {reason}", path.display())))?;
        }
        let segment = self.segment.start(&scenario)?;
        let mut load_test = LoadTest::of_segment(scenario, source, segment)?;
        if self.no_calibration {
            load_test = load_test.uncalibrated();
        }
        // Opened before the process enters the namespace, which cannot be reached from outside.
        let watched = self.watch.map(Watch::listen).transpose()?;
        if load_test.uses_packet_link() {
            packet_link::enter()?;
        }
        if let Some(output) = &self.output {
            note_replaced(output, RUN_FILES);
        }
        let directory = RunDirectory::create(self.output.as_deref())?;
        let runtime = super::load_runtime()?;
        let start = |listener| runtime.block_on(Watch::start(listener, directory.path()));
        let watch = watched.map(start).transpose()?;
        let run = runtime.block_on(measure(load_test, &directory, watch.as_ref()))?;
        if run.cells.is_empty() {
            return nothing_measured(&run);
        }
        if let Some(segment) = run.partial() {
            directory.write_run(&run)?;
            segment::show(&run, segment, directory.path())?;
            return Ok(early_end(&run).unwrap_or_else(|| segment::verdict(&run)));
        }
        let report = Report::new(&run);
        // The results are shown even if a file cannot be written.
        let written = [
            directory.write_run(&run),
            report::write_all(&run, directory.path(), None).with_context(|| {
                format!("cannot write the report to {}", directory.path().display())
            }),
            if self.json {
                print(&report.json().to_string())
            } else {
                show(&report, directory.path())
            },
        ];
        if let Err(error) = directory.link_as_latest() {
            note(format!("warning: {}", causes(&error)));
        }
        if let Some(old) = &baseline {
            note(format!("\n{}", baseline::compare(old, &run)));
        }
        let verdict = verdict(&report, &self.fail_if);
        if let Some(watch) = watch.filter(|_| run.stopped_early.is_none()) {
            runtime.block_on(watch.serve_until_interrupted(directory.path()))?;
        }
        written.into_iter().collect::<anyhow::Result<()>>()?;
        Ok(verdict)
    }

    /// Rejects `--restart` for a server that this program did not start.
    fn check_restart(&self, scenario: &Scenario, source: &ServerSource) -> anyhow::Result<()> {
        let restarting = scenario.points().into_iter().find(|point| point.workload.restarts());
        match restarting {
            Some(point) if !matches!(source, ServerSource::Child { .. }) => {
                let given = show_duration(point.workload.restart);
                Err(usage(format!(
                    "--restart {given}: only a server started by this program can be restarted; \
                     omit --target, or use --restart 0s"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A packet link leads to a server in the same network namespace.
    fn check_link(&self, scenario: &Scenario, source: &ServerSource) -> anyhow::Result<()> {
        let has_packets =
            scenario.points().iter().any(|point| point.workload.link == Link::Packets);
        if has_packets && !matches!(source, ServerSource::Child { .. }) {
            return Err(usage(
                "--link packets: it leads to a server that this program starts; leave out --target, \
                 or use --link in-process",
            ));
        }
        Ok(())
    }

    /// Rejects a `--fail-if` with a figure that the run does not measure.
    fn check_thresholds(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let points = scenario.points();
        for threshold in &self.fail_if {
            let FigureReference { variant, figure } = threshold.reference();
            let mut here =
                points.iter().filter(|point| point.transports.contains(&variant)).peekable();
            if here.peek().is_none() {
                let known: BTreeSet<String> = points
                    .iter()
                    .flat_map(|point| point.transports.iter().map(ToString::to_string))
                    .collect();
                let known: Vec<String> = known.into_iter().collect();
                return Err(usage(format!(
                    "--fail-if '{threshold}': this run does not measure {variant}, only {}; add it with \
                     --transports",
                    known.join(", ")
                )));
            }
            if figure.section() == "recovery" && !here.any(|point| point.workload.restarts()) {
                return Err(usage(format!(
                    "--fail-if '{threshold}': only a run with --restart measures {}",
                    figure.name
                )));
            }
        }
        Ok(())
    }

    /// A dialer for the server at `url`, the value of `flag`.
    pub(super) fn dialer(&self, flag: &str, url: &str) -> anyhow::Result<Dialer> {
        dialer(flag, url, self.ca.as_deref())
    }

    fn scenario(&self, supports: impl Fn(Variant) -> bool) -> anyhow::Result<Scenario> {
        let mut scenario = match &self.scenario {
            None => Scenario::from_toml(DEFAULT_SCENARIO)?,
            Some(path) => parse_file("--scenario", path, Scenario::from_toml)?,
        };
        scenario.workload = self.overrides.applied_to(&scenario.workload);
        for case in &mut scenario.cases {
            case.workload = case.workload.overridden_by(&self.overrides);
        }
        if let Some(transports) = &self.transports {
            if let Some(unknown) = transports.iter().find(|variant| !supports(**variant)) {
                return Err(usage(format!(
                    "--transports {unknown}: not supported by this server or its target file"
                )));
            }
            scenario.transports = transports.clone();
        }
        scenario.keep_transports(supports);
        scenario.repeats = self.repeats.unwrap_or(scenario.repeats);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        let given =
            [("repeats", self.repeats.is_some()), ("transports", self.transports.is_some())];
        scenario.check().map_err(|error| usage(self.overrides.explain(&error, &given)))?;
        Ok(scenario)
    }
}

/// Rejects variants with TLS if there is none, or if the URL of the server selects it.
pub(super) fn check_tls(scenario: &Scenario, source: &ServerSource) -> anyhow::Result<()> {
    let points = scenario.points();
    let mut variants = points.iter().flat_map(|point| &point.transports);
    let Some(variant) = variants.find(|variant| variant.has(Extra::Tls)) else { return Ok(()) };
    check_tls_variant(*variant, source)
}

#[cfg(feature = "tls")]
fn check_tls_variant(variant: Variant, source: &ServerSource) -> anyhow::Result<()> {
    match source {
        ServerSource::Child { .. } => Ok(()),
        _ => Err(usage(format!(
            "--transports {variant}: the URL of --target selects TLS; use https://, and leave out \
             +tls and +resumed"
        ))),
    }
}

#[cfg(not(feature = "tls"))]
fn check_tls_variant(variant: Variant, _: &ServerSource) -> anyhow::Result<()> {
    Err(usage(format!("--transports {variant}: {}", crate::NO_TLS)))
}

/// A dialer for the server at `url`, the value of `flag`, whose certificate is verified with `ca`.
pub(super) fn dialer(flag: &str, url: &str, ca: Option<&Path>) -> anyhow::Result<Dialer> {
    let shown = without_secrets(url);
    let wrong = |error: anyhow::Error| usage(format!("{flag} {shown}: {}", causes(&error)));
    let target = TargetUrl::parse(url).map_err(wrong)?;
    if !target.is_https && ca.is_some() {
        return Err(usage("--ca: requires an https:// target"));
    }
    match target.is_https {
        true => tls_dialer(&target, ca),
        false => target.dialer(),
    }
    .with_context(|| format!("{flag} {shown}"))
}

#[cfg(feature = "tls")]
fn tls_dialer(target: &TargetUrl, ca: Option<&Path>) -> anyhow::Result<Dialer> {
    let ca =
        ca.ok_or_else(|| usage("an https:// target requires --ca, the certificate to trust"))?;
    let trust = Trust::new(ca, &target.name);
    let trust = trust.map_err(|error| usage(format!("--ca: {}", causes(&error.into()))))?;
    Ok(target.dialer()?.with_trust(trust))
}

#[cfg(not(feature = "tls"))]
fn tls_dialer(_: &TargetUrl, _: Option<&Path>) -> anyhow::Result<Dialer> {
    Err(usage(crate::NO_TLS))
}

/// Reports why the run has no results.
fn nothing_measured(run: &Run) -> anyhow::Result<ExitCode> {
    let why = run.stopped_early.as_ref();
    if why.is_some_and(|why| why.reason == StopReason::Interrupted) {
        note("interrupted before the first cell was complete; there are no results");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let failed = run.failed.first().map(|failed| failed.error.as_str());
    let why = why.map(|why| why.text.as_str());
    let reasons: Vec<&str> = why.into_iter().chain(failed).collect();
    bail!("nothing was measured: {}", reasons.join(": "))
}

/// Runs the load test and writes each finished cell to disk before the next one starts.
async fn measure(
    load_test: LoadTest,
    directory: &RunDirectory,
    watch: Option<&Watch>,
) -> anyhow::Result<Run> {
    let line = ProgressLine::new(load_test.expected_duration());
    let interrupted = super::shutdown_signal()?;
    let write = |run: &Run| {
        if let Err(error) = directory.write_run(run) {
            note(format!("warning: {}", causes(&error)));
        }
    };
    let on_progress = |progress: Progress<'_>| {
        if let Progress::Done(_, run) | Progress::Failed(_, run) = progress {
            write(run);
        }
        line.show(&progress);
        if let Some(watch) = watch {
            watch.publish(&progress);
        }
    };
    let run = load_test.measure(interrupted, &on_progress).await;
    line.finish();
    Ok(run)
}

fn show(report: &Report, directory: &Path) -> anyhow::Result<()> {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = TableStyle { colour, ..TableStyle::of_stdout() };
    print_styled(&report.text(style))?;
    print(&format!("\nThe report: {}", directory.join("report.html").display()))
}

fn verdict(report: &Report, thresholds: &[Threshold]) -> ExitCode {
    let mut crossed = false;
    for threshold in thresholds {
        let outcome = threshold.check(report);
        crossed |= outcome.failed;
        outcome.lines.iter().for_each(note);
    }
    match early_end(report.run) {
        Some(code) => code,
        None if report.is_void() => ExitCode::from(EXIT_VOID),
        None if crossed => ExitCode::from(EXIT_THRESHOLD),
        None => ExitCode::SUCCESS,
    }
}

/// The exit code of a run that lacks some of its cells.
fn early_end(run: &Run) -> Option<ExitCode> {
    match &run.stopped_early {
        Some(why) if why.reason == StopReason::Interrupted => {
            Some(ExitCode::from(EXIT_INTERRUPTED))
        }
        Some(why) => {
            note(format!("error: {}; earlier results are kept", why.text));
            Some(ExitCode::FAILURE)
        }
        None if !run.failed.is_empty() => {
            let (failed, all) = (run.failed.len(), run.failed.len() + run.cells.len());
            note(format!("error: {failed} of {all} cells failed; the others are kept"));
            Some(ExitCode::FAILURE)
        }
        None => None,
    }
}
