//! Limits per client and in total: requests over a limit are rejected with a reason and counted,
//! others are served. Also the drain, which disconnects the clients one after the other.

use std::time::Duration;

use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::variant::Transport;

use crate::support::{Raw, TestServer, draft, eventually};

#[tokio::test]
async fn connections_are_limited_per_address() {
    let server = TestServer::with(|config| {
        config.max_connections_per_address = 2;
        config.limit_loopback = true;
    })
    .await;
    let mut first = Raw::connect(server.address).await;
    first.upgrade("/topics/room/ws").await;
    let mut second = Raw::connect(server.address).await;
    second.get("/healthz", "").await;
    assert_eq!(second.answer().await.status, 200);
    Raw::connect(server.address).await.ends().await;
    assert_eq!(server.app.metrics.refusals(Refusal::ConnectionsPerAddress), 1);
    drop(first);
    eventually("a place is free", || server.app.metrics.open_connections.get() == 1).await;
    let mut third = Raw::connect(server.address).await;
    third.get("/healthz", "").await;
    assert_eq!(third.answer().await.status, 200);
    drop((second, third));
    server.stop().await;
}

#[tokio::test]
async fn loopback_clients_are_not_limited_per_address() {
    let server = TestServer::with(|config| {
        config.max_connections_per_address = 1;
        config.publish_rate = 1;
    })
    .await;
    for _ in 0..5 {
        let answer = server.post("/topics/room/messages", draft("hi")).await;
        assert_eq!(answer.status, 201);
    }
    server.stop().await;
}

