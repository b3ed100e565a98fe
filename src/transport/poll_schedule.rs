//! When a short-polling client polls: at a fixed interval, or at one that adapts to the traffic.

use std::time::{Duration, Instant};

use super::SubscribeOptions;
use crate::variant::{Extra, Pacing};

/// The instants of a client's polls.
#[derive(Debug)]
pub struct PollSchedule {
    next_poll: Instant,
    pacing: Pacing,
    interval: Duration,
    /// The present interval is doubled after each empty response, up to `interval_max`, and is
    /// `interval` again after any other. Equal to `interval` if the schedule is not adaptive.
    interval_max: Duration,
    present_interval: Duration,
}

impl PollSchedule {
    pub fn new(options: &SubscribeOptions) -> PollSchedule {
        let SubscribeOptions { interval, interval_max, pacing, .. } = *options;
        let is_adaptive = options.extras.has(Extra::Adaptive);
        PollSchedule {
            next_poll: options.first_poll.unwrap_or_else(Instant::now),
            pacing,
            interval,
            interval_max: if is_adaptive { interval_max.max(interval) } else { interval },
            present_interval: interval,
        }
    }

    /// When the next poll is due.
    pub fn next_poll(&self) -> Instant {
        self.next_poll
    }

    /// Plans the next poll after a response, which may have been empty.
    pub fn polled(&mut self, is_empty: bool) {
        let doubled = (2 * self.present_interval).min(self.interval_max);
        self.present_interval = if is_empty { doubled } else { self.interval };
        self.next_poll = match self.pacing {
            Pacing::AfterResponse => Instant::now() + self.present_interval,
            // If a poll took longer than the interval, the next one is due at once, and missed ones
            // are skipped.
            Pacing::FixedRate => (self.next_poll + self.present_interval).max(Instant::now()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_interval_doubles_up_to_its_limit_and_falls_back() {
        let ms = Duration::from_millis;
        let topic = "room".parse().expect("a good name");
        let options = SubscribeOptions {
            interval: ms(100),
            interval_max: ms(500),
            ..SubscribeOptions::new(topic)
        };
        let adaptive =
            SubscribeOptions { extras: [Extra::Adaptive].into_iter().collect(), ..options.clone() };
        let intervals = |options: &SubscribeOptions| {
            let mut schedule = PollSchedule::new(options);
            [true, true, true, true, false, true].map(|is_empty| {
                schedule.polled(is_empty);
                schedule.present_interval.as_millis()
            })
        };
        assert_eq!(intervals(&adaptive), [200, 400, 500, 500, 100, 200]);
        assert_eq!(intervals(&options), [100; 6]);
        let without_room = SubscribeOptions { interval_max: ms(1), ..adaptive };
        assert_eq!(intervals(&without_room), [100; 6]);
    }
}
