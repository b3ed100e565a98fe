//! Figures of docs/operations.md, measured and printed, with the counts checked. They take minutes
//! and file descriptors, so they run when asked:
//! `cargo test --release --test it measure -- --ignored --nocapture --test-threads 1`

use std::io::Write;
use std::time::{Duration, Instant};

use poll_vs_push::variant::Transport;

use crate::child::ChildServer;
use crate::support::{Raw, Reader, TestServer, options, publish, soon};
use poll_vs_push::client::{Dialer, HttpConnection};

const PUBLISHERS: usize = 64;

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
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
    println!("{COUNT} WebSockets, {each:.1} kB each; all told after {:?}", started.elapsed());
}

/// Two thousand of each: an idle subscriber on a WebSocket, and one with a held poll.
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
    for round in 1..=ROUNDS {
        for _ in 0..EACH {
            let mut raw = Raw::connect(server.address).await;
            raw.upgrade("/topics/room/ws").await;
        }
        let (memory, files) = (resident_kb(pid), descriptors(pid));
        println!("{} connects: {memory} kB, {files} file descriptors", round * EACH);
        let (memory_then, files_then) = *after_first.get_or_insert((memory, files));
        // The last few connections may not have ended yet.
        assert!(files <= files_then + 50, "file descriptors stay behind");
        assert!(memory <= memory_then + memory_then / 5, "memory stays behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure"]
async fn ten_slow_subscribers_among_a_thousand_delay_no_other() {
    for slow in [0, 10] {
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
        println!(
            "{slow} slow: p50 {} us, p99 {} us",
            all[all.len() / 2],
            all[all.len() * 99 / 100]
        );
        drop(stuck);
        server.stop().await;
    }
}

fn now_us() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_micros()
}
