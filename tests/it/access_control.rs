//! Access control: tokens on every transport and in every place that can contain one, and pages of
//! other origins.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use poll_vs_push::app::token::{Claims, TokenKey};
use poll_vs_push::client::Dialer;
use poll_vs_push::server::route_table::{Access, ROUTES};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::{Transport, Variant};

use crate::child::{ChildServer, PROGRAM};
use crate::socketio::too_many_connections;
use crate::support::{Raw, Reader, TestServer, new_message, options, soon};

const KEY: &str = "a key of thirty-two bytes or more";

struct TokenServer {
    server: TestServer,
    key: TokenKey,
    _file: tempfile::TempDir,
}

impl TokenServer {
    async fn start() -> TokenServer {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        std::fs::write(&file, KEY).expect("writes");
        let server = TestServer::with(|config| config.token_key = Some(file)).await;
        let key = TokenKey::new(KEY.as_bytes()).expect("long enough");
        TokenServer { server, key, _file: directory }
    }

    fn token(&self, subscribe: &str, publish: &str) -> String {
        self.key.sign(&claims(subscribe, publish))
    }
}

fn claims(subscribe: &str, publish: &str) -> Claims {
    let list = |pattern: &str| vec![pattern.to_owned()];
    Claims {
        sub: "A".into(),
        exp: None,
        nbf: None,
        subscribe: list(subscribe),
        publish: list(publish),
    }
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().expect("ASCII"))])
}

