//! Attacks on the server's memory and log. Each attacks a server in a process of its own, with
//! default limits, and checks what the process holds afterwards: resident memory, bytes of log,
//! file descriptors; and that another client is still served.

use std::fs::File;
use std::time::Duration;

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::child::ChildServer;
use crate::support::{Raw, draft, eventually, frame, soon};

const MIB: usize = 1 << 20;
/// What one client may make the server allocate.
const ONE_CLIENT_BYTES: usize = 64 * MIB;
/// What a client may make the server log in a minute; no attack takes longer.
const LOG_BYTES: u64 = 1 << 20;
/// How long an attacker that is not read from goes on.
const PATIENCE: Duration = Duration::from_secs(1);

struct Victim {
    server: ChildServer,
    directory: tempfile::TempDir,
    resident_before: usize,
    descriptors_before: usize,
}

impl Victim {
    async fn start(arguments: &[&str]) -> Victim {
        let directory = tempfile::tempdir().expect("a directory");
        let log = File::create(directory.path().join("log")).expect("a file");
        let server = ChildServer::start_with_log(arguments, None, log);
        let mut victim = Victim { server, directory, resident_before: 0, descriptors_before: 0 };
        victim.serves_others().await;
        victim.resident_before = victim.resident();
        victim.descriptors_before = victim.descriptors();
        victim
    }

    fn http(&self) -> HttpConnection {
        HttpConnection::new(Dialer::new(self.server.address))
    }

    async fn serves_others(&self) {
        let mut http = self.http();
        let path = "/topics/others/messages";
        let published = soon(http.request(Method::POST, path, draft("hi").into())).await;
        assert_eq!(published.expect("an answer").status, 201);
        let polled = soon(http.get("/topics/others/poll?after=0")).await.expect("an answer");
        assert!(!polled.is_empty());
    }

    fn process(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.server.child.id())
    }

    /// Resident memory, bytes.
    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(self.process("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.process("fd")).expect("it runs").count()
    }

    /// Checks what the process holds while the attackers are connected.
    async fn withstands(&self, what: &str) {
        self.serves_others().await;
        let grown = self.resident().saturating_sub(self.resident_before);
        println!("{what}: resident memory grew by {} KiB", grown >> 10);
        assert!(grown <= ONE_CLIENT_BYTES, "{what}: {grown} bytes more than before");
    }

    /// Checks what is left once they are gone.
    async fn recovers(&self, what: &str) {
        self.serves_others().await;
        eventually("descriptors are closed", || self.descriptors() <= self.descriptors_before)
            .await;
        let log = std::fs::metadata(self.directory.path().join("log")).expect("a file").len();
        assert!(log <= LOG_BYTES, "{what}: {log} bytes of log");
    }
}

