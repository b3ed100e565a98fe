//! The command line, one file per command.

mod advise;
mod capacity;
mod compare;
mod directory;
mod inspect;
mod load;
mod logging;
mod output;
mod predict;
mod progress;
mod report;
mod segment;
mod serve;
mod target_url;
mod token;
mod trace;
mod watch;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::run::Run;
use crate::text::causes;
use output::{EXIT_USAGE, UsageError};

/// Should I poll, long-poll or push? Measures one message feed over several transports.
///
/// Without a command, compares the transports under the default scenario and writes a report.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: compare::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(compare::Args),
    Serve(serve::Args),
    Load(load::Args),
    Inspect(inspect::Args),
    Trace(trace::Args),
    Token(token::Args),
    Report(report::Args),
    Predict(predict::Args),
    Advise(advise::Args),
    Capacity(capacity::Args),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(stopped) => return show(&stopped),
    };
    let result = match cli.command.unwrap_or(Command::Compare(cli.compare)) {
        Command::Compare(args) => compare::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Load(args) => load::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Token(args) => token::run(args),
        Command::Report(args) => report::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Advise(args) => advise::run(args),
        Command::Capacity(args) => capacity::run(args),
    };
    result.unwrap_or_else(|error| {
        output::note(format!("error: {}", causes(&error)));
        match error.is::<UsageError>() {
            true => ExitCode::from(EXIT_USAGE),
            false => ExitCode::FAILURE,
        }
    })
}

/// Prints the help, the version, or an error in the arguments; clap ignores failed writes.
fn show(stopped: &clap::Error) -> ExitCode {
    let printed = stopped.print().and_then(|()| io::stdout().flush());
    match output::written(printed) {
        Err(error) if !stopped.use_stderr() => {
            output::note(format!("error: {}", causes(&error)));
            ExitCode::FAILURE
        }
        _ => u8::try_from(stopped.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Completes at the first SIGINT or SIGTERM after this call. From this call on neither signal
/// terminates the process by itself, so later code must call this function as well.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The Tokio runtime of a server.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// The Tokio runtime of the load test, with half of the cores; the other half is the server's. An
/// additional thread would be woken for every message and use more CPU time than it saves.
fn load_runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Builder::new_multi_thread().worker_threads(cores.div_ceil(2)).enable_all().build()
}

/// Reads a whole run; `name` is the flag that names it, or empty.
fn read_run(name: &str, path: &Path) -> anyhow::Result<Run> {
    let run = read_part(name, path)?;
    match run.partial() {
        None => Ok(run),
        Some(segment) => Err(output::usage(format!(
            "{name} {}: is only segment {segment} of a run; merge all of them with `report`",
            path.display()
        ))),
    }
}

/// Reads a run or a segment of one.
fn read_part(name: &str, path: &Path) -> anyhow::Result<Run> {
    output::parse_file(name, path, |text| {
        Run::from_json(text).map_err(|error| causes(&error.into()))
    })
}
