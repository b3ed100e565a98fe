//! Verifies every delivery against the schedule before any timing is reported: lost, duplicated,
//! reordered, unknown and early messages.

use std::time::Duration;

use super::schedule::Schedule;
use crate::measure::Histogram;
use crate::run::Deliveries;

/// The arrival of one message at one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's number in its topic; `None` if no such message was published.
    pub number: Option<u32>,
    /// Since the start of the warm-up.
    pub at: Duration,
}

/// The steady state, relative to the start of the warm-up.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start: Duration,
    pub end: Duration,
}

impl Window {
    /// Whether `at`, relative to the start of the warm-up, is in the window.
    pub fn contains(&self, at: Duration) -> bool {
        self.start <= at && at < self.end
    }
}

/// The verified deliveries of all subscribers.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Shortest possible latency: the one-way delay of the simulated link.
    pub one_way: Duration,
    pub deliveries: Deliveries,
    /// Latency (planned publication to receipt) of messages planned in the window.
    pub latency_us: Histogram,
    /// Latency of messages planned after the window.
    pub latency_after_us: Histogram,
}

impl Verifier {
    /// Adds a subscriber of `topic` with its receipts in order of arrival.
    pub fn add(&mut self, schedule: &Schedule, window: Window, topic: u32, receipts: &[Receipt]) {
        let planned = &schedule.by_topic[topic as usize];
        let mut seen = vec![false; planned.len()];
        let mut newest = None;
        let deliveries = &mut self.deliveries;
        deliveries.expected += planned.len() as u64;
        deliveries.received += receipts.len() as u64;
        for receipt in receipts {
            let planned = receipt.number.and_then(|number| {
                let index = number as usize;
                Some((number, *planned.get(index)?, seen.get_mut(index)?))
            });
            let Some((number, planned_at, is_seen)) = planned else {
                deliveries.unknown += 1;
                continue;
            };
            // Publications never leave before their planned instant.
            deliveries.early += u64::from(receipt.at < planned_at + self.one_way);
            if std::mem::replace(is_seen, true) {
                deliveries.duplicated += 1;
                continue;
            }
            deliveries.reordered += u64::from(newest > Some(number));
            newest = newest.max(Some(number));
            deliveries.in_steady += u64::from(window.contains(receipt.at));
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

    fn check(arrivals: &[(u32, u64)]) -> Verifier {
        let ms = Duration::from_millis;
        let schedule = Schedule {
            publications: Vec::new(),
            by_topic: vec![vec![ms(0), ms(10), ms(20), ms(30)]],
        };
        let window = Window { start: ms(10), end: ms(30) };
        let receipts: Vec<_> = arrivals
            .iter()
            .map(|(number, at)| Receipt { number: Some(*number), at: ms(*at) })
            .collect();
        let mut verifier = Verifier::default();
        verifier.add(&schedule, window, 0, &receipts);
        verifier
    }

    #[test]
    fn complete_sequence_has_no_errors_and_latency_covers_only_the_window() {
        let verifier = check(&[(0, 5), (1, 15), (2, 32), (3, 36)]);
        let wanted =
            Deliveries { expected: 4, received: 4, steady: 2, in_steady: 1, ..Default::default() };
        assert_eq!(verifier.deliveries, wanted);
        assert_eq!(verifier.latency_us.0.len(), 2);
        assert_eq!(verifier.latency_us.0.min(), 5_000);
        assert_eq!(verifier.latency_after_us.0.len(), 1);
    }

    #[test]
    fn lost_duplicated_reordered_and_unknown_messages_are_counted() {
        let verifier = check(&[(2, 25), (0, 26), (2, 27), (9, 28)]);
        let Deliveries { lost, duplicated, unknown, reordered, received, .. } = verifier.deliveries;
        assert_eq!((lost, duplicated, unknown, reordered, received), (2, 1, 1, 1, 4));
    }

    #[test]
    fn deliveries_faster_than_the_link_are_counted() {
        let ms = Duration::from_millis;
        let schedule =
            Schedule { publications: Vec::new(), by_topic: vec![vec![ms(0), ms(10), ms(20)]] };
        let receipts = [(0, 20), (1, 29), (2, 10)]
            .map(|(number, at)| Receipt { number: Some(number), at: ms(at) });
        let mut verifier = Verifier { one_way: ms(20), ..Verifier::default() };
        verifier.add(&schedule, Window { start: ms(0), end: ms(30) }, 0, &receipts);
        assert_eq!(verifier.deliveries.early, 2);
    }
}
