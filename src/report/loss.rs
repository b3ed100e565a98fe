//! The effect of packet loss on each transport: the deliveries that waited for a retransmission
//! timeout.

use super::document::{Block, Field, Row, Table};
use super::{PointResults, Report, figures};
use crate::units::Unit;

/// How to read the table and the charts over loss.
pub const EXPLANATION: [&str; 4] = [
    "Quiet connections: a segment that is lost is retransmitted when an acknowledgement of later data \
     reveals the loss, or after the retransmission timeout: at least 200 ms and the round trip, \
     doubled for each further loss. On a connection with few messages, or after the last segment of a \
     burst (tail loss), nothing follows, so a lost message waits for the timeout. The median does not \
     change; the highest percentiles are multiples of the timeout.",
    "Polling: a lost request or response delays the messages that wait for the next request as well. \
     For short polling, a timeout shorter than the interval hardly changes the mean, but it raises the \
     highest percentiles.",
    "Shared connections: with HTTP/2 every subscriber of a connection waits for a lost segment, even if \
     its data belongs to another subscriber (head-of-line blocking). The segments of the others also \
     reveal the loss, so that timeouts are rarer than on separate connections.",
    "New connections: no round trip has been measured from which the timeout could be computed. A lost \
     SYN or SYN-ACK costs one second (RFC 6298, section 2.1), which is the 99th percentile of connecting. \
     A client that opens a connection for each poll risks this with every poll.",
];

/// The share of the deliveries that were late by a retransmission timeout or more, with the
/// prediction in brackets; `None` for a run without loss.
pub fn table(report: &Report) -> Option<Block> {
    let lossy: Vec<&PointResults> =
        report.points.iter().filter(|point| point.workload.is_lossy()).collect();
    let figure = &figures::LATENCY_TIMEOUT_SHARE;
    let rows: Vec<Row> = lossy
        .iter()
        .flat_map(|point| {
            point.valid_results().filter_map(|result| {
                let measured = result.summary(figure)?.value;
                let predicted = result.predicted(figure);
                let deliveries = result.latency_us.0.len() as f64;
                let fields = [
                    Some(point.title(report.run)),
                    Some(result.variant.label()),
                    Some(Unit::Share.show(measured)),
                    predicted.map(|share| Unit::Share.show(share)),
                    // Deliveries are lost independently of each other.
                    predicted.map(|share| Unit::Share.show(deviation(share, deliveries))),
                    value(result.summary(&figures::LATENCY_P50).map(|summary| summary.value)),
                    value(result.summary(&figures::LATENCY_P99).map(|summary| summary.value)),
                ];
                let fields = fields.map(|field| Field::new(field.unwrap_or("—".to_owned())));
                Some(Row::Fields(fields.into()))
            })
        })
        .collect();
    let head = [
        "workload",
        "transport",
        "late by a timeout",
        "predicted",
        "± (two standard errors)",
        "median latency",
        "p99 latency",
    ];
    let head = head.map(Field::new).into();
    let table = Table { head, names: 2, is_numeric: true, rows };
    (!table.rows.is_empty()).then_some(Block::Table(table))
}

fn value(seconds: Option<f64>) -> Option<String> {
    seconds.map(|seconds| Unit::Seconds.show(seconds))
}

/// Two standard errors of a share of so many deliveries.
fn deviation(share: f64, deliveries: f64) -> f64 {
    2.0 * (share * (1.0 - share) / deliveries.max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::variant::Transport;

    #[test]
    fn late_deliveries_are_shown_beside_their_prediction() {
        let scenario = fixture::scenario(
            "name = 'l'\ntitle = 'Loss'\ndescription = ''\nsweep = { loss = [0, 1] }\n[workload]\n\
             link = 'packets'",
        );
        let mut run = fixture::run_of(&scenario);
        assert!(table(&Report::new(&fixture::run())).is_none());
        for cell in run.cells.iter_mut().filter(|cell| cell.workload.is_lossy()) {
            if cell.variant == Transport::WebSocket {
                (0..30).for_each(|_| cell.latency_us.record(262_000));
            }
        }
        let markdown = Report::new(&run).markdown();
        let (_, section) = markdown.split_once("## What packet loss does").expect("the section");
        let row = section.lines().find(|line| line.contains("| loss 1 % | WebSocket |"));
        let row = row.unwrap_or_else(|| panic!("{section}"));
        // The loss, the measured share, the predicted share and its error.
        assert!(row.contains("262 ms") && row.matches(" %").count() == 4, "{row}");
        assert!(section.contains("head-of-line blocking"));
    }
}
