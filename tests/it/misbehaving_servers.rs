//! The load test against misbehaving servers: each fails soon with a one-line error.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use poll_vs_push::client::{Dialer, HttpConnection, Meter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

use crate::support::soon;

/// The response of a server to a path.
type Responder = fn(&str) -> FakeResponse;

enum FakeResponse {
    Whole(String),
    /// A chunked body without end.
    Endless,
}

fn ok(body: &str) -> FakeResponse {
    let length = body.len();
    FakeResponse::Whole(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn metrics(cpu: &str) -> FakeResponse {
    let requests = "poll_vs_push_requests_total{transport=\"short-polling\"} 0";
    let gauges = "process_resident_memory_bytes 5\npoll_vs_push_open_connections 1";
    ok(&format!("process_cpu_seconds_total {cpu}\n{gauges}\n{requests}\n"))
}

fn healthy() -> FakeResponse {
    ok(r#"{"server":"poll-vs-push/0.1.0"}"#)
}

async fn serve(answers: Responder) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, answers));
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

/// Responder requests without a body until the client disconnects.
async fn answer(mut stream: TcpStream, answers: Responder) -> std::io::Result<()> {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let path = text.split(' ').nth(1).unwrap_or_default();
        match answers(path) {
            FakeResponse::Whole(text) => stream.write_all(text.as_bytes()).await?,
            FakeResponse::Endless => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
        }
    }
}

/// Exit code and standard error of a small run against such a server, below `/base`.
async fn measure(answers: Responder) -> (Option<i32>, String) {
    let (address, _serving) = serve(answers).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(["compare", "--no-calibration", "--transports", "short-polling"]);
    command.args(["--subscribers", "2", "--topics", "1", "--repeats", "1", "--idle", "0s"]);
    command.args(["--target", &format!("http://{address}/base/"), "--output"]);
    command.arg(directory.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = soon(command.output()).await.expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaving_server_is_a_one_line_error() {
    let cases: [(Responder, &str); 7] = [
        (
            |_| ok("<!doctype html><title>\x1b[2Jhello</title>"),
            "not a poll-vs-push server: got a 200 OK without a known version for GET /base/healthz",
        ),
        (
            |_| {
                let head = "HTTP/1.1 302 Found\r\nlocation: http://other/\x1b\r\n";
                FakeResponse::Whole(format!(
                    "{}content-length: 0\r\n\r\n",
                    head.replace('\x1b', "x")
                ))
            },
            "302 Found to http://other/x",
        ),
        (|_| ok("{\"server\":\"poll-vs-push/\\u001b[2J\"}"), "not a poll-vs-push server"),
        (|_| FakeResponse::Endless, "the response body has more than"),
        (
            |path| if path == "/base/healthz" { healthy() } else { metrics("NaN") },
            "/metrics: process_cpu_seconds_total is 'NaN', not a count",
        ),
        (
            |path| if path == "/base/healthz" { healthy() } else { metrics("inf") },
            "/metrics: process_cpu_seconds_total is 'inf', not a count",
        ),
        (
            |path| match path {
                "/base/healthz" => healthy(),
                "/base/metrics" => metrics("1"),
                _ => FakeResponse::Endless,
            },
            "the response body has more than",
        ),
    ];
    for (answers, message) in cases {
        let (code, error) = measure(answers).await;
        assert_eq!(code, Some(1), "{message}: {error}");
        assert!(error.contains(message), "{message}: {error}");
        assert!(!error.contains('\x1b') && !error.contains("<title>"), "{error}");
    }
}

/// Responder the first request of each connection, and closes the connection at the second.
async fn close_at_reuse(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        for is_first in [true, false] {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            if is_first {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).await.expect("the client reads");
            }
        }
    }
}

#[tokio::test]
async fn idempotent_request_is_retried_once_on_a_new_connection_and_post_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let meter = Arc::new(Meter::default());
    let address = listener.local_addr().expect("it has one");
    let dialer = Dialer::new(address).with_meter(meter.clone());
    let _serving = AbortOnDropHandle::new(tokio::spawn(close_at_reuse(listener)));
    let mut http = HttpConnection::new(dialer);
    for _ in 0..3 {
        assert_eq!(soon(http.get("/")).await.expect("an answer"), "ok");
    }
    let counts = meter.counts();
    assert_eq!((counts.requests, counts.repeated, counts.opened), (3, 2, 3));
    let error = soon(http.post("/there", "x".into())).await.expect_err("closed").to_string();
    assert!(error.contains("the POST /there, which is not repeated"), "{error}");
    assert_eq!(meter.counts().repeated, 2);
}
