//! The figures as JSON, for `--json`.

use serde_json::{Value, json};

use super::{Report, VariantResult, figures};

/// The recommendation, the findings, and every figure of every transport, in base units.
pub fn document(report: &Report) -> Value {
    let points: Vec<Value> = report
        .points
        .iter()
        .map(|point| {
            let results: Vec<Value> = point.results.iter().map(result).collect();
            json!({ "case": point.name, "workload": point.workload, "transports": results })
        })
        .collect();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    json!({
        "void": report.is_void(),
        "stopped_early": report.run.stopped_early.as_ref().map(|stop| &stop.text),
        "answer": report.answer(),
        "theory": report.prediction_results(),
        "findings": findings,
        "points": points,
    })
}

fn result(result: &VariantResult) -> Value {
    let figures: serde_json::Map<String, Value> = figures::ALL
        .iter()
        .filter_map(|figure| {
            let summary = result.summary(figure)?;
            let value = json!({
                "unit": figure.unit.base(),
                "value": summary.value,
                "min": summary.min,
                "max": summary.max,
                "predicted": result.predicted(figure),
            });
            Some((figure.name.to_owned(), value))
        })
        .collect();
    json!({ "transport": result.variant, "void_reasons": result.void_reasons, "figures": figures })
}
