//! `trace`: the conversation of one subscriber with the server, byte by byte.
//!
//! [`run`] records every byte that a subscriber of `transport` sends and receives while a few
//! messages are published. `reader` splits the bytes into requests, responses, chunks and frames,
//! and those into [`Part`]s, each of a kind of the load test's byte ledger. It parses the bytes
//! independently, so that the sums of the parts verify the ledger. [`render`] prints the result.

mod capture;
mod content;
mod part;
mod reader;
pub mod render;
mod source;
mod steps;

use std::time::Duration;

pub use capture::{Options, TraceError, check, run};
pub use part::{Part, PartKind};
pub use source::Source;

use crate::measure::Ledger;
use crate::variant::Variant;

/// The recorded conversation of one subscriber.
#[derive(Debug)]
pub struct Conversation {
    pub variant: Variant,
    pub steps: Vec<Step>,
    /// TCP and IP headers after the last step: up and down, bytes.
    pub rest_tcp_ip: [u64; 2],
    /// The counts of the meter that the load test uses: up and down.
    pub metered: [Ledger; 2],
}

/// One step of a conversation.
#[derive(Debug)]
pub struct Step {
    /// Since the start of the trace.
    pub at: Duration,
    pub action: Action,
    /// The function that took this step.
    pub source: Source,
    pub parts: Vec<Part>,
    /// Bytes of TCP and IP headers since the step before: up and down.
    pub tcp_ip: [u64; 2],
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The publisher sends a message to the server, on a connection that is not traced.
    Publish { text: String },
    /// The subscriber opens a TCP connection.
    Connect { connection: u32 },
    /// The subscriber sends something.
    Send(&'static str),
    /// The server has sent something.
    Receive(&'static str),
    /// Nothing crosses the network during this time.
    Wait { duration: Duration, place: &'static str },
}

impl Step {
    /// Bytes of its parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

impl Conversation {
    /// The sum over all parts: up and down.
    pub fn ledgers(&self) -> [Ledger; 2] {
        let mut ledgers = [Ledger::default(); 2];
        for step in &self.steps {
            let direction = usize::from(!matches!(step.action, Action::Send(_)));
            for part in &step.parts {
                part.kind.add_to(&mut ledgers[direction], part.bytes as u64);
            }
        }
        let counted = self.steps.iter().map(|step| step.tcp_ip).chain([self.rest_tcp_ip]);
        for tcp_ip in counted {
            for (ledger, bytes) in ledgers.iter_mut().zip(tcp_ip) {
                ledger.tcp_ip += bytes;
            }
        }
        ledgers
    }
}
