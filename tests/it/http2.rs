//! HTTP/2 with prior knowledge: many requests on one connection, its limits, its shutdown, and the
//! classification of its bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use poll_vs_push::app::metrics::Refusal;
use poll_vs_push::client::{Meter, SharedConnection};
use poll_vs_push::server::route_table::ROUTES;
use poll_vs_push::transport::SubscribeOptions;
use poll_vs_push::variant::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, frame, opening,
    request_fields,
};
use crate::support::{Raw, Reader, TestServer, eventually, new_message, options, soon, variant};

/// The initial window of a stream (RFC 9113, section 6.9.2).
const WINDOW: u32 = 65_535;

/// Sends `bytes`, and returns everything that the server sends until it closes the connection.
async fn until_end(server: &TestServer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    let mut received = Vec::new();
    // Both sides report an error if the server closes the connection before it has read everything.
    let _ = soon(stream.write_all(bytes)).await;
    let _ = soon(stream.read_to_end(&mut received)).await;
    received
}

/// The types of the frames in `bytes`, in order.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        kinds.push(*kind);
        bytes = rest.get(length..).unwrap_or_default();
    }
    kinds
}

/// An independent HTTP/2 client.
struct Client {
    requests: SendRequest<Full<Bytes>>,
    authority: String,
    driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(server: &TestServer) -> Client {
        let stream = TcpStream::connect(server.address).await.expect("it listens");
        let shaking = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (requests, connection) = soon(shaking).await.expect("it speaks HTTP/2");
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        Client { requests, authority: server.address.to_string(), driver }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{path}", self.authority);
        let request = Request::builder().method(method).uri(uri);
        request.body(Full::new(body.to_owned().into())).expect("a request")
    }

    /// Status and body of the response to a request.
    fn ask(
        &self,
        request: Request<Full<Bytes>>,
    ) -> AbortOnDropHandle<hyper::Result<Response<Bytes>>> {
        let mut requests = self.requests.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let (head, body) = requests.send_request(request).await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        }))
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        let answer = soon(self.ask(self.request("GET", path, ""))).await;
        answer.expect("no panic").expect("an answer")
    }
}

#[tokio::test]
async fn http2_serves_all_routes_and_many_pending_requests() {
    const WAITING: i64 = 50;
    let server = TestServer::start().await;
    let client = Client::connect(&server).await;
    assert_eq!(client.get("/healthz").await.status(), 200);
    assert_eq!(client.get("/nowhere").await.status(), 404);
    let refusal = client.get("/topics/room/ws").await;
    assert_eq!(refusal.status(), 426, "no upgrade by HTTP/2");
    let text = String::from_utf8_lossy(refusal.body());
    assert!(text.contains("use HTTP/1.1"), "{text}");
    let held: Vec<_> = (0..WAITING)
        .map(|_| client.ask(client.request("GET", "/topics/room/long-poll?after=0", "")))
        .collect();
    eventually("held", || server.waiting(Transport::LongPolling) == WAITING).await;
    assert_eq!(server.app.metrics.open_connections.get(), 1);
    let stored = client.ask(client.request("POST", "/topics/room/messages", &new_message("hi")));
    assert_eq!(soon(stored).await.expect("no panic").expect("an answer").status(), 201);
    for answer in held {
        let answer = soon(answer).await.expect("no panic").expect("an answer");
        assert!(answer.body().ends_with(b"\"text\":\"hi\"}]}"));
    }
    drop(client);
    server.until_all_have_left().await;
    server.stop().await;
}

/// A body after the headers would be a protocol error that ends the connection.
#[tokio::test]
async fn head_has_the_status_of_get_and_no_body_on_every_route() {
    let server = TestServer::with(|config| config.echo = true).await;
    let client = Client::connect(&server).await;
    for route in ROUTES.iter().filter(|route| route.allows(&Method::HEAD)) {
        let path = route.path.replace("{*}", "").replace("{}", "room");
        let mut get = Raw::connect(server.address).await;
        get.get(&path, "").await;
        let expected = get.response_without_body().await.status;
        let head = soon(client.ask(client.request("HEAD", &path, ""))).await;
        let head = head.expect("no panic").unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((head.status().as_u16(), head.body().len()), (expected, 0), "{path}");
        assert_eq!(client.get("/healthz").await.status(), 200, "{path}");
    }
    drop(client);
    server.stop().await;
}

