//! The kernel's counters of the client's sockets (Linux, `TCP_INFO`): the segments sent and
//! received, from which the bytes of TCP and IP headers follow, and the round trip.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::time::Duration;

/// Segments of a group of sockets, pure acknowledgements included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segments {
    pub out: u64,
    pub received: u64,
}

impl Segments {
    pub fn since(self, earlier: Segments) -> Segments {
        Segments { out: self.out - earlier.out, received: self.received - earlier.received }
    }
}

/// The open sockets of a meter, and the counts of the closed ones.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: HashSet<RawFd>,
    closed: Segments,
}

impl Sockets {
    pub fn add(&self, socket: RawFd) {
        self.0.lock().expect("no panic under this lock").open.insert(socket);
    }

    /// Must be called before the socket is closed.
    pub fn remove(&self, socket: RawFd) {
        let mut inner = self.0.lock().expect("no panic under this lock");
        inner.open.remove(&socket);
        if let Some(segments) = segments_of(socket) {
            inner.closed.out += segments.out;
            inner.closed.received += segments.received;
        }
    }

    /// Segments of all sockets so far; `None` where the system does not count them.
    pub fn segments(&self) -> Option<Segments> {
        let inner = self.0.lock().expect("no panic under this lock");
        inner.open.iter().try_fold(inner.closed, |sum, socket| {
            let segments = segments_of(*socket)?;
            Some(Segments {
                out: sum.out + segments.out,
                received: sum.received + segments.received,
            })
        })
    }
}

/// Length of `struct tcp_info` (linux/tcp.h) up to the members that are read here, in words of 32
/// bits. libc's declaration of the struct ends before them.
const WORDS: usize = 36;
/// `tcpi_rtt`, the smoothed round trip, microseconds.
const RTT: usize = 17;
/// `tcpi_segs_out` and `tcpi_segs_in`.
const SEGMENTS_OUT: usize = 34;
const SEGMENTS_IN: usize = 35;

/// The kernel's `struct tcp_info` of a socket; `None` if there is none.
#[cfg(target_os = "linux")]
fn tcp_info(socket: RawFd) -> Option<[u32; WORDS]> {
    let mut info = [0u32; WORDS];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointers are to live local variables, and `length` is the size of the buffer. A
    // descriptor that is no TCP socket makes the call fail.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let is_whole = result == 0 && length as usize == size_of_val(&info);
    is_whole.then_some(info)
}

#[cfg(not(target_os = "linux"))]
fn tcp_info(_socket: RawFd) -> Option<[u32; WORDS]> {
    None
}

fn segments_of(socket: RawFd) -> Option<Segments> {
    let info = tcp_info(socket)?;
    Some(Segments { out: info[SEGMENTS_OUT].into(), received: info[SEGMENTS_IN].into() })
}

/// The round trip of a socket that has just connected, from SYN to SYN-ACK; `None` if it is not
/// known.
pub(super) fn round_trip(socket: RawFd) -> Option<Duration> {
    let micros = tcp_info(socket)?[RTT];
    (micros > 0).then(|| Duration::from_micros(micros.into()))
}
