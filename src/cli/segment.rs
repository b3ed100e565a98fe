//! The flags of a segment: a share of a scenario that one of several load generators measures.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;

use super::output::{EXIT_VOID, print, usage};
use crate::load::SegmentStart;
use crate::run::Run;
use crate::scenario::{Scenario, Segment};
use crate::units::thousands;
use crate::validity::{self, Finding, Severity};

/// Latest start of a run.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Which share of the scenario is measured, and when.
#[derive(Debug, clap::Args)]
pub(super) struct SegmentArgs {
    /// Measure one share of the topics, such as 2/4, while other load generators measure the others
    /// (docs/scaling.md)
    #[arg(long, value_name = "NUMBER/TOTAL", requires = "start_at", requires = "target")]
    #[arg(conflicts_with_all = ["baseline", "fail_if", "watch", "json"])]
    segment: Option<Segment>,
    /// When all segments start, such as 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "segment", value_parser = time)]
    start_at: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "must be a time with its zone, such as 2026-05-01T12:00:00Z".into())
}

impl SegmentArgs {
    /// The segment, if one is given.
    ///
    /// # Errors
    /// If its start is in the past or far away, or if a workload has fewer topics than segments.
    pub fn start(&self, scenario: &Scenario) -> anyhow::Result<Option<SegmentStart>> {
        let (Some(segment), Some(start_at)) = (self.segment, self.start_at) else {
            return Ok(None);
        };
        let left = start_at.duration_since(Timestamp::now());
        let Ok(left) = Duration::try_from(left) else {
            let ago = left.unsigned_abs().as_secs_f64();
            return Err(usage(format!(
                "--start-at {start_at}: was {ago:.1} s ago; all segments need the same time, after \
                 the last of them has been started"
            )));
        };
        if left > AHEAD_MAX {
            return Err(usage(format!("--start-at {start_at}: must be within the next 24 hours")));
        }
        segment.check_topics(scenario).map_err(usage)?;
        Ok(Some(SegmentStart { segment, start_at }))
    }
}

/// Prints what a segment measured. Its figures follow when all segments are merged.
pub(super) fn show(run: &Run, segment: Segment, directory: &Path) -> anyhow::Result<()> {
    let sum = |count: fn(&crate::run::Deliveries) -> u64| -> String {
        thousands(run.cells.iter().map(|cell| count(&cell.deliveries)).sum::<u64>() as i64)
    };
    print(&format!(
        "Segment {segment}: {} of {} deliveries received, {} lost, {} duplicated.\nThe results: {}\n\
         When all segments have ended, merge them: poll-vs-push report */run.json --output DIR",
        sum(|counts| counts.received),
        sum(|counts| counts.expected),
        sum(|counts| counts.lost),
        sum(|counts| counts.duplicated),
        directory.join("run.json").display()
    ))
}

/// The exit code of a complete segment: whether its deliveries are right. Whether the load
/// generators were fast enough is decided when all segments are merged.
pub(super) fn verdict(run: &Run) -> ExitCode {
    let is_wrong = |finding: &Finding| finding.severity == Severity::Wrong;
    let mut findings = run.cells.iter().flat_map(|cell| validity::void_reasons(run, cell));
    if findings.any(|finding| is_wrong(&finding)) {
        ExitCode::from(EXIT_VOID)
    } else {
        ExitCode::SUCCESS
    }
}
