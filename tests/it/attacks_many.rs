//! Attacks on the server's memory by many connections of one address, and by many addresses. The
//! bounds are those that docs/operations.md computes from the flags.

use std::time::{Duration, Instant};

use hyper::Method;
use poll_vs_push::app::{MemoryBudget, ServerConfig};
use tokio::task::JoinSet;

use crate::support::http2::{get, opening};
use crate::support::{Raw, Scrape, frame, new_message, soon};
use crate::victim::{MIB, Victim, flood};

/// The last number of the attackers' address, 127.0.0.2.
const ATTACKER: u8 = 2;

/// A JSON escape makes six bytes of each of these characters.
fn large_message() -> String {
    new_message(&"\u{1}".repeat(64_000))
}

async fn publish(victim: &Victim, topic: &str, message: String) {
    let path = format!("/topics/{topic}/messages");
    let answer = soon(victim.http().request(Method::POST, &path, message.into())).await;
    assert_eq!(answer.expect("an answer").status, 201);
}

/// Subscribers of each stream begin at different messages and read nothing, so that they share no
/// buffer.
#[tokio::test]
async fn subscribers_that_do_not_read_take_the_memory_of_one_address() {
    let mut victim = Victim::start(&["--send-timeout", "60s"]).await;
    let mut clients = Vec::new();
    for _ in 0..60 {
        publish(&victim, "large", large_message()).await;
        for name in ["ws", "events", "stream"] {
            let mut raw = Raw::connect_narrow_from(ATTACKER, victim.address()).await;
            let headers = if name == "ws" { Raw::upgrade_headers() } else { String::new() };
            raw.get(&format!("/topics/large/{name}?after=0"), &headers).await;
            clients.push(raw);
        }
        let mut raw = Raw::connect_narrow_from(ATTACKER, victim.address()).await;
        raw.upgrade("/socket.io/?EIO=4&transport=websocket").await;
        raw.send_frame(0x81, b"40").await;
        raw.send_frame(0x81, br#"42["subscribe",{"topic":"large","after":0}]"#).await;
        clients.push(raw);
    }
    victim.withstands_address("240 subscribers that do not read, 60 messages of 384 kB").await;
    drop(clients);
    victim.recovers("240 subscribers that do not read, 60 messages of 384 kB").await;
}

/// Connections of HTTP/2 whose long polls and responses are not read.
#[tokio::test]
async fn connections_of_http2_take_the_memory_of_one_address() {
    let mut victim = Victim::start(&[]).await;
    publish(&victim, "large", large_message()).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::connect_from(ATTACKER, victim.address()).await;
        let mut bytes = opening(0);
        for number in 0..128 {
            let path = match number % 2 {
                0 => "/topics/large/poll?after=0",
                _ => "/topics/quiet/long-poll?after=0",
            };
            bytes.extend(get(2 * number + 1, path));
        }
        raw.send_all_it_takes(&bytes).await;
        clients.push(raw);
    }
    victim.withstands_address("100 HTTP/2 connections with 128 requests each").await;
    drop(clients);
    victim.recovers("100 HTTP/2 connections with 128 requests each").await;
}

/// Twelve addresses send 187 MB that never become whole messages.
#[tokio::test]
async fn many_addresses_take_no_more_than_the_budget_of_the_server() {
    const ADDRESSES: u8 = 12;
    const CONNECTIONS: usize = 40;
    let config = ServerConfig {
        max_held_bytes_total: 48 * MIB,
        max_held_bytes_per_address: 16 * MIB,
        max_connections: 600,
        max_sessions: 600,
        ..ServerConfig::default()
    };
    let flags = [
        ("--max-held-bytes-total", config.max_held_bytes_total),
        ("--max-held-bytes-per-address", config.max_held_bytes_per_address),
        ("--max-connections", config.max_connections),
        ("--max-sessions", config.max_sessions),
    ];
    let flags: Vec<String> =
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]).collect();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--body-timeout", "60s"]);
    let mut victim = Victim::start(&flags).await;
    let mut clients = Vec::new();
    for host in 0..ADDRESSES {
        for number in 0..CONNECTIONS {
            let mut raw = Raw::connect_from(ATTACKER + host, victim.address()).await;
            if number % 2 == 0 {
                let head = "POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\n";
                raw.send(format!("{head}content-length: 390000\r\n\r\n")).await;
                raw.send_all_it_takes(&[b'x'; 389_999]).await;
            } else {
                raw.upgrade("/topics/room/ws").await;
                raw.send_all_it_takes(&frame(0x01, &[b'x'; 389_999])).await;
            }
            clients.push(raw);
        }
    }
    let grown = victim.grown("many addresses").await;
    let bound = MemoryBudget::of(&config).server;
    println!("many addresses: resident memory grew by {grown} of {bound} bytes");
    assert!((12 * MIB..=bound).contains(&grown), "{grown} bytes, not at most {bound}");
    drop(clients);
    victim.recovers("many addresses").await;
}

