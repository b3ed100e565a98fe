//! Engine.IO sessions: handshake, heartbeat, end of a session, upgrade from polling to a WebSocket
//! and its failures, and the namespaces that `--echo` adds for the official test suites.

use std::time::{Duration, Instant};

use poll_vs_push::app::metrics::Refusal;
use tokio::time::sleep;

use crate::support::{Raw, TestServer, WireFrame, eventually, soon};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server with the namespaces and the heartbeat of the official suites.
async fn suite_server() -> TestServer {
    TestServer::with(|config| {
        config.echo = true;
        config.heartbeat = Duration::from_millis(300);
        config.ping_timeout = Duration::from_millis(200);
        config.max_message_bytes = 166_496;
    })
    .await
}

/// Sends a GET, or a POST with `body`, on a new connection.
async fn begin(server: &TestServer, path: &str, body: Option<&str>) -> Raw {
    let mut raw = Raw::connect(server.address).await;
    match body {
        None => raw.get(path, "").await,
        Some(body) => {
            let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
            raw.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
        }
    }
    raw
}

async fn exchange(server: &TestServer, path: &str, body: Option<&str>) -> (u16, String) {
    let answer = begin(server, path, body).await.answer().await;
    (answer.status, answer.body)
}

/// Opens a session with a poll; returns the path of its requests.
async fn open(server: &TestServer, path: &str) -> String {
    let (status, body) = exchange(server, path, None).await;
    assert_eq!(status, 200, "{body}");
    let open: serde_json::Value = serde_json::from_str(&body[1..]).expect("JSON");
    format!("{path}&sid={}", open["sid"].as_str().expect("an id"))
}

/// Opens a WebSocket for the session of `path`.
async fn socket_for(server: &TestServer, path: &str) -> Raw {
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(&path.replace("polling", "websocket")).await;
    socket
}

async fn text(socket: &mut Raw) -> String {
    match socket.frame().await {
        WireFrame::Text(text) => text,
        other => panic!("{other:?} where a packet should be"),
    }
}

fn ended() -> impl Fn((u16, String)) {
    |(status, body)| assert_eq!(status, 400, "{body}")
}

#[tokio::test]
async fn handshake_contains_heartbeat_and_limits() {
    let server = suite_server().await;
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(SOCKET).await;
    let (_, polled) = exchange(&server, POLLING, None).await;
    for (packet, upgrades) in [(polled, "[\"websocket\"]"), (text(&mut socket).await, "[]")] {
        let open: serde_json::Value = serde_json::from_str(&packet[1..]).expect("JSON");
        assert_eq!(open["upgrades"].to_string(), upgrades);
        assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&300.into(), &200.into()));
        assert_eq!(open["maxPayload"], 1_000_000);
    }
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn handshake_with_wrong_version_transport_or_method_is_rejected() {
    let server = TestServer::start().await;
    for (query, body) in [
        ("transport=polling", None),
        ("EIO=3&transport=polling", None),
        ("EIO=4", None),
        ("EIO=4&transport=carrier-pigeon", None),
        ("EIO=4&transport=polling", Some("40")),
        ("EIO=4&transport=polling&sid=0123456789abcdef0123456789abcdef", None),
        ("EIO=4&transport=polling&sid=%00", None),
    ] {
        ended()(exchange(&server, &format!("/socket.io/?{query}"), body).await);
    }
    let (status, _) = exchange(&server, "/engine.io/?EIO=4&transport=polling", None).await;
    assert_eq!(status, 404, "only with --echo");
    server.stop().await;
}

