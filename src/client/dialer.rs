//! Makes connections: counts them, delays them, and counts every byte that crosses them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::header::{HOST, HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ClientError;
use super::clock::sleep_until;
use super::happy_eyeballs::Addresses;
use super::http2::Http2;
use super::http2_frames::FrameCounter;
#[cfg(feature = "tls")]
use super::tls_stream::MaybeTlsStream;
use super::{ByteKind, Link, Meter, Shared};
#[cfg(feature = "tls")]
use crate::tls::Trust;

#[cfg(not(feature = "tls"))]
type MaybeTlsStream = Link<tokio::net::TcpStream>;

/// Bytes of an answer's body that are accepted unless it is said otherwise: as many as a topic
/// keeps, unless it is told to keep more.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Entries of a journal; more are not needed for a trace of some seconds.
const JOURNAL_ENTRIES_MAX: usize = 1_000_000;

/// How a subscriber reaches the server. Cheap to clone; clones count into the same meter.
#[derive(Debug, Clone)]
pub struct Dialer {
    addresses: Addresses,
    /// Set before the path of every request; empty, or `/` and more without a `/` at the end.
    base_path: Arc<str>,
    answer_bytes_max: usize,
    /// Sent with every request, `host` among them.
    headers: Arc<HeaderMap>,
    one_way: Duration,
    meter: Arc<Meter>,
    journal: Option<Arc<Journal>>,
    /// The HTTP/2 connection on which requests are made; without it each asks on its own.
    shared: Option<Arc<Shared>>,
    #[cfg(feature = "tls")]
    trust: Option<Arc<Trust>>,
}

/// When one subscriber asked and was answered.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Vec<(Instant, Entry)>>);

/// An entry of a [`Journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A request left the subscriber.
    Request,
    /// The answer was complete, with so many messages.
    Answer { messages: usize },
}

impl Journal {
    fn note(&self, entry: Entry) {
        let mut entries = self.0.lock().expect("no panic under this lock");
        if entries.len() < JOURNAL_ENTRIES_MAX {
            entries.push((Instant::now(), entry));
        }
    }

    /// All entries so far, in order.
    pub fn entries(&self) -> Vec<(Instant, Entry)> {
        self.0.lock().expect("no panic under this lock").clone()
    }
}

impl Dialer {
    /// Reaches `address` directly, with no headers but `host`.
    pub fn new(address: SocketAddr) -> Dialer {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is plain ASCII");
        Dialer {
            addresses: Addresses::from(address),
            base_path: Arc::from(""),
            answer_bytes_max: ANSWER_BYTES_MAX,
            headers: Arc::new(HeaderMap::from_iter([(HOST, host)])),
            one_way: Duration::ZERO,
            meter: Arc::default(),
            journal: None,
            shared: None,
            #[cfg(feature = "tls")]
            trust: None,
        }
    }

    /// Reaches a host by any of its `addresses`, of which there must be one.
    pub fn to_any_of(addresses: Vec<SocketAddr>) -> Option<Dialer> {
        let first = *addresses.first()?;
        Some(Dialer { addresses: Addresses::from(addresses), ..Dialer::new(first) })
    }

    /// Sets `base_path`, without a `/` at its end, before the path of every request.
    pub fn with_base_path(self, base_path: &str) -> Dialer {
        Dialer { base_path: Arc::from(base_path.trim_end_matches('/')), ..self }
    }

    /// Accepts bodies of answers, and messages on a stream, of so many bytes, and no more.
    pub fn with_answer_bytes_max(self, answer_bytes_max: usize) -> Dialer {
        Dialer { answer_bytes_max, ..self }
    }

    /// What is set before the path of every request.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// Bytes of an answer's body, and of a message on a stream, that are accepted.
    pub fn answer_bytes_max(&self) -> usize {
        self.answer_bytes_max
    }

    /// Puts a simulated link of this round trip between the subscriber and the server.
    pub fn with_round_trip(self, rtt: Duration) -> Dialer {
        Dialer { one_way: rtt / 2, ..self }
    }

    /// Counts into `meter`.
    pub fn with_meter(self, meter: Arc<Meter>) -> Dialer {
        Dialer { meter, ..self }
    }

    /// Writes down in `journal` when requests are sent and answered.
    pub fn with_journal(self, journal: Arc<Journal>) -> Dialer {
        Dialer { journal: Some(journal), ..self }
    }

    /// Makes requests on the connection that `shared` is the place of, by HTTP/2.
    pub fn with_shared(self, shared: Arc<Shared>) -> Dialer {
        Dialer { shared: Some(shared), ..self }
    }

    /// Where the HTTP/2 connection is that requests are made on, if they are.
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// The shared HTTP/2 connection, connected if it is not yet; `None` if there is none to share.
    pub(super) async fn shared_connection(&self) -> Option<Result<Arc<Http2>, ClientError>> {
        let connect = async { Ok(self.dial().await.map_err(ClientError::Connect)?.with_frames()) };
        Some(self.shared.as_ref()?.connection(connect).await)
    }

