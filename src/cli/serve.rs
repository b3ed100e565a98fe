//! `serve`: the server, until it is told to stop.

use std::process::ExitCode;

use tokio::io::AsyncReadExt;

use super::{logging, output};
use crate::app::ServerConfig;
use crate::server::Server;

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
    /// Bytes of log a minute; further lines are left out and counted
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    log_bytes: usize,
    /// Stop when standard input ends: with the process that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// Serves until a signal, then drains.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::init(args.log_bytes);
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
