//! The NDJSON stream: any program that reads lines can read it.

use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::client::{HttpStream, Meter};
use poll_vs_push::variant::Transport;
use serde_json::{Value, json};

use crate::support::{Raw, Reader, TestServer, WireFrame, options, soon};

/// Lines of the stream, including empty ones, until there are `count`.
async fn lines(stream: &mut HttpStream, count: usize) -> Vec<String> {
    let mut text = String::new();
    let hearing = async {
        while text.matches('\n').count() < count {
            let chunk = stream.chunk().await.expect("no break").expect("no end");
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    };
    soon(hearing).await;
    text.split_terminator('\n').map(str::to_owned).collect()
}

#[tokio::test]
async fn each_line_is_an_event_or_a_message() {
    let server = TestServer::with(|config| config.retain_messages = 2).await;
    let epoch = server.at(0).epoch;
    for text in ["lost", "one\r\nline", "two"] {
        server.publish(text).await;
    }
    let mut stream = soon(HttpStream::get(&server.dialer(), "/topics/room/stream?after=0"))
        .await
        .expect("a 200");
    let lines = lines(&mut stream, 4).await;
    let values: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(values[0], json!({ "event": "subscribed", "epoch": epoch, "cursor": 0 }));
    assert_eq!(values[1], json!({ "event": "gap", "gap": 1 }));
    assert_eq!((&values[2]["text"], &values[3]["text"]), (&json!("one\r\nline"), &json!("two")));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn stream_starts_at_once_sends_heartbeats_and_ends_at_shutdown() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_millis(5)).await;
    let mut stream =
        soon(HttpStream::get(&server.dialer(), "/topics/room/stream")).await.expect("a 200");
    let lines = lines(&mut stream, 3).await;
    assert!(lines[0].starts_with("{\"event\":\"subscribed\""), "{lines:?}");
    assert_eq!(lines[1..3], ["", ""]);
    server.tell_to_stop();
    while let Some(chunk) = soon(stream.chunk()).await.expect("a clean end") {
        assert_eq!(chunk, "\n");
    }
    server.stop().await;
}

#[tokio::test]
async fn framing_of_a_message_is_its_line_end_and_chunk_header() {
    const COUNT: u64 = 100;
    let server = TestServer::start().await;
    let meter = Arc::new(Meter::default());
    let dialer = server.dialer().with_meter(meter.clone());
    let mut reader = Reader::connect(Transport::Ndjson, dialer, options(None)).await;
    let before = meter.counts();
    let mut payload = 0;
    for _ in 0..COUNT {
        server.publish("hello").await;
        payload += reader.receive(1).await.messages[0].encode().len() as u64;
    }
    let down = meter.counts().since(&before).down();
    assert_eq!((down.payload, down.headers), (payload, 0));
    assert_eq!(down.framing, 7 * COUNT);
    drop(reader);
    server.stop().await;
}

#[tokio::test]
async fn heartbeats_are_events_for_clients_that_request_them() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_millis(5)).await;
    let heartbeat = json!({ "event": "heartbeat" });
    let mut stream = soon(HttpStream::get(&server.dialer(), "/topics/room/stream?heartbeat=1"))
        .await
        .expect("a 200");
    let lines = lines(&mut stream, 3).await;
    let last: Value = serde_json::from_str(&lines[2]).expect("JSON");
    assert_eq!(last, heartbeat);
    drop(stream);

    let path = "/topics/room/events?heartbeat=1";
    let mut stream = soon(HttpStream::get(&server.dialer(), path)).await.expect("a 200");
    let mut text = String::new();
    while !text.contains("event:heartbeat\ndata:{\"event\":\"heartbeat\"}\n\n") {
        let chunk = soon(stream.chunk()).await.expect("no break").expect("no end");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    drop(stream);

    let mut socket = Raw::connect(server.address).await;
    socket.upgrade("/topics/room/ws?heartbeat=1").await;
    let beat = async { while socket.frame().await != WireFrame::Text(heartbeat.to_string()) {} };
    soon(beat).await;
    drop(socket);

    for bad in ["0", "0.5", "soon", "-1"] {
        let answer = server.get(&format!("/topics/room/stream?heartbeat={bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    server.stop().await;
}
