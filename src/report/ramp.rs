//! The knee of a ramp: the load beyond which more load costs more latency than it gains.
//!
//! The knee is the step with the largest *power*, the ratio of delivered messages per second to
//! the mean latency (L. Kleinrock, "Power and deterministic rules of thumb for probabilistic
//! problems in computer communications", ICC 1979). While latency hardly grows with the load, power
//! does; once messages wait for each other, latency grows faster than the load, and power falls.

use crate::units::{Unit, sentence_case};
use crate::variant::Variant;

use super::axis::Line;
use super::figures;
use super::{PointResults, VariantResult};

/// Fewest steps with results in which a knee can be found: one below it and one above.
const STEPS_MIN: usize = 3;

/// For readers of the report.
pub const DEFINITION: &str = "Knee (circled): the step with the largest ratio of delivered messages \
                              per second to the mean latency (power, Kleinrock 1979). Beyond it, \
                              latency grows faster than the load.";

/// Where the power of a transport is largest along a ramp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// The load there, in the axis' base unit.
    pub load: f64,
    /// Whether that is the last step with a result, so that the knee may lie beyond it.
    pub is_last: bool,
}

/// The knee of `variant` along `line`; `None` with fewer than three steps that count.
pub fn knee(line: &Line, variant: Variant) -> Option<Knee> {
    let steps = steps(line, variant);
    let index = index_of_knee(&steps)?;
    let load = line.axis.get(steps[index].point.workload);
    Some(Knee { load, is_last: index + 1 == steps.len() })
}

/// The step at the knee, from 0; `None` with fewer than three steps.
fn index_of_knee(steps: &[Step]) -> Option<usize> {
    let largest = steps.iter().enumerate().max_by(|(_, a), (_, b)| a.power().total_cmp(&b.power()));
    largest.filter(|_| steps.len() >= STEPS_MIN).map(|(index, _)| index)
}

/// A sentence for each transport.
pub fn sentences(line: &Line) -> Vec<String> {
    let sentence = |variant: Variant| {
        let steps = steps(line, variant);
        let show = |step: &Step| line.axis.show(step.point.workload);
        let last = steps.last().map(show)?;
        let text = match index_of_knee(&steps).map(|index| &steps[index..]) {
            None => format!("fewer than {STEPS_MIN} steps have results, so there is no knee"),
            Some([knee, next, ..]) => format!(
                "knee at {}: {}. At {}: {}",
                show(knee),
                knee.in_words(),
                show(next),
                next.in_words()
            ),
            Some(_) => format!("no knee up to {last}, the last step with a result"),
        };
        Some(format!("{}: {text}.", sentence_case(&variant.label())))
    };
    line.variants().into_iter().filter_map(sentence).collect()
}

/// A step with results.
struct Step<'a> {
    point: &'a PointResults<'a>,
    result: &'a VariantResult<'a>,
    latency_s: f64,
}

impl Step<'_> {
    /// Delivered messages per second, by the mean latency.
    fn power(&self) -> f64 {
        let deliveries: u64 = self.result.cells.iter().map(|cell| cell.deliveries.in_steady).sum();
        let seconds: f64 = self.result.cells.iter().map(|cell| cell.steady_s).sum();
        deliveries as f64 / seconds / self.latency_s
    }

    fn in_words(&self) -> String {
        let latency = Unit::Seconds.show(self.latency_s);
        let cpu = self.result.summary(&figures::CPU_BUSY).map(|cpu| Unit::Share.show(cpu.value));
        let cpu = cpu.map(|share| format!(" and {share} of a core of the server"));
        format!("mean latency {latency}{}", cpu.unwrap_or_default())
    }
}

fn steps<'a>(line: &'a Line<'a>, variant: Variant) -> Vec<Step<'a>> {
    let step = |point: &&'a PointResults<'a>| {
        let result = point.result(variant)?;
        let latency_s = result.summary(&figures::LATENCY_MEAN)?.value;
        (latency_s > 0.0).then_some(Step { point, result, latency_s })
    };
    line.points.iter().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Histogram;
    use crate::report::{Report, axis, fixture};
    use crate::run::Run;
    use crate::variant::Transport;

    /// A ramp of the rate, with these latencies of WebSocket in milliseconds.
    fn ramp(latencies_ms: &[u64]) -> Run {
        let rates: Vec<String> =
            (0..latencies_ms.len()).map(|step| (1 << step).to_string()).collect();
        let scenario = fixture::scenario(&format!(
            "name = 'x'\ntitle = 'x'\ndescription = 'x'\nrepeats = 1\n\
             transports = ['websocket']\nramp = {{ rate = [{}] }}",
            rates.join(", ")
        ));
        let mut run = fixture::run_of(&scenario);
        for (cell, latency_ms) in run.cells.iter_mut().zip(latencies_ms) {
            let mut histogram = Histogram::new();
            (0..cell.deliveries.steady).for_each(|_| histogram.record(latency_ms * 1_000));
            cell.latency_us = histogram;
        }
        run
    }

    fn found(run: &Run) -> (Option<Knee>, String) {
        let report = Report::new(run);
        let lines = axis::lines(&report);
        (knee(&lines[0], Transport::WebSocket.into()), sentences(&lines[0]).join(" "))
    }

    #[test]
    fn knee_is_where_latency_begins_to_grow_faster_than_the_load() {
        let (knee, text) = found(&ramp(&[20, 20, 22, 30, 90, 400]));
        assert_eq!(knee, Some(Knee { load: 8.0, is_last: false }), "{text}");
        assert!(text.contains("knee at rate 8/s: mean latency 30 ms"), "{text}");
        assert!(text.contains("At rate 16/s: mean latency 90 ms"), "{text}");
    }

    #[test]
    fn flat_latency_has_no_knee() {
        let (knee, text) = found(&ramp(&[20, 20, 20, 21]));
        assert_eq!(knee, Some(Knee { load: 8.0, is_last: true }));
        assert!(text.contains("no knee up to rate 8/s"), "{text}");
    }

    #[test]
    fn void_steps_are_left_out() {
        let mut run = ramp(&[20, 20, 30, 90]);
        run.cells[3].deliveries.lost = 1;
        assert_eq!(found(&run).0, Some(Knee { load: 4.0, is_last: true }));
        run.cells[2].deliveries.lost = 1;
        assert_eq!(found(&run).0, None);
    }

    #[test]
    fn report_draws_latency_and_cpu_over_the_load_with_the_knee() {
        let run = ramp(&[20, 20, 22, 30, 90, 400]);
        let html = Report::new(&run).html();
        assert!(html.contains("Ramp, by messages per second"), "the section's title");
        for title in ["Mean delivery latency", "Delivery latency, 99th percentile", "Server CPU"] {
            assert!(html.contains(title), "{title}");
        }
        assert!(html.contains("class=\"here knee\""));
        assert!(html.contains("Kleinrock"));
    }
}
