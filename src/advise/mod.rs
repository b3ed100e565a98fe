//! Recommends a transport for one workload, from theory and from measured costs.
//!
//! Theory gives requests, bytes and latency; [`Costs`] convert them to CPU and memory. This module
//! measures nothing and depends on its arguments only. Each [`Estimate`] states how far it lies
//! outside the measured range.

pub mod bill;
mod costs;
mod estimate;
mod margin;
pub mod prices;

use serde::Serialize;

use crate::scenario::Headers;
use crate::variant::Transport;

pub use crate::theory::bytes::TLS_RECORD_BYTES;
pub use costs::{CostSource, Costs, TransportCosts};
pub use estimate::{BUSY_SHARE_MAX, Basis, Estimate, MEASURED_UP_TO};
pub use margin::{Alternative, Margin, Parameter, alternatives, margins};

/// A workload and its requirements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Need {
    pub subscribers: u32,
    /// Number of topics over which the subscribers are distributed: a message has `subscribers /
    /// topics` recipients.
    pub topics: u32,
    /// Messages per second that each subscriber receives.
    pub rate: f64,
    /// Largest acceptable age of a message when it is received, seconds.
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
    /// Whether connections are encrypted. Counts the bytes of TLS records, not the CPU, for which
    /// there is no reference.
    pub is_tls: bool,
    /// Consider only transports for which a browser has an interface or a published library.
    pub browser_only: bool,
    /// Consider only transports that carry messages in both directions on one connection.
    pub two_way: bool,
    /// The cost to minimise.
    pub cost: Cost,
}

impl Need {
    /// The values with which the model page opens, and those of `advise` for flags that are not
    /// given: browsers, over TLS, that all receive the same messages. `advise` requires
    /// subscribers, rate and staleness.
    pub const DEFAULT: Need = Need {
        subscribers: 10_000,
        topics: 1,
        rate: 0.5,
        staleness_s: 2.0,
        rtt_s: 0.04,
        poll_interval_s: None,
        message_bytes: 100,
        headers: Headers::Browser,
        is_tls: true,
        browser_only: true,
        two_way: false,
        cost: Cost::Cpu,
    };
}

/// The cost that "cheapest" refers to.
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
    /// The monthly bill under a price list
    Money,
}

impl Cost {
    /// The cost in a sentence: "by server CPU".
    pub fn label(self) -> &'static str {
        match self {
            Cost::Cpu => "server CPU",
            Cost::Bytes => "bytes",
            Cost::Requests => "requests",
            Cost::Memory => "server memory",
            Cost::Money => "monthly bill",
        }
    }
}

/// The recommendation for one need.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    pub need: Need,
    /// `None` if no transport is fast enough.
    pub choice: Option<Choice>,
    /// Every transport whose cost is known and whose bytes have a model.
    pub estimates: Vec<Estimate>,
    /// The values at which the recommendation changes.
    pub margins: Vec<Margin>,
    /// Other conditions under which the recommendation is another one.
    pub alternatives: Vec<Alternative>,
}

impl Advice {
    /// The estimate of a transport whose cost is known, such as the choice.
    pub fn estimate(&self, transport: Transport) -> Option<&Estimate> {
        self.estimates.iter().find(|estimate| estimate.transport == transport)
    }

    /// The estimates of the transports that are fast enough.
    pub fn fast_enough(&self) -> impl Iterator<Item = &Estimate> {
        self.estimates.iter().filter(|estimate| estimate.is_fast_enough())
    }
}

/// The recommended transport, and how clear the recommendation is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The simplest to run of [`Choice::finalists`].
    pub transport: Transport,
    /// The cheapest transport and those whose cost is too close to it to decide, cheapest first.
    pub close: Vec<Transport>,
    /// Those of `close` whose bytes are too close to the fewest of them to decide.
    pub finalists: Vec<Transport>,
    /// Cost of the next transport divided by that of the cheapest, at least 1. `None` if there is
    /// no other, or if the cheapest costs nothing.
    pub lead: Option<f64>,
}

/// A transport that is fast enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub transport: Transport,
    /// The cost to minimise.
    pub cost: f64,
    /// Bytes, which decide between costs that are too close.
    pub bytes: f64,
    /// True if the cost is too close to the lowest for a measurement to decide.
    pub is_tied: bool,
}

