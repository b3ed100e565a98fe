//! The result of a search as a document: for the terminal and for `capacity.html`.

use super::{Capacity, CapacityRun, Trial, described};
use crate::report::charts::load_chart::LoadChart;
use crate::report::document::{Block, Field, Row, Section, Table};
use crate::report::figures::Figure;
use crate::report::{TableStyle, html, terminal};
use crate::text::visible;
use crate::units::{Unit, sentence_case, show_duration, significant};
use crate::variant::Variant;

const TITLE: &str = "The capacity of one server";

impl CapacityRun {
    /// The page: one file that needs no network.
    pub fn html(&self) -> String {
        let lead = described(&self.workload, self.over);
        visible(&html::document(TITLE, &lead, &self.sections())).into_owned()
    }

    /// The same for a terminal, without charts.
    pub fn text(&self, style: TableStyle) -> String {
        terminal::render(&self.sections(), style)
    }

    /// The results for the report of a run: when and where they were measured, table, charts.
    pub fn section(&self) -> Section {
        let measured = format!(
            "A separate search with poll-vs-push capacity: {} Measured on {}, {} cores, {}.",
            described(&self.workload, self.over),
            self.machine.cpu,
            self.machine.cores,
            self.started_at.strftime("%Y-%m-%d")
        );
        let blocks = [vec![Block::text(measured)], self.blocks()];
        Section::new("capacity", TITLE, blocks.into_iter().flatten().collect())
    }

    fn sections(&self) -> Vec<Section> {
        vec![
            Section::new("capacity", "Capacity", self.blocks()),
            Section::new("method", "Method", vec![Block::list(self.method())]),
        ]
    }

    fn blocks(&self) -> Vec<Block> {
        let table = Block::Table(self.table());
        vec![table, Block::list(self.sentences()), Block::Charts(self.charts())]
    }

    fn table(&self) -> Table {
        let label = match self.server_cores {
            Some(1) => format!("{} on one core", self.over.label()),
            _ => self.over.label().to_owned(),
        };
        let head = ["transport", &label, "server CPU there", "memory of each", "stopped by"];
        let row = |result: &Capacity| {
            let held = result.largest.map(|level| result.at(level)).unwrap_or_default();
            let cores = mean(held.iter().map(|trial| trial.server_cores));
            let memory = mean(held.iter().map(|trial| {
                let subscribers = self.over.at(trial.level, &self.workload).subscribers;
                Some(trial.server_memory_bytes? as f64 / f64::from(subscribers))
            }));
            let or_none = |text: Option<String>| text.map_or_else(Field::none, Field::new);
            Row::Fields(vec![
                Field::variant(result.variant),
                Field::new(result.show(self.over)),
                or_none(cores.map(|cores| format!("{} cores", significant(cores)))),
                or_none(memory.map(|bytes| Unit::Bytes.show(bytes))),
                Field::new(result.stopped_by.label()),
            ])
        };
        Table {
            head: head.into_iter().map(Field::new).collect(),
            names: 1,
            is_numeric: false,
            rows: self.results.iter().map(row).collect(),
        }
    }

    /// For each transport, what the search found at its end.
    fn sentences(&self) -> Vec<String> {
        let sentence = |result: &Capacity| {
            let name = result.variant.label();
            let failed = result.smallest_failed.map(|level| self.over.count(level));
            let end = match &failed {
                Some(level) => format!("at {level}, {}", result.detail),
                None => result.detail.clone(),
            };
            let held = match result.largest {
                Some(_) => format!("{} held `{}`", result.show(self.over), result.objective),
                None => {
                    format!("not even {} held `{}`", failed.unwrap_or_default(), result.objective)
                }
            };
            sentence_case(&format!("{name}: {held}; {end}."))
        };
        self.results.iter().map(sentence).collect()
    }

    fn charts(&self) -> Vec<crate::report::charts::Chart> {
        let label = sentence_case(self.over.label());
        let series = |value: fn(&Trial) -> Option<f64>| -> Vec<(Variant, Vec<(f64, f64)>)> {
            let points = |result: &Capacity| {
                let point = |trial: &Trial| Some((trial.level, value(trial)?));
                (result.variant, result.trials.iter().filter_map(point).collect())
            };
            self.results.iter().map(points).collect()
        };
        let unit = Figure::named(&self.figure).map_or(Unit::Count, |figure| figure.unit);
        // Objectives taken from theory differ between transports.
        let limit = self.results.first().map(|result| result.limit);
        let limit = limit.filter(|limit| self.results.iter().all(|other| other.limit == *limit));
        let charts = [
            LoadChart {
                title: self.figure.clone(),
                note: match limit {
                    Some(_) => "One dot for each cell. Line: the objective.".to_owned(),
                    None => "One dot for each cell.".to_owned(),
                },
                load: &label,
                unit,
                series: series(|trial| trial.value),
                limit,
            },
            LoadChart {
                title: "Cores that the server uses".to_owned(),
                note: "One dot for each cell.".to_owned(),
                load: &label,
                unit: Unit::Count,
                series: series(|trial| trial.server_cores),
                limit: self.server_cores.map(f64::from),
            },
        ];
        charts.into_iter().filter_map(LoadChart::draw).collect()
    }

    fn method(&self) -> Vec<String> {
        let tool = &self.tool;
        let commit = tool.commit.as_deref().unwrap_or("unknown commit");
        let cores = match self.server_cores {
            Some(1) => " with one worker thread".to_owned(),
            Some(n) => format!(" with {n} worker threads"),
            None => String::new(),
        };
        vec![
            format!(
                "The load doubles until the objective fails, then the interval is halved until its \
                 ends are at most {} apart. A load counts once two cells agree.",
                Unit::Share.show(self.precision)
            ),
            format!(
                "A cell warms up for {} and measures for {}, or longer if a percentile needs more \
                 deliveries. It verifies every delivery; a lost message is a failure. If something \
                 other than the server was the limit, such as the load generator, the result is a \
                 lower bound: `at least`.",
                show_duration(self.workload.warm_up),
                show_duration(self.workload.duration)
            ),
            format!(
                "Server: {}{cores}. Machine: {}, {} cores, {} {}. Load generator: {} {} ({commit}, \
                 {} build), on the same machine unless a target was given; {}.",
                self.server,
                self.machine.cpu,
                self.machine.cores,
                self.machine.os,
                self.machine.kernel,
                tool.name,
                tool.version,
                tool.profile,
                self.started_at
            ),
        ]
    }
}

impl Capacity {
    /// The cells at `level` in which the objective held.
    fn at(&self, level: f64) -> Vec<&Trial> {
        let held = |trial: &&Trial| trial.level == level && trial.failure.is_none();
        self.trials.iter().filter(held).collect()
    }
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
