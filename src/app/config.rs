//! The limits and options of the server: flag, unit and default of each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::feed::store::{Durability, FileRetention, MemoryStore, RedbStore, Store, StoreError};
#[cfg(feature = "nats")]
use crate::feed::store::{NatsConfig, NatsStore};
use crate::feed::{Feed, FeedLimits, MESSAGE_OVERHEAD, Retention, TOPIC_OVERHEAD};
use crate::message::{Epoch, TopicName};
use crate::units::{count, duration};

/// Server limits and options.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3030")]
    pub listen: SocketAddr,
    /// Open connections; further ones wait to be accepted, after 5 s they get 503
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_connections: usize,
    /// Open connections of one client address; further ones get 429 and are closed
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = number::<usize>)]
    pub max_connections_per_address: usize,
    /// Long polls that wait at the same time; further ones get 503
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_waiters: usize,
    /// Subscriptions of each streaming transport: WebSocket, SSE, NDJSON, Socket.IO
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_subscriptions: usize,
    /// Socket.IO sessions, subscribed or not
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_sessions: usize,
    /// Socket.IO sessions of one client address
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = number::<usize>)]
    pub max_sessions_per_address: usize,
    /// Long polls of one client address that wait at the same time
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = number::<usize>)]
    pub max_waiters_per_address: usize,
    /// Subscriptions of one client address, of all streaming transports together
    #[arg(long, value_name = "N", default_value_t = 1_200, value_parser = number::<usize>)]
    pub max_subscriptions_per_address: usize,
    /// Bytes that the server holds for one connection: requests that it answers and responses that
    /// the client has not read
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = retained_bytes)]
    pub max_held_bytes: usize,
    /// Bytes that the server holds for the connections of one client address
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = retained_bytes)]
    pub max_held_bytes_per_address: usize,
    /// Bytes that the server holds for all clients
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20, value_parser = retained_bytes)]
    pub max_held_bytes_total: usize,
    /// Messages that one client address may publish per second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<u32>)]
    pub publish_rate: u32,
    /// Processor time that the connections of one client address may use before those of other
    /// addresses get theirs
    #[arg(long, value_name = "DURATION", default_value = "100us", value_parser = slice)]
    pub address_slice: Duration,
    /// Apply the limits per address to loopback addresses too, which proxies and load tests use
    #[arg(long)]
    pub limit_loopback: bool,
    /// Time in which a client must send the headers of a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub header_timeout: Duration,
    /// Largest request headers, bytes, at least 8192
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 10, value_parser = header_bytes)]
    pub max_header_bytes: usize,
    /// Time in which a client must send the body of a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub body_timeout: Duration,
    /// Time that a connection may be idle between two requests
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = timeout)]
    pub idle_timeout: Duration,
    /// Largest message, sender and text together, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, value_parser = message_bytes)]
    pub max_message_bytes: usize,
    /// Messages in one response
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_batch: usize,
    /// Smallest response that is compressed for clients that accept gzip, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 10, value_parser = gzip_bytes)]
    pub gzip_min_bytes: usize,
    /// Longest wait of a long poll, whatever the client requests
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = wait)]
    pub max_hold: Duration,
    /// Time in which a client must read what is sent to it, or its connection is closed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub send_timeout: Duration,
    /// Time between two heartbeats on an idle connection. A WebSocket is closed if it does not
    /// answer a ping before the next one, an HTTP/2 connection if it does not within --send-timeout
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = heartbeat)]
    pub heartbeat: Duration,
    /// Time in which a Socket.IO client must answer a ping, which is sent every --heartbeat
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = heartbeat)]
    pub ping_timeout: Duration,
    /// Time in which a Socket.IO client must connect to a namespace
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = timeout)]
    pub connect_timeout: Duration,
    /// Open requests on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = number::<u32>)]
    pub h2_max_streams: u32,
    /// HTTP/2 requests that a client may reset before they are accepted; one more closes the
    /// connection
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::<usize>)]
    pub h2_max_resets: usize,
    /// Longest topic name, bytes, at most 64
    #[arg(long, value_name = "BYTES", default_value_t = TopicName::MAX_BYTES)]
    #[arg(value_parser = name_bytes)]
    pub max_topic_name_bytes: usize,
    /// Topics of the server
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number::<usize>)]
    pub max_topics: usize,
    /// Topics that clients of one address created
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_topics_per_address: usize,
    /// Messages that a topic retains
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = retained_messages)]
    pub retain_messages: usize,
    /// Bytes that a topic retains
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = retained_bytes)]
    pub retain_bytes: usize,
    /// Bytes of memory for the messages of all topics; the oldest are dropped first. With --data
    /// they stay in the file
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20, value_parser = retained_bytes)]
    pub retain_total_bytes: usize,
    /// Bytes of messages in the file of --data; the largest topics lose their oldest messages first
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 30, value_parser = file_bytes)]
    #[arg(requires = "data")]
    pub retain_data_bytes: u64,
    /// Time that a topic retains a message; unlimited if not given
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub retain_age: Option<Duration>,
    /// Bytes of messages in one response
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = batch_bytes)]
    pub max_batch_bytes: usize,
    /// Directory to store messages in; without it they are lost when the server stops
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Store messages on this NATS server with JetStream, which further servers may share; every
    /// server then offers the same topics
    #[arg(long, value_name = "nats://HOST:PORT", conflicts_with = "data")]
    #[arg(hide = cfg!(not(feature = "nats")))]
    pub nats: Option<String>,
    /// Stream for the messages on NATS, created if there is none
    #[arg(long, value_name = "NAME", default_value = "poll-vs-push", value_parser = stream_name)]
    #[arg(hide = cfg!(not(feature = "nats")))]
    pub nats_stream: String,
    /// Bytes that NATS reserves for the stream; beyond them, publishers get 507
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = retained_bytes)]
    #[arg(hide = cfg!(not(feature = "nats")))]
    pub nats_bytes: usize,
    /// What the acknowledgement of a published message guarantees
    #[arg(long, value_name = "WHICH", default_value = "full", requires = "data")]
    pub durability: Durability,
    /// Longest time that the server waits for connections to close when it stops
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = wait)]
    pub drain_timeout: Duration,
    /// Directory with the reports that the live page shows; without it none
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// Serve a classroom: /class for devices, and the page of the teacher, whose address is printed
    // Devices have no tokens.
    #[arg(long, conflicts_with = "token_key")]
    pub class: bool,
    /// Let the lesson freeze and restart this server; only on a loopback address
    #[arg(long)]
    pub demo: bool,
    /// Time over which connections are closed when the server stops, each at a random instant, so
    /// that clients do not reconnect at the same time; --drain-timeout begins after it
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = wait)]
    pub drain_window: Duration,
    /// Close WebSockets with 1012 (service restart) instead of 1001 when the server stops
    #[arg(long)]
    pub restarting: bool,
    /// Origin whose pages may use this server, besides its own; repeatable, '*' is any
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Host name that requests may name although the server listens on loopback and requires no
    /// tokens, as behind a proxy; repeatable, '*' is any. Without it only localhost and IP
    /// addresses are accepted, which prevents DNS rebinding
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// File with the key that verifies tokens, at least 32 bytes; without it every client may read
    /// and publish
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,
    /// Reject what clients publish: only the process itself publishes, as in the server of
    /// `compare --watch`.
    #[arg(skip)]
    pub read_only: bool,
    /// Also serve the endpoints of conformance suites: a WebSocket echo (/echo), the test
    /// applications of Engine.IO (/engine.io) and Socket.IO (/socket.io)
    #[arg(long)]
    pub echo: bool,
    /// Certificate chain, PEM; with it the server accepts TLS only
    #[arg(long, value_name = "FILE", requires = "tls_key", hide = cfg!(not(feature = "tls")))]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", hide = cfg!(not(feature = "tls")))]
    pub tls_key: Option<PathBuf>,
}

