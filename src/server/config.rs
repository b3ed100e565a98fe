//! Every limit of the server: its name as a flag, its unit and its default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::scenario::parse_duration;

/// What a server may spend, and on whom.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3030")]
    pub listen: SocketAddr,
    /// Connections open at the same time; further ones wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 19_900)]
    pub max_connections: usize,
    /// Time a client has for the head of a request and again for its body, also time a kept-alive
    /// connection may idle
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = parse_duration)]
    pub header_timeout: Duration,
    /// Largest text of a message, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10)]
    pub max_message_bytes: usize,
    /// Messages in one answer
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub max_batch: usize,
    /// An answer of so many bytes is sent compressed to those who take it so
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 10)]
    pub gzip_min_bytes: usize,
    /// Longest that a long poll is held, whatever it asks for
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub max_hold: Duration,
    /// Time a client has to take what is sent to it before it is dropped as too slow
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub send_timeout: Duration,
    /// Time between two signs of life on a quiet stream. A WebSocket silent for two is gone
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = parse_duration)]
    pub heartbeat: Duration,
    /// Topics that exist at the same time
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_topics: usize,
    /// Messages that a topic keeps for those who read later
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub retain_messages: usize,
    /// Bytes that a topic keeps for those who read later
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    pub retain_bytes: usize,
    /// Longest that the server waits for its clients to leave when it stops
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// Directory whose reports the page lists and shows; without it none
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

impl ServerConfig {
    /// Largest JSON of a draft that can be within [`ServerConfig::max_message_bytes`]: JSON may
    /// write a character of the text in six bytes.
    pub fn max_message_bytes_encoded(&self) -> usize {
        6 * self.max_message_bytes + 1024
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