/// Writes `bytes` again and again, at most `limit` in all, until the server stops reading.
async fn flood(raw: &mut Raw, bytes: &[u8], limit: usize) {
    for _ in 0..limit / bytes.len() {
        if timeout(PATIENCE, raw.send_all_it_takes(bytes)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn pings_whose_answers_are_not_read_take_little_memory() {
    for path in ["/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let victim = Victim::start(&[]).await;
        let mut raw = Raw::connect_narrow(victim.server.address).await;
        raw.upgrade(path).await;
        let pings = frame(0x89, &[b'p'; 125]).repeat(500);
        flood(&mut raw, &pings, 128 * MIB).await;
        victim.withstands(path).await;
        drop(raw);
        victim.recovers(path).await;
    }
}

/// What a client is told about its own messages is bounded as pongs are.
#[tokio::test]
async fn errors_that_are_not_read_take_little_memory() {
    for path in ["/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let victim = Victim::start(&[]).await;
        let mut raw = Raw::connect_narrow(victim.server.address).await;
        raw.upgrade(path).await;
        let bad = match path.starts_with("/socket.io") {
            true => format!(
                "42[\"subscribe\",{{\"topic\":\"room\",\"after\":\"{}\"}}]",
                "x".repeat(390_000)
            ),
            false => format!("{{\"sender\":\"{}\"}}", "x".repeat(390_000)),
        };
        raw.send_frame(0x81, b"40").await;
        flood(&mut raw, &frame(0x81, bad.as_bytes()), 64 * MIB).await;
        victim.withstands(path).await;
        drop(raw);
        victim.recovers(path).await;
    }
}

/// The preface of HTTP/2, and settings with an initial window of no bytes.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
const RST_STREAM: u8 = 3;

/// A HEADERS frame with a GET that ends its stream, without indexing (RFC 7541, section 6.2.2).
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    let mut bytes = vec![0, 0, block.len() as u8, 0x01, 0x05];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(block);
    bytes
}

#[tokio::test]
async fn streams_of_http2_without_a_window_are_reset_and_take_little_memory() {
    const CONNECTIONS: usize = 4;
    const STREAMS: u32 = 128;
    let victim = Victim::start(&["--send-timeout", "2s", "--limit-loopback"]).await;
    let mut http = victim.http();
    for _ in 0..16 {
        let message = draft(&"x".repeat(64_000)).into();
        let answer = soon(http.request(Method::POST, "/topics/big/messages", message)).await;
        assert_eq!(answer.expect("an answer").status, 201);
    }
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(victim.server.address).await.expect("it listens");
        let mut bytes = NO_WINDOW.to_vec();
        for number in 0..STREAMS {
            bytes.extend(get(2 * number + 1, "/topics/big/poll?after=0"));
        }
        stream.write_all(&bytes).await.expect("it is read");
        clients.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    victim.withstands("no window").await;
    for stream in &mut clients {
        let mut resets = 0;
        while resets < STREAMS {
            let mut head = [0; 9];
            soon(stream.read_exact(&mut head)).await.expect("every stream is reset");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            soon(stream.read_exact(&mut payload)).await.expect("a whole frame");
            resets += u32::from(head[3] == RST_STREAM);
        }
    }
    victim.withstands("no window, after the resets").await;
    drop(clients);
    drop(http);
    victim.recovers("no window").await;
}

#[tokio::test]
async fn acknowledgements_of_pings_that_were_never_sent_are_not_logged() {
    let victim = Victim::start(&[]).await;
    let mut raw = Raw::connect(victim.server.address).await;
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let acknowledgement = b"\0\0\x08\x06\x01\0\0\0\0abcdefgh".repeat(1_000);
    flood(&mut raw, &acknowledgement, 8 * MIB).await;
    victim.withstands("acknowledgements").await;
    drop(raw);
    victim.recovers("acknowledgements").await;
}

#[tokio::test]
async fn messages_in_ever_new_topics_take_bounded_memory() {
    let victim = Victim::start(&[]).await;
    let mut http = victim.http();
    let message = draft(&"x".repeat(64_000));
    for number in 0..1_600 {
        let path = format!("/topics/new-{number}/messages");
        let answer = soon(http.request(Method::POST, &path, message.clone().into())).await;
        assert_eq!(answer.expect("an answer").status, 201);
    }
    victim.withstands("100 MB in new topics").await;
    drop(http);
    victim.recovers("100 MB in new topics").await;
}

#[tokio::test]
async fn requests_whose_responses_are_not_read_take_little_memory() {
    let victim = Victim::start(&[]).await;
    let mut http = victim.http();
    for _ in 0..16 {
        let message = draft(&"x".repeat(64_000)).into();
        soon(http.request(Method::POST, "/topics/big/messages", message)).await.expect("stored");
    }
    let mut raw = Raw::connect_narrow(victim.server.address).await;
    let requests = b"GET /topics/big/poll?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    flood(&mut raw, &requests, 16 * MIB).await;
    victim.withstands("pipelined requests").await;
    drop((raw, http));
    victim.recovers("pipelined requests").await;
}
