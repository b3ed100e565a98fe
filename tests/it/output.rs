//! Where the output of a command goes: to a narrow terminal, to a pipe whose reader has left, to a
//! full disk. Every command is tried with each.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};

use crate::child::{ChildServer, PROGRAM};
use crate::support::{new_message, soon};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The run is void: on a busy machine, measurements may be.
const VOID: i32 = 3;
/// Measures one cell of a second.
const SMALL: &str = "--subscribers 2 --topics 1 --rate 5 --rtt 0s --idle 0s --warm-up 100ms \
    --duration 1s --transports websocket";

/// The command lines. `server` is a running server, `directory` a place for files.
fn commands(server: &str, directory: &Path) -> Vec<String> {
    let directory = directory.display();
    let once = "--no-calibration --repeats 1";
    let workload = "advise --subscribers 1000 --rate 0.1 --staleness 5s";
    let target = format!("--target http://{server}");
    let file = format!("--target-file {ROOT}/load-tests/targets/poll-vs-push.toml");
    vec![
        "predict".to_owned(),
        "predict --json".to_owned(),
        workload.to_owned(),
        format!("{workload} --prices {ROOT}/load-tests/prices/serverless.toml"),
        format!("{workload} --json"),
        format!("token --key {directory}/key --subscribe a"),
        format!("report {ROOT}/docs/sample/run.json --output {directory}/report"),
        format!("inspect {directory}/feed"),
        format!("inspect {directory}/feed --topic room"),
        format!("inspect {directory}/feed --json"),
        "trace --transports short-polling --messages 1".to_owned(),
        "trace --transports short-polling --messages 1 --html".to_owned(),
        format!("compare {SMALL} {once} {target} --output {directory}/compare"),
        format!("compare {SMALL} {once} {target} --output {directory}/compare --json"),
        format!("load {SMALL} {once} {target} {file} --output {directory}/load"),
        // A mean needs fewer deliveries than a percentile.
        format!("capacity {SMALL} {target} --most 1 --slo latency.mean<9s"),
        "--help".to_owned(),
        "serve --help".to_owned(),
        "--version".to_owned(),
    ]
}

fn is_measuring(command: &str) -> bool {
    ["compare", "load", "capacity"].iter().any(|name| command.starts_with(name))
}

/// A place with a key and a feed, and a running server.
async fn prepare() -> (tempfile::TempDir, ChildServer) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("key"), "k".repeat(64)).expect("written");
    let feed = directory.path().join("feed").display().to_string();
    let mut filled = ChildServer::start(&["--data", &feed]);
    let mut http = HttpConnection::new(Dialer::new(filled.address));
    let posting = http.request(Method::POST, "/topics/room/messages", new_message("hi").into());
    assert_eq!(soon(posting).await.expect("an answer").status, 201);
    filled.stop();
    (directory, ChildServer::start(&[]))
}

/// A pipe whose reader has left.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    let file: File = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    file.into()
}

/// Exit code and standard error.
fn run(command: &str, stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let mut program = Command::new(PROGRAM);
    program.args(command.split_whitespace()).env_remove("RUST_LOG").stdin(Stdio::null());
    let child = program.stdout(stdout).stderr(stderr).spawn().expect("it starts");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The reader of a pipe has what it wanted: that is no error. A full disk is one, because the
/// output is lost.
#[tokio::test(flavor = "multi_thread")]
async fn closed_pipes_and_full_disks_cause_no_panic_in_any_command() {
    let (directory, server) = prepare().await;
    for command in commands(&server.address.to_string(), directory.path()) {
        let is_fine = |code| code == Some(0) || (is_measuring(&command) && code == Some(VOID));
        let (code, error) = run(&command, closed_pipe(), Stdio::piped());
        assert!(is_fine(code) && !error.contains("panicked"), "{command}: {code:?} {error}");
        if is_measuring(&command) {
            // The one before has written to the same directory.
            let replaces = command.starts_with("compare") && command.ends_with("--json");
            let is_noted = error.contains("/compare: replaces the earlier results in it");
            assert_eq!(is_noted, replaces, "{command}: {error}");
        }
        // A panic has an exit code of its own.
        let (code, _) = run(&command, full_disk(), full_disk());
        assert_eq!(code, Some(1), "{command}");
        if is_measuring(&command) {
            continue;
        }
        let (_, error) = run(&command, full_disk(), Stdio::piped());
        assert!(error.contains("cannot write to standard output"), "{command}: {error}");
        for (stdout, stderr) in [
            (Stdio::null(), full_disk()),
            (Stdio::null(), closed_pipe()),
            (closed_pipe(), closed_pipe()),
        ] {
            let (code, _) = run(&command, stdout, stderr);
            assert_eq!(code, Some(0), "{command}");
        }
    }
    let (code, error) = run("inspect /nowhere", closed_pipe(), closed_pipe());
    assert_eq!(code, Some(2), "{error}");
}

/// What a command writes to a pipe, with this width in its environment.
fn in_pipe(command: &str, columns: usize) -> String {
    let mut program = Command::new(PROGRAM);
    program.args(command.split_whitespace()).env("COLUMNS", columns.to_string());
    let output = program.env("NO_COLOR", "1").stdin(Stdio::null()).output().expect("it starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// On a terminal of 40 columns, or in a pipe with that width in `COLUMNS`, tables are stacked and
/// text is wrapped; nothing is wider but what cannot be broken, such as the path of a file.
#[tokio::test(flavor = "multi_thread")]
async fn output_of_every_command_fits_a_narrow_terminal() {
    const COLUMNS: usize = 40;
    let (directory, server) = prepare().await;
    let commands = commands(&server.address.to_string(), directory.path());
    let is_data = |command: &&String| {
        ["--json", "--html", "--topic", "token", "--help", "--version"]
            .iter()
            .any(|part| command.contains(part))
    };
    for command in commands.iter().filter(|command| !is_data(command)) {
        // The program gets a terminal of its own.
        let mut script = Command::new("script");
        let inside = format!("stty rows 40 cols {COLUMNS}; exec {PROGRAM} {command} 2>/dev/null");
        script.args(["-qec", &inside, "/dev/null"]).env("NO_COLOR", "1").stdin(Stdio::null());
        let Ok(output) = script.output() else {
            use std::io::Write as _;
            // Not with a macro, whose output the test harness captures.
            let _ = writeln!(std::io::stderr(), "skipped: no `script` to make a terminal");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let code = output.status.code();
        assert!(matches!(code, Some(0 | VOID)) && !text.is_empty(), "{command}: {code:?} {text}");
        let piped = if is_measuring(command) { String::new() } else { in_pipe(command, COLUMNS) };
        let has_path = |line: &str| line.split_whitespace().any(|word| word.starts_with('/'));
        let is_text = |line: &&str| line.split_whitespace().count() > 2 && !has_path(line);
        for line in text.lines().chain(piped.lines()).filter(is_text) {
            let columns = console::measure_text_width(line);
            assert!(columns <= COLUMNS, "{command}: '{line}' has {columns}");
        }
        if !["inspect", "report"].iter().any(|name| command.starts_with(name)) {
            let has_whole_words = text.contains("olling") || text.contains("WebSocket");
            assert!(has_whole_words, "{command}: words are whole: {text}");
        }
    }
}
