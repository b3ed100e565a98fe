//! Variants: a transport with optional extras, as named in scenarios and results: `short-polling`,
//! `short-polling+conditional+gzip`.

mod transport;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use transport::{Pacing, Transport, UnknownTransport, Waiting};

/// An optional feature of a transport, used by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Conditional requests: an empty response is a 304 without a body (RFC 9110, section 13).
    Conditional,
    /// An adaptive interval: polls less often while responses are empty.
    Adaptive,
    /// Accepts compressed responses.
    Gzip,
    /// Shares one HTTP/2 connection (RFC 9113, with prior knowledge, without TLS).
    H2,
    /// Opens a TCP connection for each poll.
    NewConnection,
    /// TLS 1.3 (RFC 8446), with a full handshake on each connection.
    Tls,
    /// Resumes the TLS session of the last connection (RFC 8446, section 2.2).
    Resumed,
}

impl Extra {
    /// All extras, in the order used in names.
    pub const ALL: [Extra; 7] = [
        Extra::Conditional,
        Extra::Adaptive,
        Extra::Gzip,
        Extra::H2,
        Extra::NewConnection,
        Extra::Tls,
        Extra::Resumed,
    ];

    /// The name after the `+`.
    pub fn name(self) -> &'static str {
        match self {
            Extra::Conditional => "conditional",
            Extra::Adaptive => "adaptive",
            Extra::Gzip => "gzip",
            Extra::H2 => "h2",
            Extra::NewConnection => "new-connection",
            Extra::Tls => "tls",
            Extra::Resumed => "resumed",
        }
    }
}

impl Transport {
    /// The extras supported by this transport.
    pub fn extras(self) -> &'static [Extra] {
        match self {
            Transport::ShortPolling => &Extra::ALL,
            Transport::LongPolling => &[
                Extra::Conditional,
                Extra::Gzip,
                Extra::H2,
                Extra::NewConnection,
                Extra::Tls,
                Extra::Resumed,
            ],
            Transport::Sse | Transport::Ndjson => &[Extra::H2, Extra::Tls],
            Transport::WebSocket | Transport::SocketioPolling | Transport::SocketioWebsocket => {
                &[Extra::Tls]
            }
        }
    }
}

/// A set of extras.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extras(u8);

impl Extras {
    /// Whether the set contains `extra`.
    pub fn has(self, extra: Extra) -> bool {
        self.0 & (1 << extra as u8) != 0
    }

    /// The set with `extra` added.
    pub fn with(self, extra: Extra) -> Extras {
        Extras(self.0 | (1 << extra as u8))
    }

    /// The extras in the order of [`Extra::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Extra> {
        Extra::ALL.into_iter().filter(move |extra| self.has(*extra))
    }

    /// Why a client cannot combine these; `None` if it can.
    fn conflict(self) -> Option<&'static str> {
        if self.has(Extra::H2) && self.has(Extra::NewConnection) {
            return Some("+h2 shares a connection, +new-connection opens one for each poll");
        }
        if self.has(Extra::H2) && self.has(Extra::Tls) {
            return Some("the server offers HTTP/2 without TLS only");
        }
        if self.has(Extra::Resumed) && !(self.has(Extra::Tls) && self.has(Extra::NewConnection)) {
            return Some(
                "+resumed requires +new-connection and +tls: a session is resumed by a later \
                 connection",
            );
        }
        None
    }
}

impl FromIterator<Extra> for Extras {
    fn from_iter<I: IntoIterator<Item = Extra>>(extras: I) -> Self {
        extras.into_iter().fold(Extras::default(), Extras::with)
    }
}

/// A transport with the extras that its clients use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Variant {
    pub transport: Transport,
    extras: Extras,
}

impl Variant {
    /// Its extras, all of which the transport supports.
    pub fn extras(self) -> Extras {
        self.extras
    }

    /// Whether it has `extra`.
    pub fn has(self, extra: Extra) -> bool {
        self.extras.has(extra)
    }

    /// The name for headings: `short polling +conditional`.
    pub fn label(self) -> String {
        let extras = self.extras.iter().map(|extra| format!(" +{}", extra.name()));
        std::iter::once(self.transport.label().to_owned()).chain(extras).collect()
    }
}

impl From<Transport> for Variant {
    /// The transport without extras.
    fn from(transport: Transport) -> Variant {
        Variant { transport, extras: Extras::default() }
    }
}