#[tokio::test]
async fn every_transport_requires_a_valid_token() {
    let protected = TokenServer::start().await;
    let server = &protected.server;
    server.publish("one").await;
    for transport in Transport::ALL {
        let begin = Some(server.at(0));
        let connect = async |headers: &HeaderMap| {
            let dialer = server.dialer().with_headers(headers);
            let mut subscriber = Subscriber::connect(transport, dialer, options(begin)).await?;
            subscriber.next().await
        };
        soon(connect(&HeaderMap::new())).await.expect_err("no token");
        soon(connect(&bearer("a.b.c"))).await.expect_err("no token of ours");
        soon(connect(&bearer(&protected.token("other", "*")))).await.expect_err("another topic's");
        let dialer = server.dialer().with_headers(&bearer(&protected.token("ro*", "")));
        let mut reader = Reader::connect(transport, dialer, options(begin)).await;
        assert_eq!(reader.texts(1).await, ["one"], "{transport}");
    }
    assert!(server.scrape().await.get(r#"poll_vs_push_refused_total{reason="token"}"#) >= 3.0);
    protected.server.stop().await;
}

/// RFC 9110, section 11.1.
#[tokio::test]
async fn scheme_of_a_token_is_case_insensitive_on_every_route() {
    let protected = TokenServer::start().await;
    let token = protected.token("*", "*");
    let body = new_message("hi");
    let length = format!("content-length: {}\r\n", body.len());
    let upgrade = Raw::upgrade_headers();
    let mut requests = vec![
        ("GET", "/socket.io/?EIO=4&transport=polling".to_owned(), "", ""),
        ("GET", "/socket.io/?EIO=4&transport=websocket".to_owned(), upgrade.as_str(), ""),
    ];
    for route in ROUTES.iter().filter(|route| matches!(route.access, Access::Topic(_))) {
        let path = route.path.replace("{}", "room");
        requests.push(match route.allows(&Method::POST) {
            true => ("POST", path, length.as_str(), body.as_str()),
            false if path.ends_with("/ws") => ("GET", path, upgrade.as_str(), ""),
            false => ("GET", path, "", ""),
        });
    }
    assert!(requests.len() >= 8, "{requests:?}");
    for (method, path, headers, body) in requests {
        for (scheme, is_admitted) in [
            ("Bearer ", true),
            ("bearer ", true),
            ("BEARER ", true),
            ("bEaReR  ", true),
            ("Basic ", false),
            ("Bearerx ", false),
            ("", false),
        ] {
            let mut raw = Raw::connect(protected.server.address).await;
            raw.send(format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\n\
                 authorization: {scheme}{token}\r\n{headers}\r\n{body}"
            ))
            .await;
            let status = raw.response_without_body().await.status;
            let is_expected = match is_admitted {
                true => [101, 200, 201].contains(&status),
                false => status == 401,
            };
            assert!(is_expected, "{method} {path} with '{scheme}': {status}");
        }
    }
    protected.server.stop().await;
}

/// The path itself and a path below it.
#[tokio::test]
async fn socket_io_requires_a_token_on_every_path() {
    let protected = TokenServer::start().await;
    let token = protected.token("*", "*");
    for path in ["/socket.io", "/socket.io/", "/socket.io/room"] {
        for (transport, headers, admitted) in
            [("polling", String::new(), 200), ("websocket", Raw::upgrade_headers(), 101)]
        {
            let path = format!("{path}?EIO=4&transport={transport}");
            for (path, status) in [(path.clone(), 401), (format!("{path}&token={token}"), admitted)]
            {
                let mut raw = Raw::connect(protected.server.address).await;
                raw.get(&path, &headers).await;
                assert_eq!(raw.response_without_body().await.status, status, "{path}");
            }
        }
    }
    // Every request was counted, except the rejected ones.
    for transport in [Transport::SocketioPolling, Transport::SocketioWebsocket] {
        assert_eq!(protected.server.app.metrics.of(transport).requests.get(), 3, "{transport}");
    }
    let answer = protected.server.get("/socket.iox?EIO=4&transport=polling").await;
    assert_eq!(answer.status, 404);
    protected.server.stop().await;
}

#[tokio::test]
async fn publishing_requires_its_own_permission() {
    let protected = TokenServer::start().await;
    let server = &protected.server;
    let post = async |token: &str| {
        let path = format!("/topics/room/messages?token={token}");
        server.post(&path, new_message("hi")).await.status.as_u16()
    };
    assert_eq!(server.post("/topics/room/messages", new_message("hi")).await.status, 401);
    assert_eq!(post(&protected.token("*", "other")).await, 403);
    assert_eq!(post(&protected.token("", "room")).await, 201);

    let mut raw = Raw::connect(server.address).await;
    let token = protected.token("room", "other");
    raw.get(&format!("/topics/room/ws?token={token}"), &Raw::upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 101);
    raw.event().await;
    raw.send_frame(0x81, new_message("hi").as_bytes()).await;
    let refusal = raw.event().await;
    assert!(refusal["error"].as_str().expect("an error").contains("publish"), "{refusal}");
    drop(raw);
    protected.server.stop().await;
}

#[tokio::test]
async fn browser_websocket_sends_its_token_as_a_subprotocol() {
    let protected = TokenServer::start().await;
    let mut raw = Raw::connect(protected.server.address).await;
    let token = protected.token("room", "room");
    let offer = format!("sec-websocket-protocol: poll-vs-push, token.{token}\r\n");
    raw.get("/topics/room/ws", &(Raw::upgrade_headers() + &offer)).await;
    let answer = raw.answer().await;
    // The server selects the protocol that is not the token; a browser fails the connection without
    // one.
    assert_eq!(
        (answer.status, answer.header("sec-websocket-protocol")),
        (101, Some("poll-vs-push"))
    );
    drop(raw);
    protected.server.stop().await;
}

#[tokio::test]
async fn expired_token_ends_the_subscription() {
    let protected = TokenServer::start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let exp = Some((now + Duration::from_secs(2)).as_secs());
    let token = protected.key.sign(&Claims { exp, ..claims("room", "") });
    let mut raw = Raw::connect(protected.server.address).await;
    raw.get(&format!("/topics/room/ws?token={token}"), &Raw::upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 101);
    assert_eq!(raw.closed_with().await, 1008);
    let path = format!("/topics/room/poll?token={token}");
    assert_eq!(protected.server.get(&path).await.status, 401);
    protected.server.stop().await;
}

/// After the token has expired, the server writes nothing that waits for the client.
#[tokio::test]
async fn expired_token_ends_a_session_before_its_next_write() {
    let protected = TokenServer::start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let exp = now + Duration::from_secs(2);
    let token = protected.key.sign(&Claims { exp: Some(exp.as_secs()), ..claims("room", "") });
    let mut http = protected.server.http();
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = soon(http.get(&format!("{path}&token={token}"))).await.expect("a session");
    let opened: serde_json::Value = serde_json::from_slice(&opened[1..]).expect("JSON");
    let (session, lasting) = (opened["sid"].as_str().expect("an id"), protected.token("room", ""));
    let path = format!("{path}&sid={session}&token={lasting}");
    http.post(&path, "40".into()).await.expect("taken");
    soon(http.get(&path)).await.expect("connected");
    http.post(&path, too_many_connections().into()).await.expect("taken");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(soon(http.get(&path)).await.expect("an answer"), "41");
    http.get(&path).await.expect_err("the session has ended");
    protected.server.stop().await;
}

#[tokio::test]
async fn other_origins_are_rejected_unless_listed() {
    let friend = "https://friend.example";
    let server = TestServer::with(|config| config.allow_origin = vec![friend.to_owned()]).await;
    let ask = async |path: &str, origin: &str, more: &str| {
        let mut raw = Raw::connect(server.address).await;
        raw.get(path, &format!("origin: {origin}\r\n{more}")).await;
        raw.answer().await
    };
    let upgrade = Raw::upgrade_headers();
    for origin in ["https://evil.example", "null", "https://friend.example.evil.example"] {
        for (path, more) in [
            ("/topics/room/ws", upgrade.as_str()),
            ("/topics/room/events", ""),
            ("/topics/room/poll", ""),
            ("/socket.io/?EIO=4&transport=polling", ""),
            ("/socket.io?EIO=4&transport=polling", ""),
        ] {
            let answer = ask(path, origin, more).await;
            assert_eq!(answer.status, 403, "{origin} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    // The server's own origin: the test uses the host `localhost`.
    assert_eq!(ask("/topics/room/ws", "http://localhost", &upgrade).await.status, 101);
    assert_eq!(ask("/topics/room/ws", friend, &upgrade).await.status, 101);
    let answer = ask("/topics/room/poll", friend, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(friend));

    let mut raw = Raw::connect(server.address).await;
    raw.send(format!(
        "OPTIONS /topics/room/messages HTTP/1.1\r\nhost: localhost\r\norigin: {friend}\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n\r\n"
    ))
    .await;
    let answer = raw.response_without_body().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(friend));
    let allowed = answer.header("access-control-allow-headers").expect("a list");
    for name in ["authorization", "content-type", "if-none-match", "last-event-id"] {
        assert!(allowed.split(", ").any(|it| it == name), "{name}: {allowed}");
    }
    server.stop().await;
}

/// A default port equals none, and case makes no difference (RFC 9110, section 4.2.3).
#[tokio::test]
async fn own_origin_is_compared_in_normal_form() {
    let names = vec!["example.com".to_owned()];
    let server = TestServer::with(|config| config.allow_host = names).await;
    let ask = async |origin: &str, host: &str| {
        let mut raw = Raw::connect(server.address).await;
        let head = "GET /topics/room/poll HTTP/1.1";
        raw.send(format!("{head}\r\nhost: {host}\r\norigin: {origin}\r\n\r\n")).await;
        raw.response_without_body().await.status
    };
    for (origin, host) in [
        ("http://example.com", "example.com:80"),
        ("http://example.com:80", "example.com"),
        ("HTTP://EXAMPLE.com", "example.COM"),
        ("https://example.com", "example.com:443"),
        ("http://[::1]:3030", "[::1]:3030"),
        ("http://[::1]", "[0::1]"),
        ("http://127.0.0.1:3030", "127.0.0.1:3030"),
    ] {
        assert_eq!(ask(origin, host).await, 200, "{origin} at {host}");
    }
    for (origin, host) in [
        ("http://example.com:81", "example.com:80"),
        ("http://example.com:443", "example.com"),
        ("http://www.example.com", "example.com"),
        ("http://localhost", "127.0.0.1"),
        ("null", "example.com"),
    ] {
        assert_eq!(ask(origin, host).await, 403, "{origin} at {host}");
    }
    // A name that is not listed, although it is the page's own: DNS rebinding.
    assert_eq!(ask("http://evil.example", "evil.example").await, 421);
    server.stop().await;
}

/// 127.0.0.1, written as an address of IPv6, is loopback too.
#[tokio::test]
async fn mapped_loopback_address_is_protected_from_dns_rebinding() {
    let listen = "[::ffff:127.0.0.1]:0".parse().expect("an address");
    if std::net::TcpListener::bind(listen).is_err() {
        // Not with a macro, whose output the test harness captures.
        let text = "skipped mapped_loopback_address_is_protected_from_dns_rebinding: no IPv6";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
        return;
    }
    let server = TestServer::with(|config| config.listen = listen).await;
    for (host, status) in [("evil.example", 421), ("localhost", 200)] {
        let mut raw = Raw::connect(server.address).await;
        raw.send(format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(raw.answer().await.status, status, "{host}");
    }
    server.stop().await;
}

/// Browsers hide response headers from pages of another origin unless they are exposed.
#[tokio::test]
async fn listed_origins_can_send_conditional_polls() {
    let friend = "https://friend.example";
    let server = TestServer::with(|config| config.allow_origin = vec![friend.to_owned()]).await;
    server.publish("one").await;
    let ask = async |more: &str| {
        let mut raw = Raw::connect(server.address).await;
        raw.get("/topics/room/poll?after=1", &format!("origin: {friend}\r\n{more}")).await;
        raw.response_without_body().await
    };
    let answer = ask("").await;
    let tag = answer.header("etag").expect("a tag");
    let again = ask(&format!("if-none-match: {tag}\r\n")).await;
    assert_eq!((answer.status, again.status), (200, 304));
    for answer in [&answer, &again] {
        assert_eq!(answer.header("access-control-allow-origin"), Some(friend));
        let exposed = answer.header("access-control-expose-headers").expect("a list");
        assert!(["etag", "retry-after"].iter().all(|name| exposed.contains(name)), "{exposed}");
    }
    let mut own = Raw::connect(server.address).await;
    own.get("/topics/room/poll", "").await;
    assert_eq!(own.answer().await.header("access-control-expose-headers"), None);
    server.stop().await;
}

/// A key in a file, a token made by the command, and all log output at the most verbose level.
#[tokio::test]
async fn logs_contain_neither_token_nor_key_at_any_level() {
    let directory = tempfile::tempdir().expect("a directory");
    let (key, log) = (directory.path().join("key"), directory.path().join("log"));
    std::fs::write(&key, KEY).expect("writes");
    let key = key.to_str().expect("text");
    let made = Command::new(PROGRAM)
        .args(["token", "--subscribe", "*", "--publish", "*", "--key", key])
        .output()
        .expect("the program starts");
    let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let arguments = ["--token-key", key, "--log-bytes", "100000000"];
    let log_file = File::create(&log).expect("a file");
    let mut server = ChildServer::start_with_log(&arguments, Some("trace"), log_file);

    for status in ["200", "401"] {
        let token = if status == "200" { token.clone() } else { format!("{token}x") };
        let protocols = format!("sec-websocket-protocol: poll-vs-push, token.{token}\r\n");
        // Every route, with the token in the query.
        for route in ROUTES {
            let path = route.path.replace("{}", "room").replace("/{*}", "/");
            let mut raw = Raw::connect(server.address).await;
            let method = &route.methods[0];
            let query = format!("EIO=4&transport=polling&wait=0&token={token}");
            let request = format!("{method} {path}?{query} HTTP/1.1\r\nhost: localhost\r\n");
            raw.send(format!("{request}content-length: 0\r\n\r\n")).await;
            raw.response_without_body().await;
        }
        for (path, headers) in [
            (format!("/topics/room/poll?token={token}"), String::new()),
            (format!("/socket.io/?EIO=4&transport=polling&token={token}"), String::new()),
            ("/topics/room/poll".to_owned(), format!("authorization: Bearer {token}\r\n")),
            ("/topics/room/ws".to_owned(), Raw::upgrade_headers() + &protocols),
        ] {
            let mut raw = Raw::connect(server.address).await;
            raw.get(&path, &headers).await;
            let answer = raw.answer().await;
            let is_expected = answer.status.to_string() == status || answer.status == 101;
            assert!(is_expected && !answer.body.contains(&token), "{path}: {answer:?}");
        }
        let headers = bearer(&token);
        for variant in ["long-polling+h2", "websocket", "sse", "ndjson", "socketio-websocket"] {
            let dialer = Dialer::new(server.address).with_headers(&headers);
            let variant: Variant = variant.parse().expect("a variant");
            let connected = soon(Subscriber::connect(variant, dialer, options(None))).await;
            assert_eq!(connected.is_ok(), status == "200", "{variant:?}");
        }
    }
    server.stop();
    let log = std::fs::read_to_string(&log).expect("text");
    assert!(log.contains("TRACE"), "nothing was logged at that level");
    let signature = token.rsplit_once('.').expect("three parts").1;
    let lines: Vec<_> = log.lines().filter(|line| line.contains(signature)).collect();
    assert!(lines.is_empty(), "the log has the token: {lines:?}");
    assert!(!log.contains(KEY), "the log has the key");
}

#[tokio::test]
async fn files_with_messages_are_private_and_exposed_keys_cause_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let mode = |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode();
    std::fs::write(path("key"), KEY).expect("writes");
    let key = path("key");
    for (key_mode, is_warned) in [(0o640, true), (0o604, true), (0o600, false), (0o400, false)] {
        std::fs::set_permissions(&key, Permissions::from_mode(key_mode)).expect("it is ours");
        let log = File::create(path("log")).expect("a file");
        let (key, data) = (key.to_str().expect("text"), path("feed"));
        let arguments = ["--token-key", key, "--data", data.to_str().expect("text")];
        ChildServer::start_with_log(&arguments, None, log).stop();
        assert_eq!(mode(&data) & 0o777, 0o700);
        assert_eq!(mode(&data.join("feed.redb")) & 0o777, 0o600);
        let log = std::fs::read_to_string(path("log")).expect("text");
        assert_eq!(log.contains("others may read it"), is_warned, "{key_mode:o}: {log}");
    }
}
