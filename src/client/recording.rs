//! Records every byte that a subscriber sends and receives, for `trace`.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;

use super::Meter;

/// Largest recording, bytes; data sent and received after it is full is missing.
const RECORDED_BYTES_MAX: usize = 4 << 20;

/// The traffic of a group of connections, in order.
#[derive(Debug, Default)]
pub struct Recording(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Recorded>,
    connections: u32,
    bytes: usize,
    is_full: bool,
}

/// An entry of a [`Recording`].
#[derive(Debug, Clone)]
pub struct Recorded {
    pub at: Instant,
    /// Number of the connection, from 1.
    pub connection: u32,
    pub traffic: SocketEvent,
    /// Bytes of TCP and IP headers of all connections so far: up and down.
    pub tcp_ip: [u64; 2],
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    /// The TCP connection was opened.
    Opened,
    /// The subscriber wrote these bytes.
    Sent(Bytes),
    /// The subscriber read these bytes.
    Received(Bytes),
}

impl Recording {
    /// All entries so far; `None` if some are missing because the recording is full.
    pub fn entries(&self) -> Option<Vec<Recorded>> {
        let inner = self.0.lock().expect("no panic under this lock");
        (!inner.is_full).then(|| inner.entries.clone())
    }
}

/// The part of one connection.
#[derive(Debug)]
pub(super) struct Recorder {
    recording: Arc<Recording>,
    connection: u32,
}

impl Recorder {
    /// Records a new connection.
    pub fn open(recording: Arc<Recording>, meter: &Meter) -> Recorder {
        let mut inner = recording.0.lock().expect("no panic under this lock");
        inner.connections += 1;
        let connection = inner.connections;
        drop(inner);
        let recorder = Recorder { recording, connection };
        recorder.record(SocketEvent::Opened, 0, meter);
        recorder
    }

    pub fn sent(&self, bytes: &[u8], meter: &Meter) {
        self.record(SocketEvent::Sent(Bytes::copy_from_slice(bytes)), bytes.len(), meter);
    }

    pub fn received(&self, bytes: &[u8], meter: &Meter) {
        self.record(SocketEvent::Received(Bytes::copy_from_slice(bytes)), bytes.len(), meter);
    }

    fn record(&self, traffic: SocketEvent, bytes: usize, meter: &Meter) {
        let counts = meter.counts();
        let tcp_ip = [counts.up().tcp_ip, counts.down().tcp_ip];
        let mut inner = self.recording.0.lock().expect("no panic under this lock");
        inner.bytes += bytes;
        inner.is_full |= inner.bytes > RECORDED_BYTES_MAX;
        if !inner.is_full {
            let (at, connection) = (Instant::now(), self.connection);
            inner.entries.push(Recorded { at, connection, traffic, tcp_ip });
        }
    }
}
