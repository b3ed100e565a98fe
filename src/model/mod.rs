//! The advice as an interactive page: controls for a workload, and requests, delays, bytes, cores,
//! memory and cost of every transport, computed in the browser.
//!
//! The scripts are in this folder. They are served one by one for the page `/model`, and put into
//! one for a report, which is a single file. Their numbers come from [`data`], and their formulas
//! are those of `theory` and `advise`: a test compares both.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::advise::prices::{Billable, PriceList};
use crate::advise::{
    BUSY_SHARE_MAX, Costs, MEASURED_UP_TO, Need, SMALL_LOAD, TLS_RECORD_BYTES, TOO_CLOSE,
    TOO_CLOSE_MEANING, has_browser_client, is_two_way, simplicity,
};
use crate::scenario::Workload;
use crate::theory::MEAN_HOLD_SHARE;
use crate::theory::bytes::Sizes;
use crate::variant::Transport;

/// The scripts in the order in which one file needs them: what is imported comes first.
const SCRIPTS: [(&str, &str); 9] = [
    ("formulas.js", include_str!("formulas.js")),
    ("text.js", include_str!("text.js")),
    ("charts.js", include_str!("charts.js")),
    ("elements.js", include_str!("elements.js")),
    ("workload.js", include_str!("workload.js")),
    ("inputs.js", include_str!("inputs.js")),
    ("answer.js", include_str!("answer.js")),
    ("table.js", include_str!("table.js")),
    ("page.js", include_str!("page.js")),
];
/// The style of [`section`]; colours of text and page come from the page that it is on.
pub const STYLE: &str = include_str!("model.css");

/// The files behind `/model`, by name.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCRIPTS.into_iter().chain([("model.css", STYLE)])
}

/// All scripts as one, without imports, because all names are in one scope.
pub fn script() -> String {
    let mut script = String::new();
    for (_, text) in SCRIPTS {
        let mut is_import = false;
        for line in text.lines() {
            is_import |= line.starts_with("import ");
            if !is_import {
                script.push_str(line.strip_prefix("export ").unwrap_or(line));
                script.push('\n');
            }
            is_import &= !line.ends_with(';');
        }
    }
    script
}

/// The data for the scripts: costs, price lists, constants, and the initial workload.
pub fn data(costs: &Costs, prices: &[PriceList], need: &Need) -> Value {
    let each = |value: fn(Transport) -> Value| -> BTreeMap<&str, Value> {
        Transport::ALL.map(|transport| (transport.name(), value(transport))).into()
    };
    let billables = |text: fn(Billable) -> &'static str| -> BTreeMap<String, &str> {
        let name = |billable| json!(billable).as_str().expect("a word").to_owned();
        Billable::ALL.map(|billable| (name(billable), text(billable))).into()
    };
    let mut simplest = Transport::ALL;
    simplest.sort_by_key(|transport| simplicity(*transport).0);
    json!({
        "machine": costs.machine,
        "publish_cpu_us": costs.publish_cpu_us,
        "costs": costs.transports,
        "transports": costs.transports.keys().collect::<Vec<_>>(),
        "prices": prices,
        "need": need,
        "labels": each(|transport| transport.label().into()),
        "why": each(|transport| simplicity(transport).1.into()),
        "billables": billables(Billable::label),
        "units": billables(Billable::unit),
        "explanations": billables(|billable| billable.explanation().unwrap_or_default()),
        "too_close_meaning": TOO_CLOSE_MEANING,
        "constants": {
            "busy_share_max": BUSY_SHARE_MAX,
            "small_load": SMALL_LOAD,
            "tls_record_bytes": TLS_RECORD_BYTES,
            "mean_hold_share": MEAN_HOLD_SHARE,
            "hold_s": Workload::default().long_poll_hold.as_secs_f64(),
            "browser_headers": Sizes::BROWSER_HEADERS,
            "too_close": TOO_CLOSE,
            "measured_up_to": MEASURED_UP_TO,
            "simplicity": simplest,
            "browser_clients": each(|transport| has_browser_client(transport).into()),
            "two_way": each(|transport| is_two_way(transport).into()),
        },
    })
}

/// The elements that the scripts fill, and their data. The caller adds the scripts and [`STYLE`].
pub fn section(data: &Value) -> Markup {
    // A script element ends at the first `</`, even inside a JSON string.
    let json = data.to_string().replace('<', "\\u003c");
    html! {
        div #model { p { "The model needs JavaScript, which this page does not run." } }
        script #model-data type="application/json" { (PreEscaped(json)) }
    }
}

/// The page `/model`, with the built-in costs and prices.
pub fn page() -> String {
    let data = data(&Costs::reference(), &PriceList::built_in(), &Need::DEFAULT);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Poll vs push: the model" }
                link rel="icon" href="/page/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page/style.css";
                link rel="stylesheet" href="/page/model.css";
                script type="module" src="/page/page.js" {}
            }
            body {
                header {
                    h1 { "Which transport, and at what cost?" }
                    p.lead {
                        "Set your workload; everything else follows. The numbers are those of "
                        code { "poll-vs-push advise" }
                        ", computed here: "
                        a href="/docs/advice.md" { "how, and what they leave out" }
                        ". See the transports at work on " a href="/" { "the live page" }
                        ", and measured runs in "
                        a href="/watch" { "the reports" } "."
                    }
                }
                main { (section(&data)) }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_has_neither_imports_nor_exports() {
        let script = script();
        for line in script.lines() {
            assert!(!line.starts_with("import ") && !line.starts_with("export "), "{line}");
            assert!(!line.contains("from \"./"), "{line}");
        }
        assert!(!script.contains("</script") && script.contains("function estimate("));
    }

    #[test]
    fn data_cannot_end_the_element_that_holds_it() {
        let mut costs = Costs::reference();
        costs.machine = "</script><script>".to_owned();
        let text = section(&data(&costs, &[], &Need::DEFAULT)).into_string();
        assert_eq!(text.matches("</script>").count(), 1, "{text}");
    }
}
