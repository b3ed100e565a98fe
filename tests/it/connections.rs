//! Variants that differ in their connections: one for each poll, and TLS below every transport.

use std::process::Command;

use poll_vs_push::measure::Ledger;
use poll_vs_push::run::{Cell, Connections, Deliveries, Requests, Run};
use poll_vs_push::scenario::Workload;
use poll_vs_push::theory::bytes::{ByteRates, Sizes, traffic};
use poll_vs_push::theory::predict;
use poll_vs_push::variant::Extra;
#[cfg(feature = "tls")]
use poll_vs_push::variant::Transport;

use crate::child::PROGRAM;

/// TCP and IP headers of a segment.
const SEGMENT_BYTES: f64 = 52.0;

/// Runs `compare` with a small workload and returns its cells.
fn compare(variants: &str) -> Vec<Cell> {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("run");
    let flags = "--no-calibration --subscribers 12 --topics 3 --rate 10 --poll-interval 100ms \
                 --rtt 10ms --idle 0s --warm-up 300ms --duration 2s --repeats 1 --transports";
    let mut command = Command::new(PROGRAM);
    command.arg("compare").args(flags.split_whitespace()).arg(variants);
    let ended = command.arg("--output").arg(&output).output().expect("it runs");
    let text = String::from_utf8_lossy(&ended.stderr);
    // A busy machine may void the run, but not for what was delivered.
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{text}");
    let json = std::fs::read_to_string(output.join("run.json")).expect("it is there");
    Run::from_json(&json).expect("a good run").cells
}

#[cfg(feature = "tls")]
#[test]
fn every_transport_can_be_compared_over_tls() {
    let names = Transport::ALL.map(|transport| format!("{transport}+tls"));
    for cell in compare(&names.join(",")) {
        let Deliveries { expected, received, .. } = cell.deliveries;
        assert_eq!(received, expected, "{}", cell.variant);
        assert_eq!((cell.connections.opened, cell.connections.resumed), (12, 0));
        assert_eq!(Some(cell.requests.client_total), cell.requests.server_total);
    }
}

#[test]
fn connection_for_each_poll_is_measured_and_its_bytes_are_predicted() {
    let extras: &[&str] = match cfg!(feature = "tls") {
        true => &["", "+tls", "+tls+resumed"],
        false => &[""],
    };
    let names = extras.iter().flat_map(|extra| {
        ["short", "long"].map(|kind| format!("{kind}-polling+new-connection{extra}"))
    });
    for cell in compare(&names.collect::<Vec<_>>().join(",")) {
        let name = cell.variant.to_string();
        let Deliveries { expected, received, .. } = cell.deliveries;
        assert_eq!(received, expected, "{name}");
        assert_eq!(Some(cell.requests.client_total), cell.requests.server_total, "{name}");
        // Each request has a connection, and all but a subscriber's first can resume a session.
        let Connections { opened, resumed, .. } = cell.connections;
        let Requests { sent, client_total, .. } = cell.requests;
        assert!((sent..=client_total + 12).contains(&opened), "{name}: {opened}");
        let may_resume = cell.variant.has(Extra::Resumed);
        let least = if may_resume { sent.saturating_sub(24) } else { 0 };
        let most = if may_resume { opened } else { 0 };
        assert!((least..=most).contains(&resumed), "{name}: {resumed}");
        // With the requests that were sent, so that a slow machine does not matter.
        let rate = cell.published as f64 / cell.steady_s / f64::from(cell.workload.topics);
        let workload = Workload { rate, ..cell.workload.clone() };
        let sizes = Sizes::ours(cell.variant.transport, workload.headers);
        let predicted = traffic(cell.variant, &workload, &sizes).expect("a model");
        let requests_s = predict(cell.variant, &workload).expect("one").requests_per_subscriber_s;
        let per_request = |flow: ByteRates| [flow.headers, flow.tcp_ip].map(|it| it / requests_s);
        let measured = |ledger: Ledger| {
            [ledger.headers, ledger.tcp_ip].map(|it| it as f64 / cell.requests.sent as f64)
        };
        for (measured, predicted) in [
            (measured(cell.bytes.up), per_request(predicted.up)),
            (measured(cell.bytes.down), per_request(predicted.down)),
        ] {
            // Some responses are on their way; the simulated link separates acknowledgements.
            for ((measured, predicted), allowed) in
                measured.into_iter().zip(predicted).zip([20.0, 3.0 * SEGMENT_BYTES])
            {
                let off = (measured - predicted).abs();
                assert!(off <= allowed, "{name}: {measured}, predicted {predicted}");
            }
        }
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn variants_with_tls_require_the_feature() {
    let mut command = Command::new(PROGRAM);
    let ended = command.args(["compare", "--transports", "websocket+tls"]).output();
    let ended = ended.expect("it runs");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{text}");
    assert!(
        text.contains("--transports websocket+tls: this program was built without TLS"),
        "{text}"
    );
}
