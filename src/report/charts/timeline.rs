//! A few seconds of one subscriber for each transport: where the waiting happens.
//!
//! Above each line are the planned publications, on it the receipts; the slanted line between them
//! is the delivery latency. Below it are the requests, from sending to response.

use maud::{Markup, html};

use crate::report::{PointResults, VariantResult};
use crate::run::{Trace, TraceWhat};
use crate::units::Unit;

use super::scale::Scale;
use super::{Chart, WIDTH_WIDE, frame, palette, px};

const LANE: f64 = 104.0;
const LEFT: f64 = 4.0;
const RIGHT: f64 = WIDTH_WIDE - 12.0;
/// Heights within a lane.
const PUBLISHED: f64 = 30.0;
const RECEIVED: f64 = 60.0;
const REQUESTS: f64 = 68.0;
const REQUEST_BAR: f64 = 11.0;

/// A request from sending to response, microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OpenRequest {
    from: i64,
    to: i64,
    /// Messages in the response; `None` if the trace ended first.
    messages: Option<u32>,
}

/// The chart of all transports that have results and a trace.
pub fn subscriber(point: &PointResults) -> Option<Chart> {
    let traced =
        |result: &&VariantResult| result.cells.first().is_some_and(|cell| cell.trace.length_us > 0);
    let results: Vec<&VariantResult> = point.valid_results().filter(traced).collect();
    let length_us = results.iter().map(|result| result.cells[0].trace.length_us).max()?;
    let x = Scale::linear((0.0, length_us as f64 / 1e6), (LEFT, RIGHT));
    let height = results.len() as f64 * LANE + 40.0;
    let body = html! {
        (axis(&x, height))
        @for (lane, result) in results.iter().enumerate() {
            (drawn(result, &x, lane as f64 * LANE))
        }
    };
    let title = "One subscriber, second by second";
    let descriptions: Vec<String> = results.iter().map(|result| description(result)).collect();
    Some(Chart {
        title: title.to_owned(),
        note: "Triangles are planned publications, dots their receipts; the line between them is \
               the latency. Bars are requests, from sending to response: filled if the response \
               contained messages, hollow if it was empty."
            .to_owned(),
        svg: frame(WIDTH_WIDE, height, &format!("{title}. {}", descriptions.join("; ")), body),
        wide: true,
    })
}

fn description(result: &VariantResult) -> String {
    let trace = &result.cells[0].trace;
    let requests = requests(trace).len();
    let messages =
        trace.events.iter().filter(|event| event.at_us > 0 && is_message(&event.what)).count();
    format!("{}: {requests} requests, {messages} messages", result.variant.label())
}

fn is_message(what: &TraceWhat) -> bool {
    matches!(what, TraceWhat::Message { .. })
}

/// Requests with their responses; one that was open before the trace begins at its start.
fn requests(trace: &Trace) -> Vec<OpenRequest> {
    let mut all = Vec::new();
    let mut open = None;
    let mut any_before = false;
    for event in &trace.events {
        match event.what {
            TraceWhat::Request => open = Some(event.at_us),
            TraceWhat::Response { messages } => {
                let from = open.take().or((!any_before).then_some(0));
                let answered =
                    |from| OpenRequest { from, to: event.at_us, messages: Some(messages) };
                all.extend(from.map(answered));
            }
            TraceWhat::Message { .. } => continue,
        }
        any_before = true;
    }
    let end = trace.length_us as i64;
    all.extend(open.map(|from| OpenRequest { from, to: end, messages: None }));
    all.retain(|request: &OpenRequest| request.to > 0);
    all.iter_mut().for_each(|request| request.from = request.from.max(0));
    all
}

