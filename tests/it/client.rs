//! Byte counts compared with recorded connections: a relay records the bytes on the socket,
//! independent code classifies them, and the results must be equal to the byte. Also the delays of
//! the simulated link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poll_vs_push::client::{Dialer, Meter};
use poll_vs_push::measure::Ledger;
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Reader, TestServer, options, soon};

/// Relays one connection between a subscriber and the server, and records both directions.
struct Relay {
    address: SocketAddr,
    recording: AbortOnDropHandle<(Vec<u8>, Vec<u8>)>,
}

impl Relay {
    async fn before(server: &TestServer) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("it has one");
        let server = server.address;
        let recording = tokio::spawn(async move {
            let (subscriber, _) = listener.accept().await.expect("a subscriber");
            let server = TcpStream::connect(server).await.expect("the server listens");
            let (from_subscriber, to_subscriber) = subscriber.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(pass_on(from_subscriber, to_server), pass_on(from_server, to_subscriber))
        });
        Relay { address, recording: AbortOnDropHandle::new(recording) }
    }

    /// The recorded bytes sent and received, after both sides have closed the connection.
    async fn recording(self) -> (Vec<u8>, Vec<u8>) {
        soon(self.recording).await.expect("the relay does not panic")
    }
}

async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Vec<u8> {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut part).await {
        said.extend_from_slice(&part[..count]);
        if to.write_all(&part[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    said
}

/// Payload, framing and headers of one direction, without TCP and IP.
type Sorted = [u64; 3];

fn sorted(ledger: Ledger) -> Sorted {
    [ledger.payload, ledger.framing, ledger.headers]
}

/// Removes the header section of an HTTP message from `bytes`; returns it and the body's length.
fn take_head<'a>(bytes: &mut &'a [u8]) -> (&'a str, usize) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let (head, rest) = bytes.split_at(end);
    *bytes = rest;
    let head = std::str::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (head, length.map_or(0, |length| length.parse().expect("a number")))
}

/// Classifies the responses to polls: the message objects of a batch are payload.
fn sort_answers(mut said: &[u8]) -> Sorted {
    let [mut payload, mut framing, mut headers] = [0; 3];
    while !said.is_empty() {
        let (head, length) = take_head(&mut said);
        let (body, rest) = said.split_at(length);
        said = rest;
        let body = std::str::from_utf8(body).expect("text");
        let (_, list) = body.split_once("\"messages\":[").expect("a list");
        let list = list.strip_suffix("]}").expect("its end");
        let commas_between = list.matches("},{").count();
        payload += (list.len() - commas_between) as u64;
        framing += (length - list.len() + commas_between) as u64;
        headers += head.len() as u64;
    }
    [payload, framing, headers]
}

/// Classifies the bytes of a WebSocket server: the message objects are payload, everything else
/// after the 101 is framing.
fn sort_frames(mut said: &[u8]) -> Sorted {
    let (head, _) = take_head(&mut said);
    let [mut payload, mut framing] = [0; 2];
    while let [_, second, rest @ ..] = said {
        let (length, header) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 4),
            127 => panic!("no frame here is that long"),
            short => (usize::from(*short), 2),
        };
        let text = &said[header..header + length];
        framing += header as u64;
        match text.starts_with(b"{\"offset\":") {
            true => payload += length as u64,
            false => framing += length as u64,
        }
        said = &said[header + length..];
    }
    [payload, framing, head.len() as u64]
}

/// Reads the topic from its first message through a relay while two messages are published. Returns
/// the recording and the counts of the meter.
async fn exchange(transport: Transport, texts: [&str; 2]) -> (String, Vec<u8>, Sorted, Sorted) {
    let server = TestServer::start().await;
    let relay = Relay::before(&server).await;
    let meter = Arc::new(Meter::default());
    let dialer = Dialer::new(relay.address).with_meter(meter.clone());
    let mut reader = Reader::connect(transport, dialer, options(None)).await;
    for text in texts {
        server.publish(text).await;
    }
    assert_eq!(reader.texts(2).await, texts);
    let counts = meter.counts();
    drop(reader);
    let (up, down) = relay.recording().await;
    let (up_sorted, down_sorted) = (sorted(counts.up()), sorted(counts.down()));
    assert_eq!(up_sorted.iter().sum::<u64>(), up.len() as u64, "all that went up");
    assert_eq!(down_sorted.iter().sum::<u64>(), down.len() as u64, "all that came down");
    server.stop().await;
    (String::from_utf8(up).expect("text"), down, up_sorted, down_sorted)
}

#[tokio::test]
async fn byte_counts_of_polls_match_a_recording() {
    for (transport, route) in
        [(Transport::ShortPolling, "poll"), (Transport::LongPolling, "long-poll")]
    {
        let (up, down, up_sorted, down_sorted) = exchange(transport, ["one", "two"]).await;
        assert_eq!(up_sorted, [0, 0, up.len() as u64], "requests are headers");
        assert_eq!(down_sorted, sort_answers(&down));
        let [payload, ..] = down_sorted;
        let message = r#"{"offset":1,"published_at":1700000000000000,"sender":"A","text":"one"}"#;
        assert_eq!(payload, 2 * message.len() as u64);
        // The request contains only what HTTP/1.1 requires, and the query.
        let mut requests = up.split_inclusive("\r\n\r\n");
        let first = requests.next().expect("a request");
        let host = first.split_once("host: ").expect("a host").1;
        assert_eq!(first, format!("GET /topics/room/{route} HTTP/1.1\r\nhost: {host}"));
        let second = requests.next().expect("another request");
        assert!(second.starts_with(&format!("GET /topics/room/{route}?epoch=")), "{second}");
        assert!(second.ends_with(&format!(" HTTP/1.1\r\nhost: {host}")), "{second}");
    }
}

