//! Requirements on every transport: one suite, run for each variant against a real server.

use std::time::Duration;

use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::message::{Cursor, Epoch};
use poll_vs_push::transport::SubscribeOptions;
use poll_vs_push::variant::{Extra, Transport, Variant};

use crate::support::{KEY, Reader, TestServer, eventually, new_message, options, soon};

/// Generates a test module per variant, so that a failure names test and variant.
macro_rules! suite {
    ($($module:ident: $variant:literal,)*) => {
        const COVERED: &[&str] = &[$($variant),*];
        $(mod $module {
            suite! {
                @each $variant,
                subscription_without_cursor_starts_at_the_head,
                resumes_from_a_cursor,
                first_subscriber_creates_the_topic,
                batches_respect_order_and_limit,
                no_news_is_an_empty_answer_or_none,
                gap_is_reported,
                cursor_of_another_epoch_is_reset,
                cursor_ahead_of_the_head_is_reset,
                invalid_query_is_rejected_with_a_reason,
                abandoned_wait_releases_its_resources,
                cancelled_wait_loses_nothing,
                message_published_before_the_first_wait_is_delivered,
                message_published_during_the_wait_is_delivered,
                two_subscribers_receive_the_same,
                topics_are_independent,
                burst_of_a_thousand_messages_is_delivered,
                any_text_is_delivered_unchanged,
                largest_message_is_delivered,
                oversized_message_is_rejected_and_others_are_delivered,
                simulated_link_changes_only_the_timing,
            }
        })*
    };
    (@each $variant:literal, $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($variant.parse().expect("a variant")).await;
            }
        )*
    };
}

suite! {
    short_polling: "short-polling",
    short_polling_conditional: "short-polling+conditional",
    short_polling_adaptive: "short-polling+adaptive",
    short_polling_gzip: "short-polling+gzip",
    short_polling_h2: "short-polling+h2",
    short_polling_new_connection: "short-polling+new-connection",
    long_polling: "long-polling",
    long_polling_conditional_gzip: "long-polling+conditional+gzip",
    long_polling_h2: "long-polling+h2",
    long_polling_new_connection: "long-polling+new-connection",
    websocket: "websocket",
    sse: "sse",
    sse_h2: "sse+h2",
    socketio_polling: "socketio-polling",
    socketio_websocket: "socketio-websocket",
    ndjson: "ndjson",
    ndjson_h2: "ndjson+h2",
}

#[test]
fn suite_covers_every_transport_and_extra() {
    let covered: Vec<Variant> =
        COVERED.iter().map(|name| name.parse().expect("a variant")).collect();
    for transport in Transport::ALL {
        let of_it = || covered.iter().filter(|variant| variant.transport == transport);
        assert!(of_it().any(|variant| *variant == transport), "add {transport} to `suite!`");
        // TLS is below the transports: tests/it/tls.rs runs each of them over it.
        let is_below = |extra: &&Extra| matches!(extra, Extra::Tls | Extra::Resumed);
        for extra in transport.extras().iter().filter(|extra| !is_below(extra)) {
            let has = of_it().any(|variant| variant.has(*extra));
            assert!(has, "add {transport}+{} to `suite!`", extra.name());
        }
    }
}

/// The differences between transports that the tests depend on.
struct Traits {
    /// The last segment of its path, if subscriptions have a path and a query.
    route: Option<&'static str>,
    /// Whether it answers without a message.
    has_empty_answers: bool,
    /// When the server holds state for a subscriber.
    state: ServerState,
}

enum ServerState {
    Never,
    DuringRequest,
    Always,
    /// As `Always`, and after a disconnection until a heartbeat is missed.
    UntilMissed,
}

