//! The ways in which a subscriber can hear of a message: one file each, both halves in it.
//!
//! Lay two of the files side by side. They have the same sections in the same order, and what
//! differs between them is the lesson of this crate: *where the waiting happens*.

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
}

impl Transport {
    /// Every way, in the order in which reports show them.
    pub const ALL: [Transport; 3] =
        [Transport::ShortPolling, Transport::LongPolling, Transport::WebSocket];

    /// The name in scenarios, flags, metrics and results: `short-polling`.
    pub fn name(self) -> &'static str {
        match self {
            Transport::ShortPolling => "short-polling",
            Transport::LongPolling => "long-polling",
            Transport::WebSocket => "websocket",
        }
    }

    /// The name as a reader sees it in a heading: `short polling`.
    pub fn label(self) -> &'static str {
        match self {
            Transport::ShortPolling => "short polling",
            Transport::LongPolling => "long polling",
            Transport::WebSocket => "WebSocket",
        }
    }
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
