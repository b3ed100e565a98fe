//! Limits per client and in total: requests over a limit are rejected with a reason and counted,
//! others are served. Also the drain, which disconnects the clients one after the other.

use std::net::SocketAddr;
use std::time::Duration;

use poll_vs_push::app::ServerConfig;
use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::server::{BindError, Server};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::{Extra, Transport, Variant};

use crate::support::{Raw, TestServer, eventually, new_message, options, soon};

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
        let answer = server.post("/topics/room/messages", new_message("hi")).await;
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
        ("/topics/rooms/messages", new_message("hi"), 400, Refusal::TopicName),
        ("/topics/hall/messages", new_message("hi"), 503, Refusal::Topics),
        ("/topics/room/messages", new_message("far too long"), 413, Refusal::MessageBytes),
        ("/topics/room/messages", new_message(&"x".repeat(10_000)), 413, Refusal::MessageBytes),
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
async fn one_address_creates_a_share_of_the_topics() {
    let server = TestServer::with(|config| {
        config.max_topics_per_address = 2;
        config.limit_loopback = true;
    })
    .await;
    server.publish("not by a client").await;
    for name in ["one", "two"] {
        let path = format!("/topics/{name}/messages");
        assert_eq!(server.post(&path, new_message("hi")).await.status, 201);
    }
    assert_eq!(server.post("/topics/one/messages", new_message("again")).await.status, 201);
    assert_eq!(server.get("/topics/room/poll?after=0").await.status, 200);
    assert_eq!(server.post("/topics/three/messages", new_message("hi")).await.status, 429);
    for transport in ["poll", "long-poll", "events", "stream"] {
        assert_eq!(server.get(&format!("/topics/four/{transport}")).await.status, 429);
    }
    assert_eq!(server.app.metrics.refusals(Refusal::TopicsPerAddress), 5);
    server.stop().await;
}

#[tokio::test]
async fn topics_that_were_dropped_no_longer_count_for_their_address() {
    let server = TestServer::with(|config| {
        config.max_topics_per_address = 1;
        config.limit_loopback = true;
    })
    .await;
    assert_eq!(server.get("/topics/unused/poll").await.status, 200);
    assert_eq!(server.get("/topics/another/poll").await.status, 429);
    server.app.feed.expire().await;
    assert_eq!(server.get("/topics/another/poll").await.status, 200);
    server.stop().await;
}

/// Bytes of a message that does not arrive completely.
const PART: usize = 44 << 10;

#[tokio::test]
async fn parts_of_messages_are_held_within_the_budget_of_one_address() {
    let server = TestServer::with(|config| {
        config.max_message_bytes = 8 << 10;
        config.max_batch_bytes = 8 << 10;
        config.max_held_bytes = 192 << 10;
        // Three buffers for a body, and the messages decoded from them, with 5 KiB to spare.
        config.max_held_bytes_per_address = 176 << 10;
        config.limit_loopback = true;
    })
    .await;
    let refused = || server.app.metrics.refusals(Refusal::HeldBytes);
    let part = vec![b'x'; PART];
    // All of it is read before the limit is met, so that the connection is not reset.
    let small_part = &part[..6_000];
    let post = "POST /topics/room/messages HTTP/1.1\r\nhost: localhost\r\n";
    let unfinished = async |part: &[u8]| {
        let mut raw = Raw::connect(server.address).await;
        raw.send(format!("{post}content-length: {}\r\n\r\n", part.len() + 1)).await;
        raw.send_all_it_takes(part).await;
        raw
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(unfinished(&part).await);
    }
    eventually("held", || server.app.memory.used() > 3 * part.len()).await;

    let mut body = unfinished(small_part).await;
    let answer = body.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.error().contains("--max-held-bytes"), "{}", answer.error());
    assert_eq!(refused(), 1);

    for path in ["/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let mut socket = Raw::connect(server.address).await;
        socket.upgrade(path).await;
        let before = refused();
        // The first fragment of a message.
        socket.send_all_it_takes(&crate::support::frame(0x01, small_part)).await;
        assert_eq!(socket.closed_with().await, 1013, "{path}");
        assert_eq!(refused(), before + 1, "{path}");
    }

    // Once the others have ended, there is room.
    held.clear();
    eventually("released", || server.app.memory.used() == 0).await;
    drop(unfinished(&part).await);
    assert_eq!(server.post("/topics/room/messages", new_message("hi")).await.status, 201);
    assert_eq!(refused(), 3);
    eventually("released", || server.app.memory.used() == 0).await;
    drop(body);
    server.stop().await;
}