fn traits(transport: Transport) -> Traits {
    match transport {
        Transport::ShortPolling => {
            Traits { route: Some("poll"), has_empty_answers: true, state: ServerState::Never }
        }
        Transport::LongPolling => Traits {
            route: Some("long-poll"),
            has_empty_answers: true,
            state: ServerState::DuringRequest,
        },
        Transport::WebSocket => {
            Traits { route: Some("ws"), has_empty_answers: false, state: ServerState::Always }
        }
        Transport::Sse => {
            Traits { route: Some("events"), has_empty_answers: false, state: ServerState::Always }
        }
        Transport::Ndjson => {
            Traits { route: Some("stream"), has_empty_answers: false, state: ServerState::Always }
        }
        Transport::SocketioPolling => {
            Traits { route: None, has_empty_answers: false, state: ServerState::UntilMissed }
        }
        Transport::SocketioWebsocket => {
            Traits { route: None, has_empty_answers: false, state: ServerState::Always }
        }
    }
}

fn numbered(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn publish_numbered(server: &TestServer, range: std::ops::RangeInclusive<u64>) {
    for text in numbered(range) {
        server.publish(&text).await;
    }
}

async fn subscription_without_cursor_starts_at_the_head(variant: Variant) {
    let server = TestServer::start().await;
    publish_numbered(&server, 1..=5).await;
    let mut reader = server.subscribe(variant, None).await;
    assert_eq!(reader.cursor(), server.at(5));
    publish_numbered(&server, 6..=6).await;
    assert_eq!(reader.texts(1).await, ["6"]);
    drop(reader);
    server.stop().await;
}

async fn resumes_from_a_cursor(variant: Variant) {
    let server = TestServer::start().await;
    publish_numbered(&server, 1..=5).await;
    let mut reader = server.subscribe(variant, Some(server.at(0))).await;
    assert_eq!(reader.texts(5).await, numbered(1..=5));
    let cursor = reader.cursor();
    drop(reader);
    publish_numbered(&server, 6..=8).await;
    let mut reader = server.subscribe(variant, Some(cursor)).await;
    assert_eq!(reader.texts(3).await, numbered(6..=8));
    drop(reader);
    server.stop().await;
}

async fn first_subscriber_creates_the_topic(variant: Variant) {
    let server = TestServer::start().await;
    assert_eq!(server.app.feed.topic_count(), 0);
    let mut reader = server.subscribe(variant, None).await;
    assert_eq!(reader.cursor().offset, 0);
    server.publish("first").await;
    assert_eq!(reader.texts(1).await, ["first"]);
    drop(reader);
    server.stop().await;
}

async fn batches_respect_order_and_limit(variant: Variant) {
    let server = TestServer::with(|config| config.max_batch = 3).await;
    publish_numbered(&server, 1..=10).await;
    let mut reader = server.subscribe(variant, Some(server.at(0))).await;
    let mut texts = Vec::new();
    while texts.len() < 10 {
        let received = reader.next().await;
        assert!(received.messages.len() <= 3, "{received:?}");
        texts.extend(received.messages.into_iter().map(|message| message.text));
    }
    assert_eq!(texts, numbered(1..=10));
    drop(reader);
    server.stop().await;
}

async fn no_news_is_an_empty_answer_or_none(variant: Variant) {
    let server = TestServer::start().await;
    publish_numbered(&server, 1..=1).await;
    let options =
        SubscribeOptions { wait: Duration::from_millis(2), ..options(Some(server.at(1))) };
    let mut reader = Reader::connect(variant, server.dialer(), options).await;
    if traits(variant.transport).has_empty_answers {
        for _ in 0..3 {
            assert_eq!(reader.next().await, Default::default());
            assert_eq!(reader.cursor(), server.at(1));
        }
        assert_eq!(server.app.metrics.of(variant.transport).empty_answers.get(), 3);
    }
    publish_numbered(&server, 2..=2).await;
    assert_eq!(reader.texts(1).await, ["2"]);
    drop(reader);
    server.stop().await;
}

async fn gap_is_reported(variant: Variant) {
    let server = TestServer::with(|config| config.retain_messages = 3).await;
    publish_numbered(&server, 1..=10).await;
    let mut reader = server.subscribe(variant, Some(server.at(2))).await;
    let mut received = reader.next().await;
    assert_eq!((received.gap, received.reset), (5, false));
    assert!(reader.cursor().offset >= 7, "a client that reconnects now is told of the gap again");
    received.messages.extend(reader.receive(3 - received.messages.len()).await.messages);
    let offsets: Vec<u64> = received.messages.iter().map(|message| message.offset).collect();
    assert_eq!(offsets, [8, 9, 10]);
    publish_numbered(&server, 11..=11).await;
    assert_eq!(reader.texts(1).await, ["11"]);
    drop(reader);
    server.stop().await;
}

async fn cursor_of_another_epoch_is_reset(variant: Variant) {
    let server = TestServer::start().await;
    let Cursor { epoch: Epoch(epoch), .. } = server.at(0);
    is_reset(&server, variant, Cursor { epoch: Epoch(!epoch), offset: 2 }).await;
    server.stop().await;
}

async fn cursor_ahead_of_the_head_is_reset(variant: Variant) {
    let server = TestServer::start().await;
    is_reset(&server, variant, server.at(99)).await;
    server.stop().await;
}

async fn is_reset(server: &TestServer, variant: Variant, cursor: Cursor) {
    publish_numbered(server, 1..=3).await;
    let mut reader = server.subscribe(variant, Some(cursor)).await;
    let received = reader.next().await;
    assert!(received.reset && received.messages.is_empty(), "{received:?}");
    assert_eq!(reader.cursor(), server.at(3));
    publish_numbered(server, 4..=4).await;
    assert_eq!(reader.texts(1).await, ["4"]);
}

async fn invalid_query_is_rejected_with_a_reason(variant: Variant) {
    let server = TestServer::start().await;
    let mut http = HttpConnection::new(dialer_that_upgrades(&server));
    let cases = [
        ("after=x", "after: 'x' is not a whole number"),
        ("after=-1", "after: '-1' is not a whole number"),
        ("after=1.5", "after: '1.5' is not a whole number"),
        ("after=18446744073709551616", "is not a whole number"),
        ("epoch=12&after=0", "epoch: '12' is not eight hex digits"),
        ("epoch=ghijklmn&after=0", "epoch: 'ghijklmn' is not"),
        ("after=0&limit=0", "limit: '0' is not at least 1"),
        ("after=0&limit=many", "limit: 'many' is not a whole number"),
        ("after=0&wait=long", "wait: 'long' is not a number of seconds"),
        ("after=0&wait=-1", "wait: '-1' is not a number of seconds"),
        ("after=0&wait=NaN", "wait: 'NaN' is not a number of seconds"),
        ("after=1&after=2", ""),
    ];
    // Socket.IO is tested separately.
    let Some(route) = traits(variant.transport).route else { return server.stop().await };
    for (query, reason) in cases {
        let path = format!("/topics/room/{route}?{query}");
        let answer = soon(http.request("GET".parse().expect("a method"), &path, "".into())).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.headers["content-type"], "application/json", "{query}");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let error = json["error"].as_str().expect("an error");
        assert!(error.contains(reason) && !error.is_empty(), "{query}: {error}");
    }
    drop(http);
    server.stop().await;
}

