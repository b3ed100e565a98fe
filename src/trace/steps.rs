//! Derives the steps of a trace from the recorded bytes and the publications.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::reader::{Direction, Reader, UnitKind, WireUnit};
use super::{Action, Step, source};
use crate::client::{Recorded, SocketEvent};
use crate::variant::{Transport, Waiting};

/// A message that was published.
#[derive(Debug, Clone)]
pub(super) struct TracedPublication {
    pub at: Instant,
    pub text: String,
}

/// Which pauses are shown as waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    /// Shorter pauses are not shown: they may be processing time of the machine.
    pub min: Duration,
    /// Round trip of the simulated link, which is not shown as a wait.
    pub round_trip: Duration,
}

/// The two directions of a connection.
#[derive(Debug)]
struct Directions {
    up: Reader,
    down: Reader,
    /// Units received after the headers of the response.
    received: usize,
}

impl Directions {
    fn new() -> Directions {
        let (up, down) = (Reader::new(Direction::Up), Reader::new(Direction::Down));
        Directions { up, down, received: 0 }
    }
}

/// Collects steps.
struct Steps {
    transport: Transport,
    started: Instant,
    steps: Vec<Step>,
    /// TCP and IP headers in the steps so far, and those counted so far.
    shown: [u64; 2],
    counted: [u64; 2],
}

/// The steps in order, and the bytes of TCP and IP headers that are in them.
pub(super) fn steps(
    transport: Transport,
    started: Instant,
    pause: Pause,
    entries: &[Recorded],
    publications: &[TracedPublication],
) -> (Vec<Step>, [u64; 2]) {
    let steps = Vec::new();
    let mut all = Steps { transport, started, steps, shown: [0; 2], counted: [0; 2] };
    let mut connections = BTreeMap::new();
    for entry in entries {
        all.counted = entry.tcp_ip;
        let connection = connections.entry(entry.connection).or_insert_with(Directions::new);
        match &entry.traffic {
            SocketEvent::Opened => {
                let action = Action::Connect { connection: entry.connection };
                all.push(entry.at, action, source::DIAL, Vec::new());
            }
            SocketEvent::Sent(bytes) => {
                connection.up.feed(entry.at, bytes);
                while let Some(unit) = connection.up.next_unit() {
                    all.sent(unit);
                }
            }
            SocketEvent::Received(bytes) => {
                connection.down.feed(entry.at, bytes);
                while let Some(unit) = connection.down.next_unit() {
                    if let UnitKind::Response { status: 101, .. } = unit.kind {
                        connection.up.switch_protocols();
                        connection.down.switch_protocols();
                    }
                    all.received(unit, connection);
                }
            }
        }
    }
    for (_, mut connection) in connections {
        let (up, down) = (connection.up, connection.down);
        (connection.up, connection.down) =
            (Reader::new(Direction::Up), Reader::new(Direction::Down));
        up.rest().into_iter().for_each(|unit| all.sent(unit));
        down.rest().into_iter().for_each(|unit| all.received(unit, &mut connection));
    }
    for TracedPublication { at, text } in publications {
        let action = Action::Publish { text: text.clone() };
        all.push(*at, action, source::PUBLISH, Vec::new());
    }
    let Steps { mut steps, shown, .. } = all;
    steps.sort_by_key(|step| step.at);
    (with_waits(transport, pause, steps), shown)
}

impl Steps {
    fn push(
        &mut self,
        at: Instant,
        action: Action,
        source: super::Source,
        parts: Vec<super::Part>,
    ) {
        let tcp_ip = std::array::from_fn(|i| self.counted[i] - self.shown[i]);
        self.shown = self.counted;
        let at = at.saturating_duration_since(self.started);
        self.steps.push(Step { at, action, source, parts, tcp_ip });
    }

    fn sent(&mut self, unit: WireUnit) {
        let what = match unit.kind {
            UnitKind::Request { is_post: true } => "request with a packet",
            UnitKind::Request { .. } | UnitKind::Response { .. } | UnitKind::Chunk => "request",
            UnitKind::Text => "frame",
            UnitKind::Control => "control frame",
            UnitKind::Incomplete => "incomplete",
        };
        let source = source::of_client(self.transport, unit.kind);
        self.push(unit.at, Action::Send(what), source, unit.parts);
    }

    fn received(&mut self, unit: WireUnit, connection: &mut Directions) {
        let what = match unit.kind {
            UnitKind::Response { status: 101, .. } => "response: HTTP ends here",
            UnitKind::Response { is_chunked: true, .. } => "response that does not end",
            UnitKind::Response { .. } | UnitKind::Request { .. } => "response",
            UnitKind::Chunk => "chunk of the response",
            UnitKind::Text => "frame",
            UnitKind::Control => "control frame",
            UnitKind::Incomplete => "incomplete",
        };
        let is_first = connection.received == 0;
        let source = source::of_server(self.transport, unit.kind, is_first);
        connection.received += usize::from(!matches!(unit.kind, UnitKind::Response { .. }));
        self.push(unit.at, Action::Receive(what), source, unit.parts);
    }
}

/// Adds a step for each pause in which the transport waits. A round trip of the simulated link in
/// such a pause is not counted.
fn with_waits(transport: Transport, pause: Pause, steps: Vec<Step>) -> Vec<Step> {
    let mut all = Vec::new();
    let mut last: Option<(Duration, bool)> = None;
    for step in steps {
        let is_sent = matches!(step.action, Action::Send(_));
        let is_received = matches!(step.action, Action::Receive(_));
        let waits = |(_, was_sent): &(Duration, bool)| match transport.waiting() {
            Waiting::InClient => !was_sent && is_sent,
            Waiting::PerRequest => *was_sent && is_received,
            Waiting::PerConnection => !was_sent && is_received,
        };
        if let Some((since, _)) = last.filter(waits) {
            let is_answer = transport.waiting() == Waiting::PerRequest;
            let network = if is_answer { pause.round_trip } else { Duration::ZERO };
            let duration = step.at.saturating_sub(since).saturating_sub(network);
            if duration >= pause.min {
                all.push(Step {
                    at: since,
                    action: Action::Wait { duration, place: source::place(transport) },
                    source: source::of_wait(transport),
                    parts: Vec::new(),
                    tcp_ip: [0; 2],
                });
            }
        }
        if is_sent || is_received {
            last = Some((step.at, is_sent));
        }
        all.push(step);
    }
    // A wait begins before the publications that it sees.
    all.sort_by_key(|step| step.at);
    all
}
