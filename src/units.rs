//! Formats and parses values with their units.
//!
//! Values are stored in base units (seconds, bytes, fractions of one) and shown with three
//! significant digits, the resolution of the histograms.

use std::str::FromStr;
use std::time::Duration;

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Bytes,
    BytesPerSecond,
    /// A fraction, shown in percent.
    Share,
    PerSecond,
    /// A number without a unit.
    Count,
}

/// Largest value that is parsed, in base units: no measured one comes near it.
const VALUE_MAX: f64 = 1e12;

/// A smaller share is shown as 0 %.
const SHARE_SHOWN: f64 = 1e-5;

const TIMES: [(&str, f64); 5] =
    [("ns", 1e-9), ("µs", 1e-6), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
const SIZES: [(&str, f64); 4] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)];
const RATES: [(&str, f64); 4] = [("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3), ("B/s", 1.0)];
const SHARES: [(&str, f64); 1] = [("%", 0.01)];

impl Unit {
    /// Formats `value`: `20.4 ms`, `1.05 s`, `812 B`, `38.2 %`, `0.952/s`.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value.abs() >= 1.0 => format!("{} s", significant(value)),
            Unit::Seconds if value.abs() >= 1e-3 => format!("{} ms", significant(value * 1e3)),
            Unit::Seconds if value == 0.0 => "0 ms".to_owned(),
            Unit::Seconds => format!("{} µs", significant(value * 1e6)),
            Unit::Bytes => scaled(value, &SIZES),
            Unit::BytesPerSecond => scaled(value, &RATES),
            Unit::Share if value.abs() < SHARE_SHOWN => "0 %".to_owned(),
            Unit::Share => format!("{} %", significant(value * 100.0)),
            Unit::PerSecond => format!("{}/s", significant(value)),
            Unit::Count => significant(value),
        }
    }

    /// The name of the base unit, for machine-readable tables.
    pub fn base(self) -> &'static str {
        match self {
            Unit::Seconds => "s",
            Unit::Bytes => "B",
            Unit::BytesPerSecond => "B/s",
            Unit::Share | Unit::Count => "1",
            Unit::PerSecond => "1/s",
        }
    }

    /// Parses `80ms`, `1.5 kB`, `5%` or a plain number (in the base unit), and returns the value in
    /// the base unit.
    ///
    /// # Errors
    /// If the text is invalid; the error names the accepted suffixes.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let suffixes = self.suffixes();
        let text = text.trim();
        let number_end =
            text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, suffix) = (&text[..number_end], text[number_end..].trim());
        let factor = match suffix {
            "" if self != Unit::Seconds => Some(1.0),
            _ => suffixes.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor),
        };
        match (number.parse::<f64>(), factor) {
            (Ok(number), Some(factor)) if number * factor > VALUE_MAX => {
                Err(format!("'{text}' is too large"))
            }
            (Ok(number), Some(factor)) => Ok(number * factor),
            _ => Err(format!("invalid value '{text}'; expected {}", self.examples())),
        }
    }

    fn suffixes(self) -> &'static [(&'static str, f64)] {
        match self {
            Unit::Seconds => &TIMES,
            Unit::Bytes => &SIZES,
            Unit::BytesPerSecond => &RATES,
            Unit::Share => &SHARES,
            Unit::PerSecond => &[("/s", 1.0)],
            Unit::Count => &[],
        }
    }

    fn examples(self) -> &'static str {
        match self {
            Unit::Seconds => "a duration such as 80ms, 500us or 1.5s",
            Unit::Bytes => "a size such as 800, 800B or 1.5kB",
            Unit::BytesPerSecond => "a rate such as 800B/s or 1.5MB/s",
            Unit::Share => "a share such as 5% or 0.05",
            Unit::PerSecond => "a rate such as 2 or 2/s",
            Unit::Count => "a plain number such as 2 or 0.5",
        }
    }
}

fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let fits = units.iter().find(|(_, factor)| value.abs() >= *factor);
    let (name, factor) = fits.or(units.last()).copied().unwrap_or(("", 1.0));
    format!("{} {name}", significant(value / factor))
}

/// An amount of money without its currency: with cents below a thousand.
pub fn money(amount: f64) -> String {
    if amount.abs() < 999.995 { format!("{amount:.2}") } else { thousands(amount.round() as i64) }
}

/// The number as it was given: with an exponent instead of many zeros.
pub fn as_given(value: f64) -> String {
    let is_plain = value == 0.0 || !value.is_finite() || (1e-9..1e21).contains(&value.abs());
    if is_plain { value.to_string() } else { format!("{value:e}") }
}

/// Values that are shown without an exponent.
const PLAIN: std::ops::Range<f64> = 1e-9..1e15;

/// At most three significant digits; above a thousand whole numbers, with separators.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !PLAIN.contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    if value.abs() >= 999.5 {
        return thousands(value.round() as i64);
    }
    // Round first: 9.996 is 10.0 with three digits, not 10.00.
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let magnitude = rounded.abs().log10().floor() as i32;
    let text = format!("{rounded:.*}", (2 - magnitude).max(0) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    format!("{}{}", if value < 0 { "-" } else { "" }, groups.join(","))
}

/// The text with its first letter in upper case.
pub fn sentence_case(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Formats a duration: `40ms`, `1s 500ms`.
pub fn show_duration(duration: Duration) -> String {
    use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};
    const PRINTER: SpanPrinter =
        SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::BetweenUnits);
    PRINTER.unsigned_duration_to_string(&duration)
}

/// Parses a duration: `40ms`, `1.5s`, `2m`.
///
/// # Errors
/// If the text is not a duration, or is negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| format!("'{text}' is not a duration such as 40ms, 1.5s or 2m"))?;
    Duration::try_from(duration).map_err(|_| format!("'{text}' is negative; expected 0s or more"))
}

