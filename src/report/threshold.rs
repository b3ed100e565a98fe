//! Thresholds: `--fail-if 'websocket.latency.p99 > 80ms'`, so that a run can guard a build.
//!
//! A threshold applies to every point of the run at which its transport was measured. If it cannot
//! be checked, because the transport is void or the figure unknown, it counts as failed.

use std::fmt;
use std::str::FromStr;

use crate::variant::Variant;

use super::figures::Figure;
use super::{PointResults, Report};

/// A figure of a transport: `websocket.latency.p99`.
#[derive(Debug, Clone, Copy)]
pub struct FigureReference {
    pub variant: Variant,
    pub figure: &'static Figure,
}

impl FromStr for FigureReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (variant, figure) = text
            .split_once('.')
            .ok_or_else(|| format!("'{text}' names no figure; write websocket.latency.p99"))?;
        let variant = variant.parse().map_err(|error| format!("{error}"))?;
        Ok(FigureReference { variant, figure: Figure::named(figure)? })
    }
}

impl fmt::Display for FigureReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.variant, self.figure.name)
    }
}

/// When a run is to fail.
#[derive(Debug, Clone, Copy)]
pub struct Threshold {
    variant: Variant,
    condition: Condition,
}

/// A comparison of a figure with a limit: `latency.p99 < 200ms`.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    pub figure: &'static Figure,
    comparison: Operator,
    /// In the figure's base unit.
    limit: f64,
}

impl Condition {
    /// # Errors
    /// If the limit is invalid, or the condition does not depend on what is measured.
    fn new(
        figure: &'static Figure,
        comparison: Operator,
        limit: &str,
    ) -> Result<Condition, String> {
        let limit = figure.unit.parse(limit)?;
        let condition = Condition { figure, comparison, limit };
        let (least, most) = (0.0, figure.most());
        let when = match [least, most].map(|value| condition.holds(value)) {
            [true, true] => "always",
            [false, false] => "never",
            _ => return Ok(condition),
        };
        let range = match most.is_finite() {
            true => format!("between 0 % and {}", figure.unit.show(most)),
            false => "0 or more".to_owned(),
        };
        Err(format!("'{condition}' is {when} true: {} is {range}", figure.name))
    }

    /// `figure <= limit`, with the limit in the figure's base unit.
    pub fn at_most(figure: &'static Figure, limit: f64) -> Condition {
        Condition { figure, comparison: Operator::AtMost, limit }
    }

    /// True if the condition holds for `value`, in the figure's base unit.
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.limit)
    }

    /// The limit, in the figure's base unit.
    pub fn limit(&self) -> f64 {
        self.limit
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (figure, comparison, limit) = split(text, "latency.p99 < 200ms")?;
        Condition::new(Figure::named(figure)?, comparison, limit)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{} {sign} {}", self.figure.name, self.figure.unit.show(self.limit))
    }
}

