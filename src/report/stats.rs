//! What repeats say together: a median, its spread, and when two figures differ for real.
//!
//! Knows nothing of transports. Deterministic: a small number of repeats is resampled in every
//! possible way, a larger one by a generator with a fixed seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// One figure over all repeats of a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The figure to quote: the median over the repeats or, of a percentile, that of all repeats'
    /// values together.
    pub value: f64,
    /// Smallest and largest of the repeats.
    pub min: f64,
    pub max: f64,
    /// Bootstrap interval (95 %) of the median over the repeats.
    pub low: f64,
    pub high: f64,
    /// Half-width of the error of the instrument and the sample, which the interval includes.
    pub error: f64,
    /// How many repeats had the figure on their own. With fewer than two no spread is known.
    pub repeats: usize,
}

/// Below this relative difference nothing is called different, however small the spread.
pub const RESOLUTION: f64 = 0.02;

/// With a single repeat no spread is known; only a difference beyond this factor is believed.
const FACTOR_WITHOUT_SPREAD: f64 = 1.5;

impl Summary {
    /// Of the repeats' `values`, with `pooled` in the place of their median if there is one.
    /// Absent if there are no values.
    pub fn new(values: &[f64], pooled: Option<f64>) -> Option<Summary> {
        let value = pooled.or_else(|| median(values))?;
        let (low, high) = bootstrap(values).unwrap_or((value, value));
        Some(Summary {
            value,
            min: values.iter().copied().fold(value, f64::min),
            max: values.iter().copied().fold(value, f64::max),
            low: low.min(value),
            high: high.max(value),
            error: 0.0,
            repeats: values.len(),
        })
    }

    /// The same with an `error` of the instrument: the interval is at least that wide.
    pub fn with_error(self, error: f64) -> Summary {
        let low = self.low.min(self.value - error);
        Summary { low, high: self.high.max(self.value + error), error, ..self }
    }

    /// Smallest to largest repeat, as a share of the value. Absent with fewer than two repeats.
    pub fn relative_spread(&self) -> Option<f64> {
        (self.repeats >= 2 && self.value != 0.0).then(|| (self.max - self.min) / self.value.abs())
    }

    /// True if the two are further apart than both their intervals are wide, together, and by more
    /// than [`RESOLUTION`]. Stricter than intervals that do not overlap: of three repeats each,
    /// those of equal figures fail to overlap once in ten times.
    pub fn differs_from(&self, other: &Summary) -> bool {
        let gap = (self.value - other.value).abs();
        let larger = self.value.abs().max(other.value.abs());
        let smaller = self.value.abs().min(other.value.abs());
        let widths = (self.high - self.low) + (other.high - other.low);
        if self.repeats < 2 || other.repeats < 2 {
            return gap > widths && larger > smaller * FACTOR_WITHOUT_SPREAD;
        }
        gap > widths && gap > RESOLUTION * larger
    }
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The 2.5 % and 97.5 % quantiles of the median over resampled `values`; absent for fewer than two.
fn bootstrap(values: &[f64]) -> Option<(f64, f64)> {
    const EXHAUSTIVE_UP_TO: usize = 5;
    const RESAMPLES: usize = 2_000;
    if values.len() < 2 {
        return None;
    }
    let mut medians: Vec<f64> = if values.len() <= EXHAUSTIVE_UP_TO {
        every_resample(values).filter_map(|resample| median(&resample)).collect()
    } else {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut pick = || values[random.random_range(0..values.len())];
        let mut resample = || (0..values.len()).map(|_| pick()).collect::<Vec<f64>>();
        (0..RESAMPLES).filter_map(|_| median(&resample())).collect()
    };
    medians.sort_by(f64::total_cmp);
    let at = |quantile: f64| medians[((medians.len() - 1) as f64 * quantile).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// All n^n ways of drawing n values with replacement.
fn every_resample(values: &[f64]) -> impl Iterator<Item = Vec<f64>> + '_ {
    let n = values.len();
    (0..n.pow(n as u32)).map(move |mut code| {
        let digit = |_| {
            let value = values[code % n];
            code /= n;
            value
        };
        (0..n).map(digit).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[f64]) -> Summary {
        Summary::new(values, None).unwrap()
    }

    #[test]
    fn three_repeats_span_their_interval() {
        let three = summary(&[3.0, 1.0, 2.0]);
        assert_eq!((three.value, three.min, three.max), (2.0, 1.0, 3.0));
        assert_eq!((three.low, three.high, three.repeats), (1.0, 3.0, 3));
    }

    #[test]
    fn more_repeats_narrow_the_interval() {
        let many: Vec<f64> = (0..41).map(f64::from).collect();
        let many = summary(&many);
        assert!(many.low > 8.0 && many.high < 32.0, "{many:?}");
    }

    #[test]
    fn no_repeats_no_figure() {
        assert_eq!(Summary::new(&[], None), None);
    }

    #[test]
    fn a_difference_within_the_spread_is_none() {
        assert!(!summary(&[10.0, 11.0, 12.0]).differs_from(&summary(&[11.0, 12.0, 14.0])));
        assert!(summary(&[10.0, 10.1, 10.2]).differs_from(&summary(&[11.0, 11.1, 11.2])));
        assert!(!summary(&[10.0, 10.0, 10.0]).differs_from(&summary(&[10.1, 10.1, 10.1])));
    }

    #[test]
    fn one_repeat_proves_only_large_differences() {
        assert!(!summary(&[10.0]).differs_from(&summary(&[14.0])));
        assert!(summary(&[10.0]).differs_from(&summary(&[16.0])));
    }

    #[test]
    fn errors_of_the_instrument_prevent_a_claim() {
        let (small, large) = (summary(&[10.0, 10.1, 10.2]), summary(&[20.0, 20.1, 20.2]));
        assert!(small.differs_from(&large));
        assert!(!small.with_error(3.0).differs_from(&large.with_error(3.0)));
        let (small, large) = (summary(&[10.0]), summary(&[100.0]));
        assert!(small.differs_from(&large));
        assert!(!small.differs_from(&large.with_error(60.0)));
    }

    /// The rule's own error rate: repeats of one and the same figure, called different.
    #[test]
    fn equal_figures_are_seldom_called_different() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let mut three = || summary(&[(); 3].map(|()| 100.0 + 10.0 * normal()));
        let wrong = (0..4_000).filter(|_| three().differs_from(&three())).count();
        assert!(wrong < 4_000 * 3 / 100, "{wrong} of 4000");
    }
}
