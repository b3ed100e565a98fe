//! Hostile clients: after each attack the server runs, has freed their resources, and serves other
//! clients.

use std::time::Duration;

use poll_vs_push::app::metrics::Refusal;

use crate::support::{Raw, TestServer, eventually, new_message, soon};

async fn others_are_answered(server: &TestServer) {
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.post("/topics/others/messages", new_message("hi")).await.status, 201);
}

#[tokio::test]
async fn slowloris_client_is_disconnected_and_delays_no_other_client() {
    const CLIENTS: u64 = 100;
    let server = TestServer::with(|config| {
        config.header_timeout = Duration::from_millis(300);
        // Only the time of the head is to end them.
        config.idle_timeout = Duration::from_secs(600);
    })
    .await;
    let trickle = |number: u64| {
        let address = server.address;
        async move {
            let mut raw = Raw::connect(address).await;
            if number.is_multiple_of(2) {
                // After a complete first request, the second head is bounded in the same way.
                raw.get("/healthz", "").await;
                assert_eq!(raw.answer().await.status, 200);
            }
            for byte in b"GET /topics/room/poll HTTP/1.1\r\nhost: slow\r\nx: yyyy" {
                raw.send_all_it_takes(&[*byte]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            raw.ends().await;
        }
    };
    let slow: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(trickle(number))).collect();
    others_are_answered(&server).await;
    for client in slow {
        soon(client).await.expect("cut off");
    }
    others_are_answered(&server).await;
    assert_eq!(server.app.metrics.refusals(Refusal::SlowHead), CLIENTS);
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    let server = TestServer::start().await;
    for line in ["x-header: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", "x", "a: b\r\n"] {
        let mut raw = Raw::connect(server.address).await;
        raw.send_all_it_takes(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n").await;
        raw.send_all_it_takes(line.repeat(100_000 / line.len()).as_bytes()).await;
        // The response is 431, unless the connection closes before the client can read it.
        eventually("cut off", || server.app.metrics.open_connections.get() == 0).await;
    }
    others_are_answered(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn flood_of_unused_topics_is_freed_and_leaves_room() {
    const LIMIT: usize = 100;
    let server = TestServer::with(|config| config.max_topics = LIMIT).await;
    let mut http = server.http();
    for number in 0..10_000 {
        // Topics without messages are dropped when there are too many.
        soon(http.get(&format!("/topics/flood-{number}/poll"))).await.expect("a 200");
    }
    for number in 0..1_000_000 {
        let name = format!("more-{number}").parse().expect("a good name");
        server.app.feed.topic(&name).expect("room is made");
    }
    assert!(server.app.feed.topic_count() <= LIMIT);
    for number in 0..LIMIT {
        server.try_publish(&format!("kept-{number}"), "hi").await.expect("room is made");
    }
    let refused = server.post("/topics/one-more/messages", new_message("hi")).await;
    assert_eq!(refused.status, 503);
    assert_eq!(server.post("/topics/kept-0/messages", new_message("again")).await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn oversized_frames_are_rejected_before_they_arrive() {
    let server = TestServer::with(|config| config.max_message_bytes = 1_000).await;
    let mut giant = Raw::connect(server.address).await;
    giant.upgrade("/topics/room/ws").await;
    // The header of a text frame of 2^62 bytes.
    let head = [0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    giant.send(head).await;
    assert_eq!(giant.closed_with().await, 1009);

    let mut endless = Raw::connect(server.address).await;
    endless.upgrade("/topics/room/ws").await;
    endless.send_frame(0x01, &[b'x'; 500]).await;
    for _ in 0..20 {
        endless.send_all_it_takes(&crate::support::frame(0x00, &[b'x'; 500])).await;
    }
    assert_eq!(endless.closed_with().await, 1009);
    others_are_answered(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn invalid_utf8_is_rejected_on_every_route() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address).await;
    raw.upgrade("/topics/room/ws").await;
    raw.send_frame(0x81, b"\xc3\x28").await;
    assert_eq!(raw.closed_with().await, 1007);
    let body = b"{\"sender\":\"A\",\"text\":\"\xc3\x28\"}".as_slice();
    assert_eq!(server.post("/topics/room/messages", body).await.status, 400);
    others_are_answered(&server).await;
    server.stop().await;
}

/// The server decompresses nothing, so a decompression bomb is refused.
#[tokio::test]
async fn websocket_compression_is_not_supported() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address).await;
    let offer = "sec-websocket-extensions: permessage-deflate\r\n";
    raw.get("/topics/room/ws", &(Raw::upgrade_headers() + offer)).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
    raw.event().await;
    // A frame that is marked as compressed.
    raw.send_frame(0xc1, b"\x4a\x4c\x04\x00").await;
    assert_eq!(raw.closed_with().await, 1002);

    let mut raw = Raw::connect(server.address).await;
    let bomb = "content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\u{1f}\u{8}\u{0}\u{0}";
    raw.send(format!("POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\n{bomb}")).await;
    assert_eq!(raw.answer().await.status, 415);
    others_are_answered(&server).await;
    server.stop().await;
}
