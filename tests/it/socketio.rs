//! What is special about Socket.IO: its packets on the wire, publishing with an acknowledgement, a
//! queue that fills, and a shutdown after which clients come back.

use std::sync::Arc;

use poll_vs_push::message::Cursor;
use poll_vs_push::transport::{Subscriber, Transport, Wish};
use poll_vs_push::wire::{Dialer, HttpConnection, Meter, WireError};

use crate::sse::{FORGOTTEN, Running, room};

const WAYS: [Transport; 2] = [Transport::SocketioPolling, Transport::SocketioWebsocket];

async fn subscribe(server: &Running, transport: Transport, after: u64) -> (Subscriber, Arc<Meter>) {
    let epoch = server.app.feed.topic(&room()).expect("room for one").head().epoch;
    let meter = Arc::new(Meter::default());
    let dialer = Dialer::new(server.address).with_meter(meter.clone());
    let wish = Wish { cursor: Some(Cursor { epoch, offset: after }), ..Wish::new(room()) };
    let connecting = Subscriber::connect(transport, dialer, wish);
    let subscriber = tokio::time::timeout(FORGOTTEN, connecting).await.expect("in time");
    (subscriber.expect("subscribes"), meter)
}

/// More than a queue holds, to a subscriber that begins to read when all is there.
#[tokio::test]
async fn a_full_queue_is_waited_for_and_loses_nothing() {
    for transport in WAYS {
        let server = Running::start(|_| ()).await;
        for number in 0..1_000 {
            server.publish(&format!("{number}\r\n\u{1e}é"));
        }
        let (mut subscriber, meter) = subscribe(&server, transport, 0).await;
        let mut payload = 0;
        for number in 0..1_000 {
            let next = tokio::time::timeout(FORGOTTEN, subscriber.next()).await.expect("in time");
            let message = next.expect("hears").messages.remove(0);
            assert_eq!(message.text, format!("{number}\r\n\u{1e}é"));
            payload += message.encode().len() as u64;
        }
        assert_eq!(subscriber.cursor().offset, 1_000);
        let tally = meter.tally();
        assert_eq!(tally.down().payload, payload, "{transport}");
        let counted = server.app.metrics.of(transport);
        assert_eq!(counted.requests.get(), tally.requests, "{transport}");
        assert_eq!(counted.deliveries.get(), 1_000, "{transport}");
        server.stop().await;
    }
}

/// Every packet by hand, as the protocol's description has it.
#[tokio::test]
async fn publishes_with_an_acknowledgement() {
    let server = Running::start(|_| ()).await;
    let mut http = HttpConnection::new(Dialer::new(server.address));
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = http.get(path).await.expect("a session");
    let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
    let path = format!("{path}&sid={}", opened["sid"].as_str().expect("an id"));
    http.post(&path, "40".into()).await.expect("taken");
    let mut heard = String::new();
    for (packet, wanted) in [
        (r#"421["publish",{"topic":"room","sender":"A","text":"hi"}]"#, r#"431[{"epoch":""#),
        (r#"422["publish",{"topic":"a b","sender":"A","text":"hi"}]"#, "432[{\"error\":\"topic:"),
        (r#"423["publish",{"topic":"room"}]"#, r#"433[{"error":"the body must be"#),
        (r#"424["publish",7]"#, r#"434[{"error":"#),
        (r#"42["subscribe",{"topic":""}]"#, r#"42["error",{"event":"error","error":"topic:"#),
        (r#"42["subscribe",{"topic":"room","after":0}]"#, r#"42["subscribed",{"event":"subscri"#),
        (r#"42["publish",{"topic":"room","sender":"A","text":"you"}]"#, r#""text":"you"}]"#),
    ] {
        http.post(&path, packet.to_owned().into()).await.expect("taken");
        while !heard.contains(wanted) {
            let poll = tokio::time::timeout(FORGOTTEN, http.get(&path)).await;
            let body = poll.unwrap_or_else(|_| panic!("no {wanted} in {heard}")).expect("answer");
            heard.push_str(std::str::from_utf8(&body).expect("text"));
        }
    }
    assert_eq!(server.app.metrics.published.get(), 2);
    server.stop().await;
}

/// After a disconnect packet official clients would not come back by themselves.
#[tokio::test]
async fn a_server_that_goes_away_closes_the_transport_and_not_the_client() {
    for transport in WAYS {
        let server = Running::start(|_| ()).await;
        let (mut subscriber, _) = subscribe(&server, transport, 0).await;
        let hearing = tokio::spawn(async move { subscriber.next().await });
        server.stop().await;
        let ended = tokio::time::timeout(FORGOTTEN, hearing).await.expect("in time");
        let error = ended.expect("no panic").expect_err("the server is gone");
        let is_end = matches!(error, WireError::Closed(_) | WireError::Broken(_))
            || matches!(error, WireError::Connect(_));
        assert!(is_end, "{transport}: {error}");
    }
}