/// The checks of HTTP/1 apply to `:authority`, and to a `host` beside it (RFC 9113, section 8.3.1).
#[tokio::test]
async fn authority_is_checked_as_a_host_is() {
    let server = TestServer::start().await;
    let client = Client::connect(&server).await;
    let status = async |authority: &str, host: Option<&str>| {
        let mut request = client.request("GET", "/healthz", "");
        let uri = format!("http://{authority}/healthz").parse().expect("a URI");
        *request.uri_mut() = uri;
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().expect("a value"));
        }
        let asked = soon(client.ask(request)).await.expect("no panic");
        asked.expect("an answer").status().as_u16()
    };
    assert_eq!(status("localhost:80", None).await, 200);
    assert_eq!(status("localhost", Some("localhost")).await, 200);
    assert_eq!(status("localhost", Some("LOCALHOST")).await, 200);
    assert_eq!(status("evil.example", None).await, 421);
    assert_eq!(status("evil.example", Some("localhost")).await, 400);
    assert_eq!(status("localhost", Some("evil.example")).await, 400);
    drop(client);
    server.stop().await;
}

/// The frames delimit a body (RFC 9113, section 8.1.1).
#[tokio::test]
async fn body_needs_no_content_length() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(server.address).await;
    let fields = request_fields(true, "/topics/room/messages");
    let message = new_message("hi");
    let (first, rest) = message.as_bytes().split_at(5);
    raw.send(opening(WINDOW)).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields)).await;
    raw.send([frame(DATA, 0, 1, first), frame(DATA, END_STREAM, 1, rest)].concat()).await;
    eventually("published", || server.app.metrics.published.get() == 1).await;
    drop(raw);
    server.stop().await;
}

