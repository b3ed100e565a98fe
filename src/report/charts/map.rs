//! A map over message rate and acceptable age: the recommended transport for each.

use maud::{Markup, html};

use crate::advise::{Choice, Need};
use crate::report::decision::Model;
use crate::scenario::Headers;
use crate::units::{Unit, significant};
use crate::variant::Transport;

use super::scale::Scale;
use super::{Chart, WIDTH, frame, palette, px};

const HEIGHT: f64 = 340.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = HEIGHT - 48.0;
const COLUMNS: u32 = 64;
const ROWS: u32 = 54;
/// Messages per second that a subscriber receives.
const RATES: (f64, f64) = (0.01, 100.0);
/// Ten milliseconds to an hour.
const STALENESS_S: (f64, f64) = (0.01, 3_600.0);
/// A region smaller than this share of the map is not labelled.
const LABELLED_SHARE: f64 = 0.02;

/// The recommendation at one place of the map.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Recommendation {
    transport: Transport,
    /// True if no other transport is too close to call.
    is_clear: bool,
}

/// Adjacent cells of one row with the same recommendation.
struct RowSegment {
    recommendation: Option<Recommendation>,
    row: u32,
    columns: std::ops::Range<u32>,
}

impl RowSegment {
    fn is_of(&self, transport: Transport) -> bool {
        self.recommendation.is_some_and(|recommendation| recommendation.transport == transport)
    }
}

/// The map around `need`, which is marked.
pub fn recommended(model: &Model, need: Need) -> Chart {
    let segments: Vec<RowSegment> = (0..ROWS).flat_map(|row| of_row(model, need, row)).collect();
    let shown: Vec<Transport> = Transport::ALL
        .into_iter()
        .filter(|transport| segments.iter().any(|segment| segment.is_of(*transport)))
        .collect();
    let body = html! {
        @for segment in &segments { (area(segment)) }
        (axes())
        @for transport in &shown { (label(*transport, &segments)) }
        (mark(need))
    };
    let headers = match need.headers {
        Headers::Minimal => "minimal headers",
        Headers::Browser => "a browser's headers",
    };
    let title = format!("Recommended by {}, with {headers}", need.cost.label());
    let names: Vec<&str> = shown.iter().map(|transport| transport.label()).collect();
    let label = format!("{title}: {}", names.join(", "));
    Chart {
        note: format!(
            "By message rate and acceptable age; the circle marks {}/s and {}. Pale: \
             other transports are too close to call, and the simplest is shown. Blank: none is \
             fast enough. Extrapolated with {}.",
            significant(need.rate),
            Unit::Seconds.show(need.staleness_s),
            model.source()
        ),
        title,
        svg: frame(WIDTH, HEIGHT, &label, body),
        wide: false,
    }
}

fn of_row(model: &Model, need: Need, row: u32) -> Vec<RowSegment> {
    let mut segments: Vec<RowSegment> = Vec::new();
    for column in 0..COLUMNS {
        let rate = between(RATES, f64::from(column) + 0.5, f64::from(COLUMNS));
        let staleness_s = between(STALENESS_S, f64::from(row) + 0.5, f64::from(ROWS));
        let recommendation = |choice: Choice| Recommendation {
            transport: choice.transport,
            is_clear: choice.finalists.len() == 1,
        };
        let recommendation = model.choose(&Need { rate, staleness_s, ..need }).map(recommendation);
        match segments.last_mut() {
            Some(last) if last.recommendation == recommendation => last.columns.end = column + 1,
            _ => segments.push(RowSegment { recommendation, row, columns: column..column + 1 }),
        }
    }
    segments
}

/// A circle at the rate and the acceptable age of `need`, if they are on the map.
fn mark(need: Need) -> Markup {
    let is_within = |(low, high): (f64, f64), value: f64| (low..=high).contains(&value);
    let is_shown = is_within(RATES, need.rate) && is_within(STALENESS_S, need.staleness_s);
    let (rates, ages) = scales();
    html! {
        @if is_shown {
            circle class="here" cx=(px(rates.at(need.rate))) cy=(px(ages.at(need.staleness_s)))
                r="6" {}
        }
    }
}

