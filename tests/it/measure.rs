//! Measures and prints the figures of docs/operations.md. These tests take minutes and many file
//! descriptors, so they are ignored by default: `cargo test --release --test it measure --
//! --ignored --nocapture --test-threads 1`. With `RECORD_OPERATIONS=1` they also write the figures
//! to load-tests/results/operations.json, from which `book.rs` makes the table.

use std::io::Write;
use std::time::{Duration, Instant};

use poll_vs_push::variant::Transport;
use serde_json::json;

use crate::child::ChildServer;
use crate::support::{Raw, Reader, TestServer, options, publish, soon};
use poll_vs_push::client::{Dialer, HttpConnection};

const PUBLISHERS: usize = 64;

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Stores the figures of a test under `name`, if figures are to be recorded.
pub fn record(name: &str, figures: serde_json::Value) {
    if std::env::var_os("RECORD_OPERATIONS").is_none() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/results/operations.json");
    let text = std::fs::read_to_string(path).expect("a record");
    let mut all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let machine = poll_vs_push::load::machine();
    all["measured"] = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string().into();
    all["machine"] = format!("{}, {} cores", machine.cpu, machine.cores).into();
    all[name] = figures;
    let text = serde_json::to_string_pretty(&all).expect("JSON");
    std::fs::write(path, text + "\n").expect("writes the record");
}

/// `value` with at most `digits` digits behind the point.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn durable_publishing_compared_with_a_bare_fsync_loop() {
    const EACH: usize = 100;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut file = std::fs::File::create(directory.path().join("bare")).expect("a file");
    let group = vec![b'x'; PUBLISHERS * 200];
    let bare = Instant::now();
    for _ in 0..EACH {
        file.write_all(&group).expect("written");
        file.sync_data().expect("synced");
    }
    let bare_s = (PUBLISHERS * EACH) as f64 / bare.elapsed().as_secs_f64();
    let data = directory.path().join("feed");
    let server = ChildServer::start(&["--data", data.to_str().expect("UTF-8")]);
    let started = Instant::now();
    let publisher = |address| async move {
        let mut http = HttpConnection::new(Dialer::new(address));
        for _ in 0..EACH {
            publish(&mut http, &"x".repeat(120)).await;
        }
    };
    let all: Vec<_> = (0..PUBLISHERS).map(|_| tokio::spawn(publisher(server.address))).collect();
    for one in all {
        one.await.expect("publishes");
    }
    let ours_s = (PUBLISHERS * EACH) as f64 / started.elapsed().as_secs_f64();
    println!("{ours_s:.0} acknowledged/s; bare fsync loop {bare_s:.0}/s; {:.2}", ours_s / bare_s);
    let figures = json!({
        "publishers": PUBLISHERS,
        "acknowledged_s": rounded(ours_s, -3),
        "bare_loop_s": rounded(bare_s, -3),
    });
    record("durable", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn one_message_reaches_19_000_websockets() {
    const COUNT: usize = 19_000;
    let server = ChildServer::start(&["--heartbeat", "10m"]);
    let pid = server.child.id();
    let before = resident_kb(pid);
    let mut sockets = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut raw = Raw::connect(server.address).await;
        raw.upgrade("/topics/room/ws").await;
        raw.event().await;
        sockets.push(raw);
    }
    let each = (resident_kb(pid) - before) as f64 / COUNT as f64;
    let started = Instant::now();
    publish(&mut HttpConnection::new(Dialer::new(server.address)), "to all").await;
    for socket in &mut sockets {
        while socket.event().await["text"] != "to all" {}
    }
    let all_received_s = rounded(started.elapsed().as_secs_f64(), 2);
    println!("{COUNT} WebSockets, {each:.1} kB each; all told after {all_received_s} s");
    let kb_each = rounded(each, 1);
    let figures =
        json!({ "websockets": COUNT, "kb_each": kb_each, "all_received_s": all_received_s });
    record("fan_out", figures);
}

