//! A map over message rate and tolerated staleness: which way is cheapest where.

use maud::{Markup, html};

use crate::report::decision::{Cost, Decision, Verdict};
use crate::units::Unit;
use crate::variant::Transport;

use super::scale::Scale;
use super::{Chart, WIDTH, frame, palette, px};

const HEIGHT: f64 = 370.0;
const LEFT: f64 = 74.0;
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

/// A run of cells in one row that have the same answer.
struct Stretch {
    verdict: Option<Verdict>,
    row: u32,
    columns: std::ops::Range<u32>,
}

impl Stretch {
    fn is_of(&self, way: Transport) -> bool {
        self.verdict.is_some_and(|verdict| verdict.transport == way)
    }
}

/// The map for one cost.
pub fn cheapest(decision: &Decision, cost: Cost) -> Chart {
    let stretches: Vec<Stretch> = (0..ROWS).flat_map(|row| of_row(decision, cost, row)).collect();
    let (title, unit) = match cost {
        Cost::ServerCpu => ("Cheapest in server CPU", "CPU time"),
        Cost::Bytes => ("Cheapest in bytes", "bytes, TCP/IP included"),
    };
    let ways: Vec<Transport> = Transport::ALL
        .into_iter()
        .filter(|way| stretches.iter().any(|stretch| stretch.is_of(*way)))
        .collect();
    let body = html! {
        @for stretch in &stretches { (area(stretch)) }
        (axes())
        @for way in &ways { (label(*way, &stretches)) }
    };
    let source = match cost {
        Cost::ServerCpu => "Extrapolated from this run's CPU time per request and per message.",
        Cost::Bytes => "From the model of what crosses the wire.",
    };
    let names: Vec<&str> = ways.iter().map(|way| way.label()).collect();
    Chart {
        title: title.to_owned(),
        note: format!(
            "The way that needs the least {unit}, if no message may be older than this on arrival. \
             Short polling gets the longest interval that allows it. Paler: the next way costs \
             less than 10 % more. Blank: no way is that fast. {source}"
        ),
        svg: frame(WIDTH, HEIGHT, &format!("{title}: {}", names.join(", ")), body),
        wide: false,
    }
}

fn of_row(decision: &Decision, cost: Cost, row: u32) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for column in 0..COLUMNS {
        let rate = between(RATES, f64::from(column) + 0.5, f64::from(COLUMNS));
        let staleness_s = between(STALENESS_S, f64::from(row) + 0.5, f64::from(ROWS));
        let verdict = decision.cheapest(cost, rate, staleness_s);
        match stretches.last_mut() {
            Some(last) if last.verdict == verdict => last.columns.end = column + 1,
            _ => stretches.push(Stretch { verdict, row, columns: column..column + 1 }),
        }
    }
    stretches
}

/// The value `part / whole` of the way through a range, by factors.
fn between((low, high): (f64, f64), part: f64, whole: f64) -> f64 {
    low * (high / low).powf(part / whole)
}

fn x(column: f64) -> f64 {
    LEFT + column / f64::from(COLUMNS) * (RIGHT - LEFT)
}

fn y(row: f64) -> f64 {
    BOTTOM - row / f64::from(ROWS) * (BOTTOM - TOP)
}

fn area(stretch: &Stretch) -> Markup {
    let (left, right) = (x(stretch.columns.start.into()), x(stretch.columns.end.into()));
    let (top, bottom) = (y(f64::from(stretch.row) + 1.0), y(stretch.row.into()));
    html! {
        @if let Some(Verdict { transport, is_clear }) = stretch.verdict {
            @let shade = if is_clear { "area" } else { "area contested" };
            // Half a unit more, lest seams show between the rows.
            rect class=(format!("{shade} {}", palette::class(transport))) x=(px(left)) y=(px(top))
                width=(px(right - left)) height=(px(bottom - top + 0.5)) {}
        }
    }
}

/// The way's name in the middle of its widest row near the region's centre.
fn label(way: Transport, stretches: &[Stretch]) -> Markup {
    let own: Vec<&Stretch> = stretches.iter().filter(|stretch| stretch.is_of(way)).collect();
    let width = |stretch: &Stretch| f64::from(stretch.columns.end - stretch.columns.start);
    let cells: f64 = own.iter().map(|stretch| width(stretch)).sum();
    if cells < LABELLED_SHARE * f64::from(COLUMNS * ROWS) {
        return html! {};
    }
    let row = own.iter().map(|s| f64::from(s.row) * width(s)).sum::<f64>() / cells;
    let distance = |stretch: &&&Stretch| (f64::from(stretch.row) - row).abs();
    let nearest = own.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let middle =
        nearest.map_or(0.0, |nearest| f64::from(nearest.columns.start) + width(nearest) / 2.0);
    html! {
        text class=(format!("name middle halo {}", palette::class(way)))
            x=(px(x(middle).clamp(LEFT + 50.0, RIGHT - 50.0))) y=(px(y(row) + 5.0)) {
            (way.label())
        }
    }
}

fn axes() -> Markup {
    let rates = Scale::log(RATES, (LEFT, RIGHT));
    let staleness = Scale::log(STALENESS_S, (BOTTOM, TOP));
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
