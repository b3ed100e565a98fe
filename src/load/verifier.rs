//! Checks every delivery against the schedule before anything is said about timing: what was lost,
//! what came twice, what came out of order.

use std::time::Duration;

use super::schedule::Schedule;
use crate::run::{Deliveries, Histogram};

/// One message's arrival at one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's number in its topic.
    pub number: u32,
    /// Since the start of the warm-up.
    pub at: Duration,
}

/// The stretch of time that counts, since the start of the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start: Duration,
    pub end: Duration,
}

impl Window {
    /// Whether `at`, since the start of the warm-up, counts.
    pub fn contains(&self, at: Duration) -> bool {
        self.start <= at && at < self.end
    }
}

/// What all subscribers received, checked.
#[derive(Debug, Default)]
pub struct Verdict {
    pub deliveries: Deliveries,
    /// Planned publication to receipt, of messages planned in the window.
    pub latency_us: Histogram,
    /// The same of messages planned after it.
    pub latency_after_us: Histogram,
}

impl Verdict {
    /// Adds a subscriber of `topic`, with its receipts in order of arrival.
    pub fn add(&mut self, schedule: &Schedule, window: Window, topic: u32, receipts: &[Receipt]) {
        let planned = &schedule.by_topic[topic as usize];
        let mut seen = vec![false; planned.len()];
        let mut newest = None;
        let deliveries = &mut self.deliveries;
        deliveries.expected += planned.len() as u64;
        deliveries.received += receipts.len() as u64;
        for receipt in receipts {
            let fresh = seen.get_mut(receipt.number as usize);
            // A number that was never planned is as wrong as one that comes again.
            if fresh.is_none_or(|seen| std::mem::replace(seen, true)) {
                deliveries.duplicated += 1;
                continue;
            }
            deliveries.reordered += u64::from(newest > Some(receipt.number));
            newest = newest.max(Some(receipt.number));
            deliveries.in_steady += u64::from(window.contains(receipt.at));
            let planned_at = planned[receipt.number as usize];
            let latency_us = receipt.at.saturating_sub(planned_at).as_micros() as u64;
            if window.contains(planned_at) {
                deliveries.steady += 1;
                self.latency_us.record(latency_us);
            } else if planned_at >= window.end {
                self.latency_after_us.record(latency_us);
            }
        }
        deliveries.lost += seen.iter().filter(|seen| !**seen).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrivals: &[(u32, u64)]) -> Verdict {
        let ms = Duration::from_millis;
        let schedule = Schedule {
            publications: Vec::new(),
            by_topic: vec![vec![ms(0), ms(10), ms(20), ms(30)]],
        };
        let window = Window { start: ms(10), end: ms(30) };
        let receipts: Vec<_> =
            arrivals.iter().map(|(number, at)| Receipt { number: *number, at: ms(*at) }).collect();
        let mut verdict = Verdict::default();
        verdict.add(&schedule, window, 0, &receipts);
        verdict
    }

    #[test]
    fn a_complete_sequence_is_clean_and_only_the_window_counts() {
        let verdict = check(&[(0, 5), (1, 15), (2, 32), (3, 36)]);
        let wanted =
            Deliveries { expected: 4, received: 4, steady: 2, in_steady: 1, ..Default::default() };
        assert_eq!(verdict.deliveries, wanted);
        assert_eq!(verdict.latency_us.0.len(), 2);
        assert_eq!(verdict.latency_us.0.min(), 5_000);
        assert_eq!(verdict.latency_after_us.0.len(), 1);
    }

    #[test]
    fn loss_repetition_disorder_and_inventions_are_counted() {
        let verdict = check(&[(2, 25), (0, 26), (2, 27), (9, 28)]);
        let Deliveries { lost, duplicated, reordered, received, .. } = verdict.deliveries;
        assert_eq!((lost, duplicated, reordered, received), (2, 2, 1, 4));
    }
}