fn axis(x: &Scale, height: f64) -> Markup {
    let bottom = height - 34.0;
    html! {
        @for tick in x.ticks(10) {
            path class="grid" d=(format!("M{0:.1} 0V{bottom:.1}", x.at(tick))) {}
            text class="tick middle" x=(px(x.at(tick).clamp(12.0, RIGHT - 4.0)))
                y=(px(bottom + 16.0)) { (tick) " s" }
        }
        text class="axis middle" x=(px((LEFT + RIGHT) / 2.0)) y=(px(height - 3.0)) {
            "seconds of the steady state"
        }
    }
}

fn drawn(result: &VariantResult, x: &Scale, top: f64) -> Markup {
    let trace = &result.cells[0].trace;
    let at = |micros: i64| x.at(micros as f64 / 1e6).clamp(LEFT, RIGHT);
    let messages = trace.events.iter().filter_map(|event| match event.what {
        // Messages received before the chart begins are left out.
        TraceWhat::Message { planned_us } => {
            (event.at_us > 0 && event.at_us > planned_us).then_some((planned_us, event.at_us))
        }
        TraceWhat::Request | TraceWhat::Response { .. } => None,
    });
    let (published, received) = (top + PUBLISHED, top + RECEIVED);
    let requests = requests(trace);
    html! {
        g class=(palette::class(result.variant)) {
            text class="halo" x=(px(LEFT)) y=(px(top + 17.0)) {
                tspan class="name" { (result.variant.label()) }
                tspan class="small" dx="10" { (waiting(trace, &requests)) }
            }
            path class="rail" d=(format!("M{LEFT} {received:.1}H{RIGHT}")) {}
            @for planned in trace.published_us.iter().filter(|planned| **planned >= 0) {
                path class="planned"
                    d=(format!("M{:.1} {:.1}h9l-4.5 7z", at(*planned) - 4.5, published - 7.0)) {}
            }
            @for (planned, receipt) in messages {
                @let visible = receipt.min(receipt - planned) as f64 / (receipt - planned) as f64;
                @let start = received - (received - published) * visible;
                path class="delay" d=(format!(
                    "M{:.1} {start:.1}L{:.1} {received:.1}", at(planned), at(receipt)
                )) {}
                circle class="fill" cx=(px(at(receipt))) cy=(px(received)) r="4.5" {}
            }
            @for request in &requests { (request_bar(request, at, top + REQUESTS)) }
        }
    }
}

/// Number of requests, and the share of the time in which one was open.
fn waiting(trace: &Trace, requests: &[OpenRequest]) -> String {
    let open_us: i64 = requests.iter().map(|request| request.to - request.from).sum();
    let share = open_us as f64 / trace.length_us.max(1) as f64;
    match requests.len() {
        0 => "no requests: the server sends on one open connection".to_owned(),
        1 => format!("1 request, open {} of the time", Unit::Share.show(share)),
        n => format!("{n} requests, one open {} of the time", Unit::Share.show(share)),
    }
}

fn request_bar(request: &OpenRequest, at: impl Fn(i64) -> f64, y: f64) -> Markup {
    let class = match request.messages {
        Some(0) => "hollow",
        Some(_) => "fill request",
        None => "fill request kind-2",
    };
    let (from, to) = (at(request.from), at(request.to));
    html! {
        rect class=(class) x=(px(from)) y=(px(y)) width=(px((to - from).max(2.5)))
            height=(px(REQUEST_BAR)) rx="1.5" {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::TraceEvent;

    #[test]
    fn responses_are_paired_with_their_requests() {
        let event = |at_us, what| TraceEvent { at_us, what };
        let trace = Trace {
            length_us: 100,
            published_us: vec![],
            events: vec![
                event(5, TraceWhat::Response { messages: 1 }),
                event(10, TraceWhat::Request),
                event(20, TraceWhat::Response { messages: 0 }),
                event(90, TraceWhat::Request),
            ],
        };
        let expected = [(0, 5, Some(1)), (10, 20, Some(0)), (90, 100, None)];
        let expected = expected.map(|(from, to, messages)| OpenRequest { from, to, messages });
        assert_eq!(requests(&trace), expected);
    }
}
