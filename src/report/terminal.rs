//! The closing table of a run in the terminal: the figures that decide, a row for each way.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table};

use super::figures::{self, Figure};
use super::{Point, Report, Way};

/// How the terminal wants its table.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    /// Columns available; `None` if unknown, then nothing is wrapped.
    pub width: Option<u16>,
    /// Whether ANSI colours are welcome.
    pub colour: bool,
}

/// One table, whatever the number of points.
pub fn table(report: &Report, style: TableStyle) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(style.width.unwrap_or(u16::MAX));
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let titled = report.points.len() > 1;
    table.set_header(header(titled));
    for point in &report.points {
        for way in &point.ways {
            table.add_row(row(report, point, way, titled));
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > usize::from(titled) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn header(titled: bool) -> Vec<Cell> {
    let titles = titled.then_some("").into_iter().chain(["way"]);
    let figures = figures::HEADLINES.iter().map(|figure| heading(figure));
    titles.chain(figures).map(Cell::new).collect()
}

/// A figure's heading where no section stands above it.
pub fn heading(figure: &Figure) -> &'static str {
    match figure.name {
        "latency.mean" => "latency, mean",
        "latency.p50" => "median",
        "latency.p99" => "p99",
        "requests.per_subscriber_per_second" => "requests, each subscriber",
        "requests.empty_share" => "answers empty",
        "bytes.per_message" => "bytes a message",
        "server.cpu_per_message" => "server CPU a message",
        _ => figure.label,
    }
}

fn row(report: &Report, point: &Point, way: &Way, titled: bool) -> Vec<Cell> {
    let title = titled.then(|| Cell::new(point.title(report.run)));
    let name = Cell::new(way.variant.label()).fg(colour(way));
    let figures = figures::HEADLINES.iter().map(|figure| match way.summary(figure) {
        _ if way.is_void() => Cell::new("void").fg(Color::Red),
        Some(summary) => Cell::new(figure.unit.show(summary.value)),
        None => Cell::new("—"),
    });
    title.into_iter().chain([name]).chain(figures).collect()
}

fn colour(way: &Way) -> Color {
    let (r, g, b) = super::charts::palette::of(way.variant).dark;
    Color::Rgb { r, g, b }
}
