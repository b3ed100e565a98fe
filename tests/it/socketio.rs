//! Socket.IO: packets on the wire, publishing with acknowledgements, bounded output, and a shutdown
//! after which clients reconnect.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::client::{ClientError, HttpConnection, Meter};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::Transport;
use tokio::time::sleep;

use crate::support::{Raw, Reader, TestServer, WireFrame, options, soon};

const TRANSPORTS: [Transport; 2] = [Transport::SocketioPolling, Transport::SocketioWebsocket];

/// More messages than one write contains, for a subscriber that starts to read when all are
/// published.
#[tokio::test]
async fn long_backlog_is_delivered_completely_and_in_order() {
    for transport in TRANSPORTS {
        let server = TestServer::start().await;
        let texts: Vec<String> = (0..1_000).map(|number| format!("{number}\r\n\u{1e}é")).collect();
        for text in &texts {
            server.publish(text).await;
        }
        let meter = Arc::new(Meter::default());
        let dialer = server.dialer().with_meter(meter.clone());
        let mut reader = Reader::connect(transport, dialer, options(Some(server.at(0)))).await;
        let received = reader.receive(1_000).await;
        assert!(received.messages.iter().map(|message| &message.text).eq(&texts));
        let payload = received.messages.iter().map(|message| message.encode().len() as u64);
        let counts = meter.counts();
        assert_eq!(counts.down().payload, payload.sum::<u64>(), "{transport}");
        let counted = server.app.metrics.of(transport);
        assert_eq!(counted.requests.get(), counts.requests, "{transport}");
        assert_eq!(counted.deliveries.get(), 1_000, "{transport}");
        server.stop().await;
    }
}

/// A subscriber with a long backlog that does not read for a while. It receives the ping of that
/// time when it reads again, and answers it.
#[tokio::test]
async fn ping_reaches_a_subscriber_with_a_long_backlog() {
    for transport in TRANSPORTS {
        let heartbeat = Duration::from_secs(2);
        let server = TestServer::with(|config| {
            config.heartbeat = heartbeat;
            config.retain_bytes = 1 << 30;
        })
        .await;
        let text = "x".repeat(32 << 10);
        for _ in 0..800 {
            server.publish(&text).await;
        }
        let mut reader = server.subscribe(transport, Some(server.at(0))).await;
        for (silence, count) in [(heartbeat / 8, 100), (heartbeat, 700)] {
            sleep(silence).await;
            assert_eq!(reader.texts(count).await.len(), count, "{transport}");
        }
        drop(reader);
        server.stop().await;
    }
}