#[tokio::test]
async fn limits_that_exclude_each_other_are_an_error_at_the_start() {
    let default = ServerConfig::default();
    default.check().expect("the defaults fit together");
    for (config, flags) in [
        (
            ServerConfig { max_batch_bytes: 16 << 20, ..default.clone() },
            ["--max-held-bytes 8388608", "--max-batch-bytes 16777216"],
        ),
        (
            ServerConfig { max_held_bytes: 100_000, ..default.clone() },
            ["--max-held-bytes 100000", "--max-batch-bytes 1048576"],
        ),
        (
            ServerConfig { max_held_bytes_per_address: 1 << 20, ..default.clone() },
            ["--max-held-bytes-per-address 1048576", "--max-batch-bytes 1048576"],
        ),
        (
            ServerConfig { max_held_bytes_total: 1 << 20, ..default.clone() },
            ["--max-held-bytes-total 1048576", "--max-batch-bytes 1048576"],
        ),
        (
            ServerConfig { max_message_bytes: 2 << 20, ..default.clone() },
            ["--max-held-bytes 8388608", "--max-message-bytes 2097152"],
        ),
        (
            ServerConfig { max_topics: 100_000, ..default.clone() },
            ["--retain-total-bytes 33554432", "--max-topics 100000"],
        ),
        (
            ServerConfig { max_topics: 1, retain_total_bytes: 100_000, ..default.clone() },
            ["--retain-total-bytes 100000", "--max-message-bytes 65536"],
        ),
    ] {
        let error = config.check().expect_err("no room").to_string();
        for flag in flags {
            assert!(error.contains(flag), "{flag}: {error}");
        }
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = Server::bind(ServerConfig { listen, ..config }).await;
        assert!(matches!(bound, Err(BindError::Limits(_))), "{error}");
    }
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
        let answer = server.post("/topics/room/messages", new_message("hi")).await;
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
        raw.send_frame(0x81, new_message("hi").as_bytes()).await;
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

/// Asserts that a second subscriber on each transport, with HTTP/2 where there is one, is refused
/// with the text `limit`.
async fn is_told(server: &TestServer, names: &[&str], limit: &str) {
    for name in names {
        let variant: Variant = name.parse().expect("a variant");
        let connect = || {
            let dialer = match variant.has(Extra::H2) {
                true => server.dialer().with_shared(Default::default()),
                false => server.dialer(),
            };
            Subscriber::connect(variant, dialer, options(None))
        };
        let mut first = connect().await.expect("room for one");
        // A long poll waits once it is sent.
        let following = tokio::spawn(async move { first.next().await });
        eventually("counted", || server.waiting(variant.transport) == 1).await;
        let refused = async { connect().await?.next().await.map(|_| ()) };
        let error = soon(refused).await.expect_err(name).to_string();
        assert!(error.contains(&format!("which is its limit ({limit})")), "{name}: {error}");
        following.abort();
        let _ = following.await;
        eventually("gone", || server.app.metrics.open_connections.get() == 0).await;
    }
}

const STREAMS: [&str; 5] = ["websocket", "sse", "ndjson", "socketio-websocket", "sse+h2"];

#[tokio::test]
async fn every_transport_learns_the_limit_on_connections_and_its_flag() {
    let server = TestServer::with(|config| {
        config.max_connections_per_address = 1;
        config.limit_loopback = true;
    })
    .await;
    is_told(&server, &STREAMS, "--max-connections-per-address").await;
    is_told(&server, &["long-polling", "long-polling+h2"], "--max-connections-per-address").await;
    server.stop().await;
}

#[tokio::test]
async fn every_transport_learns_the_limit_on_subscribers_and_its_flag() {
    let server = TestServer::with(|config| {
        config.max_subscriptions = 1;
        config.max_waiters = 1;
    })
    .await;
    is_told(&server, &STREAMS[..3], "--max-subscriptions").await;
    is_told(&server, &["socketio-websocket"], "--max-subscriptions").await;
    is_told(&server, &["long-polling", "long-polling+h2"], "--max-waiters").await;
    server.stop().await;
}

#[tokio::test]
async fn full_server_answers_connections_that_have_waited_for_long() {
    let server = TestServer::with(|config| config.max_connections = 1).await;
    let mut inside = Raw::connect(server.address).await;
    inside.get("/healthz", "").await;
    assert_eq!(inside.answer().await.status, 200);
    let mut outside = Raw::connect(server.address).await;
    outside.get("/healthz", "").await;
    let answer = outside.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.body.contains("(--max-connections)"), "{}", answer.body);
    outside.ends().await;
    assert_eq!(server.app.metrics.refusals(Refusal::Connections), 1);
    drop(inside);
    eventually("room", || server.app.metrics.open_connections.get() == 0).await;
    let mut next = Raw::connect(server.address).await;
    next.get("/healthz", "").await;
    assert_eq!(next.answer().await.status, 200);
    drop(next);
    server.stop().await;
}
