//! `serve`: the server, until it is told to stop.

use std::io::IsTerminal;
use std::process::ExitCode;

use tokio::io::AsyncReadExt;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use super::output;
use crate::app::ServerConfig;
use crate::server::Server;
use crate::usage::raise_connection_limit;

/// Serve one message feed in every way
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push serve
  poll-vs-push serve --listen 127.0.0.1:0
  poll-vs-push serve --data ./feed

  curl -d '{\"sender\":\"A\",\"text\":\"hi\"}' http://127.0.0.1:3030/topics/room/messages
  curl 'http://127.0.0.1:3030/topics/room/poll?after=0'
  curl 'http://127.0.0.1:3030/topics/room/long-poll?after=1&wait=30'
  curl -N http://127.0.0.1:3030/topics/room/stream

SIGINT or SIGTERM stops it: WebSockets are closed with 1001, held requests are answered.
RUST_LOG=debug says more of what happens.")]
pub struct Args {
    #[command(flatten)]
    config: ServerConfig,
    /// Stop when standard input ends: with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Serves until a signal, then drains.
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Its own complaint that standard error cannot be written would panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
    limit_connections(&mut args.config);
    let runtime = super::runtime()?;
    let served = runtime.block_on(async {
        let server = Server::bind(args.config).await?;
        output::print(&format!("listening on {}://{}", server.scheme(), server.local_addr()?))?;
        server.serve(told_to_stop(args.with_parent)?).await;
        Ok(ExitCode::SUCCESS)
    });
    // A read of standard input that has begun cannot be called off, and would be waited for.
    runtime.shutdown_background();
    served
}

/// Lowers `--max-connections` to what the limit on file descriptors allows, once that is raised as
/// far as it may be: further clients then wait to be accepted, as with the limit that was given.
fn limit_connections(config: &mut ServerConfig) {
    let room = usize::try_from(raise_connection_limit()).unwrap_or(usize::MAX).max(1);
    let given = config.max_connections;
    if room < given {
        warn!(
            "this process can hold {room} connections, not --max-connections {given}: raise its \
             limit on file descriptors (ulimit -Hn)"
        );
        config.max_connections = room;
    }
}

/// Ready at SIGINT, at SIGTERM and, if asked, at the end of standard input.
fn told_to_stop(with_parent: bool) -> std::io::Result<impl Future<Output = ()>> {
    let signalled = super::told_to_stop()?;
    let parent_gone = async move {
        if !with_parent {
            std::future::pending::<()>().await;
        }
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    Ok(async move {
        tokio::select! {
            () = signalled => {}
            () = parent_gone => {}
        }
    })
}
