//! How figures are derived from a cell or a prediction: what several of them have in common.

use std::sync::LazyLock;

use super::Expected;
use crate::measure::{Histogram, Ledger};
use crate::packet_link::PathCounts;
use crate::run::{Cell, Recovery};
use crate::scenario::Workload;
use crate::theory::bytes::ByteRates;
use crate::theory::loss::TIMEOUT_MIN_S;
use crate::theory::predict;

pub fn latency(cell: &Cell) -> &Histogram {
    &cell.latency_us
}

pub fn ready(cell: &Cell) -> &Histogram {
    &cell.connections.ready_us
}

pub fn rtt(cell: &Cell) -> &Histogram {
    cell.network.as_ref().map_or(&NONE, |network| network.subscribers.best_us())
}

pub fn away(cell: &Cell) -> &Histogram {
    recovery(cell, |recovery| &recovery.away_us)
}

pub fn back(cell: &Cell) -> &Histogram {
    recovery(cell, |recovery| &recovery.back_us)
}

/// An empty histogram, for figures that were not measured.
pub static NONE: LazyLock<Histogram> = LazyLock::new(Histogram::new);

/// A histogram of the restart, empty if there was none.
pub fn recovery(cell: &Cell, histogram: fn(&Recovery) -> &Histogram) -> &Histogram {
    cell.recovery.as_ref().map_or(&NONE, histogram)
}

pub fn quantile_s(expected: &Expected, p: f64) -> Option<f64> {
    let prediction = &expected.prediction;
    prediction.knows_quantiles().then(|| prediction.latency_quantile_s(p))
}

/// Share of the deliveries that took longer than the one-way delay and the shortest retransmission
/// timeout; absent without loss, and where a delivery may take as long without a timeout.
pub fn timeout_share(cell: &Cell) -> Option<f64> {
    if !cell.workload.is_lossy() {
        return None;
    }
    let lossless = Workload { loss: 0.0, ..cell.workload.clone() };
    let late_s = lossless.mean_rtt().as_secs_f64() / 2.0 + TIMEOUT_MIN_S;
    if predict(cell.variant, &lossless)?.latency_max_s() >= late_s {
        return None;
    }
    let latencies = &cell.latency_us.0;
    let is_late = |micros: u64| micros as f64 / 1e6 >= late_s;
    let late = latencies.iter_recorded().filter(|value| is_late(value.value_iterated_to()));
    over(late.map(|value| value.count_at_value()).sum::<u64>() as f64, latencies.len() as f64)
}

pub fn link_packets(cell: &Cell, count: fn(&PathCounts) -> u64) -> Option<f64> {
    let link = cell.link.as_ref()?;
    Some((count(&link.up) + count(&link.down)) as f64)
}

pub fn link_share(cell: &Cell, count: fn(&PathCounts) -> u64) -> Option<f64> {
    over(link_packets(cell, count)?, link_packets(cell, |packets| packets.packets)?)
}

pub fn part(cell: &Cell, kind: fn(&Ledger) -> u64) -> Option<f64> {
    per_message(cell, (kind(&cell.bytes.up) + kind(&cell.bytes.down)) as f64)
}

pub fn expected_part(expected: &Expected, kind: fn(&ByteRates) -> f64) -> Option<f64> {
    let traffic = expected.traffic?;
    Some((kind(&traffic.up) + kind(&traffic.down)) / expected.rate)
}

pub fn per_message(cell: &Cell, amount: f64) -> Option<f64> {
    over(amount, cell.deliveries.in_steady as f64)
}

pub fn over(amount: f64, by: f64) -> Option<f64> {
    (by > 0.0).then(|| amount / by)
}
