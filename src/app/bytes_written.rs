//! How much a connection has written. A library's queue tells nobody when what was put into it has
//! left; the bytes that come out below do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes written to one connection since it was accepted.
#[derive(Debug, Default)]
pub struct BytesWritten(AtomicU64);

impl BytesWritten {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
