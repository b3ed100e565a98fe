//! `token`: a token for tests and demonstrations. A real one comes from whoever knows the user.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::load::scenario::parse_duration;
use crate::server::token::{Claims, TokenKey};

/// Make a token for a server that was given --token-key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  openssl rand -hex 32 > key
  poll-vs-push serve --token-key key
  poll-vs-push token --key key --subscribe 'news.*' --publish room --expires 1h

A pattern is a topic's name, or its beginning and '*'. The token goes to standard output; a client
sends it as 'Authorization: Bearer ..', as the WebSocket subprotocol 'token...' beside
'poll-vs-push', or as '?token=..'.")]
pub struct Args {
    /// File with the server's key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Whose token it is
    #[arg(long, value_name = "NAME", default_value = "")]
    subject: String,
    /// Topics that it may read; repeatable
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// Topics that it may publish to; repeatable
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// Time until it ends
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires: Duration,
}

/// Writes the token to standard output.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { key, subject, subscribe, publish, expires } = args;
    let end = SystemTime::now().duration_since(UNIX_EPOCH)? + expires;
    let claims = Claims { sub: subject, exp: Some(end.as_secs()), subscribe, publish };
    println!("{}", TokenKey::read(&key)?.sign(&claims));
    Ok(ExitCode::SUCCESS)
}
