//! Opens connections, counts them and every byte on them, and delays both directions.

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
use super::recording::{Recorder, Recording};
use super::tcp_info;
#[cfg(feature = "tls")]
use super::tls_stream::MaybeTlsStream;
use super::{ByteKind, DelayedStream, Meter, SharedConnection};
#[cfg(feature = "tls")]
use crate::tls::Trust;

#[cfg(not(feature = "tls"))]
type MaybeTlsStream = DelayedStream<tokio::net::TcpStream>;

/// Bytes of a response body that are accepted by default: as many as a topic retains by default.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Entries of a journal, enough for a trace of some seconds.
const JOURNAL_ENTRIES_MAX: usize = 1_000_000;

/// How a subscriber connects to the server. Cheap to clone; clones share the meter.
#[derive(Debug, Clone)]
pub struct Dialer {
    addresses: Addresses,
    /// Prefix of every request path; empty, or with a `/` at its beginning and none at its end.
    base_path: Arc<str>,
    response_bytes_max: usize,
    /// Sent with every request, `host` among them.
    headers: Arc<HeaderMap>,
    one_way: Duration,
    meter: Arc<Meter>,
    journal: Option<Arc<Journal>>,
    recording: Option<Arc<Recording>>,
    /// The HTTP/2 connection for all requests; without it each subscriber has its own connection.
    shared: Option<Arc<SharedConnection>>,
    #[cfg(feature = "tls")]
    trust: Option<Arc<Trust>>,
}

/// When a subscriber sent requests and received responses.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Vec<(Instant, JournalEntry)>>);

/// An entry of a [`Journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalEntry {
    /// A request was sent.
    Request,
    /// A response was received completely.
    Response { messages: usize },
}

impl Journal {
    fn record(&self, entry: JournalEntry) {
        let mut entries = self.0.lock().expect("no panic under this lock");
        if entries.len() < JOURNAL_ENTRIES_MAX {
            entries.push((Instant::now(), entry));
        }
    }

    /// All entries so far, in order.
    pub fn entries(&self) -> Vec<(Instant, JournalEntry)> {
        self.0.lock().expect("no panic under this lock").clone()
    }
}

impl Dialer {
    /// Connects to `address` directly, with no headers but `host`.
    pub fn new(address: SocketAddr) -> Dialer {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is plain ASCII");
        Dialer {
            addresses: Addresses::from(address),
            base_path: Arc::from(""),
            response_bytes_max: RESPONSE_BYTES_MAX,
            headers: Arc::new(HeaderMap::from_iter([(HOST, host)])),
            one_way: Duration::ZERO,
            meter: Arc::default(),
            journal: None,
            recording: None,
            shared: None,
            #[cfg(feature = "tls")]
            trust: None,
        }
    }

    /// Connects to a host with any of its `addresses`; `None` if there are none.
    pub fn to_any_of(addresses: Vec<SocketAddr>) -> Option<Dialer> {
        let first = *addresses.first()?;
        Some(Dialer { addresses: Addresses::from(addresses), ..Dialer::new(first) })
    }

    /// Connects to `address` instead; the `host` header stays the same.
    pub fn with_address(self, address: SocketAddr) -> Dialer {
        Dialer { addresses: Addresses::from(address), ..self }
    }

    /// Adds a prefix to the path of every request.
    pub fn with_base_path(self, base_path: &str) -> Dialer {
        Dialer { base_path: Arc::from(base_path.trim_end_matches('/')), ..self }
    }

    /// Limits the size of a response body, and of a message on a stream.
    pub fn with_response_bytes_max(self, response_bytes_max: usize) -> Dialer {
        Dialer { response_bytes_max, ..self }
    }

    /// The prefix of every request path.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }

    /// The limit on the size of a response body, and of a message on a stream.
    pub fn response_bytes_max(&self) -> usize {
        self.response_bytes_max
    }

    /// Simulates a link with this round-trip time.
    pub fn with_round_trip(self, rtt: Duration) -> Dialer {
        Dialer { one_way: rtt / 2, ..self }
    }

    /// Counts into `meter`.
    pub fn with_meter(self, meter: Arc<Meter>) -> Dialer {
        Dialer { meter, ..self }
    }

    /// Records requests and responses in `journal`.
    pub fn with_journal(self, journal: Arc<Journal>) -> Dialer {
        Dialer { journal: Some(journal), ..self }
    }

    /// Records every byte in `recording`.
    pub fn with_recording(self, recording: Arc<Recording>) -> Dialer {
        Dialer { recording: Some(recording), ..self }
    }

    /// Sends requests on the HTTP/2 connection of `shared`.
    pub fn with_shared(self, shared: Arc<SharedConnection>) -> Dialer {
        Dialer { shared: Some(shared), ..self }
    }

    /// The shared HTTP/2 connection, if there is one.
    pub fn shared(&self) -> Option<&Arc<SharedConnection>> {
        self.shared.as_ref()
    }

