//! The tables of the figures: all figures of one point, the headlines of all points, and bytes
//! under each header profile.

use crate::units::Unit;

use super::document::{Field, Row, Table, Tone};
use super::figures::{self, Expected, Figure};
use super::profiles::{PROFILES, Profile, bytes_per_message, requests_per_message};
use super::{PointResults, Report, VariantResult};

/// Every figure of every transport at one point. Figures that no transport has are left out.
pub fn all(point: &PointResults) -> Table {
    let head = std::iter::once(Field::new("figure")).chain(variants(point)).collect();
    let mut rows = Vec::new();
    let mut section = "";
    for figure in figures::ALL {
        let has_values =
            |result: &VariantResult| result.cells.iter().any(|cell| figure.has_values(cell));
        if !point.results.iter().any(has_values) {
            continue;
        }
        if figure.section() != section {
            section = figure.section();
            rows.push(Row::Section(figures::heading(section)));
        }
        let name = Field { figure: Some(figure.name), ..Field::new(figure.label) };
        let entries = point.results.iter().map(|result| entry(result, figure));
        rows.push(Row::Fields(std::iter::once(name).chain(entries).collect()));
    }
    Table { head, names: 1, is_numeric: true, rows }
}

fn variants<'a>(point: &'a PointResults) -> impl Iterator<Item = Field> + 'a {
    point.results.iter().map(|result| Field::variant(result.variant))
}

fn entry(result: &VariantResult, figure: &Figure) -> Field {
    if result.is_void() {
        return Field::void();
    }
    let Some(summary) = result.summary(figure) else {
        let has_values = result.cells.iter().any(|cell| figure.has_values(cell));
        let too_small = || Field::toned("sample too small", Tone::Note);
        return if has_values { too_small() } else { Field::none() };
    };
    let show = |value: f64| figure.unit.show(value);
    let (min, max) = (show(summary.min), show(summary.max));
    let spread = (summary.repeats >= 2 && min != max).then(|| format!("{min} to {max}"));
    let theory = result.predicted(figure).map(|predicted| {
        let comparison = comparison(result, figure, summary.value, predicted);
        let comparison = comparison.map_or(String::new(), |text| format!(" · {text}"));
        format!("theory {}{comparison}", show(predicted))
    });
    let details = spread.into_iter().chain(theory).collect();
    Field { details, ..Field::toned(show(summary.value), Tone::Strong) }
}

/// Measured / predicted, or the difference of shares and of latencies that are mostly processing
/// time; `None` if the prediction is 0.
fn comparison(
    result: &VariantResult,
    figure: &Figure,
    measured: f64,
    predicted: f64,
) -> Option<String> {
    let is_processing_time =
        result.expected.as_ref().is_some_and(Expected::latency_is_processing_time);
    match figure.unit {
        Unit::Seconds if is_processing_time => (predicted > 0.0).then(|| {
            let sign = if measured < predicted { "−" } else { "+" };
            format!("{sign}{}", figure.unit.show((measured - predicted).abs()))
        }),
        Unit::Share if (measured - predicted).abs() < 0.000_5 => Some("±0 points".to_owned()),
        Unit::Share => Some(format!("{:+.1} points", (measured - predicted) * 100.0)),
        _ => (predicted > 0.0).then(|| format!("×{:.2}", measured / predicted)),
    }
}

/// The headline figures of every point, a row for each transport.
pub fn headlines(report: &Report) -> Table {
    let has_titles = report.points.len() > 1;
    let names = if has_titles { &["workload", "transport"][..] } else { &["transport"] };
    let columns = figures::HEADLINES.iter().map(|figure| Field::new(figure.heading()));
    let rows = report.points.iter().flat_map(|point| {
        point.results.iter().map(move |result| {
            let title = has_titles.then(|| Field::new(point.title(report.run)));
            let figures = figures::HEADLINES.iter().map(|figure| match result.summary(figure) {
                _ if result.is_void() => Field::void(),
                Some(summary) => Field::new(figure.unit.show(summary.value)),
                None => Field::none(),
            });
            let name = Field::variant(result.variant);
            Row::Fields(title.into_iter().chain([name]).chain(figures).collect())
        })
    });
    let head = names.iter().map(|name| Field::new(*name)).chain(columns).collect();
    Table { head, names: names.len(), is_numeric: true, rows: rows.collect() }
}

/// Bytes per delivered message under each of [`PROFILES`]. Those measured are bold.
pub fn header_profiles(report: &Report, point: &PointResults) -> Table {
    let measured = report.profile(point);
    let labels = PROFILES.map(Profile::label);
    let head = ["transport", "requests per message"].into_iter().chain(labels);
    let row = |result: &VariantResult| {
        let field = |profile: Profile| {
            let bytes = bytes_per_message(result, measured, profile)?;
            let tone = if profile == measured { Tone::Strong } else { Tone::Normal };
            Some(Field::toned(Unit::Bytes.show(bytes), tone))
        };
        let requests = Field::new(Unit::Count.show(requests_per_message(result)?));
        let fields: Option<Vec<Field>> = PROFILES.into_iter().map(field).collect();
        let names = [Field::variant(result.variant), requests];
        Some(Row::Fields(names.into_iter().chain(fields?).collect()))
    };
    let rows = point.valid_results().filter_map(row).collect();
    Table { head: head.map(Field::new).collect(), names: 1, is_numeric: true, rows }
}