impl Choice {
    /// The choice among `candidates`: by `cost`, then by bytes, then by [`simplicity`]. `None`
    /// without candidates.
    pub fn among(cost: Cost, mut candidates: Vec<Candidate>) -> Option<Choice> {
        candidates.retain(|candidate| candidate.cost.is_finite());
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let cheapest = candidates.first()?.cost;
        let next = candidates.get(1).map(|next| next.cost / cheapest);
        let limit = cheapest * TOO_CLOSE;
        candidates.retain(|candidate| candidate.cost <= limit || candidate.is_tied);
        let close = candidates.iter().map(|candidate| candidate.transport).collect();
        if cost != Cost::Bytes {
            let fewest = candidates.iter().map(|c| c.bytes).fold(f64::INFINITY, f64::min);
            candidates.retain(|candidate| candidate.bytes <= fewest * TOO_CLOSE);
        }
        let finalists: Vec<Transport> = candidates.iter().map(|c| c.transport).collect();
        let transport = *finalists.iter().min_by_key(|transport| simplicity(**transport).0)?;
        Some(Choice { transport, close, finalists, lead: next.filter(|lead| lead.is_finite()) })
    }
}

/// Factor up to which two costs of any kind are too close to decide between transports.
pub const TOO_CLOSE: f64 = 1.25;

/// What [`TOO_CLOSE`] means.
pub const TOO_CLOSE_MEANING: &str = "Too close to call: a cost at most 25 % above the lowest, \
    whichever cost is minimised. The CPU time of one transport differs by as much from run to run, \
    and the rate and subscribers of a plan are seldom known better. Such a difference does not \
    decide: of these transports, those within 25 % of the fewest bytes remain, and the simplest of \
    them to run is recommended. Near a boundary several transports cost nearly the same, so a \
    transport that is recommended only in a narrow band is hardly better there than its neighbours.";

/// CPU use, cores, below which CPU hardly matters.
pub const SMALL_LOAD: f64 = 0.25;

/// The recommendation for `need`, given the costs of the transports.
pub fn advise(need: &Need, costs: &Costs) -> Advice {
    let choose = |need: &Need| choose(need, costs);
    let choice = choose(need);
    let present = choice.as_ref().map(|choice| choice.transport);
    Advice {
        need: *need,
        estimates: estimates(need, costs),
        margins: margins(need, present, choose),
        alternatives: alternatives(need, present, choose),
        choice,
    }
}

/// The recommended transport, without the rest of the advice.
pub fn choose(need: &Need, costs: &Costs) -> Option<Choice> {
    Choice::among(need.cost, candidates(need, costs))
}

/// The transports that are fast enough for `need`.
pub fn candidates(need: &Need, costs: &Costs) -> Vec<Candidate> {
    let fast_enough = estimates(need, costs).into_iter().filter(Estimate::is_fast_enough);
    fast_enough.map(|estimate| estimate.candidate(estimate.cost(need.cost))).collect()
}

/// The estimate of each transport that `need` allows.
pub fn estimates(need: &Need, costs: &Costs) -> Vec<Estimate> {
    let is_allowed = |transport: Transport| {
        (!need.browser_only || has_browser_client(transport))
            && (!need.two_way || is_two_way(transport))
    };
    let allowed = costs.transports.iter().filter(|(transport, _)| is_allowed(**transport));
    let estimates = allowed.filter_map(|(transport, own)| {
        let estimate = Estimate::of(*transport, need, own, costs.publish_cpu_us)?;
        let bill = costs.prices.as_ref().and_then(|list| list.bill(&estimate, need));
        Some(Estimate { monthly_bill: bill.map(|bill| bill.total), ..estimate })
    });
    estimates.collect()
}

/// How simple a transport is to run, 0 being the simplest, and why. Decides between costs that are
/// too close.
pub fn simplicity(transport: Transport) -> (u8, &'static str) {
    match transport {
        Transport::ShortPolling => (
            0,
            "each request is plain HTTP, which every proxy forwards, and the server keeps no \
             connection state",
        ),
        Transport::Sse => {
            (1, "it is one plain HTTP response, and browsers reconnect and resume automatically")
        }
        Transport::WebSocket => {
            (2, "every browser has a client, although your code has to reconnect")
        }
        Transport::LongPolling => {
            (3, "it needs only plain HTTP, although proxies must allow requests that wait")
        }
        Transport::Ndjson => {
            (4, "it is one plain HTTP response, although browsers need code to parse it")
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
/// library. NDJSON needs a parser of your own.
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

/// True if a subscriber sends messages on the connection on which it receives them. With the other
/// transports each message sent is a request.
pub fn is_two_way(transport: Transport) -> bool {
    match transport {
        Transport::WebSocket | Transport::SocketioWebsocket => true,
        Transport::ShortPolling
        | Transport::LongPolling
        | Transport::Sse
        | Transport::SocketioPolling
        | Transport::Ndjson => false,
    }
}
