//! What one event and one subscriber cost a server: taken from a run, or from a reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::{Cell, ERROR_SHARE_MAX, Run};
use crate::scenario::Headers;
use crate::theory::bytes::Sizes;
use crate::validity::void_reasons;
use crate::variant::{Transport, Waiting};

/// What the ways cost on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The machine and the occasion, in words.
    pub machine: String,
    /// Server CPU of taking in one publication, microseconds.
    pub publish_cpu_us: f64,
    /// A way that nobody has measured yet is not in it.
    pub ways: BTreeMap<Transport, WayCosts>,
}

/// What one way costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayCosts {
    pub origin: Origin,
    /// Server CPU of one request with its answer, microseconds; 0 for push.
    pub request_cpu_us: f64,
    /// Server CPU of one message, microseconds; for polling what it adds to an answer. 0 if the run
    /// could not tell it from the requests that carry it.
    pub message_cpu_us: f64,
    /// The server's resident memory of one idle subscriber, bytes. The kernel's is not in it.
    pub memory_bytes: f64,
    /// The most subscribers with which this was measured.
    pub subscribers_max: u32,
    /// The most events per second with which this was measured.
    pub events_s_max: f64,
    pub sizes: Sizes,
}

/// Where a way's costs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The run that was given.
    Run,
    /// What comes with the program.
    Reference,
}

impl Costs {
    /// Those that come with the program.
    pub fn reference() -> Costs {
        toml::from_str(include_str!("reference.toml")).expect("a test reads this file")
    }

    /// Those that a run measured; the reference's for a way that it did not measure, or whose
    /// server did not tell its CPU.
    ///
    /// A publication is one request with its answer, and taken to cost what a short poll does. The
    /// median over the run's cells counts.
    pub fn from_run(run: &Run) -> Costs {
        let mut costs = Costs::reference();
        let flaw = if run.tool.profile == "release" { "" } else { ", a debug build" };
        let day = run.started_at.strftime("%Y-%m-%d");
        let (cpu, cores) = (&run.machine.cpu, run.machine.cores);
        costs.machine = format!("{cpu}, {cores} cores, measured on {day}{flaw}");
        if let Some(polls) = WayCosts::from_run(run, Transport::ShortPolling, 0.0) {
            costs.publish_cpu_us = polls.request_cpu_us;
        }
        for transport in Transport::ALL {
            if let Some(measured) = WayCosts::from_run(run, transport, costs.publish_cpu_us) {
                costs.ways.insert(transport, measured);
            }
        }
        costs
    }
}

/// The cells whose figures can be used: not void, and the server told its usage.
fn cells(run: &Run, transport: Transport) -> impl Iterator<Item = &Cell> {
    run.cells.iter().filter(move |cell| {
        let told = cell.variant == transport && cell.server.is_some() && events(cell) > 0;
        told && void_reasons(run, cell).is_empty()
    })
}

/// What the server does for subscribers: answers, or messages pushed.
fn events(cell: &Cell) -> u64 {
    match cell.variant.transport.waiting() {
        Waiting::InClient | Waiting::PerRequest => cell.requests.answers,
        Waiting::PerConnection => cell.deliveries.in_steady,
    }
}

/// CPU microseconds of the steady state beyond those of a server that nobody uses.
fn cpu_us(cell: &Cell) -> f64 {
    cell.server.unwrap_or_default().cpu_caused_s(cell.steady_s) * 1e6
}

