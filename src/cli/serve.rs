//! `serve`: runs the server until a signal stops it.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{logging, output};
use crate::app::ServerConfig;
use crate::server::{BindError, Server};
use crate::text::causes;
use crate::units::whole_number;
use crate::usage::raise_connection_limit;

/// Serve one message feed over every transport
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push serve
  poll-vs-push serve --listen 127.0.0.1:0
  poll-vs-push serve --data ./feed
  poll-vs-push serve --class --listen 0.0.0.0:3030
  poll-vs-push serve --demo

  curl -d '{\"sender\":\"A\",\"text\":\"hi\"}' http://127.0.0.1:3030/topics/room/messages
  curl 'http://127.0.0.1:3030/topics/room/poll?after=0'
  curl 'http://127.0.0.1:3030/topics/room/long-poll?after=1&wait=30'
  curl -N http://127.0.0.1:3030/topics/room/stream

SIGINT or SIGTERM stops the server gracefully: WebSockets are closed with 1001 and pending requests are
answered. RUST_LOG=debug logs more.")]
pub struct Args {
    #[command(flatten)]
    config: ServerConfig,
    /// Bytes of log output per minute; further lines are dropped and counted
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    #[arg(value_parser = whole_number::<usize>)]
    log_bytes: usize,
    /// Stop when standard input is closed, that is, when the parent process ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Serves until a signal, then drains the connections.
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    logging::init(args.log_bytes);
    limit_connections(&mut args.config);
    let runtime = super::runtime()?;
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (signalled, cancel) = (shutdown_signal(args.with_parent)?, stop.clone());
        tokio::spawn(async move {
            signalled.await;
            cancel.cancel();
        });
        let mut config = args.config;
        let mut is_first = true;
        while !stop.is_cancelled() {
            let server = Server::bind(config.clone()).await.map_err(bind_error)?;
            let app = server.app();
            // A server that restarts keeps its port.
            config.listen = server.local_addr()?;
            if is_first {
                announce(&server)?;
            }
            is_first = false;
            let restart = app.restart.clone();
            let ended = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = restart.cancelled() => {}
                }
            };
            server.serve(ended).await;
            if !restart.is_cancelled() {
                break;
            }
            let _ = timeout(RESTART_DOWNTIME, stop.cancelled()).await;
        }
        Ok(ExitCode::SUCCESS)
    });
    // A pending read of standard input cannot be cancelled and would block an orderly shutdown.
    runtime.shutdown_background();
    served
}

/// Downtime of a server that the lesson restarts.
const RESTART_DOWNTIME: Duration = Duration::from_secs(3);

/// Prints the address of the server, and of the teacher's page if there is a class.
fn announce(server: &Server) -> anyhow::Result<()> {
    let (scheme, address) = (server.scheme(), server.local_addr()?);
    output::print(&format!("listening on {scheme}://{address}"))?;
    if let Some(class) = &server.app().class {
        output::print(&format!("teacher: {scheme}://{address}/teacher#{}", class.key()))?;
    }
    Ok(())
}

/// A key or certificate that cannot be used is an error of the command line.
fn bind_error(error: BindError) -> anyhow::Error {
    match error {
        BindError::Listen { .. } | BindError::Store(_) => error.into(),
        _ => output::usage(causes(&error.into())),
    }
}

/// Raises the limit on file descriptors as far as the system allows, and lowers `--max-connections`
/// to it. Further clients then wait to be accepted.
fn limit_connections(config: &mut ServerConfig) {
    let room = usize::try_from(raise_connection_limit()).unwrap_or(usize::MAX).max(1);
    let given = config.max_connections;
    if room < given {
        warn!(
            "--max-connections {given}: the limit on file descriptors allows only {room} \
             connections; raise it (ulimit -Hn)"
        );
        config.max_connections = room;
    }
}

/// Completes at SIGINT, at SIGTERM and, if `with_parent`, at the end of standard input.
fn shutdown_signal(with_parent: bool) -> std::io::Result<impl Future<Output = ()>> {
    let signalled = super::shutdown_signal()?;
    let parent_ended = async move {
        if !with_parent {
            std::future::pending::<()>().await;
        }
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    Ok(async move {
        tokio::select! {
            () = signalled => {}
            () = parent_ended => {}
        }
    })
}
