//! The report: turns `run.json` into HTML, Markdown, CSV, JSON and text for the terminal.
//!
//! A [`Report`] is a view of a [`Run`]: cells of the same case, workload and transport together,
//! histograms merged over repeats, each figure with its spread and its prediction. `sections`
//! arranges it as a document, which each renderer lays out. The report measures nothing, opens no
//! socket and reads no clock; only [`write_all`] accesses files.
//!
//! A void cell has no figures here, so that no renderer can show them.

pub mod advice;
mod axis;
pub mod baseline;
pub mod bills;
pub mod charts;
mod csv;
mod decision;
pub mod document;
mod figure_table;
pub mod figures;
mod findings;
pub mod html;
mod json;
mod link_checks;
mod loss;
mod markdown;
mod predictions;
pub mod profiles;
mod prose;
mod published;
mod ramp;
mod recovery;
mod sections;
pub mod terminal;
mod text_table;
pub mod threshold;
mod variants;
mod what_if;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::measure::Histogram;
use crate::run::{Cell, Network, Run};
use crate::scenario::{Case, Workload};
use crate::statistics::{Ranking, Summary, ranking};
use crate::text::visible;
use crate::theory::NetworkPath;
use crate::validity::Finding;
use crate::variant::Variant;

use axis::Axis;
use document::Section;
use figures::{Expected, Figure};
use profiles::Profile;
pub use terminal::TableStyle;

/// A run, arranged for reading.
pub struct Report<'run> {
    pub run: &'run Run,
    /// In the order of the scenario.
    pub points: Vec<PointResults<'run>>,
    /// Limits on the use of the figures, the most severe first.
    pub findings: Vec<Finding>,
    /// Path of the documentation, relative to the report; `None` if it is not there.
    docs: Option<String>,
    /// A section about something else than the run, such as a search of the server's capacity.
    appendix: Option<Section>,
}

/// One workload under which transports were compared.
pub struct PointResults<'run> {
    /// The case's name, empty if the scenario has no cases.
    pub name: &'run str,
    pub case: Option<&'run Case>,
    pub workload: &'run Workload,
    /// In the order of their variants.
    pub results: Vec<VariantResult<'run>>,
}

/// One variant of a transport under one workload, all repeats together.
pub struct VariantResult<'run> {
    pub variant: Variant,
    pub workload: &'run Workload,
    /// The repeats that count; empty if the transport is void.
    pub cells: Vec<&'run Cell>,
    /// Why repeats, or all of them, do not count; empty if all do.
    pub void_reasons: Vec<String>,
    /// Delivery latency of all repeats that count, microseconds.
    pub latency_us: Histogram,
    /// `None` where theory has no closed form.
    pub expected: Option<Expected>,
    summaries: BTreeMap<&'static str, Summary>,
}

impl<'run> Report<'run> {
    /// Arranges `run` for reading.
    pub fn new(run: &'run Run) -> Self {
        let mut points: Vec<PointResults> = Vec::new();
        for cell in &run.cells {
            let same =
                |point: &PointResults| point.workload == &cell.workload && point.name == cell.case;
            if !points.iter().any(same) {
                points.push(PointResults::new(run, cell));
            }
        }
        let findings = findings::all(run, &points);
        Report { run, points, findings, docs: None, appendix: None }
    }

    /// True if any cell is void, or if nothing was measured.
    pub fn is_void(&self) -> bool {
        self.points.is_empty() || self.findings.iter().any(Finding::is_void)
    }

    /// The request headers and the encryption of the connections at `point`.
    pub fn profile(&self, point: &PointResults) -> Profile {
        Profile { headers: point.workload.headers, is_tls: self.run.server.is_tls }
    }

    /// The recommendation with its reasons and limits, one sentence or line each.
    pub fn answer(&self) -> Vec<String> {
        sections::texts(sections::conclusion(self))
    }

    /// How many predictions of theory held, and which did not; empty if nothing was predicted.
    pub fn prediction_results(&self) -> Vec<String> {
        predictions::sentences(self)
    }

    /// The report as one HTML file that needs no network.
    pub fn html(&self) -> String {
        visible(&html::page(self)).into_owned()
    }

    /// The report as Markdown, without charts.
    pub fn markdown(&self) -> String {
        visible(&markdown::document(self)).into_owned()
    }

    /// Every figure as one line of CSV, in base units.
    pub fn csv(&self) -> String {
        visible(&csv::table(self)).into_owned()
    }

    /// The figures for programs to read.
    pub fn json(&self) -> serde_json::Value {
        json::document(self)
    }

    /// The text for the terminal after a run: the headline figures, the recommendation, validity.
    pub fn text(&self, style: TableStyle) -> String {
        terminal::render(&sections::summary(self), style)
    }
}

impl<'run> PointResults<'run> {
    fn new(run: &'run Run, first: &'run Cell) -> Self {
        let here = |cell: &&Cell| cell.case == first.case && cell.workload == first.workload;
        let cells: Vec<&Cell> = run.cells.iter().filter(here).collect();
        let variants: BTreeSet<Variant> = cells.iter().map(|cell| cell.variant).collect();
        let results = variants.into_iter().map(|variant| {
            let of_variant = cells.iter().filter(|cell| cell.variant == variant);
            VariantResult::new(run, variant, &first.workload, of_variant.copied().collect())
        });
        let case = run.scenario.cases.iter().find(|case| case.name == first.case);
        PointResults {
            name: &first.case,
            case,
            workload: &first.workload,
            results: results.collect(),
        }
    }