fn scales() -> (Scale, Scale) {
    (Scale::log(RATES, (LEFT, RIGHT)), Scale::log(STALENESS_S, (BOTTOM, TOP)))
}

/// The value at `part / whole` of a logarithmic range.
fn between((low, high): (f64, f64), part: f64, whole: f64) -> f64 {
    low * (high / low).powf(part / whole)
}

fn x(column: f64) -> f64 {
    LEFT + column / f64::from(COLUMNS) * (RIGHT - LEFT)
}

fn y(row: f64) -> f64 {
    BOTTOM - row / f64::from(ROWS) * (BOTTOM - TOP)
}

fn area(segment: &RowSegment) -> Markup {
    let (left, right) = (x(segment.columns.start.into()), x(segment.columns.end.into()));
    let (top, bottom) = (y(f64::from(segment.row) + 1.0), y(segment.row.into()));
    html! {
        @if let Some(Recommendation { transport, is_clear }) = segment.recommendation {
            @let shade = if is_clear { "area" } else { "area contested" };
            // Half a unit more, so that there are no visible seams between the rows.
            rect class=(format!("{shade} {}", palette::class(transport))) x=(px(left)) y=(px(top))
                width=(px(right - left)) height=(px(bottom - top + 0.5)) {}
        }
    }
}

/// The name of the transport in the middle of its widest segment in the row nearest to its region's
/// centre.
fn label(transport: Transport, segments: &[RowSegment]) -> Markup {
    let own: Vec<&RowSegment> =
        segments.iter().filter(|segment| segment.is_of(transport)).collect();
    let width = |segment: &RowSegment| f64::from(segment.columns.end - segment.columns.start);
    let cells: f64 = own.iter().map(|segment| width(segment)).sum();
    if cells < LABELLED_SHARE * f64::from(COLUMNS * ROWS) {
        return html! {};
    }
    let row = own.iter().map(|s| f64::from(s.row) * width(s)).sum::<f64>() / cells;
    let distance = |segment: &&&RowSegment| (f64::from(segment.row) - row).abs();
    let nearest = own
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)).then(width(b).total_cmp(&width(a))));
    let middle =
        nearest.map_or(0.0, |nearest| f64::from(nearest.columns.start) + width(nearest) / 2.0);
    html! {
        text class=(format!("name middle halo {}", palette::class(transport)))
            x=(px(x(middle).clamp(LEFT + 50.0, RIGHT - 50.0))) y=(px(y(row) + 5.0)) {
            (transport.label())
        }
    }
}

fn axes() -> Markup {
    let (rates, staleness) = scales();
    let named = [
        (0.01, "10 ms"),
        (0.1, "100 ms"),
        (1.0, "1 s"),
        (10.0, "10 s"),
        (60.0, "1 min"),
        (600.0, "10 min"),
        (3_600.0, "1 h"),
    ];
    html! {
        @for tick in rates.ticks(5) {
            path class="grid" d=(format!("M{0:.1} {TOP:.1}V{BOTTOM:.1}", rates.at(tick))) {}
            text class="tick middle" x=(px(rates.at(tick).min(RIGHT - 14.0)))
                y=(px(BOTTOM + 18.0)) { (Unit::PerSecond.show(tick)) }
        }
        @for (tick, name) in named {
            path class="grid" d=(format!("M{LEFT:.1} {0:.1}H{RIGHT:.1}", staleness.at(tick))) {}
            text class="tick end" x=(px(LEFT - 8.0)) y=(px(staleness.at(tick) + 4.5)) { (name) }
        }
        text class="axis middle" x=(px((LEFT + RIGHT) / 2.0)) y=(px(HEIGHT - 8.0)) {
            "messages per second that a subscriber receives"
        }
        text class="axis middle" transform=(format!("translate(14 {:.1}) rotate(-90)",
            (TOP + BOTTOM) / 2.0)) { "oldest a message may be on arrival" }
    }
}
