//! The effects of each variant, compared with its plain transport.

use super::figures::{self, Figure};
use super::prose::list;
use super::{PointResults, VariantResult};
use crate::units::sentence_case;

/// The figures that are compared.
const FIGURES: [(&Figure, &str); 4] = [
    (&figures::LATENCY_MEAN, "latency"),
    (&figures::REQUESTS_PER_SUBSCRIBER, "requests"),
    (&figures::BYTES_PER_MESSAGE, "bytes per message"),
    (&figures::CPU_PER_MESSAGE, "server CPU per message"),
];

/// `Short polling +gzip: bytes per message −79 %; no established change in latency.` Nothing for a
/// variant whose plain transport has no result at the point.
pub fn sentences(point: &PointResults) -> Vec<String> {
    let against_plain = |result: &VariantResult| {
        let plain = point.result(result.variant.transport)?;
        if result.variant == plain.variant { None } else { sentence(result, plain) }
    };
    point.valid_results().filter_map(against_plain).collect()
}

fn sentence(result: &VariantResult, plain: &VariantResult) -> Option<String> {
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    for (figure, name) in FIGURES {
        let (Some(now), Some(then)) = (result.summary(figure), plain.summary(figure)) else {
            continue;
        };
        if now.differs_from(then) && then.value > 0.0 {
            changed.push(format!("{name} {}", change(now.value / then.value)));
        } else {
            same.push(name.to_owned());
        }
    }
    let same = (!same.is_empty()).then(|| format!("no established change in {}", list(same)));
    let parts: Vec<String> = changed.into_iter().chain(same).collect();
    let label = sentence_case(&result.variant.label());
    (!parts.is_empty()).then(|| format!("{label}: {}.", parts.join("; ")))
}

/// `+12 %`, or `×2.4` for a factor of at least 2.
fn change(factor: f64) -> String {
    match factor {
        factor if factor >= 2.0 => format!("×{factor:.1}"),
        factor => format!("{:+.0} %", (factor - 1.0) * 100.0).replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Ledger;
    use crate::report::{Report, fixture};

    #[test]
    fn a_variant_is_compared_with_its_plain_transport() {
        let scenario = fixture::scenario(
            "name = 'v'\ntitle = 'Variants'\ndescription = ''\ntransports = ['short-polling', \
             'short-polling+gzip', 'short-polling+h2', 'sse+h2']",
        );
        let mut run = fixture::run_of(&scenario);
        for cell in &mut run.cells {
            match cell.variant.to_string().as_str() {
                "short-polling+gzip" => cell.bytes.down = Ledger::default(),
                "short-polling+h2" => cell.requests.sent *= 3,
                _ => {}
            }
        }
        let report = Report::new(&run);
        insta::assert_snapshot!(sentences(&report.points[0]).join("\n"), @"
        Short polling +gzip: bytes per message −65 %; no established change in latency, requests and server CPU per message.
        Short polling +h2: requests ×3.0; no established change in latency, bytes per message and server CPU per message.
        ");
        assert!(report.markdown().contains("## Variants compared with their plain transport"));
    }
}