#[tokio::test]
async fn put_is_answered_with_400() {
    let server = suite_server().await;
    for path in [POLLING, "/engine.io/?EIO=4&transport=polling"] {
        let answer = server.request("PUT", path, "").await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.headers["allow"], "GET, POST, OPTIONS", "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn client_must_connect_to_a_namespace_in_time() {
    let server = TestServer::with(|config| {
        config.connect_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = Raw::connect(server.address).await;
    silent.upgrade(SOCKET).await;
    let path = open(&server, POLLING).await;
    assert_eq!(exchange(&server, &path, None).await, (200, "1".to_owned()));
    ended()(exchange(&server, &path, None).await);
    silent.frame().await;
    assert_eq!(silent.closed_with().await, 1008);
    assert_eq!(server.app.metrics.refusals(Refusal::Idle), 2);
    server.stop().await;
}

#[tokio::test]
async fn connected_client_stays_beyond_the_connect_timeout() {
    let server = TestServer::with(|config| {
        config.connect_timeout = Duration::from_secs(2);
    })
    .await;
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(SOCKET).await;
    socket.send_frame(0x81, b"40").await;
    assert!(text(&mut socket).await.starts_with("0{"));
    assert!(text(&mut socket).await.starts_with("40{"));
    sleep(server.app.config.connect_timeout * 2).await;
    socket.send_frame(0x81, b"421[\"publish\",{}]").await;
    assert!(text(&mut socket).await.starts_with("431["));
    server.stop().await;
}

#[tokio::test]
async fn invalid_or_unexpected_packet_ends_the_session() {
    let server = TestServer::start().await;
    for body in ["abc", "", "0", "2", "5", "3probe", "4abc", "42[]", "40[]", "bAAAA", "3\u{1e}9"] {
        let path = open(&server, POLLING).await;
        assert_eq!(exchange(&server, &path, Some(body)).await.0, 400, "{body}");
        ended()(exchange(&server, &path, None).await);
    }
    for packet in ["abc", "5", "451-[\"message\",{}]", "42[\"publish\"]"] {
        let mut socket = Raw::connect(server.address).await;
        socket.upgrade(SOCKET).await;
        socket.send_frame(0x81, packet.as_bytes()).await;
        assert_eq!(socket.closed_with().await, 1002, "{packet}");
    }
    server.stop().await;
}

#[tokio::test]
async fn concurrent_second_poll_ends_the_session() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    let mut first = begin(&server, &path, None).await;
    // On another connection, the first poll may arrive second; then the server rejects that one.
    let mut second = begin(&server, &path, None).await;
    let mut answers = [first.answer().await, second.answer().await];
    answers.sort_by_key(|answer| answer.status);
    assert_eq!((answers[0].status, answers[0].body.as_str()), (200, "1"));
    assert_eq!(answers[1].status, 400);
    ended()(exchange(&server, &path, None).await);
    server.stop().await;
}

#[tokio::test]
async fn concurrent_second_post_ends_the_session() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    let mut first = Raw::connect(server.address).await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n");
    first.send(format!("{head}content-length: 2\r\n\r\n")).await;
    // The server is reading the body, so the POST is in progress.
    assert_eq!(first.response_without_body().await.status, 100);
    ended()(exchange(&server, &path, Some("40")).await);
    first.send("40").await;
    ended()(exchange(&server, &path, None).await);
    server.stop().await;
}

#[tokio::test]
async fn cancelled_poll_ends_the_session() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    drop(begin(&server, &path, None).await);
    server.until_all_have_left().await;
    ended()(exchange(&server, &path, None).await);
    server.stop().await;
}

#[tokio::test]
async fn close_packet_ends_the_session_and_its_poll() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    exchange(&server, &path, Some("40")).await;
    assert!(exchange(&server, &path, None).await.1.starts_with("40{"));
    let mut poll = begin(&server, &path, None).await;
    assert_eq!(exchange(&server, &path, Some("1")).await, (200, "ok".to_owned()));
    // Unless it arrives after the end of the session.
    let answer = poll.answer().await;
    assert!(answer.status == 400 || answer.body == "6", "{answer:?}");
    ended()(exchange(&server, &path, None).await);
    server.stop().await;
}

