//! Attacks on the server's memory and log by sessions of Socket.IO, and by web pages of other
//! origins.

use crate::support::Raw;
use crate::victim::Victim;

/// The last number of the attackers' address, 127.0.0.2.
const ATTACKER: u8 = 2;
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Opens a session; returns its path, or `None` if it is refused.
async fn open(raw: &mut Raw) -> Option<String> {
    raw.get(POLLING, "").await;
    let answer = raw.answer().await;
    if answer.status != 200 {
        return None;
    }
    let opened: serde_json::Value = serde_json::from_str(&answer.body[1..]).expect("JSON");
    Some(format!("{POLLING}&sid={}", opened["sid"].as_str().expect("an id")))
}

fn post(path: &str, length: usize, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// One TCP connection opens sessions and subscribes each, until it has its share.
#[tokio::test]
async fn subscriptions_over_one_connection_take_little_memory() {
    let mut victim = Victim::start(&[]).await;
    let mut raw = Raw::connect_from(ATTACKER, victim.address()).await;
    let mut sessions = 0;
    while let Some(path) = open(&mut raw).await {
        let packets = "40\u{1e}42[\"subscribe\",{\"topic\":\"quiet\"}]";
        raw.send(post(&path, packets.len(), packets)).await;
        assert_eq!(raw.answer().await.status, 200);
        sessions += 1;
    }
    assert_eq!(sessions, 1_200, "--max-sessions-per-address");
    victim.withstands("subscriptions over one connection").await;
    drop(raw);
    victim.recovers("subscriptions over one connection").await;
}

/// POSTs that announce the largest body, and send one byte of it.
#[tokio::test]
async fn posts_of_sessions_that_do_not_end_take_little_memory() {
    let mut victim = Victim::start(&["--body-timeout", "3s"]).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect_from(ATTACKER, victim.address()).await;
        let path = open(&mut raw).await.expect("below the limits");
        raw.send(post(&path, 300_000, "4")).await;
        clients.push(raw);
    }
    victim.withstands("POSTs that do not end").await;
    for mut raw in clients {
        assert_eq!(raw.answer().await.status, 408);
        assert_eq!(raw.rest().await, "");
    }
    victim.recovers("POSTs that do not end").await;
}

/// Requests as a page of another origin causes them by images: each is refused, and leaves nothing.
#[tokio::test]
async fn requests_of_foreign_pages_take_little_memory() {
    let mut victim = Victim::start(&[]).await;
    let mut raw = Raw::connect_from(ATTACKER, victim.address()).await;
    for number in 0..1_000 {
        let (poll, hold) =
            (format!("/topics/new-{number}/poll"), format!("/topics/new-{number}/long-poll"));
        for path in [POLLING, &poll, &hold] {
            raw.get(path, "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n").await;
            assert_eq!(raw.answer().await.status, 403, "{path}");
        }
    }
    victim.withstands("requests of foreign pages").await;
    drop(raw);
    victim.recovers("requests of foreign pages").await;
}
