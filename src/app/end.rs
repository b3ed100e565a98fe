//! Why the server ends a subscription, and how its client learns of it on each transport: by the
//! close code of a WebSocket, the status or `Retry-After` of a response, the last event of a
//! stream.

use std::time::Duration;

use tokio_tungstenite::tungstenite::error::{Error as WebSocketError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use warp::http::StatusCode;

use super::ApiError;
use super::memory::OverLimit;
use super::metrics::Refusal;
use crate::feed::store::StoreError;

/// The close code of a client that did not read in time what was sent to it. It may connect again
/// and resume from its cursor. 4000 to 4999 are for private use (RFC 6455, section 7.4.2).
pub const TOO_SLOW: u16 = 4008;
/// How long clients stay away from a server that drains: a random part of this range, so that they
/// do not reconnect at the same instant.
const AWAY_MS: std::ops::Range<u64> = 500..3_500;

/// Why the server ends a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed the connection, or the connection broke.
    ClientGone,
    /// The server shuts down, to be started again at once or not.
    Drain { is_restart: bool },
    /// The token of the client expired.
    TokenExpired,
    /// The client did not read within `--send-timeout` what was sent to it.
    SlowReader,
    /// The client sent nothing between two heartbeats.
    Silent,
    /// The store cannot read the messages.
    StoreFailed,
    /// The client sent a message larger than `--max-message-bytes` allows.
    MessageTooLarge,
    /// The client sent a binary message.
    BinaryMessage,
    /// The client sent text that is not UTF-8.
    InvalidText,
    /// The client broke another rule of the protocol.
    ProtocolError,
    /// The client's memory budget is used up.
    OverLimit,
}

impl End {
    /// The code and reason of a WebSocket's close frame; `None` if the client cannot be reached.
    pub fn close_frame(self) -> Option<(CloseCode, &'static str)> {
        Some(match self {
            End::ClientGone => return None,
            End::Drain { is_restart: true } => (CloseCode::Restart, "the server is restarting"),
            End::Drain { is_restart: false } => (CloseCode::Away, "the server is going away"),
            End::TokenExpired => (CloseCode::Policy, "the token has expired"),
            End::SlowReader => {
                (CloseCode::from(TOO_SLOW), "too slow (--send-timeout): resume later")
            }
            End::Silent => (CloseCode::Policy, "no answer to a ping"),
            End::StoreFailed => (CloseCode::Again, "the store cannot be read"),
            End::MessageTooLarge => (CloseCode::Size, "message too large (--max-message-bytes)"),
            End::BinaryMessage => (CloseCode::Unsupported, "text frames only"),
            End::InvalidText => (CloseCode::Invalid, "text that is not UTF-8"),
            End::ProtocolError => (CloseCode::Protocol, "protocol error"),
            End::OverLimit => (CloseCode::Again, "over --max-held-bytes: try again later"),
        })
    }

    /// The error response that states the reason.
    pub fn into_api_error(self) -> ApiError {
        let status = match self {
            End::TokenExpired => StatusCode::UNAUTHORIZED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError::new(status, self.close_frame().map_or("the connection broke", |(_, text)| text))
    }

    /// How long the client should wait before it reconnects, if not as long as usual.
    pub fn reconnect_delay(self) -> Option<Duration> {
        let is_drain = matches!(self, End::Drain { .. });
        is_drain.then(|| Duration::from_millis(rand::random_range(AWAY_MS)))
    }

    /// The limit that the client exceeded, if this counts as a refusal.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            End::SlowReader => Some(Refusal::SlowReader),
            End::MessageTooLarge => Some(Refusal::MessageBytes),
            End::OverLimit => Some(Refusal::HeldBytes),
            _ => None,
        }
    }
}

impl From<StoreError> for End {
    fn from(_: StoreError) -> End {
        End::StoreFailed
    }
}

impl From<OverLimit> for End {
    fn from(_: OverLimit) -> End {
        End::OverLimit
    }
}

impl From<WebSocketError> for End {
    fn from(error: WebSocketError) -> End {
        match error {
            WebSocketError::Io(error) if error.get_ref().is_some_and(|it| it.is::<OverLimit>()) => {
                End::OverLimit
            }
            WebSocketError::Capacity(_) => End::MessageTooLarge,
            WebSocketError::Utf8(_) => End::InvalidText,
            WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                End::ClientGone
            }
            WebSocketError::Protocol(_) => End::ProtocolError,
            _ => End::ClientGone,
        }
    }
}
