//! The traffic of each transport: bytes per second by purpose, in the steady state.
//!
//! HTTP heads, envelopes and frames are sums of known sizes. The TCP/IP bytes assume a real
//! network: one segment for each write that fits into one, and acknowledgements that are
//! piggybacked on data if data is sent back within the delayed-acknowledgement timeout. Handshakes
//! are not included, except those of a variant that opens a connection for each poll: see
//! [`PollConnection`].
//!
//! A long poll needs three segments here and four over the simulated link. That link delays the
//! response after the kernel has received it, so the kernel acknowledges it before the next request
//! can carry the acknowledgement.

use serde::{Deserialize, Serialize};

use super::{Prediction, poll_cycle, predict};
use crate::scenario::{Headers, Workload};
use crate::variant::{Extra, Transport, Variant};

/// The sizes from which the model is computed, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Request line and headers of a poll, including the cursor.
    pub request_head: f64,
    /// Status line and headers of a response.
    pub response_head: f64,
    /// The JSON around the messages of a response.
    pub envelope: f64,
    /// A message object without its text.
    pub message_object: f64,
    /// TCP and IP headers of one segment: 20 + 20, and 12 of timestamps.
    pub segment_head: f64,
    /// Maximum segment size.
    pub segment_payload: f64,
    /// Seconds between two pings on an idle WebSocket.
    pub heartbeat_s: f64,
}

impl Sizes {
    /// Bytes of the headers that a browser adds: agent, languages, encodings, referrer, cookies.
    pub const BROWSER_HEADERS: f64 = 562.0;

    /// The measured sizes of this server and its subscribers, over Ethernet.
    pub fn ours(transport: Transport, headers: Headers) -> Self {
        let more = match headers {
            Headers::Minimal => 0.0,
            Headers::Browser => Self::BROWSER_HEADERS,
        };
        let request_head = match transport {
            Transport::ShortPolling => 79.0,
            // A longer path, with the `wait` parameter.
            Transport::LongPolling => 92.0,
            // A longer path, with the id of the session.
            Transport::SocketioPolling => 105.0,
            // Push transports send one request, for the handshake.
            Transport::WebSocket
            | Transport::Sse
            | Transport::SocketioWebsocket
            | Transport::Ndjson => 0.0,
        };
        Sizes {
            request_head: request_head + more,
            response_head: match transport {
                // With an entity tag.
                Transport::ShortPolling | Transport::LongPolling => 154.0,
                _ => 134.0,
            },
            envelope: match transport {
                // `42["message",` and `]`.
                Transport::SocketioPolling => 14.0,
                _ => 45.0,
            },
            message_object: 67.0,
            segment_head: 52.0,
            segment_payload: 1448.0,
            heartbeat_s: 25.0,
        }
    }

    /// One request and response without a message: heads, envelope, and three segments (request,
    /// response, acknowledgement).
    pub fn exchange(&self) -> f64 {
        self.request_head + self.response_head + self.envelope + 3.0 * self.segment_head
    }

    /// The overhead of one pushed message: frame header and two segments (frame, acknowledgement).
    pub fn push(&self, message_bytes: f64) -> f64 {
        frame_header(message_bytes) + 2.0 * self.segment_head
    }

    /// With `connection: close` in request and response.
    fn with_close(&self) -> Sizes {
        let line = "connection: close\r\n".len() as f64;
        Sizes {
            request_head: self.request_head + line,
            response_head: self.response_head + line,
            ..*self
        }
    }

    fn segments(&self, bytes: f64) -> f64 {
        (bytes / self.segment_payload).ceil().max(1.0)
    }
}

/// Bytes of a WebSocket frame's header from server to client (RFC 6455, section 5.2). In the other
/// direction a mask of 4 bytes follows.
pub fn frame_header(payload_bytes: f64) -> f64 {
    match payload_bytes {
        bytes if bytes <= 125.0 => 2.0,
        bytes if bytes <= 65_535.0 => 4.0,
        _ => 10.0,
    }
}

/// Bytes per second in one direction, by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ByteRates {
    /// Message objects.
    pub payload: f64,
    /// JSON envelope, WebSocket frame header and mask.
    pub framing: f64,
    /// HTTP request and response heads.
    pub headers: f64,
    /// TCP and IP headers, pure acknowledgements included.
    pub tcp_ip: f64,
}

impl ByteRates {
    /// The sum, bytes per second.
    pub fn total(&self) -> f64 {
        self.payload + self.framing + self.headers + self.tcp_ip
    }
}

/// The traffic of one subscriber's connection in the steady state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// From subscriber to server.
    pub up: ByteRates,
    /// From server to subscriber.
    pub down: ByteRates,
}

impl Traffic {
    /// Both directions, bytes per second.
    pub fn total(&self) -> f64 {
        self.up.total() + self.down.total()
    }
}

