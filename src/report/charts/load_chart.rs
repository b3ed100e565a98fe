//! A figure over the load, on logarithmic axes: one dot for each cell.

use maud::{Markup, html};

use crate::units::Unit;
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

/// The figure that the chart shows.
pub struct LoadChart<'a> {
    pub title: String,
    pub note: String,
    /// The quantity on the horizontal axis.
    pub load: &'a str,
    pub unit: Unit,
    /// Load and figure of each cell.
    pub series: Vec<(Variant, Vec<(f64, f64)>)>,
    /// A horizontal line.
    pub limit: Option<f64>,
}

impl LoadChart<'_> {
    /// Draws the chart; `None` without a value above 0.
    pub fn draw(mut self) -> Option<Chart> {
        for (_, points) in &mut self.series {
            points.retain(|(load, value)| *load > 0.0 && *value > 0.0);
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        self.series.retain(|(_, points)| !points.is_empty());
        let (x, y) = self.scales()?;
        let ends: Vec<f64> =
            self.series.iter().map(|(_, points)| y.at(mean_at_end(points))).collect();
        let labels = spread_labels(
            &ends,
            &name_heights(self.series.iter().map(|(variant, _)| *variant)),
            BOTTOM,
        );
        let body = html! {
            (self.axes(&x, &y))
            @for ((variant, points), label) in self.series.iter().zip(&labels) {
                (drawn(*variant, points, *label, &x, &y))
            }
        };
        let svg = frame(WIDTH, HEIGHT, &self.title, body);
        Some(Chart { title: self.title, note: self.note, svg, wide: false })
    }

    fn scales(&self) -> Option<(Scale, Scale)> {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let domain = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (left, right) = domain(&mut points().map(|(load, _)| *load));
        let (low, high) = domain(&mut points().map(|(_, value)| *value).chain(self.limit));
        (right > 0.0).then(|| {
            let x = Scale::log((left, right), (LEFT + 10.0, RIGHT - 6.0));
            (x, Scale::log((low * 0.7, high * 1.4), (BOTTOM, TOP)))
        })
    }

    fn axes(&self, x: &Scale, y: &Scale) -> Markup {
        html! {
            @for tick in y.ticks(8) {
                path class="grid" d=(format!("M{LEFT:.1} {0:.1}H{RIGHT:.1}", y.at(tick))) {}
                text class="tick end" x=(px(LEFT - 8.0)) y=(px(y.at(tick) + 4.5)) {
                    (self.unit.show(tick))
                }
            }
            @for tick in x.ticks(7) {
                path class="grid" d=(format!("M{0:.1} {TOP:.1}V{BOTTOM:.1}", x.at(tick))) {}
                text class="tick middle" x=(px(x.at(tick))) y=(px(BOTTOM + 18.0)) {
                    (Unit::Count.show(tick))
                }
            }
            @if let Some(limit) = self.limit {
                path class="mark" d=(format!("M{LEFT:.1} {0:.1}H{RIGHT:.1}", y.at(limit))) {}
            }
            text class="axis middle" x=(px((LEFT + RIGHT) / 2.0)) y=(px(HEIGHT - 8.0)) {
                (self.load)
            }
        }
    }
}

/// The mean of the figure at each load, by load.
fn means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            let sum: f64 = same.iter().map(|(_, value)| value).sum();
            (same[0].0, sum / same.len() as f64)
        })
        .collect()
}

fn mean_at_end(points: &[(f64, f64)]) -> f64 {
    means(points).last().map_or(1.0, |(_, value)| *value)
}

fn drawn(variant: Variant, points: &[(f64, f64)], label: f64, x: &Scale, y: &Scale) -> Markup {
    let line = means(points).into_iter().map(|(load, value)| (x.at(load), y.at(value)));
    html! {
        g class=(palette::class(variant)) {
            path class="line thin" stroke-dasharray=[palette::dashes(variant)] d=(path(line)) {}
            @for (load, value) in points {
                circle class="fill" cx=(px(x.at(*load))) cy=(px(y.at(*value))) r="3" {}
            }
            (name(variant, RIGHT + 8.0, label))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Transport;

    #[test]
    fn cells_of_the_same_load_are_averaged_into_one_line() {
        assert_eq!(means(&[(1.0, 2.0), (1.0, 4.0), (2.0, 5.0)]), [(1.0, 3.0), (2.0, 5.0)]);
    }

    #[test]
    fn nothing_is_drawn_without_values() {
        let chart = |points| LoadChart {
            title: "p99".to_owned(),
            note: String::new(),
            load: "subscribers",
            unit: Unit::Seconds,
            series: vec![(Transport::WebSocket.into(), points)],
            limit: Some(0.2),
        };
        assert!(chart(vec![(100.0, 0.0)]).draw().is_none());
        let drawn = chart(vec![(200.0, 0.02), (100.0, 0.01)]).draw().expect("two cells");
        assert_eq!(drawn.svg.into_string().matches("<circle").count(), 2);
    }
}
