//! One client address takes at most a share of what the server has: clients of other addresses are
//! served while it has taken all of its share.

use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::variant::Transport;

use crate::support::http2::{get, opening};
use crate::support::{Raw, TestServer, eventually, frame, new_message};

/// The last number of the attacker's address, 127.0.0.2, and that of another client.
const ATTACKER: u8 = 2;
const OTHER: u8 = 3;
const SHARE: usize = 8;

async fn post(raw: &mut Raw, path: &str, body: &str) -> u16 {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}");
    raw.send(format!("{head}\r\n\r\n{body}")).await;
    raw.answer().await.status
}

/// 16 streams on each of three HTTP/2 connections are more than the server has waiters.
#[tokio::test]
async fn long_polls_of_one_address_leave_waiters_to_others() {
    let server = TestServer::with(|config| {
        config.max_waiters = 2 * SHARE;
        config.max_waiters_per_address = SHARE;
        config.limit_loopback = true;
    })
    .await;
    let mut attackers = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect_from(ATTACKER, server.address).await;
        raw.send(opening(65_535)).await;
        for number in 0..16 {
            raw.send(get(2 * number + 1, "/topics/room/long-poll?after=0")).await;
        }
        attackers.push(raw);
    }
    let refused = || server.app.metrics.refusals(Refusal::WaitersPerAddress);
    eventually("refused", || refused() == 48 - SHARE as u64).await;
    assert_eq!(server.waiting(Transport::LongPolling), SHARE as i64);
    let mut other = Raw::connect_from(OTHER, server.address).await;
    other.get("/topics/room/long-poll?after=0", "").await;
    eventually("held", || server.waiting(Transport::LongPolling) == SHARE as i64 + 1).await;
    server.publish("go").await;
    assert_eq!(other.answer().await.status, 200);
    drop((attackers, other));
    server.stop().await;
}

/// Sessions that one TCP connection opens and subscribes.
#[tokio::test]
async fn subscriptions_of_one_address_leave_some_to_others() {
    let server = TestServer::with(|config| {
        config.max_subscriptions = 2 * SHARE;
        config.max_subscriptions_per_address = SHARE;
        config.limit_loopback = true;
    })
    .await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let mut attacker = Raw::connect_from(ATTACKER, server.address).await;
    for _ in 0..3 * SHARE {
        attacker.get(path, "").await;
        let opened = attacker.answer().await.body;
        let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("JSON");
        let session = format!("{path}&sid={}", opened["sid"].as_str().expect("an id"));
        let packets = "40\u{1e}42[\"subscribe\",{\"topic\":\"room\"}]";
        assert_eq!(post(&mut attacker, &session, packets).await, 200);
    }
    let refused = server.app.metrics.refusals(Refusal::SubscriptionsPerAddress);
    assert_eq!(refused, 2 * SHARE as u64);
    assert_eq!(server.waiting(Transport::SocketioPolling), SHARE as i64);
    for name in ["events", "stream"] {
        let mut other = Raw::connect_from(OTHER, server.address).await;
        other.get(&format!("/topics/room/{name}"), "").await;
        assert_eq!(other.response_without_body().await.status, 200, "{name}");
    }
    let mut other = Raw::connect_from(OTHER, server.address).await;
    other.upgrade("/topics/room/ws").await;
    let mut other = Raw::connect_from(OTHER, server.address).await;
    other.upgrade("/socket.io/?EIO=4&transport=websocket").await;
    for packet in ["40", "42[\"subscribe\",{\"topic\":\"room\"}]"] {
        other.send_frame(0x81, packet.as_bytes()).await;
    }
    eventually("subscribed", || server.waiting(Transport::SocketioWebsocket) == 1).await;
    drop((attacker, other));
    server.stop().await;
}

#[tokio::test]
async fn bytes_held_for_one_address_leave_room_in_the_total() {
    let server = TestServer::with(|config| {
        config.max_message_bytes = 8 << 10;
        config.max_batch_bytes = 8 << 10;
        config.max_held_bytes = 160 << 10;
        config.max_held_bytes_per_address = 160 << 10;
        config.max_held_bytes_total = 320 << 10;
        config.limit_loopback = true;
    })
    .await;
    let part = [b'x'; 40 << 10];
    let mut attackers = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect_from(ATTACKER, server.address).await;
        let head = "POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\n";
        raw.send(format!("{head}content-length: {}\r\n\r\n", part.len() + 1)).await;
        raw.send_all_it_takes(&part).await;
        attackers.push(raw);
    }
    let refused = || server.app.metrics.refusals(Refusal::HeldBytes);
    eventually("refused", || refused() >= 6).await;
    let mut other = Raw::connect_from(OTHER, server.address).await;
    let message = new_message(&"x".repeat(8_000));
    assert_eq!(post(&mut other, "/topics/room/messages", &message).await, 201);
    let mut socket = Raw::connect_from(OTHER, server.address).await;
    socket.upgrade("/topics/room/ws?after=0").await;
    socket.send_all_it_takes(&frame(0x81, message.as_bytes())).await;
    while socket.event().await["event"] != "published" {}
    drop((attackers, socket));
    server.stop().await;
}

#[tokio::test]
async fn topics_of_one_address_leave_room_for_others() {
    let server = TestServer::with(|config| {
        config.max_topics = 2 * SHARE;
        config.max_topics_per_address = SHARE;
        config.limit_loopback = true;
    })
    .await;
    let mut attacker = Raw::connect_from(ATTACKER, server.address).await;
    let mut created = 0;
    for number in 0..4 * SHARE {
        let path = format!("/topics/attack-{number}/messages");
        created += usize::from(post(&mut attacker, &path, &new_message("x")).await == 201);
    }
    assert_eq!(created, SHARE);
    let mut other = Raw::connect_from(OTHER, server.address).await;
    for number in 0..SHARE {
        let path = format!("/topics/other-{number}/messages");
        assert_eq!(post(&mut other, &path, &new_message("x")).await, 201, "{path}");
    }
    drop((attacker, other));
    server.stop().await;
}
