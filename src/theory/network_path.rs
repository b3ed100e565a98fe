//! The network between load test and server, if the server is on another machine: its round trips
//! are added to those of the simulated link.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Prediction;
use crate::scenario::Workload;

/// Round trips of a network. A publication takes half of one to the server; every message then
/// takes half of another to its subscriber, and a poll takes all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkPath {
    /// Between subscribers and server, seconds.
    pub subscriber_rtt_s: f64,
    /// Between publisher and server, seconds.
    pub publisher_rtt_s: f64,
}

impl NetworkPath {
    /// From the sending of a message to its receipt by push, seconds.
    pub fn push_s(&self) -> f64 {
        (self.publisher_rtt_s + self.subscriber_rtt_s) / 2.0
    }

    /// `workload` with the round trip of the subscribers added to the simulated one.
    pub fn with_round_trip(&self, workload: &Workload) -> Workload {
        let rtt = workload.rtt + Duration::from_secs_f64(self.subscriber_rtt_s.max(0.0));
        Workload { rtt, ..workload.clone() }
    }

    /// Adds the transit time of a publication to the server to a prediction.
    pub fn with_publishing(&self, mut prediction: Prediction) -> Prediction {
        prediction.delay.one_way_s += self.publisher_rtt_s / 2.0;
        prediction
    }

    /// The mean of several networks, in each of its parts.
    pub fn mean(paths: &[NetworkPath]) -> NetworkPath {
        let mean = |part: fn(&NetworkPath) -> f64| {
            paths.iter().map(part).sum::<f64>() / paths.len().max(1) as f64
        };
        NetworkPath {
            subscriber_rtt_s: mean(|path| path.subscriber_rtt_s),
            publisher_rtt_s: mean(|path| path.publisher_rtt_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::predict;
    use crate::variant::Transport;

    #[test]
    fn latency_contains_the_way_of_the_publication_and_a_poll_the_round_trip() {
        let path = NetworkPath { subscriber_rtt_s: 0.04, publisher_rtt_s: 0.06 };
        let workload = Workload { rtt: Duration::from_millis(20), ..Workload::default() };
        let predict = |transport| {
            let prediction =
                predict(transport, &path.with_round_trip(&workload)).expect("a closed form");
            path.with_publishing(prediction)
        };
        // Half of 60 ms to the server, half of 20 + 40 ms from it.
        let push = predict(Transport::WebSocket);
        assert!((push.latency_mean_s() - 0.06).abs() < 1e-9, "{push:?}");
        // A poll every 1 s + 60 ms.
        let poll = predict(Transport::ShortPolling);
        assert!((poll.requests_per_subscriber_s - 1.0 / 1.06).abs() < 1e-9, "{poll:?}");
        assert!((poll.latency_mean_s() - (0.06 + 0.53)).abs() < 1e-9, "{poll:?}");
        assert!((path.push_s() - 0.05).abs() < 1e-9);
    }
}
