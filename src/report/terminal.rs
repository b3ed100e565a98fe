//! The closing table of a run in the terminal: the figures that decide, a row for each way.

use comfy_table::Color;

use super::figures::{self, Figure};
use super::{Point, Report, Way};
pub use crate::table::TableStyle;
use crate::table::{self, Field};

/// One table, whatever the number of points.
pub fn table(report: &Report, style: TableStyle) -> String {
    let titled = report.points.len() > 1;
    let names: &[&str] = if titled { &["", "way"] } else { &["way"] };
    let figures = figures::HEADLINES.iter().map(|figure| heading(figure));
    let header: Vec<&str> = names.iter().copied().chain(figures).collect();
    let of_point = |point: &Point| -> Vec<Vec<Field>> {
        point.ways.iter().map(|way| row(report, point, way, titled)).collect()
    };
    let rows: Vec<Vec<Field>> = report.points.iter().flat_map(of_point).collect();
    table::render(&header, names.len(), &rows, style)
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

fn row(report: &Report, point: &Point, way: &Way, titled: bool) -> Vec<Field> {
    let title = titled.then(|| (point.title(report.run), None));
    let name = (way.variant.label(), Some(colour(way)));
    let figures = figures::HEADLINES.iter().map(|figure| match way.summary(figure) {
        _ if way.is_void() => ("void".to_owned(), Some(Color::Red)),
        Some(summary) => (figure.unit.show(summary.value), None),
        None => ("—".to_owned(), None),
    });
    title.into_iter().chain([name]).chain(figures).collect()
}

fn colour(way: &Way) -> Color {
    let (r, g, b) = super::charts::palette::of(way.variant).dark;
    Color::Rgb { r, g, b }
}
