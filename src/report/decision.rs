//! Which way is cheapest where: the advice, asked for every message rate and every staleness that
//! readers may tolerate, with this run's costs.

use crate::advise::{self, Costs, Need, Origin, TOO_CLOSE};
use crate::scenario::Workload;
use crate::variant::Transport;

use super::Report;

/// What is to be cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// CPU seconds of the server.
    ServerCpu,
    /// Bytes, both directions.
    Bytes,
}

/// The cheapest way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub transport: Transport,
    /// True if the next way costs more by [`TOO_CLOSE`] at least.
    pub is_clear: bool,
}

/// The ways of a report, ready to be asked.
pub struct Decision<'a> {
    workload: &'a Workload,
    is_tls: bool,
    costs: Costs,
}

impl<'a> Decision<'a> {
    /// Of the ways that the run measured; absent if they are fewer than two, or if the server is
    /// not ours and its costs are unknown.
    pub fn of(report: &'a Report) -> Option<Self> {
        let workload = report.points.first()?.workload;
        let mut costs = Costs::from_run(report.run);
        costs.ways.retain(|_, way| way.origin == Origin::Run);
        let decides = costs.ways.len() >= 2 && report.run.server.is_child;
        decides.then_some(Decision { workload, is_tls: report.run.server.is_tls, costs })
    }

    /// The cheapest way by `cost` for messages at `rate` per second of which none may be older
    /// than `staleness_s` on arrival; absent if no way is fast enough.
    pub fn cheapest(&self, cost: Cost, rate: f64, staleness_s: f64) -> Option<Verdict> {
        let need = Need {
            subscribers: self.workload.subscribers,
            topics: self.workload.topics,
            rate,
            staleness_s,
            rtt_s: self.workload.rtt.as_secs_f64(),
            poll_interval_s: None,
            message_bytes: self.workload.message_bytes,
            headers: self.workload.headers,
            is_tls: self.is_tls,
            browser_only: false,
            cost: match cost {
                Cost::ServerCpu => advise::Cost::Cpu,
                Cost::Bytes => advise::Cost::Bytes,
            },
        };
        let choice = advise::choose(&need, &self.costs)?;
        let is_clear = choice.lead.is_none_or(|lead| lead >= TOO_CLOSE);
        Some(Verdict { transport: *choice.close.first()?, is_clear })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::variant::Waiting;

    #[test]
    fn staleness_decides_between_polling_and_push() {
        let run = fixture::sweep();
        let report = Report::new(&run);
        let decision = Decision::of(&report).unwrap();
        for cost in [Cost::ServerCpu, Cost::Bytes] {
            let at = |rate, staleness_s| decision.cheapest(cost, rate, staleness_s);
            assert_eq!(at(1.0, 0.01), None, "nothing is faster than a transit");
            let waiting = at(0.1, 0.1).map(|verdict| verdict.transport.waiting());
            assert_eq!(waiting, Some(Waiting::PerConnection));
        }
        let bytes = decision.cheapest(Cost::Bytes, 10.0, 600.0);
        assert_eq!(bytes, Some(Verdict { transport: Transport::ShortPolling, is_clear: true }));
    }
}
