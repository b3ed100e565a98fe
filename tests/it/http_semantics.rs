//! HTTP semantics of every route: methods, hosts, half-closed connections, conditional requests,
//! encodings. The tests iterate over the server's route table, which includes new routes.

use hyper::Method;
use poll_vs_push::server::route_table::{Handler, ROUTES, Route};
use poll_vs_push::variant::Transport;

use crate::support::{Raw, TestServer, eventually, new_message};

const OTHER_METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];
const BODY: &str = "content-length: 0\r\n";

/// An example path of this route.
pub fn example(route: &Route) -> String {
    route.path.replace("{*}", "").replace("{}", "room")
}

pub fn names(route: &Route) -> Vec<&'static str> {
    route.methods.iter().map(|method| method.as_str()).collect()
}

pub async fn connect_and_send(server: &TestServer, request: String) -> Raw {
    let mut raw = Raw::connect(server.address).await;
    raw.send(request).await;
    raw
}

async fn status_of(server: &TestServer, request: String) -> u16 {
    connect_and_send(server, request).await.response_without_body().await.status
}

pub fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
}

#[tokio::test]
async fn every_route_lists_its_methods() {
    let server = TestServer::start().await;
    for route in ROUTES {
        let path = example(route);
        let allow = route.allow().to_ascii_lowercase();
        let mut raw = connect_and_send(&server, request("OPTIONS", &path, "")).await;
        let answer = raw.response_without_body().await;
        assert_eq!((answer.status, answer.header("allow")), (204, Some(&*allow)), "{path}");
        for method in OTHER_METHODS.iter().filter(|method| !names(route).contains(method)) {
            let mut raw = connect_and_send(&server, request(method, &path, BODY)).await;
            let answer = raw.answer().await;
            // The test suites of Socket.IO want 400.
            let status = if route.handler == Handler::SocketIo { 400 } else { 405 };
            let expected = (status, Some(&*allow));
            assert_eq!((answer.status, answer.header("allow")), expected, "{method} {path}");
        }
    }
    let mut raw = connect_and_send(&server, request("OPTIONS", "*", "")).await;
    assert_eq!(raw.response_without_body().await.status, 204);
    server.stop().await;
}

#[tokio::test]
async fn head_returns_get_without_a_body() {
    let server = TestServer::with(|config| config.echo = true).await;
    for route in ROUTES.iter().filter(|route| names(route).contains(&"HEAD")) {
        let path = example(route);
        let get = status_of(&server, request("GET", &path, "")).await;
        // On the same connection, where a body would be parsed as the next response.
        let mut raw = connect_and_send(&server, request("HEAD", &path, "")).await;
        assert_eq!(raw.response_without_body().await.status, get, "{path}");
        raw.get("/healthz", "").await;
        let next = raw.answer().await;
        assert_eq!((next.status, next.body.contains("ok")), (200, true), "{path}");
        // A HEAD with upgrade headers does not upgrade.
        let upgrading = request("HEAD", &path, &Raw::upgrade_headers());
        assert_ne!(status_of(&server, upgrading).await, 101, "{path}");
    }
    let mut raw = connect_and_send(&server, request("HEAD", "/healthz", "")).await;
    let head = raw.response_without_body().await;
    let length = server.get("/healthz").await.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(&*length), "the length that GET has");
    server.stop().await;
}

#[tokio::test]
async fn host_header_must_be_single_and_valid() {
    let server = TestServer::start().await;
    for route in ROUTES {
        let (path, method) = (example(route), names(route)[0]);
        for hosts in ["", "host: a\r\nhost: a\r\n", "host: a b\r\n", "host: u@a\r\n"] {
            let request = format!("{method} {path} HTTP/1.1\r\n{hosts}{BODY}\r\n");
            assert_eq!(status_of(&server, request).await, 400, "{path} {hosts:?}");
        }
        for (target, host) in [
            ("", "evil.example"),
            ("", "localhost.."),
            ("http://evil.example", "localhost"),
            ("ftp://localhost", "localhost"),
        ] {
            let foreign = format!("{method} {target}{path} HTTP/1.1\r\nhost: {host}\r\n{BODY}\r\n");
            assert_eq!(status_of(&server, foreign).await, 421, "{target}{path} {host}");
        }
    }
    for target in ["http://localhost", "HTTPS://localhost"] {
        let absolute = request("GET", &format!("{target}/healthz"), "");
        assert_eq!(status_of(&server, absolute).await, 200, "{target}");
    }
    // HTTP/1.0 needs no host, and the connection is closed after the response.
    let old = connect_and_send(&server, "GET /healthz HTTP/1.0\r\n\r\n".to_owned()).await;
    assert!(old.rest().await.contains("\"status\":\"ok\""));
    server.stop().await;
}

