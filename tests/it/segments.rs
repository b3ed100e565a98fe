//! Segments: several load generators carry out one scenario against one server, and `report` merges
//! their runs. Counts must be those of the whole scenario; times are not compared, since a busy
//! machine changes them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use poll_vs_push::measure::Histogram;
use poll_vs_push::run::{MergeError, Run, merge};
use poll_vs_push::validity::void_reasons;

use super::child::{ChildServer, PROGRAM};

const SEGMENTS: usize = 4;
/// From the start of the test until all segments begin.
const AHEAD: Duration = Duration::from_secs(5);
const TRANSPORTS: &str = "websocket,short-polling";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `compare` with a workload of ten topics and 23 subscribers.
fn compare(server: &ChildServer, directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--no-calibration", "--target"]);
    command.arg(format!("http://{}", server.address)).arg("--output").arg(directory);
    command.args(["--transports", TRANSPORTS, "--repeats", "1", "--seed", "7"]);
    command.args(["--subscribers", "23", "--topics", "10", "--rate", "3", "--rtt", "0s"]);
    command.args(["--poll-interval", "200ms", "--idle", "100ms"]);
    command.args(["--warm-up", "300ms", "--duration", "2s"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn report(runs: &[PathBuf], output: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("report").args(runs).arg("--output").arg(output);
    command.output().expect("it runs")
}

fn read(path: &Path) -> Run {
    let json = std::fs::read_to_string(path).expect("run.json is there");
    Run::from_json(&json).expect("run.json can be read")
}

/// The segments of one run, by name.
fn measured(directory: &Path, server: &ChildServer) -> Vec<PathBuf> {
    let start_at = (Timestamp::now() + AHEAD).to_string();
    let start = |number: usize| {
        let own = directory.join(number.to_string());
        let mut command = compare(server, &own);
        command.args(["--segment", &format!("{number}/{SEGMENTS}"), "--start-at", &start_at]);
        (own, command.spawn().expect("it starts"))
    };
    let started: Vec<_> = (1..=SEGMENTS).map(start).collect();
    let path = |(own, child): (PathBuf, std::process::Child)| {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).contains(", 0 lost, 0 duplicated"),
            "{}",
            text(&output.stdout)
        );
        assert!(!own.join("report.html").exists(), "the figures of a share alone mean nothing");
        own.join("run.json")
    };
    started.into_iter().map(path).collect()
}

#[test]
fn merged_segments_count_what_one_load_generator_counts() {
    let server = ChildServer::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let whole = directory.path().join("whole");
    let output = compare(&server, &whole).output().expect("it runs");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output.stderr));
    let whole = read(&whole.join("run.json"));
    let paths = measured(directory.path(), &server);
    let merged = directory.path().join("merged");
    let output = report(&paths, &merged);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = read(&merged.join("run.json"));
    assert_eq!((run.cells.len(), run.failed.len()), (2, 0));
    for (cell, whole) in run.cells.iter().zip(&whole.cells) {
        let (counts, expected) = (cell.deliveries, whole.deliveries);
        assert_eq!(cell.variant, whole.variant);
        assert_eq!(cell.published, whole.published);
        assert_eq!(counts.expected, expected.expected);
        assert_eq!((counts.received, counts.steady), (counts.expected, expected.steady));
        let wrong = (counts.lost, counts.duplicated, counts.reordered, counts.unknown);
        assert_eq!(wrong, (0, 0, 0, 0));
        assert_eq!(cell.latency_us.0.len(), counts.steady);
        assert_eq!(cell.connections.opened, 23);
        // The server counts the requests of all segments.
        assert_eq!(cell.requests.server_total, Some(cell.requests.client_total));
        assert_eq!(cell.bytes.down.payload > 0, whole.bytes.down.payload > 0);
        assert!(cell.server.expect("it is known").cpu_s > 0.0);
        assert_eq!(cell.segments.len(), SEGMENTS);
    }
    let markdown = std::fs::read_to_string(merged.join("report.md")).expect("a report");
    assert!(markdown.contains("Load generators: 4 segments on one machine"), "{markdown}");
    // The report of the merged run can be generated again.
    let output = report(&[merged.join("run.json")], &directory.path().join("again"));
    assert!(output.status.success(), "{}", text(&output.stderr));

    let error = |runs: &[PathBuf], message: &str| {
        let output = report(runs, &directory.path().join("none"));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    };
    error(&paths[..1], "segments 2, 3, 4 of 4 missing");
    error(&paths[..3], "segment 4 of 4 missing");
    error(&[&paths[..], &paths[..1]].concat(), "both are segment 1");
    let whole = directory.path().join("whole/run.json");
    error(&[paths[0].clone(), whole], "not a segment");
    merge_errors(&paths);
    void_runs(&paths);
}

