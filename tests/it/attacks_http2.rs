//! Attacks on the server's memory and log by clients of HTTP/2.

use std::time::Duration;

use hyper::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, Sender,
    WINDOW_UPDATE, frame, get, named_field, next_frame, opening, request_fields,
};
use crate::support::{Raw, new_message, soon};
use crate::victim::{MIB, Victim, flood};

const PRIORITY: u8 = 2;

/// Sends `bytes` repeatedly on one connection from which it does not read.
async fn withstands_flood(what: &str, bytes: &[u8]) {
    let mut victim = Victim::start(&[]).await;
    let mut raw = Raw::connect_narrow(victim.address()).await;
    raw.send(opening(0)).await;
    flood(&mut raw, bytes, 8 * MIB).await;
    victim.withstands(what).await;
    drop(raw);
    victim.recovers(what).await;
}

#[tokio::test]
async fn control_frames_take_little_memory() {
    for (what, one) in [
        ("pings", frame(PING, 0, 0, b"abcdefgh")),
        ("acknowledgements of pings that were never sent", frame(PING, ACK, 0, b"abcdefgh")),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("window updates", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("frames of no known type", frame(0xbe, 0, 0, &[0; 64])),
        ("data of a stream that does not exist", frame(DATA, 0, 1, b"x")),
    ] {
        withstands_flood(what, &one.repeat(1_000)).await;
    }
}

#[tokio::test]
async fn headers_without_an_end_take_little_memory() {
    let fields = named_field("x-long", &"y".repeat(100)).repeat(100);
    let continuation = frame(CONTINUATION, 0, 1, &fields);
    for (what, fields, more) in [
        ("continuations", fields, continuation.repeat(10)),
        ("empty continuations", Vec::new(), frame(CONTINUATION, 0, 1, b"").repeat(1_000)),
    ] {
        let mut victim = Victim::start(&[]).await;
        let mut raw = Raw::connect_narrow(victim.address()).await;
        raw.send(opening(0)).await;
        raw.send_all_it_takes(&frame(HEADERS, END_STREAM, 1, &fields)).await;
        flood(&mut raw, &more, 8 * MIB).await;
        victim.withstands(what).await;
        drop(raw);
        victim.recovers(what).await;
    }
}

/// Requests `make` on streams 1, 3, 5 ... of one connection.
async fn withstands_requests(what: &str, count: u32, make: impl Fn(u32) -> Vec<u8>) {
    let mut victim = Victim::start(&[]).await;
    let mut raw = Raw::connect_narrow(victim.address()).await;
    raw.send(opening(0)).await;
    for first in (0..count).step_by(100) {
        let bytes: Vec<u8> = (first..first + 100).flat_map(|it| make(2 * it + 1)).collect();
        flood(&mut raw, &bytes, bytes.len()).await;
    }
    victim.withstands(what).await;
    drop(raw);
    victim.recovers(what).await;
}

#[tokio::test]
async fn rejected_or_cancelled_requests_take_little_memory() {
    withstands_requests("rapid resets", 20_000, |stream| {
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [get(stream, "/topics/room/long-poll?after=0"), reset].concat()
    })
    .await;
    withstands_requests("errors that are not read", 20_000, |stream| get(stream, "/nothing")).await;
    // An entry of 4,000 bytes in the dynamic table, and 3,000 references to it.
    let bomb = |stream| {
        let mut fields = request_fields(false, "/healthz");
        fields.extend([&[0x40, 1, b'x', 0x7f, 0x81, 0x1e][..], &[b'y'; 3_968]].concat());
        fields.extend([0xbe; 3_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
    };
    withstands_requests("references to a large header", 1_000, bomb).await;
    let large = |stream| {
        let mut fields = request_fields(false, "/healthz");
        fields.extend(named_field("x-long", &"y".repeat(100)).repeat(140));
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
    };
    withstands_requests("large headers", 1_000, large).await;
}

/// A long poll does not read its body.
#[tokio::test]
async fn body_of_single_bytes_that_is_not_read_takes_little_memory() {
    let poll = request_fields(false, "/topics/room/long-poll?after=0");
    let request = frame(HEADERS, END_HEADERS, 1, &poll);
    let mut victim = Victim::start(&[]).await;
    let mut raw = Raw::connect(victim.address()).await;
    raw.send([opening(65_535), request].concat()).await;
    flood(&mut raw, &frame(DATA, 0, 1, b"x").repeat(1_000), 650_000).await;
    victim.withstands("a body of single bytes").await;
    drop(raw);
    victim.recovers("a body of single bytes").await;
}

#[tokio::test]
async fn bodies_that_do_not_end_take_little_memory() {
    let mut victim = Victim::start(&["--body-timeout", "60s"]).await;
    let mut raw = Raw::connect(victim.address()).await;
    raw.send(opening(65_535)).await;
    let streams = || (0..128).map(|number| 2 * number + 1);
    for stream in streams() {
        let mut fields = request_fields(true, "/topics/room/messages");
        fields.extend(named_field("content-length", "390000"));
        raw.send(frame(HEADERS, END_HEADERS, stream, &fields)).await;
    }
    let mut sender = Sender::new(raw.stream());
    let (mut sent, mut refused) = (0, 0);
    for stream in streams() {
        for _ in 0..38 {
            if !sender.send_data(stream, &[b'x'; 10_000]).await {
                refused += 1;
                break;
            }
            sent += 10_000;
        }
    }
    println!("{sent} bytes sent, {refused} streams refused");
    assert!(sent > 4_000_000 && refused > 64, "the budget of a connection is 8 MiB");
    victim.withstands("bodies that do not end").await;
    drop(raw);
    victim.recovers("bodies that do not end").await;
}

#[tokio::test]
async fn streams_without_a_window_are_reset_and_take_little_memory() {
    const CONNECTIONS: usize = 4;
    const STREAMS: u32 = 128;
    let mut victim = Victim::start(&["--send-timeout", "2s"]).await;
    let mut http = victim.http();
    for _ in 0..16 {
        let message = new_message(&"x".repeat(64_000)).into();
        let answer = soon(http.request(Method::POST, "/topics/big/messages", message)).await;
        assert_eq!(answer.expect("an answer").status, 201);
    }
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(victim.address()).await.expect("it listens");
        let mut bytes = opening(0);
        for number in 0..STREAMS {
            bytes.extend(get(2 * number + 1, "/topics/big/poll?after=0"));
        }
        stream.write_all(&bytes).await.expect("it is read");
        clients.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    victim.withstands("4 HTTP/2 connections without a window, 128 responses of 1 MB each").await;
    for stream in &mut clients {
        let mut resets = 0;
        while resets < STREAMS {
            resets += u32::from(next_frame(stream).await.kind == RST_STREAM);
        }
    }
    victim.withstands("the same connections after the resets").await;
    drop((clients, http));
    victim.recovers("4 HTTP/2 connections without a window, 128 responses of 1 MB each").await;
}
