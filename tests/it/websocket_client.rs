//! The subscriber's end of a WebSocket, tested with a tungstenite server: its responses, and
//! protocol violations of the server.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use poll_vs_push::client::{ClientError, Dialer, Meter, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::support::soon;

type Server = WebSocketStream<TcpStream>;

/// The subscriber's next text.
async fn receive(socket: &mut WebSocket) -> Result<String, ClientError> {
    soon(socket.receive(str::to_owned)).await
}

async fn listen() -> (TcpListener, Dialer) {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(loopback).await.expect("some port is free");
    let dialer = Dialer::new(listener.local_addr().expect("it has one"));
    (listener, dialer)
}

/// Both ends of a WebSocket; tungstenite rejects unmasked frames of a client.
async fn pair() -> (WebSocket, Server) {
    let (listener, dialer) = listen().await;
    let accept = async {
        let (stream, _) = listener.accept().await.expect("a subscriber");
        tokio_tungstenite::accept_async(stream).await.expect("an upgrade")
    };
    let (socket, server) =
        soon(async { tokio::join!(WebSocket::connect(&dialer, "/"), accept) }).await;
    (socket.expect("upgraded"), server)
}

/// Connects to a server that answers the upgrade with the result of `answer` for its key. Returns
/// the meter's counts of the received bytes by kind.
async fn connect(
    answer: impl FnOnce(&str) -> Vec<u8>,
) -> (Result<WebSocket, ClientError>, [u64; 2]) {
    let (listener, dialer) = listen().await;
    let meter = Arc::new(Meter::default());
    let dialer = dialer.with_meter(meter.clone());
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("a subscriber");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let request = String::from_utf8(request).expect("text");
        for header in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
            assert!(request.lines().any(|line| line == header), "{request}");
        }
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
        let answer = answer(key.expect("a key"));
        stream.write_all(&answer).await.expect("the subscriber takes it");
    };
    let (socket, ()) = soon(async { tokio::join!(WebSocket::connect(&dialer, "/"), serve) }).await;
    let down = meter.counts().down();
    (socket, [down.headers, down.framing])
}

fn upgraded(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
}

fn part(opcode: Data, text: &'static str, is_final: bool) -> Message {
    Message::Frame(Frame::message(text, OpCode::Data(opcode), is_final))
}

#[tokio::test]
async fn texts_are_received_and_pings_answered_between_fragments() {
    let (mut socket, mut server) = pair().await;
    let said = [
        Message::text("one"),
        Message::binary("not a text"),
        part(Data::Text, "t", false),
        Message::Ping("still there?".into()),
        part(Data::Continue, "wo", true),
    ];
    for message in said {
        server.send(message).await.expect("it is sent");
    }
    assert_eq!(receive(&mut socket).await.expect("a text"), "one");
    assert_eq!(receive(&mut socket).await.expect("a text"), "two");
    socket.send("three").await.expect("it is sent");
    let mut next = async || soon(server.next()).await.expect("more").expect("a good frame");
    assert_eq!(next().await, Message::Pong("still there?".into()));
    assert_eq!(next().await, Message::text("three"));
}

#[tokio::test]
async fn received_close_is_answered() {
    let goodbye = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    for (close, said) in [(Some(goodbye), "1001 bye"), (None, "")] {
        let (mut socket, mut server) = pair().await;
        server.close(close).await.expect("it is sent");
        let closed = receive(&mut socket).await;
        assert!(matches!(&closed, Err(ClientError::Closed(why)) if why == said), "{closed:?}");
        // tungstenite ends its stream without an error only if the close was answered.
        while let Some(answer) = soon(server.next()).await {
            answer.expect("no reset before the answer");
        }
    }
}

#[tokio::test]
async fn end_of_stream_counts_as_close() {
    let (mut socket, server) = pair().await;
    drop(server);
    let closed = receive(&mut socket).await;
    assert!(
        matches!(&closed, Err(ClientError::Closed(why)) if why == "without a close frame"),
        "{closed:?}"
    );
}

#[tokio::test]
async fn protocol_violation_of_the_server_is_closed_with_a_specific_code() {
    let huge = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
    let cases: [(&[u8], u16); 3] = [(&[0x81, 0x80], 1002), (&[0x81, 1, 0xff], 1007), (&huge, 1009)];
    for (bytes, code) in cases {
        let (mut socket, mut server) = pair().await;
        server.get_mut().write_all(bytes).await.expect("it is sent");
        let broken = receive(&mut socket).await;
        assert!(matches!(broken, Err(ClientError::Broken(_))), "{broken:?}");
        let close = soon(server.next()).await.expect("a frame").expect("a good one");
        assert!(matches!(&close, Message::Close(Some(why)) if u16::from(why.code) == code));
    }
}

#[tokio::test]
async fn bytes_after_the_upgrade_are_received_and_counted_as_framing() {
    let head_bytes = upgraded(&derive_accept_key(b"")).len() as u64;
    let answer = |key: &str| {
        [upgraded(&derive_accept_key(key.as_bytes())).as_bytes(), b"\x81\x02hi"].concat()
    };
    let (socket, bytes) = connect(answer).await;
    assert_eq!(receive(&mut socket.expect("upgraded")).await.expect("a text"), "hi");
    assert_eq!(bytes, [head_bytes, 4]);
}

#[tokio::test]
async fn upgrade_response_must_contain_the_accept_key() {
    let (socket, _) = connect(|_| upgraded(&derive_accept_key(b"another")).into_bytes()).await;
    let refused = socket.expect_err("not our key");
    assert!(matches!(refused, ClientError::ProtocolError(_)), "{refused}");
}

#[tokio::test]
async fn rejected_upgrade_contains_the_reason() {
    let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 7\r\n\r\nnot you";
    let (socket, _) = connect(|_| answer.into()).await;
    let refused = socket.expect_err("a refusal").to_string();
    assert!(refused.contains("403") && refused.contains("not you"), "{refused}");
}
