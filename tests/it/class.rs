//! A classroom (`serve --class`) and the faults of the lesson (`serve --demo`).

use std::process::Stdio;
use std::time::{Duration, Instant};

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::support::{TestServer, soon};

const PATHS: [(&str, &str); 8] = [
    ("GET", "/class"),
    ("GET", "/teacher"),
    ("GET", "/class/state"),
    ("GET", "/class/qr"),
    ("POST", "/class/report"),
    ("POST", "/class/settings"),
    ("POST", "/demo/freeze?seconds=1"),
    ("POST", "/demo/restart"),
];

async fn class() -> TestServer {
    TestServer::with(|config| config.class = true).await
}

fn report(device: usize, team: &str) -> String {
    let delays = json!({ "websocket": [12.0], "short-polling": [900.0] });
    json!({ "device": format!("d{device}"), "team": team, "delays_ms": delays }).to_string()
}

async fn state(server: &TestServer) -> Value {
    serde_json::from_slice(&server.get("/class/state").await.body).expect("JSON")
}

#[tokio::test]
async fn without_their_flags_neither_class_nor_faults_exist() {
    let server = TestServer::start().await;
    for (method, path) in PATHS {
        let status = match method {
            "GET" => server.get(path).await.status,
            _ => server.post(path, "").await.status,
        };
        assert_eq!(status, 404, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn thirty_devices_are_one_histogram_and_get_the_teachers_settings() {
    let server = class().await;
    for device in 0..30 {
        let team = if device % 2 == 0 { "red" } else { "blue" };
        let answer = server.post("/class/report", report(device, team)).await;
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains("\"rate\":0.5"));
    }
    let seen = state(&server).await;
    assert_eq!((&seen["devices"], &seen["teams"]), (&json!(30), &json!(["blue", "red"])));
    assert_eq!(seen["delays"]["websocket"]["count"], 30);
    assert_eq!(seen["delays"]["short-polling"]["bars"][7], 30, "{seen}");
    assert!(!seen.to_string().contains(server.app.class.as_ref().expect("a class").key()));

    let settings = json!({ "rate": 2.0, "poll_interval_ms": 500, "round_trip_ms": 40 });
    let change = |key: &str| json!({ "key": key, "settings": settings }).to_string();
    assert_eq!(server.post("/class/settings", change("guess")).await.status, 403);
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    assert_eq!(server.post("/class/settings", change(&key)).await.status, 204);
    assert_eq!(state(&server).await["settings"], settings);
    for wrong in ["{}", "{\"device\":1}", &report(0, "a b")] {
        assert_eq!(server.post("/class/report", wrong.to_owned()).await.status, 400, "{wrong}");
    }
    let image = server.get("/class/qr").await;
    assert_eq!(image.headers["content-type"], "image/svg+xml");
    assert!(String::from_utf8_lossy(&image.body).contains("<svg"));
    server.stop().await;
}

#[tokio::test]
async fn the_server_publishes_to_the_topic_of_each_team() {
    let server = class().await;
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    let settings = json!({ "rate": 20.0, "poll_interval_ms": 500, "round_trip_ms": 0 });
    let change = json!({ "key": key, "settings": settings }).to_string();
    assert_eq!(server.post("/class/settings", change.clone()).await.status, 204);
    server.post("/class/report", report(1, "red")).await;
    server.post("/class/report", report(2, "blue")).await;
    for team in ["red", "blue"] {
        let path = format!("/topics/class-{team}/long-poll?after=0&wait=50");
        let answer = soon(server.get(&path)).await;
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains("\"sender\":\"class\""), "{team}: {body}");
    }
    server.stop().await;
}

/// `serve --demo` on a free port, its output's first line read.
async fn demo() -> (Child, HttpConnection) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--drain-timeout", "1s"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    soon(BufReader::new(stdout).read_line(&mut line)).await.expect("a line");
    let address = line.trim_end().strip_prefix("listening on http://").expect(&line);
    (child, HttpConnection::new(Dialer::new(address.parse().expect("an address"))))
}

#[tokio::test]
async fn a_frozen_server_answers_late_and_recovers() {
    let (mut child, mut http) = demo().await;
    let path = "/demo/freeze?seconds=2";
    let answer = soon(http.request(Method::POST, path, Default::default())).await;
    assert_eq!(answer.expect("an answer").status, 202);
    let slow = async {
        loop {
            let asked = Instant::now();
            http.get("/healthz").await.expect("a 200");
            if asked.elapsed() > Duration::from_millis(500) {
                return;
            }
        }
    };
    soon(slow).await;
    let path = "/demo/freeze?seconds=31";
    let answer = soon(http.request(Method::POST, path, Default::default())).await;
    assert_eq!(answer.expect("an answer").status, 400);
    child.kill().await.expect("it was alive");
}

#[tokio::test]
async fn a_restarted_server_returns_on_its_port_with_a_new_epoch() {
    let (mut child, mut http) = demo().await;
    let body = r#"{"sender":"A","text":"hi"}"#;
    let first = http.request(Method::POST, "/topics/room/messages", body.into()).await;
    let first = first.expect("an answer").body;
    let restart = http.request(Method::POST, "/demo/restart", Default::default()).await;
    assert_eq!(restart.expect("an answer").status, 202);
    let returns = async {
        loop {
            let again = http.request(Method::POST, "/topics/room/messages", body.into()).await;
            if again.is_ok_and(|answer| answer.status == 201 && answer.body[..20] != first[..20]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(returns).await;
    child.kill().await.expect("it was alive");
}

#[tokio::test]
async fn faults_are_refused_on_an_address_that_others_reach() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(["serve", "--demo", "--listen", "0.0.0.0:0"]).stdin(Stdio::null());
    let output = soon(command.output()).await.expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("--demo") && errors.contains("127.0.0.1"), "{errors}");
}