/// The query of a WebSocket route is parsed only for an upgrade; the other routes ignore its
/// headers.
fn dialer_that_upgrades(server: &TestServer) -> Dialer {
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    let header = |(name, value): (&str, &str)| {
        (name.parse().expect("a name"), value.parse().expect("a value"))
    };
    server.dialer().with_headers(&headers.map(header).into_iter().collect())
}

async fn abandoned_wait_releases_its_resources(variant: Variant) {
    let server = TestServer::start().await;
    let mut silent = server.subscribe(variant, None).await;
    let mut asking = server.subscribe(variant, None).await;
    let requests = &server.app.metrics.of(variant.transport).requests;
    let requests_before = requests.get();
    let waiting = tokio::spawn(async move { asking.receive(1).await });
    let (held_with, held_without) = match traits(variant.transport).state {
        ServerState::Never => (0, 0),
        ServerState::DuringRequest => (1, 0),
        ServerState::Always => (2, 1),
        ServerState::UntilMissed => (2, 1),
    };
    if matches!(traits(variant.transport).state, ServerState::UntilMissed) {
        // A poll that is cancelled ends its session; before it is sent, nothing can be cancelled.
        eventually("polled", || requests.get() > requests_before).await;
    }
    eventually("held", || server.waiting(variant.transport) == held_with).await;
    waiting.abort();
    assert!(waiting.await.expect_err("aborted").is_cancelled());
    let silent_connections = if variant.has(Extra::NewConnection) { 0 } else { 1 };
    let is_gone = || server.app.metrics.open_connections.get() == silent_connections;
    eventually("gone", is_gone).await;
    eventually("let go", || server.waiting(variant.transport) == held_without).await;
    server.publish("after").await;
    assert_eq!(silent.texts(1).await, ["after"]);
    let mut comes = server.subscribe(variant, Some(server.at(0))).await;
    assert_eq!(comes.texts(1).await, ["after"]);
    drop((silent, comes));
    server.until_all_have_left().await;
    if !matches!(traits(variant.transport).state, ServerState::UntilMissed) {
        eventually("let go", || server.waiting(variant.transport) == 0).await;
    }
    server.stop().await;
}

