//! A server measured through a target file, as a third-party server.

use std::net::SocketAddr;
use std::sync::Arc;

use poll_vs_push::app::ServerConfig;
use poll_vs_push::client::Dialer;
use poll_vs_push::load::target::Target;
use poll_vs_push::load::{LoadTest, ServerSource};
use poll_vs_push::run::{Cell, Run};
use poll_vs_push::scenario::Scenario;
use poll_vs_push::server::Server;
use poll_vs_push::variant::{Transport, Variant};
use tokio_util::sync::CancellationToken;

const TARGET: &str = include_str!("../../load-tests/targets/poll-vs-push.toml");
/// A short scenario.
pub const SCENARIO: &str = "
name = 'small'
title = 'A few messages'
description = 'Enough to see that each arrives.'
transports = ['short-polling', 'long-polling', 'websocket', 'sse']
repeats = 1
[workload]
subscribers = 6
topics = 3
rate = 20.0
poll_interval = '20ms'
long_poll_hold = '200ms'
rtt = '2ms'
idle = '300ms'
warm_up = '100ms'
duration = '500ms'
";

/// Measures a server in this process as described by `target`.
async fn measure(target: &str, pid: Option<u32>) -> Run {
    let config =
        ServerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Default::default() };
    let server = Server::bind(config).await.expect("port 0 is free");
    let address = server.local_addr().expect("it has one");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));

    let target = Arc::new(Target::from_toml(target).expect("a good target"));
    let mut scenario = Scenario::from_toml(SCENARIO).expect("a good scenario");
    scenario.keep_transports(|variant| target.transports().iter().any(|known| variant == *known));
    let source = ServerSource::ThirdParty { dialer: Dialer::new(address), target, pid };
    let load_test = LoadTest::new(scenario, source).expect("this machine can carry it");
    let run = load_test.measure(std::future::pending(), &|_| {}).await;

    stop.cancel();
    serving.await.expect("it ends");
    run
}

fn cell(run: &Run, variant: impl Into<Variant>) -> &Cell {
    let variant = variant.into();
    let found = run.cells.iter().find(|cell| cell.variant == variant);
    found
        .unwrap_or_else(|| panic!("{variant} is missing: {:?} {:?}", run.failed, run.stopped_early))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_transport_delivers_everything_once_and_in_order() {
    let run = measure(TARGET, None).await;
    assert_eq!(run.stopped_early, None);
    assert_eq!(run.server.version, "poll-vs-push");
    assert!(!run.server.is_child);
    for transport in run.scenario.transports.iter().copied() {
        let Cell { deliveries, requests, bytes, server, .. } = cell(&run, transport);
        assert!(deliveries.expected > 0, "{transport}");
        assert_eq!(deliveries.received, deliveries.expected, "{transport}");
        let wrong = (deliveries.lost, deliveries.duplicated, deliveries.reordered);
        assert_eq!(wrong, (0, 0, 0), "{transport}");
        assert!(bytes.down.payload > 0, "{transport}");
        assert!(server.is_none() && requests.server_total.is_none(), "{transport}");
    }
    // The timeout is longer than most gaps between messages, and shorter than the idle phase.
    let polls = cell(&run, Transport::ShortPolling).requests;
    assert!(polls.empty_answers > 0 && polls.empty_answers < polls.answers);
    assert!(cell(&run, Transport::LongPolling).requests.client_total > 6);
    assert_eq!(cell(&run, Transport::WebSocket).requests.client_total, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_needs_a_pid_and_a_missing_route_fails_the_cell() {
    let described = TARGET.split("[short-polling]").next().expect("it has a beginning");
    let target = format!("{described}[websocket]\npath = '/topics/{{topic}}/ws'\n");
    let run = measure(&target, Some(std::process::id())).await;
    assert_eq!(run.cells.len(), 1, "{:?}", run.stopped_early);
    let usage = cell(&run, Transport::WebSocket).server.expect("the process is known");
    assert!(usage.resident_end_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_target_are_reported() {
    let refusing = TARGET.replace("path = \"/topics/{topic}/messages\"", "path = \"/elsewhere\"");
    let run = measure(&refusing, None).await;
    assert!(run.failed[0].error.contains("404"), "nothing can be published: {:?}", run.failed);
    // All cells fail, so the run ends before the last one.
    assert_eq!(run.failed.len(), 3);
    assert!(run.stopped_early.expect("given up").text.contains("3 cells in a row failed"));
    let losing = TARGET.replace("from = \"/cursor\"", "from = \"/offset\"");
    let run = measure(&losing, None).await;
    let why = &run.failed[0].error;
    assert!(why.contains("no cursor at '/offset'"), "{why}");
    // Transports without a cursor are measured nevertheless.
    assert_eq!(cell(&run, Transport::WebSocket).deliveries.lost, 0);
    assert_eq!(run.stopped_early, None);
}
