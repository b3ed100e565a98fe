//! TLS: every transport over TLS, its overhead, and clients without TLS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::app::{MemoryBudget, ServerConfig};
use poll_vs_push::client::{ClientError, Dialer, HttpConnection, Meter, WireStream};
use poll_vs_push::load::{LoadTest, ServerSource};
use poll_vs_push::measure::Ledger;
use poll_vs_push::scenario::Scenario;
use poll_vs_push::theory::bytes::{TLS_FULL_BYTES, TLS_RECORD_BYTES, TLS_RESUMED_BYTES};
use poll_vs_push::tls::{self, Trust};
use poll_vs_push::variant::Transport;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::child::ChildServer;
use crate::support::{FORGOTTEN, Raw, Reader, TestServer, eventually, new_message, options, soon};

/// A certificate for 127.0.0.1 and its key.
struct Certificate(TempDir);

impl Certificate {
    fn new() -> Certificate {
        let directory = tempfile::tempdir().expect("a directory");
        let made = Command::new("openssl")
            .args("req -x509 -nodes -days 2 -subj /CN=test -newkey ec".split(' '))
            .args("-pkeyopt ec_paramgen_curve:prime256v1".split(' '))
            .args("-addext subjectAltName=IP:127.0.0.1".split(' '))
            .args("-addext basicConstraints=critical,CA:FALSE".split(' '))
            .args("-keyout key.pem -out cert.pem".split(' '))
            .current_dir(&directory)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Certificate(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn trust(&self) -> Trust {
        Trust::new(&self.file("cert.pem"), "127.0.0.1").expect("a good certificate")
    }

    async fn server(&self, configure: impl FnOnce(&mut ServerConfig)) -> TestServer {
        TestServer::with(|config| {
            config.tls_cert = Some(self.file("cert.pem"));
            config.tls_key = Some(self.file("key.pem"));
            configure(config);
        })
        .await
    }
}

/// Polls once, successfully.
async fn poll(dialer: Dialer) {
    let answer = soon(HttpConnection::new(dialer).get("/topics/room/poll?after=0")).await;
    answer.expect("an answer");
}

#[tokio::test]
async fn every_transport_works_over_tls() {
    let certificate = Certificate::new();
    let server = certificate.server(|_| ()).await;
    for transport in Transport::ALL {
        let dialer = server.dialer().with_trust(certificate.trust());
        let mut reader = Reader::connect(transport, dialer, options(None)).await;
        let text = "é".repeat(20_000);
        server.publish(&text).await;
        assert_eq!(reader.texts(1).await, [text], "{transport}");
    }
    server.stop().await;
}

/// Forwards one direction and counts its bytes.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: Arc<AtomicU64>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length as u64, Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn tls_adds_only_framing_and_all_bytes_are_counted() {
    let certificate = Certificate::new();
    let server = certificate.server(|_| ()).await;
    server.publish("hello").await;
    // A relay that counts the bytes on the wire.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
    let meter = Arc::<Meter>::default();
    let dialer = Dialer::new(listener.local_addr().expect("it has one"))
        .with_trust(certificate.trust())
        .with_meter(meter.clone());
    let relayed = [Arc::<AtomicU64>::default(), Arc::default()];
    let [up, down] = relayed.clone();
    let between = async {
        let (subscriber, _) = listener.accept().await.expect("it comes");
        let (from, to) = subscriber.into_split();
        let server = TcpStream::connect(server.address).await.expect("connects");
        let (answers, requests) = server.into_split();
        tokio::join!(pass(from, requests, up), pass(answers, to, down));
    };
    let mut http = HttpConnection::new(dialer);
    let asking = async {
        let batch = http.get("/topics/room/poll?after=0").await.expect("an answer");
        http.dialer().answered(1, batch.len(), 0);
        let (counts, [up, down]) = (meter.counts(), relayed.map(|count| count.load(Relaxed)));
        let all = |ledger: Ledger| ledger.payload + ledger.framing + ledger.headers;
        assert_eq!((all(counts.up()), all(counts.down())), (up, down));
        assert_eq!(counts.down().payload, batch.len() as u64);
        let headers = counts.up().headers;
        assert!((40..100).contains(&headers), "a request without more: {headers}");
        // The ClientHello, and the record of the request.
        assert!((150..1_000).contains(&counts.up().framing), "{:?}", counts.up());
        drop(http);
    };
    soon(async { tokio::join!(between, asking) }).await;
    server.stop().await;
}

/// The bytes of TLS on a connection that carries one poll, up and down, and whether it resumed a
/// session.
async fn tls_bytes_of_a_poll(dialer: &Dialer) -> ([u64; 2], bool) {
    let meter = Arc::<Meter>::default();
    let mut http = HttpConnection::new(dialer.clone().with_meter(meter.clone()));
    let batch = soon(http.get("/topics/room/poll?after=0")).await.expect("an answer");
    http.dialer().answered(1, batch.len(), 0);
    let counts = meter.counts();
    let framing = [counts.up().framing, counts.down().framing];
    (framing, meter.resumed.load(Relaxed) == 1)
}

#[tokio::test]
async fn handshakes_have_the_predicted_size() {
    let directory = tempfile::tempdir().expect("a directory");
    let [cert, key] = tls::self_signed(directory.path()).expect("a certificate");
    let trust = Trust::new(&cert, tls::SELF_SIGNED_NAME).expect("a good certificate");
    let server = TestServer::with(|config| {
        (config.tls_cert, config.tls_key) = (Some(cert), Some(key));
    })
    .await;
    server.publish("hello").await;
    let strangers = server.dialer().with_trust(trust.clone());
    let returning = server.dialer().with_trust(trust).with_own_sessions();
    // One record for the request, one for the response.
    let predicted = |handshake: [f64; 2]| handshake.map(|bytes| (bytes + TLS_RECORD_BYTES) as u64);
    for _ in 0..3 {
        let full = tls_bytes_of_a_poll(&strangers).await;
        assert_eq!(full, (predicted(TLS_FULL_BYTES), false));
    }
    let first = tls_bytes_of_a_poll(&returning).await;
    assert!(!first.1, "there is no session yet");
    for _ in 0..3 {
        let resumed = tls_bytes_of_a_poll(&returning).await;
        assert_eq!(resumed, (predicted(TLS_RESUMED_BYTES), true));
    }
    server.stop().await;
}

#[tokio::test]
async fn plaintext_client_is_disconnected_and_the_server_continues() {
    let certificate = Certificate::new();
    let server = certificate.server(|_| ()).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let request = b"GET /topics/room/poll?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("taken");
    let mut received = Vec::new();
    // The connection may be reset after the TLS alert.
    let _ = soon(stream.read_to_end(&mut received)).await;
    assert!(received.len() < 20 && !received.starts_with(b"HTTP"), "{received:?}");
    poll(server.dialer().with_trust(certificate.trust())).await;
    server.stop().await;
}

#[tokio::test]
async fn incomplete_tls_handshake_closes_the_connection() {
    let certificate = Certificate::new();
    let server = certificate
        .server(|config| {
            config.header_timeout = Duration::from_millis(100);
            config.idle_timeout = FORGOTTEN;
        })
        .await;
    let silent = Raw::connect(server.address).await;
    let mut half_a_hello = Raw::connect(server.address).await;
    half_a_hello.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    silent.ends().await;
    half_a_hello.ends().await;
    eventually("two slow heads", || server.app.metrics.refusals(Refusal::SlowHead) == 2).await;
    server.stop().await;
}

#[tokio::test]
async fn subscriber_trusts_only_the_given_certificate() {
    let (ours, other) = (Certificate::new(), Certificate::new());
    let server = ours.server(|_| ()).await;
    let no_name = Trust::new(&ours.file("cert.pem"), "example.org").expect("a good name");
    for trust in [other.trust(), no_name] {
        let dialing = soon(server.dialer().with_trust(trust).dial()).await;
        let error = dialing.map(|_| ()).map_err(ClientError::Connect).expect_err("not trusted");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert!(Trust::new(&ours.file("key.pem"), "127.0.0.1").is_err());
    assert!(Trust::new(Path::new("nowhere"), "127.0.0.1").is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_test_works_over_tls() {
    const SCENARIO: &str = "
name = 'tls'
title = 'TLS'
description = 'Deliveries and bytes under TLS.'
transports = ['short-polling', 'websocket']
repeats = 1
[workload]
subscribers = 6
topics = 3
rate = 20.0
poll_interval = '20ms'
rtt = '2ms'
idle = '300ms'
warm_up = '100ms'
duration = '500ms'
";
    let certificate = Certificate::new();
    let server = certificate.server(|_| ()).await;
    let dialer = server.dialer().with_trust(certificate.trust());
    let scenario = Scenario::from_toml(SCENARIO).expect("a good scenario");
    let load_test = LoadTest::new(scenario, ServerSource::Target { dialer, behind: Vec::new() });
    let load_test = load_test.expect("this machine can carry it");
    let run = load_test.measure(std::future::pending(), &|_| {}).await;
    assert_eq!(run.stopped_early, None);
    assert_eq!(run.cells.len(), 2);
    assert!(run.server.is_tls);
    for cell in run.cells {
        assert!(cell.deliveries.expected > 0, "{}", cell.variant);
        assert_eq!(cell.deliveries.received, cell.deliveries.expected, "{}", cell.variant);
    }
    server.stop().await;
}

/// Opens this many connections of the kinds that take most: idle, with headers without an end, with
/// responses and with a stream that are not read.
async fn open_connections(dialer: &Dialer, count: usize) -> Vec<WireStream> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut stream = soon(dialer.dial()).await.expect("a handshake");
        let host = "HTTP/1.1\r\nhost: localhost\r\n";
        let request = match number % 4 {
            0 => format!("GET /healthz {host}\r\n"),
            1 => format!("GET / {host}x: {}", "y".repeat(8_000)),
            2 => format!("GET /topics/large/poll?after=0 {host}\r\n").repeat(40),
            _ => format!("GET /topics/large/events?after=0 {host}\r\n"),
        };
        soon(stream.write_all(request.as_bytes())).await.expect("it is read");
        clients.push(stream);
    }
    clients
}

/// Resident memory of a process, bytes, once it does not grow any more.
async fn settled_resident(process: u32) -> usize {
    let (mut most, mut steady) = (0, 0);
    while steady < 5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        steady = if kib > most { 0 } else { steady + 1 };
        most = most.max(kib);
    }
    most << 10
}

/// What further connections take, beside the bytes that are counted, is in the documented budget of
/// a connection with TLS, of which the budgets of an address and of the server are made.
#[tokio::test]
async fn connections_with_tls_take_no_more_than_their_budget() {
    const FIRST: usize = 40;
    const MORE: usize = 80;
    const HELD: usize = 2 << 20;
    let certificate = Certificate::new();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| certificate.file(name));
    let budget = |connections| {
        let config = ServerConfig {
            tls_cert: Some(cert.clone()),
            max_connections_per_address: connections,
            ..ServerConfig::default()
        };
        MemoryBudget::of(&config).address
    };
    let budget = budget(FIRST + MORE) - budget(FIRST);
    let [cert, key] = [&cert, &key].map(|path| path.to_str().expect("text"));
    let held = HELD.to_string();
    let mut flags = vec!["--tls-cert", cert, "--tls-key", key, "--limit-loopback"];
    flags.extend(["--max-held-bytes", &held, "--max-held-bytes-per-address", &held]);
    flags.extend(["--send-timeout", "60s", "--header-timeout", "60s"]);
    let server = ChildServer::start(&flags);
    let dialer = Dialer::new(server.address).with_trust(certificate.trust());
    let mut http = HttpConnection::new(dialer.clone());
    // A batch that no kernel buffers.
    for _ in 0..15 {
        let message = new_message(&"x".repeat(60_000)).into();
        let posting = http.request(hyper::Method::POST, "/topics/large/messages", message);
        assert_eq!(soon(posting).await.expect("an answer").status, 201);
    }
    let first = open_connections(&dialer, FIRST).await;
    // The bytes that are counted have reached their limit by now.
    let before = settled_resident(server.child.id()).await;
    let more = open_connections(&dialer, MORE).await;
    let grown = settled_resident(server.child.id()).await.saturating_sub(before);
    println!("{MORE} more connections: {grown} bytes of {budget}, {} each", grown / MORE);
    assert!(grown <= budget, "{grown} bytes, not at most {budget}");
    drop((first, more));
}