#[tokio::test]
async fn stream_over_the_limit_waits_for_a_free_one() {
    let server = TestServer::with(|config| config.h2_max_streams = 2).await;
    let client = Client::connect(&server).await;
    // After the first response, the client knows the limit.
    assert_eq!(client.get("/healthz").await.status(), 200);
    let hold = || client.ask(client.request("GET", "/topics/room/long-poll?after=0", ""));
    let held = [hold(), hold()];
    eventually("held", || server.waiting(Transport::LongPolling) == 2).await;
    let third = hold();
    let [one, other] = held;
    drop(one);
    // The slot of the cancelled request goes to the waiting one.
    let requests = || server.app.metrics.of(Transport::LongPolling).requests.get();
    eventually("the third comes", || requests() == 3).await;
    eventually("held", || server.waiting(Transport::LongPolling) == 2).await;
    server.publish("hi").await;
    for answer in [other, third] {
        assert_eq!(soon(answer).await.expect("no panic").expect("an answer").status(), 200);
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn oversized_headers_are_rejected_and_the_connection_stays_open() {
    let server = TestServer::start().await;
    let client = Client::connect(&server).await;
    let mut request = client.request("GET", "/healthz", "");
    let large = "x".repeat(server.app.config.max_header_bytes);
    request.headers_mut().insert("x-large", large.parse().expect("a value"));
    let answer = soon(client.ask(request)).await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 431);
    assert_eq!(client.get("/healthz").await.status(), 200);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn incomplete_preface_closes_the_connection() {
    let server = TestServer::with(|config| config.header_timeout = Duration::from_millis(50)).await;
    for sent in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut raw = Raw::connect(server.address).await;
        raw.send(sent).await;
        raw.ends().await;
    }
    assert_eq!(server.app.metrics.refusals(Refusal::SlowHead), 3);
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn pending_request_may_last_longer_than_the_header_timeout() {
    let server = TestServer::with(|config| config.header_timeout = Duration::from_millis(50)).await;
    let client = Client::connect(&server).await;
    let hold = |wait| {
        let path = format!("/topics/room/long-poll?after=0&wait={wait}");
        client.ask(client.request("GET", &path, ""))
    };
    let (held, taken_back) = (hold("0.5"), hold("60"));
    eventually("held", || server.waiting(Transport::LongPolling) == 2).await;
    assert_eq!(client.get("/healthz").await.status(), 200);
    // From here on the bytes are frames, no longer a header section.
    drop(taken_back);
    eventually("let go", || server.waiting(Transport::LongPolling) == 1).await;
    assert_eq!(soon(held).await.expect("no panic").expect("an answer").status(), 200);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn client_that_does_not_answer_pings_is_disconnected() {
    let server = TestServer::with(|config| {
        config.heartbeat = Duration::from_millis(20);
        config.send_timeout = Duration::from_millis(20);
        // Only the missing ping answer may end the connection.
        (config.header_timeout, config.idle_timeout) = (Duration::from_secs(600), Duration::MAX);
    })
    .await;
    let received = until_end(&server, &opening(WINDOW)).await;
    assert!(kinds(&received).contains(&PING), "{received:?}");
    server.until_all_have_left().await;
    server.stop().await;
}

#[tokio::test]
async fn flood_of_cancelled_streams_closes_the_connection() {
    let server = TestServer::start().await;
    let mut flood = opening(WINDOW);
    for stream in (1..1_000).step_by(2) {
        // A complete request: GET, http, /, and a host named x (RFC 7541, appendix A).
        let headers = b"\x82\x86\x84\x41\x01x";
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, headers));
        let cancel = [0, 0, 0, 8];
        flood.extend(frame(RST_STREAM, 0, stream, &cancel));
    }
    let received = until_end(&server, &flood).await;
    assert!(kinds(&received).contains(&GOAWAY), "{received:?}");
    server.until_all_have_left().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_answers_pending_streams_and_sends_goaway() {
    let server = TestServer::start().await;
    let client = Client::connect(&server).await;
    let held = client.ask(client.request("GET", "/topics/room/long-poll?after=0", ""));
    let stream = client.ask(client.request("GET", "/topics/room/events", ""));
    eventually("held", || {
        server.waiting(Transport::LongPolling) == 1 && server.waiting(Transport::Sse) == 1
    })
    .await;
    server.stop().await;
    let answer = soon(held).await.expect("no panic").expect("an answer");
    assert!(answer.status() == 200 && answer.headers().contains_key("retry-after"));
    let events = soon(stream).await.expect("no panic").expect("it ends as it should");
    let events = String::from_utf8(events.body().to_vec()).expect("text");
    assert_eq!(events.matches("retry:").count(), 2, "{events}");
    let ended = soon(client.driver).await.expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
}

#[tokio::test]
async fn subscribers_share_a_connection_and_its_bytes_are_counted_once() {
    const SUBSCRIBERS: usize = 5;
    const MESSAGES: usize = 20;
    let server = TestServer::start().await;
    let dialer = |meter: &Arc<Meter>, shared: &Arc<SharedConnection>| {
        server.dialer().with_meter(meter.clone()).with_shared(shared.clone())
    };
    for name in ["short-polling+h2", "long-polling+h2", "sse+h2"] {
        let (meter, shared) = (Arc::new(Meter::default()), Arc::default());
        let mut readers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let options = SubscribeOptions { wait: Duration::from_secs(30), ..options(None) };
            readers.push(Reader::connect(variant(name), dialer(&meter, &shared), options).await);
        }
        let mut payload = 0;
        for number in 0..MESSAGES {
            server.publish(&format!("message {number}")).await;
            for reader in &mut readers {
                let received = reader.receive(1).await;
                payload += received.messages[0].encode().len() as u64;
            }
        }
        let counts = meter.counts();
        assert_eq!(counts.opened, 1, "{name}");
        assert_eq!(server.app.metrics.open_connections.get(), 1, "{name}");
        let (up, down) = (counts.up(), counts.down());
        assert_eq!(down.payload, payload, "{name}");
        assert!(down.framing > 0 && down.headers > 0 && up.headers > 0, "{down:?} {up:?}");
        // Preface, settings, and one frame header per request.
        assert!(up.framing >= 24 + 9 * counts.requests, "{name}: {up:?}");
        // Each request has a path with a new cursor, and little else.
        let head = up.headers / counts.requests;
        assert!(head < 79, "{name}: {head} bytes a request");
        drop(readers);
        server.until_all_have_left().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn broken_shared_connection_is_reopened_by_the_next_request() {
    let server = TestServer::start().await;
    let (meter, shared): (Arc<Meter>, Arc<SharedConnection>) = Default::default();
    let dialer = || server.dialer().with_meter(meter.clone()).with_shared(shared.clone());
    let mut one = Reader::connect(variant("short-polling+h2"), dialer(), options(None)).await;
    drop(one);
    server.until_all_have_left().await;
    one = Reader::connect(variant("short-polling+h2"), dialer(), options(None)).await;
    let mut other = Reader::connect(variant("short-polling+h2"), dialer(), options(None)).await;
    server.publish("hi").await;
    assert_eq!((one.texts(1).await, other.texts(1).await), (vec!["hi".into()], vec!["hi".into()]));
    assert_eq!(meter.counts().opened, 2);
    drop((one, other));
    server.stop().await;
}

#[tokio::test]
async fn connection_without_streams_is_closed_after_the_idle_timeout_despite_pings() {
    let server = TestServer::with(|config| {
        config.idle_timeout = Duration::from_millis(300);
        config.heartbeat = Duration::from_millis(50);
    })
    .await;
    let mut subscriber = server.subscribe(variant("sse+h2"), None).await;
    let mut stream = TcpStream::connect(server.address).await.expect("it listens");
    stream.write_all(&opening(WINDOW)).await.expect("it reads");
    let mut has_ended = false;
    // Answers every ping until the server has sent GOAWAY and closed the connection.
    let mut head = [0; 9];
    while soon(stream.read_exact(&mut head)).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        soon(stream.read_exact(&mut payload)).await.expect("a whole frame");
        match (head[3], head[4]) {
            (GOAWAY, _) => has_ended = true,
            (PING, 0) => {
                let _ = stream.write_all(&frame(PING, ACK, 0, &payload)).await;
            }
            _ => {}
        }
    }
    assert!(has_ended, "no GOAWAY");
    assert_eq!(server.app.metrics.refusals(Refusal::Idle), 1);
    server.publish("still there").await;
    assert_eq!(subscriber.texts(1).await, ["still there"]);
    drop(subscriber);
    server.stop().await;
}
