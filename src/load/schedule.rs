//! The schedule: every publication of a cell, planned ahead from the seed. The same plan is used
//! for every transport, and latency is counted from its instants, so that a publisher that falls
//! behind cannot hide what its subscribers had to wait (no coordinated omission).

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::scenario::{Process, Workload};

/// One message to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// Since the start of the warm-up.
    pub at: Duration,
    pub topic: u32,
    /// Its place among the publications of its topic: 0, 1, 2, ...
    pub number: u32,
}

/// All publications of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// In order of time.
    pub publications: Vec<Publication>,
    /// For each topic, the instants of its publications.
    pub by_topic: Vec<Vec<Duration>>,
}

impl Schedule {
    /// Plans warm-up, steady state and restart of `workload`.
    pub fn plan(workload: &Workload, seed: u64) -> Schedule {
        let end = workload.publishing();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let by_topic: Vec<Vec<Duration>> = (0..workload.topics)
            .map(|_| arrivals(workload.process, workload.rate, end, &mut random))
            .collect();
        let mut publications = Vec::new();
        for (topic, instants) in (0..).zip(&by_topic) {
            let publication =
                |(number, at): (u32, &Duration)| Publication { at: *at, topic, number };
            publications.extend((0..).zip(instants).map(publication));
        }
        publications.sort_by_key(|publication| publication.at);
        Schedule { publications, by_topic }
    }
}

/// Instants before `end` at which one topic is published to.
fn arrivals(process: Process, rate: f64, end: Duration, random: &mut ChaCha8Rng) -> Vec<Duration> {
    let mut instants = Vec::new();
    // A random phase: topics that all began at 0 would publish in lockstep.
    let mut at = match process {
        Process::Poisson => 0.0,
        Process::Periodic => (random.random::<f64>() - 1.0) / rate,
    };
    loop {
        at += match process {
            // 1 - u is never 0, so its logarithm is finite.
            Process::Poisson => -(1.0 - random.random::<f64>()).ln() / rate,
            Process::Periodic => 1.0 / rate,
        };
        if at >= end.as_secs_f64() {
            return instants;
        }
        instants.push(Duration::from_secs_f64(at));
    }
}

/// The text of a message: its number, padded to `bytes`.
pub fn text(number: u32, bytes: u32) -> String {
    format!("{number:.<width$}", width = bytes as usize)
}

/// The number in a message's text; `None` if the text is not of [`text`]'s making.
pub fn number(text: &str) -> Option<u32> {
    text.trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(process: Process, rate: f64) -> Workload {
        let duration = Duration::from_secs(1_000);
        Workload { process, rate, topics: 20, duration, ..Workload::default() }
    }

    #[test]
    fn the_seed_makes_it_repeatable() {
        let workload = workload(Process::Poisson, 0.5);
        assert_eq!(Schedule::plan(&workload, 7), Schedule::plan(&workload, 7));
        assert_ne!(Schedule::plan(&workload, 7), Schedule::plan(&workload, 8));
    }

    #[test]
    fn poisson_gaps_have_mean_and_deviation_one_over_rate() {
        let schedule = Schedule::plan(&workload(Process::Poisson, 2.0), 1);
        let gaps: Vec<f64> = schedule
            .by_topic
            .iter()
            .flat_map(|instants| instants.windows(2))
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{}", variance.sqrt());
    }

    #[test]
    fn periodic_gaps_are_equal_and_phases_are_not() {
        let schedule = Schedule::plan(&workload(Process::Periodic, 2.0), 1);
        for instants in &schedule.by_topic {
            assert!(instants[0] < Duration::from_millis(500));
            for pair in instants.windows(2) {
                assert!((pair[1] - pair[0]).abs_diff(Duration::from_millis(500)).as_micros() < 2);
            }
        }
        assert_ne!(schedule.by_topic[0][0], schedule.by_topic[1][0]);
    }

    #[test]
    fn texts_carry_their_number_in_exactly_the_bytes_asked_for() {
        for bytes in [16, 100, 60_000] {
            let made = text(4_000_000_000, bytes);
            assert_eq!(made.len(), bytes as usize);
            assert_eq!(number(&made), Some(4_000_000_000));
        }
        assert_eq!(number("hello"), None);
    }
}
