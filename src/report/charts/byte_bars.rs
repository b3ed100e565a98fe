//! Bytes per message of each transport, up and down, stacked by kind.

use std::cmp::Ordering;

use maud::{Markup, html};

use crate::measure::Ledger;
use crate::report::{PointResults, VariantResult, figures};
use crate::run::{Cell, TcpIpSource};
use crate::units::Unit;

use super::{Chart, WIDTH, frame, palette, px};

const ROW: f64 = 102.0;
const BAR: f64 = 14.0;
/// Width of `up` and `down` before the bars.
const LEFT: f64 = 42.0;
/// Width of one entry in the line below a bar.
const ENTRY: f64 = 112.0;

type BarPart = (&'static str, fn(&Ledger) -> u64);

/// Kinds of bytes, payload first; each further kind is drawn paler.
const KINDS: [BarPart; 4] = [
    ("payload", |ledger| ledger.payload),
    ("framing", |ledger| ledger.framing),
    ("headers", |ledger| ledger.headers),
    ("TCP/IP", |ledger| ledger.tcp_ip),
];

/// Bytes of one direction per delivered message, by kind.
struct Stack {
    direction: &'static str,
    parts: [f64; 4],
}

impl Stack {
    fn total(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// Bytes per delivered message.
pub fn per_message(point: &PointResults) -> Option<Chart> {
    let results: Vec<(&VariantResult, [Stack; 2])> =
        point.valid_results().filter_map(|result| Some((result, stacks(result)?))).collect();
    let largest =
        results.iter().flat_map(|(_, stacks)| stacks).map(Stack::total).fold(0.0, f64::max);
    if largest <= 0.0 {
        return None;
    }
    let body = html! {
        @for (row, (result, stacks)) in results.iter().enumerate() {
            (drawn(result, stacks, row as f64 * ROW, (WIDTH - LEFT) / largest))
        }
    };
    let description = |(result, [up, down]): &(&VariantResult, [Stack; 2])| {
        let show = |stack: &Stack| Unit::Bytes.show(stack.total());
        format!("{}: {} up, {} down", result.variant.label(), show(up), show(down))
    };
    let title = "Bytes per delivered message";
    let label =
        format!("{title}. {}", results.iter().map(description).collect::<Vec<_>>().join("; "));
    let is_estimated = |(result, _): &(&VariantResult, _)| {
        result.cells.iter().any(|cell| cell.bytes.tcp_ip_source == TcpIpSource::Estimated)
    };
    let source = match results.iter().any(is_estimated) {
        true => "TCP/IP headers are estimated.",
        false => "TCP/IP headers are counted by the kernel.",
    };
    Some(Chart {
        title: title.to_owned(),
        note: format!(
            "Up: subscriber to server; down: server to subscriber. Payload is darkest, overhead \
             paler. {source}"
        ),
        svg: frame(WIDTH, results.len() as f64 * ROW - 8.0, &label, body),
        wide: false,
    })
}

/// Both directions of the median repeat, so that the parts add up to the figure in the table.
fn stacks(result: &VariantResult) -> Option<[Stack; 2]> {
    let per_message = |cell: &Cell| figures::BYTES_PER_MESSAGE.of_cell(cell);
    let mut cells: Vec<&Cell> =
        result.cells.iter().copied().filter(|cell| per_message(cell).is_some()).collect();
    cells.sort_by(|a, b| per_message(a).partial_cmp(&per_message(b)).unwrap_or(Ordering::Equal));
    let cell = cells.get(cells.len().checked_sub(1)? / 2)?;
    let delivered = cell.deliveries.in_steady as f64;
    let stack = |direction, ledger: &Ledger| Stack {
        direction,
        parts: KINDS.map(|(_, amount)| amount(ledger) as f64 / delivered),
    };
    Some([stack("up", &cell.bytes.up), stack("down", &cell.bytes.down)])
}

fn drawn(result: &VariantResult, stacks: &[Stack; 2], top: f64, scale: f64) -> Markup {
    let total = Unit::Bytes.show(stacks.iter().map(Stack::total).sum());
    html! {
        g class=(palette::class(result.variant)) {
            text x="0" y=(px(top + 15.0)) {
                tspan class="name" { (result.variant.label()) }
                tspan dx="10" { (total) " per message" }
            }
            @for (index, stack) in stacks.iter().enumerate() {
                (bar(stack, top + 24.0 + index as f64 * 36.0, scale))
            }
        }
    }
}

fn bar(stack: &Stack, y: f64, scale: f64) -> Markup {
    let start = |kind: usize| LEFT + stack.parts[..kind].iter().sum::<f64>() * scale;
    let present: Vec<usize> = (0..KINDS.len()).filter(|kind| stack.parts[*kind] > 0.0).collect();
    let class = |kind: usize| format!("fill kind-{kind}");
    html! {
        text class="small" x="0" y=(px(y + 11.5)) { (stack.direction) }
        @for (place, kind) in present.into_iter().enumerate() {
            @let (amount, entry) = (stack.parts[kind], LEFT + place as f64 * ENTRY);
            rect class=(class(kind)) x=(px(start(kind))) y=(px(y)) width=(px(amount * scale))
                height=(px(BAR)) {}
            rect class=(class(kind)) x=(px(entry)) y=(px(y + BAR + 4.5)) width="9" height="9" {}
            text class="small" x=(px(entry + 13.0)) y=(px(y + BAR + 13.0)) {
                (KINDS[kind].0) " " (Unit::Bytes.show(amount))
            }
        }
    }
}
