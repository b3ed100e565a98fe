//! Points that differ in one value of the workload, and where two transports cross along it.
//!
//! A crossover is claimed only between two points at which the transports differ, in opposite
//! directions. The predicted crossover is given with it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::scenario::{Ramp, Scenario, Sweep, Workload};
use crate::theory::{NetworkPath, ProcessingTime};

use crate::variant::Variant;

use super::figures::{Expected, Figure};
use super::{PointResults, Report};
use crate::units::{Unit, sentence_case};

/// The points of one case along one axis.
pub struct Line<'a> {
    /// The case's name, empty if the scenario has no cases.
    pub name: &'a str,
    pub axis: Axis,
    /// Whether the points are the steps of a ramp.
    pub is_ramp: bool,
    /// At least two, by rising value.
    pub points: Vec<&'a PointResults<'a>>,
    processing_time: ProcessingTime,
    network: NetworkPath,
    server_is_ours: bool,
}

/// Where two transports exchange their order, in the axis' base unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossover {
    /// The transport whose figure is larger above the crossover, and the other.
    pub larger: Variant,
    pub smaller: Variant,
    pub measured: Option<f64>,
    pub predicted: Option<f64>,
}

impl Crossover {
    /// `Long polling is lower below 0.95/s, short polling above (predicted: 0.953/s).`
    pub fn in_words(&self, line: &Line) -> String {
        let show = |value: f64| line.axis.unit().show(value);
        let (below, above) = (sentence_case(&self.larger.label()), self.smaller.label());
        let order = |at: f64| format!("{below} is lower below {}, {above} above", show(at));
        match (self.measured, self.predicted) {
            (Some(measured), Some(predicted)) => {
                format!("{} (predicted: {}).", order(measured), show(predicted))
            }
            (Some(measured), None) => format!("{} (no prediction).", order(measured)),
            (None, Some(predicted)) => {
                format!("{}, as predicted; not established by this run.", order(predicted))
            }
            (None, None) => String::new(),
        }
    }
}

/// Every sweep of the report.
pub fn lines<'a>(report: &'a Report) -> Vec<Line<'a>> {
    let mut lines: Vec<Line> = Vec::new();
    for point in &report.points {
        let Some(axis) = Axis::of(&report.run.scenario, point.name) else { continue };
        match lines.iter_mut().find(|line| line.name == point.name) {
            Some(line) => line.points.push(point),
            None => {
                lines.push(Line {
                    name: point.name,
                    axis,
                    is_ramp: report.run.scenario.variations_of(point.name).1.is_some(),
                    points: vec![point],
                    processing_time: report.run.processing_time.unwrap_or_default(),
                    network: super::network(&report.run.cells.iter().collect::<Vec<_>>()),
                    server_is_ours: report.run.server.is_child,
                });
            }
        }
    }
    for line in &mut lines {
        let axis = line.axis;
        line.points.sort_by(|a, b| axis.get(a.workload).total_cmp(&axis.get(b.workload)));
    }
    lines.retain(|line| line.points.len() >= 2);
    lines
}

