//! Counts the segments that the kernel sent and received on the client's sockets (Linux,
//! `TCP_INFO`), from which the bytes of TCP and IP headers follow.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::Mutex;

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

/// `tcpi_segs_out` and `tcpi_segs_in` of `struct tcp_info` (linux/tcp.h), which libc's declaration
/// of the struct ends before.
#[cfg(target_os = "linux")]
fn segments_of(socket: RawFd) -> Option<Segments> {
    const WORDS: usize = 36;
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
    is_whole.then(|| Segments { out: info[34].into(), received: info[35].into() })
}

#[cfg(not(target_os = "linux"))]
fn segments_of(_socket: RawFd) -> Option<Segments> {
    None
}
