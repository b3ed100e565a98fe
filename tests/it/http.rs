//! Publishing, the polling routes with hand-written requests, health and metrics: status and reason
//! of each error over HTTP.

use std::time::Duration;

use hyper::Method;
use poll_vs_push::app::SERVER_NAME;
use poll_vs_push::client::{Dialer, HttpResponse};
use poll_vs_push::server::route_table::ROUTES;
use poll_vs_push::transport::{SubscribeOptions, Subscriber};
use poll_vs_push::variant::Transport;
use serde_json::{Value, json};

use crate::support::{Raw, TestServer, eventually, new_message, options, soon};

const MESSAGES: &str = "/topics/room/messages";

fn json(answer: &HttpResponse) -> Value {
    assert_eq!(answer.headers["content-type"], "application/json");
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn publish_returns_epoch_and_offset() {
    let server = TestServer::start().await;
    let epoch = server.at(0).epoch;
    for offset in 1..=2 {
        let answer = server.post(MESSAGES, new_message("hi")).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(json(&answer), json!({ "epoch": epoch, "offset": offset }));
    }
    assert_eq!(server.app.metrics.published.get(), 2);
    server.stop().await;
}

#[tokio::test]
async fn rejected_requests_contain_a_reason() {
    let long_name = format!("/topics/{}/messages", "x".repeat(65));
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        ("POST", MESSAGES, b"nonsense", 400, "the body must be {"),
        ("POST", MESSAGES, b"", 400, "the body must be {"),
        ("POST", MESSAGES, br#"["A","q"]"#, 400, "invalid type: sequence, expected an object"),
        ("POST", MESSAGES, b"[]", 400, "invalid type: sequence, expected an object"),
        ("POST", MESSAGES, br#""A""#, 400, "expected an object"),
        ("POST", MESSAGES, br#"{"sender":"A"}"#, 400, "missing field `text`"),
        ("POST", MESSAGES, br#"{"sender":"A","text":1}"#, 400, "expected a string"),
        ("POST", MESSAGES, br#"{"sender":"A","text":"hi","to":"B"}"#, 400, "unknown field `to`"),
        ("POST", MESSAGES, b"{\"sender\":\"A\",\"text\":\"\xff\"}", 400, "the body must be {"),
        ("POST", MESSAGES, br#"{"sender":"A","text":"\ud800"}"#, 400, "the body must be {"),
        ("POST", "/topics/a%20b/messages", br#"{}"#, 400, "topic: 'a%20b' is not 1 to 64 letters"),
        ("POST", &long_name, br#"{}"#, 400, "topic: "),
        ("POST", "/topics//messages", br#"{}"#, 404, "no such route"),
        ("POST", "/nowhere", br#"{}"#, 404, "no such route"),
        ("GET", "/topics/room/poll/more", b"", 404, "no such route"),
        ("GET", MESSAGES, b"", 405, "see the Allow header"),
        ("POST", "/topics/room/poll", b"", 405, "see the Allow header"),
        ("DELETE", "/topics/room/long-poll", b"", 405, "see the Allow header"),
        ("POST", "/metrics", b"", 405, "see the Allow header"),
    ];
    let server = TestServer::start().await;
    for (method, path, body, status, reason) in cases {
        let answer = server.request(method, path, body.to_vec()).await;
        assert_eq!(answer.status, *status, "{method} {path}");
        let error = json(&answer)["error"].as_str().expect("an error").to_owned();
        assert!(error.contains(reason), "{method} {path}: {error}");
    }
    assert_eq!(server.app.metrics.published.get(), 0);
    server.stop().await;
}

#[tokio::test]
async fn publish_accepts_any_body_length_format_within_the_limit() {
    let server = TestServer::start().await;
    let chunked = async |body: &str| {
        let mut raw = Raw::connect(server.address).await;
        let head = format!("POST {MESSAGES} HTTP/1.1\r\nhost: localhost\r\n");
        raw.send(format!("{head}transfer-encoding: chunked\r\n\r\n{body}")).await;
        (raw.answer().await, raw)
    };
    let message = new_message("hi");
    let (first, rest) = message.split_at(5);
    let parts = format!("5\r\n{first}\r\n{:x};a=b\r\n{rest}\r\n0\r\n\r\n", rest.len());
    let (answer, mut raw) = chunked(&parts).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    raw.get("/healthz", "").await;
    assert_eq!(raw.answer().await.status, 200, "the connection can be used again");
    // A chunk that is larger than any message, of which only the beginning is sent.
    let limit = server.app.config.max_message_bytes_encoded();
    let (answer, raw) = chunked(&format!("FFFFFF\r\n{}", "x".repeat(limit + 1))).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("--max-message-bytes"), "{}", answer.error());
    drop(raw);

    // One that is announced is rejected before it is sent.
    let mut raw = Raw::connect(server.address).await;
    let announced = "host: localhost\r\ncontent-length: 1000000000\r\nexpect: 100-continue";
    raw.send(format!("POST {MESSAGES} HTTP/1.1\r\n{announced}\r\n\r\n")).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("(see --max-message-bytes)"), "{}", answer.error());
    raw.ends().await;
    let text_too_large = "x".repeat(server.app.config.max_message_bytes);
    let answer = server.post(MESSAGES, new_message(&text_too_large)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(
        json(&answer)["error"],
        "sender and text have 65537 bytes together; the limit is 65536 (--max-message-bytes)"
    );
    server.stop().await;
}

/// Only `chunked` is decoded, once. All routes with bodies share the rule.
#[tokio::test]
async fn codings_of_a_body_that_are_not_decoded_are_rejected() {
    let server = TestServer::with(|config| (config.class, config.demo) = (true, true)).await;
    let post = async |path: &str, headers: &str, body: &str| {
        let mut raw = Raw::connect(server.address).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}");
        raw.send(format!("{head}\r\n{body}")).await;
        raw.answer().await
    };
    let transfer = |coding: &str| format!("transfer-encoding: {coding}\r\n");
    let content = |coding: &str| format!("content-length: 5\r\ncontent-encoding: {coding}\r\n");
    let unknown = ["gzip, chunked", "deflate, chunked", "identity, chunked", "x, chunked, chunked"];
    let mut cases: Vec<_> = unknown.map(|coding| (transfer(coding), 501)).into();
    let repeated = ["chunked, chunked", "chunked\r\ntransfer-encoding: chunked"];
    cases.extend(repeated.map(|coding| (transfer(coding), 400)));
    cases.extend(["gzip", "identity, br", "zstd"].map(|coding| (content(coding), 415)));
    for route in ROUTES.iter().filter(|route| route.allows(&Method::POST)) {
        let path = route.path.replace("{}", "room").replace("{*}", "");
        for (headers, status) in &cases {
            let body = if *status == 415 { "hello" } else { "0\r\n\r\n" };
            let answer = post(&path, headers, body).await;
            assert_eq!(answer.status, *status, "{path} {headers}: {}", answer.body);
            let accepted = (*status == 415).then_some("identity");
            assert_eq!(answer.header("accept-encoding"), accepted, "{path} {headers}");
        }
    }
    let body = new_message("hi");
    let length = body.len();
    for (headers, body) in [
        (content("identity").replace('5', &length.to_string()), body.clone()),
        (transfer(", Chunked"), format!("{length:x}\r\n{body}\r\n0\r\n\r\n")),
    ] {
        assert_eq!(post(MESSAGES, &headers, &body).await.status, 201, "{headers}");
    }
    server.stop().await;
}

#[tokio::test]
async fn topic_over_the_limit_is_a_503() {
    let server = TestServer::with(|config| config.max_topics = 1).await;
    server.publish("hi").await;
    let answer = server.post("/topics/other/messages", new_message("hi")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(json(&answer)["error"].as_str().expect("an error").contains("has 1 topics"));
    assert_eq!(server.get("/topics/other/poll").await.status, 503);
    assert_eq!(server.get("/topics/room/poll").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn poll_without_epoch_and_with_a_smaller_limit_works() {
    let server = TestServer::with(|config| config.max_batch = 3).await;
    let epoch = server.at(0).epoch;
    for text in ["a", "b", "c", "d"] {
        server.publish(text).await;
    }
    for route in ["poll", "long-poll"] {
        let path = format!("/topics/room/{route}");
        let answer = server.get(&path).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(json(&answer), json!({ "epoch": epoch, "cursor": 4, "messages": [] }));
        for (limit, count) in [("1", 1), ("2", 2), ("3", 3), ("99", 3)] {
            let batch = json(&server.get(&format!("{path}?after=0&limit={limit}")).await);
            let messages = batch["messages"].as_array().expect("messages");
            assert_eq!((messages.len(), &batch["cursor"]), (count, &json!(count)), "{limit}");
            assert_eq!((&messages[0]["sender"], &messages[0]["text"]), (&json!("A"), &json!("a")));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn long_poll_times_out_within_the_server_limit() {
    let server = TestServer::with(|config| config.max_hold = Duration::from_millis(5)).await;
    let nothing = json!({ "epoch": server.at(0).epoch, "cursor": 0, "messages": [] });
    for wait in ["0", "0.001", "3600", "1e300"] {
        let path = format!("/topics/room/long-poll?after=0&wait={wait}");
        let answer = server.get(&path).await;
        match wait {
            "1e300" => assert_eq!(answer.status, 400),
            _ => assert_eq!(json(&answer), nothing, "{wait}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn first_wait_applies_only_to_the_first_long_poll() {
    let an_hour = Duration::from_secs(3_600);
    let server = TestServer::with(|config| config.max_hold = an_hour).await;
    let options = SubscribeOptions {
        wait: an_hour,
        first_wait: Some(Duration::ZERO),
        ..options(Some(server.at(0)))
    };
    let dialer = Dialer::new(server.address);
    let connecting = Subscriber::connect(Transport::LongPolling, dialer, options);
    let mut subscriber = connecting.await.expect("a subscription");
    assert!(soon(subscriber.next()).await.expect("an answer").messages.is_empty());
    let held = eventually_held(&server);
    let (second, ()) = soon(async { tokio::join!(subscriber.next(), held) }).await;
    assert_eq!(second.expect("an answer").messages.len(), 1);
    server.stop().await;
}

/// Publishes once a request is waiting.
async fn eventually_held(server: &TestServer) {
    let waiting = || server.waiting(Transport::LongPolling) == 1;
    eventually("a held request", waiting).await;
    server.publish("hello").await;
}

#[tokio::test]
async fn health_returns_the_server_version() {
    let server = TestServer::start().await;
    let answer = server.get("/healthz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(json(&answer), json!({ "status": "ok", "server": SERVER_NAME }));
    server.stop().await;
}

#[tokio::test]
async fn metrics_match_the_requests_sent() {
    let server = TestServer::start().await;
    let content_type = server.get("/metrics").await.headers["content-type"].clone();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for text in ["a", "b", "c"] {
        server.post(MESSAGES, new_message(text)).await;
    }
    for route in ["poll", "long-poll"] {
        for query in ["", "?after=0", "?after=1&limit=1", "?after=3&wait=0", "?after=x"] {
            server.get(&format!("/topics/room/{route}{query}")).await;
        }
    }
    let mut reader = server.subscribe(Transport::WebSocket, Some(server.at(0))).await;
    reader.texts(3).await;
    let push = server.app.metrics.of(Transport::WebSocket);
    eventually("counted", || push.deliveries.get() == 3).await;
    eventually("only that", || server.app.metrics.open_connections.get() == 1).await;

    let scrape = server.scrape().await;
    for transport in ["short-polling", "long-polling"] {
        assert_eq!(scrape.of("requests_total", transport), 5.0);
        assert_eq!(scrape.of("empty_answers_total", transport), 2.0);
        assert_eq!(scrape.of("deliveries_total", transport), 4.0);
        assert_eq!(scrape.of("waiting", transport), 0.0);
    }
    assert_eq!(scrape.of("requests_total", "websocket"), 1.0);
    assert_eq!(scrape.of("empty_answers_total", "websocket"), 0.0);
    assert_eq!(scrape.of("deliveries_total", "websocket"), 3.0);
    assert_eq!(scrape.of("waiting", "websocket"), 1.0);
    assert_eq!(scrape.get("poll_vs_push_published_total"), 3.0);
    assert_eq!(scrape.get("poll_vs_push_topics"), 1.0);
    // The subscriber's connection, and that of this request.
    assert_eq!(scrape.get("poll_vs_push_open_connections"), 2.0);
    assert!(scrape.get("process_cpu_seconds_total") > 0.0);
    assert!(scrape.get("process_resident_memory_bytes") > 1e6);

    drop(reader);
    server.until_all_have_left().await;
    assert_eq!(server.scrape().await.of("waiting", "websocket"), 0.0);
    server.stop().await;
}
