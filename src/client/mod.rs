//! The subscriber's end of the network: one connection a subscriber, or one that several share;
//! every byte counted, every direction delayed as the simulated link says.
//!
//! A pooling client would hide what this crate is to show, so the client halves of the transports
//! are built on a [`Dialer`] (makes connections), an [`HttpConnection`] (asks on one), an
//! [`HttpStream`] (whose answer does not end) and a [`WebSocket`].

pub mod clock;
mod dialer;
mod error;
pub mod event_stream;
mod happy_eyeballs;
mod http;
mod http2;
mod http2_frames;
mod http_stream;
mod line_stream;
mod link;
mod meter;
mod poll_client;
mod tcp_info;
mod timer;
#[cfg(feature = "tls")]
mod tls_stream;
mod update;
pub mod websocket_frames;
mod websocket_stream;

pub use dialer::{ANSWER_BYTES_MAX, Dialer, Entry, Journal, WireStream};
pub use error::{ClientError, RETRY_AFTER_MAX};
pub use event_stream::EventStream;
pub use http::{Answer, HttpConnection, head_bytes};
pub use http_stream::HttpStream;
pub use http2::Shared;
pub use line_stream::LineStream;
pub use link::Link;
pub use meter::{ByteKind, Meter, Tally};
pub use poll_client::{PollClient, PollOptions};
pub use update::{Update, subscribed_at};
pub use websocket_stream::WebSocket;