// The bounds of the flags. No sum, product or timer made of values within them overflows.

fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    count(text, 1, 100_000_000)
}

fn header_bytes(text: &str) -> Result<usize, String> {
    // hyper does not accept a smaller buffer.
    count(text, 8 << 10, 16 << 20)
}

fn message_bytes(text: &str) -> Result<usize, String> {
    count(text, 1, 16 << 20)
}

fn batch_bytes(text: &str) -> Result<usize, String> {
    count(text, 1, 1 << 30)
}

fn gzip_bytes(text: &str) -> Result<usize, String> {
    count(text, 0, 1 << 30)
}

fn name_bytes(text: &str) -> Result<usize, String> {
    count(text, 1, TopicName::MAX_BYTES as u64)
}

fn retained_messages(text: &str) -> Result<usize, String> {
    count(text, 1, 1_000_000_000)
}

/// A stream name is also the first part of the subjects of its messages.
fn stream_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("must be 1 to 64 letters, digits, '_' or '-'".to_owned()),
    }
}

fn retained_bytes(text: &str) -> Result<usize, String> {
    count(text, 1, 1 << 40)
}

/// In 64 bits on every machine: the default alone exceeds 32.
fn file_bytes(text: &str) -> Result<u64, String> {
    count(text, 1, 1 << 40)
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The resolution of timers.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

fn wait(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, 365 * DAY)
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN, 365 * DAY)
}