#[tokio::test]
async fn first_ping_comes_after_one_interval_and_must_be_answered() {
    let server = suite_server().await;
    let opened_at = Instant::now();
    let path = open(&server, POLLING).await;
    for _ in 0..2 {
        assert_eq!(exchange(&server, &path, None).await, (200, "2".to_owned()));
        assert_eq!(exchange(&server, &path, Some("3")).await.0, 200);
    }
    assert!(opened_at.elapsed() >= 2 * server.app.config.heartbeat);
    assert_eq!(exchange(&server, &path, None).await.1, "2");
    assert_eq!(exchange(&server, &path, None).await, (200, "1".to_owned()), "no answer to a ping");
    ended()(exchange(&server, &path, None).await);
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(SOCKET).await;
    assert!(text(&mut socket).await.starts_with('0'));
    assert_eq!(text(&mut socket).await, "2");
    assert_eq!(socket.closed_with().await, 1008);
    server.stop().await;
}

#[tokio::test]
async fn upgrade_moves_the_session_to_the_websocket() {
    let server = suite_server().await;
    let path = open(&server, POLLING).await;
    let mut poll = begin(&server, &path, None).await;
    let mut socket = socket_for(&server, &path).await;
    socket.send_frame(0x81, b"2probe").await;
    assert_eq!(text(&mut socket).await, "3probe");
    assert_eq!(poll.answer().await.body, "6");
    socket.send_frame(0x81, b"5").await;
    socket.send_frame(0x81, b"40").await;
    assert!(text(&mut socket).await.starts_with("40{"));
    for body in [None, Some("3")] {
        let (status, error) = exchange(&server, &path, body).await;
        assert!(status == 400 && error.contains("has moved to its WebSocket"), "{status} {error}");
    }
    // A second WebSocket for the session is closed, and the first continues.
    assert_eq!(socket_for(&server, &path).await.closed_with().await, 1008);
    assert_eq!(text(&mut socket).await, "42[\"auth\",{}]");
    drop(socket);
    server.stop().await;
}

