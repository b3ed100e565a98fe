//! Delivery latency by percentile, on a scale with equal steps for each further nine.
//!
//! A line ends at the last percentile that the sample supports.

use maud::{Markup, html};

use crate::report::{PointResults, VariantResult, figures};
use crate::units::Unit;

use super::scale::Scale;
use super::{Chart, WIDTH, frame, name, name_heights, palette, path, px, spread_labels};

const HEIGHT: f64 = 340.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 182.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = HEIGHT - 48.0;
/// Steps of the curve for each nine.
const STEPS: f64 = 40.0;

/// The chart of all transports that have results.
pub fn latency(point: &PointResults) -> Option<Chart> {
    let results: Vec<&VariantResult> = point.valid_results().collect();
    let highest = results.iter().map(|result| last_quantile(result)).fold(0.9, f64::max);
    let curves: Vec<Vec<(f64, f64)>> = results.iter().map(|result| measured(result)).collect();
    let values = || curves.iter().flatten().map(|(_, latency)| *latency);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    if results.is_empty() || high <= 0.0 {
        return None;
    }
    let x = Scale::nines(highest, (LEFT, RIGHT));
    let y = Scale::log((low * 0.8, high * 1.25), (BOTTOM, TOP));
    let ends: Vec<f64> =
        curves.iter().map(|curve| curve.last().map_or(TOP, |(_, last)| y.at(*last))).collect();
    let labels =
        spread_labels(&ends, &name_heights(results.iter().map(|result| result.variant)), BOTTOM);
    let body = html! {
        (axes(&x, &y))
        @for ((result, curve), label) in results.iter().zip(&curves).zip(&labels) {
            g class=(palette::class(result.variant)) {
                @if let Some(predicted) = predicted(result, highest) {
                    path class="theory" d=(path(placed(&predicted, &x, &y))) {}
                }
                path class="line" stroke-dasharray=[palette::dashes(result.variant)]
                    d=(path(placed(curve, &x, &y))) {}
                (name(result.variant, RIGHT + 8.0, *label))
            }
        }
    };
    let title = "Delivery latency by percentile";
    let descriptions: Vec<String> = results.iter().map(|result| description(result)).collect();
    Some(Chart {
        title: title.to_owned(),
        note: "Latency from planned publication to receipt, logarithmic. Thin dashes: prediction, \
               with the processing time of the machine if it was measured. A line ends where the \
               sample becomes too small."
            .to_owned(),
        svg: frame(WIDTH, HEIGHT, &format!("{title}. {}", descriptions.join("; ")), body),
        wide: false,
    })
}

fn description(result: &VariantResult) -> String {
    let shown = [&figures::LATENCY_P50, &figures::LATENCY_P90, &figures::LATENCY_P99];
    let parts: Vec<String> = shown
        .iter()
        .filter_map(|figure| {
            let summary = result.summary(figure)?;
            Some(format!("{} {}", figure.label, figure.unit.show(summary.value)))
        })
        .collect();
    format!("{}: {}", result.variant.label(), parts.join(", "))
}

/// The highest quantile that the sample supports.
fn last_quantile(result: &VariantResult) -> f64 {
    let (values, messages) = (result.latency_us.0.len(), result.published());
    let step = |n: u32| 1.0 - 10f64.powf(-f64::from(n) / STEPS);
    (0..(7.0 * STEPS) as u32)
        .map(step)
        .take_while(|p| figures::supports(*p, values, messages))
        .last()
        .unwrap_or(0.0)
}

/// Quantiles with their latency in seconds.
fn measured(result: &VariantResult) -> Vec<(f64, f64)> {
    let latency = |p: f64| (result.latency_us.0.value_at_quantile(p).max(1)) as f64 / 1e6;
    quantiles(last_quantile(result)).map(|p| (p, latency(p))).collect()
}

fn predicted(result: &VariantResult, highest: f64) -> Option<Vec<(f64, f64)>> {
    let prediction = &result.expected.as_ref()?.prediction;
    if !prediction.knows_quantiles() {
        return None;
    }
    let curve: Vec<(f64, f64)> =
        quantiles(highest).map(|p| (p, prediction.latency_quantile_s(p))).collect();
    curve.iter().all(|(_, latency)| *latency > 0.0).then_some(curve)
}

fn quantiles(highest: f64) -> impl Iterator<Item = f64> {
    let nines = -(1.0 - highest).log10();
    let steps = (nines * STEPS).round() as u32;
    (0..=steps).map(|n| 1.0 - 10f64.powf(-f64::from(n) / STEPS))
}

fn placed<'a>(
    curve: &'a [(f64, f64)],
    x: &'a Scale,
    y: &'a Scale,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    let within = move |latency: f64| y.at(latency).clamp(TOP, BOTTOM);
    curve.iter().map(move |(p, latency)| (x.at(*p), within(*latency)))
}

fn axes(x: &Scale, y: &Scale) -> Markup {
    let percent = |p: f64| format!("{} %", (p * 1e7).round() / 1e5);
    html! {
        @for tick in y.ticks(8) {
            path class="grid" d=(format!("M{LEFT:.1} {0:.1}H{RIGHT:.1}", y.at(tick))) {}
            text class="tick end" x=(px(LEFT - 8.0)) y=(px(y.at(tick) + 4.5)) {
                (Unit::Seconds.show(tick))
            }
        }
        // No label at 0 %, which is too close to the next one.
        @for tick in x.ticks(8).into_iter().filter(|tick| *tick > 0.0) {
            path class="grid" d=(format!("M{0:.1} {TOP:.1}V{BOTTOM:.1}", x.at(tick))) {}
            text class="tick middle" x=(px(x.at(tick))) y=(px(BOTTOM + 18.0)) { (percent(tick)) }
        }
        text class="axis middle" x=(px((LEFT + RIGHT) / 2.0)) y=(px(HEIGHT - 8.0)) {
            "share of messages delivered within this time"
        }
    }
}