impl Line<'_> {
    /// The variants that have results somewhere along the line, in order.
    pub fn variants(&self) -> BTreeSet<Variant> {
        let results = self.points.iter().flat_map(|point| point.valid_results());
        results.map(|result| result.variant).collect()
    }

    /// The smallest and the largest value.
    pub fn domain(&self) -> (f64, f64) {
        let at = |point: Option<&&PointResults>| {
            point.map_or(0.0, |point| self.axis.get(point.workload))
        };
        (at(self.points.first()), at(self.points.last()))
    }

    /// The predicted figure at many values along the line; empty without a prediction.
    pub fn predicted(&self, variant: Variant, figure: &Figure) -> Vec<(f64, f64)> {
        const STEPS: u32 = 120;
        let (low, high) = self.domain();
        let at = |step: u32| {
            let share = f64::from(step) / f64::from(STEPS);
            match low > 0.0 {
                true => low * (high / low).powf(share),
                false => low + (high - low) * share,
            }
        };
        let predict = |value: f64| {
            let workload = self.axis.set(self.points[0].workload, value);
            let (own, network) = (&self.processing_time, &self.network);
            let expected = Expected::of(variant, &workload, own, network, self.server_is_ours)?;
            Some((value, figure.predicted(&expected)?))
        };
        (0..=STEPS).filter_map(|step| predict(at(step))).collect()
    }

    /// Where transports exchange their order in `figure`, measured and predicted.
    pub fn crossovers(&self, figure: &Figure) -> Vec<Crossover> {
        let variants: Vec<Variant> = self.variants().into_iter().collect();
        let mut found = Vec::new();
        for (index, a) in variants.iter().enumerate() {
            for b in &variants[index + 1..] {
                found.extend(self.between(*a, *b, figure));
            }
        }
        found
    }

    fn between(&self, a: Variant, b: Variant, figure: &Figure) -> Vec<Crossover> {
        let real = self.points.iter().filter_map(|point| {
            let (a, b) = (point.result(a)?.summary(figure)?, point.result(b)?.summary(figure)?);
            a.differs_from(b).then(|| (self.axis.get(point.workload), a.value / b.value))
        });
        let theory_a = self.predicted(a, figure);
        let theory_b = self.predicted(b, figure);
        let theory = theory_a.iter().zip(&theory_b).map(|((at, a), (_, b))| (*at, a / b));
        let mut predicted = sign_changes(theory.collect());
        let crossover = |rises: bool, measured, predicted| {
            let (larger, smaller) = if rises { (a, b) } else { (b, a) };
            Crossover { larger, smaller, measured, predicted }
        };
        let mut found: Vec<Crossover> = Vec::new();
        for (at, rises) in sign_changes(real.collect()) {
            let same = predicted.iter().position(|(_, also_rises)| *also_rises == rises);
            let theory = same.map(|index| predicted.remove(index).0);
            found.push(crossover(rises, Some(at), theory));
        }
        let only_predicted = predicted.into_iter();
        found.extend(only_predicted.map(|(at, rises)| crossover(rises, None, Some(at))));
        found
    }
}

/// Where the ratio passes 1: the value there, and whether the ratio rises. Interpolated on
/// logarithmic scales, where the values are above 0.
fn sign_changes(ratios: Vec<(f64, f64)>) -> Vec<(f64, bool)> {
    let usable = |(_, ratio): &(f64, f64)| ratio.is_finite() && *ratio > 0.0;
    let ratios: Vec<(f64, f64)> = ratios.into_iter().filter(usable).collect();
    let change = |pair: &[(f64, f64)]| {
        let ((left, before), (right, after)) = (pair[0], pair[1]);
        let (before, after) = (before.ln(), after.ln());
        let share = before / (before - after);
        let at = match left > 0.0 {
            true => left * (right / left).powf(share),
            false => left + (right - left) * share,
        };
        (before * after < 0.0).then_some((at, after > 0.0))
    };
    ratios.windows(2).filter_map(change).collect()
}

/// Which value of the workload is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Rate,
    Subscribers,
    MessageBytes,
    PollInterval,
    Rtt,
    Loss,
}

impl Axis {
    /// The value that the case sweeps or raises, if any. The name is empty without cases.
    pub fn of(scenario: &Scenario, case: &str) -> Option<Axis> {
        Some(match scenario.variations_of(case) {
            (_, Some(Ramp::Rate(_))) | (Some(Sweep::Rate(_)), _) => Axis::Rate,
            (_, Some(Ramp::Subscribers(_))) | (Some(Sweep::Subscribers(_)), _) => Axis::Subscribers,
            (Some(Sweep::MessageBytes(_)), _) => Axis::MessageBytes,
            (Some(Sweep::PollInterval(_)), _) => Axis::PollInterval,
            (Some(Sweep::Rtt(_)), _) => Axis::Rtt,
            (Some(Sweep::Loss(_)), _) => Axis::Loss,
            (None, None) => return None,
        })
    }