    /// The point's case and swept value; empty if there are no other points.
    pub fn title(&self, run: &Run) -> String {
        let swept = Axis::of(&run.scenario, self.name).map(|axis| axis.show(self.workload));
        let parts = [Some(self.name.to_owned()), swept];
        let parts: Vec<String> =
            parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }

    /// The variant's results, if it was measured here.
    pub fn result(&self, variant: impl Into<Variant>) -> Option<&VariantResult<'run>> {
        let variant = variant.into();
        self.results.iter().find(|result| result.variant == variant)
    }

    /// The transports that have results.
    pub fn valid_results(&self) -> impl Iterator<Item = &VariantResult<'run>> {
        self.results.iter().filter(|result| !result.is_void())
    }

    /// The transports that have `figure`, smallest first.
    pub fn values(&self, figure: &Figure) -> Vec<(&VariantResult<'run>, Summary)> {
        let value = |result: &VariantResult<'run>| result.summary(figure).copied();
        let mut values: Vec<_> =
            self.results.iter().filter_map(|result| Some((result, value(result)?))).collect();
        values.sort_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
        values
    }

    /// The order of the transports in `figure`, as far as the run establishes it.
    pub fn ranking(&self, figure: &Figure) -> Ranking<&VariantResult<'run>> {
        ranking(self.values(figure))
    }
}

impl<'run> VariantResult<'run> {
    fn new(
        run: &'run Run,
        variant: Variant,
        workload: &'run Workload,
        measured: Vec<&'run Cell>,
    ) -> Self {
        let (cells, void_reasons) = findings::separate(run, measured);
        let mut latency_us = Histogram::new();
        cells.iter().for_each(|cell| latency_us.merge(&cell.latency_us));
        let clock_s = run.server.cpu_clock_s();
        let summarise = |figure: &&Figure| {
            let values: Vec<f64> = cells.iter().filter_map(|cell| figure.of_cell(cell)).collect();
            let summary = Summary::new(&values, figure.pooled(&cells))?;
            let error = figure.error(&cells, clock_s);
            let resolved = figure.is_resolved(summary.value, error);
            resolved.then(|| (figure.name, summary.with_error(error)))
        };
        let summaries = figures::ALL.iter().filter_map(summarise).collect();
        let expected = expected(run, variant, workload, &cells);
        VariantResult { variant, workload, cells, void_reasons, latency_us, expected, summaries }
    }

    /// True if no repeat counts.
    pub fn is_void(&self) -> bool {
        self.cells.is_empty()
    }

    /// The figure over the repeats that count; `None` if it is unknown or the sample too small.
    pub fn summary(&self, figure: &Figure) -> Option<&Summary> {
        self.summaries.get(figure.name)
    }

    /// The prediction of the figure, in base units.
    pub fn predicted(&self, figure: &Figure) -> Option<f64> {
        figure.predicted(self.expected.as_ref()?)
    }

    /// Messages published in the steady states that count.
    pub fn published(&self) -> u64 {
        self.cells.iter().map(|cell| cell.published).sum()
    }
}

/// The prediction for `cells` of this workload, with the rate of the messages that their schedules
/// drew, which differs from the configured rate by chance, and with the machine's processing time.
fn expected(run: &Run, variant: Variant, workload: &Workload, cells: &[&Cell]) -> Option<Expected> {
    let published: u64 = cells.iter().map(|cell| cell.published).sum();
    let steady_s: f64 = cells.iter().map(|cell| cell.steady_s).sum();
    let drawn = published as f64 / (steady_s * f64::from(workload.topics));
    let rate = if drawn > 0.0 { drawn } else { workload.rate };
    let workload = Workload { rate, ..workload.clone() };
    let processing_time = run.processing_time.unwrap_or_default();
    Expected::of(variant, &workload, &processing_time, &network(cells), run.server.is_child)
}

/// The mean network of `cells`; none if this program started the server.
fn network(cells: &[&Cell]) -> NetworkPath {
    let paths = cells.iter().filter_map(|cell| cell.network.as_ref().map(Network::path));
    NetworkPath::mean(&paths.collect::<Vec<_>>())
}

/// Writes the [`files`] of a run into `dir`, which must exist.
///
/// # Errors
/// The first file that cannot be written, with its path.
pub fn write_all(run: &Run, dir: &Path, appendix: Option<Section>) -> anyhow::Result<()> {
    use anyhow::Context as _;
    for (name, text) in files(run, dir, appendix) {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The files of a run's report in `dir`, by name. The report contains `appendix` after its figures.
pub fn files(run: &Run, dir: &Path, appendix: Option<Section>) -> [(&'static str, String); 3] {
    let report = Report { docs: documentation(dir), appendix, ..Report::new(run) };
    [
        ("report.html", report.html()),
        ("report.md", report.markdown()),
        ("results.csv", report.csv()),
    ]
}

/// The path from `dir` to the `docs` of the checkout that contains it, if one does.
fn documentation(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let has_docs = |folder: &&Path| folder.join("docs/methodology.md").is_file();
    let folder = dir.ancestors().find(has_docs)?;
    let depth = dir.strip_prefix(folder).ok()?.components().count();
    Some(format!("{}docs", "../".repeat(depth)))
}