/// A shorter slice would be spent mostly on task switches.
const SLICE_MIN: Duration = Duration::from_micros(10);

fn slice(text: &str) -> Result<Duration, String> {
    duration(text, SLICE_MIN, Duration::from_secs(3600))
}

/// Clients of Socket.IO wait for `--heartbeat` and `--ping-timeout` together, by a timer of
/// JavaScript, which has 31 bits for milliseconds: 24 days.
fn heartbeat(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN, 10 * DAY)
}

impl ServerConfig {
    /// Largest JSON of a message within [`ServerConfig::max_message_bytes`]: JSON may escape one
    /// byte as six.
    pub fn max_message_bytes_encoded(&self) -> usize {
        self.max_message_bytes.saturating_mul(6).saturating_add(1024)
    }

    /// Checks that the limits can be used together.
    ///
    /// # Errors
    /// Names two flags that exclude each other, their values, and a remedy.
    pub fn check(&self) -> Result<(), BadLimits> {
        let too_small = |flag, value, needed, other, of_other| {
            if value >= needed {
                return Ok(());
            }
            Err(BadLimits { flag, value, needed, other, of_other })
        };
        let message = self.max_message_bytes_encoded();
        let (batch, of_message) = (self.max_batch_bytes, self.max_message_bytes);
        for (flag, value) in [
            ("--max-held-bytes", self.max_held_bytes),
            ("--max-held-bytes-per-address", self.max_held_bytes_per_address),
            ("--max-held-bytes-total", self.max_held_bytes_total),
        ] {
            let request = self.max_header_bytes.saturating_mul(2).saturating_add(8 << 10);
            let needed = request.saturating_add(batch);
            too_small(flag, value, needed, "--max-batch-bytes", batch)?;
            // A message on a WebSocket exists twice while it arrives, and its decoded text in
            // addition.
            let copies = message.saturating_mul(2);
            let needed = request.saturating_add(copies).saturating_add(of_message);
            too_small(flag, value, needed, "--max-message-bytes", of_message)?;
        }
        let (flag, value) = ("--retain-total-bytes", self.retain_total_bytes);
        let topics = self.max_topics.saturating_mul(TOPIC_OVERHEAD);
        too_small(flag, value, topics.saturating_mul(2), "--max-topics", self.max_topics)?;
        // Messages are dropped until an eighth is free.
        let kept = topics.saturating_add(message).saturating_add(MESSAGE_OVERHEAD);
        let needed = kept.saturating_add(kept / 7).saturating_add(1);
        too_small(flag, value, needed, "--max-message-bytes", of_message)
    }

    /// Opens the feed that `--data`, `--nats` and the limits describe.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub async fn open_feed(&self) -> Result<Feed, StoreError> {
        let retention = Retention {
            messages: self.retain_messages,
            bytes: self.retain_bytes,
            age: self.retain_age.unwrap_or(Duration::MAX),
        };
        let store: Arc<dyn Store> = match (&self.data, &self.nats) {
            #[cfg(feature = "nats")]
            (None, Some(url)) => Arc::new(self.open_nats(url, retention).await?),
            (Some(directory), _) => {
                let total_bytes = self.retain_data_bytes;
                let retention = FileRetention { topic: retention, total_bytes };
                Arc::new(RedbStore::open(directory, retention, self.durability)?)
            }
            (None, _) => Arc::new(MemoryStore::new(Epoch(rand::random()))),
        };
        let slice_bytes = self.max_batch_bytes;
        let feed = Feed::of(
            store,
            FeedLimits {
                topics: self.max_topics,
                retention,
                slice_bytes,
                total_bytes: self.retain_total_bytes,
            },
        )?;
        feed.catch_up().await?;
        Ok(feed)
    }

    #[cfg(feature = "nats")]
    async fn open_nats(&self, url: &str, retention: Retention) -> Result<NatsStore, StoreError> {
        let config = NatsConfig {
            url: url.to_owned(),
            stream: self.nats_stream.clone(),
            stream_bytes: self.nats_bytes,
            message_bytes: self.max_message_bytes,
            message_bytes_encoded: self.max_message_bytes_encoded(),
            retention,
        };
        NatsStore::open(config).await.map_err(StoreError::Nats)
    }
}

/// Two limits that cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{flag} {value} is too small for {other} {of_other}: raise {flag} to {needed} or more, or lower \
     {other}"
)]
pub struct BadLimits {
    flag: &'static str,
    value: usize,
    needed: usize,
    other: &'static str,
    of_other: usize,
}

impl Default for ServerConfig {
    /// The defaults of the flags.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            config: ServerConfig,
        }
        <Defaults as clap::Parser>::parse_from([""]).config
    }
}
