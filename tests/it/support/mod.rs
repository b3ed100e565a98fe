//! Shared test support: servers, verifying subscribers, and waiting with a timeout.

pub mod http2;
#[cfg(feature = "nats")]
pub mod nats;
mod raw;
pub mod relay;
mod scrape;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use poll_vs_push::app::{ApiError, App, ServerConfig};
use poll_vs_push::client::{Dialer, HttpConnection, HttpResponse};
use poll_vs_push::message::{Cursor, Message, ReadResult, Stored, TopicName};
use poll_vs_push::server::Server;
use poll_vs_push::transport::{SubscribeOptions, Subscriber, Update};
use poll_vs_push::variant::{Transport, Variant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use raw::{KEY, Raw, WireFrame, frame};
pub use scrape::Scrape;

/// Far longer than any step takes: a timeout means that a waiting task was not woken.
pub const FORGOTTEN: Duration = Duration::from_secs(60);

/// The result of `future`, with a timeout.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(FORGOTTEN, future).await.expect("somebody was forgotten")
}

/// Returns once `holds` is true; for conditions that cannot be awaited, such as a gauge.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(FORGOTTEN, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The topic of most tests.
pub fn room() -> TopicName {
    "room".parse().expect("a good name")
}

/// The variant of this name.
pub fn variant(name: &str) -> Variant {
    name.parse().expect("a variant")
}

/// Every transport, and those that HTTP/2 offers over HTTP/2 too.
pub fn variants_with_http2() -> Vec<Variant> {
    let by_http2 = ["short-polling+h2", "long-polling+h2", "sse+h2", "ndjson+h2"].map(variant);
    Transport::ALL.map(Variant::from).into_iter().chain(by_http2).collect()
}

/// The texts of the messages in the result of a read.
pub fn texts(result: &ReadResult) -> Vec<String> {
    let text = |json: &Bytes| serde_json::from_slice::<Message>(json).expect("a message").text;
    result.messages.iter().map(text).collect()
}

/// The JSON of a new message.
pub fn new_message(text: &str) -> String {
    serde_json::json!({ "sender": "A", "text": text }).to_string()
}

/// Publishes to [`room`], as any client does.
pub async fn publish(http: &mut HttpConnection, text: &str) {
    let path = format!("/topics/{}/messages", room());
    let answer =
        http.request(Method::POST, &path, new_message(text).into()).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::CREATED);
}

/// Options for a subscription to [`room`] with frequent short polls.
pub fn options(cursor: Option<Cursor>) -> SubscribeOptions {
    let (interval, interval_max) = (Duration::from_millis(2), Duration::from_millis(8));
    SubscribeOptions { cursor, interval, interval_max, ..SubscribeOptions::new(room()) }
}

/// A server in this process on a free port. End it with [`TestServer::stop`].
pub struct TestServer {
    pub address: SocketAddr,
    /// The state shared by its connections.
    pub app: Arc<App>,
    stop: CancellationToken,
    serving: AbortOnDropHandle<()>,
}

impl TestServer {
    /// A server with the default limits.
    pub async fn start() -> TestServer {
        TestServer::with(|_| ()).await
    }

    /// A server with limits changed by `configure`.
    pub async fn with(configure: impl FnOnce(&mut ServerConfig)) -> TestServer {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config =
            ServerConfig { listen, drain_window: Duration::ZERO, ..ServerConfig::default() };
        #[cfg(feature = "nats")]
        nats::configure(&mut config);
        configure(&mut config);
        let server = Server::bind(config).await.expect("some port is free");
        let address = server.local_addr().expect("it has one");
        let app = server.app();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        TestServer { address, app, stop, serving: AbortOnDropHandle::new(serving) }
    }

    /// Starts the shutdown; the server drains while the test continues.
    pub fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the server and waits for its end.
    pub async fn stop(self) {
        self.tell_to_stop();
        soon(self.serving).await.expect("serving does not panic");
    }

    /// Publishes to [`room`] through the function that the publishing routes call.
    pub async fn publish(&self, text: &str) -> Stored {
        self.try_publish("room", text).await.expect("stored")
    }

    pub async fn try_publish(&self, topic: &str, text: &str) -> Result<Stored, ApiError> {
        self.app.publish(&topic.parse().expect("a good name"), new_message(text).as_bytes()).await
    }

    /// A cursor in this server's epoch.
    pub fn at(&self, offset: u64) -> Cursor {
        let head = self.app.feed.topic(&room()).expect("room for one").head();
        Cursor { offset, ..head }
    }

    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.address)
    }

    /// A connection for requests.
    pub fn http(&self) -> HttpConnection {
        HttpConnection::new(self.dialer())
    }

    /// `GET path` on a new connection.
    pub async fn get(&self, path: &str) -> HttpResponse {
        self.request("GET", path, "").await
    }

    /// `POST path` on a new connection.
    pub async fn post(&self, path: &str, body: impl Into<bytes::Bytes>) -> HttpResponse {
        self.request("POST", path, body).await
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: impl Into<bytes::Bytes>,
    ) -> HttpResponse {
        let method = method.parse().expect("a method");
        soon(self.http().request(method, path, body.into())).await.expect("an answer")
    }

    /// The metrics from `GET /metrics`.
    pub async fn scrape(&self) -> Scrape {
        let answer = self.get("/metrics").await;
        Scrape::parse(std::str::from_utf8(&answer.body).expect("text"))
    }

    /// Subscribes to [`room`].
    pub async fn subscribe(&self, variant: impl Into<Variant>, cursor: Option<Cursor>) -> Reader {
        Reader::connect(variant, self.dialer(), options(cursor)).await
    }

    /// Number of waiting subscribers of `transport`.
    pub fn waiting(&self, transport: Transport) -> i64 {
        self.app.metrics.of(transport).waiting.get()
    }

    /// Waits until the server has seen every connection end.
    pub async fn until_all_have_left(&self) {
        eventually("no open connection", || self.app.metrics.open_connections.get() == 0).await;
    }
}

/// A subscriber whose waits have a timeout.
pub struct Reader(Subscriber);

impl Reader {
    pub async fn connect(
        variant: impl Into<Variant>,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Reader {
        Reader(soon(Subscriber::connect(variant, dialer, options)).await.expect("subscribes"))
    }

    /// The next update.
    pub async fn next(&mut self) -> Update {
        soon(self.0.next()).await.expect("an answer")
    }

    /// All updates until there are `count` messages, merged into one.
    pub async fn receive(&mut self, count: usize) -> Update {
        let mut all = Update::default();
        while all.messages.len() < count {
            let received = self.next().await;
            all.messages.extend(received.messages);
            all.gap += received.gap;
            all.reset |= received.reset;
        }
        assert_eq!(all.messages.len(), count, "more messages than there should be: {all:?}");
        all
    }

    /// The texts of the next `count` messages, of which none may be lost.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let before = self.cursor().offset;
        let received = self.receive(count).await;
        assert_eq!((received.gap, received.reset), (0, false));
        let offsets: Vec<u64> = received.messages.iter().map(|message| message.offset).collect();
        let in_order: Vec<u64> = (before + 1..).take(count).collect();
        assert_eq!(offsets, in_order, "not what follows {before}");
        assert_eq!(self.cursor().offset, before + count as u64);
        received.messages.into_iter().map(|message| message.text).collect()
    }

    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }
}