    /// The shared HTTP/2 connection, opened if it is not open; `None` without
    /// [`Dialer::with_shared`].
    pub(super) async fn shared_connection(&self) -> Option<Result<Arc<Http2>, ClientError>> {
        let connect = async { Ok(self.dial().await.map_err(ClientError::Connect)?.with_frames()) };
        Some(self.shared.as_ref()?.connection(connect).await)
    }

    /// Connects with TLS, and verifies the certificate with `trust`.
    #[cfg(feature = "tls")]
    pub fn with_trust(self, trust: Trust) -> Dialer {
        Dialer { trust: Some(Arc::new(trust)), ..self }
    }

    /// Resumes TLS sessions, of this dialer and its clones alone.
    #[cfg(feature = "tls")]
    pub fn with_own_sessions(self) -> Dialer {
        let trust = self.trust.as_ref().map(|trust| Arc::new(trust.with_own_sessions()));
        Dialer { trust, ..self }
    }

    /// The same without TLS: there are no sessions.
    #[cfg(not(feature = "tls"))]
    pub fn with_own_sessions(self) -> Dialer {
        self
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.trust.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Sends `more` headers with every request; they replace headers of the same names.
    pub fn with_headers(mut self, more: &HeaderMap) -> Dialer {
        let headers = Arc::make_mut(&mut self.headers);
        for (name, value) in more {
            headers.insert(name, value.clone());
        }
        self
    }

    /// The address of the last connection, or the first one.
    pub fn address(&self) -> SocketAddr {
        self.addresses.preferred()
    }

    /// The base URL of requests, for instance `http://127.0.0.1:3030/base`.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address(), self.base_path)
    }

    /// Sent with every request, `host` among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Counts a request before it is sent. Never returns once the meter's `stop_requests` is
    /// cancelled.
    pub async fn admit_request(&self) {
        self.meter.admit_request().await;
        if let Some(journal) = &self.journal {
            journal.record(JournalEntry::Request);
        }
    }

    /// Counts a complete response, and the bytes of its body: message objects, and the rest.
    pub fn answered(&self, messages: usize, payload_bytes: usize, envelope_bytes: usize) {
        // On HTTP/2 the frames show which bytes are headers.
        let counted = if self.shared.is_some() { ByteKind::Framing } else { ByteKind::Headers };
        self.meter.answered(messages);
        self.meter.move_down(counted, ByteKind::Payload, payload_bytes);
        self.meter.move_down(counted, ByteKind::Framing, envelope_bytes);
        if let Some(journal) = &self.journal {
            journal.record(JournalEntry::Response { messages });
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

    /// Opens a connection. It takes a round trip for TCP, and another for TLS.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn dial(&self) -> io::Result<WireStream> {
        self.cross_link().await;
        let started = Instant::now();
        let stream = self.addresses.connect().await?;
        let socket = stream.as_raw_fd();
        self.meter.connected(started.elapsed(), tcp_info::round_trip(socket));
        self.cross_link().await;
        stream.set_nodelay(true)?;
        self.meter.opened.fetch_add(1, Relaxed);
        let stream = DelayedStream::new(stream, self.one_way);
        #[cfg(feature = "tls")]
        let stream = MaybeTlsStream::on(stream, self.trust.as_deref(), &self.meter).await?;
        self.meter.sockets.add(socket);
        let recording = self.recording.clone();
        Ok(WireStream {
            stream,
            socket,
            up: ByteKind::Headers,
            down: ByteKind::Headers,
            read: 0,
            frames: None,
            recorder: recording.map(|recording| Recorder::open(recording, &self.meter)),
            meter: self.meter.clone(),
        })
    }

    async fn cross_link(&self) {
        if !self.one_way.is_zero() {
            sleep_until(Instant::now() + self.one_way).await;
        }
    }
}

/// A connection to the server. Bytes are counted when the subscriber writes and reads them, and
/// delayed below that.
#[derive(Debug)]
pub struct WireStream {
    stream: MaybeTlsStream,
    socket: RawFd,
    /// The kind under which bytes are counted, by direction.
    up: ByteKind,
    down: ByteKind,
    read: usize,
    /// For HTTP/2: up and down.
    frames: Option<Box<[FrameCounter; 2]>>,
    recorder: Option<Recorder>,
    meter: Arc<Meter>,
}

impl WireStream {
    /// Counts received bytes as `kind`.
    pub fn with_responses_as(mut self, kind: ByteKind) -> WireStream {
        self.down = kind;
        self
    }

    /// Counts header blocks of HTTP/2 as headers, and all other bytes as framing.
    pub(super) fn with_frames(mut self) -> WireStream {
        self.frames = Some(Box::new([FrameCounter::up(), FrameCounter::down()]));
        (self.up, self.down) = (ByteKind::Framing, ByteKind::Framing);
        self
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Counts bytes as framing from now on, for a connection that was upgraded. Of the bytes read
    /// so far, only `head_bytes` were headers.
    pub fn switch_protocols(&mut self, head_bytes: usize) {
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
        if let Some(recorder) = &self.recorder {
            recorder.received(&buf.filled()[before..], &self.meter);
        }
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
        if let Some(recorder) = &self.recorder {
            recorder.sent(&buf[..count], &self.meter);
        }
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
