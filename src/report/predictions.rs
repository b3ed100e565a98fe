//! Which predictions held: three figures at every workload, judged by fixed tolerances.
//!
//! A prediction is not judged if the latency is mostly the processing time of the machine, if the
//! machine was disturbed, or if the sample is too small. Those are counted, with the reason.

use crate::run::Cell;

use super::figures::{self, Expected, Figure};
use super::{PointResults, Report, VariantResult, expected, findings};
use crate::statistics::median;
use crate::units::thousands;
use crate::validity;

/// How far a measurement may lie from its prediction.
#[derive(Debug, Clone, Copy)]
enum Tolerance {
    /// A share of the prediction.
    Relative(f64),
    /// In the figure's own unit.
    Absolute(f64),
}

/// The figures that are judged.
static JUDGED: [(&Figure, Tolerance); 3] = [
    (&figures::LATENCY_MEAN, Tolerance::Relative(0.05)),
    (&figures::REQUESTS_PER_SUBSCRIBER, Tolerance::Relative(0.03)),
    (&figures::EMPTY_SHARE, Tolerance::Absolute(0.02)),
];

/// Standard errors that must fit into a tolerance; by chance, one figure in twenty differs by more.
const STANDARD_ERRORS: f64 = 2.0;

/// The result of one prediction.
#[derive(Debug, Clone, PartialEq)]
enum PredictionCheck {
    Held,
    /// The figure with both values.
    Missed(String),
    NotJudged(Reason),
}

/// Why a prediction is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    ProcessingTime,
    Disturbed,
    TooFew,
}

impl Reason {
    const ALL: [Reason; 3] = [Reason::ProcessingTime, Reason::Disturbed, Reason::TooFew];

    fn text(self) -> &'static str {
        match self {
            Reason::ProcessingTime => {
                "latencies that consist mostly of the machine's processing time"
            }
            Reason::Disturbed => "figures of cells that were disturbed, see Validity",
            Reason::TooFew => "figures whose sample is too small for the tolerance",
        }
    }
}

/// The results as sentences; empty if nothing was predicted.
pub fn sentences(report: &Report) -> Vec<String> {
    let outcomes: Vec<PredictionCheck> = report
        .points
        .iter()
        .flat_map(|point| {
            point.valid_results().flat_map(move |result| of_variant(report, point, result))
        })
        .collect();
    if outcomes.is_empty() {
        return Vec::new();
    }
    let count =
        |wanted: fn(&PredictionCheck) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
    let judged = count(|outcome| !matches!(outcome, PredictionCheck::NotJudged(_)));
    let held = count(|outcome| matches!(outcome, PredictionCheck::Held));
    let whole = |count: usize| thousands(count as i64);
    let verdict = format!(
        "{} of {} predictions held: mean latencies within 5 %, requests per second within 3 %, \
         shares of empty responses within 2 points.",
        whole(held),
        whole(judged)
    );
    let missed = outcomes.iter().filter_map(|outcome| match outcome {
        PredictionCheck::Missed(words) => Some(format!("Did not hold: {words}.")),
        _ => None,
    });
    let left_out = Reason::ALL.into_iter().filter_map(|reason| {
        let of_reason =
            |outcome: &&PredictionCheck| **outcome == PredictionCheck::NotJudged(reason);
        let count = outcomes.iter().filter(of_reason).count();
        (count > 0).then(|| format!("Not judged ({}): {}.", whole(count), reason.text()))
    });
    std::iter::once(verdict).chain(missed).chain(left_out).collect()
}

fn of_variant<'a>(
    report: &'a Report,
    point: &'a PointResults,
    result: &'a VariantResult,
) -> impl Iterator<Item = PredictionCheck> + 'a {
    let is_fit = |cell: &&&Cell| !validity::is_disturbed(report.run, cell);
    let fit: Vec<&Cell> = result.cells.iter().filter(is_fit).copied().collect();
    let cells = if fit.is_empty() { &result.cells } else { &fit };
    let is_disturbed = fit.is_empty();
    let expected = expected(report.run, result.variant, result.workload, cells);
    let cells = cells.clone();
    JUDGED.iter().filter_map(move |(figure, tolerance)| {
        let expected = expected.as_ref()?;
        let predicted = figure.predicted(expected)?;
        let values: Vec<f64> = cells.iter().filter_map(|cell| figure.of_cell(cell)).collect();
        let measured = figure.pooled(&cells).or_else(|| median(&values))?;
        let is_latency = figure.name == figures::LATENCY_MEAN.name;
        // Push sends no requests, so there is nothing to predict.
        if matches!(tolerance, Tolerance::Relative(_)) && predicted == 0.0 && measured == 0.0 {
            return None;
        }
        Some(if is_latency && expected.latency_is_processing_time() {
            PredictionCheck::NotJudged(Reason::ProcessingTime)
        } else if is_disturbed {
            PredictionCheck::NotJudged(Reason::Disturbed)
        } else if STANDARD_ERRORS * standard_error(figure, expected, &cells)
            > tolerance.of(predicted)
        {
            PredictionCheck::NotJudged(Reason::TooFew)
        } else if (measured - predicted).abs() <= tolerance.of(predicted) {
            PredictionCheck::Held
        } else {
            let place = findings::place(result.variant, &[&point.title(report.run)]);
            let show = |value| figure.unit.show(value);
            let (measured, predicted) = (show(measured), show(predicted));
            PredictionCheck::Missed(format!(
                "{place}: {} {measured}, predicted {predicted}",
                figure.name
            ))
        })
    })
}