/// The two sides of a comparison, and its sign.
///
/// # Errors
/// If there is no sign; the error shows `example`.
fn split<'a>(text: &'a str, example: &str) -> Result<(&'a str, Operator, &'a str), String> {
    let split = |(sign, comparison): (&str, Operator)| {
        text.split_once(sign).map(|(left, right)| (left.trim(), comparison, right))
    };
    let found = SIGNS.into_iter().find_map(split);
    found.ok_or_else(|| format!("'{text}' compares nothing; write {example}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// The longer signs first: `>=` begins with `>`.
const SIGNS: [(&str, Operator); 4] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

/// The result of a threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdCheck {
    /// One line for each point: the measured value, or why it could not be checked.
    pub lines: Vec<String>,
    pub failed: bool,
}

impl Threshold {
    /// Reads `websocket.latency.p99 > 80ms`.
    ///
    /// # Errors
    /// Names the invalid part and the valid form.
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let (left, comparison, right) = split(text, "websocket.latency.p99 > 80ms")?;
        let FigureReference { variant, figure } = left.parse()?;
        Ok(Threshold { variant, condition: Condition::new(figure, comparison, right)? })
    }

    /// The figure that it refers to.
    pub fn reference(&self) -> FigureReference {
        FigureReference { variant: self.variant, figure: self.condition.figure }
    }

    /// Whether the run fails, with a line for each point at which the transport was measured.
    pub fn check(&self, report: &Report) -> ThresholdCheck {
        let variant = self.variant;
        let here = report.points.iter().filter(|point| point.result(variant).is_some());
        let checked: Vec<(String, bool)> = here.map(|point| self.at(report, point)).collect();
        let failed = checked.is_empty() || checked.iter().any(|(_, failed)| *failed);
        let mut lines: Vec<String> = checked.into_iter().map(|(line, _)| line).collect();
        if lines.is_empty() {
            lines.push(format!("{self}: failed, {variant} was not measured"));
        }
        ThresholdCheck { lines, failed }
    }

    fn at(&self, report: &Report, point: &PointResults) -> (String, bool) {
        let Threshold { variant, condition } = self;
        let (variant, figure) = (*variant, condition.figure);
        let result = point.result(variant);
        let title = match point.title(report.run) {
            title if title.is_empty() => String::new(),
            title => format!(" ({title})"),
        };
        let (text, failed) = match result.and_then(|result| result.summary(figure)) {
            Some(summary) if condition.holds(summary.value) => {
                (format!("failed, it is {}", figure.unit.show(summary.value)), true)
            }
            Some(summary) => (format!("passed, it is {}", figure.unit.show(summary.value)), false),
            None if result.is_some_and(|result| result.is_void()) => {
                (format!("failed, {variant} is void"), true)
            }
            None => ("failed, the run does not have that figure".to_owned(), true),
        };
        (format!("{self}{title}: {text}"), failed)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.variant, self.condition)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Threshold::parse(text)
    }
}

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Operator::Above => value > limit,
            Operator::AtLeast => value >= limit,
            Operator::Below => value < limit,
            Operator::AtMost => value <= limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn outcome(threshold: &str) -> ThresholdCheck {
        let run = fixture::run();
        Threshold::parse(threshold).unwrap().check(&Report::new(&run))
    }

    #[test]
    fn a_threshold_fails_when_its_comparison_holds() {
        assert!(!outcome("websocket.latency.p99 > 80ms").failed);
        assert!(outcome("short-polling.latency.mean >= 0.1s").failed);
        assert!(outcome("websocket.requests.per_message <= 0").failed);
        assert!(!outcome("short-polling.requests.empty_share > 90%").failed);
        insta::assert_snapshot!(
            outcome("long-polling.bytes.per_message < 1.5kB").lines.join("\n"),
            @"long-polling.bytes.per_message < 1.5 kB: failed, it is 639 B"
        );
    }

    #[test]
    fn threshold_without_a_figure_fails() {
        assert!(outcome("websocket.latency.p99.9 > 10s").failed, "too few messages for a p99.9");
        let mut run = fixture::run();
        run.cells.iter_mut().for_each(|cell| cell.deliveries.lost = 1);
        let outcome = Threshold::parse("websocket.latency.mean > 10s").unwrap();
        let outcome = outcome.check(&Report::new(&run));
        assert!(outcome.failed);
        insta::assert_snapshot!(
            outcome.lines.join("\n"),
            @"websocket.latency.mean > 10 s: failed, websocket is void"
        );
        run.cells.clear();
        let nothing = Threshold::parse("websocket.latency.mean > 10s").unwrap();
        assert!(nothing.check(&Report::new(&run)).failed);
    }

    #[test]
    fn condition_that_no_measurement_changes_is_an_error() {
        for useful in [
            "latency.p99 > 0ms",
            "latency.p99 <= 0ms",
            "latency.timeout_share >= 100%",
            "latency.timeout_share < 100%",
            "server.cpu_busy > 150%",
        ] {
            assert!(useful.parse::<Condition>().is_ok(), "{useful}");
        }
        for (useless, when) in [
            ("latency.p99 < 0ms", "'latency.p99 < 0 ms' is never true: latency.p99 is 0 or more"),
            ("latency.p99 >= 0ms", "always true"),
            ("latency.timeout_share > 100%", "never true"),
            ("latency.timeout_share > 200%", "never true: latency.timeout_share is between 0 %"),
            ("latency.timeout_share <= 100%", "always true"),
            ("latency.timeout_share < 2", "always true"),
            ("latency.p99 > 99999999999999999999s", "is too large"),
        ] {
            let error = useless.parse::<Condition>().expect_err(useless);
            assert!(error.contains(when), "{useless}: {error}");
            let error = Threshold::parse(&format!("sse.{useless}")).expect_err(useless);
            assert!(error.contains(when), "{useless}: {error}");
        }
    }

    #[test]
    fn errors_list_the_valid_values() {
        let error = |text: &str| Threshold::parse(text).err().unwrap();
        insta::assert_snapshot!(
            error("websocket.latency.p99 = 80ms"),
            @"'websocket.latency.p99 = 80ms' compares nothing; write websocket.latency.p99 > 80ms"
        );
        insta::assert_snapshot!(
            error("websocket.latency.p99 > 80"),
            @"invalid value '80'; expected a duration such as 80ms, 500us or 1.5s"
        );
        assert!(error("websockets.latency.p99 > 1s").contains("expected one of short-polling"));
        let unknown = error("websocket.latency.p98 > 1s");
        assert!(unknown.starts_with("unknown figure 'latency.p98'; known are latency.mean"));
        assert!(unknown.contains("requests.per_message"));
    }
}
