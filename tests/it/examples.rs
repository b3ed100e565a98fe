//! The four programs of `examples/`: they run to an end, print what they explain, and stay short.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Lines of code in an example, without comments and blank lines.
const CODE_LINES_MAX: usize = 60;
/// What every example receives, in order.
const RECEIVED: [&str; 4] =
    ["receives 1 hello", "receives 2 hi", "receives 3 well?", "receives 4 bye"];

/// The source of an example.
fn source(name: &str) -> String {
    let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).expect("the example exists")
}

/// The steps that an example prints, without their times. Cargo builds examples for `cargo test`
/// into `examples/`, next to the program under test.
pub fn run(name: &str) -> Vec<String> {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_poll-vs-push"));
    path.pop();
    path.extend(["examples", name]);
    let output = Command::new("timeout").arg("60").arg(&path).output().expect("it can be started");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    let missing = "run all tests, or `cargo build --examples` first";
    assert!(output.status.success(), "{}: {errors} ({missing})", path.display());
    text.lines().map(step).collect()
}

/// A line that an example prints, without its time.
pub fn step(line: &str) -> String {
    let (time, step) = line.split_once(" ms  ").expect("each line has a time");
    time.trim().parse::<u64>().expect("milliseconds");
    step.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many steps begin with this text.
fn count(steps: &[String], start: &str) -> usize {
    steps.iter().filter(|step| step.starts_with(start)).count()
}

/// Runs an example and checks that its client receives each message once, in order.
fn run_and_check(name: &str) -> Vec<String> {
    let steps = run(name);
    let received: Vec<_> =
        steps.iter().filter_map(|step| step.strip_prefix("client receives")).collect();
    let expected: Vec<_> =
        RECEIVED.iter().filter_map(|step| step.strip_prefix("receives")).collect();
    assert_eq!(received, expected, "{name}: {steps:#?}");
    assert_eq!(count(&steps, "publisher publishes"), RECEIVED.len(), "{name}: {steps:#?}");
    steps
}

#[test]
fn short_polling_sends_requests_that_find_nothing() {
    let steps = run_and_check("short_polling");
    // The first request is sent before the first message is published; it finds none.
    assert!(steps[0].starts_with("client requests messages after 0"), "{steps:#?}");
    assert!(count(&steps, "client requests") > 2, "{steps:#?}");
}

#[test]
fn long_polling_waits_and_times_out_in_the_server() {
    let steps = run_and_check("long_polling");
    let requests = count(&steps, "client requests");
    let timeouts = count(&steps, "server has no message before the timeout");
    assert!(timeouts >= 1, "{steps:#?}");
    // A request ends with at least one message or with a timeout.
    assert!(requests <= RECEIVED.len() + timeouts, "{steps:#?}");
}

#[test]
fn sse_receives_everything_in_one_response() {
    let steps = run_and_check("sse");
    assert_eq!(count(&steps, "client requests"), 1, "{steps:#?}");
}

#[test]
fn websocket_receives_everything_on_one_connection() {
    let steps = run_and_check("websocket");
    assert_eq!(count(&steps, "client requests"), 1, "{steps:#?}");
}

#[test]
fn examples_stay_short_and_have_the_same_sections() {
    let sections = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("// ----")).map(str::to_owned).collect()
    };
    let expected = sections(&source("short_polling"));
    assert_eq!(expected.len(), 4, "{expected:?}");
    for name in ["short_polling", "long_polling", "sse", "websocket"] {
        let text = source(name);
        let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
        let code = text.lines().map(str::trim).filter(is_code).count();
        assert!(code <= CODE_LINES_MAX, "{name}.rs has {code} lines of code");
        assert_eq!(sections(&text), expected, "{name}.rs");
        assert_eq!(text.matches("// WAIT: ").count(), 1, "{name}.rs marks the line that waits");
    }
}
