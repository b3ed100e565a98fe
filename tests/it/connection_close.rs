//! When the server closes a connection after a response, the response says so (RFC 9112, section
//! 9.6): while it drains, and after a request whose body it has not read.

use poll_vs_push::server::route_table::{Handler, ROUTES};
use poll_vs_push::variant::Transport;

use crate::http_semantics::{connect_and_send, example, names, request};
use crate::support::{TestServer, eventually};

/// The last response on a connection says that it is the last (RFC 9112, section 9.6).
#[tokio::test]
async fn response_during_the_drain_closes_the_connection_and_says_so() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for path in ["/topics/room/long-poll?after=0", "/socket.io/?EIO=4&transport=polling"] {
        let mut raw = connect_and_send(&server, request("GET", path, "")).await;
        if path.starts_with("/socket.io") {
            let opened = raw.answer().await.body;
            let opened: serde_json::Value = serde_json::from_str(&opened[1..]).expect("JSON");
            let id = opened["sid"].as_str().expect("an id");
            raw.send(request("GET", &format!("{path}&sid={id}"), "")).await;
        }
        clients.push(raw);
    }
    eventually("held", || server.waiting(Transport::LongPolling) == 1).await;
    let requests = &server.app.metrics.of(Transport::SocketioPolling).requests;
    eventually("polled", || requests.get() == 2).await;
    server.tell_to_stop();
    for mut raw in clients {
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(raw.rest().await, "");
    }
    server.stop().await;
}

/// A client that announces a body and does not send it is answered within `--body-timeout`, or at
/// once by a route that reads no body, and disconnected.
#[tokio::test]
async fn incomplete_body_is_not_waited_for_on_any_route() {
    let server = TestServer::with(|config| {
        (config.class, config.echo) = (true, true);
        config.body_timeout = std::time::Duration::from_millis(100);
    })
    .await;
    for route in ROUTES.iter().filter(|route| names(route).contains(&"POST")) {
        let path = example(route);
        let mut raw =
            connect_and_send(&server, request("POST", &path, "content-length: 9\r\n")).await;
        let answer = raw.answer().await;
        let expected = match route.handler {
            Handler::Publish | Handler::Class => 408,
            Handler::Demo => 404,
            _ => 400,
        };
        assert_eq!(answer.status, expected, "{path}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert_eq!(raw.rest().await, "", "{path}: the connection is closed");
    }
    // Bodies that are rejected before they are read: by their size and by the topic.
    for (path, length, status) in
        [("/topics/room/messages", 9_999_999, 413), ("/topics/%2E%2E/messages", 9, 400)]
    {
        for more in ["", "expect: 100-continue\r\n"] {
            let headers = format!("content-length: {length}\r\n{more}");
            let mut raw = connect_and_send(&server, request("POST", path, &headers)).await;
            let answer = raw.answer().await;
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
            assert_eq!(raw.rest().await, "", "{path}: the connection is closed");
        }
    }
    // A body that has arrived with its request costs no connection.
    let body = "content-length: 2\r\n";
    let path = "/topics/%2E%2E/messages";
    let mut raw = connect_and_send(&server, request("POST", path, body) + "{}").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (400, None));
    raw.get("/healthz", "").await;
    assert_eq!(raw.answer().await.status, 200);
    let large = "x".repeat((64 << 10) + 1);
    for path in ["/class/report", "/class/settings"] {
        let length = format!("content-length: {}\r\n", large.len());
        let mut raw = connect_and_send(&server, request("POST", path, &length) + &large).await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, &*answer.error()), (413, "the body has more than 65536 bytes"));
    }
    server.stop().await;
}