/// Packets that announce attachments, and the attachments.
#[tokio::test]
async fn announced_attachments_take_little_memory() {
    for flags in [&[][..], &["--echo"]] {
        let mut victim = Victim::start(flags).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut raw = Raw::connect(victim.address()).await;
            raw.upgrade("/socket.io/?EIO=4&transport=websocket").await;
            for packet in ["40", "459999-[\"message\"]"] {
                raw.send_all_it_takes(&frame(0x81, packet.as_bytes())).await;
            }
            flood(&mut raw, &frame(0x82, &[b'x'; 1_000]), 10 * MIB).await;
            clients.push(raw);
        }
        victim.withstands("attachments").await;
        drop(clients);
        victim.recovers("attachments").await;
    }
}

/// CPU time of the server for the replay of a backlog from disk, on each stream. The figures are
/// printed; the test checks that everything is replayed.
#[tokio::test]
async fn backlog_on_disk_is_replayed_to_every_stream() {
    const MESSAGES: usize = 400;
    const TEXT_BYTES: usize = 10_000;
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("feed");
    let flags = ["--data", data.to_str().expect("text"), "--durability", "os"];
    let mut victim = Victim::start(&flags).await;
    for _ in 0..MESSAGES {
        publish(&victim, "room", new_message(&"x".repeat(TEXT_BYTES))).await;
    }
    for name in ["ws", "events", "stream"] {
        let before = cpu_s(&victim).await;
        let mut raw = Raw::connect(victim.address()).await;
        let headers = if name == "ws" { Raw::upgrade_headers() } else { String::new() };
        raw.get(&format!("/topics/room/{name}?after=0"), &headers).await;
        let received = raw.read_at_least(MESSAGES * TEXT_BYTES).await;
        let used_ms = (cpu_s(&victim).await - before) * 1e3;
        println!("replay by {name}: {received} bytes, {used_ms:.0} ms of CPU with others'");
    }
    victim.withstands("replays from disk").await;
    victim.recovers("replays from disk").await;
}

async fn cpu_s(victim: &Victim) -> f64 {
    let metrics = soon(victim.http().get("/metrics")).await.expect("an answer");
    Scrape::parse(std::str::from_utf8(&metrics).expect("text")).get("process_cpu_seconds_total")
}

/// One address sends requests on many connections as fast as they are answered.
#[tokio::test]
async fn requests_without_a_pause_leave_time_to_others() {
    const CONNECTIONS: usize = 16;
    const AT_ONCE: usize = 50;
    let mut victim = Victim::start(&[]).await;
    let ends_at = Instant::now() + Duration::from_secs(2);
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::connect_from(ATTACKER, victim.address()).await;
        clients.spawn(async move {
            raw.get("/healthz", "").await;
            let response_bytes = raw.read_at_least(1).await;
            let requests = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(AT_ONCE);
            let mut count = 0;
            while Instant::now() < ends_at {
                raw.send(&requests).await;
                count += AT_ONCE;
                raw.read_at_least(AT_ONCE * response_bytes).await;
            }
            count
        });
    }
    let mut count = 0;
    while let Some(ended) = clients.join_next().await {
        count += ended.expect("all are answered");
    }
    println!("{count} requests");
    victim.withstands("16 connections with 50 pipelined requests each, without a pause").await;
    victim.recovers("16 connections with 50 pipelined requests each, without a pause").await;
}
