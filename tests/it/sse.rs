//! Server-sent events: how a browser resumes, and what must not stop it from reconnecting.
//! Behaviour common to all transports is tested in `conformance`.

use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::client::Meter;
use poll_vs_push::message::{Cursor, Epoch};
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Reader, TestServer, options, soon};

/// Opens an event stream with a hand-written request.
async fn open(server: &TestServer, query: &str, headers: &str) -> Raw {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let request =
        format!("GET /topics/room/events{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    Raw { stream, received: String::new() }
}

struct Raw {
    stream: TcpStream,
    received: String,
}

impl Raw {
    /// All received text, once it contains `wanted`.
    async fn receive(&mut self, wanted: &str) -> &str {
        while !self.received.contains(wanted) {
            let mut part = [0; 4096];
            let count = soon(self.stream.read(&mut part)).await.expect("reads");
            assert_ne!(count, 0, "ended without {wanted:?}: {:?}", self.received);
            self.received.push_str(std::str::from_utf8(&part[..count]).expect("text"));
        }
        &self.received
    }
}

#[tokio::test]
async fn stream_starts_at_once_and_must_not_be_cached() {
    let server = TestServer::start().await;
    let mut raw = open(&server, "", "").await;
    let received = raw.receive("\n\n").await.to_lowercase();
    assert!(received.starts_with("http/1.1 200"), "{received}");
    for line in [
        "content-type: text/event-stream\r\n",
        "cache-control: no-store\r\n",
        "x-accel-buffering: no\r\n",
        "retry:2000\nevent:subscribed\nid:",
    ] {
        assert!(received.contains(line), "no {line:?} in {received}");
    }
    server.stop().await;
}

#[tokio::test]
async fn last_event_id_header_takes_precedence_over_the_query() {
    let server = TestServer::start().await;
    let epoch = server.publish("one").await.epoch;
    server.publish("two").await;
    let mut raw = open(&server, "?after=0", &format!("Last-Event-ID: {epoch}:1\r\n")).await;
    let received = raw.receive("\"two\"").await;
    assert!(!received.contains("\"one\""), "{received}");
    assert!(received.contains(&format!("id:{epoch}:2\ndata:{{")), "{received}");
    server.stop().await;
}

#[tokio::test]
async fn unknown_last_event_id_is_a_reset() {
    let server = TestServer::start().await;
    let epoch = server.publish("one").await.epoch;
    let stranger = Epoch(epoch.0.wrapping_add(1));
    for id in ["nonsense", "7", &format!("{stranger}:1"), &format!("{epoch}:99"), "\u{e9}"] {
        let mut raw = open(&server, "?after=0", &format!("Last-Event-ID: {id}\r\n")).await;
        let received = raw.receive("event:reset").await;
        assert!(received.starts_with("HTTP/1.1 200"), "{received}");
        let wanted = format!(r#"{{"event":"reset","epoch":"{epoch}","cursor":1}}"#);
        assert!(!raw.receive(&wanted).await.contains("\"one\""));
    }
    server.stop().await;
}

#[tokio::test]
async fn idle_stream_sends_heartbeats() {
    let heartbeat = Duration::from_millis(5);
    let server = TestServer::with(|config| config.heartbeat = heartbeat).await;
    open(&server, "", "").await.receive("\r\n:\n\r\n").await;
    server.stop().await;
}

#[tokio::test]
async fn shutdown_sends_retry_and_ends_the_stream() {
    let server = TestServer::start().await;
    let mut raw = open(&server, "", "").await;
    raw.receive("\n\n").await;
    server.stop().await;
    let received = raw.receive("\r\n0\r\n\r\n").await;
    assert_eq!(received.matches("retry:").count(), 2, "{received}");
}

#[tokio::test]
async fn burst_arrives_in_few_chunks_and_all_bytes_are_counted() {
    const COUNT: usize = 1_000;
    let server = TestServer::start().await;
    let epoch = server.at(0).epoch;
    let texts: Vec<String> = (0..COUNT).map(|n| format!("{n}\r\n\n\rdata: é\u{1f980}\0")).collect();
    for text in &texts {
        server.publish(text).await;
    }
    let meter = Arc::new(Meter::default());
    let dialer = server.dialer().with_meter(meter.clone());
    let mut reader = Reader::connect(Transport::Sse, dialer, options(Some(server.at(0)))).await;
    let received = reader.receive(COUNT).await;
    let payload: u64 = received.messages.iter().map(|message| message.encode().len() as u64).sum();
    assert!(received.messages.iter().map(|message| &message.text).eq(&texts));
    assert_eq!(reader.cursor(), Cursor { epoch, offset: COUNT as u64 });
    let down = meter.counts().down();
    // The same stream with a hand-written request: all bytes up to the empty line are headers, the
    // rest are events.
    let mut raw = open(&server, "?after=0", "").await;
    let received = raw.receive(&format!("id:{epoch}:{COUNT}\ndata:")).await;
    let (head, _) = received.split_once("\r\n\r\n").expect("a head");
    assert_eq!(down.headers, head.len() as u64 + 4);
    assert_eq!(down.payload, payload);
    let per_message = down.framing / COUNT as u64;
    assert!((20..30).contains(&per_message), "{per_message} bytes of framing a message");
    assert!(meter.counts().requests == 1);
    server.stop().await;
}
