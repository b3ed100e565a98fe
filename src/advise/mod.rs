//! Which way is the cheapest that is fast enough, for one workload: the decision, made from theory
//! and from what a machine was measured to need.
//!
//! Theory gives requests, bytes and latency; [`Costs`] turn them into CPU and memory. Nothing is
//! measured here. Every figure can be traced: [`Estimate`] says how far each lies beyond what was
//! measured.

mod costs;
mod estimate;
mod margin;
pub mod prices;

use serde::Serialize;

use crate::scenario::Headers;
use crate::variant::Transport;

pub use costs::{Costs, Origin, WayCosts};
pub use estimate::{BUSY_SHARE_MAX, Estimate, Standing, TLS_RECORD_BYTES};
pub use margin::{Margin, Parameter};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Need {
    pub subscribers: u32,
    /// Topics the subscribers are spread over: a publication goes to `subscribers / topics`.
    pub topics: u32,
    /// Messages per second for each subscriber.
    pub rate: f64,
    /// The longest delay from publication to receipt that is tolerated, seconds.
    pub staleness_s: f64,
    /// Round trip between subscriber and server, seconds.
    pub rtt_s: f64,
    /// Sleep of a short poll after each response, seconds; as long as the staleness allows if
    /// absent.
    pub poll_interval_s: Option<f64>,
    /// Bytes of a message's text.
    pub message_bytes: u32,
    /// Headers of each request.
    pub headers: Headers,
    /// Whether connections are encrypted: counts the bytes of TLS records, not the CPU, which no
    /// reference has.
    pub is_tls: bool,
    /// Only transports for which a browser needs no client code beyond its own interfaces or a
    /// published library.
    pub browser_only: bool,
    /// The cost to minimise.
    pub cost: Cost,
}

/// What "cheapest" counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// The server's CPU time
    Cpu,
    /// Bytes on the wire, both directions, TCP/IP headers included
    Bytes,
    /// HTTP requests
    Requests,
    /// The server's resident memory
    Memory,
}

/// The answer for one need.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    pub need: Need,
    /// The cheapest way that is fast enough; absent if none is.
    pub choice: Option<Choice>,
    /// Every way whose cost is known and whose bytes have a model.
    pub ways: Vec<Estimate>,
    /// How far the need would have to move for another choice.
    pub margins: Vec<Margin>,
}

impl Advice {
    /// The estimate of a way whose cost is known, such as the choice.
    pub fn way(&self, transport: Transport) -> Option<&Estimate> {
        self.ways.iter().find(|way| way.transport == transport)
    }
}

/// The recommendation, and how clear it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The simplest to run of [`Choice::close`].
    pub transport: Transport,
    /// The cheapest transport that is fast enough and those within [`TOO_CLOSE`] of it, cheapest
    /// first.
    pub close: Vec<Transport>,
    /// The runner-up's cost divided by that of the cheapest, at least 1; absent if no other
    /// transport is fast enough, or if the cheapest costs nothing.
    pub lead: Option<f64>,
}

/// Costs closer than this factor are not told apart: they vary by as much from run to run.
pub const TOO_CLOSE: f64 = 1.1;

/// The answer for `need`, given what the ways cost.
pub fn advise(need: &Need, costs: &Costs) -> Advice {
    let ways = estimates(need, costs);
    let choice = cheapest(need.cost, &ways);
    Advice { need: *need, choice, ways, margins: margin::margins(need, costs) }
}

/// The cheapest way that is fast enough, without the rest of the answer.
pub fn choose(need: &Need, costs: &Costs) -> Option<Choice> {
    cheapest(need.cost, &estimates(need, costs))
}

fn estimates(need: &Need, costs: &Costs) -> Vec<Estimate> {
    let publish_cpu_us = costs.publish_cpu_us;
    let estimate = |(transport, way): (&Transport, &WayCosts)| {
        Estimate::of(*transport, need, way, publish_cpu_us)
    };
    let is_allowed = |(transport, _): &(&Transport, &WayCosts)| {
        !need.browser_only || has_browser_client(**transport)
    };
    costs.ways.iter().filter(is_allowed).filter_map(estimate).collect()
}

fn cheapest(cost: Cost, ways: &[Estimate]) -> Option<Choice> {
    let mut able: Vec<(f64, Transport)> = ways
        .iter()
        .filter(|way| way.too_slow_s.is_none())
        .map(|way| (way.cost(cost), way.transport))
        .collect();
    able.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (cheapest, _) = *able.first()?;
    let lead = able.get(1).map(|(next, _)| next / cheapest).filter(|lead| lead.is_finite());
    let is_close = |(cost, _): &&(f64, Transport)| *cost <= cheapest * TOO_CLOSE;
    let close: Vec<Transport> =
        able.iter().take_while(is_close).map(|(_, transport)| *transport).collect();
    let transport = *close.iter().min_by_key(|transport| simplicity(**transport).0)?;
    Some(Choice { transport, close, lead })
}

/// How simple a transport is to run, the simplest first, and why: the tie-breaker between costs
/// that are too close to call.
pub fn simplicity(transport: Transport) -> (u8, &'static str) {
    match transport {
        Transport::ShortPolling => (
            0,
            "each request is plain HTTP, which every proxy passes, and the server keeps no connection state",
        ),
        Transport::Sse => {
            (1, "it is one plain HTTP response, and browsers reconnect and resume by themselves")
        }
        Transport::WebSocket => {
            (2, "every browser has a client, although reconnecting is left to your code")
        }
        Transport::LongPolling => {
            (3, "it needs only plain HTTP, although proxies must allow requests that wait")
        }
        Transport::Ndjson => {
            (4, "it is one plain HTTP response, although browsers need code to read it in parts")
        }
        Transport::SocketioWebsocket => {
            (5, "its library reconnects, although both sides need that library")
        }
        Transport::SocketioPolling => {
            (6, "its library reconnects over plain HTTP, although both sides need that library")
        }
    }
}

/// True if a browser has a client for it: `fetch`, `EventSource`, `WebSocket`, or the Socket.IO
/// library. A stream of JSON lines needs a parser of one's own.
pub fn has_browser_client(transport: Transport) -> bool {
    match transport {
        Transport::Ndjson => false,
        Transport::ShortPolling
        | Transport::LongPolling
        | Transport::WebSocket
        | Transport::Sse
        | Transport::SocketioPolling
        | Transport::SocketioWebsocket => true,
    }
}
