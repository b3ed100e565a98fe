//! The program as started by a user: it measures a small scenario and writes the expected files,
//! output and exit codes. Times are not checked: on a busy machine the run may be void, which has
//! its own exit code.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::message::{Batch, Cursor};
use poll_vs_push::run::{Run, StopReason};
use poll_vs_push::transport::SubscribeOptions;
use poll_vs_push::variant::Transport;

use super::child::ChildServer;
use super::foreign_pages::invented_progress_is_refused;
use super::support::{Reader, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_poll-vs-push");
/// Far longer than any step takes.
const FORGOTTEN: Duration = Duration::from_secs(60);
const VOID: i32 = 3;

/// A workload whose cells take one or two seconds.
const SMALL: [&str; 19] = [
    "--no-calibration",
    "--subscribers",
    "12",
    "--topics",
    "3",
    "--rate",
    "5",
    "--poll-interval",
    "200ms",
    "--rtt",
    "10ms",
    "--idle",
    "0s",
    "--warm-up",
    "200ms",
    "--duration",
    "1s",
    "--repeats",
    "1",
];

fn compare(directory: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--output"]).arg(directory).args(SMALL).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_run(directory: &Path) -> Run {
    let json = std::fs::read_to_string(directory.join("run.json")).expect("run.json is there");
    Run::from_json(&json).expect("run.json can be read")
}

/// Waits for a condition that must become true.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < FORGOTTEN, "it never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fails(output: &Output, code: i32, message: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
}

#[test]
fn run_is_verified_and_its_files_are_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let all = Transport::ALL.map(Transport::name).join(",");
    let output = compare(directory.path(), &["--transports", &all]).output().expect("it runs");
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(VOID), "{}", text(&output.stderr));
    let run = read_run(directory.path());
    assert_eq!(run.stopped_early, None);
    let transports: Vec<_> = run.cells.iter().map(|cell| cell.variant).collect();
    assert_eq!(transports, Transport::ALL);
    for cell in &run.cells {
        let deliveries = cell.deliveries;
        assert!(deliveries.expected > 0 && deliveries.received == deliveries.expected);
        assert_eq!((deliveries.lost, deliveries.duplicated, deliveries.reordered), (0, 0, 0));
        assert_eq!(Some(cell.requests.client_total), cell.requests.server_total);
        assert_eq!(cell.latency_us.0.len(), deliveries.steady);
        // Shortest possible latency: the one-way delay of the link.
        assert!(cell.latency_us.0.min() >= 4_990, "{}", cell.latency_us.0.min());
        assert!(cell.bytes.down.payload > 0);
        assert!(cell.server.expect("a child tells").cpu_s > 0.0);
    }
    let published: Vec<_> = run.cells.iter().map(|cell| cell.published).collect();
    assert!(published.iter().all(|count| *count == published[0]), "one schedule for all");
    for file in ["report.html", "report.md", "results.csv"] {
        assert!(directory.path().join(file).metadata().is_ok_and(|file| file.len() > 500));
    }
    assert!(!text(&output.stdout).contains('\u{1b}'), "no colours where there is no terminal");
    assert!(text(&output.stdout).contains("report.html"));
}

#[test]
fn restart_loses_and_duplicates_nothing_on_any_transport() {
    let directory = tempfile::tempdir().expect("a directory");
    let all = Transport::ALL.map(Transport::name).join(",");
    let flags = ["--transports", &all, "--duration", "300ms", "--restart", "2s"];
    let output = compare(directory.path(), &flags).output().expect("it runs");
    let run = read_run(directory.path());
    assert_eq!(run.stopped_early, None, "{}", text(&output.stderr));
    assert_eq!(run.cells.len(), Transport::ALL.len());
    for cell in &run.cells {
        let (way, deliveries) = (cell.variant, cell.deliveries);
        let wrong = (deliveries.lost, deliveries.duplicated, deliveries.reordered);
        assert_eq!(wrong, (0, 0, 0), "{way}");
        assert_eq!(deliveries.received, deliveries.expected, "{way}");
        let recovery = cell.recovery.as_ref().expect("it was restarted");
        assert!(recovery.down_us > 0 && !recovery.latency_us.0.is_empty(), "{way}");
        let noticed = recovery.away_us.0.len();
        // A short-polling client may not notice the restart.
        assert!(way == Transport::ShortPolling || noticed >= 12, "{way}: {noticed}");
        assert_eq!(recovery.back_us.0.len(), noticed, "{way}");
    }
    let report = std::fs::read_to_string(directory.path().join("report.md")).expect("a report");
    // On a busy machine all cells may be void; then no figures are shown.
    let is_shown = report.contains("After a restart of the server");
    assert!(is_shown || output.status.code() == Some(VOID), "{report}");
}

