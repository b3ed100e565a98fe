//! Attacks on the server's memory and log by clients of HTTP/1, WebSocket and Socket.IO, and by
//! clients that publish.

use hyper::Method;

use crate::support::{Raw, frame, new_message, soon};
use crate::victim::{MIB, Victim, flood};

#[tokio::test]
async fn pings_whose_answers_are_not_read_take_little_memory() {
    for path in ["/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let mut victim = Victim::start(&[]).await;
        let mut raw = Raw::connect_narrow(victim.address()).await;
        raw.upgrade(path).await;
        let pings = frame(0x89, &[b'p'; 125]).repeat(500);
        flood(&mut raw, &pings, 128 * MIB).await;
        victim.withstands(path).await;
        drop(raw);
        victim.recovers(path).await;
    }
}

/// Responses to a client's own messages are bounded, as pongs are.
#[tokio::test]
async fn errors_that_are_not_read_take_little_memory() {
    for path in ["/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let mut victim = Victim::start(&[]).await;
        let mut raw = Raw::connect_narrow(victim.address()).await;
        raw.upgrade(path).await;
        let bad = match path.starts_with("/socket.io") {
            true => format!(
                "42[\"subscribe\",{{\"topic\":\"room\",\"after\":\"{}\"}}]",
                "x".repeat(390_000)
            ),
            false => format!("{{\"sender\":\"{}\"}}", "x".repeat(390_000)),
        };
        raw.send_frame(0x81, b"40").await;
        flood(&mut raw, &frame(0x81, bad.as_bytes()), 64 * MIB).await;
        victim.withstands(path).await;
        drop(raw);
        victim.recovers(path).await;
    }
}

#[tokio::test]
async fn messages_in_ever_new_topics_take_bounded_memory() {
    let flags = ["--max-topics-per-address", "2000", "--publish-rate", "1000000"];
    let mut victim = Victim::start(&flags).await;
    let mut http = victim.http();
    let message = new_message(&"x".repeat(64_000));
    for number in 0..1_600 {
        let path = format!("/topics/new-{number}/messages");
        let answer = soon(http.request(Method::POST, &path, message.clone().into())).await;
        assert_eq!(answer.expect("an answer").status, 201);
    }
    victim.withstands("100 MB of messages in new topics").await;
    drop(http);
    victim.recovers("100 MB of messages in new topics").await;
}

#[tokio::test]
async fn requests_whose_responses_are_not_read_take_little_memory() {
    let mut victim = Victim::start(&[]).await;
    let mut http = victim.http();
    for _ in 0..16 {
        let message = new_message(&"x".repeat(64_000)).into();
        soon(http.request(Method::POST, "/topics/big/messages", message)).await.expect("stored");
    }
    let mut raw = Raw::connect_narrow(victim.address()).await;
    let requests = b"GET /topics/big/poll?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    flood(&mut raw, &requests, 16 * MIB).await;
    victim.withstands("pipelined requests").await;
    drop((raw, http));
    victim.recovers("pipelined requests").await;
}

/// The budget of one address bounds what 300 clients of it send and never complete, of which each
/// could hold 386 KiB.
#[tokio::test]
async fn messages_that_never_end_take_the_memory_of_one_address() {
    for path in
        ["/topics/room/messages", "/topics/room/ws", "/socket.io/?EIO=4&transport=websocket"]
    {
        let mut victim = Victim::start(&["--body-timeout", "60s"]).await;
        let mut clients = Vec::new();
        for _ in 0..300 {
            let mut raw = Raw::connect(victim.address()).await;
            if path.ends_with("messages") {
                let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
                raw.send(format!("{head}content-length: 390000\r\n\r\n")).await;
                raw.send_all_it_takes(&[b'x'; 389_999]).await;
            } else {
                raw.upgrade(path).await;
                // A message in two fragments, of which the second is never sent.
                raw.send_all_it_takes(&frame(0x01, &[b'x'; 389_999])).await;
            }
            clients.push(raw);
        }
        let what = format!("300 messages to {path} that never end");
        victim.withstands_address(&what).await;
        drop(clients);
        victim.recovers(&what).await;
    }
}

/// Sessions that are never polled, each with a POST whose packets are all answered.
#[tokio::test]
async fn sessions_that_are_not_polled_take_the_memory_of_one_client() {
    let mut victim = Victim::start(&[]).await;
    let mut http = victim.http();
    let path = "/socket.io/?EIO=4&transport=polling";
    // Each is answered with an error text of the server, which is longer.
    let packets = ["42[\"subscribe\",1]"; 300].join("\x1e");
    for _ in 0..400 {
        let opened = soon(http.get(path)).await.expect("a session");
        let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
        let session = format!("{path}&sid={}", opened["sid"].as_str().expect("an id"));
        let connected = soon(http.request(Method::POST, &session, "40".into())).await;
        assert_eq!(connected.expect("an answer").status, 200);
        // 200, or 400 once the budget of the connection is used.
        soon(http.request(Method::POST, &session, packets.clone().into()))
            .await
            .expect("an answer");
    }
    victim.withstands("sessions that are not polled").await;
    drop(http);
    victim.recovers("sessions that are not polled").await;
}

/// Parts of one byte must not keep the buffers that they arrive in.
#[tokio::test]
async fn bodies_in_chunks_of_one_byte_take_little_memory() {
    let mut victim = Victim::start(&[]).await;
    let mut http = victim.http();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let opened = soon(http.get("/socket.io/?EIO=4&transport=polling")).await.expect("opened");
        let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
        let path = format!(
            "/socket.io/?EIO=4&transport=polling&sid={}",
            opened["sid"].as_str().expect("an id")
        );
        let mut raw = Raw::connect(victim.address()).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
        raw.send(format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
        raw.send_all_it_takes(&b"1\r\nx\r\n".repeat(300_000)).await;
        clients.push(raw);
    }
    victim.withstands("chunks of one byte").await;
    drop((clients, http));
    victim.recovers("chunks of one byte").await;
}
