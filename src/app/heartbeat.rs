//! When a quiet connection is sent a sign of life, and whether that came late.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// The times at which a quiet connection is sent a sign of life.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Interval,
}

impl Heartbeat {
    /// The first beat is one period from now. After a pause of the process there is one beat, and
    /// then a whole period for the client to answer it.
    pub fn every(period: Duration) -> Heartbeat {
        let mut interval = tokio::time::interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Heartbeat { interval }
    }

    /// Waits for the next beat. Returns whether it came on time: a late one shows that the process
    /// was stopped or the machine suspended, and that what clients sent has not been read.
    pub async fn tick(&mut self) -> bool {
        let due = self.interval.tick().await;
        due.elapsed() < self.interval.period() / 2
    }
}
