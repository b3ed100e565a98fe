//! Charts as SVG inside the page, labelled directly, without legends or scripts.
//!
//! A chart draws figures of the report. It never receives void transports.

pub mod bar_chart;
pub mod byte_bars;
pub mod line_chart;
pub mod load_chart;
pub mod map;
pub mod palette;
pub mod percentiles;
pub mod scale;
pub mod timeline;

use maud::{Markup, html};

use crate::variant::Variant;

/// A chart with its title and explanation.
#[derive(Clone)]
pub struct Chart {
    pub title: String,
    /// How to read it.
    pub note: String,
    pub svg: Markup,
    /// True if it needs the whole width of the page.
    pub wide: bool,
}

/// Width of a chart beside another, in its own units.
const WIDTH: f64 = 490.0;
/// Width of a chart in a row of its own.
const WIDTH_WIDE: f64 = 1100.0;

/// The frame of every chart; `label` is for screen readers.
fn frame(width: f64, height: f64, label: &str, body: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label)
            xmlns="http://www.w3.org/2000/svg" {
            title { (label) }
            (body)
        }
    }
}

/// A coordinate, one decimal.
fn px(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}

/// The `d` of a line through points.
fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (x, y) in points {
        d.push_str(if d.is_empty() { "M" } else { "L" });
        d.push_str(&format!("{x:.1} {y:.1}"));
    }
    d
}

/// The variant's name beside the end of its line, with its extras below.
fn name(variant: Variant, x: f64, y: f64) -> Markup {
    let extras: Vec<String> =
        variant.extras().iter().map(|extra| format!("+{}", extra.name())).collect();
    html! {
        text x=(px(x)) y=(px(y + 4.5)) {
            tspan class="name" { (variant.transport.label()) }
            @if !extras.is_empty() {
                tspan class="small" x=(px(x)) dy="13" { (extras.join(" ")) }
            }
        }
    }
}

/// Width of the longest [`name`].
const NAME_WIDTH: f64 = 172.0;

/// The height of each [`name`].
fn name_heights(variants: impl IntoIterator<Item = Variant>) -> Vec<f64> {
    let height = |variant: Variant| if variant == variant.transport { 17.0 } else { 29.0 };
    variants.into_iter().map(height).collect()
}

/// Moves labels of these heights down until none covers the one before, then up until none is below
/// `bottom`. The order is kept.
fn spread_labels(wanted: &[f64], heights: &[f64], bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    for pair in order.windows(2) {
        placed[pair[1]] = placed[pair[1]].max(placed[pair[0]] + heights[pair[0]]);
    }
    let mut limit = bottom + 17.0;
    for index in order.into_iter().rev() {
        placed[index] = placed[index].min(limit - heights[index]);
        limit = placed[index];
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_overlap() {
        let wanted = [50.0, 10.0, 12.0, 51.0];
        let heights = [17.0, 29.0, 17.0, 17.0];
        assert_eq!(spread_labels(&wanted, &heights, 100.0), [56.0, 10.0, 39.0, 73.0]);
        assert_eq!(spread_labels(&wanted, &heights, 70.0), [53.0, 7.0, 36.0, 70.0]);
    }
}