/// Some clients disconnect at a response with more than sixteen packets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poll_response_contains_at_most_sixteen_packets() {
    let server = TestServer::start().await;
    for number in 1..=1_000 {
        server.publish(&number.to_string()).await;
    }
    let (mut http, path) = polling_session(&server).await;
    let publish = |id| format!(r#"42{id}["publish",{{"topic":"other","sender":"A","text":""}}]"#);
    let publications: Vec<String> = (0..100).map(publish).collect();
    let subscribe = r#"42["subscribe",{"topic":"room","after":0}]"#;
    for body in [subscribe.to_owned(), publications.join("\u{1e}")] {
        http.post(&path, body.into()).await.expect("taken");
    }
    let (mut offsets, mut acknowledged) = (Vec::new(), HashSet::new());
    while offsets.len() < 1_000 || acknowledged.len() < 100 {
        let body = soon(http.get(&path)).await.expect("an answer");
        let text = std::str::from_utf8(&body).expect("text");
        let packets: Vec<&str> = text.split('\u{1e}').collect();
        assert!(packets.len() <= 16, "{} packets", packets.len());
        for packet in packets {
            if packet == "2" {
                http.post(&path, "3".into()).await.expect("taken");
            } else if let Some(offset) = offset_of(packet) {
                offsets.push(offset);
            } else if let Some(acknowledgement) = packet.strip_prefix("43") {
                acknowledged.insert(acknowledgement.split_once('[').expect("JSON").0.to_owned());
            }
        }
    }
    assert!(offsets.into_iter().eq(1..=1_000));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_publishes_but_never_polls_is_disconnected() {
    let server = TestServer::start().await;
    let (mut http, path) = polling_session(&server).await;
    let publish = |id| format!(r#"42{id}["publish",{{"topic":"room","sender":"A","text":""}}]"#);
    let refused = || server.app.metrics.refusals(Refusal::SlowReader);
    let mut asked = 0;
    while refused() == 0 {
        let publications: Vec<String> = (asked..asked + 100).map(publish).collect();
        // After this response the session has ended.
        let _ = http.post(&path, publications.join("\u{1e}").into()).await;
        asked += 100;
        assert!(asked < 100_000, "it is never dropped");
    }
    let stored = server.app.metrics.published.get();
    assert!((1_000..2_000).contains(&stored), "{stored}");
    // Other clients are served.
    let (mut http, path) = polling_session(&server).await;
    http.post(&path, publish(1).into()).await.expect("taken");
    server.stop().await;
}

/// The offset of the message in a packet, if it contains one.
fn offset_of(packet: &str) -> Option<u64> {
    let message = packet.strip_prefix(r#"42["message","#)?;
    let json = message.strip_suffix(']').expect("the end of an array");
    let message: serde_json::Value = serde_json::from_str(json).expect("JSON");
    Some(message["offset"].as_u64().expect("a number"))
}

/// A connected session and the path of its requests.
async fn polling_session(server: &TestServer) -> (HttpConnection, String) {
    let mut http = server.http();
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = http.get(path).await.expect("a session");
    let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
    let path = format!("{path}&sid={}", opened["sid"].as_str().expect("an id"));
    http.post(&path, "40".into()).await.expect("taken");
    (http, path)
}

/// A body that causes almost the maximum of queued output: each of its packets is answered with an
/// error packet.
pub fn too_many_connections() -> String {
    vec!["40/nowhere,"; 1_100].join("\u{1e}")
}

#[tokio::test]
async fn acknowledgement_follows_earlier_queued_packets() {
    let server = TestServer::start().await;
    let (mut http, path) = polling_session(&server).await;
    soon(http.get(&path)).await.expect("connected");
    http.post(&path, too_many_connections().into()).await.expect("taken");
    let publish = r#"421["publish",{"topic":"room","sender":"A","text":""}]"#;
    http.post(&path, publish.into()).await.expect("taken");
    assert_eq!(server.app.metrics.published.get(), 1);
    let mut received = String::new();
    while !received.contains("431[") {
        let body = soon(http.get(&path)).await.expect("an answer");
        received.push_str(std::str::from_utf8(&body).expect("text"));
    }
    server.stop().await;
}

/// With requests on other connections, and repeated connects.
#[tokio::test]
async fn upgraded_session_receives_repeated_long_backlogs() {
    let server = TestServer::start().await;
    for number in 1..=1_000 {
        server.publish(&number.to_string()).await;
    }
    let (mut http, path) = polling_session(&server).await;
    soon(http.get(&path)).await.expect("connected");
    let mut socket = Raw::connect(server.address).await;
    let path = path.replace("polling", "websocket");
    socket.upgrade(&path).await;
    socket.send_frame(0x81, b"2probe").await;
    assert_eq!(socket.frame().await, WireFrame::Text("3probe".into()));
    let mut other = Raw::connect(server.address).await;
    for packets in [["5"].as_slice(), &["41", "40"]] {
        for packet in packets {
            socket.send_frame(0x81, packet.as_bytes()).await;
        }
        other.get(&path, "").await;
        assert_eq!(other.answer().await.status, 426);
        if packets.len() > 1 {
            while !matches!(socket.frame().await, WireFrame::Text(text) if text.starts_with("40")) {
            }
        }
        socket.send_frame(0x81, br#"42["subscribe",{"topic":"room","after":0}]"#).await;
        let mut messages = 0;
        while messages < 1_000 {
            match socket.frame().await {
                WireFrame::Text(text) => messages += i32::from(text.starts_with("42[\"message\"")),
                other => panic!("{other:?} where a packet should be"),
            }
        }
    }
    drop((socket, other, http));
    server.stop().await;
}

/// All packets written by hand, as in the protocol description.
#[tokio::test]
async fn publish_event_is_acknowledged() {
    let server = TestServer::start().await;
    let (mut http, path) = polling_session(&server).await;
    let mut received = String::new();
    for (packet, wanted) in [
        (r#"421["publish",{"topic":"room","sender":"A","text":"hi"}]"#, r#"431[{"epoch":""#),
        (r#"422["publish",{"topic":"a b","sender":"A","text":"hi"}]"#, "432[{\"error\":\"topic:"),
        (r#"423["publish",{"topic":"room"}]"#, r#"433[{"error":"the body must be"#),
        (r#"424["publish",7]"#, r#"434[{"error":"#),
        (r#"425["publish",["room","A","q"]]"#, r#"435[{"error":"#),
        (r#"426["publish"]"#, r#"436[{"error":"the event has no argument"#),
        (r#"42["subscribe"]"#, r#"42["error",{"event":"error","error":"the event has no argument"#),
        (r#"42["subscribe",["room"]]"#, "expected an object"),
        (r#"42["subscribe",{"topic":""}]"#, r#"42["error",{"event":"error","error":"topic:"#),
        (r#"42["subscribe",{"topic":"room","after":0}]"#, r#"42["subscribed",{"event":"subscri"#),
        (r#"42["publish",{"topic":"room","sender":"A","text":"you"}]"#, r#""text":"you"}]"#),
    ] {
        http.post(&path, packet.to_owned().into()).await.expect("taken");
        while !received.contains(wanted) {
            let body = soon(http.get(&path)).await.expect("an answer");
            received.push_str(std::str::from_utf8(&body).expect("text"));
        }
    }
    assert_eq!(server.app.metrics.published.get(), 2);
    server.stop().await;
}

/// Official clients do not reconnect after a disconnect packet.
#[tokio::test]
async fn shutdown_closes_the_transport_so_that_clients_reconnect() {
    for transport in TRANSPORTS {
        let server = TestServer::start().await;
        let connecting = Subscriber::connect(transport, server.dialer(), options(None));
        let mut subscriber = soon(connecting).await.expect("subscribes");
        let hearing = tokio::spawn(async move { subscriber.next().await });
        server.stop().await;
        let error = soon(hearing).await.expect("no panic").expect_err("the server is gone");
        let is_end = matches!(error, ClientError::Closed(_) | ClientError::Broken(_))
            || matches!(error, ClientError::Connect(_));
        assert!(is_end, "{transport}: {error}");
    }
}