    /// The label of the axis.
    pub fn label(self) -> &'static str {
        match self {
            Axis::Rate => "messages per second that a subscriber receives",
            Axis::Subscribers => "subscribers",
            Axis::MessageBytes => "bytes of a message's text",
            Axis::PollInterval => "poll interval",
            Axis::Rtt => "round trip",
            Axis::Loss => "packets lost in each direction",
        }
    }

    /// The unit of [`Axis::get`].
    pub fn unit(self) -> Unit {
        match self {
            Axis::Rate => Unit::PerSecond,
            Axis::Subscribers => Unit::Count,
            Axis::MessageBytes => Unit::Bytes,
            Axis::PollInterval | Axis::Rtt => Unit::Seconds,
            Axis::Loss => Unit::Share,
        }
    }

    /// The workload's value on this axis, in base units.
    pub fn get(self, workload: &Workload) -> f64 {
        match self {
            Axis::Rate => workload.rate,
            Axis::Subscribers => f64::from(workload.subscribers),
            Axis::MessageBytes => f64::from(workload.message_bytes),
            Axis::PollInterval => workload.poll_interval.as_secs_f64(),
            Axis::Rtt => workload.rtt.as_secs_f64(),
            Axis::Loss => workload.loss / 100.0,
        }
    }

    /// `workload` with another value on this axis; whole numbers are rounded.
    pub fn set(self, workload: &Workload, value: f64) -> Workload {
        let mut workload = workload.clone();
        match self {
            Axis::Rate => workload.rate = value,
            Axis::Subscribers => workload.subscribers = value.round() as u32,
            Axis::MessageBytes => workload.message_bytes = value.round() as u32,
            Axis::PollInterval => workload.poll_interval = Duration::from_secs_f64(value),
            Axis::Rtt => workload.rtt = Duration::from_secs_f64(value),
            Axis::Loss => workload.loss = 100.0 * value,
        }
        workload
    }

    /// The value in words: `rate 0.5/s`, `round trip 40 ms`.
    pub fn show(self, workload: &Workload) -> String {
        let value = self.unit().show(self.get(workload));
        match self {
            Axis::Rate => format!("rate {value}"),
            Axis::Subscribers => format!("{value} subscribers"),
            Axis::MessageBytes => format!("messages of {value}"),
            Axis::PollInterval => format!("poll interval {value}"),
            Axis::Rtt => format!("round trip {value}"),
            Axis::Loss => format!("loss {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{figures, fixture};
    use crate::variant::Transport;

    #[test]
    fn a_crossover_lies_where_the_ratio_is_one() {
        let changes = sign_changes(vec![(0.1, 0.01), (1.0, 0.1), (100.0, 10.0), (200.0, 20.0)]);
        assert_eq!(changes.len(), 1);
        assert!((changes[0].0 - 10.0).abs() < 1e-9 && changes[0].1);
    }

    #[test]
    fn long_polling_overtakes_short_polling_in_requests() {
        let run = fixture::sweep();
        let report = Report::new(&run);
        let lines = lines(&report);
        assert_eq!((lines.len(), lines[0].points.len()), (1, 5));
        let crossovers = lines[0].crossovers(&figures::REQUESTS_PER_SUBSCRIBER);
        let [crossover] = crossovers.as_slice() else { panic!("{crossovers:?}") };
        assert_eq!(crossover.larger, Transport::LongPolling);
        let (measured, predicted) = (crossover.measured.unwrap(), crossover.predicted.unwrap());
        assert!((measured / predicted).ln().abs() < 0.4, "{crossover:?}");
    }

    #[test]
    fn a_point_is_titled_by_its_swept_value() {
        let run = fixture::sweep();
        let report = Report::new(&run);
        assert_eq!(report.points[0].title(&run), "rate 0.1/s");
    }
}
