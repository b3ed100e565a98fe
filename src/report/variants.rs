//! What a variant changed, held against its plain transport: a sentence for each.

use super::figures::{self, Figure};
use super::{Point, Way};
use crate::units::sentence_case;

/// The figures that an extra is meant to change, or must not.
const FIGURES: [(&Figure, &str); 4] = [
    (&figures::LATENCY_MEAN, "latency"),
    (&figures::REQUESTS_PER_SUBSCRIBER, "requests"),
    (&figures::BYTES_PER_MESSAGE, "bytes a message"),
    (&figures::CPU_PER_MESSAGE, "server CPU a message"),
];

/// `Short polling +gzip, against plain: bytes a message −79 %; no change beyond the spread in
/// latency.` None for a variant whose plain transport has no result at the point.
pub fn sentences(point: &Point) -> Vec<String> {
    let against_plain = |way: &Way| {
        let plain = point.way(way.variant.transport)?;
        if way.variant == plain.variant { None } else { sentence(way, plain) }
    };
    point.valid_ways().filter_map(against_plain).collect()
}

fn sentence(way: &Way, plain: &Way) -> Option<String> {
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    for (figure, name) in FIGURES {
        let (Some(now), Some(then)) = (way.summary(figure), plain.summary(figure)) else {
            continue;
        };
        if now.differs_from(then) && then.value > 0.0 {
            changed.push(format!("{name} {}", change(now.value / then.value)));
        } else {
            same.push(name);
        }
    }
    let same =
        (!same.is_empty()).then(|| format!("no change beyond the spread in {}", list(&same)));
    let parts: Vec<String> = changed.into_iter().chain(same).collect();
    let label = sentence_case(&way.variant.label());
    (!parts.is_empty()).then(|| format!("{label}, against plain: {}.", parts.join("; ")))
}

/// `+12 %`, or from twice on `×2.4`.
fn change(factor: f64) -> String {
    match factor {
        factor if factor >= 2.0 => format!("×{factor:.1}"),
        factor => format!("{:+.0} %", (factor - 1.0) * 100.0).replace('-', "−"),
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Ledger;
    use crate::report::{Report, fixture};

    #[test]
    fn a_variant_is_held_against_its_plain_transport() {
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
        Short polling +gzip, against plain: bytes a message −65 %; no change beyond the spread in latency, requests and server CPU a message.
        Short polling +h2, against plain: requests ×3.0; no change beyond the spread in latency, bytes a message and server CPU a message.
        ");
        assert!(report.answer().iter().any(|sentence| sentence.contains("against plain")));
    }
}
