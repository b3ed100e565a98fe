//! `trace`: prints the conversation of one subscriber with the server, byte by byte.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::output::{print, print_styled, usage};
use super::target_url::TargetUrl;
use crate::app::ServerConfig;
use crate::client::Dialer;
use crate::message::TopicName;
use crate::report::TableStyle;
use crate::server::Server;
use crate::text::{causes, without_secrets};
use crate::trace::{self, Conversation, Options, render};
use crate::units;
use crate::variant::Variant;

/// Print what one subscriber sends and receives, byte by byte
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "\
Examples:
  poll-vs-push trace
  poll-vs-push trace --transports short-polling,websocket --messages 1
  poll-vs-push trace --transports sse --rtt 40ms
  poll-vs-push trace --transports long-polling --target http://127.0.0.1:3030
  poll-vs-push trace --html > trace.html

Each part is named by its kind in the byte ledger of the load test, each step by its time and by the
function under src/ that takes it. Bytes of TCP/IP are 52 for each segment, which the kernel counts.
The messages are published on a connection that is not shown. NO_COLOR=1 turns the colours off, and
COLUMNS=80 sets the width of the text in a pipe or file.")]
pub struct Args {
    /// Transports, comma-separated, such as websocket or short-polling+conditional
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "short-polling,long-polling,websocket,sse,socketio-websocket"
    )]
    transports: Vec<Variant>,
    /// Messages to publish, 1 to 20
    #[arg(long, value_name = "COUNT", default_value = "3",
        value_parser = |text: &str| units::count::<u32>(text, 1, 20))]
    messages: u32,
    /// Time before each message, 1ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = short)]
    every: Duration,
    /// Short polling: time between polls, 1ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = short)]
    poll_interval: Duration,
    /// Long polling: how long the server may hold a request, 1ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = short)]
    long_poll_hold: Duration,
    /// Round-trip time of the simulated link, 0s to 10s
    #[arg(long, value_name = "DURATION", default_value = "0s",
        value_parser = |text: &str| units::duration(text, Duration::ZERO, RTT_MAX))]
    rtt: Duration,
    /// Topic to publish to and to read
    #[arg(long, value_name = "TOPIC", default_value = "trace")]
    topic: TopicName,
    /// URL of a running poll-vs-push server; without it, one is started
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Print an HTML page
    #[arg(long)]
    html: bool,
}

const RTT_MAX: Duration = Duration::from_secs(10);
/// Columns of output that does not go to a terminal.
const COLUMNS: usize = 100;
/// Wider lines are hard to read.
const COLUMNS_MAX: usize = 140;

fn short(text: &str) -> Result<Duration, String> {
    units::duration(text, Duration::from_millis(1), Duration::from_secs(60))
}

/// Prints the traces, one transport after the other.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut seen = HashSet::new();
    for variant in &args.transports {
        trace::check(*variant).map_err(|error| usage(format!("--transports {error}")))?;
        if !seen.insert(*variant) {
            let names: Vec<_> = args.transports.iter().map(ToString::to_string).collect();
            return Err(usage(format!(
                "--transports {}: {variant} is given twice",
                names.join(",")
            )));
        }
    }
    if args.topic.is_removed_from_paths() {
        let text = "cannot be a topic: clients remove it from a path";
        return Err(usage(format!("--topic {}: {text}", args.topic)));
    }
    let target = args.target.as_deref().map(dialer).transpose()?;
    super::runtime()?.block_on(print_all(args, target.as_ref()))?;
    Ok(ExitCode::SUCCESS)
}

/// The dialer of `--target`.
fn dialer(url: &str) -> anyhow::Result<Dialer> {
    let shown = without_secrets(url);
    let wrong = |error: anyhow::Error| usage(format!("--target {shown}: {}", causes(&error)));
    let parsed = TargetUrl::parse(url).map_err(wrong)?;
    if parsed.is_https {
        return Err(usage(format!("--target {shown}: the trace reads plain HTTP; use http://")));
    }
    parsed.dialer().map_err(wrong)
}

async fn print_all(args: &Args, target: Option<&Dialer>) -> anyhow::Result<()> {
    let options = Options {
        topic: args.topic.clone(),
        messages: args.messages,
        every: args.every,
        poll_interval: args.poll_interval,
        long_poll_hold: args.long_poll_hold,
        round_trip: args.rtt,
    };
    let columns = TableStyle::of_stdout().width.map_or(COLUMNS, usize::from).min(COLUMNS_MAX);
    let mut traces: Vec<Conversation> = Vec::new();
    for variant in &args.transports {
        let trace = match (target, &args.target) {
            (Some(dialer), Some(url)) => {
                let trace = trace::run(*variant, dialer, &options).await;
                trace.with_context(|| format!("--target {}", without_secrets(url)))?
            }
            _ => on_own_server(*variant, &options).await?,
        };
        if args.html {
            traces.push(trace);
            continue;
        }
        let before = if *variant == args.transports[0] { "" } else { "\n" };
        let text = render::text(&trace, columns, console::colors_enabled());
        print_styled(&format!("{before}{text}"))?;
    }
    if args.html {
        print(&render::page(&traces, COLUMNS))?;
    }
    Ok(())
}

/// Traces a conversation with a server that is started for it.
async fn on_own_server(variant: Variant, options: &Options) -> anyhow::Result<Conversation> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(ServerConfig { listen, ..ServerConfig::default() }).await?;
    let dialer = Dialer::new(server.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
    let trace = trace::run(variant, &dialer, options).await;
    stop.cancel();
    serving.await?;
    Ok(trace?)
}
