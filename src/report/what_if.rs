//! The last part of the HTML report: the advice with controls, beginning with the workload of the
//! report and the costs that its run measured.

use maud::{Markup, PreEscaped, html};

use super::Report;
use crate::advise::prices::PriceList;
use crate::advise::{Costs, Need};
use crate::model;

/// The id of the section.
pub const ID: &str = "what-if";
pub const TITLE: &str = "What if";

/// The section with its style and script. Empty for a report without measurements.
pub fn section(report: &Report) -> Markup {
    let Some(workload) = report.points.first().map(|point| point.workload) else {
        return html! {};
    };
    // The costs of a third-party server are unknown.
    let costs = match report.run.server.is_child {
        true => Costs::from_run(report.run),
        false => Costs::reference(),
    };
    let need = Need {
        subscribers: workload.subscribers,
        topics: workload.topics,
        rate: workload.rate,
        rtt_s: workload.rtt.as_secs_f64(),
        message_bytes: workload.message_bytes,
        headers: workload.headers,
        is_tls: report.run.server.is_tls,
        browser_only: false,
        ..model::NEED
    };
    html! {
        section id=(ID) {
            h2 { (TITLE) }
            p.lead {
                "Other workloads than those measured: theory, with this report's costs of a request, "
                "a message and a subscriber. A link to this page keeps the values."
            }
            style { (PreEscaped(model::STYLE)) }
            (model::section(&model::data(&costs, &PriceList::built_in(), &need)))
            script type="module" { (PreEscaped(model::script())) }
        }
    }
}
