//! `report`: generates the report of a run from its `run.json`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

/// Generate the report of a run again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push report reports/latest/run.json
  poll-vs-push report old/run.json --output /tmp/report")]
pub struct Args {
    /// The run's file
    #[arg(value_name = "RUN.JSON")]
    run: PathBuf,
    /// Directory for the report [default: that of RUN.JSON]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Reads a run and writes its report.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let run = super::read_run("", &args.run)?;
    let beside = || args.run.parent().unwrap_or(Path::new(".")).to_path_buf();
    let directory = args.output.unwrap_or_else(beside);
    let at = || format!("--output {}: cannot write the report", directory.display());
    std::fs::create_dir_all(&directory).with_context(at)?;
    crate::report::write_all(&run, &directory).with_context(at)?;
    super::output::print(&format!("The report: {}", directory.join("report.html").display()))?;
    Ok(ExitCode::SUCCESS)
}
