//! `results.csv`: one line for each case, swept value, transport and figure, in base units.
//!
//! A new figure adds lines and no columns. A void transport has a single line with the reason and
//! no figures.

use super::figures::{self, Figure};
use super::{PointResults, Report, VariantResult};
use crate::scenario::Link;
use crate::statistics::Summary;

const HEADER: &str = "case,subscribers,topics,rate_per_s,rtt_s,poll_interval_s,long_poll_hold_s,\
message_bytes,link,jitter_s,loss,loss_burst_s,bandwidth_down_kbit_s,bandwidth_up_kbit_s,\
transport,status,figure,unit,value,min,max,low95,high95,repeats,predicted\n";

/// The whole file.
pub fn table(report: &Report) -> String {
    let mut text = HEADER.to_owned();
    for point in &report.points {
        for result in &point.results {
            lines(point, result).for_each(|line| text.push_str(&line));
        }
    }
    text
}

fn lines<'a>(
    point: &'a PointResults,
    result: &'a VariantResult,
) -> impl Iterator<Item = String> + 'a {
    let void = result.is_void().then(|| {
        let status = format!("void: {}", result.void_reasons.join("; "));
        line(point, result, &status, std::iter::repeat_n(String::new(), 9))
    });
    let measured = figures::ALL.iter().filter_map(move |figure| {
        let summary = result.summary(figure)?;
        Some(line(point, result, "ok", of_figure(result, figure, summary).into_iter()))
    });
    void.into_iter().chain(measured)
}

fn of_figure(result: &VariantResult, figure: &Figure, summary: &Summary) -> [String; 9] {
    let number = |value: f64| value.to_string();
    let spread = |value: f64| if summary.repeats >= 2 { number(value) } else { String::new() };
    [
        figure.name.to_owned(),
        figure.unit.base().to_owned(),
        number(summary.value),
        spread(summary.min),
        spread(summary.max),
        spread(summary.low),
        spread(summary.high),
        summary.repeats.to_string(),
        result.predicted(figure).map_or(String::new(), number),
    ]
}

fn line(
    point: &PointResults,
    result: &VariantResult,
    status: &str,
    rest: impl Iterator<Item = String>,
) -> String {
    let workload = point.workload;
    let link = match workload.link {
        Link::InProcess => "in-process",
        Link::Packets => "packets",
    };
    // Empty without a limit.
    let kbit_s = |limit: Option<u32>| limit.map_or(String::new(), |kbit_s| kbit_s.to_string());
    let front = [
        point.name.to_owned(),
        workload.subscribers.to_string(),
        workload.topics.to_string(),
        workload.rate.to_string(),
        workload.rtt.as_secs_f64().to_string(),
        workload.poll_interval.as_secs_f64().to_string(),
        workload.long_poll_hold.as_secs_f64().to_string(),
        workload.message_bytes.to_string(),
        link.to_owned(),
        workload.jitter.as_secs_f64().to_string(),
        workload.packet_loss().share.to_string(),
        workload.loss_burst.as_secs_f64().to_string(),
        kbit_s(workload.bandwidth_down_kbit),
        kbit_s(workload.bandwidth_up_kbit),
        result.variant.to_string(),
        status.to_owned(),
    ];
    let fields: Vec<String> = front.into_iter().chain(rest).map(|text| quoted(&text)).collect();
    fields.join(",") + "\n"
}

/// The field in quotes where RFC 4180 requires them. Text that a spreadsheet would evaluate as a
/// formula is preceded by an apostrophe; numbers are not.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula && text.parse::<f64>().is_err() {
        return quoted(&format!("'{text}"));
    }
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
