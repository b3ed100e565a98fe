//! `predict`: what theory predicts for a workload.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{parse_file, print, usage};
use crate::report::document::{Block, Field, Row, Section, Table};
use crate::report::{TableStyle, terminal};
use crate::scenario::{Overrides, Process, Scenario, ScenarioError, SweepPoint, Workload};
use crate::theory::bytes::{Sizes, traffic};
use crate::theory::crossover::{
    bytes_crossover, pimentel_rate, requests_crossover_with_hold, worst_transits,
};
use crate::theory::{long_poll, predict, short_poll};
use crate::units::{Unit, show_duration, significant};
use crate::variant::{Pacing, Transport, Variant};

/// Print what theory predicts, without running anything
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  poll-vs-push predict
  poll-vs-push predict --rate 0.1 --rtt 100ms --poll-interval 5s
  poll-vs-push predict --scenario load-tests/scenarios/default.toml --json

The model assumes that server and client need no processing time; a report adds what was measured on
its machine. Bytes are estimates for a network whose segments carry 1448 bytes.")]
pub struct Args {
    /// Predict every workload of this scenario instead of the default workload
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    workload: Overrides,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the predictions for each workload.
///
/// # Errors
/// If the scenario cannot be read, or a value is out of range.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let predictions: Vec<WorkloadPrediction> =
        points(&args)?.into_iter().map(WorkloadPrediction::of).collect();
    let text = match args.json {
        true => serde_json::to_string_pretty(&predictions)?,
        false => {
            let sections: Vec<Section> =
                predictions.iter().map(WorkloadPrediction::section).collect();
            terminal::render(&sections, TableStyle::of_stdout())
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn points(args: &Args) -> anyhow::Result<Vec<SweepPoint>> {
    let mut points = match &args.scenario {
        None => vec![SweepPoint {
            case: String::new(),
            workload: Workload::default(),
            transports: Transport::ALL.map(Variant::from).to_vec(),
        }],
        Some(path) => parse_file("--scenario", path, Scenario::from_toml)?.points(),
    };
    for point in &mut points {
        point.workload = args.workload.applied_to(&point.workload);
        point.workload.check().map_err(|value| {
            let error = ScenarioError::Value { table: "workload.".to_owned(), value };
            usage(args.workload.explain(&error, &[]))
        })?;
    }
    Ok(points)
}

/// The predictions for one workload.
#[derive(Debug, Serialize)]
struct WorkloadPrediction {
    case: String,
    workload: Workload,
    predictions: Vec<VariantPrediction>,
    crossovers: Crossovers,
}

/// The predictions for one transport. Figures without a closed form are absent.
#[derive(Debug, Serialize)]
struct VariantPrediction {
    #[serde(rename = "transport")]
    variant: Variant,
    #[serde(flatten)]
    figures: Option<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    requests_s: f64,
    requests_per_subscriber_s: f64,
    requests_per_message: f64,
    empty_share: Option<f64>,
    messages_per_answer: Option<f64>,
    latency_mean_s: Option<f64>,
    latency_p50_s: Option<f64>,
    latency_p99_s: Option<f64>,
    latency_max_s: Option<f64>,
    /// Share of the deliveries that a lost packet delays by a retransmission timeout or more;
    /// absent without loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_timeout_share: Option<f64>,
    /// Absent where bytes have no model.
    bytes_up_s: Option<f64>,
    bytes_down_s: Option<f64>,
}

/// Where transports cross, in messages per second per subscriber.
#[derive(Debug, Serialize)]
struct Crossovers {
    /// Above it long polling sends more requests than short polling; `None` if it never does.
    long_over_short_requests: Option<f64>,
    /// Above this rate short polling transfers fewer bytes than WebSocket.
    short_under_push_bytes: f64,
    /// Up to it long polling of periodic messages is as fast as push; `None` if it always is.
    long_as_fast_as_push: Option<f64>,
    /// The worst latency of a long poll, in one-way delays; `None` without a delay.
    long_worst_transits: Option<f64>,
}

impl WorkloadPrediction {
    fn of(point: SweepPoint) -> Self {
        let prediction = |variant: &Variant| VariantPrediction {
            variant: *variant,
            figures: Figures::of(*variant, &point.workload),
        };
        WorkloadPrediction {
            predictions: point.transports.iter().map(prediction).collect(),
            crossovers: Crossovers::of(&point.workload),
            case: point.case,
            workload: point.workload,
        }
    }

    fn section(&self) -> Section {
        let crossovers = self.crossovers.sentences(self.workload.rate);
        let blocks = vec![
            Block::text(self.description()),
            Block::Table(table(&self.predictions)),
            Block::list(crossovers),
        ];
        Section::new("workload", self.case.clone(), blocks)
    }

    fn description(&self) -> String {
        let Workload { subscribers, topics, rate, message_bytes, .. } = self.workload;
        let process = match self.workload.process {
            Process::Poisson => "at random times",
            Process::Periodic => "at equal intervals",
        };
        let pacing = match self.workload.poll_pacing {
            Pacing::AfterResponse => "after each response",
            Pacing::FixedRate => "at a fixed rate",
        };
        format!(
            "{subscribers} subscribers on {topics} topics; {} messages/s on each topic {process}, \
             {message_bytes} B of text; round trip {}; short polling every {} {pacing}; long polls \
             answered after at most {}.",
            significant(rate),
            show_duration(self.workload.rtt),
            show_duration(self.workload.poll_interval),
            show_duration(self.workload.long_poll_hold),
        )
    }
}

impl Figures {
    fn of(variant: Variant, workload: &Workload) -> Option<Self> {
        let transport = variant.transport;
        let prediction = predict(variant, workload)?;
        let quantile_s =
            |p: f64| prediction.knows_quantiles().then(|| prediction.latency_quantile_s(p));
        let subscribers = f64::from(workload.subscribers);
        let sizes = Sizes::ours(transport, workload.headers);
        let carried = traffic(variant, workload, &sizes);
        Some(Figures {
            requests_s: subscribers * prediction.requests_per_subscriber_s,
            requests_per_subscriber_s: prediction.requests_per_subscriber_s,
            requests_per_message: prediction.requests_per_message,
            empty_share: prediction.empty_share,
            messages_per_answer: prediction.messages_per_answer,
            latency_mean_s: prediction.knows_mean().then(|| prediction.latency_mean_s()),
            latency_p50_s: quantile_s(0.5),
            latency_p99_s: quantile_s(0.99),
            latency_max_s: quantile_s(1.0),
            latency_timeout_share: prediction.network.and_then(|network| network.late_share),
            bytes_up_s: carried.map(|carried| subscribers * carried.up.total()),
            bytes_down_s: carried.map(|carried| subscribers * carried.down.total()),
        })
    }

    fn cells(&self) -> [String; 10] {
        let time = |time_s: Option<f64>| {
            time_s.map_or(NONE.to_owned(), |time_s| Unit::Seconds.show(time_s))
        };
        let bytes = |bytes_s| Unit::BytesPerSecond.show(bytes_s);
        let share = |share| match share {
            share if share < 1e-4 => "0 %".to_owned(),
            share => Unit::Share.show(share),
        };
        [
            Unit::PerSecond.show(self.requests_s),
            Unit::PerSecond.show(self.requests_per_subscriber_s),
            Unit::Count.show(self.requests_per_message),
            self.empty_share.map_or(NONE.to_owned(), share),
            time(self.latency_mean_s),
            time(self.latency_p50_s),
            time(self.latency_p99_s),
            time(self.latency_max_s),
            self.bytes_up_s.map_or(NONE.to_owned(), bytes),
            self.bytes_down_s.map_or(NONE.to_owned(), bytes),
        ]
    }
}

const NONE: &str = "—";

fn table(predictions: &[VariantPrediction]) -> Table {
    let head = [
        "transport",
        "requests",
        "per subscriber",
        "per message",
        "empty",
        "mean latency",
        "median",
        "p99",
        "max",
        "up",
        "down",
    ];
    let row = |prediction: &VariantPrediction| {
        let none = || [NONE; 10].map(str::to_owned);
        let cells = prediction.figures.as_ref().map_or_else(none, Figures::cells);
        let name = Field::variant(prediction.variant);
        Row::Fields(std::iter::once(name).chain(cells.map(Field::new)).collect())
    };
    let rows = predictions.iter().map(row).collect();
    Table { head: head.map(Field::new).into(), names: 1, is_numeric: true, rows }
}

impl Crossovers {
    fn of(workload: &Workload) -> Self {
        let sizes = Sizes::ours(Transport::ShortPolling, workload.headers);
        let (short, long) = (short_poll(workload), long_poll(workload));
        let message_bytes = f64::from(workload.message_bytes) + sizes.message_object;
        Crossovers {
            long_over_short_requests: requests_crossover_with_hold(
                long.gap_s,
                long.hold_s,
                short.gap_s,
            ),
            short_under_push_bytes: bytes_crossover(
                short.gap_s,
                sizes.exchange(),
                sizes.push(message_bytes),
            ),
            long_as_fast_as_push: Some(pimentel_rate(long.gap_s)).filter(|rate| rate.is_finite()),
            long_worst_transits: Some(worst_transits(&long)).filter(|transits| !transits.is_nan()),
        }
    }

    fn sentences(&self, rate: f64) -> Vec<String> {
        let here = |crossover: f64| match rate > crossover {
            true => "this workload is above",
            false => "this workload is below",
        };
        let requests = match self.long_over_short_requests {
            None => "Long polling never sends more requests than short polling.".to_owned(),
            Some(0.0) => {
                "Long polling sends more requests than short polling at every rate.".to_owned()
            }
            Some(crossover) => format!(
                "Long polling sends fewer requests below {} messages/s, short polling above: {}.",
                significant(crossover),
                here(crossover)
            ),
        };
        let bytes = format!(
            "WebSocket needs fewer bytes below {} messages/s, short polling above: {}.",
            significant(self.short_under_push_bytes),
            here(self.short_under_push_bytes)
        );
        let speed = match self.long_as_fast_as_push {
            None => "Long polling is as fast as push, because there is no round trip.".to_owned(),
            Some(rate) => format!(
                "Long polling is as fast as push for periodic messages up to {}/s.",
                significant(rate)
            ),
        };
        let worst = self.long_worst_transits.map(|transits| {
            format!(
                "The worst latency of long polling is {} one-way delays.",
                significant(transits)
            )
        });
        [requests, bytes, speed].into_iter().chain(worst).collect()
    }
}
