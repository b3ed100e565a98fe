//! `capacity`: the search over a server whose service time is known, and the command itself.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::app::ServerConfig;
use poll_vs_push::capacity::{LoadKind, Objective, Plan, SearchEvent, StoppedBy};
use poll_vs_push::client::Dialer;
use poll_vs_push::load::ServerSource;
use poll_vs_push::load::target::Target;
use poll_vs_push::scenario::Scenario;
use poll_vs_push::server::Server;
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::child::PROGRAM;

const TARGET: &str = include_str!("../../load-tests/targets/poll-vs-push.toml");
const SCENARIO: &str = "
name = 'capacity'
title = 'Polls of a slow server'
description = 'Each subscriber polls five times a second.'
transports = ['short-polling']
repeats = 1
[workload]
subscribers = 4
topics = 1
rate = 20.0
poll_interval = '200ms'
rtt = '0s'
idle = '0s'
warm_up = '500ms'
duration = '1s'
";
/// Time that the server needs for each poll; it processes one at a time.
const SERVICE: Duration = Duration::from_millis(10);

/// Forwards to `server`; each poll waits for its turn, which takes [`SERVICE`].
async fn serve_slowly(listener: TcpListener, server: SocketAddr) {
    let turn = Arc::new(Mutex::new(()));
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(forward(client, server, turn.clone()));
    }
}

async fn forward(client: TcpStream, server: SocketAddr, turn: Arc<Mutex<()>>) {
    let server = TcpStream::connect(server).await.expect("it listens");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 16 << 10];
    // A poll is one write of the client, and one read here.
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        if buffer.starts_with(b"GET") {
            let _turn = turn.lock().await;
            tokio::time::sleep(SERVICE).await;
        }
        if to_server.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    drop(to_server);
    let _ = answers.await;
}

/// A plan over a slow server, and what keeps the server running.
async fn slow_server(slo: &str) -> (Plan, CancellationToken) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(ServerConfig { listen, ..Default::default() }).await.expect("a port");
    let address = server.local_addr().expect("it has one");
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(stop.clone().cancelled_owned()));
    let listener = TcpListener::bind(listen).await.expect("a port");
    let slow = listener.local_addr().expect("it has one");
    tokio::spawn(serve_slowly(listener, address));
    let target = Arc::new(Target::from_toml(TARGET).expect("a good target"));
    let plan = Plan {
        scenario: Scenario::from_toml(SCENARIO).expect("a good scenario"),
        source: ServerSource::ThirdParty { dialer: Dialer::new(slow), target, pid: None },
        over: LoadKind::Subscribers,
        objective: Objective::Condition(slo.parse().expect("a good condition")),
        most: 256.0,
        precision: 0.3,
    };
    (plan, stop)
}

/// With N subscribers the server needs N times the service time for a round of polls. Beyond the
/// interval of 200 ms, a round takes as long as that, so 400 ms is reached with about 40 of them;
/// the resolution of timers adds to the service time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_finds_what_a_known_service_time_allows() {
    let (plan, _stop) = slow_server("latency.p90 < 400ms").await;
    plan.check().expect("a good plan");
    let found = plan.search(&CancellationToken::new(), &|_| {}).await.expect("not interrupted");
    let [result] = found.results.as_slice() else { panic!("one transport: {found:?}") };
    let largest = result.largest.expect("one subscriber is carried");
    assert!((8.0..=48.0).contains(&largest), "{result:?}");
    let failed = result.smallest_failed.expect("256 subscribers are not carried");
    assert!(largest < failed && failed <= 1.3 * largest + 1.0, "{result:?}");
    let text = found.text(poll_vs_push::report::TableStyle::default());
    assert!(text.contains("short polling") || text.contains("Short polling"), "{text}");
    assert!(found.html().contains("<svg"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objective_that_not_even_one_subscriber_meets_is_reported() {
    let (mut plan, _stop) = slow_server("latency.mean < 1us").await;
    plan.scenario.workload.subscribers = 2;
    let found = plan.search(&CancellationToken::new(), &|_| {}).await.expect("not interrupted");
    let [result] = found.results.as_slice() else { panic!("one transport: {found:?}") };
    assert_eq!(result.largest, None, "{result:?}");
    assert_eq!(result.show(LoadKind::Subscribers), "none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_the_range_is_a_lower_bound() {
    let (mut plan, _stop) = slow_server("latency.mean < 3600s").await;
    plan.most = 4.0;
    let found = plan.search(&CancellationToken::new(), &|_| {}).await.expect("not interrupted");
    let [result] = found.results.as_slice() else { panic!("one transport: {found:?}") };
    // Other processes on the machine may end the search instead.
    if result.stopped_by == StoppedBy::Largest {
        assert_eq!(result.show(LoadKind::Subscribers), "at least 4");
        assert_eq!(result.smallest_failed, None);
    } else {
        assert!(result.stopped_by.is_of_generator(), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupt_ends_the_search() {
    let (plan, _stop) = slow_server("latency.mean < 1s").await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(plan.search(&stop, &|_| {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_search_keeps_the_transports_that_were_complete() {
    let (mut plan, _stop) = slow_server("latency.mean < 3600s").await;
    plan.most = 4.0;
    plan.scenario.transports = vec![Transport::ShortPolling.into(), Transport::LongPolling.into()];
    let stop = CancellationToken::new();
    let on_event = |event: SearchEvent<'_>| {
        if matches!(event, SearchEvent::Found(_)) {
            stop.cancel();
        }
    };
    let found = plan.search(&stop, &on_event).await.expect("the first transport is complete");
    let [result] = found.results.as_slice() else { panic!("one transport: {found:?}") };
    assert_eq!(result.variant, Transport::ShortPolling);
}

#[test]
fn report_contains_the_results_of_a_search() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let recorded = "load-tests/results/capacity/capacity.json";
    let report = |capacity: &str| {
        let args = ["report", "docs/sample/run.json", "--output", output, "--capacity", capacity];
        Command::new(PROGRAM).args(args).output().expect("it runs")
    };
    let written = report(recorded);
    assert!(written.status.success(), "{written:?}");
    for file in ["report.html", "report.md"] {
        let text = std::fs::read_to_string(folder.path().join(file)).expect("written");
        assert!(text.contains("The capacity of one server"), "{file}");
    }
    let refused = report("docs/sample/run.json");
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("--capacity docs/sample/run.json: "), "{message}");
}
