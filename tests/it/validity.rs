//! CPU time of other processes in the steady state: its thresholds, and that a run measures it.

use std::process::{Child, Command, Stdio};

use poll_vs_push::run::{OtherLoad, Run};
use poll_vs_push::validity::{Finding, cautions, is_void_by_others, void_reasons};

use crate::child::PROGRAM;

/// The findings about other processes in a cell of 10 s in which they used `others` cores, the
/// load generator `generator` of its one thread, and the server `server` of the other core.
fn findings(others: f64, generator: f64, server: f64) -> (Vec<String>, Vec<String>) {
    let sample = include_str!("../../docs/sample/run.json");
    let mut run = Run::from_json(sample).expect("the sample is valid");
    run.machine.cores = 2;
    let mut cell = run.cells.remove(0);
    cell.steady_s = 10.0;
    cell.others = Some(OtherLoad { cpu_s: 10.0 * others, cores: 2 });
    (cell.generator.cpu_s, cell.generator.threads) = (10.0 * generator, Some(1));
    cell.server.as_mut().expect("it was measured").cpu_s = 10.0 * server;
    let of_others = |finding: Finding| {
        let text = finding.to_string();
        text.contains("other processes").then_some(text)
    };
    let void: Vec<String> = void_reasons(&run, &cell).into_iter().filter_map(of_others).collect();
    assert_eq!(is_void_by_others(&cell), !void.is_empty());
    (void, cautions(&run, &cell).filter_map(of_others).collect())
}

#[test]
fn other_processes_are_a_caution_above_a_tenth_of_a_core() {
    for little in [0.0, 0.05, 0.099] {
        assert_eq!(findings(little, 0.5, 0.5), (vec![], vec![]), "{little}");
    }
    for more in [0.11, 0.3, 0.49] {
        let (void, cautions) = findings(more, 0.5, 0.5);
        assert_eq!((void.len(), cautions.len()), (0, 1), "{more}");
        assert!(cautions[0].contains("load generator and server left 0.5"), "{cautions:?}");
    }
    // Not even if nothing was left: such a small load disturbs no cell.
    assert_eq!(findings(0.05, 0.8, 1.0), (vec![], vec![]));
}

#[test]
fn other_processes_void_a_cell_if_they_used_more_than_was_left() {
    // Above what the load generator left of its thread, the server of its core, and both.
    for (others, generator, server) in
        [(0.51, 0.5, 0.1), (0.51, 0.1, 0.5), (0.15, 0.8, 0.9), (1.9, 0.0, 0.0)]
    {
        let (void, cautions) = findings(others, generator, server);
        assert_eq!((void.len(), cautions.len()), (1, 0), "{others} {generator} {server}");
    }
    let (void, cautions) = findings(0.19, 0.8, 0.5);
    assert_eq!((void.len(), cautions.len()), (0, 1), "less than was left");
}

/// Processes that do nothing but use CPU time; killed when dropped.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start(count: usize) -> BusyLoops {
        let start = |_| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("a shell")
        };
        BusyLoops((0..count).map(start).collect())
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn load_that_starts_with_the_cell_is_measured_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--no-calibration", "--transports", "websocket", "--repeats", "1"]);
    command.args(["--subscribers", "4", "--topics", "1", "--rate", "5", "--rtt", "0s"]);
    command.args(["--idle", "0s", "--warm-up", "500ms", "--duration", "2s", "--output"]);
    command.arg(directory.path()).stdin(Stdio::null());
    let busy = BusyLoops::start(6);
    let output = command.output().expect("it runs");
    drop(busy);
    let json = std::fs::read_to_string(directory.path().join("run.json")).expect("results");
    let run = Run::from_json(&json).expect("they are valid");
    let cell = &run.cells[0];
    let others = cell.others.expect("Linux reports it");
    // Six loops get most of every core.
    assert!(others.cpu_s > 0.3 * cell.steady_s, "{others:?}");
    let report = std::fs::read_to_string(directory.path().join("report.md")).expect("a report");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(report.contains("other processes used"), "{error}{report}");
}
