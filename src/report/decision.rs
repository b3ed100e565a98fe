//! Which way is cheapest where: from this run's costs and the model, over message rate and the
//! staleness that readers tolerate.
//!
//! A way that polls at an interval gets the interval that just meets the staleness; any other way
//! is out where it cannot meet it. Bytes come from the model; CPU from what the run measured for a
//! request and for a message, so far from the measured workload it is an extrapolation.

use std::time::Duration;

use crate::load::scenario::Workload;
use crate::theory::predict;
use crate::transport::Transport;

use super::figures::{self, Expected};
use super::{Point, Report};

/// What is to be cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// CPU seconds of the server per second and subscriber.
    ServerCpu,
    /// Bytes per second and subscriber, both directions.
    Bytes,
}

/// The next way must cost more by this factor before the cheapest is called clearly so.
pub const CLEAR_MARGIN: f64 = 1.1;

/// The cheapest way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub transport: Transport,
    /// True if the next way costs more by [`CLEAR_MARGIN`] at least.
    pub is_clear: bool,
}

/// A way with all that its cost depends on.
struct Candidate {
    transport: Transport,
    /// CPU seconds per request and per message, if the run can tell them apart.
    cpu: Option<(f64, f64)>,
    has_interval: bool,
}

/// The ways of a report, ready to be asked.
pub struct Decision<'a> {
    workload: &'a Workload,
    candidates: Vec<Candidate>,
}

impl<'a> Decision<'a> {
    /// From the report's first case; absent if fewer than two ways have results and a prediction,
    /// or if the server is not ours and its costs are unknown.
    pub fn of(report: &'a Report) -> Option<Self> {
        let first = report.points.first()?;
        let points: Vec<&Point> =
            report.points.iter().filter(|point| point.name == first.name).collect();
        let has_results = |transport: Transport| {
            let mut ways = points.iter().filter_map(|point| point.way(transport));
            ways.any(|way| !way.is_void())
        };
        let candidate = |transport: Transport| {
            if !has_results(transport) {
                return None;
            }
            Some(Candidate {
                transport,
                cpu: fit(&cpu_samples(&points, transport)),
                has_interval: has_interval(transport, first.workload)?,
            })
        };
        let candidates: Vec<Candidate> = Transport::ALL.into_iter().filter_map(candidate).collect();
        let is_ours = report.run.server.is_child;
        let decision = Decision { workload: first.workload, candidates };
        (decision.candidates.len() >= 2 && is_ours).then_some(decision)
    }

    /// True if the run knows this cost of every way: CPU takes a sweep over the message rate.
    pub fn knows(&self, cost: Cost) -> bool {
        match cost {
            Cost::ServerCpu => self.candidates.iter().all(|candidate| candidate.cpu.is_some()),
            Cost::Bytes => true,
        }
    }

    /// The cheapest way by `cost` for messages at `rate` per second of which none may be older
    /// than `staleness_s` on arrival; absent if no way is fast enough.
    pub fn cheapest(&self, cost: Cost, rate: f64, staleness_s: f64) -> Option<Verdict> {
        let priced = self.candidates.iter().filter_map(|candidate| {
            let price = self.price(candidate, cost, rate, staleness_s)?;
            Some((price, candidate.transport))
        });
        let mut priced: Vec<(f64, Transport)> = priced.collect();
        priced.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (price, transport) = *priced.first()?;
        let is_clear = priced.get(1).is_none_or(|(next, _)| *next > price * CLEAR_MARGIN);
        Some(Verdict { transport, is_clear })
    }

    fn price(&self, candidate: &Candidate, cost: Cost, rate: f64, staleness_s: f64) -> Option<f64> {
        let workload = Workload { rate, ..self.workload.clone() };
        let workload = match candidate.has_interval {
            true => with_interval_for(candidate.transport, workload, staleness_s)?,
            false => workload,
        };
        let expected = Expected::of(candidate.transport, &workload, true)?;
        let fast_enough = expected.prediction.latency_max_s() <= staleness_s * (1.0 + 1e-6);
        let price = match cost {
            Cost::Bytes => expected.traffic?.total(),
            Cost::ServerCpu => {
                let (per_request, per_message) = candidate.cpu?;
                per_request * expected.prediction.requests_per_subscriber_s + per_message * rate
            }
        };
        fast_enough.then_some(price)
    }
}