async fn cancelled_wait_loses_nothing(variant: Variant) {
    let server = TestServer::start().await;
    let mut reader = server.subscribe(variant, None).await;
    let mut texts = Vec::new();
    for number in 1..=30 {
        publish_numbered(&server, number..=number).await;
        let patience = Duration::from_micros(100 * number);
        if let Ok(received) = tokio::time::timeout(patience, reader.next()).await {
            assert_eq!((received.gap, received.reset), (0, false));
            texts.extend(received.messages.into_iter().map(|message| message.text));
        }
    }
    texts.extend(reader.texts(30 - texts.len()).await);
    assert_eq!(texts, numbered(1..=30));
    drop(reader);
    server.stop().await;
}

async fn message_published_before_the_first_wait_is_delivered(variant: Variant) {
    let server = TestServer::start().await;
    let mut reader = server.subscribe(variant, None).await;
    server.publish("early").await;
    assert_eq!(reader.texts(1).await, ["early"]);
    drop(reader);
    server.stop().await;
}

async fn message_published_during_the_wait_is_delivered(variant: Variant) {
    let server = TestServer::start().await;
    let mut reader = server.subscribe(variant, None).await;
    for round in 0..200 {
        let publishing = async {
            for _ in 0..round % 20 {
                tokio::task::yield_now().await;
            }
            server.publish("now").await;
        };
        let (received, ()) = tokio::join!(reader.texts(1), publishing);
        assert_eq!(received, ["now"]);
    }
    drop(reader);
    server.stop().await;
}

async fn two_subscribers_receive_the_same(variant: Variant) {
    let server = TestServer::start().await;
    let mut one = server.subscribe(variant, None).await;
    let mut other = server.subscribe(variant, None).await;
    for text in ["a", "b", "c"] {
        assert_eq!(server.post("/topics/room/messages", new_message(text)).await.status, 201);
    }
    let (received, received_too) = tokio::join!(one.receive(3), other.receive(3));
    assert_eq!(received.messages, received_too.messages);
    eventually("counted", || server.app.metrics.of(variant.transport).deliveries.get() == 6).await;
    drop((one, other));
    server.stop().await;
}

