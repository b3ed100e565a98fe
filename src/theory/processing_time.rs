//! The machine's processing time: what server, client and clock add to the delay of the link.
//!
//! The closed forms describe the link alone. If a machine needs 0.8 ms for a message without any
//! link, a one-way delay of 10 ms is measured as 10.8 ms. This time is measured once, before the
//! run, and added here in two places:
//!
//! - [`ProcessingTime::push_s`] is a part of the latency of every delivery: a message is published
//!   late, and the response or frame that contains it is sent late.
//! - [`ProcessingTime::round_trip_s`] is the time between a response and the arrival of the next
//!   request, in addition to the round trip. It lengthens every gap between the polls of a client.
//!
//! Both are means. Their variance is ignored: it would add its ratio to twice the cycle time to the
//! latency, which is some microseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Prediction, predict};
use crate::scenario::Workload;
use crate::variant::Variant;

/// What this machine adds to a prediction, as measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessingTime {
    /// From the planned instant of a publication to its receipt by push, without the one-way delay
    /// of the link, seconds.
    pub push_s: f64,
    /// From a request to the next one, which is sent as soon as the response has arrived, without
    /// the round trip, seconds.
    pub round_trip_s: f64,
}

impl ProcessingTime {
    /// The prediction for `variant` under `workload` on this machine; `None` where [`predict`] has
    /// no closed form.
    pub fn predict(&self, variant: Variant, workload: &Workload) -> Option<Prediction> {
        let mut prediction = predict(variant, &self.with_processing_time(workload))?;
        prediction.delay.one_way_s = workload.mean_rtt().as_secs_f64() / 2.0 + self.push_s;
        Some(prediction)
    }

    /// `workload` with the processing time added to its round trip, which determines how often a
    /// client polls.
    pub fn with_processing_time(&self, workload: &Workload) -> Workload {
        let processing = Duration::from_secs_f64(self.round_trip_s.max(0.0));
        Workload { rtt: workload.rtt + processing, ..workload.clone() }
    }
}
