//! An accepted socket that can be watched while a response is being prepared.
//!
//! hyper is configured to allow half-closed connections, since a client that has finished sending
//! may still wait for its response (RFC 9112, section 9.6). It then no longer notices a client that
//! is gone, so a long poll observes the socket itself.

use std::future::pending;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tracing::debug;

/// Time between two checks whether the peer of a socket with unread data is gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest values that Linux takes (TCP_USER_TIMEOUT is an `int` of milliseconds, and
/// MAX_TCP_KEEPIDLE is 32,767 s), and the longest time between two probes that is of use.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);
const PROBES_AFTER_MAX: Duration = Duration::from_secs(32_767);
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Bytes that are joined to be written with one plain system call.
const JOINED_BYTES_MAX: usize = 1 << 10;

/// Makes the kernel close a connection whose peer has vanished.
///
/// # Errors
/// If the system refuses an option.
pub fn set_keepalive(
    stream: &TcpStream,
    send_timeout: Duration,
    heartbeat: Duration,
) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // Unacknowledged data, and unanswered probes, end the connection after this time (RFC 5482).
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(send_timeout.min(USER_TIMEOUT_MAX)))?;
    // The kernel counts both in seconds. Probes find vanished clients that are sent nothing, as
    // during a long poll.
    let seconds = |duration: Duration| Duration::from_secs(duration.as_secs_f64().ceil() as u64);
    let interval = seconds(send_timeout / 3).clamp(Duration::from_secs(1), PROBE_INTERVAL_MAX);
    let heartbeat = seconds(heartbeat).min(PROBES_AFTER_MAX);
    let probing = TcpKeepalive::new().with_time(heartbeat).with_interval(interval);
    socket.set_tcp_keepalive(&probing)
}

/// An accepted connection.
#[derive(Debug)]
pub struct PeerStream {
    read: OwnedReadHalf,
    write: Arc<WriteHalf>,
}

#[derive(Debug)]
struct WriteHalf {
    half: OwnedWriteHalf,
    /// Bytes that the kernel has taken.
    written: AtomicU64,
}

impl PeerStream {
    pub fn new(stream: TcpStream) -> PeerStream {
        let (read, write) = stream.into_split();
        let write = WriteHalf { half: write, written: AtomicU64::new(0) };
        PeerStream { read, write: Arc::new(write) }
    }

    /// A handle that observes the connection. It does not keep the socket open.
    pub fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.write))
    }

    fn socket(&self) -> &TcpStream {
        // This half of the socket is reached with fewer cache misses than the other one.
        self.read.as_ref()
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer(Weak<WriteHalf>);

/// How the peer ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It has closed its sending side, or the whole connection: the server cannot tell before it
    /// sends something.
    Sending,
    /// The connection is broken.
    Gone,
}

impl Peer {
    /// Bytes written to the connection so far.
    pub fn written(&self) -> u64 {
        self.0.upgrade().map_or(0, |socket| socket.written.load(Relaxed))
    }

    /// Of these, the bytes that have arrived at the peer. All of them if the system cannot tell.
    pub fn acknowledged(&self) -> u64 {
        let Some(socket) = self.0.upgrade() else { return 0 };
        let written = socket.written.load(Relaxed);
        written - queued_bytes(socket.half.as_ref()).min(written)
    }

    /// Makes the kernel discard what it has not sent when the connection is closed, and reset it.
    pub fn discard_unsent(&self) {
        let Some(socket) = self.0.upgrade() else { return };
        let socket: &TcpStream = socket.half.as_ref();
        if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
            debug!(%error, "the connection may still deliver what it has queued");
        }
    }

    /// Resolves when the peer has finished sending or is gone; never while it may send more.
    pub async fn finished(&self) -> Finished {
        // A request on HTTP/2 has no socket of its own: the end of the connection drops this
        // future.
        let Some(socket) = self.0.upgrade() else { return pending().await };
        let socket: &TcpStream = socket.half.as_ref();
        match socket.peek(&mut [0]).await {
            Ok(0) => return Finished::Sending,
            Ok(_) => {}
            Err(_) => return Finished::Gone,
        }
        // Unread data, of a pipelined request or of TLS, hides the end from `peek`.
        loop {
            match socket.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_error() || ready.is_write_closed() => return Finished::Gone,
                Ok(ready) if ready.is_read_closed() => return Finished::Sending,
                Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => return Finished::Gone,
            }
        }
    }
}

/// Bytes in the kernel's send queue that the peer has not acknowledged (tcp(7), `SIOCOUTQ`).
#[cfg(target_os = "linux")]
fn queued_bytes(socket: &TcpStream) -> u64 {
    use std::os::fd::AsRawFd as _;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the call writes one `int`. SIOCOUTQ is TIOCOUTQ.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(not(target_os = "linux"))]
fn queued_bytes(_: &TcpStream) -> u64 {
    0
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl PeerStream {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket().poll_write_ready(cx))?;
            match write(self.socket()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(bytes) => {
                    self.write.written.fetch_add(bytes as u64, Relaxed);
                    return Poll::Ready(Ok(bytes));
                }
                failed => return Poll::Ready(failed),
            }
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        if size > JOINED_BYTES_MAX {
            return self.poll_write_with(cx, |socket| socket.try_write_vectored(bufs));
        }
        // Cheaper than a vectored write: most responses are short.
        let mut joined = [0; JOINED_BYTES_MAX];
        let mut end = 0;
        for buf in bufs {
            joined[end..end + buf.len()].copy_from_slice(buf);
            end += buf.len();
        }
        self.poll_write_with(cx, |socket| socket.try_write(&joined[..end]))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.socket()).shutdown(Shutdown::Write))
    }
}
