//! The report as a document: what it says and in which order, for every renderer.
//!
//! Text is plain here. The renderers ([`super::html`], [`super::markdown`]) escape it.

use super::charts::{self, Chart};
use super::decision::{Cost, Decision};
use super::table::{self, Entry};
use super::terminal::heading;
use super::{Point, Report, Way, differences, figures, prose, published, sweep};
use crate::variant::Variant;

/// A part of the document with a heading.
pub struct Section {
    /// For links within the document.
    pub id: &'static str,
    pub title: String,
    pub blocks: Vec<Block>,
}

/// What a section consists of.
pub enum Block {
    Heading(String),
    Paragraph(Tone, String),
    List(Vec<(Tone, String)>),
    Terms(Vec<(String, String)>),
    Table(Table),
    /// Left out where nothing can be drawn.
    Charts(Vec<Chart>),
    /// Details under a title, folded away where that is possible.
    Details(String, Vec<Block>),
}

/// How prominent a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Normal,
    /// Less prominent than the rest.
    Note,
    Strong,
    Void,
}

/// Rows of fields under a head.
pub struct Table {
    pub head: Vec<Field>,
    /// Leading columns that name the row; those after them are figures, or texts.
    pub names: usize,
    /// Whether the columns after the names hold numbers.
    pub is_numeric: bool,
    pub rows: Vec<Row>,
}

/// A row of a table.
pub enum Row {
    /// A heading over the rows that follow.
    Section(&'static str),
    Fields(Vec<Field>),
}

/// One field of a table.
pub struct Field {
    pub text: String,
    pub tone: Tone,
    /// Smaller print under the text.
    pub details: Vec<String>,
    /// The transport that the field names.
    pub variant: Option<Variant>,
    /// The name in `results.csv` of the figure that the field names.
    pub figure: Option<&'static str>,
}

impl Field {
    fn new(text: impl Into<String>) -> Field {
        let text = text.into();
        Field { text, tone: Tone::Normal, details: Vec::new(), variant: None, figure: None }
    }

    fn toned(text: impl Into<String>, tone: Tone) -> Field {
        Field { tone, ..Field::new(text) }
    }

    fn way(way: &Way) -> Field {
        Field { variant: Some(way.variant), ..Field::new(way.variant.label()) }
    }

