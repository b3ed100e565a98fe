//! Compares a run with an earlier one: which figures changed beyond noise, and which cannot be
//! compared.
//!
//! A figure has changed if the two values differ by the rule that applies to the whole report, see
//! [`Summary::differs_from`]. Only equal workloads are compared.

use std::fmt;

use crate::run::Run;
use crate::scenario::{Scenario, Workload};
use crate::statistics::Summary;
use crate::variant::Variant;

use super::figures::{self, Figure};
use super::{PointResults, Report, VariantResult};

/// The differences between an old and a new run.
pub struct Comparison {
    /// The largest relative change first.
    pub changes: Vec<Change>,
    /// How many figures both runs have.
    pub compared: usize,
    /// What limits the comparison.
    pub notes: Vec<String>,
}

/// A figure that changed beyond noise.
pub struct Change {
    /// The point's title, empty if it is the only one.
    pub title: String,
    pub variant: Variant,
    pub figure: &'static Figure,
    pub old: Summary,
    pub new: Summary,
}

impl Change {
    /// New over old; infinite if the old figure was zero.
    pub fn factor(&self) -> f64 {
        self.new.value / self.old.value
    }
}

/// Checks that `old` has a valid measurement of something that `scenario` measures.
///
/// # Errors
/// If the workloads differ, with the values that do, or if the measurements are void.
pub fn check_comparable(old: &Run, scenario: &Scenario) -> Result<(), String> {
    let old = Report::new(old);
    let points = scenario.points();
    let mut is_void = false;
    for point in &points {
        let same =
            old.points.iter().find(|old| old.name == point.case && *old.workload == point.workload);
        for result in point.transports.iter().filter_map(|variant| same?.result(*variant)) {
            if !result.is_void() {
                return Ok(());
            }
            is_void = true;
        }
    }
    if is_void {
        return Err("everything that could be compared is void in it".to_owned());
    }
    let differences = points.iter().find_map(|point| {
        let old = old.points.iter().find(|old| old.name == point.case)?;
        let differences = differences(old.workload, &point.workload);
        (!differences.is_empty()).then(|| format!(": {}", differences.join(", ")))
    });
    let differences = differences.unwrap_or_default();
    Err(format!(
        "it measured none of this run's workloads and transports, so nothing can be \
         compared{differences}"
    ))
}

/// The values in which two workloads differ: `rate is 5.0 there and 10.0 here`.
fn differences(there: &Workload, here: &Workload) -> Vec<String> {
    let values = |workload: &Workload| serde_json::to_value(workload).unwrap_or_default();
    let (there, here) = (values(there), values(here));
    let Some(here) = here.as_object() else { return Vec::new() };
    let different = here.iter().filter(|(key, value)| there.get(key) != Some(value));
    different
        .map(|(key, value)| {
            let old = there.get(key).map_or("nothing".to_owned(), ToString::to_string);
            format!("{key} is {old} there and {value} here")
        })
        .collect()
}

/// The changes from `old` to `new`.
pub fn compare(old: &Run, new: &Run) -> Comparison {
    let (old, new) = (Report::new(old), Report::new(new));
    let mut comparison =
        Comparison { changes: Vec::new(), compared: 0, notes: circumstances(old.run, new.run) };
    for point in &new.points {
        for result in &point.results {
            comparison.add(&old, &new, point, result);
        }
    }
    let magnitude = |change: &Change| change.factor().ln().abs();
    comparison.changes.sort_by(|a, b| magnitude(b).total_cmp(&magnitude(a)));
    comparison
}

impl Comparison {
    fn add(&mut self, old: &Report, new: &Report, point: &PointResults, result: &VariantResult) {
        let title = point.title(new.run);
        let counterpart = old
            .points
            .iter()
            .find(|candidate| candidate.name == point.name && candidate.workload == point.workload);
        let before = counterpart.and_then(|point| point.result(result.variant));
        let missing = match before {
            None => Some("the baseline has no such measurement"),
            Some(before) if before.is_void() => Some("it is void in the baseline"),
            Some(_) if result.is_void() => Some("it is void in this run"),
            Some(_) => None,
        };
        if let Some(reason) = missing {
            let at = if title.is_empty() { String::new() } else { format!(" ({title})") };
            self.notes.push(format!("{}{at} is not compared: {reason}", result.variant));
        }
        let (Some(before), None) = (before, missing) else { return };
        for figure in figures::ALL.iter().copied() {
            let (Some(old), Some(new)) = (before.summary(figure), result.summary(figure)) else {
                continue;
            };
            self.compared += 1;
            if new.differs_from(old) {
                let (old, new, title) = (*old, *new, title.clone());
                self.changes.push(Change { title, variant: result.variant, figure, old, new });
            }
        }
    }
}

