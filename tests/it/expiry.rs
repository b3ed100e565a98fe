//! The end of a token: no transport delivers messages published after it, and nothing that the
//! server has not sent by then reaches its client, however slowly the client reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{AUTHORIZATION, HeaderMap};
use poll_vs_push::app::token::{Claims, TokenKey};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::{Transport, Variant};
use tokio::io::AsyncReadExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Raw, TestServer, http2, options, soon};

const KEY: &[u8] = b"a key of thirty-two bytes or more";
/// Limit of the bytes that the client's kernel may have received before the end, which the server
/// cannot revoke: the receive buffer of the client is far smaller.
const RECEIVED_BYTES_MAX: usize = 256 << 10;
/// Far more than that, and less than `--retain-bytes`.
const MESSAGES: usize = 200;

/// A server with a backlog of 12 MB.
async fn server_with_backlog(directory: &std::path::Path) -> TestServer {
    let file = directory.join("key");
    std::fs::write(&file, KEY).expect("writes");
    let server = TestServer::with(|config| {
        config.token_key = Some(file);
        // Only the expiry of the token may end them.
        config.send_timeout = Duration::from_secs(600);
    })
    .await;
    for _ in 0..MESSAGES {
        server.publish(&"x".repeat(60_000)).await;
    }
    server
}

/// A token for everything, and when it expires: two to three seconds from now.
fn short_token() -> (String, Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let expiry = now.as_secs() + 3;
    let all = vec!["*".to_owned()];
    let claims = Claims {
        sub: String::new(),
        exp: Some(expiry),
        nbf: None,
        subscribe: all.clone(),
        publish: all,
    };
    let token = TokenKey::new(KEY).expect("long enough").sign(&claims);
    (token, Duration::from_secs(expiry) - now)
}

/// Everything until the server ends the connection, or the client has nothing to read for long.
async fn bytes_until_end(mut raw: Raw) -> usize {
    let mut received = Vec::new();
    // A reset is an end, too.
    let _ = soon(raw.stream().read_to_end(&mut received)).await;
    received.len()
}

#[tokio::test]
async fn slow_reader_receives_nothing_that_the_kernel_holds_after_its_token_has_expired() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = server_with_backlog(directory.path()).await;
    let (token, left) = short_token();
    let after = "epoch=EPOCH&after=0".replace("EPOCH", &server.at(0).epoch.to_string());
    let mut clients = Vec::new();
    for name in ["ws", "events", "stream", "poll", "long-poll"] {
        let mut raw = Raw::connect_narrow(server.address).await;
        let upgrade = if name == "ws" { Raw::upgrade_headers() } else { String::new() };
        // As browsers send a token; a header works as well.
        raw.get(&format!("/topics/room/{name}?{after}&token={token}"), &upgrade).await;
        clients.push((name, raw));
    }
    let mut raw = Raw::connect_narrow(server.address).await;
    let path = format!("/socket.io/?EIO=4&transport=websocket&token={token}");
    raw.upgrade(&path).await;
    raw.send_frame(0x81, b"40").await;
    raw.send_frame(0x81, br#"42["subscribe",{"topic":"room","after":0}]"#).await;
    clients.push(("socket.io", raw));
    for name in ["events", "poll"] {
        let mut raw = Raw::connect_narrow(server.address).await;
        let mut fields = http2::request_fields(false, &format!("/topics/room/{name}?after=0"));
        let bearer = format!("Bearer {token}");
        // The length of a value above 126 continues in a second byte (RFC 7541, section 5.1).
        fields.extend([&[0, 13][..], b"authorization"].concat());
        fields.extend([127, u8::try_from(bearer.len() - 127).expect("below 255")]);
        fields.extend(bearer.as_bytes());
        raw.send(http2::opening_without_flow_control()).await;
        let flags = http2::END_HEADERS | http2::END_STREAM;
        raw.send(http2::frame(http2::HEADERS, flags, 1, &fields)).await;
        clients.push((if name == "events" { "h2 events" } else { "h2 poll" }, raw));
    }
    tokio::time::sleep(left + Duration::from_millis(1_500)).await;
    for (name, raw) in clients {
        let received = bytes_until_end(raw).await;
        println!("{name}: {received} bytes");
        assert!((100..RECEIVED_BYTES_MAX).contains(&received), "{name}: {received} bytes");
    }
    server.until_all_have_left().await;
    server.stop().await;
}

/// Microseconds since the Unix epoch.
fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

/// Every transport is served while the token is valid. No message that is published after the
/// token's end is delivered, none at all later than a second after it, and the subscription ends.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_published_after_the_end_of_a_token_is_delivered_on_any_transport() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, KEY).expect("writes");
    let server = TestServer::with(|config| config.token_key = Some(file)).await;
    let (token, left) = short_token();
    let end_us = now_us() + left.as_micros();
    let bearer = format!("Bearer {token}").parse().expect("ASCII");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    let by_http2 = ["short-polling+h2", "long-polling+h2", "sse+h2", "ndjson+h2"];
    let by_http2 = by_http2.map(|name| name.parse().expect("a variant"));
    let variants: Vec<Variant> =
        Transport::ALL.map(Variant::from).into_iter().chain(by_http2).collect();
    let mut receiving = Vec::new();
    for variant in variants {
        let dialer = server.dialer().with_headers(&headers);
        let subscribing = Subscriber::connect(variant, dialer, options(None));
        let mut subscriber = soon(subscribing).await.expect("the token is valid");
        let receiving_all = async move {
            let (mut newest_us, mut received_us) = (0, 0);
            while let Ok(update) = soon(subscriber.next()).await {
                for message in update.messages {
                    newest_us = message.text.parse().expect("a time");
                    received_us = now_us();
                }
            }
            (newest_us, received_us)
        };
        receiving.push((variant, AbortOnDropHandle::new(tokio::spawn(receiving_all))));
    }
    while now_us() < end_us + 1_500_000 {
        server.publish(&now_us().to_string()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (variant, task) in receiving {
        let (newest_us, received_us): (u128, u128) = soon(task).await.expect("no panic");
        let late_ms = received_us as f64 / 1e3 - end_us as f64 / 1e3;
        println!("{variant}: the last message came {late_ms:.0} ms after the token's end");
        assert!(newest_us > 0, "{variant} received nothing");
        // The expiry of a token has a resolution of a second.
        assert!(newest_us <= end_us, "{variant}: {} us too late", newest_us - end_us);
        assert!(late_ms <= 1_000.0, "{variant}: delivered {late_ms} ms after the end");
    }
    server.stop().await;
}
