//! The thread that simulates the network: it reads packets from the TUN device and writes them back
//! later, or drops them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};

use super::path::{PacketOutcome, Path};
use super::tun::{self, Tun};
use super::{Counts, DEVICE, LinkParameters, PACKET_BYTES_MAX, Snapshot, Unavailable};
use crate::measure::Histogram;

/// Maximum number of packets in transit; further ones are dropped and counted as missed.
const QUEUED_MAX: usize = 200_000;
/// Maximum number of packets that are read before those that are due are written.
const READ_AT_ONCE: usize = 64;
/// Longest sleep, and so the time that stopping may take.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// A packet link, until it is dropped.
#[derive(Debug)]
pub struct PacketLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    totals: Mutex<Totals>,
}

/// The counts of the thread so far.
#[derive(Debug)]
struct Totals {
    counts: Counts,
    cpu_s: f64,
    late_us: Histogram,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { counts: Counts::default(), cpu_s: 0.0, late_us: Histogram::new() }
    }
}

impl PacketLink {
    /// Starts a link to the server that listens on `server_port` of every address; the process must
    /// have [entered](super::enter) its namespace. Losses and jitter follow from `seed`.
    ///
    /// # Errors
    /// If the device or the thread cannot be created.
    pub fn start(
        parameters: LinkParameters,
        server_port: u16,
        seed: u64,
    ) -> Result<PacketLink, Unavailable> {
        let failed = |error: io::Error| Unavailable {
            reason: format!("the link cannot be started: {error}"),
            remedy: "check that memory and threads are available".to_owned(),
        };
        let tun = Tun::create(DEVICE).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let mut reflector = Reflector {
            tun,
            parameters,
            server_port,
            random: ChaCha8Rng::seed_from_u64(seed),
            started: Instant::now(),
            paths: Vec::new(),
            queue: BinaryHeap::new(),
            spare: Vec::new(),
            entered: 0,
            counts: Counts::default(),
            late: Vec::new(),
        };
        let of_thread = shared.clone();
        let run = move || {
            set_timer_slack();
            while !of_thread.is_over.load(Relaxed) {
                reflector.run_once();
                reflector.publish(&of_thread);
            }
        };
        let thread = std::thread::Builder::new()
            .name("packet link".to_owned())
            .spawn(run)
            .map_err(failed)?;
        Ok(PacketLink { shared, thread: Some(thread) })
    }

    /// The counts so far; the lateness only since the last call.
    pub fn snapshot(&self) -> Snapshot {
        let mut totals = self.shared.totals.lock().expect("no panic under this lock");
        let late_us = std::mem::take(&mut totals.late_us);
        let missed = totals.counts.missed + tun::missed();
        Snapshot { counts: Counts { missed, ..totals.counts }, cpu_s: totals.cpu_s, late_us }
    }
}

impl Drop for PacketLink {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet in transit. Ordered by arrival, then by entry.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuedPacket {
    due: Duration,
    number: u64,
    packet: Vec<u8>,
}

/// The state of the thread.
struct Reflector {
    tun: Tun,
    parameters: LinkParameters,
    server_port: u16,
    random: ChaCha8Rng,
    started: Instant,
    /// Up and down, by the low bits of the subscriber's address.
    paths: Vec<[Path; 2]>,
    queue: BinaryHeap<Reverse<QueuedPacket>>,
    /// Free buffers.
    spare: Vec<Vec<u8>>,
    entered: u64,
    counts: Counts,
    /// Lateness of the packets written in this iteration.
    late: Vec<Duration>,
}

impl Reflector {
    /// Runs one iteration: waits, then reads and writes packets.
    fn run_once(&mut self) {
        let now = self.started.elapsed();
        let next =
            self.queue.peek().map_or(SLEEP_MAX, |Reverse(packet)| packet.due.saturating_sub(now));
        wait_readable(&self.tun, next.min(SLEEP_MAX));
        for _ in 0..READ_AT_ONCE {
            if !self.take_one() {
                break;
            }
        }
        self.write_due();
    }

    /// Reads a packet from the device. Returns whether there was one.
    fn take_one(&mut self) -> bool {
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.resize(PACKET_BYTES_MAX as usize, 0);
        let Ok(bytes) = self.tun.read(&mut packet) else {
            self.spare.push(packet);
            return false;
        };
        packet.truncate(bytes);
        match self.admit(&mut packet) {
            Some(due) if self.queue.len() < QUEUED_MAX => {
                self.entered += 1;
                self.queue.push(Reverse(QueuedPacket { due, number: self.entered, packet }));
            }
            Some(_) => self.counts.missed += 1,
            None => self.spare.push(packet),
        }
        true
    }

    /// Swaps source and destination of the packet. Returns when it is due, unless it is dropped.
    fn admit(&mut self, packet: &mut [u8]) -> Option<Duration> {
        // Other packets that the kernel sends on a new device (IPv6 router solicitations) are
        // ignored.
        let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
        let segment = TcpHeaderSlice::from_slice(packet.get(header.slice().len()..)?).ok()?;
        let is_up = segment.destination_port() == self.server_port;
        let [_, _, high, low] = header.destination();
        let (from, to) = packet.split_at_mut(16);
        from[12..16].swap_with_slice(&mut to[..4]);

        let subscriber = usize::from(u16::from_be_bytes([high, low]));
        if self.paths.len() <= subscriber {
            self.paths.resize_with(subscriber + 1, Default::default);
        }
        let [up, down] = &mut self.paths[subscriber];
        let (path, bit_s, counts) = match is_up {
            true => (up, self.parameters.up_bit_s, &mut self.counts.up),
            false => (down, self.parameters.down_bit_s, &mut self.counts.down),
        };
        let now = self.started.elapsed();
        match path.pass(&self.parameters, bit_s, now, packet.len(), counts, &mut self.random) {
            PacketOutcome::Arrives(due) => Some(due),
            PacketOutcome::Lost | PacketOutcome::Overflows => None,
        }
    }

    /// Writes the packets that are due.
    fn write_due(&mut self) {
        loop {
            let now = self.started.elapsed();
            match self.queue.peek() {
                Some(Reverse(packet)) if packet.due <= now => {}
                _ => return,
            }
            let Some(Reverse(packet)) = self.queue.pop() else { return };
            self.late.push(now - packet.due);
            if self.tun.write(&packet.packet).is_err() {
                self.counts.missed += 1;
            }
            self.spare.push(packet.packet);
        }
    }

    /// Publishes the counts of an iteration.
    fn publish(&mut self, shared: &Shared) {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let mut totals = shared.totals.lock().expect("no panic under this lock");
        totals.cpu_s = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        totals.counts = self.counts;
        for late in self.late.drain(..) {
            totals.late_us.record(late.as_micros() as u64);
        }
    }
}

/// Sleeps until a packet can be read or the timeout has passed.
fn wait_readable(tun: &Tun, time: Duration) {
    let mut wanted = libc::pollfd { fd: tun.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the pointers are to live local variables, the count is that of the former, and no
    // signal mask is given. If a signal interrupts it, it fails, which is treated as a timeout.
    unsafe { libc::ppoll(&raw mut wanted, 1, &raw const timeout, std::ptr::null()) };
}

/// Makes the kernel wake this thread on time instead of up to 50 us later (timer slack).
fn set_timer_slack() {
    // SAFETY: no pointer is passed; the setting affects only this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}