/// True if the run is long enough for the CPU of these cells to exceed the error of its clock.
fn is_cpu_resolved<'a>(run: &Run, cells: impl Iterator<Item = &'a Cell>) -> bool {
    let (mut total_s, mut squares) = (0.0, 0.0);
    for cell in cells {
        total_s += cpu_us(cell) / 1e6;
        squares += cell.server_cpu_error_s(run.server.cpu_clock_s()).unwrap_or(0.0).powi(2);
    }
    squares.sqrt() <= ERROR_SHARE_MAX * total_s
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl WayCosts {
    fn from_run(run: &Run, transport: Transport, publish_cpu_us: f64) -> Option<WayCosts> {
        let cells = || cells(run, transport);
        let samples: Vec<Sample> = cells().map(|cell| Sample::of(cell, publish_cpu_us)).collect();
        if !is_cpu_resolved(run, cells()) {
            return None;
        }
        let (request_cpu_us, message_cpu_us) = fit(&samples)?;
        let resident = |cell: &Cell| {
            let server = cell.server.unwrap_or_default();
            let grown = server.resident_idle_bytes.saturating_sub(server.resident_before_bytes);
            grown as f64 / f64::from(cell.workload.subscribers)
        };
        let events_s = |cell: &Cell| events(cell) as f64 / cell.steady_s;
        Some(WayCosts {
            origin: Origin::Run,
            request_cpu_us,
            message_cpu_us,
            memory_bytes: median(cells().map(resident))?,
            subscribers_max: cells().map(|cell| cell.workload.subscribers).max()?,
            events_s_max: cells().map(events_s).fold(0.0, f64::max),
            sizes: sizes(cells().collect()),
        })
    }
}

/// What a server did in a cell, and the CPU microseconds it took.
struct Sample {
    requests: f64,
    messages: f64,
    cpu_us: f64,
}

impl Sample {
    fn of(cell: &Cell, publish_cpu_us: f64) -> Sample {
        let (requests, published) = (cell.requests.answers as f64, cell.published as f64);
        let messages = cell.deliveries.in_steady as f64;
        match cell.variant.transport.waiting() {
            // Here the cost of a publication is found, being that of a request.
            Waiting::InClient => {
                Sample { requests: requests + published, messages, cpu_us: cpu_us(cell) }
            }
            Waiting::PerRequest | Waiting::PerConnection => {
                let cpu_us = (cpu_us(cell) - publish_cpu_us * published).max(0.0);
                Sample { requests, messages, cpu_us }
            }
        }
    }
}

/// CPU of a request and of a message that explain the samples best, none negative: least squares of
/// the relative error. If the samples are too much alike to tell the two apart, requests carry all
/// of it, and messages where there are no requests. Absent without samples.
fn fit(samples: &[Sample]) -> Option<(f64, f64)> {
    let (mut rr, mut rm, mut mm, mut r, mut m) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for sample in samples.iter().filter(|sample| sample.cpu_us > 0.0) {
        let (requests, messages) =
            (sample.requests / sample.cpu_us, sample.messages / sample.cpu_us);
        rr += requests * requests;
        rm += requests * messages;
        mm += messages * messages;
        r += requests;
        m += messages;
    }
    let determinant = rr * mm - rm * rm;
    let apart = determinant > 0.05 * rr * mm;
    let both = ((r * mm - m * rm) / determinant, (m * rr - r * rm) / determinant);
    match both {
        both if apart && both.0 >= 0.0 && both.1 >= 0.0 => Some(both),
        (per_request, _) if rr > 0.0 && !(apart && per_request < 0.0) => Some((r / rr, 0.0)),
        _ => (mm > 0.0).then(|| (0.0, m / mm)),
    }
}

/// Bytes of request heads, without what the browser's profile added to each.
fn minimal_heads(cell: &Cell) -> u64 {
    let more = match cell.workload.headers {
        Headers::Minimal => 0,
        Headers::Browser => cell.requests.sent * Sizes::BROWSER_HEADERS as u64,
    };
    cell.bytes.up.headers.saturating_sub(more)
}

/// The sizes of a run's own requests (with minimal headers), responses and messages. TCP/IP sizes
/// are those of the model, since segments on the loopback interface are not those of a network.
fn sizes(cells: Vec<&Cell>) -> Sizes {
    let transport = cells[0].variant.transport;
    let ours = Sizes::ours(transport, Headers::Minimal);
    let each = |bytes: fn(&Cell) -> u64, count: fn(&Cell) -> u64, otherwise: f64| {
        let counted = cells.iter().filter(|cell| count(cell) > 0);
        median(counted.map(|cell| bytes(cell) as f64 / count(cell) as f64)).unwrap_or(otherwise)
    };
    let object = |cell: &&Cell| {
        let payload = cell.bytes.down.payload as f64 / cell.deliveries.in_steady as f64;
        payload - f64::from(cell.workload.message_bytes)
    };
    Sizes {
        request_head: each(minimal_heads, |cell| cell.requests.sent, ours.request_head),
        response_head: each(
            |cell| cell.bytes.down.headers,
            |cell| cell.requests.answers,
            ours.response_head,
        ),
        envelope: each(|cell| cell.bytes.down.framing, |c| c.requests.answers, ours.envelope),
        message_object: median(cells.iter().map(object)).unwrap_or(ours.message_object),
        ..ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Variant;

    #[test]
    fn the_reference_knows_every_way() {
        let costs = Costs::reference();
        assert!(Transport::ALL.iter().all(|transport| costs.ways.contains_key(transport)));
        let text = toml::to_string(&costs).expect("costs are plain TOML");
        assert_eq!(toml::from_str::<Costs>(&text).expect("what was written can be read"), costs);
    }

    #[test]
    fn a_run_gives_back_the_cpu_that_it_measured() {
        let run = crate::report::fixture::run();
        let costs = Costs::from_run(&run);
        for Variant { transport, .. } in &run.scenario.transports {
            let way = &costs.ways[transport];
            assert_eq!(way.origin, Origin::Run);
            assert_eq!(way.subscribers_max, 60);
            let cells: Vec<&Cell> = cells(&run, *transport).collect();
            let told = |cell: &&Cell| {
                cell.requests.answers as f64 * way.request_cpu_us
                    + cell.deliveries.in_steady as f64 * way.message_cpu_us
                    + cell.published as f64 * costs.publish_cpu_us
            };
            let (told, measured): (f64, f64) =
                (cells.iter().map(told).sum(), cells.iter().map(|cell| cpu_us(cell)).sum());
            assert!((told / measured - 1.0).abs() < 0.2, "{transport}: {told} and {measured}");
            assert!(way.sizes.message_object > 0.0);
        }
    }

    #[test]
    fn what_a_run_did_not_measure_comes_from_the_reference() {
        let mut run = crate::report::fixture::run();
        run.cells.retain(|cell| cell.variant != Transport::LongPolling);
        let costs = Costs::from_run(&run);
        assert_eq!(costs.ways[&Transport::LongPolling].origin, Origin::Reference);
        assert_eq!(costs.ways[&Transport::WebSocket].origin, Origin::Run);
    }

    #[test]
    fn cpu_of_a_run_that_is_too_short_comes_from_the_reference() {
        let mut run = crate::report::fixture::run();
        for cell in &mut run.cells {
            cell.published = 5;
        }
        let costs = Costs::from_run(&run);
        assert!(costs.ways.values().all(|way| way.origin == Origin::Reference));
        assert_eq!(costs.publish_cpu_us, Costs::reference().publish_cpu_us);
    }

    #[test]
    fn sizes_are_those_of_minimal_headers_whatever_the_run_sent() {
        let minimal = crate::report::fixture::run();
        let mut browser = minimal.clone();
        for cell in &mut browser.cells {
            cell.workload.headers = Headers::Browser;
            cell.bytes.up.headers += cell.requests.sent * Sizes::BROWSER_HEADERS as u64;
        }
        let (minimal, browser) = (Costs::from_run(&minimal), Costs::from_run(&browser));
        assert_eq!(minimal.ways, browser.ways);
    }

    #[test]
    fn requests_and_messages_are_told_apart_where_they_can_be() {
        let sample = |requests: f64, messages: f64| Sample {
            requests,
            messages,
            cpu_us: 25.0 * requests + 9.0 * messages,
        };
        let (request_us, message_us) =
            fit(&[sample(60.0, 6.0), sample(60.0, 60.0), sample(60.0, 600.0)]).expect("samples");
        assert!((request_us - 25.0).abs() < 1e-9 && (message_us - 9.0).abs() < 1e-9);
        let (request_us, message_us) =
            fit(&[sample(60.0, 60.0), sample(61.0, 62.0)]).expect("samples");
        assert!((request_us - 34.0).abs() < 0.2 && message_us == 0.0);
        assert_eq!(fit(&[sample(0.0, 60.0)]), Some((0.0, 9.0)));
        assert_eq!(fit(&[]), None);
    }
}
