//! The counters of a group of subscribers: requests, responses, and every byte by its purpose.
//!
//! A stream counts each byte under a default kind, such as HTTP headers. Code that parses the bytes
//! moves them to another kind. Therefore the sum over the kinds always equals the bytes on the
//! socket.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tcp_info::{Segments, Sockets};
use crate::measure::{Histogram, Ledger, RoundTrips};

/// The purpose of a byte on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteKind {
    /// Message objects.
    Payload,
    /// The framing of a transport around them.
    Framing,
    /// HTTP request and response heads.
    Headers,
}

/// Counts of a group of subscribers, shared by all of them.
#[derive(Debug, Default)]
pub struct Meter {
    /// HTTP requests sent, upgrades included.
    pub requests: AtomicU64,
    /// Responses received; the 101 of an upgrade does not count.
    pub responses: AtomicU64,
    /// Of those, the ones without a message.
    pub empty_responses: AtomicU64,
    /// Requests sent again because the connection they were first sent on was closed.
    pub repeated: AtomicU64,
    /// TCP connections opened.
    pub opened: AtomicU64,
    /// Of these, the ones that resumed a TLS session.
    pub resumed: AtomicU64,
    up: Kinds,
    down: Kinds,
    writes_up: AtomicU64,
    reads_down: AtomicU64,
    pub(super) sockets: Sockets,
    /// Actual minus planned instant of a poll.
    poll_late_us: Mutex<Histogram>,
    /// From the start of a connect to the end of the handshake.
    ready_us: Mutex<Histogram>,
    /// Round trips of the network below a simulated link.
    round_trips: Mutex<RoundTrips>,
    /// Once cancelled, no request is sent: the next one waits forever.
    pub stop_requests: CancellationToken,
}

#[derive(Debug, Default)]
struct Kinds {
    payload: AtomicI64,
    framing: AtomicI64,
    headers: AtomicI64,
}

impl Kinds {
    fn of(&self, kind: ByteKind) -> &AtomicI64 {
        match kind {
            ByteKind::Payload => &self.payload,
            ByteKind::Framing => &self.framing,
            ByteKind::Headers => &self.headers,
        }
    }

    fn load(&self) -> [i64; 3] {
        [self.payload.load(Relaxed), self.framing.load(Relaxed), self.headers.load(Relaxed)]
    }
}

/// The counts of a [`Meter`] at one instant; the difference of two covers the time between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeterCounts {
    pub requests: u64,
    pub responses: u64,
    pub empty_responses: u64,
    pub repeated: u64,
    pub opened: u64,
    up: [i64; 3],
    down: [i64; 3],
    writes_up: u64,
    reads_down: u64,
    segments: Option<Segments>,
}

/// Bytes of TCP and IPv4 headers with the timestamp option, per segment.
pub const SEGMENT_HEADER_BYTES: u64 = 52;

impl Meter {
    pub(super) fn count_up(&self, kind: ByteKind, bytes: usize) {
        self.up.of(kind).fetch_add(bytes as i64, Relaxed);
        self.writes_up.fetch_add(1, Relaxed);
    }

    pub(super) fn count_down(&self, kind: ByteKind, bytes: usize) {
        self.down.of(kind).fetch_add(bytes as i64, Relaxed);
        self.reads_down.fetch_add(1, Relaxed);
    }

    /// Counts bytes that TLS adds to the other counted bytes; may be negative.
    #[cfg(feature = "tls")]
    pub(super) fn count_tls(&self, up: i64, down: i64) {
        self.up.framing.fetch_add(up, Relaxed);
        self.down.framing.fetch_add(down, Relaxed);
    }

    /// Counts a request before it is sent. Never returns once `stop_requests` is cancelled.
    pub(super) async fn admit_request(&self) {
        if self.stop_requests.is_cancelled() {
            std::future::pending::<()>().await;
        }
        self.requests.fetch_add(1, Relaxed);
    }

    /// Counts a request that is sent again.
    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    /// Moves received bytes to another kind.
    pub fn move_down(&self, from: ByteKind, to: ByteKind, bytes: usize) {
        self.down.of(from).fetch_sub(bytes as i64, Relaxed);
        self.down.of(to).fetch_add(bytes as i64, Relaxed);
    }

    /// Moves sent bytes to another kind.
    pub fn move_up(&self, from: ByteKind, to: ByteKind, bytes: usize) {
        self.up.of(from).fetch_sub(bytes as i64, Relaxed);
        self.up.of(to).fetch_add(bytes as i64, Relaxed);
    }