#[tokio::test]
async fn trailing_slash_and_percent_encoding_are_normalised() {
    let server = TestServer::start().await;
    for route in ROUTES.iter().filter(|route| route.path != "/") {
        let (path, method) = (example(route), names(route)[0]);
        let path = path.trim_end_matches('/');
        let expected = status_of(&server, request(method, path, BODY)).await;
        let encoded = path.replace('o', "%6F");
        for same in [format!("{path}/"), encoded] {
            assert_eq!(status_of(&server, request(method, &same, BODY)).await, expected, "{same}");
        }
        // All paths below /socket.io/ are handled by Socket.IO.
        let doubled = (!path.ends_with(".io")).then(|| format!("{path}//"));
        for other in doubled.into_iter().chain([path.to_ascii_uppercase()]) {
            assert_eq!(status_of(&server, request(method, &other, BODY)).await, 404, "{other}");
        }
    }
    let body = new_message("hi");
    let headers = format!("content-length: {}\r\n", body.len()) + &Raw::upgrade_headers();
    let of_topics = ROUTES.iter().filter(|route| route.path.starts_with("/topics/{}/"));
    for (route, topic) in of_topics.flat_map(|route| {
        [".", "..", "%2e", "%2E%2e", ".%2e", "a%2Fb", "%C3%A9", "a%00", "%"].map(|it| (route, it))
    }) {
        let path = route.path.replace("{}", topic);
        for method in names(route).into_iter().filter(|method| *method != "HEAD") {
            let request = request(method, &path, &headers) + &body;
            assert_eq!(status_of(&server, request).await, 400, "{method} {path}");
        }
    }
    // The unreserved characters are equivalent to their codes, so it is one topic.
    let encoded = request("POST", "/topics/r%6F%6fm/messages", &headers) + &body;
    assert_eq!(status_of(&server, encoded).await, 201);
    assert_eq!(server.at(0).epoch, server.publish("second").await.epoch);
    assert!(server.get("/topics/room/poll?after=0").await.body.ends_with(b"\"second\"}]}"));
    server.stop().await;
}

/// Names and values of a query may be percent-encoded on every route; none may be given twice.
#[tokio::test]
async fn query_is_decoded_and_each_parameter_is_given_once() {
    let server = TestServer::with(|config| (config.echo, config.demo) = (true, true)).await;
    for (path, status) in [
        ("/topics/room/poll?%61fter=%30", 200),
        ("/topics/room/long-poll?wai%74=0%2E01", 200),
        ("/topics/room/events?li%6Dit=%31", 200),
        ("/topics/room/stream?hear%74beat=%31", 200),
        ("/socket.io/?%45IO=%34&tr%61nsport=%70olling", 200),
        ("/engine.io/?%45IO=%34&tr%61nsport=%70olling", 200),
        ("/topics/room/poll?%61fter=%78", 400),
    ] {
        assert_eq!(status_of(&server, request("GET", path, "")).await, status, "{path}");
    }
    for (method, path, what) in [
        ("GET", "/topics/room/poll?after=1&after=2", "the query contains a parameter twice"),
        ("GET", "/topics/room/ws?limit=1&%6Cimit=2", "the query contains a parameter twice"),
        ("GET", "/topics/room/poll?token=a&token=b", "the query contains a parameter twice"),
        ("GET", "/socket.io/?EIO=4&transport=polling&E%49O=4", "the query contains a parameter"),
        ("GET", "/engine.io/?transport=polling&transport=websocket&EIO=4", "a parameter twice"),
        ("POST", "/socket.io/?EIO=4&transport=polling&sid=a&sid=b", "a parameter twice"),
        ("GET", "/topics/room/poll?after=%78", "after: 'x' is not a whole number"),
        ("POST", "/demo/freeze?seconds=NaN", "seconds: 'NaN' is not a whole number from 1 to 30"),
        ("POST", "/demo/freeze?seconds=31", "seconds: '31' is not a whole number from 1 to 30"),
        ("POST", "/demo/freeze", "seconds: '' is not a whole number from 1 to 30"),
    ] {
        let mut raw = connect_and_send(&server, request(method, path, BODY)).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.error().contains(what), "{path}: {}", answer.error());
    }
    server.stop().await;
}

