//! Horizontal bars, one for each transport, with name and value above it.

use maud::{Markup, html};

use crate::report::figures::{self, Figure};
use crate::report::{PointResults, VariantResult};
use crate::statistics::Summary;
use crate::units::thousands;

use super::{Chart, WIDTH, frame, palette, px};

const ROW: f64 = 48.0;
const BAR: f64 = 16.0;

struct Bar<'a> {
    result: &'a VariantResult<'a>,
    summary: &'a Summary,
    text: String,
    /// Share of the bar that is drawn hollow, at its end.
    hollow: f64,
}

/// Requests per second of all subscribers, the share of empty responses hollow.
pub fn requests(point: &PointResults) -> Option<Chart> {
    let bars = bars(point, &figures::REQUESTS_PER_SECOND, |result, summary| {
        let value = figures::REQUESTS_PER_SECOND.unit.show(summary.value);
        let empty = result.summary(&figures::EMPTY_SHARE).filter(|_| summary.value > 0.0);
        match empty {
            _ if summary.value == 0.0 => ("0/s after the handshake".to_owned(), 0.0),
            Some(empty) => {
                let share = figures::EMPTY_SHARE.unit.show(empty.value);
                (format!("{value}, {share} of responses empty"), empty.value)
            }
            None => (value, 0.0),
        }
    });
    let subscribers = thousands(point.workload.subscribers.into());
    chart(
        bars,
        "Requests per second",
        format!(
            "All {subscribers} subscribers together. Hollow: requests with an empty response. The \
             thin line is the range of the repeats.",
        ),
    )
}

/// Server CPU time per delivered message.
pub fn cpu(point: &PointResults) -> Option<Chart> {
    let figure = &figures::CPU_PER_MESSAGE;
    let bars = bars(point, figure, |_, summary| (figure.unit.show(summary.value), 0.0));
    let note = "Without the CPU time of an unused server; publishing is included. The thin line is \
                the range of the repeats.";
    chart(bars, "Server CPU time per delivered message", note.to_owned())
}

fn bars<'a>(
    point: &'a PointResults,
    figure: &Figure,
    describe: impl Fn(&VariantResult, &Summary) -> (String, f64),
) -> Vec<Bar<'a>> {
    let bar = |result: &'a VariantResult<'a>| {
        let summary = result.summary(figure)?;
        let (text, hollow) = describe(result, summary);
        Some(Bar { result, summary, text, hollow })
    };
    point.results.iter().filter_map(bar).collect()
}

fn chart(bars: Vec<Bar>, title: &'static str, note: String) -> Option<Chart> {
    let largest = bars.iter().map(|bar| bar.summary.max).fold(0.0, f64::max);
    if bars.is_empty() {
        return None;
    }
    let width_of = |value: f64| if largest > 0.0 { value / largest * (WIDTH - 4.0) } else { 0.0 };
    let descriptions: Vec<String> =
        bars.iter().map(|bar| format!("{}: {}", bar.result.variant.label(), bar.text)).collect();
    let body = html! {
        @for (row, bar) in bars.iter().enumerate() { (drawn(bar, row as f64 * ROW, width_of)) }
    };
    let label = format!("{title}. {}", descriptions.join("; "));
    let svg = frame(WIDTH, bars.len() as f64 * ROW, &label, body);
    Some(Chart { title: title.to_owned(), note, svg, wide: false })
}

fn drawn(bar: &Bar, top: f64, width_of: impl Fn(f64) -> f64) -> Markup {
    let (y, middle) = (top + 22.0, top + 22.0 + BAR / 2.0);
    let width = width_of(bar.summary.value).max(1.5);
    let solid = width * (1.0 - bar.hollow);
    let (low, high) = (width_of(bar.summary.min), width_of(bar.summary.max));
    html! {
        g class=(palette::class(bar.result.variant)) {
            text x="0" y=(px(top + 15.0)) {
                tspan class="name" { (bar.result.variant.label()) }
                tspan dx="10" { (bar.text) }
            }
            rect class="fill" x="0" y=(px(y)) width=(px(solid)) height=(px(BAR)) {}
            @if bar.hollow > 0.0 {
                rect class="hollow" x=(px(solid)) y=(px(y + 0.75)) width=(px(width - solid))
                    height=(px(BAR - 1.5)) {}
            }
            @if high - low > 1.0 {
                path class="whisker" d=(format!("M{low:.1} {middle:.1}H{high:.1}")) {}
            }
        }
    }
}