    /// Speaks TLS, with those whom `trust` is for.
    #[cfg(feature = "tls")]
    pub fn with_trust(self, trust: Trust) -> Dialer {
        Dialer { trust: Some(Arc::new(trust)), ..self }
    }

    /// Whether connections are under TLS.
    pub fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.trust.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Sends `more` with every request too, in place of what was sent under the same names.
    pub fn with_headers(mut self, more: &HeaderMap) -> Dialer {
        let headers = Arc::make_mut(&mut self.headers);
        for (name, value) in more {
            headers.insert(name, value.clone());
        }
        self
    }

    /// The address that was reached last, or the first one.
    pub fn address(&self) -> SocketAddr {
        self.addresses.preferred()
    }

    /// What requests are made to, for instance `http://127.0.0.1:3030/base`.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address(), self.base_path)
    }

    /// Sent with every request, `host` among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Counts a request that is about to be sent. Never returns once the meter is hushed.
    pub async fn admit_request(&self) {
        self.meter.admit_request().await;
        if let Some(journal) = &self.journal {
            journal.note(Entry::Request);
        }
    }

    /// Counts a complete answer and, in its body, the message objects' bytes and the rest.
    pub fn answered(&self, messages: usize, payload_bytes: usize, envelope_bytes: usize) {
        // Of HTTP/2 the frames tell what is a header.
        let counted = if self.shared.is_some() { ByteKind::Framing } else { ByteKind::Headers };
        self.meter.answered(messages);
        self.meter.move_down(counted, ByteKind::Payload, payload_bytes);
        self.meter.move_down(counted, ByteKind::Framing, envelope_bytes);
        if let Some(journal) = &self.journal {
            journal.note(Entry::Answer { messages });
        }
    }

    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn shared_meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// Sleeps until a planned instant, and records how late the sleep ended.
    pub async fn sleep_until(&self, planned: Instant) {
        sleep_until(planned).await;
        self.meter.polled_late(planned.elapsed());
    }

    /// Makes a connection; it takes a round trip, as TCP's handshake does, and TLS another.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn dial(&self) -> io::Result<WireStream> {
        self.cross().await;
        let stream = self.addresses.connect().await?;
        self.cross().await;
        stream.set_nodelay(true)?;
        self.meter.opened.fetch_add(1, Relaxed);
        let socket = stream.as_raw_fd();
        let stream = Link::new(stream, self.one_way);
        #[cfg(feature = "tls")]
        let stream = MaybeTlsStream::on(stream, self.trust.as_deref(), &self.meter).await?;
        self.meter.sockets.add(socket);
        Ok(WireStream {
            stream,
            socket,
            up: ByteKind::Headers,
            down: ByteKind::Headers,
            read: 0,
            frames: None,
            meter: self.meter.clone(),
        })
    }

    async fn cross(&self) {
        if !self.one_way.is_zero() {
            sleep_until(Instant::now() + self.one_way).await;
        }
    }
}

/// A connection to the server: counted as the subscriber writes and reads, delayed below that.
#[derive(Debug)]
pub struct WireStream {
    stream: MaybeTlsStream,
    socket: RawFd,
    /// What a byte usually is for, by direction.
    up: ByteKind,
    down: ByteKind,
    read: usize,
    /// Up and down, of a connection that speaks HTTP/2.
    frames: Option<Box<[FrameCounter; 2]>>,
    meter: Arc<Meter>,
}

impl WireStream {
    /// Counts what is received as `kind`, from the first byte on.
    pub fn with_answers_as(mut self, kind: ByteKind) -> WireStream {
        self.down = kind;
        self
    }

    /// Counts as headers what frames of HTTP/2 say are headers, and all else as framing.
    pub(super) fn with_frames(mut self) -> WireStream {
        self.frames = Some(Box::new([FrameCounter::up(), FrameCounter::down()]));
        (self.up, self.down) = (ByteKind::Framing, ByteKind::Framing);
        self
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Counts bytes as framing from now on, not as HTTP headers; of what was read so far, only
    /// `head_bytes` were headers. For connections that have left HTTP behind.
    pub fn leave_http(&mut self, head_bytes: usize) {
        self.up = ByteKind::Framing;
        self.down = ByteKind::Framing;
        let early = self.read.saturating_sub(head_bytes);
        self.meter.move_down(ByteKind::Headers, ByteKind::Framing, early);
    }
}

impl Drop for WireStream {
    fn drop(&mut self) {
        self.meter.sockets.remove(self.socket);
    }
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        self.read += count;
        self.meter.count_down(self.down, count);
        if let Some(frames) = &mut self.frames {
            let header_bytes = frames[1].header_bytes(&buf.filled()[before..]);
            self.meter.move_down(ByteKind::Framing, ByteKind::Headers, header_bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.meter.count_up(self.up, count);
        if let Some(frames) = &mut self.frames {
            let header_bytes = frames[0].header_bytes(&buf[..count]);
            self.meter.move_up(ByteKind::Framing, ByteKind::Headers, header_bytes);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