#[tokio::test]
async fn byte_counts_of_a_websocket_match_a_recording() {
    // The longer one needs a frame header of 4 bytes.
    let long = "x".repeat(200);
    let (up, down, up_sorted, down_sorted) = exchange(Transport::WebSocket, ["short", &long]).await;
    assert_eq!(up_sorted, [0, 0, up.len() as u64], "only the handshake");
    assert_eq!(down_sorted, sort_frames(&down));
    let subscribed = r#"{"event":"subscribed","epoch":"00000000","cursor":0}"#.len() as u64;
    let [payload, framing, _] = down_sorted;
    let message = r#"{"offset":1,"published_at":1700000000000000,"sender":"A","text":""}"#;
    assert_eq!(payload, 2 * message.len() as u64 + 5 + 200);
    assert_eq!(framing, 2 + subscribed + 2 + 4);
}

#[tokio::test]
async fn websocket_bytes_sent_after_the_handshake_count_as_framing() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_millis(20)).await;
    let relay = Relay::before(&server).await;
    let meter = Arc::new(Meter::default());
    let dialer = Dialer::new(relay.address).with_meter(meter.clone());
    let mut reader = Reader::connect(Transport::WebSocket, dialer, options(None)).await;
    let [_, framing_before, headers] = sorted(meter.counts().up());
    assert_eq!(framing_before, 0);
    // Reading answers the server's pings; wait until at least one pong was sent.
    while sorted(meter.counts().up())[1] == 0 {
        let _ = tokio::time::timeout(Duration::from_millis(5), reader.next()).await;
    }
    let [payload, framing, headers_after] = sorted(meter.counts().up());
    drop(reader);
    let (up, _) = relay.recording().await;
    assert_eq!((payload, headers_after), (0, headers));
    // A pong without payload: 2 bytes and the mask.
    assert_eq!(framing % 6, 0);
    assert_eq!(headers + framing, up.len() as u64);
    server.stop().await;
}

#[tokio::test]
async fn client_and_server_count_the_same_requests_and_answers() {
    let server = TestServer::start().await;
    for transport in Transport::ALL {
        let meter = Arc::new(Meter::default());
        let dialer = server.dialer().with_meter(meter.clone());
        let mut reader = Reader::connect(transport, dialer, options(Some(server.at(0)))).await;
        let offset = server.publish("hi").await.offset as usize;
        reader.texts(offset).await;
        let counts = meter.counts();
        let counted = server.app.metrics.of(transport);
        assert_eq!(counts.requests, counted.requests.get(), "{transport}");
        assert_eq!(counts.empty_responses, counted.empty_answers.get(), "{transport}");
        assert_eq!(counts.opened, 1, "{transport}");
    }
    server.stop().await;
}

#[tokio::test]
async fn segments_are_counted_by_the_kernel_if_available() {
    let server = TestServer::start().await;
    let meter = Arc::new(Meter::default());
    let dialer = server.dialer().with_meter(meter.clone());
    let mut reader = Reader::connect(Transport::ShortPolling, dialer, options(None)).await;
    let counts = meter.counts();
    assert_eq!(counts.segments_are_counted(), cfg!(target_os = "linux"));
    for ledger in [counts.up(), counts.down()] {
        // At least one segment carries the bytes, with 52 bytes of headers each.
        assert!(ledger.tcp_ip >= 52 && ledger.tcp_ip % 52 == 0, "{ledger:?}");
    }
    server.publish("hi").await;
    reader.texts(1).await;
    let before_the_end = meter.counts();
    drop(reader);
    server.until_all_have_left().await;
    let after = meter.counts();
    assert!(after.up().tcp_ip >= before_the_end.up().tcp_ip, "closing forgets nothing");
    server.stop().await;
}

#[tokio::test]
async fn simulated_link_delays_both_directions_and_the_handshake() {
    let server = TestServer::start().await;
    let rtt = Duration::from_millis(30);
    let dialer = server.dialer().with_round_trip(rtt);
    let began = Instant::now();
    let stream = soon(dialer.dial()).await.expect("the server listens");
    assert!(began.elapsed() >= rtt, "a connection takes a round trip");
    drop(stream);
    for transport in Transport::ALL {
        let began = Instant::now();
        let options = options(Some(server.at(0)));
        let mut reader = Reader::connect(transport, dialer.clone(), options).await;
        let offset = server.publish("hi").await.offset as usize;
        reader.texts(offset).await;
        // One round trip to connect, and one for the request or upgrade.
        assert!(began.elapsed() >= 2 * rtt, "{transport}");
    }
    server.stop().await;
}
