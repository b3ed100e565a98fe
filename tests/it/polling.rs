//! Conditional and compressed polls, and their byte counts at the subscriber.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use poll_vs_push::client::{ClientError, Dialer, HttpResponse, Meter};
use poll_vs_push::transport::{SubscribeOptions, Subscriber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Reader, TestServer, options, soon, variant};

const ROUTES: [&str; 2] = ["/topics/room/poll", "/topics/room/long-poll"];

/// `GET path` with one additional header.
async fn get(server: &TestServer, path: &str, name: &'static str, value: &str) -> HttpResponse {
    let value = value.parse().expect("a value");
    let headers = [(name.parse().expect("a name"), value)].into_iter().collect();
    let mut http = server.http();
    let asking = http.counted_request("GET".parse().expect("a method"), path, &headers, "".into());
    soon(asking).await.expect("an answer")
}

#[tokio::test]
async fn conditional_poll_without_messages_is_a_304() {
    let server = TestServer::start().await;
    let epoch = server.publish("one").await.epoch;
    for route in ROUTES {
        let now = format!("{route}?after=1&wait=0.001");
        let tag = format!("\"{epoch}:1\"");
        let answer = server.get(&format!("{route}?after=0")).await;
        assert_eq!(answer.headers["etag"], *tag);
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let answer = get(&server, &now, "if-none-match", &known).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{known}");
            assert_eq!(answer.headers["etag"], *tag);
            assert_eq!(answer.headers["cache-control"], "no-store");
            assert!(!answer.headers.contains_key("content-type"));
        }
        let answer = get(&server, &now, "if-none-match", &format!("\"{epoch}:0\"")).await;
        assert_eq!(answer.status, 200, "another answer");
        // A reset is sent for any entity tag.
        let ahead = format!("{route}?after=9");
        let answer = get(&server, &ahead, "if-none-match", &tag).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["etag"], format!("\"{epoch}:1:reset\""));
    }
    server.stop().await;
}

#[tokio::test]
async fn conditional_polls_return_new_messages_and_losses() {
    let server = TestServer::with(|config| config.retain_messages = 2).await;
    let epoch = server.publish("1").await.epoch;
    let tag = format!("\"{epoch}:1\"");
    for text in ["2", "3", "4"] {
        server.publish(text).await;
    }
    let answer = get(&server, "/topics/room/poll?after=1", "if-none-match", &tag).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["etag"], format!("\"{epoch}:4:gap1\""));
    let after = get(&server, "/topics/room/poll?after=2", "if-none-match", "\"x\"").await;
    assert_eq!(after.headers["etag"], format!("\"{epoch}:4\""));
    server.stop().await;
}

#[tokio::test]
async fn response_304_has_headers_and_no_body() {
    let server = TestServer::start().await;
    let meter = Arc::new(Meter::default());
    for name in ["short-polling+conditional", "long-polling+conditional"] {
        let before = server.publish("zero").await.offset;
        server.publish("one").await;
        let options =
            SubscribeOptions { wait: Duration::from_millis(1), ..options(Some(server.at(before))) };
        let dialer = server.dialer().with_meter(meter.clone());
        let mut reader = Reader::connect(variant(name), dialer, options).await;
        assert_eq!(reader.texts(1).await, ["one"]);
        let before = meter.counts();
        for _ in 0..5 {
            assert_eq!(reader.next().await, Default::default());
        }
        let told = meter.counts().since(&before);
        assert_eq!((told.responses, told.empty_responses), (5, 5));
        assert_eq!((told.down().payload, told.down().framing), (0, 0));
        assert!(told.down().headers > 5 * 60, "{:?}", told.down());
        server.publish("two").await;
        assert_eq!(reader.texts(1).await, ["two"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn only_large_responses_to_gzip_clients_are_compressed() {
    let server = TestServer::with(|config| config.gzip_min_bytes = 400).await;
    let epoch = server.publish("small").await.epoch;
    server.publish(&"large ".repeat(100)).await;
    for route in ROUTES {
        let small =
            get(&server, &format!("{route}?after=0&limit=1"), "accept-encoding", "gzip").await;
        assert!(!small.headers.contains_key("content-encoding"));
        assert!(!small.headers.contains_key("vary"), "it is the same for everybody");
        let path = format!("{route}?after=0");
        let plain = server.get(&path).await;
        assert_eq!(plain.headers["vary"], "accept-encoding");
        assert_eq!(plain.headers["etag"], format!("\"{epoch}:2\""));
        let packed = get(&server, &path, "accept-encoding", "br, gzip;q=0.5").await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert_eq!(packed.headers["vary"], "accept-encoding");
        assert_eq!(packed.headers["content-type"], "application/json");
        assert_eq!(packed.headers["etag"], format!("W/\"{epoch}:2\""));
        assert!(packed.body.len() < plain.body.len() / 2);
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, plain.body);
        for other in ["gzip;q=0", "identity;q=1, gzip;q=0.1", "identity, *;q=0.5"] {
            let refused = get(&server, &path, "accept-encoding", other).await;
            assert!(!refused.headers.contains_key("content-encoding"), "{other}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn byte_counts_are_those_after_compression() {
    let server = TestServer::start().await;
    for _ in 0..50 {
        server.publish(&"much the same ".repeat(10)).await;
    }
    let mut totals = Vec::new();
    for name in ["short-polling", "short-polling+gzip"] {
        let meter = Arc::new(Meter::default());
        let dialer = server.dialer().with_meter(meter.clone());
        let mut reader = Reader::connect(variant(name), dialer, options(Some(server.at(0)))).await;
        assert_eq!(reader.receive(50).await.messages.len(), 50);
        let down = meter.counts().down();
        assert!(down.payload > 10 * down.framing && down.framing > 0, "{down:?}");
        totals.push(down.payload + down.framing);
    }
    assert!(totals[1] < totals[0] / 4, "{totals:?}");
    server.stop().await;
}

#[tokio::test]
async fn decompression_bomb_is_rejected() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..48 {
        encoder.write_all(&[b' '; 1 << 20]).expect("a Vec takes all");
    }
    let bomb = encoder.finish().expect("a Vec takes all");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = async {
        let (mut stream, _) = listener.accept().await.expect("a visitor");
        let asked = stream.read(&mut [0; 1024]).await.expect("its request");
        assert!(asked > 0);
        let length = bomb.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("it listens");
        stream.write_all(&bomb).await.expect("it listens");
        stream
    };
    let asking =
        Subscriber::connect(variant("short-polling+gzip"), Dialer::new(address), options(None));
    let (answer, _stream) = soon(async { tokio::join!(asking, serving) }).await;
    match answer {
        Err(ClientError::ProtocolError(text)) => assert!(text.contains("more than"), "{text}"),
        other => panic!("{other:?}"),
    }
}
