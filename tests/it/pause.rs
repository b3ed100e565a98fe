//! A server process that is stopped for longer than every timeout and then continued keeps all
//! clients that are still connected.

use std::time::Duration;

use poll_vs_push::client::{Dialer, HttpConnection, Meter};
use poll_vs_push::message::Message;
use poll_vs_push::transport::Subscriber;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::child::ChildServer;
use crate::support::{Raw, WireFrame, http2, options, publish, soon, variants_with_http2};

/// Longer than each of the timeouts in [`start`].
const PAUSE: Duration = Duration::from_secs(4);

fn start() -> ChildServer {
    let timeouts = ["--heartbeat", "--ping-timeout", "--send-timeout", "--header-timeout"];
    let flags: Vec<&str> = timeouts.iter().flat_map(|flag| [*flag, "1s"]).collect();
    ChildServer::start(&[&flags, &["--idle-timeout", "2s"][..]].concat())
}

fn signal(server: &ChildServer, signal: Signal) {
    kill_process(Pid::from_child(&server.child), signal).expect("it is ours");
}

/// Stops the server for [`PAUSE`] and runs `meanwhile`, the actions of the clients, during the
/// pause.
async fn pause<T>(server: &ChildServer, meanwhile: impl Future<Output = T>) -> T {
    signal(server, Signal::STOP);
    let done = meanwhile.await;
    tokio::time::sleep(PAUSE).await;
    signal(server, Signal::CONT);
    done
}

/// Receives messages until one has the text `last`.
async fn receive_until(mut subscriber: Subscriber, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != last) {
        let received = subscriber.next().await.expect("it is not cut off");
        texts.extend(received.messages.into_iter().map(|Message { text, .. }| text));
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_server_keeps_the_clients_of_every_transport() {
    let server = start();
    let mut receiving = Vec::new();
    for variant in variants_with_http2() {
        let meter = Arc::new(Meter::default());
        let dialer = Dialer::new(server.address).with_meter(meter.clone());
        let subscribing = Subscriber::connect(variant, dialer, options(None));
        let subscriber = soon(subscribing).await.expect("subscribes");
        let task = tokio::spawn(receive_until(subscriber, "after the second"));
        receiving.push((variant, meter, AbortOnDropHandle::new(task)));
    }
    for text in ["after the first", "after the second"] {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        pause(&server, async {}).await;
        let mut http = HttpConnection::new(Dialer::new(server.address));
        publish(&mut http, text).await;
    }
    for (variant, meter, task) in receiving {
        let texts = soon(task).await.unwrap_or_else(|error| panic!("{variant}: {error}"));
        assert_eq!(texts, ["after the first", "after the second"], "{variant}");
        assert_eq!(meter.counts().opened, 1, "{variant} had to connect again");
    }
}

/// So many clients that a server which checks its timers first, or in random order, would almost
/// certainly disconnect one of them.
const CLIENTS: usize = 10;

/// Reads frames, and answers pings, until the server has sent one that contains `wanted`.
async fn receive_by_websocket(mut raw: Raw, pings: &str, wanted: &str) {
    loop {
        match raw.frame().await {
            WireFrame::Ping(payload) => raw.send_frame(0x8a, &payload).await,
            WireFrame::Text(text) if text == pings => raw.send_frame(0x81, b"3").await,
            WireFrame::Text(text) if text.contains(wanted) => return,
            WireFrame::Text(_) => {}
            other => panic!("{other:?}: the client was cut off"),
        }
    }
}

#[tokio::test]
async fn pings_answered_during_a_pause_count_on_websockets() {
    let server = start();
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::connect(server.address).await;
        raw.upgrade("/topics/room/ws").await;
        sockets.push((raw, false));
        let mut raw = Raw::connect(server.address).await;
        raw.upgrade("/socket.io/?EIO=4&transport=websocket").await;
        raw.send_frame(0x81, b"40").await;
        raw.send_frame(0x81, br#"42["subscribe",{"topic":"room"}]"#).await;
        sockets.push((raw, true));
    }
    for (raw, is_socket_io) in &mut sockets {
        let ping =
            if *is_socket_io { WireFrame::Text("2".into()) } else { WireFrame::Ping(vec![]) };
        while raw.frame().await != ping {}
    }
    let answering = async {
        for (raw, is_socket_io) in &mut sockets {
            match is_socket_io {
                true => raw.send_frame(0x81, b"3").await,
                false => raw.send_frame(0x8a, b"").await,
            }
        }
    };
    pause(&server, answering).await;
    let receiving = sockets.into_iter().map(|(raw, is_socket_io)| {
        let pings = if is_socket_io { "2" } else { "no such text" };
        receive_by_websocket(raw, pings, "after the pause")
    });
    let publishing = async {
        // Time for heartbeats that would disconnect a client.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut http = HttpConnection::new(Dialer::new(server.address));
        publish(&mut http, "after the pause").await;
    };
    tokio::join!(publishing, futures_util::future::join_all(receiving));
}

#[tokio::test]
async fn pings_answered_during_a_pause_count_when_polling_socket_io() {
    let server = start();
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::connect(server.address).await;
        raw.get("/socket.io/?EIO=4&transport=polling", "").await;
        let open = raw.answer().await.body;
        let id: serde_json::Value = serde_json::from_str(&open[1..]).expect("JSON");
        let id = id["sid"].as_str().expect("an id").to_owned();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={id}");
        raw.get(&path, "").await;
        sessions.push((raw, path));
    }
    for (raw, _) in &mut sessions {
        assert_eq!(raw.answer().await.body, "2");
    }
    let answering = async {
        for (raw, path) in &mut sessions {
            let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n");
            raw.send(head + "\r\n3").await;
        }
    };
    pause(&server, answering).await;
    for (raw, path) in &mut sessions {
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{path}");
        raw.get(path, "").await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2"), "{path}");
    }
}

