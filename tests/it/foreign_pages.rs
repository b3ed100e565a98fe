//! Web pages of other origins: no route accepts their requests, and a request that is rejected
//! leaves nothing behind. Paths that the router would not recognise are rejected before it, and a
//! server that only shows progress accepts none.

use std::net::SocketAddr;

use poll_vs_push::server::route_table::ROUTES;

use crate::support::http2::{
    END_HEADERS, END_STREAM, HEADERS, frame, named_field, next_frame, opening,
};
use crate::support::{Raw, TestServer, WireFrame, eventually, new_message};

/// Headers that browsers add to requests of pages of other origins: of a script, of an image or
/// form, of a page of another port of this host.
const FOREIGN: [&str; 6] = [
    "origin: https://evil.example\r\n",
    "origin: null\r\n",
    "origin: http://localhost:1\r\n",
    "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\n",
    "sec-fetch-site: same-site\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\n",
    "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n",
];

#[tokio::test]
async fn every_route_rejects_pages_of_other_origins() {
    let server = TestServer::with(|config| {
        config.echo = true;
        config.class = true;
        config.demo = true;
    })
    .await;
    let topics_before = server.app.feed.topic_count();
    let body = new_message("hi");
    for route in ROUTES {
        let path = route.path.replace("/{*}", "/?EIO=4&transport=polling").replace("{}", "room");
        for method in route.methods {
            for headers in FOREIGN {
                let what = format!("{method} {path} {headers}");
                let mut raw = Raw::connect(server.address).await;
                let length = body.len();
                let upgrade =
                    if path.ends_with("/ws") { Raw::upgrade_headers() } else { String::new() };
                let head =
                    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}{upgrade}");
                raw.send(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
                let response = raw.response_without_body().await;
                assert_eq!(response.status, 403, "{what}");
                assert_eq!(response.header("access-control-allow-origin"), None, "{what}");
            }
        }
    }
    assert_eq!(server.app.feed.topic_count(), topics_before, "no topic was created");
    assert!(!server.app.restart.is_cancelled(), "the server was not stopped");
    server.until_all_have_left().await;
    let metrics = server.scrape().await;
    for transport in poll_vs_push::variant::Transport::ALL {
        let waiting = format!("poll_vs_push_waiting{{transport=\"{transport}\"}}");
        assert_eq!(metrics.get(&waiting), 0.0, "{transport}");
    }
    server.stop().await;
}

/// Bytes of a GET with this `:path` on stream 1, with further fields.
fn get_path(path: &str, more: &[u8]) -> Vec<u8> {
    let fields =
        [&[0x82, 0x86, 0x01, 9][..], b"localhost", &named_field(":path", path), more].concat();
    [opening(65_535), frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)].concat()
}

/// The router of warp and the check of tokens see the same path, or the request is rejected.
#[tokio::test]
async fn odd_paths_of_http2_reach_no_topic() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, [b'k'; 32]).expect("written");
    let server = TestServer::with(|config| config.token_key = Some(key)).await;
    server.publish("secret").await;
    for path in [
        "topics/room/poll?after=0",
        "",
        "*",
        "?after=0",
        "//topics/room/poll?after=0",
        "/./topics/room/poll?after=0",
        "/healthz/../topics/room/poll?after=0",
        "/%74opics/room/poll?after=0",
        "/topics%2froom%2fpoll?after=0",
        "/topics/room/poll%3fafter=0",
        "/topics/room/poll/?after=0",
        "http://localhost/topics/room/poll?after=0",
        "/topics/room/poll#/healthz",
        "/topics\\room\\poll?after=0",
        "/topics/room/poll;x?after=0",
        "/TOPICS/room/poll?after=0",
    ] {
        let mut raw = Raw::connect(server.address).await;
        raw.send(get_path(path, b"")).await;
        // Until the end of the response, or its rejection as malformed.
        let (mut received, mut is_over) = (Vec::new(), false);
        while !is_over {
            let frame = next_frame(raw.stream()).await;
            is_over = frame.stream == 1 && (frame.kind == 3 || frame.ends_stream())
                || frame.kind == crate::support::http2::GOAWAY;
            received.extend(frame.payload);
        }
        let text = String::from_utf8_lossy(&received);
        assert!(!text.contains("secret"), "{path}: {text}");
    }
    eventually("closed", || server.app.metrics.open_connections.get() == 0).await;
    server.stop().await;
}

/// Foreign pages over HTTP/2 too.
#[tokio::test]
async fn foreign_origin_is_rejected_over_http2() {
    let server = TestServer::start().await;
    server.publish("secret").await;
    for field in
        [named_field("origin", "https://evil.example"), named_field("sec-fetch-site", "cross-site")]
    {
        let mut raw = Raw::connect(server.address).await;
        raw.send(get_path("/topics/room/poll?after=0", &field)).await;
        let mut received = Vec::new();
        loop {
            let frame = next_frame(raw.stream()).await;
            let is_last = frame.stream == 1 && frame.ends_stream();
            received.extend(frame.payload);
            if is_last {
                break;
            }
        }
        let text = String::from_utf8_lossy(&received);
        assert!(text.contains("--allow-origin") && !text.contains("secret"), "{text}");
    }
    server.stop().await;
}

/// The server of `compare --watch` at this address refuses what other processes publish, by any
/// route.
pub async fn invented_progress_is_refused(address: SocketAddr) {
    let message = r#"{"sender":"compare","text":"{\"what\":\"finished\"}"}"#;
    let mut raw = Raw::connect(address).await;
    let head = "POST /topics/compare/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: ";
    raw.send(format!("{head}{}\r\n\r\n{message}", message.len())).await;
    assert_eq!(raw.answer().await.status, 403);
    let mut raw = Raw::connect(address).await;
    raw.upgrade("/topics/compare/ws").await;
    raw.send_frame(0x81, message.as_bytes()).await;
    while raw.event().await["error"] != "clients can only read from this server" {}
    let mut raw = Raw::connect(address).await;
    raw.upgrade("/socket.io/?EIO=4&transport=websocket").await;
    let publish = format!("421[\"publish\",{}", r#"{"topic":"compare","sender":"A","text":"x"}]"#);
    for packet in ["40", &publish] {
        raw.send_frame(0x81, packet.as_bytes()).await;
    }
    loop {
        let WireFrame::Text(text) = raw.frame().await else { continue };
        if text.starts_with("431") {
            assert!(text.contains("can only read"), "{text}");
            break;
        }
    }
}
