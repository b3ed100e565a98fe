//! The transports and where each of them waits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transport. Every `match` on it is exhaustive, so that for a new transport the compiler lists
/// all places to edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Transport {
    /// The client polls, receives an immediate response, sleeps, and polls again.
    ShortPolling,
    /// The client polls; the server responds when there is a message.
    LongPolling,
    /// One HTTP request is upgraded to a WebSocket, on which the server sends each message.
    WebSocket,
    /// Server-sent events: one response that does not end, to which the server adds each message.
    Sse,
    /// Socket.IO over long polling.
    SocketioPolling,
    /// Socket.IO over a WebSocket.
    SocketioWebsocket,
    /// Newline-delimited JSON: as `Sse`, with one JSON object per line.
    Ndjson,
}

impl Transport {
    /// All transports, in the order used in reports.
    pub const ALL: [Transport; 7] = [
        Transport::ShortPolling,
        Transport::LongPolling,
        Transport::WebSocket,
        Transport::Sse,
        Transport::SocketioPolling,
        Transport::SocketioWebsocket,
        Transport::Ndjson,
    ];

    /// The name in scenarios, flags, metrics and results: `short-polling`.
    pub fn name(self) -> &'static str {
        match self {
            Transport::ShortPolling => "short-polling",
            Transport::LongPolling => "long-polling",
            Transport::WebSocket => "websocket",
            Transport::Sse => "sse",
            Transport::SocketioPolling => "socketio-polling",
            Transport::SocketioWebsocket => "socketio-websocket",
            Transport::Ndjson => "ndjson",
        }
    }

    /// Where the waiting happens.
    pub fn waiting(self) -> Waiting {
        match self {
            Transport::ShortPolling => Waiting::InClient,
            Transport::LongPolling | Transport::SocketioPolling => Waiting::PerRequest,
            Transport::WebSocket
            | Transport::Sse
            | Transport::SocketioWebsocket
            | Transport::Ndjson => Waiting::PerConnection,
        }
    }

    /// The name for headings: `short polling`.
    pub fn label(self) -> &'static str {
        match self {
            Transport::ShortPolling => "short polling",
            Transport::LongPolling => "long polling",
            Transport::WebSocket => "WebSocket",
            Transport::Sse => "SSE",
            Transport::SocketioPolling => "Socket.IO polling",
            Transport::SocketioWebsocket => "Socket.IO WebSocket",
            Transport::Ndjson => "NDJSON",
        }
    }
}

/// Where the wait for the next message happens, which distinguishes the transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// In the client, between two requests.
    InClient,
    /// In the server, once for each request.
    PerRequest,
    /// In the server, on one connection, for as long as it lasts.
    PerConnection,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An unknown name of a transport.
#[derive(Debug, thiserror::Error)]
#[error("unknown transport '{given}'; expected one of {}", Transport::ALL.map(Transport::name).join(", "))]
pub struct UnknownTransport {
    given: String,
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Transport::ALL
            .into_iter()
            .find(|transport| transport.name() == name)
            .ok_or_else(|| UnknownTransport { given: name.to_owned() })
    }
}

impl From<Transport> for String {
    fn from(transport: Transport) -> Self {
        transport.name().to_owned()
    }
}

impl TryFrom<String> for Transport {
    type Error = UnknownTransport;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

/// Start of a polling interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// The interval starts after each response: the period is interval + round trip.
    AfterResponse,
    /// A request is sent every interval, as with `setInterval`.
    FixedRate,
}
