//! `token`: creates a token for tests and demonstrations. In production, the service that
//! authenticates the users issues the tokens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::output::{print, usage};
use crate::app::token::{Claims, TOKEN_BYTES_MAX, TokenKey, pattern};
use crate::text::causes;
use crate::units::{parse_duration, show_duration};

/// Create a token for a server started with --token-key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  openssl rand -hex 32 > key
  poll-vs-push serve --token-key key
  poll-vs-push token --key key --subscribe 'news.*' --publish room --expires 1h

A pattern is the name of a topic, or a prefix followed by '*'. The token is printed on standard output. A
client sends it as 'Authorization: Bearer ..', as a WebSocket subprotocol 'token...' in addition to
'poll-vs-push', or as '?token=..'.")]
pub struct Args {
    /// File with the server's key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Subject of the token (claim sub)
    #[arg(long, value_name = "NAME", default_value = "")]
    subject: String,
    /// Topics that the token may read; repeatable
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    subscribe: Vec<String>,
    /// Topics that the token may publish to; repeatable
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    publish: Vec<String>,
    /// Time until the token expires, 1 s to 10 years
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires: Duration,
}

/// The claim `exp` has a resolution of one second.
const EXPIRES_MIN: Duration = Duration::from_secs(1);
const EXPIRES_MAX: Duration = Duration::from_secs(87_600 * 3_600);

/// Writes the token to standard output.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { key, subject, subscribe, publish, expires } = args;
    if subscribe.is_empty() && publish.is_empty() {
        return Err(usage(
            "the token would grant no rights; name topics with --subscribe, --publish or both",
        ));
    }
    if !(EXPIRES_MIN..=EXPIRES_MAX).contains(&expires) {
        let given = show_duration(expires);
        return Err(usage(format!("--expires {given}: must be between 1s and 10 years (87600h)")));
    }
    let end = SystemTime::now().duration_since(UNIX_EPOCH)? + expires;
    let claims = Claims { sub: subject, exp: Some(end.as_secs()), nbf: None, subscribe, publish };
    let key =
        TokenKey::read(&key).map_err(|error| usage(format!("--key: {}", causes(&error.into()))))?;
    let token = key.sign(&claims);
    if token.len() > TOKEN_BYTES_MAX {
        return Err(usage(format!(
            "the token has {} bytes, and a server accepts at most {TOKEN_BYTES_MAX}; shorten \
             --subject, or name fewer topics by prefixes",
            token.len()
        )));
    }
    print(&token)?;
    Ok(ExitCode::SUCCESS)
}