/// Reads a whole number between `low` and `high`, as of a flag.
///
/// # Errors
/// States the bounds.
pub fn count<T: TryFrom<u64>>(text: &str, low: u64, high: u64) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (low..=high).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    let [low, high] = [low, high].map(|bound| thousands(bound as i64));
    number.ok_or_else(|| format!("must be a whole number between {low} and {high}"))
}

/// Reads a whole number, as of a flag whose bounds are checked later.
///
/// # Errors
/// States the error.
pub fn whole_number<T: FromStr>(text: &str) -> Result<T, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = if is_number { "is too large" } else { "must be a whole number" };
    text.parse().map_err(|_| wrong.to_owned())
}

/// Reads a number, as of a flag whose bounds are checked later.
///
/// # Errors
/// If the text is not a number.
pub fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if number.is_infinite() { Err("is too large".to_owned()) } else { Ok(number) }
}

/// Reads a rate, such as `0.5` (per second), `2/h` or `1/20s`, whose bounds are checked later.
///
/// # Errors
/// If the text is not a rate.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let (amount, span) = text.split_once('/').unwrap_or((text, "s"));
    let rate = amount.trim().parse::<f64>().ok().zip(span_s(span.trim()));
    match rate.map(|(amount, span_s)| amount / span_s) {
        Some(rate) if rate.is_infinite() => Err("is too large".to_owned()),
        rate => rate.ok_or_else(|| format!("must be a rate such as {RATE_EXAMPLES}")),
    }
}

/// Rates in the forms that [`parse_rate`] reads.
pub const RATE_EXAMPLES: &str = "0.5 (per second), 5/min, 2/h, 10/d or 1/20s";

/// Seconds of a time such as `h` or `20s`.
fn span_s(text: &str) -> Option<f64> {
    const SECONDS: [(&str, f64); 5] =
        [("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let unit = text.trim_start_matches(is_of_number);
    let count = match &text[..text.len() - unit.len()] {
        "" => 1.0,
        count => count.parse().ok().filter(|count| *count > 0.0)?,
    };
    let (_, seconds) = SECONDS.iter().find(|(name, _)| *name == unit.trim())?;
    Some(count * seconds)
}

/// Reads a duration between `low` and `high`, as of a flag.
///
/// # Errors
/// States the error or the bounds.
pub fn duration(text: &str, low: Duration, high: Duration) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    let bounds = || format!("must be between {} and {}", show_duration(low), show_duration(high));
    (low..=high).contains(&duration).then_some(duration).ok_or_else(bounds)
}

/// Rates as they may be written, and per second: for the tests of every parser.
#[doc(hidden)]
pub const RATES_READ: [(&str, f64); 9] = [
    ("0.5", 0.5),
    ("3/s", 3.0),
    ("30/min", 0.5),
    ("2 / h", 2.0 / 3_600.0),
    ("86400/d", 1.0),
    ("1/20s", 0.05),
    ("3/1.5min", 3.0 / 90.0),
    ("1/250ms", 4.0),
    ("-1", -1.0),
];
/// Texts that are no rates.
#[doc(hidden)]
pub const RATES_REFUSED: [&str; 13] = [
    "1e400", "inf", "", "/h", "2/", "2/week", "two", "2//s", "1/0s", "1/20", "1/2.5.1s", "1/-2s",
    "1/s20",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_three_significant_digits() {
        assert_eq!([1e-300, -2e-10, 1e20].map(significant), ["1.00e-300", "-2.00e-10", "1.00e20"]);
        let given = [1e-300, 1e308, 0.000001, 10_000.0, 0.1, f64::NAN].map(as_given);
        assert_eq!(given, ["1e-300", "1e308", "0.000001", "10000", "0.1", "NaN"]);
        let shown = [0.0, 0.000123456, 0.9999, 1.0, 9.996, 20.449, 999.4, 999.9, 1_234_567.0];
        let texts: Vec<String> = shown.into_iter().map(significant).collect();
        assert_eq!(texts, ["0", "0.000123", "1", "1", "10", "20.4", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn values_are_formatted_with_a_unit() {
        assert_eq!(Unit::Seconds.show(0.02044), "20.4 ms");
        assert_eq!(Unit::Seconds.show(1.0512), "1.05 s");
        assert_eq!(Unit::Seconds.show(0.000_04), "40 µs");
        assert_eq!(Unit::Bytes.show(812.0), "812 B");
        assert_eq!(Unit::Bytes.show(5_700.0), "5.7 kB");
        assert_eq!(Unit::Share.show(0.3821), "38.2 %");
        assert_eq!(Unit::PerSecond.show(0.95238), "0.952/s");
    }

    #[test]
    fn rates_are_given_per_second_or_any_other_time() {
        for (text, rate) in RATES_READ {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for bad in RATES_REFUSED {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_parsed_with_their_units() {
        assert_eq!(Unit::Seconds.parse("80ms"), Ok(0.08));
        assert_eq!(Unit::Seconds.parse("500 us"), Ok(500.0 * 1e-6));
        assert_eq!(Unit::Bytes.parse("1.5kB"), Ok(1_500.0));
        assert_eq!(Unit::Share.parse("5%"), Ok(0.05));
        assert_eq!(Unit::Count.parse("2"), Ok(2.0));
        let error = Unit::Seconds.parse("99999999999999999999s").unwrap_err();
        assert_eq!(error, "'99999999999999999999s' is too large");
        let error = Unit::Seconds.parse("80").unwrap_err();
        assert_eq!(error, "invalid value '80'; expected a duration such as 80ms, 500us or 1.5s");
    }
}
