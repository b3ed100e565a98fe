//! `compare --target` through a relay that changes what passes, and over IPv6.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use poll_vs_push::run::Run;
use poll_vs_push::variant::Transport;
use tokio::process::Command;

use crate::child::{ChildServer, PROGRAM};
use crate::support::relay::{Behaviour, Relay};
use crate::support::soon;

const VOID: i32 = 3;

/// A run of a few seconds against the server at `url`.
async fn measure(url: &str, transports: &str, directory: &Path) -> (Output, Run) {
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--target", url, "--transports", transports, "--no-calibration"]);
    command.args(["--subscribers", "6", "--topics", "2", "--rate", "20", "--rtt", "4ms"]);
    command.args(["--poll-interval", "100ms", "--idle", "300ms", "--warm-up", "200ms"]);
    command.args(["--duration", "1s", "--repeats", "1", "--output"]).arg(directory);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = soon(command.output()).await.expect("it runs");
    let json = std::fs::read_to_string(directory.join("run.json"));
    let json = json.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output, Run::from_json(&json).expect("valid results"))
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

#[track_caller]
fn delivered_everything_once(run: &Run, transports: usize) {
    assert_eq!((run.failed.len(), run.cells.len()), (0, transports), "{:?}", run.failed);
    for cell in &run.cells {
        let deliveries = cell.deliveries;
        assert!(deliveries.expected > 0, "{}", cell.variant);
        let wrong = (deliveries.lost, deliveries.duplicated, deliveries.reordered);
        assert_eq!(wrong, (0, 0, 0), "{}", cell.variant);
        assert_eq!(Some(cell.requests.client_total), cell.requests.server_total);
    }
}

/// Another server is at the same address outside of the path of the URL.
#[tokio::test(flavor = "multi_thread")]
async fn path_of_the_target_is_part_of_every_request() {
    let server = ChildServer::start(&[]);
    let relay = Relay::to(server.address, Behaviour::StripBase).await;
    let directory = tempfile::tempdir().expect("a directory");
    let all = Transport::ALL.map(Transport::name).join(",");
    let base = format!("http://{}/base/", relay.address);
    let (_, run) = measure(&base, &all, directory.path()).await;
    delivered_everything_once(&run, Transport::ALL.len());
    assert_eq!(relay.interventions(), 0, "a request was outside of the path");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_at_their_reuse_are_opened_again_and_counted() {
    let server = ChildServer::start(&[]);
    let relay = Relay::to(server.address, Behaviour::CloseReusedPolls).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (output, run) = measure(&url(relay.address), "short-polling", directory.path()).await;
    assert!(matches!(output.status.code(), Some(0 | VOID)), "{}", error(&output));
    delivered_everything_once(&run, 1);
    let repeated = run.cells[0].requests.repeated;
    assert!(repeated > 0 && repeated <= relay.interventions(), "{repeated}");
    let report = std::fs::read_to_string(directory.path().join("report.md")).expect("a report");
    assert!(report.contains("requests were repeated because the server had closed"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publication_on_a_closed_connection_is_not_repeated_and_fails_only_its_cell() {
    let server = ChildServer::start(&[]);
    let relay = Relay::to(server.address, Behaviour::CloseOnePublication).await;
    let directory = tempfile::tempdir().expect("a directory");
    let transports = "websocket,sse";
    let (output, run) = measure(&url(relay.address), transports, directory.path()).await;
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert_eq!((run.failed.len(), run.cells.len()), (1, 1));
    let why = &run.failed[0].error;
    assert!(why.contains("not repeated because they may have taken effect"), "{why}");
    assert!(directory.path().join("report.html").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_reported_as_duplicates_only() {
    let server = ChildServer::start(&[]);
    let relay = Relay::to(server.address, Behaviour::Double).await;
    let directory = tempfile::tempdir().expect("a directory");
    let transports = "websocket,sse,ndjson,socketio-websocket";
    let (output, run) = measure(&url(relay.address), transports, directory.path()).await;
    assert_eq!(output.status.code(), Some(VOID), "{}", error(&output));
    assert_eq!(run.cells.len(), 4, "{:?}", run.failed);
    for cell in &run.cells {
        let deliveries = cell.deliveries;
        assert!(deliveries.duplicated > 0, "{}: nothing was doubled", cell.variant);
        assert_eq!((deliveries.lost, deliveries.unknown), (0, 0), "{}", cell.variant);
        let expected = deliveries.expected + deliveries.duplicated;
        assert_eq!(deliveries.received, expected, "{}", cell.variant);
    }
    let doubled: u64 = run.cells.iter().map(|cell| cell.deliveries.duplicated).sum();
    assert!(doubled >= relay.interventions(), "a part with several messages counts several times");
    let report = std::fs::read_to_string(directory.path().join("report.md")).expect("a report");
    assert!(report.contains("deliveries were duplicates"), "{report}");
    assert!(!report.contains("deliveries were lost"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn target_may_be_an_ipv6_address_or_a_name_that_only_ipv6_reaches() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // Not with a macro, whose output the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "skipped target_may_be_an_ipv6_address_or_a_name_that_only_ipv6_reaches: no IPv6"
        );
        return;
    }
    let server = ChildServer::start_on("[::1]:0", &[]);
    let directory = tempfile::tempdir().expect("a directory");
    let all = Transport::ALL.map(Transport::name).join(",");
    let (_, run) = measure(&url(server.address), &all, directory.path()).await;
    delivered_everything_once(&run, Transport::ALL.len());

    let by_name = format!("http://localhost:{}", server.address.port());
    let directory = tempfile::tempdir().expect("a directory");
    let (_, run) = measure(&by_name, "short-polling,websocket", directory.path()).await;
    delivered_everything_once(&run, 2);
}
