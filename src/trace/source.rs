//! The function of the source code that performs a step. A test checks the listed files.

use super::reader::UnitKind;
use crate::variant::{Transport, Waiting};

/// A function of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Path below `src/`.
    pub file: &'static str,
    pub function: &'static str,
}

const fn source(file: &'static str, function: &'static str) -> Source {
    Source { file, function }
}

/// Stores a message that a client publishes.
pub(super) const PUBLISH: Source = source("server/routes.rs", "publish");
/// Opens a TCP connection.
pub(super) const DIAL: Source = source("client/dialer.rs", "dial");

/// Sends a unit of the subscriber of `transport`.
pub(super) fn of_client(transport: Transport, unit: UnitKind) -> Source {
    match (transport, unit) {
        (Transport::ShortPolling | Transport::LongPolling, _) => {
            source("client/poll_client.rs", "poll")
        }
        (Transport::Sse | Transport::Ndjson, _) => source("client/http_stream.rs", "get"),
        (Transport::SocketioPolling, _) => source("transport/socketio/engine.rs", "begin"),
        (Transport::SocketioWebsocket, UnitKind::Text) => {
            source("transport/socketio/subscriber.rs", "connect")
        }
        (_, UnitKind::Control) => source("client/websocket_frames.rs", "pong"),
        (Transport::WebSocket | Transport::SocketioWebsocket, _) => {
            source("client/websocket_stream.rs", "connect")
        }
    }
}

/// Sends a unit of the server of `transport`; `is_first` if only headers were sent before.
pub(super) fn of_server(transport: Transport, unit: UnitKind, is_first: bool) -> Source {
    let is_response = matches!(unit, UnitKind::Response { .. });
    match transport {
        Transport::ShortPolling => source("transport/short_polling.rs", "poll"),
        Transport::LongPolling => source("transport/long_polling.rs", "long_poll"),
        Transport::WebSocket | Transport::SocketioWebsocket if is_response => {
            source("transport/websocket/handshake.rs", "respond")
        }
        Transport::Sse | Transport::Ndjson if is_response => {
            source("transport/stream_response.rs", "response")
        }
        Transport::WebSocket if is_first => source("transport/websocket/socket.rs", "begin"),
        Transport::WebSocket => source("transport/websocket.rs", "frames"),
        Transport::Sse | Transport::Ndjson if is_first => {
            source("transport/stream_response.rs", "begin")
        }
        Transport::Sse => source("transport/sse.rs", "events"),
        Transport::Ndjson => source("transport/ndjson.rs", "lines"),
        Transport::SocketioPolling => source("transport/socketio/polling.rs", "poll"),
        Transport::SocketioWebsocket if is_first => {
            source("transport/socketio/session.rs", "open_packet")
        }
        Transport::SocketioWebsocket => source("transport/socketio/socket.rs", "exchange"),
    }
}

/// Waits for the next message.
pub(super) fn of_wait(transport: Transport) -> Source {
    match transport {
        Transport::ShortPolling => source("transport/short_polling.rs", "next"),
        Transport::LongPolling => source("transport/long_polling.rs", "long_poll"),
        Transport::WebSocket => source("transport/websocket.rs", "frames"),
        Transport::Sse => source("transport/sse.rs", "events"),
        Transport::Ndjson => source("transport/ndjson.rs", "lines"),
        Transport::SocketioPolling => source("transport/socketio/polling.rs", "next"),
        Transport::SocketioWebsocket => source("transport/socketio/socket.rs", "exchange"),
    }
}

/// Where a transport waits, in words.
pub(super) fn place(transport: Transport) -> &'static str {
    match transport.waiting() {
        Waiting::InClient => "in the client, until the next poll is due",
        Waiting::PerRequest => "in the server, which holds the request",
        Waiting::PerConnection => "in the server, on the open connection",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn functions_are_in_the_files_that_are_named() {
        let units = [
            UnitKind::Request { is_post: true },
            UnitKind::Response { status: 200, is_chunked: true },
            UnitKind::Chunk,
            UnitKind::Text,
            UnitKind::Control,
            UnitKind::Incomplete,
        ];
        for transport in Transport::ALL {
            let of_unit = |unit| {
                let server = [true, false].map(|is_first| of_server(transport, unit, is_first));
                [of_client(transport, unit), server[0], server[1]]
            };
            let named = units.into_iter().flat_map(of_unit);
            for Source { file, function } in named.chain([of_wait(transport), PUBLISH, DIAL]) {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
                let text = std::fs::read_to_string(path).expect(file);
                let is_there = text.contains(&format!("fn {function}("))
                    || text.contains(&format!("fn {function}<"));
                assert!(is_there, "{file} has no function {function}");
            }
        }
    }
}