#[tokio::test]
async fn half_closed_client_gets_its_response() {
    let server = TestServer::start().await;
    let body = new_message("hi");
    let length = format!("content-length: {}\r\n", body.len());
    for _ in 0..20 {
        for request in [
            request("GET", "/healthz", ""),
            request("GET", "/topics/room/poll?after=0", ""),
            request("POST", "/topics/room/messages", &length) + &body,
        ] {
            let mut raw = connect_and_send(&server, request.clone()).await;
            raw.finish_sending().await;
            let rest = raw.rest().await;
            assert!(rest.starts_with("HTTP/1.1 20"), "{request}: {rest}");
        }
    }
    let head = server.at(0);
    let path = format!("/topics/room/long-poll?epoch={}&after=20&wait=60", head.epoch);
    let mut held = connect_and_send(&server, request("GET", &path, "")).await;
    held.finish_sending().await;
    eventually("held", || server.waiting(Transport::LongPolling) == 1).await;
    server.publish("the answer").await;
    assert!(held.rest().await.contains("the answer"));
    server.until_all_have_left().await;
    server.stop().await;
}

/// Every route whose responses to GET end, with a path that it answers soon.
fn routes_with_short_responses() -> impl Iterator<Item = String> {
    let ends = |route: &&Route| {
        !matches!(route.handler, Handler::Sse | Handler::Ndjson | Handler::SocketIo)
    };
    let routes = ROUTES.iter().filter(|route| route.allows(&Method::GET)).filter(ends);
    routes.map(|route| match route.handler {
        Handler::LongPolling => example(route) + "?wait=0.01",
        _ => example(route),
    })
}