impl Tolerance {
    /// In the figure's unit.
    fn of(self, predicted: f64) -> f64 {
        match self {
            Tolerance::Relative(share) => share * predicted.abs(),
            Tolerance::Absolute(difference) => difference,
        }
    }
}

/// The standard error of the figure, in its unit. Messages are taken as independent, deliveries of
/// the same message are not. Given the messages, requests have about half of the variance of
/// independent ones, since each follows from the one before.
fn standard_error(figure: &Figure, expected: &Expected, cells: &[&Cell]) -> f64 {
    let sum = |count: fn(&Cell) -> u64| cells.iter().map(|cell| count(cell)).sum::<u64>() as f64;
    if figure.name == figures::LATENCY_MEAN.name {
        let mut merged = crate::measure::Histogram::new();
        cells.iter().for_each(|cell| merged.merge(&cell.latency_us));
        merged.0.stdev() / 1e6 / sum(|cell| cell.published).max(1.0).sqrt()
    } else if figure.name == figures::EMPTY_SHARE.name {
        let share = expected.prediction.empty_share.unwrap_or(0.0);
        (share * (1.0 - share) / sum(|cell| cell.requests.answers).max(1.0)).sqrt()
    } else {
        let requests_s = expected.prediction.requests_per_subscriber_s;
        0.5 * requests_s / sum(|cell| cell.requests.sent).max(1.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::run::Run;
    use crate::theory::ProcessingTime;

    /// A large sample. Processing takes 0.4 ms per push in the fixture.
    fn run(rtt: &str) -> Run {
        let mut scenario = fixture::scenario("name = 'x'\ntitle = 'x'\ndescription = 'x'");
        scenario.workload.rtt = crate::units::parse_duration(rtt).expect("a duration");
        scenario.workload.duration = std::time::Duration::from_secs(40);
        let mut run = fixture::run_of(&scenario);
        run.processing_time = Some(ProcessingTime { push_s: 0.000_4, round_trip_s: 0.000_4 });
        run
    }

    fn results(run: &Run) -> Vec<String> {
        sentences(&Report::new(run))
    }

    #[test]
    fn figures_as_predicted_hold() {
        let lines = results(&run("40ms"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("7 of 7 predictions held"), "{lines:?}");
    }

    #[test]
    fn other_figures_are_named_with_both_values() {
        let mut run = run("40ms");
        for cell in run.cells.iter_mut().filter(|cell| cell.requests.sent > 0) {
            cell.requests.sent = cell.requests.sent * 105 / 100;
        }
        let lines = results(&run);
        assert!(lines[0].starts_with("5 of 7 predictions held"), "{lines:?}");
        let missed = "Did not hold: short polling: requests.per_subscriber_per_second 1.01/s, \
                      predicted 0.961/s.";
        assert!(lines.contains(&missed.to_owned()), "{lines:?}");
    }

    #[test]
    fn a_latency_of_mostly_processing_time_is_not_judged() {
        let lines = results(&run("0s"));
        assert!(lines[1].starts_with("Not judged (2): latencies"), "{lines:?}");
    }

    #[test]
    fn a_disturbed_repeat_is_left_out_and_a_disturbed_transport_is_not_judged() {
        let mut run = run("40ms");
        let stall = |cell: &mut Cell| {
            (0..5).for_each(|_| cell.generator.publisher_late_us.record(20_000));
            (0..5_000).for_each(|_| cell.latency_us.record(60_000));
        };
        let is_push = |cell: &&mut Cell| cell.variant == crate::variant::Transport::WebSocket;
        run.cells.iter_mut().filter(is_push).take(1).for_each(stall);
        assert!(results(&run)[0].starts_with("7 of 7 predictions held"), "{:?}", results(&run));
        run.cells.iter_mut().filter(is_push).for_each(stall);
        let lines = results(&run);
        assert!(lines[0].starts_with("6 of 6 predictions held"), "{lines:?}");
        assert!(lines[1].starts_with("Not judged (1): figures of cells that"), "{lines:?}");
    }

    #[test]
    fn too_few_samples_are_not_judged() {
        let mut run = run("40ms");
        for cell in &mut run.cells {
            cell.requests.answers /= 100;
            cell.requests.empty_answers /= 100;
        }
        let lines = results(&run);
        assert!(lines[1].starts_with("Not judged (1): figures whose sample"), "{lines:?}");
    }
}