/// The segments with a change in one of them.
fn changed(paths: &[PathBuf], change: impl Fn(&mut Run)) -> Vec<(String, Run)> {
    let mut runs: Vec<(String, Run)> =
        paths.iter().map(|path| (path.display().to_string(), read(path))).collect();
    change(&mut runs[1].1);
    runs
}

fn merge_errors(paths: &[PathBuf]) {
    type Change = fn(&mut Run);
    let changes: [(Change, &str); 5] = [
        (|run| run.scenario.seed = 8, "their seeds differ"),
        (|run| run.scenario.workload.rate = 9.0, "different scenarios"),
        (|run| run.segments[0].segment.of = 5, "different numbers of segments"),
        (|run| run.segments[0].start_at = Timestamp::UNIX_EPOCH, "--start-at differs"),
        (|run| run.server.version = "poll-vs-push/9".to_owned(), "different servers"),
    ];
    for (change, message) in changes {
        let error: MergeError = merge(changed(paths, change)).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}

fn void_runs(paths: &[PathBuf]) {
    let reasons = |change: fn(&mut Run)| {
        let run = merge(changed(paths, change)).expect("they belong together");
        let reasons = void_reasons(&run, &run.cells[0]).into_iter();
        (run.clone(), reasons.map(|finding| finding.to_string()).collect::<Vec<_>>().join("\n"))
    };
    let (_, text) = reasons(|run| {
        let later = Duration::from_secs(1);
        run.cells[0].segments[0].steady =
            run.cells[0].segments[0].steady.map(|at| at.checked_add(later).expect("in range"));
    });
    assert!(text.contains("the segments did not measure at the same time"), "{text}");
    let (_, text) = reasons(|run| {
        let server = &mut run.cells[0].segments[0].server_cpu_s;
        *server = server.map(|cpu_s| cpu_s.map(|cpu_s| cpu_s + 3.0));
    });
    assert!(text.contains("0 % of the CPU time of the server"), "{text}");
    let (_, text) = reasons(|run| run.cells[0].deliveries.lost = 1);
    assert!(text.contains("1 of "), "{text}");
    let (_, text) = reasons(|run| {
        let mut late = Histogram::new();
        (0..100).for_each(|_| late.record(3_000_000));
        run.cells[0].segments[0].generator.publisher_late_us = late;
    });
    assert!(text.contains("segment 2: 10 % of the publications were"), "{text}");
    let (run, _) = reasons(|run| {
        run.cells.remove(0);
    });
    assert_eq!((run.cells.len(), run.failed.len()), (1, 1));
    assert!(run.failed[0].error.contains("segment 2: not measured"), "{}", run.failed[0].error);
}

#[test]
fn flags_of_a_segment_are_checked() {
    let soon = (Timestamp::now() + Duration::from_secs(600)).to_string();
    let target = "--target http://127.0.0.1:9";
    for (flags, message) in [
        (format!("{target} --segment 2/4"), "--start-at"),
        (format!("--segment 2/4 --start-at {soon}"), "--target"),
        (format!("{target} --segment 5/4 --start-at {soon}"), "between 1 and the total, 4"),
        (format!("{target} --segment 1/2 --start-at noon"), "such as 2026-05-01T12:00:00Z"),
        (format!("{target} --segment 1/2 --start-at 2020-01-01T00:00:00Z"), " s ago"),
        (format!("{target} --segment 1/2 --start-at 2199-01-01T00:00:00Z"), "the next 24 hours"),
        (format!("{target} --segment 1/4 --topics 3 --start-at {soon}"), "the workload has 3"),
        (format!("{target} --segment 1/2 --json --start-at {soon}"), "cannot be used with"),
    ] {
        let mut command = Command::new(PROGRAM);
        let output = command.arg("compare").args(flags.split(' ')).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{flags}");
        assert!(text(&output.stderr).contains(message), "{flags}: {}", text(&output.stderr));
    }
}
