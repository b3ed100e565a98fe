//! `compare --watch`: shows the progress of a run in a browser. The progress is published to a
//! topic of a separate server, which takes no part in the measurement.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::output::note;
use super::progress::phase_name;
use crate::app::ServerConfig;
use crate::load::Progress;
use crate::message::TopicName;
use crate::report::figures::supports;
use crate::run::Cell;
use crate::server::{self, Server};

/// The topic that the page subscribes to; its scripts contain the name.
const TOPIC: &str = "compare";
/// Progress messages that may wait to be published; a whole run has fewer.
const QUEUE_LENGTH: usize = 1_000;

/// The server of the page.
#[derive(Debug)]
pub struct Watch {
    address: SocketAddr,
    updates: mpsc::Sender<Value>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    publishing: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Opens the port that the page will be served on.
    ///
    /// # Errors
    /// If the address is in use.
    pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
        server::listen(address).with_context(|| {
            format!("cannot show the run on {address}; name another address with --watch")
        })
    }

    /// Serves the page on `listener`, and the reports in the directories next to `run`.
    ///
    /// # Errors
    /// If the server cannot be created.
    pub async fn start(listener: TcpListener, run: &Path) -> anyhow::Result<Watch> {
        let reports = run.parent().map(Path::to_path_buf);
        let listen = listener.local_addr()?;
        // Other processes of this machine must not be able to invent progress.
        let config = ServerConfig { listen, reports, read_only: true, ..ServerConfig::default() };
        let server = Server::on(listener, config).await.context("cannot show the run")?;
        let address = server.local_addr()?;
        note(format!("follow the run on http://{address}/watch"));
        let app = server.app();
        let (updates, mut queued) = mpsc::channel::<Value>(QUEUE_LENGTH);
        let publishing = tokio::spawn(async move {
            let topic: TopicName = TOPIC.parse().expect("a plain word");
            while let Some(text) = queued.recv().await {
                let message = json!({ "sender": "compare", "text": text.to_string() });
                if let Err(error) = app.publish(&topic, message.to_string().as_bytes()).await {
                    tracing::warn!(%error, "cannot publish the progress of the run");
                }
            }
        });
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        Ok(Watch { address, updates, stop, serving, publishing })
    }

    /// Publishes a step of the run.
    pub fn publish(&self, progress: &Progress<'_>) {
        self.enqueue(match progress {
            Progress::Calibrating { left } => {
                json!({ "what": "calibrating", "left_s": left.as_secs_f64() })
            }
            Progress::Cell { number, of, variant, case, repeat, left } => json!({
                "what": "cell", "number": number, "of": of, "left_s": left.as_secs_f64(),
                "label": format!("{}{}{case}, repeat {}", variant.label(),
                    if case.is_empty() { "" } else { ", " }, repeat + 1),
            }),
            Progress::Phase(phase) => json!({ "what": "phase", "phase": phase_name(*phase) }),
            Progress::Done(cell, _) => done(cell),
            Progress::Failed(cell, _) => {
                json!({ "what": "failed", "label": cell.variant.label(), "error": cell.error })
            }
        });
    }

    fn enqueue(&self, update: Value) {
        if self.updates.try_send(update).is_err() {
            tracing::warn!(
                "dropped a progress message: {QUEUE_LENGTH} wait to be published already"
            );
        }
    }

    /// Announces the finished report and serves it until Ctrl-C.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub async fn serve_until_interrupted(self, run: &Path) -> anyhow::Result<()> {
        // Before the announcement: its reader may interrupt the process at once.
        let stopped = super::shutdown_signal()?;
        let name = run.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.enqueue(json!({ "what": "finished", "run": name }));
        note(format!("the report is served on http://{}/watch until Ctrl-C", self.address));
        stopped.await;
        drop(self.updates);
        self.publishing.await?;
        self.stop.cancel();
        Ok(self.serving.await?)
    }
}

/// The most important figures of a cell.
fn done(cell: &Cell) -> Value {
    let histogram = &cell.latency_us.0;
    let ms = |micros: u64| micros as f64 / 1e3;
    // As in the report, a percentile that too few values support is left out.
    let quantile = |share| {
        let is_known = supports(share, histogram.len(), cell.published);
        is_known.then(|| ms(histogram.value_at_quantile(share)))
    };
    let messages = cell.deliveries.steady;
    json!({
        "what": "done",
        "transport": cell.variant,
        "label": cell.variant.label(),
        "case": cell.case,
        "repeat": cell.repeat,
        "latency_ms": {
            "mean": histogram.mean() / 1e3, "p50": quantile(0.5), "p99": quantile(0.99),
            "max": ms(histogram.max()),
        },
        "requests_per_message": (messages > 0).then(|| cell.requests.sent as f64 / messages as f64),
    })
}