#[test]
fn processing_time_is_measured_first_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let calibrated = SMALL.iter().filter(|flag| **flag != "--no-calibration");
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--output"]).arg(directory.path()).args(calibrated);
    let output = command.args(["--transports", "websocket"]).output().expect("it runs");
    let processing_time = read_run(directory.path()).processing_time.expect("it was measured");
    assert!(
        processing_time.push_s > 0.0 && processing_time.round_trip_s > 0.0,
        "{processing_time:?}"
    );
    let report = std::fs::read_to_string(directory.path().join("report.md")).expect("a report");
    if output.status.code() != Some(VOID) {
        assert!(text(&output.stdout).contains("predictions held"), "{}", text(&output.stdout));
        assert!(report.contains("## Theory and measurement"), "{report}");
    }
    assert!(report.contains("- Processing time: "));
}

#[test]
fn report_can_be_generated_again() {
    let directory = tempfile::tempdir().expect("a directory");
    compare(directory.path(), &["--transports", "websocket"]).output().expect("it runs");
    let html = directory.path().join("report.html");
    let first = std::fs::read(&html).expect("a report");
    std::fs::remove_file(&html).expect("it was there");
    let run = directory.path().join("run.json");
    let output = Command::new(PROGRAM).arg("report").arg(&run).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&html).expect("again"), first);
}

#[test]
fn json_output_thresholds_and_baseline_work_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old");
    let only = ["--transports", "websocket", "--json"];
    let output = compare(&old, &only).output().expect("it runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(json["points"][0]["transports"][0]["transport"], "websocket");
    if output.status.code() == Some(VOID) {
        return;
    }
    let baseline = old.join("run.json").display().to_string();
    let conditions = ["--fail-if", "websocket.latency.mean > 1ms", "--baseline", baseline.as_str()];
    let new = directory.path().join("new");
    let output = compare(&new, &[&only[..], &conditions].concat()).output().expect("it runs");
    let code = output.status.code();
    assert!(code == Some(4) || code == Some(VOID), "{code:?} {}", text(&output.stderr));
    assert!(text(&output.stderr).contains("websocket.latency.mean > 1"));
}

#[test]
fn invalid_scenario_is_an_error_with_position_and_rule() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.toml");
    let cases = [
        ("repeats = 'many'", "line 4"),
        ("[workload]\nsubscriber = 5", "unknown field `subscriber`"),
        ("[workload]\nrtt = '5 bananas'", "rtt"),
        ("[workload]\nsubscribers = 3\ntopics = 4", "topics = 4: must be between 1 and the"),
        ("transports = ['carrier-pigeon']", "expected one of short-polling"),
    ];
    for (lines, message) in cases {
        let text = format!("name = 'bad'\ntitle = 't'\ndescription = 'd'\n{lines}\n");
        std::fs::write(&file, text).expect("a place to write");
        let mut command = Command::new(PROGRAM);
        let output = command.arg("--scenario").arg(&file).output().expect("it runs");
        fails(&output, 2, message);
    }
}

#[test]
fn invalid_flags_are_errors_before_the_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(directory.path(), &["--subscribers", "900000"]).output();
    fails(&output.expect("it runs"), 1, "--subscribers");
    let nobody = compare(directory.path(), &["--target", "http://127.0.0.1:1"]).output();
    fails(&nobody.expect("it runs"), 1, "http://127.0.0.1:1");
    let usage: [(&[&str], &str); 10] = [
        (&["--target", "http://127.0.0.1:1", "--restart", "5s"], "--restart 5s: only a server"),
        (&["--target", "ftp://x"], "--target ftp://x: must begin with http://"),
        (&["--transports", "sse,ndjson,sse"], "--transports sse,ndjson,sse: sse is given twice"),
        (&["--subscribers", "0"], "--subscribers 0: must be between 1 and 1,000,000"),
        (&["--rtt", "11s"], "--rtt 11s: must be between 0s and 10s"),
        (&["--repeats", "0"], "--repeats 0: must be between 1 and 100"),
        (&["--topics", "13"], "--topics 13: must be between 1 and the number"),
        (&["--rate", "nan"], "--rate NaN: must be between 0.000001"),
        (
            &["--transports", "websocket", "--fail-if", "sse.latency.mean > 1s"],
            "this run does not measure sse, only websocket",
        ),
        (&["--fail-if", "websocket.recovery.back_max > 1s"], "only a run with --restart"),
    ];
    for (flags, message) in usage {
        let output = compare(directory.path(), flags).output().expect("it runs");
        fails(&output, 2, message);
        let stderr = text(&output.stderr);
        assert_eq!(stderr.matches(message).count(), 1, "each cause once: {stderr}");
        assert!(!directory.path().join("run.json").exists(), "before the run");
    }
    let output = compare(directory.path(), &["--fail-if", "websocket.speed > 1"]).output();
    fails(&output.expect("it runs"), 2, "unknown figure");
}

