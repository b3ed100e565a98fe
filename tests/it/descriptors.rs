//! The limit on file descriptors: it is raised at start, and what it still forbids is reported.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::child::{ChildServer, PROGRAM};
use crate::support::Raw;

/// The program under limits that `ulimit` sets with `flags`.
fn limited(flags: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!(r#"ulimit {flags} && exec "$0" "$@""#), PROGRAM]);
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// Soft and hard limit of a process.
fn limits(pid: u32) -> [String; 2] {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.expect("a line").split_whitespace().map(str::to_owned);
    [words.next().expect("the soft limit"), words.next().expect("the hard limit")]
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn soft_limit_is_raised_to_the_hard_limit() {
    let server = ChildServer::spawn(limited("-S -n 64", &SERVE));
    let [soft, hard] = limits(server.child.id());
    assert_eq!(soft, hard);
    assert_ne!(soft, "64");
    let mut connections = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::connect(server.address).await;
        raw.get("/healthz", "").await;
        assert_eq!(raw.answer().await.status, 200);
        connections.push(raw);
    }
}

#[tokio::test]
async fn hard_limit_below_the_flags_is_reported_and_further_clients_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let mut command = limited("-n 110", &SERVE);
    command.stderr(File::create(&log).expect("a file"));
    let server = ChildServer::spawn_as_it_is(command);
    let warning = std::fs::read_to_string(&log).expect("text");
    for part in ["--max-connections 19900", "allows only 10 connections", "ulimit -Hn"] {
        assert!(warning.contains(part), "{warning}");
    }
    let mut connections = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(server.address).await;
        raw.get("/healthz", "").await;
        assert_eq!(raw.answer().await.status, 200);
        connections.push(raw);
    }
    let mut waiting = Raw::connect(server.address).await;
    waiting.get("/healthz", "").await;
    drop(connections);
    assert_eq!(waiting.answer().await.status, 200);
}

#[test]
fn load_test_beyond_the_hard_limit_is_an_error_before_the_run() {
    let arguments = ["compare", "--subscribers", "500"];
    let output = limited("-n 300", &arguments).output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("--subscribers 500: the limit on file descriptors allows 200"),
        "{error}"
    );
}
