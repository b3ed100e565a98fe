//! The subscriber's connections: every byte is counted, and each direction is delayed by the
//! simulated link.
//!
//! A pooling HTTP client would hide the connections, which this project measures. So the client
//! halves of the transports use these types: a [`Dialer`] opens connections; [`PollClient`] polls
//! on one; [`EventStream`] and [`LineStream`] read a response that does not end; [`WebSocket`]
//! reads frames. They decode messages and count them.

pub mod clock;
mod delayed_stream;
mod dialer;
mod error;
pub mod event_stream;
mod happy_eyeballs;
mod http;
mod http2;
mod http2_frames;
mod http_stream;
mod kernel_timer;
mod line_stream;
mod local_address;
mod meter;
pub mod pipeline;
mod poll_client;
mod recording;
mod tcp_info;
#[cfg(feature = "tls")]
mod tls_stream;
mod update;
pub mod websocket_frames;
mod websocket_stream;

pub use delayed_stream::DelayedStream;
pub use dialer::{Dialer, Journal, JournalEntry, RESPONSE_BYTES_MAX, WireStream};
pub use error::{ClientError, RETRY_AFTER_MAX};
pub use event_stream::EventStream;
pub use http::{HttpConnection, HttpResponse, head_bytes};
pub use http_stream::HttpStream;
pub use http2::SharedConnection;
pub use line_stream::LineStream;
pub use local_address::local_address;
pub use meter::{ByteKind, Meter, MeterCounts, SEGMENT_HEADER_BYTES};
pub use poll_client::{PollClient, PollOptions};
pub use recording::{Recorded, Recording, SocketEvent};
pub use update::{Update, first_cursor};
pub use websocket_stream::WebSocket;
