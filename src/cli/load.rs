//! `load`: measures a third-party server that a target file describes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::compare::Common;
use super::output::parse_file;
use crate::load::ServerSource;
use crate::load::target::Target;
use crate::units::whole_number;

/// Measure another server, described by a target file
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push load --target http://127.0.0.1:8080 --target-file load-tests/targets/nchan.toml
  poll-vs-push load --target http://127.0.0.1:8080 --target-file load-tests/targets/ws.toml \\
      --transports websocket --rate 10 --pid 4711

Scenarios, schedule, verification, report and exit codes are those of compare. The server's CPU time,
memory and request count are unknown and omitted; with --pid, CPU time and memory are read from
the system. docs/scenarios.md describes the format of target files.")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// URL of the server
    #[arg(long, value_name = "URL")]
    target: String,
    /// TOML file that describes the protocol of the server
    #[arg(long, value_name = "FILE")]
    target_file: PathBuf,
    /// Process id of the server on this machine, to measure CPU time and memory including children
    #[arg(long, value_name = "PID", value_parser = whole_number::<u32>)]
    pid: Option<u32>,
}

/// Measures the server and writes the results.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let target = parse_file("--target-file", &args.target_file, Target::from_toml)?;
    let known = target.transports();
    let dialer = args.common.dialer("--target", &args.target)?;
    let source = ServerSource::ThirdParty { dialer, target: Arc::new(target), pid: args.pid };
    args.common.measure(source, |variant| known.iter().any(|transport| variant == *transport))
}
