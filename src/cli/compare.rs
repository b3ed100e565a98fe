//! `compare`, the default: measures every transport under one scenario and writes the report.

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use hyper::header::{HOST, HeaderMap, HeaderValue};

use super::directory::RunDirectory;
use super::progress::ProgressLine;
use super::watch::Watch;
use super::{EXIT_INTERRUPTED, EXIT_THRESHOLD, EXIT_VOID};
use crate::client::Dialer;
use crate::load::scenario::{Overrides, Scenario};
use crate::load::{Campaign, Progress, ServerSource};
use crate::report::baseline;
use crate::report::threshold::Threshold;
use crate::report::{self, Report, TableStyle};
use crate::run::Run;
#[cfg(feature = "tls")]
use crate::tls::Trust;
use crate::transport::{Extra, Variant};

/// What is measured if nothing else is asked for.
const DEFAULT_SCENARIO: &str = include_str!("../../load-tests/scenarios/default.toml");

/// Where `--watch` shows the run unless another address is named.
const WATCH: &str = "127.0.0.1:3030";

/// Measure the ways side by side and write a report (this is the default command)
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push
  poll-vs-push compare --rate 10 --rtt 100ms
  poll-vs-push compare --watch
  poll-vs-push compare --scenario load-tests/scenarios/default.toml --transports websocket
  poll-vs-push compare --target http://127.0.0.1:3030 --output /tmp/run
  poll-vs-push compare --fail-if 'websocket.latency.p99 > 80ms' --baseline old/run.json

Exit codes: 0 measured, 1 error, 2 bad usage, 3 the run is void, 4 a threshold was crossed,
130 interrupted or terminated. What was measured before an error or an interrupt is kept.")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Measure this running server, not a child process
    #[arg(long, value_name = "URL")]
    target: Option<String>,
}

/// What to measure and what to do with the result, whoever the server is.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Scenario to measure; without it the default one
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Transports to compare, or variants such as short-polling+gzip, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    transports: Option<Vec<Variant>>,
    /// How often each cell is measured
    #[arg(long, value_name = "N")]
    repeats: Option<u32>,
    /// Seed of schedule and poll phases
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    overrides: Overrides,
    /// Do not measure the machine's own time first: predictions are theory alone
    #[arg(long)]
    no_calibration: bool,
    /// Directory for the results; without it reports/TIME
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say what changed since this run, beyond noise
    #[arg(long, value_name = "RUN.JSON")]
    baseline: Option<PathBuf>,
    /// Exit with 4 if this holds, for instance 'websocket.latency.p99 > 80ms'; may be repeated
    #[arg(long, value_name = "CONDITION", value_parser = Threshold::parse)]
    fail_if: Vec<Threshold>,
    /// Print the results as JSON, and nothing else, on standard output
    #[arg(long)]
    json: bool,
    /// Show the run in a browser while it goes on, and its report afterwards, until Ctrl-C
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = WATCH)]
    watch: Option<SocketAddr>,
    /// Certificate that an https:// target shows, or that vouches for it, in PEM
    #[arg(long, value_name = "FILE", requires = "target", hide = cfg!(not(feature = "tls")))]
    ca: Option<PathBuf>,
}

/// Measures, writes down, and says how it went.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let source = match &args.target {
        Some(url) => ServerSource::Target { dialer: args.common.dialer(url)? },
        None => ServerSource::Child { program: std::env::current_exe()? },
    };
    let is_tls = source.is_tls();
    // Under TLS our server offers HTTP/1.1 only.
    args.common.measure(source, |variant| !(is_tls && variant.has(Extra::H2)))
}

impl Common {
    /// Measures the server of `source` by the ways that it `knows`; writes down, and says how it
    /// went.
    pub(super) fn measure(
        self,
        source: ServerSource,
        knows: impl Fn(Variant) -> bool,
    ) -> anyhow::Result<ExitCode> {
        let scenario = self.scenario(knows)?;
        let baseline = self.baseline.as_deref().map(super::read_run).transpose()?;
        let mut campaign = Campaign::new(scenario, source)?;
        if self.no_calibration {
            campaign = campaign.uncalibrated();
        }
        let directory = RunDirectory::create(self.output.as_deref())?;
        let runtime = super::load_runtime()?;
        let start = |listen| runtime.block_on(Watch::start(listen, directory.path()));
        let watch = self.watch.map(start).transpose()?;
        let run = runtime.block_on(measure(campaign, &directory, watch.as_ref()))?;
        if run.cells.is_empty() {
            bail!("nothing was measured: {}", run.stopped_early.unwrap_or_default());
        }
        report::write_all(&run, directory.path())?;
        directory.link_as_latest()?;
        let report = Report::new(&run);
        if self.json {
            println!("{}", report.json());
        } else {
            show(&report, directory.path());
        }
        if let Some(old) = &baseline {
            eprintln!("\n{}", baseline::compare(old, &run));
        }
        let verdict = verdict(&report, &self.fail_if);
        if let Some(watch) = watch.filter(|_| run.stopped_early.is_none()) {
            runtime.block_on(watch.linger(directory.path()))?;
        }
        Ok(verdict)
    }