#[test]
fn target_that_is_another_server_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("a visitor");
        let _ = stream.read(&mut [0; 1024]);
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).expect("it listens");
    });
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(directory.path(), &["--target", &url]).output().expect("it runs");
    fails(&output, 1, "not a poll-vs-push server");
    assert_eq!(text(&output.stderr).matches("not a poll-vs-push server").count(), 1);
    answering.join().expect("it answered");
}

/// A process that is killed at the end of its test.
struct Running(Child);

impl Running {
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    fn finish(mut self) -> Output {
        let child = std::mem::replace(&mut self.0, Command::new("true").spawn().expect("it runs"));
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cells_on_disk(directory: &Path) -> usize {
    let json = std::fs::read_to_string(directory.join("run.json"));
    json.ok().and_then(|json| Run::from_json(&json).ok()).map_or(0, |run| run.cells.len())
}

#[test]
fn interrupted_run_keeps_its_results() {
    for signal in ["-INT", "-TERM"] {
        let directory = tempfile::tempdir().expect("a directory");
        let child = compare(directory.path(), &["--repeats", "50"]).spawn().expect("it runs");
        let running = Running(child);
        wait_for(|| cells_on_disk(directory.path()) >= 1);
        running.signal(signal);
        let output = running.finish();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        let run = read_run(directory.path());
        assert!(!run.cells.is_empty());
        assert!(run.stopped_early.is_some_and(|why| why.reason == StopReason::Interrupted));
        assert!(directory.path().join("report.html").exists());
    }
}

#[test]
fn long_phase_prints_lines_and_an_interrupt_in_the_first_cell_exits_with_130() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running =
        Running(compare(directory.path(), &["--idle", "50s"]).spawn().expect("it runs"));
    // The first progress line is printed after the signal handlers are installed.
    let stderr = BufReader::new(running.0.stderr.take().expect("piped"));
    let lines: Vec<String> = stderr.lines().take(3).map(|line| line.expect("text")).collect();
    assert!(lines[0].starts_with("1/") && lines[0].contains(": starting; about "), "{lines:?}");
    for line in &lines[1..] {
        assert!(line.starts_with("1/") && line.contains(": idle; about "), "{lines:?}");
    }
    running.signal("-INT");
    assert_eq!(running.finish().status.code(), Some(130));
}

#[test]
fn failed_output_or_link_does_not_end_the_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let only = ["--transports", "websocket"];
    let first = directory.path().join("first");
    // A closed pipe as standard output, and a full disk.
    for (name, flags) in [("first", &only[..]), ("json", &["--transports", "websocket", "--json"])]
    {
        let mut child = compare(&directory.path().join(name), flags).spawn().expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(matches!(output.status.code(), Some(0 | VOID)), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked"));
    }
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = compare(&directory.path().join("full"), &only);
    let output = command.stdout(full()).stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "the results were not shown");
    assert_eq!(cells_on_disk(&directory.path().join("full")), 1);
    let run = first.join("run.json").display().to_string();
    let key = directory.path().join("key");
    std::fs::write(&key, "k".repeat(64)).expect("written");
    let key = key.display().to_string();
    let commands: [&[&str]; 6] = [
        &["report", &run],
        &["predict"],
        &["advise", "--subscribers", "9", "--rate", "1", "--staleness", "1s"],
        &["token", "--key", &key, "--subscribe", "a"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["--help"],
    ];
    for args in commands {
        let mut command = Command::new(PROGRAM);
        let output = command.args(args).stdout(full()).stderr(full()).output().expect("it runs");
        let code = output.status.code();
        assert!(code == Some(1) || args == ["--help"], "{args:?}: {code:?}");
    }
    // A directory exists in place of the link to the newest run.
    let latest = directory.path().join("reports/latest");
    std::fs::create_dir_all(&latest).expect("made");
    let mut command = Command::new(PROGRAM);
    command.args(SMALL).args(only).current_dir(directory.path());
    let output = command.output().expect("it runs");
    assert!(matches!(output.status.code(), Some(0 | VOID)), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning: cannot link reports/latest"));
    assert!(text(&output.stdout).contains("report.html"));
    // A baseline of another workload is an error before the run.
    let flags = ["--transports", "websocket", "--rate", "7", "--baseline", &run];
    let output = compare(&directory.path().join("other"), &flags).output().expect("it runs");
    fails(&output, 2, "rate is 5.0 there and 7.0 here");
}

/// The second of three transports cannot be measured: the server holds one long poll only.
#[test]
fn failed_cell_keeps_the_others_and_each_cell_has_a_progress_line() {
    let server = ChildServer::start(&["--max-waiters", "1"]);
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("http://{}", server.address);
    let flags = ["--target", &url, "--transports", "short-polling,long-polling,websocket"];
    let output = compare(directory.path(), &flags).output().expect("it runs");
    fails(&output, 1, "1 of 3 cells failed; the others are kept");
    let run = read_run(directory.path());
    assert_eq!((run.cells.len(), run.failed.len()), (2, 1));
    assert!(directory.path().join("report.html").exists());
    let lines = text(&output.stderr);
    for number in 1..=3 {
        let begins =
            |line: &&str| line.starts_with(&format!("{number}/3 ")) && line.contains("starting");
        assert_eq!(lines.lines().filter(begins).count(), 1, "{lines}");
    }
}

/// The load test has no token, so it ends, and so does the server of its page.
#[test]
fn server_that_requires_tokens_is_an_error_with_and_without_watch() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "k".repeat(64)).expect("written");
    let server = ChildServer::start(&["--token-key", key.to_str().expect("UTF-8")]);
    let url = format!("http://{}", server.address);
    for watch in [&[][..], &["--watch", "127.0.0.1:0"]] {
        let flags = [&["--target", &url, "--transports", "websocket"][..], watch].concat();
        let output = compare(directory.path(), &flags).output().expect("it runs");
        fails(&output, 1, "error: nothing was measured: ");
        assert!(text(&output.stderr).contains("401 Unauthorized"), "{}", text(&output.stderr));
    }
}

