//! `report`: generates the report of a run from its `run.json`, or merges segments of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::directory::{RUN_FILES, RunDirectory, note_replaced};
use super::output::{parse_file, print, usage};
use crate::capacity::CapacityRun;
use crate::run::{Run, merge};
use crate::text::causes;

/// Generate the report of a run again, or merge the segments of a run
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push report reports/latest/run.json
  poll-vs-push report old/run.json --output /tmp/report
  poll-vs-push report run.json --capacity capacity.json
  poll-vs-push report a/run.json b/run.json c/run.json --output merged")]
pub struct Args {
    /// The run's file, or those of all its segments (compare --segment)
    #[arg(value_name = "RUN.JSON", required = true)]
    runs: Vec<PathBuf>,
    /// Directory for the report [default: that of RUN.JSON; required if segments are merged]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Results of a search (capacity --output), which become a section of the report
    #[arg(long, value_name = "CAPACITY.JSON")]
    capacity: Option<PathBuf>,
}

/// Reads the runs and writes the report.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| -> anyhow::Result<(String, Run)> {
        Ok((path.display().to_string(), super::read_part("", path)?))
    };
    let runs: Vec<(String, Run)> = args.runs.iter().map(read).collect::<Result<_, _>>()?;
    let capacity = args.capacity.map(|path| {
        let parse = |text: &str| CapacityRun::from_json(text).map_err(|e| causes(&e.into()));
        parse_file("--capacity", &path, parse)
    });
    let capacity = capacity.transpose()?.map(|found| found.section());
    let is_merged = runs.len() > 1;
    let run = merge(runs).map_err(usage)?;
    let directory = match (args.output, is_merged) {
        (Some(directory), _) => {
            note_replaced(&directory, RUN_FILES);
            directory
        }
        (None, true) => {
            return Err(usage("several runs: --output DIR is required, for the merged results"));
        }
        (None, false) => args.runs[0].parent().unwrap_or(Path::new(".")).to_path_buf(),
    };
    let at = || format!("--output {}: cannot write the report", directory.display());
    let output = RunDirectory::create(Some(&directory)).with_context(at)?;
    if is_merged {
        output.write_run(&run).with_context(at)?;
    }
    crate::report::write_all(&run, &directory, capacity).with_context(at)?;
    print(&format!("The report: {}", directory.join("report.html").display()))?;
    Ok(ExitCode::SUCCESS)
}