#[tokio::test]
async fn long_poll_over_the_limit_gets_retry_after() {
    let server = TestServer::with(|config| config.max_waiters = 1).await;
    let mut held = Raw::connect(server.address).await;
    held.get("/topics/room/long-poll?after=0", "").await;
    eventually("held", || server.waiting(Transport::LongPolling) == 1).await;
    let mut refused = Raw::connect(server.address).await;
    refused.get("/topics/room/long-poll?after=0", "").await;
    let answer = refused.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(server.scrape().await.get(r#"poll_vs_push_refused_total{reason="waiters"}"#), 1.0);
    server.publish("go").await;
    assert_eq!(held.answer().await.status, 200);
    refused.get("/topics/room/long-poll?after=0", "").await;
    assert_eq!(refused.answer().await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn subscription_over_the_limit_is_rejected_before_the_upgrade() {
    let server = TestServer::with(|config| config.max_subscriptions = 1).await;
    for (path, headers) in
        [("/topics/room/ws", Raw::upgrade_headers()), ("/topics/room/events", String::new())]
    {
        let mut held = Raw::connect(server.address).await;
        held.get(path, &headers).await;
        let transport = if path.ends_with("ws") { Transport::WebSocket } else { Transport::Sse };
        eventually("held", || server.waiting(transport) == 1).await;
        let mut refused = Raw::connect(server.address).await;
        refused.get(path, &headers).await;
        assert_eq!(refused.answer().await.status, 503, "{path}");
        drop(held);
        eventually("left", || server.waiting(transport) == 0).await;
    }
    assert_eq!(server.app.metrics.refusals(Refusal::Subscriptions), 2);
    server.stop().await;
}

#[tokio::test]
async fn waiters_and_subscriptions_are_limited_per_address() {
    let server = TestServer::with(|config| {
        config.max_waiters_per_address = 1;
        config.max_subscriptions_per_address = 2;
        config.limit_loopback = true;
    })
    .await;
    let upgrade = Raw::upgrade_headers();
    let mut poll = Raw::connect(server.address).await;
    poll.get("/topics/room/long-poll?after=0", "").await;
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade("/topics/room/ws").await;
    let mut stream = Raw::connect(server.address).await;
    stream.get("/topics/room/events", "").await;
    eventually("held", || {
        let held = [Transport::LongPolling, Transport::WebSocket, Transport::Sse];
        held.into_iter().all(|transport| server.waiting(transport) == 1)
    })
    .await;
    for (path, headers) in [
        ("/topics/room/long-poll?after=0", ""),
        ("/topics/room/ws", upgrade.as_str()),
        ("/topics/room/stream", ""),
        ("/topics/room/events", ""),
    ] {
        let mut refused = Raw::connect(server.address).await;
        refused.get(path, headers).await;
        let answer = refused.answer().await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{path}");
    }
    assert_eq!(server.app.metrics.refusals(Refusal::WaitersPerAddress), 1);
    assert_eq!(server.app.metrics.refusals(Refusal::SubscriptionsPerAddress), 3);
    drop((poll, socket, stream));
    eventually("left", || server.waiting(Transport::WebSocket) == 0).await;
    let mut again = Raw::connect(server.address).await;
    again.upgrade("/topics/room/ws").await;
    drop(again);
    server.stop().await;
}

#[tokio::test]
async fn oversized_input_is_rejected_and_counted() {
    let server = TestServer::with(|config| {
        config.max_topic_name_bytes = 4;
        config.max_topics = 1;
        config.max_message_bytes = 10;
    })
    .await;
    let refusals = |refusal| server.app.metrics.refusals(refusal);
    server.publish("hi").await;
    for (path, body, status, refusal) in [
        ("/topics/rooms/messages", draft("hi"), 400, Refusal::TopicName),
        ("/topics/hall/messages", draft("hi"), 503, Refusal::Topics),
        ("/topics/room/messages", draft("far too long"), 413, Refusal::MessageBytes),
        ("/topics/room/messages", draft(&"x".repeat(10_000)), 413, Refusal::MessageBytes),
    ] {
        let before = refusals(refusal);
        assert_eq!(server.post(path, body).await.status, status, "{refusal:?}");
        assert_eq!(refusals(refusal), before + 1, "{refusal:?}");
    }
    let mut raw = Raw::connect(server.address).await;
    raw.get("/healthz", &format!("x-long: {}\r\n", "x".repeat(10_000))).await;
    assert_eq!(raw.answer().await.status, 431);
    eventually("counted", || refusals(Refusal::HeaderBytes) == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn fast_publisher_is_rate_limited() {
    let server = TestServer::with(|config| {
        config.publish_rate = 5;
        config.limit_loopback = true;
    })
    .await;
    let mut refused = None;
    // Far more than the limit allows during this test.
    for _ in 0..1_000 {
        let answer = server.post("/topics/room/messages", draft("hi")).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    let mut raw = Raw::connect(server.address).await;
    raw.upgrade("/topics/room/ws").await;
    raw.event().await;
    for _ in 0..1_000 {
        raw.send_frame(0x81, draft("hi").as_bytes()).await;
        if raw.event().await["event"] == "error" {
            assert!(server.app.metrics.refusals(Refusal::PublishRate) >= 2);
            server.stop().await;
            return;
        }
    }
    panic!("no limit on the socket");
}

#[tokio::test]
async fn drain_disconnects_all_clients_within_its_window() {
    const CLIENTS: usize = 20;
    let server = TestServer::with(|config| {
        config.drain_window = Duration::from_millis(200);
        config.restarting = true;
    })
    .await;
    let mut sockets = Vec::new();
    let mut polls = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = Raw::connect(server.address).await;
        socket.upgrade("/topics/room/ws").await;
        sockets.push(socket);
        let mut poll = Raw::connect(server.address).await;
        poll.get("/topics/room/long-poll?after=0", "").await;
        polls.push(poll);
    }
    eventually("held", || server.waiting(Transport::LongPolling) == CLIENTS as i64).await;
    server.tell_to_stop();
    for mut poll in polls {
        let answer = poll.answer().await;
        let seconds: u64 = answer.header("retry-after").expect("when").parse().expect("seconds");
        assert_eq!((answer.status, (1..=3).contains(&seconds)), (200, true));
    }
    for socket in sockets {
        assert_eq!(socket.closed_with().await, 1012);
    }
    server.stop().await;
}
