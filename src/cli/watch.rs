//! `compare --watch`: a run that can be followed in a browser. Its progress is published on a feed
//! of its own, apart from those that are measured, and heard as any other.

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
use crate::run::Cell;
use crate::server::{self, Server};

/// The topic that the page reads; its scripts know the name.
const TOPIC: &str = "compare";
/// What may wait to be published; a whole run says less.
const QUEUE: usize = 1_000;

/// The server of the page, beside the run.
#[derive(Debug)]
pub struct Watch {
    address: SocketAddr,
    say: mpsc::Sender<Value>,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    publishing: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Takes the port that the page will be served on.
    ///
    /// # Errors
    /// If the address is in use.
    pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
        server::listen(address).with_context(|| {
            format!("cannot show the run on {address}; name another address with --watch")
        })
    }

    /// Serves the page on `listener`, and the reports that lie beside `run`'s directory.
    ///
    /// # Errors
    /// If the server cannot be made.
    pub async fn start(listener: TcpListener, run: &Path) -> anyhow::Result<Watch> {
        let reports = run.parent().map(Path::to_path_buf);
        let listen = listener.local_addr()?;
        let config = ServerConfig { listen, reports, ..ServerConfig::default() };
        let server = Server::on(listener, config).context("cannot show the run")?;
        let address = server.local_addr()?;
        note(format!("follow the run on http://{address}/watch"));
        let app = server.app();
        let (say, mut said) = mpsc::channel::<Value>(QUEUE);
        let publishing = tokio::spawn(async move {
            let topic: TopicName = TOPIC.parse().expect("a plain word");
            while let Some(text) = said.recv().await {
                let draft = json!({ "sender": "compare", "text": text.to_string() });
                if let Err(error) = app.publish(&topic, draft.to_string().as_bytes()).await {
                    tracing::warn!(%error, "progress is not shown");
                }
            }
        });
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        Ok(Watch { address, say, stop, serving, publishing })
    }

    /// Publishes what happens now.
    pub fn tell(&self, progress: &Progress<'_>) {
        self.say(match progress {
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

    fn say(&self, what: Value) {
        // A full queue would mean that nothing was published for a thousand steps.
        if self.say.try_send(what).is_err() {
            tracing::warn!("progress is not shown: too much of it waits to be published");
        }
    }

    /// Says that the report is there, and goes on serving it until Ctrl-C.
    ///
    /// # Errors
    /// If the system does not tell of signals.
    pub async fn linger(self, run: &Path) -> anyhow::Result<()> {
        // First of all: whoever hears that the run is over may interrupt at once.
        let told_to_stop = super::told_to_stop()?;
        let name = run.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.say(json!({ "what": "finished", "run": name }));
        note(format!("the run stays on http://{}/watch until Ctrl-C", self.address));
        told_to_stop.await;
        drop(self.say);
        self.publishing.await?;
        self.stop.cancel();
        Ok(self.serving.await?)
    }
}

/// The figures of a cell that one looks at first.
fn done(cell: &Cell) -> Value {
    let histogram = &cell.latency_us.0;
    let ms = |micros: u64| micros as f64 / 1e3;
    let quantile = |share| ms(histogram.value_at_quantile(share));
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
