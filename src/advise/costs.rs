//! The cost of one request, message and subscriber to the server, from a run or from the reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::prices::PriceList;
use crate::run::{Cell, ERROR_SHARE_MAX, Run};
use crate::scenario::Headers;
use crate::statistics;
use crate::theory::bytes::Sizes;
use crate::validity::void_reasons;
use crate::variant::{Transport, Waiting};

/// The costs of the transports on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The machine and the date of the measurement.
    pub machine: String,
    /// Server CPU of accepting one publication, microseconds.
    pub publish_cpu_us: f64,
    /// Transports that were not measured are absent.
    #[serde(alias = "ways")]
    pub transports: BTreeMap<Transport, TransportCosts>,
    /// The prices for [`Cost::Money`](super::Cost::Money); not part of what was measured.
    #[serde(skip)]
    pub prices: Option<PriceList>,
}

/// The costs of one transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportCosts {
    pub origin: CostSource,
    /// Server CPU of one request with its response, microseconds; 0 for push.
    pub request_cpu_us: f64,
    /// Server CPU of one message, microseconds; for polling, what a message adds to a response. 0
    /// if the run cannot separate it from the requests.
    pub message_cpu_us: f64,
    /// Memory per idle subscriber, bytes: the growth of the server's resident memory until all
    /// subscribers are connected and nothing has been published, divided by their number. Kernel
    /// memory is not included.
    pub memory_bytes: f64,
    /// The largest number of subscribers measured.
    pub subscribers_max: u32,
    /// The largest number of events per second measured.
    pub events_s_max: f64,
    pub sizes: Sizes,
}

/// The source of the costs of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostSource {
    /// The given run.
    Run,
    /// The built-in reference.
    Reference,
}

impl Costs {
    /// The built-in costs: those of the recorded default run.
    pub fn reference() -> Costs {
        let mut costs: Costs =
            toml::from_str(include_str!("reference.toml")).expect("a test reads this file");
        costs.transports.values_mut().for_each(|own| own.origin = CostSource::Reference);
        costs
    }

    /// The costs as a TOML file, with four significant digits.
    pub fn to_toml(&self) -> String {
        let mut table = toml::Table::try_from(self).expect("costs are plain TOML");
        table.iter_mut().for_each(|(_, value)| round(value));
        table.to_string()
    }

    /// The costs that `run` measured, with those of the reference for transports that it did not
    /// measure, whose CPU time is unknown, or for which it was too short.
    ///
    /// A publication is one request with its response, and is assumed to cost as much as a short
    /// poll.
    pub fn from_run(run: &Run) -> Costs {
        let mut costs = Costs::reference();
        let flaw = if run.tool.profile == "release" { "" } else { ", a debug build" };
        let day = run.started_at.strftime("%Y-%m-%d");
        let (cpu, cores) = (&run.machine.cpu, run.machine.cores);
        costs.machine = format!("{cpu}, {cores} cores, measured on {day}{flaw}");
        if let Some(polls) = TransportCosts::from_run(run, Transport::ShortPolling, 0.0) {
            costs.publish_cpu_us = polls.request_cpu_us;
        }
        for transport in Transport::ALL {
            if let Some(measured) = TransportCosts::from_run(run, transport, costs.publish_cpu_us) {
                costs.transports.insert(transport, measured);
            }
        }
        costs
    }
}

/// Rounds every number in `value` to four significant digits.
fn round(value: &mut toml::Value) {
    match value {
        toml::Value::Float(number) => {
            *number = format!("{number:.3e}").parse().expect("a number as it was written");
        }
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| round(value)),
        _ => {}
    }
}

/// The cells that count and whose server reported its CPU and memory.
fn cells(run: &Run, transport: Transport) -> impl Iterator<Item = &Cell> {
    run.cells.iter().filter(move |cell| {
        let is_usable = cell.variant == transport && cell.server.is_some() && events(cell) > 0;
        is_usable && void_reasons(run, cell).is_empty()
    })
}

/// The events that the server processes for subscribers: responses, or messages pushed.
fn events(cell: &Cell) -> u64 {
    match cell.variant.transport.waiting() {
        Waiting::InClient | Waiting::PerRequest => cell.requests.answers,
        Waiting::PerConnection => cell.deliveries.in_steady,
    }
}

/// CPU microseconds of the steady state beyond those of an unused server.
fn cpu_us(cell: &Cell) -> f64 {
    cell.server.unwrap_or_default().cpu_caused_s(cell.steady_s) * 1e6
}

