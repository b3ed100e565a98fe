//! Compares the packet link with the in-process link, and with its configured parameters.

use super::figures;
use super::prose::list;
use super::{PointResults, Report, VariantResult};
use crate::measure::Histogram;
use crate::run::{Cell, LinkUse};
use crate::scenario::{Link, Workload};
use crate::theory::bytes::Sizes;
use crate::units::{Unit, significant, thousands};
use crate::variant::Transport;

/// Largest difference of the mean latencies over the two links.
const LATENCY_TOLERANCE: f64 = 0.02;
/// Largest difference of the bytes of TCP/IP from their prediction.
const BYTES_TOLERANCE: f64 = 0.03;
/// Standard deviations within which a number of lost packets must lie.
const DEVIATIONS_MAX: f64 = 3.5;
/// Transports that need one round trip for TCP and one for the request or the upgrade.
const TWO_ROUND_TRIPS: [Transport; 3] = [Transport::WebSocket, Transport::Sse, Transport::Ndjson];

/// The checks as sentences; empty for a run without a packet link.
pub fn sentences(report: &Report) -> Vec<String> {
    let points: Vec<&PointResults> =
        report.points.iter().filter(|point| point.workload.link == Link::Packets).collect();
    let intact = || points.iter().copied().filter(|point| !point.workload.has_network());
    let latencies = intact().filter_map(|point| {
        let in_process = counterpart(report, point)?;
        differences(point, LATENCY_TOLERANCE, |result| {
            let other = in_process.result(result.variant)?;
            let mean_s = |of: &VariantResult| Some(of.summary(&figures::LATENCY_MEAN)?.value);
            Some((mean_s(result)?, mean_s(other)?, Unit::Seconds))
        })
        .map(|text| format!("Mean latency over the packet link and the in-process link: {text}"))
    });
    let bytes = intact().filter_map(|point| {
        let figure = &figures::BYTES_TCP_IP;
        differences(point, BYTES_TOLERANCE, |result| {
            Some((result.summary(figure)?.value, result.predicted(figure)?, Unit::Bytes))
        })
        .map(|text| format!("TCP/IP bytes per message, measured and predicted: {text}"))
    });
    let segments = intact().filter_map(|point| segments(point, counterpart(report, point)));
    let round_trips = intact().filter_map(round_trips);
    let first = latencies.chain(bytes).chain(segments).chain(round_trips);
    first.chain(losses(&points)).chain(transfers(&points)).chain(cost(&points)).collect()
}

/// The point that differs from `point` in the link alone.
fn counterpart<'a>(report: &'a Report, point: &PointResults) -> Option<&'a PointResults<'a>> {
    let same = Workload { link: Link::InProcess, ..point.workload.clone() };
    report.points.iter().find(|other| *other.workload == same)
}

/// Two values of each transport with their difference, and whether all lie within `tolerance`.
fn differences(
    point: &PointResults,
    tolerance: f64,
    values: impl Fn(&VariantResult) -> Option<(f64, f64, Unit)>,
) -> Option<String> {
    let compared: Vec<(String, f64)> = point
        .valid_results()
        .filter_map(|result| {
            let (value, reference, unit) = values(result)?;
            let difference = value / reference - 1.0;
            let percent = format!("{:+.1} %", 100.0 * difference).replace('-', "−");
            let label = result.variant.label();
            let [value, reference] = [value, reference].map(|value| unit.show(value));
            Some((format!("{label} {value} and {reference} ({percent})"), difference))
        })
        .collect();
    let outside = compared.iter().filter(|(_, difference)| difference.abs() > tolerance).count();
    let all = compared.len();
    let tolerance = 100.0 * tolerance;
    let verdict = match outside {
        _ if all == 0 => return None,
        0 => format!("all within {tolerance} %"),
        _ => format!("{} of {all} within {tolerance} %", all - outside),
    };
    Some(format!("{}; {verdict}.", list(compared.into_iter().map(|(text, _)| text))))
}

/// Segments of a long poll's exchange.
fn segments(point: &PointResults, in_process: Option<&PointResults>) -> Option<String> {
    let of = |point: &PointResults| {
        let result = point.valid_results().find(|of| of.variant == Transport::LongPolling)?;
        let sum =
            |count: fn(&Cell) -> u64| result.cells.iter().map(|cell| count(cell)).sum::<u64>();
        let bytes = sum(|cell| cell.bytes.up.tcp_ip + cell.bytes.down.tcp_ip);
        let head = Sizes::ours(Transport::LongPolling, point.workload.headers).segment_head;
        let requests = sum(|cell| cell.requests.sent);
        (requests > 0).then(|| format!("{:.2}", bytes as f64 / head / requests as f64))
    };
    let other = in_process
        .and_then(of)
        .map_or(String::new(), |segments| format!(", and {segments} over the in-process link"));
    Some(format!("A long poll and its response took {} segments{other}.", of(point)?))
}

/// Round trips from the start of a connect to the first response.
fn round_trips(point: &PointResults) -> Option<String> {
    let rtt_s = point.workload.mean_rtt().as_secs_f64();
    let mut ready = Histogram::new();
    let counted = |result: &&VariantResult| {
        TWO_ROUND_TRIPS.iter().any(|transport| result.variant == *transport)
    };
    let cells = point.valid_results().filter(counted).flat_map(|result| &result.cells);
    cells.for_each(|cell| ready.merge(&cell.connections.ready_us));
    if ready.0.is_empty() || rtt_s == 0.0 {
        return None;
    }
    // All subscribers connect at the same time; the fastest tenth does not queue for the server.
    let round_trips = |quantile| ready.0.value_at_quantile(quantile) as f64 / 1e6 / rtt_s;
    Some(format!(
        "Connecting and the first response took {:.2} round trips (10th percentile of {} push \
         connections; minimum {:.2}): one for TCP and one for the request.",
        round_trips(0.1),
        thousands(ready.0.len() as i64),
        ready.0.min() as f64 / 1e6 / rtt_s,
    ))
}

