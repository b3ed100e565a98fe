//! The machine's own time: what server, client and clock need beyond the delay of the link.
//!
//! The closed forms know only the link. On a machine where a message needs 0.8 ms over no distance
//! at all, 10 ms one way are measured as 10.8; so that time is measured once before the run, and
//! added here. It enters in two places. A message is published late, and the answer or frame that
//! holds it is late: that is [`OwnTime::push_s`], a part of every delivery. And between an answer's
//! leaving and the next request's arrival lies [`OwnTime::round_trip_s`] beside the round trip:
//! every gap of a poller grows by that. Both are means; that the times themselves vary is left out,
//! and would add the variance of the gap over twice the cycle, which is microseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Prediction, predict};
use crate::scenario::Workload;
use crate::variant::Variant;

/// What this machine adds to a prediction, as measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnTime {
    /// From the instant at which a publication was planned to its receipt over a connection that
    /// waits for it, less the way across the link, seconds.
    pub push_s: f64,
    /// From one request to the next that follows its answer at once, less the round trip, seconds.
    pub round_trip_s: f64,
}

impl OwnTime {
    /// What `variant` ought to do under `workload` on this machine; absent where [`predict`] is.
    pub fn predict(&self, variant: Variant, workload: &Workload) -> Option<Prediction> {
        let mut prediction = predict(variant, &self.slowed(workload))?;
        prediction.delay.one_way_s = workload.mean_rtt().as_secs_f64() / 2.0 + self.push_s;
        Some(prediction)
    }

    /// `workload` with every round trip as long as it takes here: what decides how often a poller
    /// asks.
    pub fn slowed(&self, workload: &Workload) -> Workload {
        let own = Duration::from_secs_f64(self.round_trip_s.max(0.0));
        Workload { rtt: workload.rtt + own, ..workload.clone() }
    }
}