/// The traffic of one subscriber under `workload`; `None` where [`predict`] is, and for a variant
/// whose bytes depend on more than sizes: on what compresses, on what HPACK has seen.
pub fn traffic(variant: impl Into<Variant>, workload: &Workload, sizes: &Sizes) -> Option<Traffic> {
    let variant = variant.into();
    let has_model = |extra| matches!(extra, Extra::NewConnection | Extra::Tls | Extra::Resumed);
    if !variant.extras().iter().all(has_model) {
        return None;
    }
    let prediction = predict(variant, workload)?;
    let requests_s = prediction.requests_per_subscriber_s;
    let connection = PollConnection::of(variant);
    let sizes = match connection {
        Some(_) => &sizes.with_close(),
        None => sizes,
    };
    let mut traffic = without_connections(variant, workload, &prediction, sizes)?;
    if variant.has(Extra::Tls) {
        let records = tls_records_s(variant.transport, workload.rate, requests_s, sizes);
        let [up, down] = records.map(|records_s| records_s * TLS_RECORD_BYTES);
        traffic.up.framing += up;
        traffic.down.framing += down;
    }
    if let Some(connection) = connection {
        traffic.up.framing += requests_s * connection.tls_up;
        traffic.down.framing += requests_s * connection.tls_down;
        traffic.up.tcp_ip += requests_s * connection.segments_up * sizes.segment_head;
        traffic.down.tcp_ip += requests_s * connection.segments_down * sizes.segment_head;
    }
    Some(traffic)
}

/// The overhead of a connection that carries a single poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollConnection {
    /// Bytes of the TLS handshake, with its records.
    pub tls_up: f64,
    /// The same from the server, session tickets included.
    pub tls_down: f64,
    /// Segments that open and close the connection, and carry the handshake.
    pub segments_up: f64,
    pub segments_down: f64,
}

impl PollConnection {
    /// `None` for a variant that keeps its connection.
    pub fn of(variant: Variant) -> Option<PollConnection> {
        if !variant.has(Extra::NewConnection) {
            return None;
        }
        // SYN, the acknowledgement of the SYN-ACK, and a FIN, which acknowledges the server's (RFC
        // 9293, sections 3.5 and 3.6). From the server SYN-ACK, FIN, and an acknowledgement.
        let tcp =
            PollConnection { tls_up: 0.0, tls_down: 0.0, segments_up: 3.0, segments_down: 3.0 };
        let [tls_up, tls_down] = match (variant.has(Extra::Tls), variant.has(Extra::Resumed)) {
            (false, _) => return Some(tcp),
            (true, false) => TLS_FULL_BYTES,
            (true, true) => TLS_RESUMED_BYTES,
        };
        Some(PollConnection {
            tls_up: tls_up + CLOSE_NOTIFY_BYTES,
            tls_down: tls_down + CLOSE_NOTIFY_BYTES,
            // ClientHello, Finished, close_notify, and acknowledgements of the server's flight and
            // of its tickets.
            segments_up: tcp.segments_up + 5.0,
            // The flight in two segments, tickets, close_notify.
            segments_down: tcp.segments_down + 4.0,
        })
    }
}

/// Bytes that a TLS 1.3 record adds to its content: header, content type, tag (RFC 8446, section
/// 5.2, with the tag of AES-GCM or ChaCha20-Poly1305).
pub const TLS_RECORD_BYTES: f64 = 22.0;
/// Bytes of a full TLS 1.3 handshake, up and down, measured with rustls and an Ed25519 certificate
/// for `localhost`: from ClientHello to Finished, and two session tickets. A certificate chain of a
/// public authority adds 1.5 to 4 kB.
pub const TLS_FULL_BYTES: [f64; 2] = [327.0, 994.0];
/// The same of a resumed handshake, which has a ticket instead of a certificate.
pub const TLS_RESUMED_BYTES: [f64; 2] = [524.0, 622.0];
/// The alert that ends a TLS connection: a record with two bytes (RFC 8446, section 6.1).
const CLOSE_NOTIFY_BYTES: f64 = TLS_RECORD_BYTES + 2.0;

/// Bytes per second that TLS adds to the traffic of one subscriber, both directions; the arguments
/// are those of [`tls_records_s`].
pub fn tls_bytes_s(transport: Transport, rate: f64, requests_s: f64, sizes: &Sizes) -> f64 {
    tls_records_s(transport, rate, requests_s, sizes).iter().sum::<f64>() * TLS_RECORD_BYTES
}

/// TLS records per second, up and down: one for each write, of the sizes that fit into one.
pub fn tls_records_s(transport: Transport, rate: f64, requests_s: f64, sizes: &Sizes) -> [f64; 2] {
    let pings_s = 1.0 / sizes.heartbeat_s;
    match transport {
        Transport::ShortPolling | Transport::LongPolling | Transport::SocketioPolling => {
            [requests_s, requests_s]
        }
        Transport::WebSocket | Transport::SocketioWebsocket => [pings_s, rate + pings_s],
        Transport::Sse | Transport::Ndjson => [0.0, rate + pings_s],
    }
}

