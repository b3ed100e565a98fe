//! WebSocket connections as specified in RFC 6455, byte by byte: handshake, close codes, and
//! protocol violations of clients.

use std::time::Duration;

use serde_json::json;

use crate::support::{KEY, Raw, TestServer, WireFrame, frame, new_message};

const PATH: &str = "/topics/room/ws";
/// FIN and opcode.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A WebSocket that has received the start of its subscription.
async fn subscribed(server: &TestServer) -> Raw {
    let mut raw = Raw::connect(server.address).await;
    raw.upgrade(PATH).await;
    let head = server.at(0).epoch;
    assert_eq!(raw.event().await, json!({ "event": "subscribed", "epoch": head, "cursor": 0 }));
    raw
}

fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[tokio::test]
async fn publishing_over_a_websocket_is_confirmed() {
    let server = TestServer::start().await;
    let mut raw = subscribed(&server).await;
    raw.send_frame(TEXT, new_message("over the socket").as_bytes()).await;
    // The acknowledgement and the message may arrive in either order.
    let events = [raw.event().await, raw.event().await];
    let stored = json!({ "event": "published", "epoch": server.at(0).epoch, "offset": 1 });
    assert!(events.contains(&stored), "{events:?}");
    assert!(events.iter().any(|event| event["text"] == "over the socket"), "{events:?}");
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn invalid_publication_is_an_error_and_the_connection_stays_open() {
    let server = TestServer::with(|config| config.max_message_bytes = 100).await;
    let mut raw = subscribed(&server).await;
    let too_large = new_message(&"x".repeat(100));
    let cases = [
        ("nonsense", "the body must be {"),
        ("", "the body must be {"),
        (r#"["A","q"]"#, "expected an object"),
        (r#"{"sender":"A"}"#, "missing field `text`"),
        (&too_large, "the limit is 100"),
    ];
    for (text, reason) in cases {
        raw.send_frame(TEXT, text.as_bytes()).await;
        let event = raw.event().await;
        assert_eq!(event["event"], "error");
        let error = event["error"].as_str().expect("a reason");
        assert!(error.contains(reason), "{error}");
    }
    raw.send_frame(PING, b"still there?").await;
    assert_eq!(raw.frame().await, WireFrame::Pong(b"still there?".to_vec()));
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn fragmented_message_is_reassembled() {
    let server = TestServer::start().await;
    let mut raw = subscribed(&server).await;
    let text = new_message("in three parts");
    let (one, rest) = text.as_bytes().split_at(5);
    let (two, three) = rest.split_at(7);
    raw.send_frame(0x01, one).await;
    raw.send_frame(PING, b"in between").await;
    assert_eq!(raw.frame().await, WireFrame::Pong(b"in between".to_vec()));
    raw.send_frame(0x00, two).await;
    raw.send_frame(0x80, three).await;
    let events = [raw.event().await, raw.event().await];
    assert!(events.iter().any(|event| event["text"] == "in three parts"), "{events:?}");
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn close_frame_is_answered_with_its_code() {
    let server = TestServer::start().await;
    for code in [1000, 1001, 3000, 4999] {
        let mut raw = subscribed(&server).await;
        raw.send_frame(CLOSE, &close(code, "bye")).await;
        let WireFrame::Close(Some((answer, _))) = raw.frame().await else { panic!("no code") };
        assert_eq!(answer, code);
        raw.ends().await;
    }
    let mut raw = subscribed(&server).await;
    raw.send_frame(CLOSE, b"").await;
    assert_eq!(raw.frame().await, WireFrame::Close(None));
    raw.ends().await;
    server.stop().await;
}

#[tokio::test]
async fn protocol_violations_are_closed_with_a_specific_code() {
    let unmasked = [&[TEXT, 2][..], b"{}"].concat();
    let cases: [(&str, Vec<u8>, u16); 13] = [
        ("binary", frame(BINARY, b"{}"), 1003),
        ("text that is not UTF-8", frame(TEXT, b"\xff\xfe"), 1007),
        ("text cut within a character", frame(TEXT, "é".as_bytes().split_at(1).0), 1007),
        ("no mask", unmasked, 1002),
        ("a reserved bit", frame(TEXT | 0x40, b"{}"), 1002),
        ("a reserved data opcode", frame(0x83, b"{}"), 1002),
        ("a reserved control opcode", frame(0x8b, b"{}"), 1002),
        ("a ping in fragments", frame(PING & 0x7f, b""), 1002),
        ("a ping too long", frame(PING, &[0; 126]), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        ("a message within a message", [frame(0x01, b"{"), frame(TEXT, b"{}")].concat(), 1002),
        ("half a closing code", frame(CLOSE, b"\x03"), 1002),
        ("a closing code nobody may send", frame(CLOSE, &close(1005, "")), 1002),
    ];
    let server = TestServer::start().await;
    for (what, bytes, code) in cases {
        let mut raw = subscribed(&server).await;
        raw.send(bytes).await;
        assert_eq!(raw.closed_with().await, code, "{what}");
    }
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn oversized_frame_is_rejected_by_its_header() {
    let server = TestServer::start().await;
    let size = server.app.config.max_message_bytes_encoded() + 1;
    let whole = frame(TEXT, &vec![b'x'; size]);
    // The length in the header alone causes the rejection ...
    let mut raw = subscribed(&server).await;
    raw.send(&whole[..14]).await;
    assert_eq!(raw.closed_with().await, 1009);
    // ... and a client that sends the whole frame receives the reason.
    let mut raw = subscribed(&server).await;
    raw.send_all_it_takes(&whole).await;
    assert_eq!(raw.closed_with().await, 1009);
    // The same applies to a message that is too large only in total.
    let mut raw = subscribed(&server).await;
    raw.send_all_it_takes(&frame(0x01, &vec![b'x'; size - 10])).await;
    raw.send_all_it_takes(&frame(0x80, &[b'x'; 20])).await;
    assert_eq!(raw.closed_with().await, 1009);
    server.stop().await;
}

#[tokio::test]
async fn invalid_upgrade_is_rejected_with_a_reason() {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    let version = "sec-websocket-version: 13\r\n";
    let key = format!("sec-websocket-key: {KEY}\r\n");
    let cases = [
        (String::new(), 426, "send Connection: Upgrade", Some(("upgrade", "websocket"))),
        (
            format!("{version}{key}"),
            426,
            "send Connection: Upgrade",
            Some(("upgrade", "websocket")),
        ),
        (
            format!("{upgrade}{key}sec-websocket-version: 8\r\n"),
            426,
            "must be 13",
            Some(("sec-websocket-version", "13")),
        ),
        (format!("{upgrade}{key}"), 426, "must be 13", Some(("sec-websocket-version", "13"))),
        (format!("{upgrade}{version}"), 400, "Sec-WebSocket-Key", None),
        (format!("{upgrade}{version}sec-websocket-key: short\r\n"), 400, "Sec-WebSocket-Key", None),
    ];
    let server = TestServer::start().await;
    for (headers, status, reason, tells) in cases {
        let mut raw = Raw::connect(server.address).await;
        raw.get(PATH, &headers).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{headers}");
        assert!(answer.error().contains(reason), "{headers}: {}", answer.error());
        if let Some((name, value)) = tells {
            assert_eq!(answer.header(name), Some(value), "{headers}");
        }
    }
    let answer = server.post(PATH, "").await;
    assert_eq!(answer.status, 405);
    server.stop().await;
}

#[tokio::test]
async fn frames_sent_with_the_upgrade_are_processed() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address).await;
    let request =
        format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", Raw::upgrade_headers());
    raw.send([request.as_bytes(), &frame(TEXT, new_message("at once").as_bytes())].concat()).await;
    assert_eq!(raw.answer().await.status, 101);
    let mut events = [raw.event().await, raw.event().await, raw.event().await];
    assert_eq!(events[0]["event"], "subscribed");
    events[1..].sort_by_key(|event| event["text"].is_string());
    assert_eq!((&events[1]["event"], &events[2]["text"]), (&json!("published"), &json!("at once")));
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_closes_with_1001() {
    let server = TestServer::start().await;
    let mut raw = subscribed(&server).await;
    server.tell_to_stop();
    let WireFrame::Close(Some((code, _))) = raw.frame().await else { panic!("no close") };
    assert_eq!(code, 1001);
    raw.send_frame(CLOSE, &close(1001, "")).await;
    raw.ends().await;
    server.stop().await;
}

#[tokio::test]
async fn shutdown_closes_an_echo_with_1001() {
    let server = TestServer::with(|config| config.echo = true).await;
    let mut raw = Raw::connect(server.address).await;
    raw.upgrade("/echo").await;
    raw.send_frame(TEXT, b"hello").await;
    assert_eq!(raw.frame().await, WireFrame::Text("hello".into()));
    server.tell_to_stop();
    assert_eq!(raw.closed_with().await, 1001);
    server.stop().await;
}

#[tokio::test]
async fn unresponsive_client_is_disconnected() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_millis(20)).await;
    let mut raw = subscribed(&server).await;
    assert_eq!(raw.frame().await, WireFrame::Ping(vec![]));
    assert_eq!(raw.closed_with().await, 1008);
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn client_that_answers_pings_stays_connected() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_secs(1)).await;
    let mut raw = subscribed(&server).await;
    for _ in 0..3 {
        let WireFrame::Ping(payload) = raw.frame().await else { panic!("not a ping") };
        raw.send_frame(PONG, &payload).await;
    }
    drop(raw);
    server.stop().await;
}
