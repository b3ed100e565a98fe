//! The transports and what tells them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One way of hearing of messages. Every `match` on it is exhaustive, so that adding a way makes
/// the compiler list each place to edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Transport {
    /// Ask, be answered at once, sleep, ask again.
    ShortPolling,
    /// Ask, be kept waiting until there is something, ask again.
    LongPolling,
    /// Upgrade one HTTP request to a WebSocket; the server sends when there is something.
    WebSocket,
    /// Ask once; the answer does not end, and the server adds to it when there is something.
    Sse,
    /// Socket.IO's protocol in the answers to long polls.
    SocketioPolling,
    /// Socket.IO's protocol on a WebSocket.
    SocketioWebsocket,
    /// As `Sse`, in lines of JSON.
    Ndjson,
}

impl Transport {
    /// Every way, in the order in which reports show them.
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

    /// The name as a reader sees it in a heading: `short polling`.
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

/// Where a message that nobody has asked for yet is waited for: what tells the ways apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// In the client, between two requests.
    InClient,
    /// In the server, once for each request.
    PerRequest,
    /// In the server, on one connection, without end.
    PerConnection,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A transport's name that is not one of ours.
#[derive(Debug, thiserror::Error)]
#[error("unknown transport '{given}'; known are {}", Transport::ALL.map(Transport::name).join(", "))]
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

/// What a poll interval is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// Sleep after each response: the period is interval + round trip.
    AfterResponse,
    /// A request every interval, as `setInterval` does.
    FixedRate,
}
