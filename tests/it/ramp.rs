//! Ramps: a cell whose load rises in steps, on one server and with the same connections.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use poll_vs_push::run::Run;
use poll_vs_push::scenario::Scenario;

use super::child::PROGRAM;

const WORKLOAD: &str = "
[workload]
subscribers = 12
topics = 3
rate = 5.0
poll_interval = '100ms'
rtt = '10ms'
idle = '50ms'
warm_up = '200ms'
duration = '800ms'
";

fn scenario(lines: &str) -> String {
    let head = "name = 'x'\ntitle = 'x'\ndescription = 'x'\nrepeats = 1\n";
    format!("{head}{lines}\n{WORKLOAD}")
}

fn measure(lines: &str) -> (Output, Option<Run>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("x.toml");
    std::fs::write(&file, scenario(lines)).expect("can be written");
    let results = directory.path().join("run");
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--no-calibration", "--scenario"]).arg(&file);
    command.arg("--output").arg(&results).stdin(Stdio::null());
    let output = command.output().expect("it runs");
    let run = read(&results.join("run.json"));
    (output, run, directory)
}

fn read(path: &Path) -> Option<Run> {
    let json = std::fs::read_to_string(path).ok()?;
    Some(Run::from_json(&json).expect("run.json can be read"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A busy machine may void a step, but not lose a message.
fn check_deliveries(run: &Run) {
    for cell in &run.cells {
        let (counts, at) = (cell.deliveries, (cell.variant, &cell.workload));
        assert!(counts.expected > 0 && counts.received == counts.expected, "{at:?}: {counts:?}");
        let wrong = (counts.lost, counts.duplicated, counts.reordered, counts.unknown);
        assert_eq!(wrong, (0, 0, 0, 0), "{at:?}");
        assert_eq!(cell.latency_us.0.len(), counts.steady, "{at:?}");
    }
}

#[test]
fn rising_rate_gives_a_result_for_each_step_on_the_same_connections() {
    let (output, run, directory) =
        measure("transports = ['websocket', 'short-polling']\nramp = { rate = [5, 10, 20] }");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", stderr(&output));
    let run = run.expect("it was written");
    check_deliveries(&run);
    for cells in run.cells.chunks(3) {
        let rates: Vec<f64> = cells.iter().map(|cell| cell.workload.rate).collect();
        assert_eq!(rates, [5.0, 10.0, 20.0]);
        assert!(cells[0].published < cells[2].published);
        assert!(cells.iter().all(|cell| cell.connections.opened == 12), "no new connections");
        let [first, _, last] = cells else { panic!("three steps") };
        // Polling continues between the steps, so only the end of the last one can be compared.
        assert_eq!(first.requests.server_total, None);
        assert_eq!(last.requests.server_total, Some(last.requests.client_total));
    }
    let report = std::fs::read_to_string(directory.path().join("run/report.html")).expect("there");
    assert!(report.contains("Ramp, by messages per second") || output.status.code() == Some(3));
}

#[test]
fn rising_subscribers_receive_only_the_messages_of_their_steps() {
    let lines = "transports = ['sse', 'long-polling', 'short-polling']\n\
                 ramp = { subscribers = [3, 7, 12] }";
    let (output, run, _directory) = measure(lines);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", stderr(&output));
    let run = run.expect("it was written");
    check_deliveries(&run);
    for cells in run.cells.chunks(3) {
        for (cell, subscribers) in cells.iter().zip([3, 7, 12]) {
            assert_eq!(cell.workload.subscribers, subscribers);
            assert_eq!(cell.connections.opened, u64::from(subscribers));
        }
        assert_ne!(cells[0].trace.published_us, cells[1].trace.published_us, "other schedules");
    }
}

#[test]
fn invalid_ramps_are_errors_that_name_the_rule() {
    for (lines, message) in [
        ("ramp = { rate = [1] }", "between 2 and 50 steps, not 1"),
        ("ramp = { rate = [1, 2, 2] }", "each step must be above the one before; 2 is not above 2"),
        ("ramp = { rate = [1, nan] }", "NaN is not above 1"),
        ("ramp = { rate = [1, 99999] }", "rate = 99999: must be between"),
        ("ramp = { subscribers = [2, 4] }", "topics = 3: must be between 1 and the number"),
        ("ramp = { rtt = ['1s', '2s'] }", "unknown variant `rtt`"),
        ("ramp = { rate = [1, 2] }\nsweep = { rate = [1, 2] }", "cannot be combined with sweep"),
    ] {
        let error = Scenario::from_toml(&scenario(lines)).expect_err(lines).to_string();
        assert!(error.contains(message), "{lines}: {error}");
    }
    let restart = scenario("ramp = { rate = [1, 2] }").replace("rtt =", "restart = '1s'\nrtt =");
    let error = Scenario::from_toml(&restart).expect_err("a restart").to_string();
    assert!(error.contains("ramp: cannot be combined with workload.restart"), "{error}");
    let (output, ..) = measure("ramp = { rate = [2, 1] }");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ramp: each step must be above"), "{}", stderr(&output));
}