/// True if the CPU time of these cells exceeds its error by enough to be used.
fn is_cpu_resolved<'a>(run: &Run, cells: impl Iterator<Item = &'a Cell>) -> bool {
    let (mut total_s, mut squares) = (0.0, 0.0);
    for cell in cells {
        total_s += cpu_us(cell) / 1e6;
        squares += cell.server_cpu_error_s(run.server.cpu_clock_s()).unwrap_or(0.0).powi(2);
    }
    squares.sqrt() <= ERROR_SHARE_MAX * total_s
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    statistics::median(&values.filter(|value| value.is_finite()).collect::<Vec<f64>>())
}

impl TransportCosts {
    fn from_run(run: &Run, transport: Transport, publish_cpu_us: f64) -> Option<TransportCosts> {
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
        Some(TransportCosts {
            origin: CostSource::Run,
            request_cpu_us,
            message_cpu_us,
            memory_bytes: median(cells().map(resident))?,
            subscribers_max: cells().map(|cell| cell.workload.subscribers).max()?,
            events_s_max: cells().map(events_s).fold(0.0, f64::max),
            sizes: sizes(cells().collect()),
        })
    }
}

/// The events that the server processed in a cell, and the CPU time that it used.
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
            // A publication is assumed to cost as much as a short poll, which is determined here.
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

/// CPU of a request and of a message, neither negative, by least squares of the relative error. If
/// the samples are too similar to separate the two, requests account for all of it, or messages if
/// there are no requests. `None` without samples.
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

/// Bytes of request heads, less what the browser profile added to each.
fn minimal_heads(cell: &Cell) -> u64 {
    let more = match cell.workload.headers {
        Headers::Minimal => 0,
        Headers::Browser => cell.requests.sent * Sizes::BROWSER_HEADERS as u64,
    };
    cell.bytes.up.headers.saturating_sub(more)
}

/// The sizes of the run's requests (with minimal headers), responses and messages. TCP/IP sizes are
/// those of the model, since segments on the loopback interface differ from those of a network.
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
    fn the_reference_has_every_transport() {
        let costs = Costs::reference();
        assert!(Transport::ALL.iter().all(|transport| costs.transports.contains_key(transport)));
        let text = toml::to_string(&costs).expect("costs are plain TOML");
        assert_eq!(toml::from_str::<Costs>(&text).expect("what was written can be read"), costs);
    }

    #[test]
    fn costs_of_a_run_reproduce_its_cpu_time() {
        let run = crate::report::fixture::run();
        let costs = Costs::from_run(&run);
        for Variant { transport, .. } in &run.scenario.transports {
            let own = &costs.transports[transport];
            assert_eq!(own.origin, CostSource::Run);
            assert_eq!(own.subscribers_max, 60);
            let cells: Vec<&Cell> = cells(&run, *transport).collect();
            let told = |cell: &&Cell| {
                cell.requests.answers as f64 * own.request_cpu_us
                    + cell.deliveries.in_steady as f64 * own.message_cpu_us
                    + cell.published as f64 * costs.publish_cpu_us
            };
            let (told, measured): (f64, f64) =
                (cells.iter().map(told).sum(), cells.iter().map(|cell| cpu_us(cell)).sum());
            assert!((told / measured - 1.0).abs() < 0.2, "{transport}: {told} and {measured}");
            assert!(own.sizes.message_object > 0.0);
        }
    }

    #[test]
    fn transports_not_measured_come_from_the_reference() {
        let mut run = crate::report::fixture::run();
        run.cells.retain(|cell| cell.variant != Transport::LongPolling);
        let costs = Costs::from_run(&run);
        assert_eq!(costs.transports[&Transport::LongPolling].origin, CostSource::Reference);
        assert_eq!(costs.transports[&Transport::WebSocket].origin, CostSource::Run);
    }

    #[test]
    fn cpu_of_a_run_that_is_too_short_comes_from_the_reference() {
        let mut run = crate::report::fixture::run();
        for cell in &mut run.cells {
            cell.published = 5;
        }
        let costs = Costs::from_run(&run);
        assert!(costs.transports.values().all(|costs| costs.origin == CostSource::Reference));
        assert_eq!(costs.publish_cpu_us, Costs::reference().publish_cpu_us);
    }

    #[test]
    fn sizes_do_not_depend_on_the_header_profile_of_the_run() {
        let minimal = crate::report::fixture::run();
        let mut browser = minimal.clone();
        for cell in &mut browser.cells {
            cell.workload.headers = Headers::Browser;
            cell.bytes.up.headers += cell.requests.sent * Sizes::BROWSER_HEADERS as u64;
        }
        let (minimal, browser) = (Costs::from_run(&minimal), Costs::from_run(&browser));
        assert_eq!(minimal.transports, browser.transports);
    }

    #[test]
    fn costs_of_requests_and_messages_are_separated_where_possible() {
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