async fn topics_are_independent(variant: Variant) {
    let server = TestServer::start().await;
    let elsewhere =
        SubscribeOptions { topic: "elsewhere".parse().expect("a good name"), ..options(None) };
    let mut here = server.subscribe(variant, None).await;
    let mut there = Reader::connect(variant, server.dialer(), elsewhere).await;
    server.try_publish("elsewhere", "there").await.expect("stored");
    server.publish("here").await;
    let (heard_here, heard_there) = tokio::join!(here.texts(1), there.texts(1));
    assert_eq!((heard_here, heard_there), (vec!["here".to_owned()], vec!["there".to_owned()]));
    drop((here, there));
    server.stop().await;
}

async fn burst_of_a_thousand_messages_is_delivered(variant: Variant) {
    let server = TestServer::start().await;
    let mut reader = server.subscribe(variant, None).await;
    let (received, ()) = tokio::join!(reader.texts(1_000), publish_numbered(&server, 1..=1_000));
    assert_eq!(received, numbered(1..=1_000));
    let mut late = server.subscribe(variant, Some(server.at(0))).await;
    assert_eq!(late.texts(1_000).await, received);
    drop((reader, late));
    server.stop().await;
}

async fn any_text_is_delivered_unchanged(variant: Variant) {
    const TEXTS: [&str; 14] = [
        "",
        " ",
        "one\rtwo\nthree\r\nfour\n\nfive\n",
        "\0 and \u{1}\u{1f}\u{7f}",
        "\"quotes\" 'and' \\back\\slashes\\",
        "</script><script>alert(1)</script><!-- & -->",
        "data: not an event\nevent: nor this\nid: 7",
        "{\"event\":\"gap\",\"gap\":1}",
        "héllo wörld, žluťoučký kůň",
        "日本語 中文 한국어 العربية עברית",
        "👩‍👩‍👧‍👦 🏳️‍🌈 𝒳 e\u{301}",
        "\u{2028}line\u{2029}paragraph\u{85}\u{feff}",
        "\u{202e}right to left\u{202c} \u{fffd} \u{10ffff}",
        "\t\u{8}\u{c}",
    ];
    let server = TestServer::start().await;
    let mut reader = server.subscribe(variant, None).await;
    for text in TEXTS {
        assert_eq!(server.post("/topics/room/messages", new_message(text)).await.status, 201);
    }
    assert_eq!(reader.texts(TEXTS.len()).await, TEXTS);
    drop(reader);
    server.stop().await;
}

async fn largest_message_is_delivered(variant: Variant) {
    let server = TestServer::start().await;
    let text_bytes_max = server.app.config.max_message_bytes - "A".len();
    let mut reader = server.subscribe(variant, None).await;
    // JSON encodes a NUL in six bytes, the longest encoding of a character.
    for unit in ["x", "\0", "\""] {
        let text = unit.repeat(text_bytes_max);
        assert_eq!(server.post("/topics/room/messages", new_message(&text)).await.status, 201);
        assert!(reader.texts(1).await == [text], "{unit:?}");
    }
    drop(reader);
    server.stop().await;
}

async fn oversized_message_is_rejected_and_others_are_delivered(variant: Variant) {
    let server = TestServer::with(|config| config.max_message_bytes = 100).await;
    let mut reader = server.subscribe(variant, None).await;
    for bytes in [100, 10_000] {
        let answer = server.post("/topics/room/messages", new_message(&"x".repeat(bytes))).await;
        assert_eq!(answer.status, 413, "{bytes}");
    }
    server.publish(&"x".repeat(99)).await;
    assert_eq!(reader.texts(1).await, ["x".repeat(99)]);
    drop(reader);
    server.stop().await;
}

async fn simulated_link_changes_only_the_timing(variant: Variant) {
    let server = TestServer::start().await;
    let rtt = Duration::from_millis(20);
    let dialer = server.dialer().with_round_trip(rtt);
    let mut reader = Reader::connect(variant, dialer, options(Some(server.at(0)))).await;
    let published_at = std::time::Instant::now();
    publish_numbered(&server, 1..=100).await;
    assert_eq!(reader.texts(100).await, numbered(1..=100));
    assert!(published_at.elapsed() >= rtt / 2);
    drop(reader);
    server.stop().await;
}
