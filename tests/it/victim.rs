//! A server in a separate process that is attacked, with default limits, and its resources:
//! resident memory, bytes of log, file descriptors. Another client, of another address, is served
//! meanwhile, and its response times are compared with those before the attack.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use rustix::param::clock_ticks_per_second;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::timeout;

use crate::bystander::{Bystander, KINDS};
use crate::child::{ChildServer, PROGRAM};
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

/// Measurements of the bystander before the attack, of each kind: enough for a percentile when they
/// are compared, few otherwise.
const MEASURED_BEFORE: usize = 400;
const COUNTED_BEFORE: usize = 50;
/// The environment variable with a program to attack instead of the one that was built with the
/// tests. It then runs on the first processor alone, attackers and bystander run on the second,
/// and attackers run when the bystander does not, so that response times can be compared.
const PROGRAM_VARIABLE: &str = "ATTACKED_PROGRAM";
/// Further flags of the attacked server, separated by spaces.
const FLAGS_VARIABLE: &str = "ATTACKED_FLAGS";

/// Of the attackers' thread. New threads and processes inherit it.
const ATTACKER_NICENESS: i32 = 19;

/// Lets this thread run on the second processor alone, with normal priority.
fn run_on_second_processor() {
    let mut second = CpuSet::new();
    second.set(1);
    sched_setaffinity(None, &second).expect("there are two processors");
    setpriority_process(None, 0).expect("root may raise the priority again");
}

pub struct Victim {
    /// First, so that it ends before its server.
    bystander: Bystander,
    p99_ms_before: [f64; KINDS.len()],
    began: Began,
    server: ChildServer,
    directory: tempfile::TempDir,
    resident_before: usize,
    descriptors_before: usize,
}

/// The beginning of an attack.
struct Began {
    at: Instant,
    server_cpu_s: f64,
    attacker_cpu_s: f64,
}

impl Began {
    fn now(server_cpu_s: f64) -> Began {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let attacker_cpu_s = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        Began { at: Instant::now(), server_cpu_s, attacker_cpu_s }
    }
}

impl Victim {
    /// Starts a server to which loopback addresses are as those of a network.
    pub async fn start(arguments: &[&str]) -> Victim {
        let directory = tempfile::tempdir().expect("a directory");
        let log = File::create(directory.path().join("log")).expect("a file");
        let program = std::env::var(PROGRAM_VARIABLE).ok();
        let mut command = Command::new(program.as_deref().map_or(PROGRAM, |_| "taskset"));
        if let Some(program) = &program {
            command.args(["--cpu-list", "0", program]);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--limit-loopback"]).args(arguments);
        let flags = std::env::var(FLAGS_VARIABLE).unwrap_or_default();
        command.args(flags.split_whitespace());
        command.env_remove("RUST_LOG").stderr(log);
        if program.is_some() {
            run_on_second_processor();
        }
        let server = ChildServer::spawn_as_it_is(command);
        let bystander = Bystander::start(server.address);
        if program.is_some() {
            setpriority_process(None, ATTACKER_NICENESS).expect("a lower priority");
        }
        let mut victim = Victim {
            bystander,
            p99_ms_before: [0.0; KINDS.len()],
            began: Began::now(0.0),
            server,
            directory,
            resident_before: 0,
            descriptors_before: 0,
        };
        victim.serves_others().await;
        let enough = if program.is_some() { MEASURED_BEFORE } else { COUNTED_BEFORE };
        eventually("the bystander is served", || victim.bystander.count() >= enough).await;
        victim.p99_ms_before = victim.bystander.take_p99_ms();
        victim.resident_before = victim.resident();
        victim.descriptors_before = victim.descriptors();
        victim.began = Began::now(victim.server_cpu_s());
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
    pub async fn withstands(&mut self, what: &str) {
        self.withstands_within(what, ONE_CLIENT_BYTES).await;
    }

    /// Checks what the process holds while many attackers of one address are connected.
    pub async fn withstands_address(&mut self, what: &str) {
        self.withstands_within(what, ONE_ADDRESS_BYTES).await;
    }

    /// CPU time that the server has used, seconds.
    fn server_cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(self.process("stat")).expect("it runs");
        // After the name of the program, which ends with the last parenthesis (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
        let ticks: u64 = fields[12..14].iter().map(|it| it.parse::<u64>().expect("ticks")).sum();
        ticks as f64 / clock_ticks_per_second() as f64
    }

    /// Prints how long others waited since the attack began, or since the last call.
    fn print_times(&mut self, what: &str) {
        let now = Began::now(self.server_cpu_s());
        let counted = self.bystander.count();
        let during = self.bystander.take_p99_ms();
        let server = now.server_cpu_s - self.began.server_cpu_s;
        let attacker = now.attacker_cpu_s - self.began.attacker_cpu_s;
        let seconds = (now.at - self.began.at).as_secs_f64();
        println!(
            "{what}: {seconds:.1} s, CPU time of the server {server:.2} s, of the attacker \
             {attacker:.2} s"
        );
        for ((kind, before), during) in KINDS.iter().zip(self.p99_ms_before).zip(during) {
            let ratio = during / before;
            println!(
                "  p99 of others' {kind}: {before:.2} ms before, {during:.2} ms during ({counted} \
                 or more), ratio {ratio:.1}"
            );
        }
        self.began = now;
    }

    /// Bytes by which resident memory has grown, once the attack has been read.
    pub async fn grown(&mut self, what: &str) -> usize {
        self.serves_others().await;
        let resident = self.settled_resident().await;
        self.print_times(what);
        resident.saturating_sub(self.resident_before)
    }

    async fn withstands_within(&mut self, what: &str, limit: usize) {
        let grown = self.grown(what).await;
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
