//! The load test and its clients against malicious servers: texts that were never published, and
//! responses, events, lines and frames without an end.

use std::net::SocketAddr;
use std::sync::Arc;

use poll_vs_push::client::{ClientError, Dialer, HttpConnection};
use poll_vs_push::load::target::Target;
use poll_vs_push::load::{LoadTest, ServerSource};
use poll_vs_push::scenario::Scenario;
use poll_vs_push::transport::Subscriber;
use poll_vs_push::validity::void_reasons;
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{TestServer, options, soon};

const TARGET: &str = include_str!("../../load-tests/targets/poll-vs-push.toml");
const SCENARIO: &str = "
name = 'small'
title = 'A few messages'
description = 'Enough to see that each is wrong.'
transports = ['short-polling', 'long-polling', 'websocket', 'sse']
repeats = 1
[workload]
subscribers = 2
topics = 1
rate = 20.0
poll_interval = '20ms'
long_poll_hold = '200ms'
rtt = '2ms'
idle = '0s'
warm_up = '100ms'
duration = '500ms'
";
/// More bytes than any limit of the client.
const ENDLESS_BYTES: usize = 32 << 20;

/// Copies what `from` sends to `to`, changed by `change`.
async fn relay<R, W>(mut from: R, mut to: W, change: fn(&mut [u8])) -> std::io::Result<()>
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
{
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        change(&mut buffer[..count]);
        to.write_all(&buffer[..count]).await?;
    }
}

/// A server in front of `server` that changes what it responds.
async fn in_front_of(
    server: SocketAddr,
    change: fn(&mut [u8]),
) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(async move {
                let server = TcpStream::connect(server).await?;
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::try_join!(
                    relay(from_client, to_server, |_| ()),
                    relay(from_server, to_client, change),
                )
            });
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

/// Replaces the part of each text that a server cannot know.
fn guess_nonces(bytes: &mut [u8]) {
    const BEFORE: &[u8] = b"\"text\":\"";
    for start in 0..bytes.len().saturating_sub(BEFORE.len() + 16) {
        if bytes[start..].starts_with(BEFORE) {
            bytes[start + BEFORE.len() + 8..][..4].copy_from_slice(b"AAAA");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_a_wrong_nonce_void_every_cell() {
    let server = TestServer::start().await;
    let (address, _serving) = in_front_of(server.address, guess_nonces).await;
    let target = Arc::new(Target::from_toml(TARGET).expect("a good target"));
    let scenario = Scenario::from_toml(SCENARIO).expect("a good scenario");
    let source = ServerSource::ThirdParty { dialer: Dialer::new(address), target, pid: None };
    let load_test = LoadTest::new(scenario, source).expect("this machine can carry it");
    let run = load_test.measure(std::future::pending(), &|_| {}).await;
    assert_eq!(run.cells.len(), 4, "{:?} {:?}", run.failed, run.stopped_early);
    for cell in &run.cells {
        let deliveries = cell.deliveries;
        assert!(deliveries.unknown > 0, "{}: {deliveries:?}", cell.variant);
        let reasons: Vec<_> = void_reasons(&run, cell).iter().map(ToString::to_string).collect();
        assert!(reasons.iter().any(|it| it.contains("never published")), "{reasons:?}");
    }
    server.stop().await;
}

/// A server that sends `first` and then `rest` again and again, until the client has left or
/// [`ENDLESS_BYTES`] are sent. The result is the number of bytes that it could send.
async fn send_endlessly(
    first: impl Fn(&str) -> Vec<u8> + Send + 'static,
    rest: Vec<u8>,
) -> (Dialer, AbortOnDropHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dialer = Dialer::new(listener.local_addr().expect("it has one"));
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let request = String::from_utf8(request).expect("text");
        let mut sent = 0;
        let mut next = first(&request);
        while sent < ENDLESS_BYTES && stream.write_all(&next).await.is_ok() {
            sent += next.len();
            next.clone_from(&rest);
        }
        sent
    });
    (dialer, AbortOnDropHandle::new(serving))
}

/// The response to an upgrade request.
fn upgraded(request: &str) -> Vec<u8> {
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let key = key.expect("a key").as_bytes();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    format!("{head}sec-websocket-accept: {accept}\r\n\r\n").into()
}

#[tokio::test]
async fn endless_headers_are_an_error() {
    for rest in ["x-more: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(100), "y".repeat(4_096)]
    {
        let first = |_: &str| b"HTTP/1.1 200 OK\r\nx-first: ".to_vec();
        let (dialer, sending) = send_endlessly(first, rest.into()).await;
        soon(HttpConnection::new(dialer).get("/")).await.expect_err("no response");
        let sent = soon(sending).await.expect("no panic");
        assert!(sent < ENDLESS_BYTES, "all was read");
    }
}

/// Input without an end: a line of NDJSON, an event, a frame, and a message of many frames.
#[tokio::test]
async fn endless_messages_are_an_error_on_every_stream() {
    let streamed = |kind: &'static str, start: &'static str| {
        move |_: &str| -> Vec<u8> {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: ";
            format!("{head}{kind}\r\n\r\n{:x}\r\n{start}\r\n", start.len()).into()
        }
    };
    let chunk: Vec<u8> = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).into();
    let event = |lines: &'static str| -> Vec<u8> {
        let lines = lines.repeat(0x1000 / lines.len());
        format!("{:x}\r\n{lines}\r\n", lines.len()).into()
    };
    let frames = |first: &'static [u8]| {
        move |request: &str| -> Vec<u8> { [&upgraded(request)[..], first].concat() }
    };
    let part: Vec<u8> = [&[0x00, 126, 0x10, 0][..], &[b'x'; 0x1000]].concat();
    let subscribe = async |transport: Transport, dialer: Dialer| -> ClientError {
        match Subscriber::connect(transport, dialer, options(None)).await {
            Err(error) => error,
            Ok(mut subscriber) => loop {
                if let Err(error) = subscriber.next().await {
                    return error;
                }
            },
        }
    };
    type First = Box<dyn Fn(&str) -> Vec<u8> + Send>;
    let cases: Vec<(&str, Transport, First, Vec<u8>)> = vec![
        (
            "a line",
            Transport::Ndjson,
            Box::new(streamed("application/x-ndjson", "{\"event\":")),
            chunk.clone(),
        ),
        ("a field", Transport::Sse, Box::new(streamed("text/event-stream", "data: ")), chunk),
        (
            "an event of many lines",
            Transport::Sse,
            Box::new(streamed("text/event-stream", "data: ")),
            event("data: xxxxxxxxxxxxxxxxxxxxxxxx\n"),
        ),
        (
            "a frame",
            Transport::WebSocket,
            // The header announces 2^40 bytes.
            Box::new(frames(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0])),
            vec![b'x'; 0x1000],
        ),
        ("a message", Transport::WebSocket, Box::new(frames(&[0x01, 1, b'x'])), part),
    ];
    for (what, transport, first, rest) in cases {
        let (dialer, sending) = send_endlessly(first, rest).await;
        let error = soon(subscribe(transport, dialer)).await;
        println!("{what}: {error}");
        let sent = soon(sending).await.expect("no panic");
        assert!(sent < ENDLESS_BYTES, "{what}: all was read before '{error}'");
    }
}