fn circumstances(old: &Run, new: &Run) -> Vec<String> {
    let machine = |run: &Run| {
        let machine = &run.machine;
        format!("{}, {} cores, kernel {}", machine.cpu, machine.cores, machine.kernel)
    };
    let mut notes = Vec::new();
    let mut differ = |what: &str, old: String, new: String| {
        if old != new {
            notes.push(format!("{what} differs: {old} then, {new} now"));
        }
    };
    differ("the machine", machine(old), machine(new));
    differ("the build", old.tool.profile.clone(), new.tool.profile.clone());
    if old.scenario.repeats < 2 || new.scenario.repeats < 2 {
        notes.push(
            "one of the runs has a single repeat, so only changes beyond a factor of 1.5 are listed"
                .to_owned(),
        );
    }
    notes
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = (self.figure.unit, self.factor());
        write!(f, "{}.{}", self.variant, self.figure.name)?;
        if !self.title.is_empty() {
            write!(f, " ({})", self.title)?;
        }
        write!(f, ": {} -> {}", unit.show(self.old.value), unit.show(self.new.value))?;
        if factor.is_finite() {
            write!(f, " ({:+.1} %)", (factor - 1.0) * 100.0)?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes.len() {
            0 => writeln!(f, "Nothing changed beyond noise ({} figures compared).", self.compared)?,
            n => writeln!(f, "{n} of {} figures changed beyond noise:", self.compared)?,
        }
        self.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::variant::Transport;

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let run = fixture::run();
        let comparison = compare(&run, &run);
        assert!(comparison.changes.is_empty() && comparison.notes.is_empty());
        assert!(comparison.compared > 60);
    }

    #[test]
    fn a_change_beyond_noise_is_listed() {
        let old = fixture::run();
        let mut new = old.clone();
        for cell in &mut new.cells {
            if cell.variant == Transport::WebSocket {
                cell.bytes.down.headers += 100 * cell.deliveries.in_steady;
            }
        }
        new.machine.cores = 4;
        insta::assert_snapshot!(compare(&old, &new), @r"
        3 of 78 figures changed beyond noise:
          websocket.bytes.headers_per_message: 0 B -> 100 B
          websocket.bytes.down_per_message: 236 B -> 336 B (+42.4 %)
          websocket.bytes.per_message: 288 B -> 388 B (+34.7 %)
          note: the machine differs: Example CPU, 2 cores, kernel 6.12.0 then, Example CPU, 4 cores, kernel 6.12.0 now
        ");
    }

    #[test]
    fn a_baseline_of_another_workload_is_refused_before_the_run() {
        let old = fixture::run();
        assert_eq!(check_comparable(&old, &old.scenario), Ok(()));
        let mut other = old.scenario.clone();
        other.workload.rate *= 2.0;
        let reason = check_comparable(&old, &other).expect_err("nothing in common");
        assert!(reason.contains("rate is") && reason.contains("there and"), "{reason}");
        let mut void = old.clone();
        void.cells.iter_mut().for_each(|cell| cell.deliveries.lost = 1);
        let reason = check_comparable(&void, &old.scenario).expect_err("void");
        assert!(reason.contains("void"), "{reason}");
    }

    #[test]
    fn void_transports_are_not_compared() {
        let old = fixture::run();
        let mut new = old.clone();
        new.cells.iter_mut().for_each(|cell| cell.deliveries.reordered = 2);
        let comparison = compare(&old, &new);
        assert!(comparison.changes.is_empty());
        assert_eq!(comparison.compared, 0);
        assert!(comparison.notes[0].contains("void in this run"));
    }
}
