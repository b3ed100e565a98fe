//! Clients that hang, are slow, do not read, or are too many; and a shutdown of the server
//! meanwhile.

use std::time::Duration;

use poll_vs_push::app::ServerConfig;
use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::message::Batch;
use poll_vs_push::server::{BindError, Server};
use poll_vs_push::variant::Transport;

use crate::support::{Raw, TestServer, eventually, soon};

#[tokio::test]
async fn shutdown_answers_pending_long_polls() {
    let server = TestServer::start().await;
    let ask = async || {
        let mut http = server.http();
        soon(http.get("/topics/room/long-poll?after=0")).await.expect("a 200")
    };
    let stop = async {
        eventually("held", || server.waiting(Transport::LongPolling) == 3).await;
        server.tell_to_stop();
    };
    let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), stop);
    for body in [one, two, three] {
        let batch: Batch = serde_json::from_slice(&body).expect("a batch");
        assert_eq!((batch.cursor, batch.messages.len()), (0, 0));
    }
    server.stop().await;
}

#[tokio::test]
async fn shutdown_accepts_no_new_clients() {
    let server = TestServer::start().await;
    let address = server.address;
    server.stop().await;
    let refused = tokio::net::TcpStream::connect(address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn shutdown_completes_with_unresponsive_clients() {
    let server = TestServer::with(|config| {
        config.drain_window = Duration::ZERO;
        config.drain_timeout = Duration::from_millis(50);
    })
    .await;
    let mut half_a_head = Raw::connect(server.address).await;
    half_a_head.send("GET /topics/room/poll HTTP/1.1\r\nhost").await;
    let mut half_a_body = Raw::connect(server.address).await;
    half_a_body
        .send(
            "POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        )
        .await;
    let mut no_goodbye = Raw::connect(server.address).await;
    no_goodbye.upgrade("/topics/room/ws").await;
    eventually("all there", || server.app.metrics.open_connections.get() == 3).await;
    let app = server.app.clone();
    server.stop().await;
    assert_eq!(app.metrics.open_connections.get(), 0);
    half_a_head.ends().await;
    half_a_body.ends().await;
}

#[tokio::test]
async fn incomplete_request_headers_close_the_connection() {
    let server = TestServer::with(|config| {
        config.header_timeout = Duration::from_millis(50);
        config.idle_timeout = Duration::from_millis(100);
    })
    .await;
    let silent = Raw::connect(server.address).await;
    let mut half_a_head = Raw::connect(server.address).await;
    half_a_head.send("GET /topics/room/poll HTTP/1.1\r\nhost: t").await;
    let mut kept_alive = Raw::connect(server.address).await;
    kept_alive.get("/topics/room/poll", "").await;
    assert_eq!(kept_alive.answer().await.status, 200);
    silent.ends().await;
    half_a_head.ends().await;
    kept_alive.ends().await;
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn idle_timeout_restarts_with_each_request() {
    let idle_timeout = Duration::from_secs(3);
    let server = TestServer::with(|config| config.idle_timeout = idle_timeout).await;
    let mut kept_alive = Raw::connect(server.address).await;
    for _ in 0..5 {
        kept_alive.get("/topics/room/poll", "").await;
        assert_eq!(kept_alive.answer().await.status, 200);
        tokio::time::sleep(idle_timeout / 3).await;
    }
    kept_alive.ends().await;
    assert_eq!(server.app.metrics.refusals(Refusal::Idle), 1);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_request_body_is_a_408_and_closes_the_connection() {
    let server = TestServer::with(|config| config.body_timeout = Duration::from_millis(50)).await;
    let mut raw = Raw::connect(server.address).await;
    raw.send(
        "POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    )
    .await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 408);
    assert!(answer.error().contains("body"), "{}", answer.error());
    raw.ends().await;
    server.stop().await;
}

#[tokio::test]
async fn long_poll_may_last_longer_than_the_header_timeout() {
    let server = TestServer::with(|config| config.header_timeout = Duration::from_millis(20)).await;
    let mut raw = Raw::connect(server.address).await;
    raw.get("/topics/room/long-poll?after=0&wait=0.2", "").await;
    assert_eq!(raw.answer().await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn connection_over_the_limit_waits_for_a_free_slot() {
    let server = TestServer::with(|config| config.max_connections = 2).await;
    let mut inside = [Raw::connect(server.address).await, Raw::connect(server.address).await];
    for raw in &mut inside {
        raw.get("/healthz", "").await;
        assert_eq!(raw.answer().await.status, 200);
    }
    let mut outside = Raw::connect(server.address).await;
    outside.get("/topics/room/poll", "").await;
    // This does not prove that it waits, but without the limit it would have been served by now.
    let early = tokio::time::timeout(Duration::from_millis(100), outside.answer()).await;
    assert!(early.is_err(), "served: {early:?}");
    assert_eq!(server.app.metrics.open_connections.get(), 2);
    let [leaves, stays] = inside;
    drop(leaves);
    assert_eq!(outside.answer().await.status, 200);
    drop((stays, outside));
    server.stop().await;
}

#[tokio::test]
async fn upgraded_connection_still_counts_against_the_limit() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let mut inside = Raw::connect(server.address).await;
    inside.upgrade("/topics/room/ws").await;
    let mut outside = Raw::connect(server.address).await;
    outside.get("/healthz", "").await;
    let early = tokio::time::timeout(Duration::from_millis(100), outside.answer()).await;
    assert!(early.is_err(), "served: {early:?}");
    drop(inside);
    assert_eq!(outside.answer().await.status, 200);
    drop(outside);
    server.stop().await;
}

/// A text so large that a few hundred messages fill all buffers between server and client.
fn bulk() -> String {
    "x".repeat(60_000)
}

#[tokio::test]
async fn slow_reader_is_disconnected_and_delays_no_other_subscriber() {
    let server = TestServer::with(|config| config.send_timeout = Duration::from_millis(200)).await;
    let mut stuck = Raw::connect_narrow(server.address).await;
    stuck.upgrade("/topics/room/ws").await;
    let mut reader = server.subscribe(Transport::WebSocket, None).await;
    eventually("both there", || server.waiting(Transport::WebSocket) == 2).await;
    let mut published = 0;
    while server.waiting(Transport::WebSocket) == 2 {
        server.publish(&bulk()).await;
        assert_eq!(reader.texts(1).await, [bulk()]);
        published += 1;
        assert!(published < 10_000, "nobody was dropped");
    }
    server.publish("go on").await;
    assert_eq!(reader.texts(1).await, ["go on"]);
    drop((stuck, reader));
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn slow_reader_of_a_poll_is_disconnected() {
    let server = TestServer::with(|config| {
        config.send_timeout = Duration::from_millis(200);
        // The kernel's buffers could hold a response of the usual size completely.
        config.max_batch_bytes = 1 << 29;
        config.max_held_bytes = 1 << 30;
        config.max_held_bytes_per_address = 1 << 30;
        config.max_held_bytes_total = 1 << 30;
    })
    .await;
    for _ in 0..200 {
        server.publish(&bulk()).await;
    }
    let mut stuck = Raw::connect_narrow(server.address).await;
    stuck.get("/topics/room/poll?after=0", "").await;
    eventually("asked", || server.app.metrics.of(Transport::ShortPolling).requests.get() == 1)
        .await;
    server.until_all_have_left().await;
    drop(stuck);
    server.stop().await;
}

#[tokio::test]
async fn port_in_use_is_an_error() {
    let server = TestServer::start().await;
    let config = ServerConfig { listen: server.address, ..ServerConfig::default() };
    let error = Server::bind(config).await.expect_err("the port is taken");
    let BindError::Listen { address, source } = error else { panic!("{error}") };
    assert_eq!((address, source.kind()), (server.address, std::io::ErrorKind::AddrInUse));
    server.stop().await;
}
