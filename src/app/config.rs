//! Every limit of the server: its name as a flag, its unit and its default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::feed::store::{Durability, MemoryStore, RedbStore, Store, StoreError};
use crate::feed::{Feed, FeedLimits, Retention};
use crate::message::{Epoch, TopicName};
use crate::units::{count, duration};

/// What a server may spend, and on whom.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3030")]
    pub listen: SocketAddr,
    /// Connections open at the same time; further ones wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_connections: usize,
    /// Connections of one client address; further ones are closed at once
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_connections_per_address: usize,
    /// Long polls held at the same time; further ones are told to come back later
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_waiters: usize,
    /// Streams held at the same time, of each transport: WebSocket, SSE, NDJSON, Socket.IO
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_subscriptions: usize,
    /// Sessions of Socket.IO at the same time, subscribed or not
    #[arg(long, value_name = "N", default_value_t = 19_900, value_parser = number::<usize>)]
    pub max_sessions: usize,
    /// Sessions of Socket.IO of one client address
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_sessions_per_address: usize,
    /// Long polls of one client address held at the same time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_waiters_per_address: usize,
    /// Streams of one client address held at the same time, of all transports together
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
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
    /// Messages that one client address may publish in a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<u32>)]
    pub publish_rate: u32,
    /// Apply the limits of one address to this machine's too, from which proxies and load tests
    /// come
    #[arg(long)]
    pub limit_loopback: bool,
    /// Time a client has for the head of a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub header_timeout: Duration,
    /// Largest head of a request, bytes, at least 8192
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 10, value_parser = header_bytes)]
    pub max_header_bytes: usize,
    /// Time a client has for the body of a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub body_timeout: Duration,
    /// Time that a connection may idle between two requests
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = timeout)]
    pub idle_timeout: Duration,
    /// Largest sender and text of a message together, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, value_parser = message_bytes)]
    pub max_message_bytes: usize,
    /// Messages in one answer
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>)]
    pub max_batch: usize,
    /// An answer of so many bytes is sent compressed to those who take it so
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 10, value_parser = gzip_bytes)]
    pub gzip_min_bytes: usize,
    /// Longest that a long poll is held, whatever it asks for
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = wait)]
    pub max_hold: Duration,
    /// Time a client has to take what is sent to it before it is dropped as too slow
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub send_timeout: Duration,
    /// Time between two signs of life on a quiet stream. A WebSocket silent for two is gone, and so
    /// is a connection of HTTP/2 that does not answer one within --send-timeout
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = heartbeat)]
    pub heartbeat: Duration,
    /// Time that a client of Socket.IO has to answer a ping, which is sent every --heartbeat
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = heartbeat)]
    pub ping_timeout: Duration,
    /// Requests that a client may have open at the same time on one connection of HTTP/2
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = number::<u32>)]
    pub h2_max_streams: u32,
    /// Requests by HTTP/2 that a client may take back before they are looked at; at one more the
    /// connection is closed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::<usize>)]
    pub h2_max_resets: usize,
    /// Longest name of a topic, bytes, at most 64
    #[arg(long, value_name = "BYTES", default_value_t = TopicName::MAX_BYTES)]
    #[arg(value_parser = name_bytes)]
    pub max_topic_name_bytes: usize,
    /// Topics that exist at the same time
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number::<usize>)]
    pub max_topics: usize,
    /// Messages that a topic keeps for those who read later
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = retained_messages)]
    pub retain_messages: usize,
    /// Bytes that a topic keeps for those who read later
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = retained_bytes)]
    pub retain_bytes: usize,
    /// Bytes of memory for the messages of all topics; the oldest are dropped first. With --data
    /// they stay in the file
    #[arg(long, value_name = "BYTES", default_value_t = 48 << 20, value_parser = retained_bytes)]
    pub retain_total_bytes: usize,
    /// Time that a topic keeps a message; without it, as long as the other bounds allow
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub retain_age: Option<Duration>,
    /// Bytes of messages in one answer
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = batch_bytes)]
    pub max_batch_bytes: usize,
    /// Directory to keep the messages in; without it they are gone when the server stops
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What a publisher's acknowledgement promises
    #[arg(long, value_name = "WHICH", default_value = "full")]
    pub durability: Durability,
    /// Longest that the server waits for its clients to leave when it stops
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = wait)]
    pub drain_timeout: Duration,
    /// Directory whose reports the page lists and shows; without it none
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
    /// Time over which clients are told to leave, each at a random instant of it, so that they do
    /// not all come back at once; it comes before --drain-timeout
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = wait)]
    pub drain_window: Duration,
    /// Say that the server comes back: WebSockets are closed with 1012, not with 1001
    #[arg(long)]
    pub restarting: bool,
    /// Origin whose pages may use this server, beside its own; repeatable, '*' is any
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Host name under which this server may be reached although it listens on loopback and asks
    /// for no tokens, as behind a proxy; repeatable, '*' is any. Without it localhost and IP
    /// addresses only, so that no foreign page can reach the server by DNS rebinding
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// File with the key that tokens are signed with, 32 bytes or more; without it everybody may
    /// read and publish
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,
    /// Serve /echo too, a WebSocket that says back what it hears, and the applications of the test
    /// suites of Engine.IO (/engine.io) and Socket.IO (/socket.io)
    #[arg(long)]
    pub echo: bool,
    /// Certificate chain, PEM; with it the server speaks TLS only
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
    // hyper takes no smaller buffer.
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

fn retained_bytes(text: &str) -> Result<usize, String> {
    count(text, 1, 1 << 40)
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A timer is no finer.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

fn wait(text: &str) -> Result<Duration, String> {
    duration(text, Duration::ZERO, 365 * DAY)
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN, 365 * DAY)
}

/// Clients of Socket.IO wait for `--heartbeat` and `--ping-timeout` together, by a timer of
/// JavaScript, which has 31 bits for milliseconds: 24 days.
fn heartbeat(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN, 10 * DAY)
}

impl ServerConfig {
    /// Largest JSON of a draft that can be within [`ServerConfig::max_message_bytes`]: JSON may
    /// write a character of the text in six bytes.
    pub fn max_message_bytes_encoded(&self) -> usize {
        self.max_message_bytes.saturating_mul(6).saturating_add(1024)
    }

    /// The feed, as `--data` and the flags of its bounds describe it.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn open_feed(&self) -> Result<Feed, StoreError> {
        let retention = Retention {
            messages: self.retain_messages,
            bytes: self.retain_bytes,
            age: self.retain_age.unwrap_or(Duration::MAX),
        };
        let store: Arc<dyn Store> = match &self.data {
            None => Arc::new(MemoryStore::new(Epoch(rand::random()))),
            Some(directory) => Arc::new(RedbStore::open(directory, retention, self.durability)?),
        };
        let slice_bytes = self.max_batch_bytes;
        Feed::of(
            store,
            FeedLimits {
                topics: self.max_topics,
                retention,
                slice_bytes,
                total_bytes: self.retain_total_bytes,
            },
        )
    }
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
