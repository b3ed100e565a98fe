//! `load`: measures a server that is not ours, as a target file describes it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::compare::Common;
use super::output::usage;
use crate::load::ServerSource;
use crate::load::target::Target;

/// Measure a server of another make, described by a target file
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push load --target http://127.0.0.1:8080 --target-file load-tests/targets/nchan.toml
  poll-vs-push load --target http://127.0.0.1:8080 --target-file load-tests/targets/ws.toml \\
      --transports websocket --rate 10 --pid 4711

Scenarios, schedule, checks and report are those of compare. What such a server cannot tell, its
CPU time and its count of requests, is left out; with --pid the CPU time and the memory are those
that the system shows. docs/scenarios.md says what a target file holds.
Exit codes are those of compare.")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Where the server listens
    #[arg(long, value_name = "URL")]
    target: String,
    /// How to talk to it
    #[arg(long, value_name = "FILE")]
    target_file: PathBuf,
    /// Its process on this machine: CPU time and memory are that process's and its children's
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// Measures, writes down, and says how it went.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = &args.target_file;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the target file {}", path.display()))?;
    let wrong = |error| usage(format!("--target-file {}: {error}", path.display()));
    let target = Target::from_toml(&text).map_err(wrong)?;
    let known = target.transports();
    let dialer = args.common.dialer(&args.target)?;
    let source = ServerSource::Foreign { dialer, target: Arc::new(target), pid: args.pid };
    args.common.measure(source, |variant| known.iter().any(|transport| variant == *transport))
}