/// [`traffic`] without TLS, and without the segments of connections that carry one poll.
fn without_connections(
    variant: Variant,
    workload: &Workload,
    prediction: &Prediction,
    sizes: &Sizes,
) -> Option<Traffic> {
    let transport = variant.transport;
    let message_bytes = f64::from(workload.message_bytes) + sizes.message_object;
    let polled = || polled(prediction, workload.rate, message_bytes, sizes);
    let acknowledgements = prediction.requests_per_subscriber_s * sizes.segment_head;
    match transport {
        // The client sleeps after the response, so its acknowledgement is a segment of its own.
        Transport::ShortPolling => {
            let mut traffic = polled();
            traffic.up.tcp_ip += acknowledgements;
            Some(traffic)
        }
        // The next request carries that acknowledgement. The server's acknowledgement of a request
        // that has to wait for a message is a segment of its own.
        Transport::LongPolling | Transport::SocketioPolling => {
            let held_share = (-workload.rate * poll_cycle(variant, workload).gap_s).exp();
            let mut traffic = polled();
            traffic.down.tcp_ip += acknowledgements * held_share;
            // On a new connection there is no next request to carry it.
            if variant.has(Extra::NewConnection) {
                traffic.up.tcp_ip += acknowledgements;
            }
            Some(traffic)
        }
        Transport::WebSocket
        | Transport::Sse
        | Transport::SocketioWebsocket
        | Transport::Ndjson => Wrapping::of(transport, message_bytes)
            .map(|wrapping| pushed(&wrapping, workload.rate, message_bytes, sizes)),
    }
}

/// The overhead of a push transport, bytes.
struct Wrapping {
    /// Around a message.
    message: f64,
    /// A heartbeat from the server ...
    ping: f64,
    /// ... and the response to it.
    pong: f64,
}

impl Wrapping {
    /// `None` for polling.
    fn of(transport: Transport, message_bytes: f64) -> Option<Wrapping> {
        const MASK: f64 = 4.0;
        let frames = |packet: f64| {
            let ping = packet.min(1.0) + frame_header(1.0);
            let message = packet + frame_header(message_bytes + packet);
            Wrapping { message, ping, pong: ping + MASK }
        };
        // A chunk's length in hexadecimal and two line ends.
        let chunk = |bytes: f64| bytes.log(16.0).floor() + 1.0 + 4.0;
        match transport {
            Transport::ShortPolling | Transport::LongPolling | Transport::SocketioPolling => None,
            Transport::WebSocket => Some(frames(0.0)),
            Transport::SocketioWebsocket => Some(frames(r#"42["message",]"#.len() as f64)),
            Transport::Sse => {
                // `id:` with eight digits of epoch and some four of offset, `data:`, an empty line.
                let event = 17.0 + 7.0;
                let message = event + chunk(message_bytes + event);
                Some(Wrapping { message, ping: 2.0 + chunk(2.0), pong: 0.0 })
            }
            Transport::Ndjson => {
                let message = 1.0 + chunk(message_bytes + 1.0);
                Some(Wrapping { message, ping: 1.0 + chunk(1.0), pong: 0.0 })
            }
        }
    }
}

/// Requests and responses, without separate acknowledgements.
fn polled(prediction: &Prediction, rate: f64, message_bytes: f64, sizes: &Sizes) -> Traffic {
    let requests_s = prediction.requests_per_subscriber_s;
    let full_s = requests_s * (1.0 - prediction.empty_share.unwrap_or(0.0));
    let answer_head = sizes.response_head + sizes.envelope;
    let full_answer = answer_head + rate * message_bytes / full_s;
    let answer_segments_s =
        full_s * sizes.segments(full_answer) + (requests_s - full_s) * sizes.segments(answer_head);
    let up = ByteRates {
        headers: requests_s * sizes.request_head,
        tcp_ip: requests_s * sizes.segments(sizes.request_head) * sizes.segment_head,
        ..ByteRates::default()
    };
    let commas_s = rate - full_s;
    let down = ByteRates {
        payload: rate * message_bytes,
        framing: requests_s * sizes.envelope + commas_s,
        headers: requests_s * sizes.response_head,
        tcp_ip: answer_segments_s * sizes.segment_head,
    };
    Traffic { up, down }
}

/// Messages and their acknowledgements, heartbeats and the responses to them.
fn pushed(wrapping: &Wrapping, rate: f64, message_bytes: f64, sizes: &Sizes) -> Traffic {
    let pings_s = 1.0 / sizes.heartbeat_s;
    let message_segments_s = rate * sizes.segments(message_bytes + wrapping.message);
    let up = ByteRates {
        framing: pings_s * wrapping.pong,
        tcp_ip: (rate + pings_s) * sizes.segment_head,
        ..ByteRates::default()
    };
    // The pong acknowledges the ping, and is acknowledged in turn.
    let acknowledgements_s = if wrapping.pong > 0.0 { pings_s } else { 0.0 };
    let down = ByteRates {
        payload: rate * message_bytes,
        framing: rate * wrapping.message + pings_s * wrapping.ping,
        headers: 0.0,
        tcp_ip: (message_segments_s + pings_s + acknowledgements_s) * sizes.segment_head,
    };
    Traffic { up, down }
}