    /// Counts a complete response.
    pub(super) fn answered(&self, messages: usize) {
        self.responses.fetch_add(1, Relaxed);
        if messages == 0 {
            self.empty_responses.fetch_add(1, Relaxed);
        }
    }

    /// Records the time from the start of a connect until the connection was usable.
    pub(super) fn ready_after(&self, after: Duration) {
        let mut ready = self.ready_us.lock().expect("no panic under this lock");
        ready.record(after.as_micros() as u64);
    }

    /// Records how late a poll was sent.
    pub(super) fn polled_late(&self, after: Duration) {
        let mut late = self.poll_late_us.lock().expect("no panic under this lock");
        late.record(after.as_micros() as u64);
    }

    /// How late polls were since the start, or since [`Meter::forget_lateness`].
    pub fn lateness(&self) -> Histogram {
        self.poll_late_us.lock().expect("no panic under this lock").clone()
    }

    /// Clears the record of [`Meter::lateness`].
    pub fn forget_lateness(&self) {
        *self.poll_late_us.lock().expect("no panic under this lock") = Histogram::new();
    }

    /// Records the round trip of a connect, as the client and, if known, the kernel measured it.
    pub(super) fn connected(&self, after: Duration, kernel: Option<Duration>) {
        let mut round_trips = self.round_trips.lock().expect("no panic under this lock");
        round_trips.connect_us.record(after.as_micros() as u64);
        if let Some(kernel) = kernel {
            round_trips.kernel_us.record(kernel.as_micros() as u64);
        }
    }

    /// The round trips of the connections so far.
    pub fn round_trips(&self) -> RoundTrips {
        self.round_trips.lock().expect("no panic under this lock").clone()
    }

    /// How long connections took to become usable.
    pub fn readiness(&self) -> Histogram {
        self.ready_us.lock().expect("no panic under this lock").clone()
    }

    /// The counts so far.
    pub fn counts(&self) -> MeterCounts {
        MeterCounts {
            requests: self.requests.load(Relaxed),
            responses: self.responses.load(Relaxed),
            empty_responses: self.empty_responses.load(Relaxed),
            repeated: self.repeated.load(Relaxed),
            opened: self.opened.load(Relaxed),
            up: self.up.load(),
            down: self.down.load(),
            writes_up: self.writes_up.load(Relaxed),
            reads_down: self.reads_down.load(Relaxed),
            segments: self.sockets.segments(),
        }
    }
}

impl MeterCounts {
    /// What happened between `earlier` and this one.
    pub fn since(&self, earlier: &MeterCounts) -> MeterCounts {
        let minus = |now: [i64; 3], then: [i64; 3]| std::array::from_fn(|i| now[i] - then[i]);
        MeterCounts {
            requests: self.requests - earlier.requests,
            responses: self.responses - earlier.responses,
            empty_responses: self.empty_responses - earlier.empty_responses,
            repeated: self.repeated - earlier.repeated,
            opened: self.opened - earlier.opened,
            up: minus(self.up, earlier.up),
            down: minus(self.down, earlier.down),
            writes_up: self.writes_up - earlier.writes_up,
            reads_down: self.reads_down - earlier.reads_down,
            segments: self.segments.zip(earlier.segments).map(|(now, then)| now.since(then)),
        }
    }

    /// Whether the number of TCP segments was counted by the kernel.
    pub fn segments_are_counted(&self) -> bool {
        self.segments.is_some()
    }

    /// Bytes from subscribers to server, by kind. Where the kernel does not count segments, they
    /// are estimated: one for each write, and an acknowledgement for each read.
    pub fn up(&self) -> Ledger {
        let guess = self.writes_up + self.reads_down;
        ledger(self.up, self.segments.map_or(guess, |segments| segments.out))
    }

    /// Bytes from server to subscribers, by kind. Where the kernel does not count segments, they
    /// are estimated: one for each read, with acknowledgements piggybacked.
    pub fn down(&self) -> Ledger {
        ledger(self.down, self.segments.map_or(self.reads_down, |segments| segments.received))
    }
}

fn ledger([payload, framing, headers]: [i64; 3], segments: u64) -> Ledger {
    let bytes = |signed: i64| u64::try_from(signed).unwrap_or(0);
    Ledger {
        payload: bytes(payload),
        framing: bytes(framing),
        headers: bytes(headers),
        tcp_ip: segments * SEGMENT_HEADER_BYTES,
    }
}
