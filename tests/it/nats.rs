//! Several servers on one feed on NATS, and NATS servers that cannot be used or reached.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::jetstream;
use hyper::StatusCode;
use poll_vs_push::app::ServerConfig;
use poll_vs_push::client::Dialer;
use poll_vs_push::feed::store::NatsConfig;
use poll_vs_push::feed::{FeedLimits, Retention};
use poll_vs_push::load::{LoadTest, ServerSource};
use poll_vs_push::message::{Batch, Cursor, NewMessage};
use poll_vs_push::run::Cell;
use poll_vs_push::scenario::Scenario;
use poll_vs_push::server::Server;
use poll_vs_push::variant::Transport;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::nats::{NatsServer, follow, new_store, new_stream, open, shared_store};
use crate::support::{Reader, TestServer, new_message, options, soon};

/// A server on this stream.
async fn server_on(url: &str, stream: &str) -> TestServer {
    TestServer::with(|config| {
        (config.nats, config.nats_stream) = (Some(url.to_owned()), stream.to_owned());
        config.nats_bytes = 16 << 20;
    })
    .await
}

async fn poll(server: &TestServer, query: &str) -> Batch {
    let answer = server.get(&format!("/topics/room/poll?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("a batch")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_offer_the_same_messages_at_the_same_offsets() {
    const EACH: usize = 100;
    let Some(nats) = NatsServer::start() else { return };
    let stream = new_stream();
    let servers = [server_on(&nats.url(), &stream).await, server_on(&nats.url(), &stream).await];
    let mut publishing = tokio::task::JoinSet::new();
    for publisher in 0..8 {
        let app = servers[publisher % 2].app.clone();
        publishing.spawn(async move {
            let mut stored = Vec::new();
            for number in 0..EACH {
                let text = format!("{publisher} {number}");
                let topic = "room".parse().expect("a good name");
                let message = new_message(&text);
                let at = app.publish(&topic, message.as_bytes()).await.expect("stored");
                stored.push((at, text));
            }
            stored
        });
    }
    let acknowledged = publishing.join_all().await.concat();
    let late = server_on(&nats.url(), &stream).await;
    let [first, second] = servers;
    let mut contents = Vec::new();
    for server in [first, second, late] {
        let head = acknowledged.len() as u64;
        // The cursor makes the server catch up.
        let end = poll(&server, &format!("after={head}")).await;
        assert!(end.messages.is_empty() && !end.reset && end.cursor == head, "{end:?}");
        contents.push(poll(&server, "after=0").await);
        server.stop().await;
    }
    assert!(contents[0] == contents[1] && contents[1] == contents[2]);
    let Batch { epoch, messages, .. } = &contents[0];
    assert_eq!(messages.len(), 8 * EACH);
    for (stored, text) in acknowledged {
        let message = &messages[stored.offset as usize - 1];
        assert_eq!((stored.epoch, stored.offset, &text), (*epoch, message.offset, &message.text));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_of_one_server_is_valid_on_another_at_once() {
    let Some(nats) = NatsServer::start() else { return };
    let stream = new_stream();
    let (one, other) =
        (server_on(&nats.url(), &stream).await, server_on(&nats.url(), &stream).await);
    for _ in 0..100 {
        let stored = one.publish("hi").await;
        let query = format!("epoch={}&after={}", stored.epoch, stored.offset);
        let batch = poll(&other, &query).await;
        assert!(!batch.reset && batch.cursor == stored.offset, "{batch:?}");
    }
    for transport in Transport::ALL {
        let mut reader = one.subscribe(transport, Some(one.at(0))).await;
        reader.texts(100).await;
        let cursor: Cursor = reader.cursor();
        drop(reader);
        let mut reader = other.subscribe(transport, Some(Cursor { offset: 50, ..cursor })).await;
        reader.texts(50).await;
    }
    assert!(poll(&other, "after=9999").await.reset, "a cursor that no server has given");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_names_with_points_are_separate_topics() {
    let Some(nats) = NatsServer::start() else { return };
    let stream = new_stream();
    let server = server_on(&nats.url(), &stream).await;
    let names = ["a.b", "a_b", "a-b", "a..b", "...", "a.", ".a"];
    for name in names {
        assert_eq!(server.try_publish(name, name).await.expect("stored").offset, 1, "{name}");
    }
    let other = server_on(&nats.url(), &stream).await;
    for name in names {
        let answer = other.get(&format!("/topics/{name}/poll?after=0")).await;
        let batch: Batch = serde_json::from_slice(&answer.body).expect("a batch");
        assert_eq!(batch.messages[0].text, name);
    }
    server.stop().await;
    other.stop().await;
}

/// The error of a server that cannot start.
async fn start_error(configure: impl FnOnce(&mut ServerConfig)) -> String {
    let mut config = ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        nats_stream: "feed".to_owned(),
        ..ServerConfig::default()
    };
    configure(&mut config);
    let error = soon(Server::bind(config)).await.expect_err("it cannot start");
    format!("{:#}", anyhow::Error::from(error))
}

#[tokio::test]
async fn nats_server_that_cannot_be_used_is_an_error_at_start() {
    let expect = |error: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let on = |url: &str| {
        let url = url.to_owned();
        move |config: &mut ServerConfig| config.nats = Some(url)
    };
    expect(start_error(on("http://x")).await, &["--nats http://x", "nats://HOST:4222"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("it has one").port();
    drop(closed);
    let error = start_error(on(&format!("nats://me:secret@127.0.0.1:{port}"))).await;
    assert!(!error.contains("secret"), "{error}");
    expect(error, &["--nats nats://...@127.0.0.1", "cannot connect", "nats-server -js"]);

    let Some(plain) = NatsServer::with(&[]) else { return };
    expect(start_error(on(&plain.url())).await, &["--nats nats://", "JetStream", "-js"]);

    let nats = NatsServer::start().expect("it started before");
    let client = async_nats::connect(nats.url()).await.expect("connects");
    let foreign = |name: &str, subject: &str| jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        ..Default::default()
    };
    let context = jetstream::new(client);
    context.create_stream(foreign("feed", "feed.*")).await.expect("created");
    let error = start_error(on(&nats.url())).await;
    expect(error, &["--nats-stream feed", "another application", "choose another name"]);
    context.delete_stream("feed").await.expect("deleted");
    context.create_stream(foreign("other", "feed.>")).await.expect("created");
    let error = start_error(on(&nats.url())).await;
    expect(error, &["--nats-stream feed", "feed.*", "choose another name"]);
    context.delete_stream("other").await.expect("deleted");
    let too_large = |config: &mut ServerConfig| {
        (config.nats, config.nats_bytes) = (Some(nats.url()), 1 << 40);
    };
    expect(start_error(too_large).await, &["--nats-bytes 1099511627776", "max_file_store"]);
    let large_messages = |config: &mut ServerConfig| {
        (config.nats, config.max_message_bytes) = (Some(nats.url()), 300_000);
    };
    expect(start_error(large_messages).await, &["--max-message-bytes 300000", "max_payload"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_stay_and_publishers_get_503_while_nats_is_away() {
    let Some(mut nats) = NatsServer::start() else { return };
    let server = server_on(&nats.url(), &new_stream()).await;
    server.publish("before").await;
    let mut reader =
        Reader::connect(Transport::WebSocket, server.dialer(), options(Some(server.at(0)))).await;
    assert_eq!(reader.texts(1).await, ["before"]);
    nats.kill();
    let refused = soon(async {
        loop {
            let answer = server.post("/topics/room/messages", new_message("away")).await;
            let error = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
            assert!(answer.headers.contains_key("retry-after"));
            if error.contains("NATS cannot be reached: no message is stored") {
                return error;
            }
        }
    });
    refused.await;
    assert_eq!(poll(&server, "after=0").await.messages.len(), 1);
    nats.restart().await;
    let stored = soon(async {
        loop {
            if let Ok(stored) = server.try_publish("room", "after").await {
                return stored;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    stored.await;
    let received = loop {
        let received = reader.next().await;
        assert!(received.gap == 0 && !received.reset);
        if let Some(last) = received.messages.last() {
            break last.text.clone();
        }
    };
    // A publication that was under way when NATS was killed may be stored later.
    assert!(["after", "away"].contains(&received.as_str()), "{received}");
    drop(reader);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_stream_rejects_publishers_until_messages_expire() {
    let Some(nats) = NatsServer::start() else { return };
    let server = TestServer::with(|config| {
        (config.nats, config.nats_stream) = (Some(nats.url()), new_stream());
        config.nats_bytes = 100_000;
    })
    .await;
    let text = "x".repeat(20_000);
    let refusal = loop {
        let answer = server.post("/topics/room/messages", new_message(&text)).await;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
    };
    assert_eq!(refusal.status, StatusCode::INSUFFICIENT_STORAGE, "{refusal:?}");
    let error = String::from_utf8_lossy(&refusal.body).into_owned();
    assert!(error.contains("the stream on NATS is full") && error.contains("--nats-bytes"));
    assert!(!poll(&server, "after=0").await.messages.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_messages_are_deleted_from_the_stream_except_for_the_last() {
    let retention = Retention { bytes: 10_000, ..Retention::default() };
    let Some(config) = shared_store(retention) else { return };
    let limits = poll_vs_push::feed::FeedLimits { retention, ..Default::default() };
    let feed = open(&config, limits).await;
    let _following = follow(&feed);
    let topic = feed.topic(&"room".parse().expect("a good name")).expect("room for one");
    let text = "x".repeat(4_000);
    for _ in 0..20 {
        let message = poll_vs_push::message::NewMessage { sender: "A".into(), text: text.clone() };
        topic.publish(message).await.expect("stored");
    }
    feed.expire().await;
    let client = async_nats::connect(&config.url).await.expect("connects");
    let stream = jetstream::new(client).get_stream(&config.stream).await.expect("there");
    assert_eq!(stream.cached_info().state.messages, 2);
    let reopened = open(&config, limits).await;
    let topic = reopened.topic(topic.name()).expect("it exists");
    let all = topic.read_after(Cursor { offset: 0, ..topic.head() }, 100).await.expect("reads");
    assert_eq!((all.gap, all.messages.len(), topic.head().offset), (18, 2, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_memory_has_dropped_are_read_from_the_stream() {
    const COUNT: usize = 150;
    let Some(nats) = NatsServer::start() else { return };
    let config = new_store(nats.url(), Retention::default());
    // Memory has room for a tenth of them.
    let limits = FeedLimits { total_bytes: 40_000, slice_bytes: 10_000, ..Default::default() };
    let feed = open(&config, limits).await;
    let _following = follow(&feed);
    let topic = feed.topic(&"room".parse().expect("a good name")).expect("room for one");
    let text = |number: usize| format!("{number} {}", "x".repeat(2_000));
    for number in 0..COUNT {
        let message = NewMessage { sender: "A".into(), text: text(number) };
        topic.publish(message).await.expect("stored");
    }
    // What memory lacks is not deleted from the stream.
    feed.expire().await;
    let restarted = open(&config, limits).await;
    for feed in [&feed, &restarted] {
        let topic = feed.topic(topic.name()).expect("it exists");
        let mut cursor = Cursor { offset: 0, ..topic.head() };
        let mut received = Vec::new();
        while cursor.offset < COUNT as u64 {
            let read = topic.read_after(cursor, 7).await.expect("reads");
            assert!(read.gap == 0 && !read.reset && !read.messages.is_empty());
            assert!(read.messages.len() <= 7);
            received.extend(read.messages.iter().map(|message| {
                serde_json::from_slice::<serde_json::Value>(message).expect("JSON")["text"].clone()
            }));
            cursor = read.cursor;
        }
        let expected: Vec<serde_json::Value> =
            (0..COUNT).map(|number| serde_json::Value::String(text(number))).collect();
        assert!(received == expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nearly_full_stream_deletes_the_oldest_messages_of_all_topics() {
    let Some(nats) = NatsServer::start() else { return };
    let config =
        NatsConfig { stream_bytes: 100_000, ..new_store(nats.url(), Retention::default()) };
    let feed = open(&config, FeedLimits::default()).await;
    let _following = follow(&feed);
    for number in 0..200 {
        let name = format!("topic-{}", number % 4).parse().expect("a good name");
        let topic = feed.topic(&name).expect("room");
        let message = NewMessage { sender: "A".into(), text: "x".repeat(2_000) };
        topic.publish(message).await.expect("stored");
        if number % 10 == 0 {
            feed.expire().await;
        }
    }
    let restarted = open(&config, FeedLimits::default()).await;
    for number in 0..4 {
        let name = format!("topic-{number}").parse().expect("a good name");
        assert_eq!(restarted.topic(&name).expect("it exists").head().offset, 50);
    }
}

/// NATS loses what it had stored, as after a loss of power; with `more` another server stores new
/// messages before the first one notices.
async fn lose_messages(more: bool) {
    let Some(mut nats) = NatsServer::start() else { return };
    let (stream, port) = (new_stream(), nats.port);
    let server = server_on(&nats.url(), &stream).await;
    let before = server.publish("kept").await;
    nats.kill();
    let copy = nats.copy_of_store();
    nats.restart().await;
    let publish = async |server: &TestServer, text: &str| {
        soon(async {
            loop {
                if let Ok(stored) = server.try_publish("room", text).await {
                    return stored;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    };
    let lost = publish(&server, "lost").await;
    publish(&server, "lost as well").await;
    nats.kill();
    nats.replace_store(&copy);
    if more {
        nats.restart_on(free_port()).await;
        let other = server_on(&nats.url(), &stream).await;
        for text in ["new", "newer", "newest"] {
            assert_eq!(publish(&other, text).await.epoch, before.epoch);
        }
        other.stop().await;
        nats.kill();
    }
    nats.restart_on(port).await;
    let error = soon(async {
        loop {
            let answer = server.post("/topics/room/messages", new_message("too late")).await;
            let error = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
            if error.contains("NATS has lost messages") {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(error.contains("restart all servers"), "{error}");
    server.stop().await;
    let restarted = server_on(&nats.url(), &stream).await;
    let stored = publish(&restarted, "after the loss").await;
    assert_ne!(stored.epoch, before.epoch, "offsets are used again");
    let old = poll(&restarted, &format!("epoch={}&after={}", lost.epoch, lost.offset)).await;
    assert!(old.reset, "{old:?}");
    // All servers agree, also those that start later.
    let late = server_on(&nats.url(), &stream).await;
    assert_eq!(publish(&late, "later").await.epoch, stored.epoch);
    restarted.stop().await;
    late.stop().await;
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_messages_begin_a_new_epoch() {
    lose_messages(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_messages_are_noticed_even_if_others_have_taken_their_place() {
    lose_messages(true).await;
}

/// Hands each connection to the next of `servers`.
async fn balance(listener: TcpListener, servers: [SocketAddr; 2]) {
    for server in servers.into_iter().cycle() {
        let (mut client, _) = listener.accept().await.expect("accepts");
        tokio::spawn(async move {
            let mut server = TcpStream::connect(server).await.expect("it listens");
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_test_through_a_load_balancer_adds_up_the_counters_of_the_servers() {
    let Some(nats) = NatsServer::start() else { return };
    let stream = new_stream();
    let servers = [server_on(&nats.url(), &stream).await, server_on(&nats.url(), &stream).await];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    let balancing = balance(listener, [servers[0].address, servers[1].address]);
    let _balancer = AbortOnDropHandle::new(tokio::spawn(balancing));

    let behind = servers.iter().map(TestServer::dialer).collect();
    let source = ServerSource::Target { dialer: Dialer::new(address), behind };
    let scenario = Scenario::from_toml(crate::targets::SCENARIO).expect("a good scenario");
    let load_test = LoadTest::new(scenario, source).expect("this machine can carry it");
    let run = load_test.measure(std::future::pending(), &|_| {}).await;

    assert_eq!(run.cells.len(), 4, "{:?} {:?}", run.failed, run.stopped_early);
    for Cell { variant, deliveries, requests, .. } in &run.cells {
        assert_eq!(deliveries.received, deliveries.expected, "{variant}");
        assert!(requests.client_total > 0, "{variant}");
        assert_eq!(requests.server_total, Some(requests.client_total), "{variant}");
    }
}
