//! The load test against misbehaving servers: each fails soon with a one-line error.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::client::{Dialer, HttpConnection, Meter};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{options, soon};

/// The response of a server to a request for a path.
pub type Responder = fn(&str) -> FakeResponse;

pub enum FakeResponse {
    Whole(String),
    /// These bytes, and then the others again and again; nothing more if there are none.
    Endless(String, Vec<u8>),
    /// An upgrade to a WebSocket; then these bytes, and the others again and again.
    Upgraded(Vec<u8>, Vec<u8>),
    /// The request is read, and nothing is sent.
    Silence,
    /// The request is read, and the connection is closed.
    Closed,
}

pub fn ok(body: &str) -> FakeResponse {
    let length = body.len();
    FakeResponse::Whole(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// A chunk of a chunked body.
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A body that begins with `first` and continues with `more` without an end.
fn endless(first: &str, more: &str) -> FakeResponse {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let first = if first.is_empty() { String::new() } else { chunk(first) };
    FakeResponse::Endless(format!("{head}{first}"), chunk(more).into_bytes())
}

pub fn metrics(cpu: &str) -> FakeResponse {
    let of = |transport: Transport| {
        format!("poll_vs_push_requests_total{{transport=\"{transport}\"}} 0\n")
    };
    let requests: String = Transport::ALL.into_iter().map(of).collect();
    let connections = "poll_vs_push_open_connections 0\n";
    let memory = "process_resident_memory_bytes 5\n";
    ok(&format!("process_cpu_seconds_total {cpu}\n{memory}{connections}{requests}"))
}

pub fn healthy() -> FakeResponse {
    ok(r#"{"server":"poll-vs-push/0.1.0"}"#)
}

/// A server that passes the checks before the run, and responds with `other` to subscribers and
/// publications.
pub fn after_the_checks(path: &str, other: FakeResponse) -> FakeResponse {
    match path {
        "/base/healthz" => healthy(),
        "/base/metrics" => metrics("1"),
        _ => other,
    }
}

pub async fn serve(answers: Responder) -> (SocketAddr, AbortOnDropHandle<()>) {
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

/// Responds to requests until the client disconnects.
async fn answer(mut stream: TcpStream, answers: Responder) -> std::io::Result<()> {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let header = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length = header("content-length").map_or(0, |text| text.parse().expect("a number"));
        stream.read_exact(&mut vec![0; length]).await?;
        let (first, more) = match answers(text.split(' ').nth(1).unwrap_or_default()) {
            FakeResponse::Whole(text) => {
                stream.write_all(text.as_bytes()).await?;
                continue;
            }
            FakeResponse::Silence => continue,
            FakeResponse::Closed => return Ok(()),
            FakeResponse::Endless(first, more) => (first.into_bytes(), more),
            FakeResponse::Upgraded(first, more) => {
                let key = header("sec-websocket-key").unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                );
                ([head.as_bytes(), &first].concat(), more)
            }
        };
        stream.write_all(&first).await?;
        if more.is_empty() {
            return std::future::pending().await;
        }
        loop {
            stream.write_all(&more).await?;
        }
    }
}

/// The arguments of a small run against the server below `/base` of `address`.
pub fn small_run(command: &mut Command, transport: &str, address: SocketAddr, output: &Path) {
    command.args(["compare", "--no-calibration", "--transports", transport]);
    command.args(["--subscribers", "2", "--topics", "1", "--repeats", "1", "--idle", "0s"]);
    command.args(["--rate", "5", "--poll-interval", "200ms", "--rtt", "10ms"]);
    command.args(["--warm-up", "100ms", "--duration", "1s"]);
    command.args(["--target", &format!("http://{address}/base/"), "--output"]).arg(output);
}

/// Exit code and standard error of a small run against such a server, below `/base`.
async fn measure(answers: Responder, transport: &str) -> (Option<i32>, String) {
    let (address, _serving) = serve(answers).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    small_run(&mut command, transport, address, directory.path());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon(command.output()).await.expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaving_server_is_a_one_line_error() {
    let cases: [(Responder, &str); 13] = [
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
        (
            |_| {
                let to = "https://user:password@other/login?state=secret";
                let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\n");
                FakeResponse::Whole(head + "content-length: 0\r\n\r\n")
            },
            "302 Found to https://...@other/login?...",
        ),
        // The alert of a server that expects TLS.
        (
            |_| FakeResponse::Whole("\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{16}".repeat(3)),
            "the response is not HTTP (invalid HTTP version parsed); a server that uses TLS needs \
             https://",
        ),
        (
            |_| FakeResponse::Whole("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned()),
            "the connection broke: invalid content-length parsed",
        ),
        (
            |_| FakeResponse::Whole("HTTP/1.1 100 Continue\r\n\r\nSSH-2.0\r\n".to_owned()),
            "the response is not HTTP",
        ),
        // As a poll-vs-push server that is full.
        (
            |_| {
                let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 16\r\n\r\n";
                FakeResponse::Whole(format!("{head}{{\"error\":\"full\"}}"))
            },
            "GET /base/healthz: the server refused: 503 Service Unavailable full; if it is not a",
        ),
        (|_| FakeResponse::Closed, "it ended without a response"),
        (|_| ok("{\"server\":\"poll-vs-push/\\u001b[2J\"}"), "not a poll-vs-push server"),
        (|_| endless("", &"x".repeat(0x10000)), "the response body has more than"),
        (
            |path| if path == "/base/healthz" { healthy() } else { metrics("NaN") },
            "/metrics: process_cpu_seconds_total is 'NaN', not a count",
        ),
        (
            |path| if path == "/base/healthz" { healthy() } else { metrics("inf") },
            "/metrics: process_cpu_seconds_total is 'inf', not a count",
        ),
        (
            |path| after_the_checks(path, endless("", &"x".repeat(0x10000))),
            "the response body has more than",
        ),
    ];
    for (answers, message) in cases {
        let (code, error) = measure(answers, "short-polling").await;
        assert_eq!(code, Some(1), "{message}: {error}");
        assert!(error.contains(message), "{message}: {error}");
        assert!(!error.contains('\x1b') && !error.contains("<title>"), "{error}");
    }
}

pub const SUBSCRIBED: &str = r#"{"event":"subscribed","epoch":"00000001","cursor":0}"#;
const UNKNOWN_MESSAGE: &str =
    r#"{"offset":1,"published_at":1,"sender":"A","text":"never published"}"#;

/// A frame of a server with that first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let header = match length {
        ..126 => vec![first, length as u8],
        _ => [&[first, 126][..], &length.to_be_bytes()].concat(),
    };
    [&header, payload].concat()
}

pub const TEXT: u8 = 0x81;
const UNFINISHED_TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;

/// The responses to the subscribers of every transport have no end. The subscriber fails as soon as
/// its limit is exceeded.
#[tokio::test(flavor = "multi_thread")]
async fn endless_responses_are_bounded_on_every_transport() {
    let too_much = "messages to a subscriber of a topic with";
    let cases: [(&str, Responder, &str); 12] = [
        (
            "websocket",
            |path| {
                let first =
                    [frame(TEXT, SUBSCRIBED.as_bytes()), frame(UNFINISHED_TEXT, b"x")].concat();
                let more = frame(CONTINUATION, &[b'x'; 10_000]);
                after_the_checks(path, FakeResponse::Upgraded(first, more))
            },
            "a message of more than",
        ),
        (
            "websocket",
            |path| {
                let more = frame(TEXT, UNKNOWN_MESSAGE.as_bytes());
                let first = frame(TEXT, SUBSCRIBED.as_bytes());
                after_the_checks(path, FakeResponse::Upgraded(first, more))
            },
            too_much,
        ),
        (
            "socketio-websocket",
            |path| {
                let more = frame(CONTINUATION, &[b'x'; 10_000]);
                after_the_checks(path, FakeResponse::Upgraded(frame(UNFINISHED_TEXT, b"x"), more))
            },
            "a message of more than",
        ),
        (
            "socketio-polling",
            |path| after_the_checks(path, endless("", &"x".repeat(0x10000))),
            "the response body has more than",
        ),
        (
            "ndjson",
            |path| after_the_checks(path, endless(&format!("{SUBSCRIBED}\n"), &"x".repeat(10_000))),
            "a line of more than",
        ),
        (
            "ndjson",
            |path| {
                let message = format!("{UNKNOWN_MESSAGE}\n");
                after_the_checks(path, endless(&format!("{SUBSCRIBED}\n"), &message))
            },
            too_much,
        ),
        (
            "sse",
            |path| {
                let first = format!("event:subscribed\ndata:{SUBSCRIBED}\n\n");
                after_the_checks(path, endless(&first, &"x".repeat(10_000)))
            },
            "an event of more than",
        ),
        (
            "sse",
            |path| {
                let first = format!("event:subscribed\ndata:{SUBSCRIBED}\n\n");
                after_the_checks(path, endless(&first, &format!("data:{}\n", "x".repeat(10_000))))
            },
            "an event of more than",
        ),
        (
            "sse",
            |path| {
                let first = format!("event:subscribed\ndata:{SUBSCRIBED}\n\n");
                after_the_checks(path, endless(&first, &format!("data:{UNKNOWN_MESSAGE}\n\n")))
            },
            too_much,
        ),
        (
            "long-polling",
            |path| after_the_checks(path, endless("", &"x".repeat(0x10000))),
            "the response body has more than",
        ),
        (
            // A head without an end.
            "websocket",
            |path| {
                let head = "HTTP/1.1 200 OK\r\n".to_owned();
                after_the_checks(path, FakeResponse::Endless(head, b"x: y\r\n".repeat(1_000)))
            },
            "the connection broke: message head is too large",
        ),
        (
            "short-polling+h2",
            |path| after_the_checks(path, FakeResponse::Endless(String::new(), vec![b'x'; 10_000])),
            "the connection broke",
        ),
    ];
    for (transport, answers, message) in cases {
        let (code, error) = measure(answers, transport).await;
        assert_eq!(code, Some(1), "{transport}: {message}: {error}");
        assert!(error.contains(message), "{transport}: {message}: {error}");
        let longest = error.lines().map(str::len).max();
        assert!(longest < Some(1_000), "{transport}: {message}: {error}");
    }
}

/// Interim responses without an end, and never a final one (RFC 9110, section 15.2): each is short,
/// so no limit of size is exceeded.
#[tokio::test(flavor = "multi_thread")]
async fn endless_interim_responses_are_an_error() {
    fn endless() -> FakeResponse {
        let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        FakeResponse::Endless(String::new(), interim.repeat(100))
    }
    for transport in ["short-polling", "websocket", "sse"] {
        let (code, error) = measure(|path| after_the_checks(path, endless()), transport).await;
        assert_eq!(code, Some(1), "{transport}: {error}");
        assert!(error.contains("error: nothing was measured: "), "{transport}: {error}");
    }
    let (code, error) = measure(|_| endless(), "short-polling").await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no response within 10s"), "{error}");
}

/// Subscribers are served, and publications are read, but never acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn publications_that_are_never_acknowledged_end_the_cell() {
    let answers: Responder = |path| {
        let empty = r#"{"epoch":"00000001","cursor":0,"messages":[]}"#;
        let is_poll = path.contains("/poll");
        after_the_checks(path, if is_poll { ok(empty) } else { FakeResponse::Silence })
    };
    let (code, error) = measure(answers, "short-polling").await;
    assert_eq!(code, Some(1), "{error}");
    for part in ["error: nothing was measured: ", "the server acknowledged 0 of ", "--rate 5"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A server that accepts connections and requests, and never responds.
#[tokio::test(flavor = "multi_thread")]
async fn silent_server_is_an_error() {
    let (code, error) = measure(|_| FakeResponse::Silence, "short-polling").await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no response within 10s"), "{error}");
}

/// A byte order mark before the first line is not part of it (WHATWG HTML, section 9.2.5).
#[tokio::test]
async fn event_stream_may_begin_with_a_byte_order_mark() {
    let (address, _serving) = serve(|_| {
        let first = format!("\u{feff}data:{SUBSCRIBED}\n\n");
        endless(&first, &format!("data:{UNKNOWN_MESSAGE}\n\n"))
    })
    .await;
    let connecting = Subscriber::connect(Transport::Sse, Dialer::new(address), options(None));
    let mut subscriber = soon(connecting).await.expect("the first event is read");
    let update = soon(subscriber.next()).await.expect("a message");
    assert_eq!(update.messages[0].text, "never published");
}

/// However long the server wants its client to wait, the client waits without a panic.
#[tokio::test]
async fn huge_retry_after_is_waited_for() {
    let (address, _serving) = serve(|_| {
        let body = r#"{"epoch":"00000001","cursor":0,"messages":[]}"#;
        let length = body.len();
        FakeResponse::Whole(format!(
            "HTTP/1.1 200 OK\r\nretry-after: 99999999999999999999\r\n\
             content-length: {length}\r\n\r\n{body}"
        ))
    })
    .await;
    for transport in [Transport::ShortPolling, Transport::LongPolling] {
        let connecting = Subscriber::connect(transport, Dialer::new(address), options(None));
        let mut subscriber = soon(connecting).await.expect("a first answer");
        soon(subscriber.next()).await.expect("an answer");
        let waiting = tokio::time::timeout(Duration::from_millis(200), subscriber.next()).await;
        assert!(waiting.is_err(), "{transport} did not wait: {waiting:?}");
    }
}

/// A page of another server is an error of one line, without its markup.
#[tokio::test(flavor = "multi_thread")]
async fn load_of_a_server_that_answers_with_pages_prints_no_markup() {
    let (address, _serving) = serve(|_| {
        let page = format!("<!doctype html><title>hello</title>{}", "<p>text".repeat(500));
        let length = page.len();
        FakeResponse::Whole(format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\n\
             content-length: {length}\r\n\r\n{page}"
        ))
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/targets/poll-vs-push.toml");
    command.args(["load", "--target", &format!("http://{address}"), "--target-file", file]);
    command.args(["--no-calibration", "--subscribers", "2", "--topics", "1", "--idle", "0s"]);
    command.args(["--repeats", "1", "--output"]).arg(directory.path());
    let output = soon(command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = output.expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("404 Not Found (an HTML page of 3535 bytes)"), "{error}");
    assert!(!error.contains("<title>") && !error.contains("<p>"), "{error}");
}

/// Responds to the first request of each connection, and closes the connection at the second.
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