/// An upgrade broken by a proxy, before or after the probe, must not affect the polls.
#[tokio::test]
async fn failed_upgrade_keeps_the_session_on_polling() {
    let server = TestServer::start().await;
    for is_probed in [false, true] {
        let path = open(&server, POLLING).await;
        let mut socket = socket_for(&server, &path).await;
        if is_probed {
            socket.send_frame(0x81, b"2probe").await;
            assert_eq!(text(&mut socket).await, "3probe");
        }
        drop(socket);
        exchange(&server, &path, Some("40")).await;
        let mut received = String::new();
        while !received.contains("40{") {
            let (status, body) = exchange(&server, &path, None).await;
            assert_eq!(status, 200, "{body}");
            received.push_str(&body);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn polls_wait_while_an_upgrade_is_pending() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    let mut socket = socket_for(&server, &path).await;
    let subscribe = "40\u{1e}42[\"subscribe\",{\"topic\":\"room\"}]";
    exchange(&server, &path, Some(subscribe)).await;
    assert!(exchange(&server, &path, None).await.1.contains("subscribed"));
    // Without a probe, a poll works as usual.
    let mut poll = begin(&server, &path, None).await;
    server.publish("before the probe").await;
    assert!(poll.answer().await.body.contains("before the probe"));
    socket.send_frame(0x81, b"2probe").await;
    assert_eq!(text(&mut socket).await, "3probe");
    let started_at = Instant::now();
    for _ in 0..4 {
        assert_eq!(exchange(&server, &path, None).await, (200, "6".to_owned()));
    }
    // The first poll returns at once, so that the client can continue; later ones wait.
    assert!(started_at.elapsed() >= Duration::from_millis(1_500), "{:?}", started_at.elapsed());
    let mut poll = begin(&server, &path, None).await;
    server.publish("after the probe").await;
    assert!(poll.answer().await.body.contains("after the probe"));
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_limited_in_total_and_per_address() {
    let limited = async |total, share, refusal, status| {
        let server = TestServer::with(|config| {
            (config.max_sessions, config.max_sessions_per_address) = (total, share);
            config.limit_loopback = true;
        })
        .await;
        let path = open(&server, POLLING).await;
        let mut socket = Raw::connect(server.address).await;
        socket.upgrade(SOCKET).await;
        assert_eq!(exchange(&server, POLLING, None).await.0, status);
        let mut refused = Raw::connect(server.address).await;
        refused.get(SOCKET, &Raw::upgrade_headers()).await;
        assert_eq!(refused.answer().await.status, status, "before any upgrade");
        assert_eq!(server.app.metrics.refusals(refusal), 2);
        exchange(&server, &path, Some("1")).await;
        open(&server, POLLING).await;
        drop((socket, refused));
        server.stop().await;
    };
    limited(2, 9, Refusal::Sessions, 503).await;
    limited(9, 2, Refusal::SessionsPerAddress, 429).await;
}

#[tokio::test]
async fn session_without_polls_ends_after_the_send_timeout() {
    let server = TestServer::with(|config| config.send_timeout = Duration::from_millis(200)).await;
    let path = open(&server, POLLING).await;
    exchange(&server, &path, Some("40")).await;
    let refused = || server.app.metrics.refusals(Refusal::SlowReader) == 1;
    eventually("the session has ended", refused).await;
    ended()(exchange(&server, &path, None).await);
    server.stop().await;
}

#[tokio::test]
async fn request_size_and_post_time_are_limited() {
    let server = TestServer::with(|config| {
        config.max_message_bytes = 1_000;
        config.body_timeout = Duration::from_millis(100);
    })
    .await;
    let path = open(&server, POLLING).await;
    let large = "4".repeat(server.app.config.max_message_bytes_encoded() + 1);
    assert_eq!(exchange(&server, &path, Some(&large)).await.0, 413);
    ended()(exchange(&server, &path, None).await);
    let path = open(&server, POLLING).await;
    let mut slow = Raw::connect(server.address).await;
    slow.send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n4"))
        .await;
    assert_eq!(slow.answer().await.status, 408);
    ended()(exchange(&server, &path, None).await);
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(SOCKET).await;
    socket.send_all_it_takes(&crate::support::frame(0x81, large.as_bytes())).await;
    assert_eq!(socket.closed_with().await, 1009);
    assert_eq!(server.app.metrics.refusals(Refusal::MessageBytes), 2);
    server.stop().await;
}

/// An error quotes only the start of the client's text.
#[tokio::test]
async fn errors_are_shortened() {
    let server = TestServer::start().await;
    let path = open(&server, POLLING).await;
    let long = "x".repeat(100_000);
    let subscribe =
        format!("40\u{1e}42[\"subscribe\",{{\"topic\":\"room\",\"after\":\"{long}\"}}]");
    let publish = format!("421[\"publish\",{{\"topic\":\"room\",\"{long}\":1}}]");
    for body in [&subscribe, &publish] {
        assert_eq!(exchange(&server, &path, Some(body)).await.0, 200);
    }
    let (_, body) = exchange(&server, &path, None).await;
    assert!(body.contains("42[\"error\",") && body.contains("431[{\"error\":"), "{body}");
    assert!(body.len() < 1_000, "{} bytes", body.len());
    server.stop().await;
}

/// A client that sends but does not read: the server stops reading, and its memory is bounded by
/// one write and the kernel's buffers.
#[tokio::test]
async fn reading_stops_while_a_write_is_blocked() {
    let server = TestServer::with(|config| {
        config.echo = true;
        config.send_timeout = Duration::from_millis(500);
    })
    .await;
    for (first, payload) in [(0x89, [b'p'; 125].as_slice()), (0x81, &[b'4'; 8_000])] {
        let mut socket = Raw::connect_narrow(server.address).await;
        socket.upgrade("/engine.io/?EIO=4&transport=websocket").await;
        let many = crate::support::frame(first, payload).repeat(1 << 23 >> payload.len().ilog2());
        // Far more than the kernel's buffers hold: writing ends only because the server
        // disconnects.
        socket.send_all_it_takes(&many.repeat(4)).await;
        drop(socket);
    }
    eventually("cut off", || server.app.metrics.refusals(Refusal::SlowReader) >= 2).await;
    server.stop().await;
}

#[tokio::test]
async fn test_suite_namespaces_are_available_only_with_echo() {
    let server = suite_server().await;
    let engine = "/engine.io/?EIO=4&transport=polling";
    let path = open(&server, engine).await;
    let body = "4hello\u{1e}bAQIDBA==";
    assert_eq!(exchange(&server, &path, Some(body)).await.1, "ok");
    assert_eq!(exchange(&server, &path, None).await.1, body);
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(SOCKET).await;
    text(&mut socket).await;
    for (packet, answers) in [
        ("40/custom,{\"a\":1}", ["40/custom,{", "42/custom,[\"auth\",{\"a\":1}]"].as_slice()),
        ("40/other", &["44/other,{\"message\":\"Invalid namespace\"}"]),
        ("42/custom,[\"message\",1,{\"b\":[]}]", &["42/custom,[\"message-back\",1,{\"b\":[]}]"]),
        ("42/custom,45[\"message-with-ack\",1]", &["43/custom,45[1]"]),
        ("40", &["40{", "42[\"auth\",{}]"]),
        ("41/custom,", &[]),
        ("42[\"message\"]", &["42[\"message-back\"]"]),
    ] {
        socket.send_frame(0x81, packet.as_bytes()).await;
        for answer in answers {
            let got = text(&mut socket).await;
            assert!(got.starts_with(answer), "{packet}: {got}");
        }
    }
    socket.send_frame(0x81, b"42/custom,[\"message\"]").await;
    assert_eq!(socket.closed_with().await, 1002, "it has disconnected from the namespace");
    server.stop().await;
}

#[tokio::test]
async fn attachments_are_limited_in_number_and_size() {
    let server = suite_server().await;
    let too_many = ("4511-[\"message\"]", 0);
    let unannounced = ("3", 1);
    let too_large = ("459-[\"message\"]", 3);
    for (packet, attachments) in [too_many, unannounced, too_large] {
        let mut socket = Raw::connect(server.address).await;
        socket.upgrade(SOCKET).await;
        for packet in ["40", packet] {
            socket.send_frame(0x81, packet.as_bytes()).await;
        }
        for _ in 0..attachments {
            socket.send_all_it_takes(&crate::support::frame(0x82, &[0; 400_000])).await;
        }
        assert_eq!(socket.closed_with().await, 1002, "{packet}");
    }
    server.stop().await;
}

#[tokio::test]
async fn sessions_end_within_the_drain_window() {
    let window = Duration::from_millis(800);
    let server = TestServer::with(|config| config.drain_window = window).await;
    let mut polls = Vec::new();
    for _ in 0..20 {
        let path = open(&server, POLLING).await;
        exchange(&server, &path, Some("40")).await;
        exchange(&server, &path, None).await;
        polls.push(begin(&server, &path, None).await);
    }
    sleep(Duration::from_millis(50)).await;
    server.tell_to_stop();
    let told_at = Instant::now();
    let mut waits = Vec::new();
    for mut poll in polls {
        waits.push(tokio::spawn(async move {
            assert_eq!(poll.answer().await.body, "1");
            told_at.elapsed()
        }));
    }
    let mut left_after = Vec::new();
    for wait in waits {
        left_after.push(soon(wait).await.expect("no panic"));
    }
    let (first, last) = (left_after.iter().min(), left_after.iter().max());
    assert!(last.expect("some") > &(*first.expect("some") + window / 4), "{left_after:?}");
    server.stop().await;
}
