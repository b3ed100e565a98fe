//! A figure along a sweep on logarithmic axes: measured points, predictions and crossovers.

use maud::{Markup, html};

use crate::report::axis::{Axis, Crossover, Line};
use crate::report::figures::Figure;
use crate::report::ramp;
use crate::statistics::Summary;
use crate::variant::Variant;

use super::scale::Scale;
use super::{
    Chart, NAME_WIDTH, WIDTH, frame, name, name_heights, palette, path, px, spread_labels,
};

const HEIGHT: f64 = 350.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 8.0 - NAME_WIDTH;
const TOP: f64 = 24.0;
const BOTTOM: f64 = HEIGHT - 48.0;

/// One transport along the line.
struct Curve {
    variant: Variant,
    measured: Vec<(f64, Summary)>,
    predicted: Vec<(f64, f64)>,
    /// The load at the knee of a ramp.
    knee: Option<f64>,
}

/// The chart of `figure` along `line`, titled `title`.
pub fn along(line: &Line, figure: &Figure, title: &str) -> Option<Chart> {
    let all: Vec<Curve> =
        line.variants().into_iter().map(|variant| curve(line, variant, figure)).collect();
    let is_drawn = |curve: &&Curve| curve.measured.iter().any(|(_, summary)| summary.value > 0.0);
    let curves: Vec<&Curve> = all.iter().filter(is_drawn).collect();
    let zero: Vec<String> = all
        .iter()
        .filter(|curve| !curve.measured.is_empty() && !is_drawn(curve))
        .map(|curve| curve.variant.label())
        .collect();
    let (x, y) = scales(line, &curves)?;
    let crossovers = line.crossovers(figure);
    let ends: Vec<f64> = curves.iter().map(|curve| y.at(last(curve))).collect();
    let labels =
        spread_labels(&ends, &name_heights(curves.iter().map(|curve| curve.variant)), BOTTOM);
    let body = html! {
        (axes(line, figure, &x, &y))
        @for crossover in &crossovers { (mark(crossover, line, &x)) }
        @for (curve, label) in curves.iter().zip(&labels) { (drawn(curve, *label, &x, &y)) }
    };
    let words: Vec<String> = crossovers.iter().map(|found| found.in_words(line)).collect();
    Some(Chart {
        title: title.to_owned(),
        note: note(&words, &zero, curves.iter().any(|curve| !curve.predicted.is_empty()), figure),
        svg: frame(WIDTH, HEIGHT, &format!("{title}. {}", words.join(" ")), body),
        wide: false,
    })
}

fn note(crossovers: &[String], zero: &[String], predicted: bool, figure: &Figure) -> String {
    let theory = if predicted { " Thin dashes: prediction." } else { "" };
    let zero = match zero.len() {
        0 => String::new(),
        _ => format!(" {}: {} throughout.", zero.join(", "), figure.unit.show(0.0)),
    };
    let crossovers: String = crossovers.iter().map(|words| format!(" {words}")).collect();
    format!("Dots: measured, with the range of the repeats.{theory}{zero}{crossovers}")
}

fn curve(line: &Line, variant: Variant, figure: &Figure) -> Curve {
    let measured = line.points.iter().filter_map(|point| {
        let summary = point.result(variant)?.summary(figure)?;
        Some((line.axis.get(point.workload), *summary))
    });
    let predicted = line.predicted(variant, figure);
    let drawable = predicted.iter().all(|(_, value)| *value > 0.0);
    Curve {
        variant,
        measured: measured.collect(),
        predicted: if drawable { predicted } else { Vec::new() },
        knee: ramp::knee(line, variant)
            .filter(|knee| line.is_ramp && !knee.is_last)
            .map(|knee| knee.load),
    }
}

fn scales(line: &Line, curves: &[&Curve]) -> Option<(Scale, Scale)> {
    let values = || {
        let all = curves.iter().flat_map(|curve| &curve.measured);
        all.flat_map(|(_, summary)| [summary.min, summary.max]).filter(|value| *value > 0.0)
    };
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    let domain = line.domain();
    let range = (LEFT + 10.0, RIGHT - 6.0);
    let x = match line.axis {
        Axis::Loss => Scale::root(domain, range),
        _ if domain.0 > 0.0 => Scale::log(domain, range),
        _ => Scale::linear(domain, range),
    };
    (high > 0.0).then(|| (x, Scale::log((low * 0.7, high * 1.4), (BOTTOM, TOP))))
}

fn last(curve: &Curve) -> f64 {
    curve.measured.iter().rev().map(|(_, summary)| summary.value).find(|v| *v > 0.0).unwrap_or(1.0)
}

fn drawn(curve: &Curve, label: f64, x: &Scale, y: &Scale) -> Markup {
    let within = |value: f64| y.at(value).clamp(TOP, BOTTOM);
    let place = |(at, value): &(f64, f64)| (x.at(*at), within(*value));
    let shown = || curve.measured.iter().filter(|(_, summary)| summary.value > 0.0);
    let line = shown().map(|(at, summary)| (x.at(*at), within(summary.value)));
    html! {
        g class=(palette::class(curve.variant)) {
            path class="theory" d=(path(curve.predicted.iter().map(place))) {}
            path class="line thin" stroke-dasharray=[palette::dashes(curve.variant)]
                d=(path(line)) {}
            @for (at, summary) in shown() {
                @let (x, low, high) = (x.at(*at), within(summary.min.max(1e-12)), within(summary.max));
                @if low - high > 1.0 {
                    path class="spread" d=(format!("M{x:.1} {low:.1}V{high:.1}")) {}
                }
                circle class="fill" cx=(px(x)) cy=(px(within(summary.value))) r="4" {}
                @if curve.knee == Some(*at) {
                    circle class="here knee" cx=(px(x)) cy=(px(within(summary.value))) r="9" {}
                }
            }
            (name(curve.variant, RIGHT + 8.0, label))
        }
    }
}

/// A vertical line where two transports cross, with the value above it.
fn mark(crossover: &Crossover, line: &Line, x: &Scale) -> Markup {
    let Some(at) = crossover.measured.or(crossover.predicted) else { return html! {} };
    let place = x.at(at);
    html! {
        path class="mark" d=(format!("M{place:.1} {TOP:.1}V{BOTTOM:.1}")) {}
        text class="tick middle" x=(px(place)) y=(px(TOP - 8.0)) { (line.axis.unit().show(at)) }
    }
}

fn axes(line: &Line, figure: &Figure, x: &Scale, y: &Scale) -> Markup {
    html! {
        @for tick in y.ticks(8) {
            path class="grid" d=(format!("M{LEFT:.1} {0:.1}H{RIGHT:.1}", y.at(tick))) {}
            text class="tick end" x=(px(LEFT - 8.0)) y=(px(y.at(tick) + 4.5)) {
                (figure.unit.show(tick))
            }
        }
        @for tick in x.ticks(7) {
            path class="grid" d=(format!("M{0:.1} {TOP:.1}V{BOTTOM:.1}", x.at(tick))) {}
            text class="tick middle" x=(px(x.at(tick))) y=(px(BOTTOM + 18.0)) {
                (line.axis.unit().show(tick))
            }
        }
        text class="axis middle" x=(px((LEFT + RIGHT) / 2.0)) y=(px(HEIGHT - 8.0)) {
            (line.axis.label())
        }
    }
}