impl PartialEq<Transport> for Variant {
    /// Whether this is `transport` without extras.
    fn eq(&self, transport: &Transport) -> bool {
        *self == Variant::from(*transport)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.transport.name())?;
        self.extras.iter().try_for_each(|extra| write!(f, "+{}", extra.name()))
    }
}

/// An invalid name of a variant.
#[derive(Debug, thiserror::Error)]
pub enum BadVariant {
    #[error(transparent)]
    Transport(#[from] UnknownTransport),
    #[error("'{given}': {transport} does not support '+{extra}'; supported: {}", list(*transport))]
    Extra { given: String, transport: Transport, extra: String },
    #[error("'{given}': +{extra} is given twice")]
    Twice { given: String, extra: String },
    #[error("'{given}': {reason}")]
    Conflict { given: String, reason: &'static str },
}

fn list(transport: Transport) -> String {
    let names: Vec<_> =
        transport.extras().iter().map(|extra| format!("+{}", extra.name())).collect();
    names.join(", ")
}

impl FromStr for Variant {
    type Err = BadVariant;

    fn from_str(given: &str) -> Result<Self, BadVariant> {
        let mut names = given.split('+');
        let transport: Transport = names.next().unwrap_or_default().parse()?;
        let mut extras = Extras::default();
        for name in names {
            let known = transport.extras().iter().find(|extra| extra.name() == name);
            let (given, name) = (given.to_owned(), name.to_owned());
            match known {
                None => return Err(BadVariant::Extra { given, transport, extra: name }),
                Some(extra) if extras.has(*extra) => {
                    return Err(BadVariant::Twice { given, extra: name });
                }
                Some(extra) => extras = extras.with(*extra),
            }
        }
        match extras.conflict() {
            Some(reason) => Err(BadVariant::Conflict { given: given.to_owned(), reason }),
            None => Ok(Variant { transport, extras }),
        }
    }
}

impl From<Variant> for String {
    fn from(variant: Variant) -> String {
        variant.to_string()
    }
}

impl TryFrom<String> for Variant {
    type Error = BadVariant;

    fn try_from(name: String) -> Result<Self, BadVariant> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed_with_ordered_extras() {
        let variant: Variant = "short-polling+gzip+conditional".parse().expect("a good name");
        assert_eq!(variant.to_string(), "short-polling+conditional+gzip");
        assert_eq!(variant.label(), "short polling +conditional +gzip");
        assert!(variant.has(Extra::Gzip) && !variant.has(Extra::Adaptive));
        assert!(variant != Transport::ShortPolling);
        for transport in Transport::ALL {
            let plain: Variant = transport.name().parse().expect("a good name");
            assert_eq!(plain, transport);
            for extra in transport.extras().iter().filter(|extra| **extra != Extra::Resumed) {
                let one = Variant { transport, extras: Extras::default().with(*extra) };
                assert_eq!(one.to_string().parse::<Variant>().expect("its own name"), one);
            }
        }
    }

    #[test]
    fn extras_that_exclude_each_other_are_an_error_with_the_reason() {
        let error = |name: &str| name.parse::<Variant>().expect_err(name).to_string();
        assert!(error("long-polling+h2+new-connection").contains("+h2 shares a connection"));
        assert!(error("sse+h2+tls").contains("the server offers HTTP/2 without TLS only"));
        for name in ["short-polling+resumed", "short-polling+tls+resumed"] {
            assert!(error(name).contains("+resumed requires +new-connection and +tls"));
        }
        let all = "short-polling+conditional+adaptive+gzip+new-connection+tls+resumed";
        assert_eq!(all.parse::<Variant>().expect("they go together").to_string(), all);
    }

    #[test]
    fn errors_list_the_supported_extras() {
        let error = |name: &str| name.parse::<Variant>().expect_err(name).to_string();
        assert!(error("pigeon+gzip").contains("expected one of short-polling"));
        insta::assert_snapshot!(
            error("long-polling+adaptive"),
            @"'long-polling+adaptive': long-polling does not support '+adaptive'; supported: +conditional, +gzip, +h2, +new-connection, +tls, +resumed"
        );
        insta::assert_snapshot!(
            error("websocket+gzip"),
            @"'websocket+gzip': websocket does not support '+gzip'; supported: +tls"
        );
        insta::assert_snapshot!(
            error("long-polling+gzip+gzip"),
            @"'long-polling+gzip+gzip': +gzip is given twice"
        );
        assert!(error("sse+").contains("'sse+': sse does not support '+'"));
    }
}
