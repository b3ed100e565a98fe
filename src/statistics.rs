//! Statistics over repeats: the median with its interval, and which values differ.
//!
//! Every claim that one value is smaller than another is made by [`Summary::differs_from`] and
//! [`ranking`]. Deterministic: a small number of repeats is resampled in every possible way, a
//! larger one with a generator of a fixed seed.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// One figure over all repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The figure to quote: the median of the repeats, or a percentile of the pooled values.
    pub value: f64,
    /// Smallest and largest of the repeats.
    pub min: f64,
    pub max: f64,
    /// Bootstrap interval (95 %) of the median over the repeats.
    pub low: f64,
    pub high: f64,
    /// Half-width of the error of the instrument and the sample; the interval includes it.
    pub error: f64,
    /// How many repeats have the figure. With fewer than two the spread is unknown.
    pub repeats: usize,
}

/// Relative difference up to which two values are never called different.
const RESOLUTION: f64 = 0.02;

/// Factor by which single repeats, whose spread is unknown, must differ to be called different.
const FACTOR_WITHOUT_SPREAD: f64 = 1.5;

impl Summary {
    /// Summarises the repeats' `values`. `pooled` replaces their median if present. Returns `None`
    /// without values.
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

    /// Adds an error of the instrument: the interval becomes at least that wide.
    pub fn with_error(self, error: f64) -> Summary {
        let low = self.low.min(self.value - error);
        Summary { low, high: self.high.max(self.value + error), error, ..self }
    }

    /// Smallest to largest repeat, as a share of the value. Absent with fewer than two repeats.
    pub fn relative_spread(&self) -> Option<f64> {
        (self.repeats >= 2 && self.value != 0.0).then(|| (self.max - self.min) / self.value.abs())
    }

    /// True if the values are further apart than the sum of the widths of both intervals, and by
    /// more than `RESOLUTION`. This is stricter than requiring that the intervals do not overlap:
    /// with three repeats each, the intervals of equal figures fail to overlap once in ten times.
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

/// The order of some values, as far as it is established.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking<T> {
    /// Smallest first. Each member of a group differs from each member of the groups after it; the
    /// first and the last member of a group do not differ.
    pub groups: Vec<Vec<(T, Summary)>>,
    /// Values too uncertain to belong to one group: with them, groups that differ would merge.
    pub unplaced: Vec<(T, Summary)>,
}

/// Orders `values` by [`Summary::differs_from`].
pub fn ranking<T: Copy>(values: impl IntoIterator<Item = (T, Summary)>) -> Ranking<T> {
    let mut sorted: Vec<(T, Summary)> = values.into_iter().collect();
    sorted.sort_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
    let mut unplaced = Vec::new();
    loop {
        let groups = groups(&sorted);
        let is_mixed = |group: &[(T, Summary)]| group[0].1.differs_from(&group[group.len() - 1].1);
        let Some(start) = groups.iter().position(|group| is_mixed(group)) else {
            return Ranking { groups, unplaced };
        };
        let before: usize = groups[..start].iter().map(Vec::len).sum();
        let width = |summary: &Summary| (summary.high - summary.low) / summary.value.abs();
        let mixed = groups[start].iter().enumerate();
        let widest = mixed.max_by(|(_, a), (_, b)| width(&a.1).total_cmp(&width(&b.1)));
        let (index, _) = widest.expect("a group has members");
        unplaced.push(sorted.remove(before + index));
    }
}

/// `sorted`, cut wherever everything before the cut differs from everything after it.
fn groups<T: Copy>(sorted: &[(T, Summary)]) -> Vec<Vec<(T, Summary)>> {
    let mut groups: Vec<Vec<(T, Summary)>> = Vec::new();
    for (index, value) in sorted.iter().enumerate() {
        let (before, after) = sorted.split_at(index);
        let differs = |(_, a): &(T, Summary)| after.iter().all(|(_, b)| a.differs_from(b));
        match groups.last_mut() {
            Some(group) if !before.iter().all(differs) => group.push(*value),
            _ => groups.push(vec![*value]),
        }
    }
    groups
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

/// The 2.5 % and 97.5 % quantiles of the median of resampled `values`; `None` for fewer than two.
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

/// All n^n draws of n values with replacement.
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
    fn the_interval_of_three_repeats_is_their_range() {
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
    fn no_repeats_have_no_summary() {
        assert_eq!(Summary::new(&[], None), None);
    }

    #[test]
    fn values_within_the_spread_do_not_differ() {
        assert!(!summary(&[10.0, 11.0, 12.0]).differs_from(&summary(&[11.0, 12.0, 14.0])));
        assert!(summary(&[10.0, 10.1, 10.2]).differs_from(&summary(&[11.0, 11.1, 11.2])));
        assert!(!summary(&[10.0, 10.0, 10.0]).differs_from(&summary(&[10.1, 10.1, 10.1])));
    }

    #[test]
    fn single_repeats_differ_only_by_a_large_factor() {
        assert!(!summary(&[10.0]).differs_from(&summary(&[14.0])));
        assert!(summary(&[10.0]).differs_from(&summary(&[16.0])));
    }

    #[test]
    fn a_large_instrument_error_prevents_a_difference() {
        let (small, large) = (summary(&[10.0, 10.1, 10.2]), summary(&[20.0, 20.1, 20.2]));
        assert!(small.differs_from(&large));
        assert!(!small.with_error(3.0).differs_from(&large.with_error(3.0)));
        let (small, large) = (summary(&[10.0]), summary(&[100.0]));
        assert!(small.differs_from(&large));
        assert!(!small.differs_from(&large.with_error(60.0)));
    }

    /// The false positive rate of the rule.
    #[test]
    fn equal_figures_are_rarely_called_different() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let mut three = || summary(&[(); 3].map(|()| 100.0 + 10.0 * normal()));
        let wrong = (0..4_000).filter(|_| three().differs_from(&three())).count();
        assert!(wrong < 4_000 * 3 / 100, "{wrong} of 4000");
    }

    #[test]
    fn a_value_too_uncertain_for_one_group_is_not_placed() {
        let names = |group: &[(char, Summary)]| group.iter().map(|(name, _)| *name).collect();
        let certain = [('a', summary(&[100.0; 3])), ('b', summary(&[200.0; 3]))];
        let Ranking { groups, unplaced } =
            ranking(certain.into_iter().chain([('c', summary(&[60.0, 150.0, 240.0]))]));
        let groups: Vec<String> = groups.iter().map(|group| names(group)).collect();
        assert_eq!((groups, unplaced[0].0), (vec!["a".to_owned(), "b".to_owned()], 'c'));
    }

    proptest::proptest! {
        #[test]
        fn members_of_different_groups_differ(
            repeats in proptest::collection::vec([50.0..200.0f64, 50.0..200.0, 50.0..200.0], 0..8),
        ) {
            let values = repeats.iter().map(|repeats| summary(repeats)).enumerate();
            let Ranking { groups, unplaced } = ranking(values);
            let placed: usize = groups.iter().map(Vec::len).sum();
            assert_eq!(placed + unplaced.len(), repeats.len());
            for (index, group) in groups.iter().enumerate() {
                assert!(!group[0].1.differs_from(&group[group.len() - 1].1));
                for (_, later) in groups[index + 1..].iter().flatten() {
                    assert!(group.iter().all(|(_, member)| member.differs_from(later)));
                }
            }
        }
    }
}