/// The valid cells of the points, with the counters of their link.
fn cells<'a>(points: &[&'a PointResults]) -> impl Iterator<Item = (&'a Cell, &'a LinkUse)> {
    let results: Vec<&VariantResult> =
        points.iter().flat_map(|point| point.valid_results()).collect();
    let cells = results.into_iter().flat_map(|result| result.cells.iter().copied());
    cells.filter_map(|cell| Some((cell, cell.link.as_ref()?)))
}

/// Numbers of lost packets against the binomial distribution, for independent losses.
fn losses(points: &[&PointResults]) -> Option<String> {
    let deviations: Vec<f64> = cells(points)
        .filter(|(cell, _)| cell.workload.is_lossy() && cell.workload.loss_burst.is_zero())
        .filter_map(|(cell, link)| {
            let packets = link.up.packets + link.down.packets;
            let exposed = (packets - link.up.overflowed - link.down.overflowed) as f64;
            let share = cell.workload.packet_loss().share;
            let deviation = (exposed * share * (1.0 - share)).sqrt();
            let lost = (link.up.lost + link.down.lost) as f64;
            (deviation > 0.0).then(|| (lost - exposed * share).abs() / deviation)
        })
        .collect();
    let within = deviations.iter().filter(|deviation| **deviation <= DEVIATIONS_MAX).count();
    let largest = deviations.iter().copied().reduce(f64::max)?;
    Some(format!(
        "The number of lost packets lies within {DEVIATIONS_MAX} standard deviations of the binomial \
         distribution in {within} of {} cells with independent losses (largest: {largest:.1}).",
        deviations.len()
    ))
}

/// The fastest delivery over a limited bandwidth against the time that its bytes need.
fn transfers(points: &[&PointResults]) -> Vec<String> {
    let limited = points.iter().filter_map(|point| {
        let workload = point.workload;
        let bit_s = 1_000.0 * f64::from(workload.bandwidth_down_kbit?);
        let transmission_s = 8.0 * f64::from(workload.message_bytes) / bit_s;
        let least_s = workload.rtt.as_secs_f64() / 2.0 + transmission_s;
        let fastest = cells(&[*point]).map(|(cell, _)| cell.latency_us.0.min()).min()?;
        let fastest_s = fastest as f64 / 1e6;
        let sooner = if fastest_s < least_s { ", sooner than possible" } else { "" };
        Some(format!(
            "Messages of {} need at least {} at {} kbit/s and {} one way; the fastest took \
             {}{sooner}.",
            Unit::Bytes.show(workload.message_bytes.into()),
            Unit::Seconds.show(least_s),
            thousands(workload.bandwidth_down_kbit?.into()),
            Unit::Seconds.show(workload.rtt.as_secs_f64() / 2.0),
            Unit::Seconds.show(fastest_s),
        ))
    });
    limited.collect()
}

/// The CPU time of the link itself, and the lateness of its packets.
fn cost(points: &[&PointResults]) -> Option<String> {
    let busy = cells(points).filter_map(|(cell, _)| figures::LINK_CPU.of_cell(cell));
    let late_us = cells(points).map(|(_, link)| link.late_us.0.value_at_quantile(0.99)).max();
    let missed: u64 = cells(points).map(|(_, link)| link.missed).sum();
    Some(format!(
        "The link used at most {} of a core; in every cell 99 % of the packets were at most {} late, \
         and {} packets were dropped because the link was too slow.",
        significant(busy.reduce(f64::max)?),
        Unit::Seconds.show(late_us? as f64 / 1e6),
        thousands(missed as i64),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_link::PathCounts;
    use crate::report::fixture;

    #[test]
    fn both_links_are_compared_and_the_packet_link_is_held_against_its_parameters() {
        let scenario = fixture::scenario(
            "name = 'l'\ntitle = 'Links'\ndescription = ''\n[[case]]\nname = 'in-process'\n\
             [[case]]\nname = 'packets'\nworkload = { link = 'packets' }\n[[case]]\nname = \
             'lossy'\nworkload = { link = 'packets', loss = 1, bandwidth_down_kbit = 100 }",
        );
        let mut run = fixture::run_of(&scenario);
        assert!(sentences(&Report::new(&fixture::run())).is_empty(), "there is no packet link");
        for cell in run.cells.iter_mut().filter(|cell| cell.workload.link == Link::Packets) {
            let lost = if cell.workload.is_lossy() { 110 } else { 0 };
            let packets = PathCounts { packets: 10_000, lost, overflowed: 0 };
            let mut late_us = Histogram::new();
            (0..2_000).for_each(|_| late_us.record(80));
            cell.link =
                Some(LinkUse { cpu_s: 0.7, up: packets, down: packets, missed: 0, late_us });
        }
        let lines = sentences(&Report::new(&run));
        let text = lines.join("\n");
        assert!(text.starts_with("Mean latency over the packet link and the in-proc"), "{text}");
        assert!(text.contains("(+0.0 %); all within 2 %."), "{text}");
        assert!(text.contains("A long poll and its response took 3.00 segments, and 3."), "{text}");
        assert!(text.contains("deviations of the binomial distribution in 9 of 9 cells"), "{text}");
        assert!(text.contains("(largest: 1.4)"), "{text}");
        assert!(text.contains("sooner than possible"), "{text}");
        assert!(text.contains("at most 0.1 of a core"), "{text}");
    }
}
