//! The table of every figure, as texts: what HTML and Markdown lay out, each in its own way.

use super::figures::{self, Expected, Figure};
use super::{Point, Way};
use crate::units::Unit;

/// A section of the table: its heading and its rows.
pub struct Section {
    pub heading: &'static str,
    pub rows: Vec<Row>,
}

/// One figure of every way.
pub struct Row {
    pub figure: &'static Figure,
    /// In the order of the point's ways.
    pub entries: Vec<Entry>,
}

/// What stands in one place of the table.
pub enum Entry {
    Measured {
        value: String,
        /// Smallest to largest repeat.
        spread: Option<String>,
        theory: Option<Theory>,
    },
    /// A figure that the sample does not support.
    TooFew,
    /// The way has no such figure.
    None,
    /// The way is void.
    Void,
}

/// A prediction beside its measurement.
pub struct Theory {
    pub value: String,
    /// Measured / predicted, or the difference, of shares and of latencies that are the machine's
    /// own time; absent where none was predicted.
    pub comparison: Option<String>,
}

/// The table of one point. Figures that no way has are left out.
pub fn sections(point: &Point) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for figure in figures::ALL {
        let row = row(point, figure);
        let told = |entry: &Entry| matches!(entry, Entry::Measured { .. } | Entry::TooFew);
        if !row.entries.iter().any(told) {
            continue;
        }
        let heading = figures::heading(figure.section());
        match sections.last_mut() {
            Some(section) if section.heading == heading => section.rows.push(row),
            _ => sections.push(Section { heading, rows: vec![row] }),
        }
    }
    sections
}

fn row(point: &Point, figure: &'static Figure) -> Row {
    Row { figure, entries: point.ways.iter().map(|way| entry(way, figure)).collect() }
}

fn entry(way: &Way, figure: &Figure) -> Entry {
    if way.is_void() {
        return Entry::Void;
    }
    let Some(summary) = way.summary(figure) else {
        let has_values = way.cells.iter().any(|cell| figure.has_values(cell));
        return if has_values { Entry::TooFew } else { Entry::None };
    };
    let show = |value: f64| figure.unit.show(value);
    let (min, max) = (show(summary.min), show(summary.max));
    let varies = summary.repeats >= 2 && min != max;
    let theory = way.predicted(figure).map(|predicted| Theory {
        value: show(predicted),
        comparison: comparison(way, figure, summary.value, predicted),
    });
    Entry::Measured {
        value: show(summary.value),
        spread: varies.then(|| format!("{min} to {max}")),
        theory,
    }
}

fn comparison(way: &Way, figure: &Figure, measured: f64, predicted: f64) -> Option<String> {
    let is_own_time = way.expected.as_ref().is_some_and(Expected::latency_is_own_time);
    match figure.unit {
        Unit::Seconds if is_own_time => (predicted > 0.0).then(|| {
            let sign = if measured < predicted { "−" } else { "+" };
            format!("{sign}{}", figure.unit.show((measured - predicted).abs()))
        }),
        Unit::Share if (measured - predicted).abs() < 0.000_5 => Some("±0 points".to_owned()),
        Unit::Share => Some(format!("{:+.1} points", (measured - predicted) * 100.0)),
        _ => (predicted > 0.0).then(|| format!("×{:.2}", measured / predicted)),
    }
}
