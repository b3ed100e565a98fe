//! The load test against servers that never respond, or stop in the middle of a response: every
//! phase ends with an error at its deadline. The deadlines are those of the program, up to 45 s;
//! all cases wait at the same time.

use std::process::Stdio;
use std::time::{Duration, Instant};

use poll_vs_push::variant::Variant;
use tokio::process::Command;

use crate::misbehaving_servers::{
    FakeResponse, Responder, SUBSCRIBED, TEXT, after_the_checks, frame, healthy, ok, serve,
    small_run,
};

/// Longer than every deadline, on a slow machine.
const DEADLINE_MAX: Duration = Duration::from_secs(180);

/// Sends this and no more.
fn stops_after(text: &str) -> FakeResponse {
    FakeResponse::Endless(text.to_owned(), Vec::new())
}

const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-le";
const HALF_A_BODY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"epoch\":";
const HALF_A_CHUNK: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100\r\n{\"event\":\"subscr";

/// Runs `compare` and checks that it fails in time, with one of these texts in its error.
async fn fails_in_time(what: String, responder: Responder, variant: &str, errors: &[&str]) {
    let began_at = Instant::now();
    let (address, _serving) = serve(responder).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(crate::child::PROGRAM);
    small_run(&mut command, variant, address, directory.path());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE_MAX, running).await;
    let output = output.unwrap_or_else(|_| panic!("{what}: no end")).expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{what}: {:.0} s", began_at.elapsed().as_secs_f64());
    assert_eq!(output.status.code(), Some(1), "{what}: {error}");
    assert!(errors.iter().any(|it| error.contains(it)), "{what}: {error}");
}

/// The responses of a server that stops at some point of the run.
static OF_CHECKS: [(Responder, &str); 7] = [
    (|_| FakeResponse::Silence, "no response within"),
    (|_| stops_after(HALF_A_HEAD), "no response within"),
    (|_| stops_after(HALF_A_BODY), "no response within"),
    (|_| stops_after(HALF_A_CHUNK), "no response within"),
    (|path| if path == "/base/healthz" { healthy() } else { FakeResponse::Silence }, "/metrics"),
    (|path| if path == "/base/healthz" { healthy() } else { stops_after(HALF_A_HEAD) }, "/metrics"),
    (|path| if path == "/base/healthz" { healthy() } else { stops_after(HALF_A_BODY) }, "/metrics"),
];

const OF_SUBSCRIBERS: [Responder; 4] = [
    |path| after_the_checks(path, FakeResponse::Silence),
    |path| after_the_checks(path, stops_after(HALF_A_HEAD)),
    |path| after_the_checks(path, stops_after(HALF_A_BODY)),
    |path| after_the_checks(path, stops_after(HALF_A_CHUNK)),
];

/// An upgrade, and then half of a frame.
const HALF_A_FRAME: Responder =
    |path| after_the_checks(path, FakeResponse::Upgraded(vec![TEXT, 100, b'{'], Vec::new()));

/// Subscribers are served, and the publisher is not.
fn without_acknowledgements(path: &str, other: FakeResponse) -> FakeResponse {
    let empty = r#"{"epoch":"00000001","cursor":0,"messages":[]}"#;
    after_the_checks(path, if path.contains("/poll") { ok(empty) } else { other })
}

const OF_PUBLISHERS: [Responder; 3] = [
    |path| without_acknowledgements(path, FakeResponse::Silence),
    |path| without_acknowledgements(path, stops_after(HALF_A_HEAD)),
    |path| without_acknowledgements(path, stops_after(HALF_A_BODY)),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits for the longest deadlines of the program, up to 45 s"]
async fn servers_that_stop_responding_are_errors_in_every_phase() {
    const SUBSCRIBERS: &[&str] = &["timed out waiting until all subscribers connect"];
    // A 200 where an upgrade is expected is an error at once.
    const STOPPED: &[&str] = &[SUBSCRIBERS[0], "a subscriber failed: "];
    let mut cases: Vec<(String, Responder, &str, &[&str])> = Vec::new();
    for (number, (responder, error)) in OF_CHECKS.iter().enumerate() {
        let error: &[&str] = std::slice::from_ref(error);
        cases.push((format!("check {number}"), *responder, "short-polling", error));
    }
    let variants = [
        "short-polling",
        "long-polling",
        "websocket",
        "sse",
        "ndjson",
        "socketio-polling",
        "socketio-websocket",
        "short-polling+h2",
    ];
    for (number, variant) in variants.into_iter().enumerate() {
        let _: Variant = variant.parse().expect("a variant");
        // Each kind of stop for a fourth of the transports, and silence for all.
        let stop = OF_SUBSCRIBERS[1 + number % 3];
        for (kind, responder) in [("silence", OF_SUBSCRIBERS[0]), ("a stop", stop)] {
            // Half of a response of HTTP/1 is an error of HTTP/2 at once.
            if variant.ends_with("+h2") && kind == "a stop" {
                continue;
            }
            let errors = if kind == "silence" { SUBSCRIBERS } else { STOPPED };
            cases.push((format!("{variant}, {kind}"), responder, variant, errors));
        }
    }
    for variant in ["websocket", "socketio-websocket"] {
        cases.push((format!("{variant}, half a frame"), HALF_A_FRAME, variant, SUBSCRIBERS));
    }
    for (number, responder) in OF_PUBLISHERS.into_iter().enumerate() {
        let errors = &["the server acknowledged 0 of ", "the publisher"];
        cases.push((format!("publisher {number}"), responder, "short-polling", errors));
    }
    let mut waiting = tokio::task::JoinSet::new();
    for (what, responder, variant, errors) in cases {
        let errors: Vec<&'static str> = errors.to_vec();
        waiting.spawn(async move { fails_in_time(what, responder, variant, &errors).await });
    }
    while let Some(ended) = waiting.join_next().await {
        ended.expect("it fails in time");
    }
}

/// The message arrives in part, after everything was fine: the cell is void.
#[tokio::test(flavor = "multi_thread")]
async fn server_that_stops_in_the_middle_of_a_message_voids_the_cell() {
    let responder: Responder = |path| {
        let part = frame(TEXT, &[b'x'; 100]);
        let first = [frame(TEXT, SUBSCRIBED.as_bytes()), part[..50].to_vec()].concat();
        let stored = r#"{"epoch":"00000001","offset":1}"#;
        match path.ends_with("/messages") {
            true => {
                let length = stored.len();
                let head = "HTTP/1.1 201 Created\r\ncontent-length: ";
                FakeResponse::Whole(format!("{head}{length}\r\n\r\n{stored}"))
            }
            false => after_the_checks(path, FakeResponse::Upgraded(first, Vec::new())),
        }
    };
    let (address, _serving) = serve(responder).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(crate::child::PROGRAM);
    small_run(&mut command, "websocket", address, directory.path());
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE_MAX, running).await.expect("it ends");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("lost"), "{said}");
}