fn pong(payload: &[u8]) -> Vec<u8> {
    http2::frame(http2::PING, http2::ACK, 0, payload)
}

#[tokio::test]
async fn pings_answered_during_a_pause_count_on_http2() {
    let server = start();
    let get = http2::get(1, "/topics/room/events");
    let request = [http2::opening_without_flow_control(), get].concat();
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        stream.write_all(&request).await.expect("it reads");
        streams.push(stream);
    }
    let mut pings = Vec::new();
    for stream in &mut streams {
        pings.push(loop {
            let frame = http2::next_frame(stream).await;
            if frame.is_ping() {
                break frame.payload;
            }
        });
    }
    let answering = async {
        for (stream, ping) in streams.iter_mut().zip(&pings) {
            stream.write_all(&pong(ping)).await.expect("the kernel takes it");
        }
    };
    pause(&server, answering).await;
    let mut http = HttpConnection::new(Dialer::new(server.address));
    publish(&mut http, "after the pause").await;
    for mut stream in streams {
        loop {
            let frame = http2::next_frame(&mut stream).await;
            let text = String::from_utf8_lossy(&frame.payload);
            match frame.kind {
                _ if frame.is_ping() => {
                    stream.write_all(&pong(&frame.payload)).await.expect("open");
                }
                http2::GOAWAY => panic!("the client was disconnected"),
                http2::DATA if text.contains("after the pause") => break,
                _ => {}
            }
        }
    }
}

/// A stream of HTTP/2 whose client opens its window during the pause.
#[tokio::test]
async fn window_opened_during_a_pause_counts_on_http2() {
    let server = ChildServer::start(&["--send-timeout", "3s"]);
    let mut http = HttpConnection::new(Dialer::new(server.address));
    publish(&mut http, &"x".repeat(60_000)).await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let poll = http2::get(1, "/topics/room/poll?after=0");
    stream.write_all(&[http2::opening(0), poll].concat()).await.expect("it reads");
    while http2::next_frame(&mut stream).await.kind != http2::HEADERS {}
    let opening = async {
        let window = 60_000_u32.to_be_bytes();
        let bytes = http2::frame(http2::WINDOW_UPDATE, 0, 1, &window);
        stream.write_all(&bytes).await.expect("the kernel takes it");
    };
    pause(&server, opening).await;
    let mut received = 0;
    while received < 60_000 {
        let frame = http2::next_frame(&mut stream).await;
        match frame.kind {
            http2::DATA => received += frame.payload.len(),
            http2::RST_STREAM | http2::GOAWAY => panic!("the client was cut off"),
            _ => {}
        }
    }
}

/// A client completes its upgrade after a pause that is longer than an upgrade may take.
#[tokio::test]
async fn upgrade_of_socket_io_continues_after_a_pause() {
    let server = ChildServer::start(&[]);
    let mut http = HttpConnection::new(Dialer::new(server.address));
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = soon(http.get(path)).await.expect("a session");
    let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
    let session = opened["sid"].as_str().expect("an id");
    let mut socket = Raw::connect(server.address).await;
    socket.upgrade(&format!("/socket.io/?EIO=4&transport=websocket&sid={session}")).await;
    socket.send_frame(0x81, b"2probe").await;
    assert_eq!(socket.frame().await, WireFrame::Text("3probe".into()));
    pause(&server, tokio::time::sleep(Duration::from_secs(7))).await;
    // Time in which an expired timer would end the upgrade.
    tokio::time::sleep(Duration::from_millis(500)).await;
    socket.send_frame(0x81, b"5").await;
    socket.send_frame(0x81, b"40").await;
    let WireFrame::Text(connected) = socket.frame().await else { panic!("no packet") };
    assert!(connected.starts_with("40"), "{connected}");
}