/// Two thousand of each: idle WebSocket subscribers, and subscribers with a pending poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn memory_of_idle_socket_io_clients() {
    const COUNT: usize = 2_000;
    const SUBSCRIBE: &str = r#"42["subscribe",{"topic":"room"}]"#;
    for transport in [Transport::SocketioWebsocket, Transport::SocketioPolling] {
        let server = ChildServer::start(&["--heartbeat", "10m"]);
        let pid = server.child.id();
        let before = resident_kb(pid);
        let mut clients = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            let mut raw = Raw::connect(server.address).await;
            if transport == Transport::SocketioWebsocket {
                raw.upgrade("/socket.io/?EIO=4&transport=websocket").await;
                for packet in ["40", SUBSCRIBE] {
                    raw.send_frame(0x81, packet.as_bytes()).await;
                }
                for _ in ["open", "connected", "subscribed"] {
                    raw.frame().await;
                }
            } else {
                let path = "/socket.io/?EIO=4&transport=polling";
                raw.get(path, "").await;
                let body = raw.answer().await.body;
                let open: serde_json::Value = serde_json::from_str(&body[1..]).expect("JSON");
                let path = format!("{path}&sid={}", open["sid"].as_str().expect("an id"));
                let body = format!("40\u{1e}{SUBSCRIBE}");
                let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\n");
                raw.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
                assert_eq!(raw.answer().await.body, "ok");
                raw.get(&path, "").await;
                assert!(raw.answer().await.body.contains("subscribed"));
                raw.get(&path, "").await;
            }
            clients.push(raw);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let each = (resident_kb(pid) - before) as f64 / COUNT as f64;
        println!("{COUNT} idle clients of {transport}: {each:.1} kB each");
        drop(clients);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn connection_churn_leaks_nothing() {
    const ROUNDS: usize = 10;
    const EACH: usize = 10_000;
    let server = ChildServer::start(&[]);
    let pid = server.child.id();
    let mut after_first = None;
    let mut after_last = (0, 0);
    for round in 1..=ROUNDS {
        for _ in 0..EACH {
            let mut raw = Raw::connect(server.address).await;
            raw.upgrade("/topics/room/ws").await;
        }
        let (memory, files) = (resident_kb(pid), descriptors(pid));
        println!("{} connects: {memory} kB, {files} file descriptors", round * EACH);
        after_last = (memory, files);
        let (memory_then, files_then) = *after_first.get_or_insert((memory, files));
        // The last few connections may not have ended yet.
        assert!(files <= files_then + 50, "file descriptors stay behind");
        assert!(memory <= memory_then + memory_then / 5, "memory stays behind");
    }
    let both = [after_first.expect("a round"), after_last];
    let figures = json!({
        "connections": ROUNDS * EACH,
        "first": EACH,
        "memory_mb": both.map(|(memory_kb, _)| rounded(memory_kb as f64 / 1e3, 1)),
        "descriptors": both.map(|(_, files)| files),
    });
    record("churn", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn ten_slow_subscribers_among_a_thousand_delay_no_other() {
    let mut figures = json!({});
    for (slow, name) in [(0, "without_ms"), (10, "with_ten_ms")] {
        let server = TestServer::with(|config| config.send_timeout = Duration::from_secs(2)).await;
        let mut stuck = Vec::new();
        for _ in 0..slow {
            let mut raw = Raw::connect_narrow(server.address).await;
            raw.upgrade("/topics/room/ws").await;
            stuck.push(raw);
        }
        let listen = |mut reader: Reader| async move {
            let mut latencies = Vec::new();
            while latencies.len() < 50 {
                for text in reader.texts(1).await {
                    let sent: u128 = text.split('x').next().expect("a time").parse().expect("time");
                    latencies.push(now_us() - sent);
                }
            }
            latencies
        };
        let mut readers = Vec::new();
        for _ in 0..1_000 {
            let reader =
                Reader::connect(Transport::WebSocket, server.dialer(), options(None)).await;
            readers.push(tokio::spawn(listen(reader)));
        }
        for _ in 0..50 {
            server.publish(&format!("{}{}", now_us(), "x".repeat(1_000))).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut all = Vec::new();
        for reader in readers {
            all.extend(soon(reader).await.expect("reads"));
        }
        all.sort_unstable();
        let [p50, p99] = [all[all.len() / 2], all[all.len() * 99 / 100]];
        println!("{slow} slow: p50 {p50} us, p99 {p99} us");
        let [p50, p99] = [p50, p99].map(|us| rounded(us as f64 / 1e3, 1));
        figures[name] = json!({ "p50": p50, "p99": p99 });
        drop(stuck);
        server.stop().await;
    }
    record("slow_readers", figures);
}

fn now_us() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_micros()
}
