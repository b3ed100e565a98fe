//! The part of a session that concerns Socket.IO: its namespaces, and a packet whose attachments
//! have not all arrived.

use bytes::Bytes;

/// The namespace of the feed.
pub const MAIN: &str = "/";
/// The second namespace of the test suite.
pub const CUSTOM: &str = "/custom";

/// The application that receives the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// Socket.IO: the feed; with `--echo`, the events of the test suite too.
    Feed,
    /// Engine.IO without Socket.IO: each message is echoed.
    Echo,
}

/// The namespaces that a client has connected to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Namespaces {
    main: bool,
    custom: bool,
}

impl Namespaces {
    /// Whether the client has connected to `name`; `None` if there is no such namespace.
    pub fn of(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            MAIN => Some(&mut self.main),
            CUSTOM => Some(&mut self.custom),
            _ => None,
        }
    }
}

/// A packet and those of its attachments that have arrived.
#[derive(Debug)]
pub struct Attachments {
    pub packet: String,
    pub wanted: usize,
    pub arrived: Vec<Bytes>,
}