/// True if the way's latency hangs on the poll interval.
fn has_interval(transport: Transport, workload: &Workload) -> Option<bool> {
    let latency_max_s = |factor: u32| {
        let poll_interval = workload.poll_interval * factor;
        let workload = Workload { poll_interval, ..workload.clone() };
        Some(predict(transport, &workload)?.latency_max_s())
    };
    Some(latency_max_s(1)? != latency_max_s(2)?)
}

/// The workload with the longest interval whose latency stays within `staleness_s`.
fn with_interval_for(
    transport: Transport,
    workload: Workload,
    staleness_s: f64,
) -> Option<Workload> {
    let interval_s = workload.poll_interval.as_secs_f64();
    let fixed_s = predict(transport, &workload)?.latency_max_s() - interval_s;
    let poll_interval = Duration::try_from_secs_f64(staleness_s - fixed_s).ok()?;
    (!poll_interval.is_zero()).then_some(Workload { poll_interval, ..workload })
}

/// Requests, messages and CPU, each per second, at every point and repeat.
fn cpu_samples(points: &[&Point], transport: Transport) -> Vec<(f64, f64, f64)> {
    let ways = points.iter().filter_map(|point| point.way(transport));
    let cells = ways.flat_map(|way| &way.cells);
    cells
        .filter_map(|cell| {
            let cpu = figures::CPU_BUSY.of_cell(cell).filter(|cpu| *cpu > 0.0)?;
            let rate = |count: u64| count as f64 / cell.steady_s;
            Some((rate(cell.requests.sent), rate(cell.deliveries.steady), cpu))
        })
        .collect()
}

/// Costs per request and per message that explain the samples best, none negative: least squares
/// of the relative error. Absent if the samples are too much alike to tell the two apart.
fn fit(samples: &[(f64, f64, f64)]) -> Option<(f64, f64)> {
    let (mut rr, mut rm, mut mm, mut r, mut m) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (requests, messages, cpu) in samples {
        let (requests, messages) = (requests / cpu, messages / cpu);
        rr += requests * requests;
        rm += requests * messages;
        mm += messages * messages;
        r += requests;
        m += messages;
    }
    let determinant = rr * mm - rm * rm;
    let both = ((r * mm - m * rm) / determinant, (m * rr - r * rm) / determinant);
    if rr == 0.0 || mm == 0.0 {
        return (mm > 0.0).then(|| (0.0, m / mm));
    }
    match both {
        _ if determinant < 0.05 * rr * mm => None,
        (_, per_message) if per_message < 0.0 => Some((r / rr, 0.0)),
        (per_request, _) if per_request < 0.0 => Some((0.0, m / mm)),
        _ => Some(both),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn costs_are_told_apart_by_a_sweep() {
        let sample =
            |requests: f64, messages: f64| (requests, messages, 25e-6 * requests + 9e-6 * messages);
        let (per_request, per_message) =
            fit(&[sample(60.0, 6.0), sample(60.0, 60.0), sample(60.0, 600.0)]).unwrap();
        assert!((per_request - 25e-6).abs() < 1e-9 && (per_message - 9e-6).abs() < 1e-9);
        assert_eq!(fit(&[sample(60.0, 60.0), sample(61.0, 62.0)]), None);
        assert_eq!(fit(&[]), None);
    }

    #[test]
    fn staleness_decides_between_polling_and_push() {
        let run = fixture::sweep();
        let report = Report::new(&run);
        let decision = Decision::of(&report).unwrap();
        for cost in [Cost::ServerCpu, Cost::Bytes] {
            let at = |rate, staleness_s| decision.cheapest(cost, rate, staleness_s);
            let clearly = |transport| Some(Verdict { transport, is_clear: true });
            assert_eq!(at(1.0, 0.01), None, "nothing is faster than a transit");
            assert_eq!(at(0.1, 0.1), clearly(Transport::WebSocket));
        }
        let bytes = decision.cheapest(Cost::Bytes, 10.0, 600.0);
        assert_eq!(bytes, Some(Verdict { transport: Transport::ShortPolling, is_clear: true }));
    }
}