#[test]
fn killed_server_ends_the_run_and_results_are_kept() {
    let mut server = Command::new(PROGRAM);
    server.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = Running(server.spawn().expect("it runs"));
    let url = {
        use std::io::{BufRead, BufReader};
        let output = server.0.stdout.take().expect("it was asked for");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        line.trim().trim_start_matches("listening on ").to_owned()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let more = ["--repeats", "50", "--target", url.as_str()];
    let running = Running(compare(directory.path(), &more).spawn().expect("it runs"));
    wait_for(|| cells_on_disk(directory.path()) >= 1);
    server.signal("-KILL");
    let output = running.finish();
    fails(&output, 1, "earlier results are kept");
    assert!(!read_run(directory.path()).cells.is_empty());
}

#[test]
fn results_are_written_to_reports_and_the_newest_is_linked() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(PROGRAM);
    command.args(SMALL).args(["--transports", "long-polling"]).current_dir(directory.path());
    command.output().expect("it runs");
    let latest: PathBuf = directory.path().join("reports/latest");
    assert!(latest.is_symlink());
    assert_eq!(read_run(&latest).cells.len(), 1);
}

#[tokio::test]
async fn watch_shows_progress_and_then_the_report() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = directory.path().join("run-1");
    let flags = ["--transports", "websocket", "--watch", "127.0.0.1:0"];
    let mut running = Running(compare(&run, &flags).spawn().expect("it runs"));
    let mut line = String::new();
    let mut stderr = BufReader::new(running.0.stderr.take().expect("piped"));
    stderr.read_line(&mut line).expect("text");
    let rest = line.strip_prefix("follow the run on http://").expect("its address");
    let address = rest.trim_end().strip_suffix("/watch").expect("a page").parse().expect("one");

    let topic = "compare".parse().expect("a good name");
    let mut http = HttpConnection::new(Dialer::new(address));
    invented_progress_is_refused(address).await;
    let first = soon(http.get("/topics/compare/poll")).await.expect("an answer");
    let batch: Batch = serde_json::from_slice(&first).expect("a batch");
    let cursor = Some(Cursor { epoch: batch.epoch, offset: 0 });
    let options = SubscribeOptions { cursor, ..SubscribeOptions::new(topic) };
    let mut reader = Reader::connect(Transport::LongPolling, Dialer::new(address), options).await;
    let mut updates: Vec<String> = Vec::new();
    while updates.last().is_none_or(|what| what != "finished") {
        for message in reader.next().await.messages {
            let update: serde_json::Value = serde_json::from_str(&message.text).expect("JSON");
            if update["what"] == "done" {
                let p50 = update["latency_ms"]["p50"].as_f64();
                assert!(p50.expect("a number") >= 5.0, "{update}");
            }
            updates.push(update["what"].as_str().expect("a word").to_owned());
        }
    }
    assert_eq!(updates[0], "cell");
    assert_eq!(updates.iter().filter(|what| *what == "done").count(), 1);
    // The report is served after the run.
    let report = soon(http.get("/reports/run-1/report.html")).await.expect("an answer");
    assert_eq!(report, std::fs::read(run.join("report.html")).expect("it is written"));
    running.signal("-INT");
    let code = running.0.wait().expect("it ends").code();
    assert!(code == Some(0) || code == Some(VOID), "{code:?}");
}
