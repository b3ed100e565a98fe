//! A server in a separate process that is attacked, with default limits, and its resources:
//! resident memory, bytes of log, file descriptors. Another client is served meanwhile.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use tokio::time::timeout;

use crate::child::ChildServer;
use crate::support::{Raw, eventually, new_message, soon};

pub const MIB: usize = 1 << 20;
/// What one client may make the server allocate.
const ONE_CLIENT_BYTES: usize = 64 * MIB;
/// What all clients of one address may make the server allocate.
const ONE_ADDRESS_BYTES: usize = 256 * MIB;
/// What a client may make the server log in a minute; no attack takes longer.
const LOG_BYTES: u64 = 1 << 20;
/// How long an attacker continues while the server does not read.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Victim {
    server: ChildServer,
    directory: tempfile::TempDir,
    resident_before: usize,
    descriptors_before: usize,
}

impl Victim {
    pub async fn start(arguments: &[&str]) -> Victim {
        let directory = tempfile::tempdir().expect("a directory");
        let log = File::create(directory.path().join("log")).expect("a file");
        let server = ChildServer::start_with_log(arguments, None, log);
        let mut victim = Victim { server, directory, resident_before: 0, descriptors_before: 0 };
        victim.serves_others().await;
        victim.resident_before = victim.resident();
        victim.descriptors_before = victim.descriptors();
        victim
    }

    pub fn http(&self) -> HttpConnection {
        HttpConnection::new(Dialer::new(self.server.address))
    }

    pub async fn serves_others(&self) {
        let mut http = self.http();
        let path = "/topics/others/messages";
        let published = soon(http.request(Method::POST, path, new_message("hi").into())).await;
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

    /// The most resident memory until it has not grown for half a second: what the attackers have
    /// sent may not have been read yet.
    async fn settled_resident(&self) -> usize {
        let (mut most, mut steady) = (self.resident(), 0);
        for _ in 0..100 {
            if steady == 5 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.resident();
            steady = if now > most + (256 << 10) { 0 } else { steady + 1 };
            most = most.max(now);
        }
        most
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(self.process("fd")).expect("it runs").count()
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Checks what the process holds while one attacker is connected.
    pub async fn withstands(&self, what: &str) {
        self.withstands_within(what, ONE_CLIENT_BYTES).await;
    }

    /// Checks what the process holds while many attackers of one address are connected.
    pub async fn withstands_address(&self, what: &str) {
        self.withstands_within(what, ONE_ADDRESS_BYTES).await;
    }

    async fn withstands_within(&self, what: &str, limit: usize) {
        self.serves_others().await;
        let grown = self.settled_resident().await.saturating_sub(self.resident_before);
        println!("{what}: resident memory grew by {} KiB", grown >> 10);
        assert!(grown <= limit, "{what}: {grown} bytes more than before");
    }

    /// Checks what remains after they have disconnected.
    pub async fn recovers(&self, what: &str) {
        self.serves_others().await;
        eventually("descriptors are closed", || self.descriptors() <= self.descriptors_before)
            .await;
        let log = std::fs::metadata(self.directory.path().join("log")).expect("a file").len();
        println!("{what}: {log} bytes of log");
        assert!(log <= LOG_BYTES, "{what}: {log} bytes of log");
    }
}

/// Writes `bytes` again and again, at most `limit` in all, until the server stops reading.
pub async fn flood(raw: &mut Raw, bytes: &[u8], limit: usize) {
    for _ in 0..limit / bytes.len() {
        if timeout(PATIENCE, raw.send_all_it_takes(bytes)).await.is_err() {
            return;
        }
    }
}
