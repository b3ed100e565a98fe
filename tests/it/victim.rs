//! A server in a separate process that is attacked, with default limits, and its resources:
//! resident memory, bytes of log, file descriptors. Another client, of another address, is served
//! meanwhile, and its response times are compared with those before the attack.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// Time between two exchanges of the bystander.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(2);
/// Exchanges of the bystander before the attack.
const BYSTANDER_EXCHANGES: usize = 100;
/// The last number of the bystander's address, 127.0.0.200.
const BYSTANDER: u8 = 200;

/// A client that publishes and polls all the time, in a thread of its own: the attacker must not
/// delay it in this process.
struct Bystander {
    is_stopped: Arc<AtomicBool>,
    /// Of each exchange.
    times: Arc<Mutex<Vec<Duration>>>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    fn start(address: SocketAddr) -> Bystander {
        let (is_stopped, times) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stop, record): (_, Arc<Mutex<Vec<_>>>) = (is_stopped.clone(), Arc::clone(&times));
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime").block_on(async {
                let mut raw = Raw::connect_from(BYSTANDER, address).await;
                let body = new_message("hi");
                let head = "POST /topics/bystander/messages HTTP/1.1\r\nhost: localhost\r\n";
                let post = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                while !stop.load(Relaxed) {
                    let began = Instant::now();
                    raw.send(&post).await;
                    assert_eq!(raw.answer().await.status, 201);
                    raw.get("/topics/bystander/poll", "").await;
                    assert_eq!(raw.answer().await.status, 200);
                    record.lock().expect("no panic").push(began.elapsed());
                    tokio::time::sleep(BYSTANDER_PAUSE).await;
                }
            });
        });
        Bystander { is_stopped, times, thread: Some(thread) }
    }

    fn is_served(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// The 99th percentile since the last call, milliseconds.
    fn take_p99_ms(&self) -> f64 {
        let mut times = std::mem::take(&mut *self.times.lock().expect("no panic"));
        times.sort();
        let index = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.is_stopped.store(true, Relaxed);
        // A panic was reported by its own thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub struct Victim {
    /// First, so that it ends before its server.
    bystander: Bystander,
    p99_ms_before: f64,
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
        let bystander = Bystander::start(server.address);
        let mut victim = Victim {
            bystander,
            p99_ms_before: 0.0,
            server,
            directory,
            resident_before: 0,
            descriptors_before: 0,
        };
        victim.serves_others().await;
        let is_measured = || {
            let times = victim.bystander.times.lock().expect("no panic");
            times.len() >= BYSTANDER_EXCHANGES
        };
        eventually("the bystander is served", is_measured).await;
        victim.p99_ms_before = victim.bystander.take_p99_ms();
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

    /// Bytes by which resident memory has grown, once the attack has been read.
    pub async fn grown(&self) -> usize {
        self.serves_others().await;
        let (before, during) = (self.p99_ms_before, self.bystander.take_p99_ms());
        let ratio = during / before;
        println!("  others' p99: {during:.2} ms, before {before:.2} ms, ratio {ratio:.1}");
        self.settled_resident().await.saturating_sub(self.resident_before)
    }

    async fn withstands_within(&self, what: &str, limit: usize) {
        let grown = self.grown().await;
        println!("{what}: resident memory grew by {} KiB", grown >> 10);
        assert!(grown <= limit, "{what}: {grown} bytes more than before");
    }

    /// Checks what remains after they have disconnected.
    pub async fn recovers(&self, what: &str) {
        self.serves_others().await;
        assert!(self.bystander.is_served(), "{what}: another client was refused");
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