    fn entry(entry: &Entry) -> Field {
        match entry {
            Entry::Void => Field::toned("void", Tone::Void),
            Entry::None => Field::toned("—", Tone::Note),
            Entry::TooFew => Field::toned("sample too small", Tone::Note),
            Entry::Measured { value, spread, theory } => {
                let theory = theory.as_ref().map(|theory| match &theory.comparison {
                    Some(comparison) => format!("theory {} · {comparison}", theory.value),
                    None => format!("theory {}", theory.value),
                });
                let details = spread.iter().cloned().chain(theory).collect();
                Field { details, ..Field::toned(value, Tone::Strong) }
            }
        }
    }
}

/// The whole report after its title.
pub fn sections(report: &Report) -> Vec<Section> {
    let lines = sweep::lines(report);
    let parts = [
        Some(answer(report)),
        (report.points.len() > 1).then(|| headlines(report)),
        (!lines.is_empty()).then(|| sweeps(&lines)),
        published(report),
        (!report.points.is_empty()).then(|| figures(report)),
        map(report),
        theory(report),
        Some(unmeasured()),
        Some(validity(report)),
        Some(section("method", "Method", vec![list(prose::METHOD)])),
        Some(circumstances(report)),
    ];
    parts.into_iter().flatten().collect()
}

fn section(id: &'static str, title: &str, blocks: Vec<Block>) -> Section {
    Section { id, title: title.to_owned(), blocks }
}

fn list<T: Into<String>>(lines: impl IntoIterator<Item = T>) -> Block {
    Block::List(lines.into_iter().map(|line| (Tone::Normal, line.into())).collect())
}

fn answer(report: &Report) -> Section {
    let sentence = |sentence: String| {
        let tone = if sentence.starts_with("Void") { Tone::Void } else { Tone::Normal };
        Block::Paragraph(tone, sentence)
    };
    let cautions = report.findings.iter().filter(|finding| !finding.is_void()).count();
    let note = match cautions {
        0 => None,
        1 => Some("One caution applies: see Validity.".to_owned()),
        n => Some(format!("{n} cautions apply: see Validity.")),
    };
    let note = note.map(|note| Block::Paragraph(Tone::Note, note));
    let blocks = report.answer().into_iter().map(sentence).chain(note).collect();
    section("answer", "Answer", blocks)
}

fn headlines(report: &Report) -> Section {
    let names = ["workload", "transport"].map(Field::new);
    let columns = figures::HEADLINES.iter().map(|figure| Field::new(heading(figure)));
    let rows = report.points.iter().flat_map(|point| {
        let title = point.title(report.run);
        point.ways.iter().map(move |way| {
            let figures = figures::HEADLINES.iter().map(|figure| match way.summary(figure) {
                _ if way.is_void() => Field::toned("void", Tone::Void),
                Some(summary) => Field::new(figure.unit.show(summary.value)),
                None => Field::toned("—", Tone::Note),
            });
            let names = [Field::new(title.clone()), Field::way(way)];
            Row::Fields(names.into_iter().chain(figures).collect())
        })
    });
    let head = names.into_iter().chain(columns).collect();
    let table = Table { head, names: 2, is_numeric: true, rows: rows.collect() };
    section("summary", "Summary", vec![Block::Table(table)])
}

/// The charts over each sweep: what changes along it, and where transports cross.
fn sweeps(lines: &[sweep::Line]) -> Section {
    let blocks = lines.iter().flat_map(|line| {
        let axis = line.axis.label();
        let title = match line.name {
            "" => format!("By {axis}"),
            name => format!("{name}, by {axis}"),
        };
        let charts = [
            (&figures::LATENCY_MEAN, "Mean delivery latency"),
            (&figures::REQUESTS_PER_SUBSCRIBER, "Requests per second per subscriber"),
            (&figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
            (&figures::CPU_BUSY, "Server CPU, share of one core"),
        ];
        let charts = charts.map(|(figure, title)| charts::sweep::along(line, figure, title));
        [Block::Heading(title), Block::Charts(charts.into_iter().flatten().collect())]
    });
    section("sweeps", "Sweeps", blocks.collect())
}

fn published(report: &Report) -> Option<Section> {
    let rows = published::rows(report).into_iter().map(|row| {
        let ours = Field::toned(row.ours, Tone::Strong);
        let before = [row.case, row.source, row.figure, row.value].map(Field::new);
        Row::Fields(before.into_iter().chain([ours, Field::new(row.why)]).collect())
    });
    let rows: Vec<Row> = rows.collect();
    let head = ["case", "published by", "figure", "published", "this run", "why they may differ"];
    let head = head.map(Field::new).into_iter().collect();
    let table = Table { head, names: 1, is_numeric: false, rows };
    (!table.rows.is_empty())
        .then(|| section("published", "Published figures and this run", vec![Block::Table(table)]))
}

fn figures(report: &Report) -> Section {
    let blocks = match report.points.as_slice() {
        [point] => of_point(point),
        points => points
            .iter()
            .map(|point| {
                let description = point.case.map_or("", |case| case.description.as_str());
                let description = prose::paragraphs(description)
                    .map(|text| Block::Paragraph(Tone::Normal, text.to_owned()));
                let blocks = description.chain(of_point(point)).collect();
                Block::Details(point.title(report.run), blocks)
            })
            .collect(),
    };
    section("figures", "All figures", blocks)
}

fn of_point(point: &Point) -> Vec<Block> {
    let charts = [
        charts::percentiles::latency(point),
        charts::bars::requests(point),
        charts::bytes::per_message(point),
        charts::bars::cpu(point),
        charts::timeline::subscriber(point),
    ];
    let mut blocks = vec![
        Block::Paragraph(Tone::Note, prose::workload(point.workload)),
        Block::Table(figure_table(point)),
    ];
    let orders = differences::orders(point);
    if !orders.is_empty() {
        let terms = orders.into_iter().map(|(figure, order)| (figure.to_owned(), order));
        blocks.extend([
            Block::Heading("Established differences".to_owned()),
            Block::Paragraph(Tone::Note, differences::KEY.to_owned()),
            Block::Terms(terms.collect()),
        ]);
    }
    blocks.push(Block::Charts(charts.into_iter().flatten().collect()));
    blocks
}

fn figure_table(point: &Point) -> Table {
    let head = [Field::new("figure")].into_iter().chain(point.ways.iter().map(Field::way));
    let rows = table::sections(point).into_iter().flat_map(|section| {
        let rows = section.rows.into_iter().map(|row| {
            let name = Field { figure: Some(row.figure.name), ..Field::new(row.figure.label) };
            let entries = row.entries.iter().map(Field::entry);
            Row::Fields([name].into_iter().chain(entries).collect())
        });
        [Row::Section(section.heading)].into_iter().chain(rows).collect::<Vec<_>>()
    });
    Table { head: head.collect(), names: 1, is_numeric: true, rows: rows.collect() }
}

fn map(report: &Report) -> Option<Section> {
    let decision = Decision::of(report)?;
    let charts = [Cost::ServerCpu, Cost::Bytes].map(|cost| charts::map::cheapest(&decision, cost));
    let charts = Block::Charts(charts.into_iter().collect());
    Some(section("map", "The cheapest transport by workload", vec![charts]))
}

fn theory(report: &Report) -> Option<Section> {
    let sentences = report.held();
    (!sentences.is_empty())
        .then(|| section("theory", "Theory and measurement", vec![list(sentences)]))
}

/// Properties that decide as often as the figures do.
fn unmeasured() -> Section {
    let rows = prose::UNMEASURED.iter().map(|row| Row::Fields(row.map(Field::new).into()));
    let head = ["", "polling, short or long", "SSE", "WebSocket"].map(Field::new).into();
    let table = Table { head, names: 1, is_numeric: false, rows: rows.collect() };
    section("unmeasured", "What the numbers do not show", vec![Block::Table(table)])
}

fn validity(report: &Report) -> Section {
    let findings = report.findings.iter().map(|finding| match finding.is_void() {
        true => (Tone::Void, format!("Void. {finding}")),
        false => (Tone::Normal, format!("Caution. {finding}")),
    });
    let block = match report.findings.is_empty() {
        true => Block::Paragraph(Tone::Normal, "No cautions apply to these figures.".to_owned()),
        false => Block::List(findings.collect()),
    };
    section("validity", "Validity", vec![block])
}

fn circumstances(report: &Report) -> Section {
    let terms = prose::circumstances(report).into_iter();
    let terms = terms.map(|(name, value)| (name.to_owned(), value)).collect();
    section("circumstances", "Circumstances", vec![Block::Terms(terms)])
}