    /// What reaches the host and port in `url`, whatever its path.
    pub(super) fn dialer(&self, url: &str) -> anyhow::Result<Dialer> {
        let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
        let dialer = match url.split_once("://") {
            Some(("http", _)) if self.ca.is_some() => bail!("--ca: for an https:// target only"),
            Some(("http", rest)) => reaching(&host(rest), 80),
            Some(("https", rest)) => self.tls_dialer(&host(rest)),
            _ => bail!("--target {url}: must begin with http:// or https://"),
        };
        dialer.with_context(|| format!("--target {url}"))
    }

    #[cfg(feature = "tls")]
    fn tls_dialer(&self, host: &str) -> anyhow::Result<Dialer> {
        let ca = self.ca.as_ref().context("needs --ca, the certificate to trust")?;
        let dialer = reaching(host, 443)?;
        let name = host.strip_suffix(&format!(":{}", dialer.address().port())).unwrap_or(host);
        let trust = Trust::new(ca, name.trim_matches(['[', ']']))?;
        Ok(dialer.with_trust(trust))
    }

    #[cfg(not(feature = "tls"))]
    fn tls_dialer(&self, _: &str) -> anyhow::Result<Dialer> {
        bail!(crate::NO_TLS)
    }

    fn scenario(&self, knows: impl Fn(Variant) -> bool) -> anyhow::Result<Scenario> {
        let mut scenario = match &self.scenario {
            None => Scenario::from_toml(DEFAULT_SCENARIO)?,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the scenario {}", path.display()))?;
                Scenario::from_toml(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        self.overrides.apply(&mut scenario.workload);
        for case in &mut scenario.cases {
            case.workload = case.workload.overridden_by(&self.overrides);
        }
        if let Some(transports) = &self.transports {
            if let Some(unknown) = transports.iter().find(|variant| !knows(**variant)) {
                bail!("--transports {unknown}: the server is not known to speak it");
            }
            scenario.transports = transports.clone();
        }
        scenario.keep_transports(knows);
        scenario.repeats = self.repeats.unwrap_or(scenario.repeats);
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.check()?;
        Ok(scenario)
    }
}

/// Runs the campaign; every finished cell is on disk before the next begins.
async fn measure(
    campaign: Campaign,
    directory: &RunDirectory,
    watch: Option<&Watch>,
) -> anyhow::Result<Run> {
    let line = ProgressLine::new(campaign.expected_duration());
    let interrupted = super::told_to_stop()?;
    let keep = |run: &Run| {
        if let Err(error) = directory.write_run(run) {
            eprintln!("warning: {error:#}");
        }
    };
    let tell = |progress: Progress<'_>| {
        if let Progress::Done(_, run) = progress {
            keep(run);
        }
        line.show(&progress);
        if let Some(watch) = watch {
            watch.tell(&progress);
        }
    };
    let run = campaign.measure(interrupted, &tell).await;
    line.finish();
    directory.write_run(&run)?;
    Ok(run)
}

/// What reaches `host`, which may name a port, and asks for it by that name.
fn reaching(host: &str, usual_port: u16) -> anyhow::Result<Dialer> {
    let name = HeaderValue::from_str(host).context("not the name of a host")?;
    let dialer = Dialer::new(address_of(host, usual_port)?);
    Ok(dialer.with_headers(&HeaderMap::from_iter([(HOST, name)])))
}

/// The address of `host`, which may name a port.
fn address_of(host: &str, usual_port: u16) -> anyhow::Result<SocketAddr> {
    let port_given = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    let host = if port_given { host.to_owned() } else { format!("{host}:{usual_port}") };
    let addresses = host.to_socket_addrs()?;
    // The loopback name often means ::1 first, where few servers listen.
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.first().copied().context("no such host")
}

fn show(report: &Report, directory: &Path) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = console::Term::stdout().size_checked().map(|(_, columns)| columns);
    println!("{}\n", report.summary_table(TableStyle { width, colour }));
    for sentence in report.answer().into_iter().chain(report.held()) {
        println!("{sentence}");
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("\nThe report: {}", directory.join("report.html").display());
}

fn verdict(report: &Report, thresholds: &[Threshold]) -> ExitCode {
    let mut crossed = false;
    for threshold in thresholds {
        let outcome = threshold.check(report);
        crossed |= outcome.failed;
        outcome.lines.iter().for_each(|line| eprintln!("{line}"));
    }
    let interrupted =
        report.run.stopped_early.as_deref().is_some_and(|why| why.ends_with("interrupted"));
    match &report.run.stopped_early {
        _ if interrupted => ExitCode::from(EXIT_INTERRUPTED),
        Some(why) => {
            eprintln!("error: {why}; what was measured before is kept");
            ExitCode::FAILURE
        }
        None if report.is_void() => ExitCode::from(EXIT_VOID),
        None if crossed => ExitCode::from(EXIT_THRESHOLD),
        None => ExitCode::SUCCESS,
    }
}