#[tokio::test]
async fn every_route_serves_half_closed_clients_and_http_1_0() {
    let server = TestServer::with(|config| (config.echo, config.class) = (true, true)).await;
    for path in routes_with_short_responses() {
        let expected = status_of(&server, request("GET", &path, "")).await;
        let mut half_closed = connect_and_send(&server, request("GET", &path, "")).await;
        half_closed.finish_sending().await;
        let rest = half_closed.rest().await;
        assert!(rest.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {rest}");
        // Without a host and without a length of its own, up to the end of the connection.
        let old = connect_and_send(&server, format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let rest = old.rest().await;
        assert!(rest.starts_with(&format!("HTTP/1.0 {expected} ")), "{path}: {rest}");
        assert!(!rest.to_ascii_lowercase().contains("transfer-encoding"), "{path}: {rest}");
    }
    server.stop().await;
}

/// A header field that may occur once is not read from one of several lines, on any route.
#[tokio::test]
async fn repeated_header_is_rejected_on_every_route() {
    let server = TestServer::with(|config| (config.echo, config.class) = (true, true)).await;
    for route in ROUTES {
        let (method, path) = (names(route)[0], example(route));
        for (name, values) in [
            ("authorization", ["Bearer a", "Bearer b"]),
            ("origin", ["http://localhost", "http://localhost"]),
            ("last-event-id", ["00000001:1", "00000001:2"]),
            ("sec-fetch-site", ["same-origin", "cross-site"]),
        ] {
            let [first, second] = values.map(|value| format!("{name}: {value}\r\n"));
            let headers = format!("{first}{second}{BODY}");
            let mut raw = connect_and_send(&server, request(method, &path, &headers)).await;
            let answer = raw.answer().await;
            let expected = format!("the request contains the header {name} twice; give it once");
            assert_eq!((answer.status, answer.error()), (400, expected), "{path}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn long_poll_of_a_disconnected_client_is_cancelled() {
    let server = TestServer::start().await;
    let path = "/topics/room/long-poll?after=0&wait=60";
    // A close, a close with unread data of the next request, and a reset.
    for more in ["", "GET /healthz HTTP/1.1\r\n"] {
        let raw = connect_and_send(&server, request("GET", path, "") + more).await;
        eventually("held", || server.waiting(Transport::LongPolling) == 1).await;
        drop(raw);
        eventually("given up", || server.waiting(Transport::LongPolling) == 0).await;
    }
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn entity_tags_are_compared_as_specified() {
    let server = TestServer::with(|config| (config.echo, config.class) = (true, true)).await;
    server.publish("hi").await;
    let more = ["/page/main.js", "/page/style.css", "/topics/room/poll?after=1"];
    let mut tagged = 0;
    for path in routes_with_short_responses().chain(more.map(str::to_owned)) {
        let mut raw = connect_and_send(&server, request("GET", &path, "")).await;
        let answer = raw.response_without_body().await;
        let Some(tag) = answer.header("etag").map(str::to_owned) else { continue };
        tagged += 1;
        for known in [
            format!("if-none-match: {tag}\r\n"),
            format!("if-none-match: W/{tag}\r\n"),
            format!("if-none-match: \"other\", {tag}\r\n"),
            format!("if-none-match: \"other\"\r\nif-none-match: {tag}\r\n"),
            format!("if-none-match: \"\u{e9}\", {tag}\r\n"),
            "if-none-match: *\r\n".to_owned(),
            format!("if-match: {tag}\r\nif-none-match: {tag}\r\n"),
        ] {
            for method in ["GET", "HEAD"] {
                let given = status_of(&server, request(method, &path, &known)).await;
                assert_eq!(given, 304, "{method} {path} {known}");
            }
        }
        for (conditions, status) in [
            ("if-none-match: \"other\"\r\n".to_owned(), 200),
            (format!("if-match: \"\u{e9}\", {tag}\r\n"), 200),
            ("if-match: *\r\n".to_owned(), 200),
            ("if-match: \"no\"\r\n".to_owned(), 412),
            (format!("if-match: W/{tag}\r\n"), 412),
            (format!("if-match: \"no\"\r\nif-none-match: {tag}\r\n"), 412),
        ] {
            for method in ["GET", "HEAD"] {
                let given = status_of(&server, request(method, &path, &conditions)).await;
                assert_eq!(given, status, "{method} {path} {conditions}");
            }
        }
    }
    assert!(tagged >= 11, "only {tagged} responses have an entity tag");
    server.stop().await;
}

/// The largest values of the types and of JavaScript's exact integers: such a cursor is ahead of
/// the head, so it is reset, and later messages arrive.
#[tokio::test]
async fn largest_cursors_are_reset_on_every_transport() {
    let server = TestServer::start().await;
    server.publish("before").await;
    for offset in [u64::from(u32::MAX), (1 << 53) - 1, 1 << 53, u64::MAX - 1, u64::MAX] {
        for transport in Transport::ALL {
            let mut reader = server.subscribe(transport, Some(server.at(offset))).await;
            while !reader.next().await.reset {}
            server.publish("after").await;
            assert_eq!(reader.texts(1).await, ["after"], "{transport} {offset}");
        }
        let path = format!("/topics/room/events?after={offset}");
        for id in [format!("{}:{offset}", server.at(0).epoch), "zz:99999999999999999999".into()] {
            let event_id = format!("last-event-id: {id}\r\n");
            assert_eq!(status_of(&server, request("GET", &path, &event_id)).await, 200, "{id}");
        }
    }
    let beyond = "18446744073709551616";
    for query in ["after", "limit"].map(|key| format!("{key}={beyond}")) {
        for route in ["poll", "long-poll", "events", "stream"] {
            let path = format!("/topics/room/{route}?{query}");
            assert_eq!(status_of(&server, request("GET", &path, "")).await, 400, "{path}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_websocket_route_validates_upgrades_the_same_way() {
    let server = TestServer::with(|config| config.echo = true).await;
    let good = Raw::upgrade_headers();
    let cases = [
        (String::new(), 426),
        (good.replace("upgrade: WebSocket", "upgrade: foo"), 426),
        (good.replace("keep-alive, Upgrade", "keep-alive"), 426),
        (good.replace("version: 13", "version: 8"), 426),
        (good.replace("version: 13", "version: 12"), 426),
        (good.replace("version: 13", "version: 13, 8"), 426),
        (good.replace("version: 13", "version: 013"), 426),
        (good.replace("version: 13", "other: 13"), 426),
        (format!("{good}sec-websocket-version: 13\r\n"), 426),
        (format!("{good}content-length: 5\r\n"), 400),
        (format!("{good}content-length: 5\r\nexpect: 100-continue\r\n"), 400),
        (format!("{good}transfer-encoding: chunked\r\n"), 400),
        (format!("{good}content-length: 0\r\n"), 101),
        (good.replace("key: ", "other: "), 400),
        (good.replace("==", ""), 400),
        (good.replace("dGhl", "!!!!"), 400),
        (format!("{good}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        // RFC 6455, sections 4.2.1 and 9.1.
        (format!("{good}sec-websocket-extensions: ;;;\r\n"), 400),
        (format!("{good}sec-websocket-extensions:\r\n"), 400),
        (format!("{good}sec-websocket-extensions: a; b=\"1\", ,c\r\n"), 101),
        (format!("{good}sec-websocket-protocol:\r\n"), 400),
        (format!("{good}sec-websocket-protocol: a b\r\n"), 400),
        (format!("{good}sec-websocket-protocol: a,\r\nsec-websocket-protocol: b\r\n"), 101),
        (good, 101),
    ];
    let by_post = Raw::upgrade_headers() + "content-length: 0\r\n";
    for (path, post_status) in [
        ("/topics/room/ws", 405),
        ("/echo", 405),
        ("/socket.io/?EIO=4&transport=websocket", 400),
        ("/engine.io/?EIO=4&transport=websocket", 400),
    ] {
        for (headers, status) in &cases {
            let mut raw = connect_and_send(&server, request("GET", path, headers)).await;
            let answer = raw.response_without_body().await;
            assert_eq!(answer.status, *status, "{path} {headers}");
            if *status == 426 {
                // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
                let names = ["upgrade", "connection", "sec-websocket-version"];
                let expected = [Some("websocket"), Some("upgrade"), Some("13")];
                assert_eq!(names.map(|name| answer.header(name)), expected, "{path} {headers}");
            }
        }
        let given = status_of(&server, request("POST", path, &by_post)).await;
        assert_eq!(given, post_status, "POST {path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn cross_site_requests_are_rejected_except_navigation() {
    let server = TestServer::start().await;
    let fetch = |site: &str, mode: &str, dest: &str| {
        format!("sec-fetch-site: {site}\r\nsec-fetch-mode: {mode}\r\nsec-fetch-dest: {dest}\r\n")
    };
    for route in ROUTES {
        let (path, method) = (example(route), names(route)[0]);
        for site in ["cross-site", "same-site"] {
            let foreign = request(method, &path, &(fetch(site, "no-cors", "image") + BODY));
            assert_eq!(status_of(&server, foreign).await, 403, "{site} {path}");
        }
    }
    assert_eq!(server.app.feed.topic_count(), 0);
    for (site, mode, dest) in [
        ("same-origin", "cors", "empty"),
        ("none", "navigate", "document"),
        ("cross-site", "navigate", "document"),
    ] {
        assert_eq!(status_of(&server, request("GET", "/", &fetch(site, mode, dest))).await, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn empty_last_event_id_is_ignored() {
    let server = TestServer::start().await;
    for text in ["one", "two"] {
        server.publish(text).await;
    }
    let path = format!("/topics/room/events?epoch={}&after=1", server.at(0).epoch);
    let mut raw = connect_and_send(&server, request("GET", &path, "last-event-id:\r\n")).await;
    raw.response_without_body().await;
    server.tell_to_stop();
    let stream = raw.rest().await;
    assert!(stream.contains("two") && !stream.contains("event: reset"), "{stream}");
    assert!(!stream.contains("event:reset"), "{stream}");
    server.stop().await;
}

/// Longer than hyper keeps the connection of a client that waits.
const PARKED: std::time::Duration = std::time::Duration::from_millis(400);

#[tokio::test]
async fn parked_long_poll_keeps_its_connection_and_the_next_request() {
    let server = TestServer::start().await;
    let requests = [("GET", ""), ("HEAD", ""), ("GET", "connection: close\r\n")];
    for (published, (method, more)) in requests.into_iter().enumerate() {
        let epoch = server.at(0).epoch;
        let path = format!("/topics/room/long-poll?epoch={epoch}&after={published}&wait=60");
        let both = request(method, &path, more) + &request("GET", "/healthz", "");
        let mut raw = connect_and_send(&server, both).await;
        eventually("held", || server.waiting(Transport::LongPolling) == 1).await;
        tokio::time::sleep(PARKED).await;
        server.publish("the answer").await;
        let answer = match method {
            "HEAD" => raw.response_without_body().await,
            _ => raw.answer().await,
        };
        assert_eq!(answer.status, 200, "{method} {more}");
        if more.is_empty() {
            assert_eq!(raw.answer().await.status, 200, "{method}: the pipelined request");
        } else {
            assert_eq!(raw.rest().await, "", "closed as the client has asked");
        }
    }
    server.stop().await;
}
