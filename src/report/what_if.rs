//! The last part of the HTML report: the advice with controls, beginning with the workload of the
//! report and the costs that its run measured.

use maud::{Markup, PreEscaped, html};

use super::{Report, decision};
use crate::advise::prices::PriceList;
use crate::advise::{Cost, Costs};
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
    let need = decision::need(report.run, workload, Cost::Cpu);
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
