//! Computes the result of a cell, in the form of `run.json`, from everything that was observed.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::kernel;
use super::monitor::Counters;
use super::plan::{CellPlan, CellShare};
use super::schedule::Schedule;
use super::subscribers::ReceiptLog;
use super::timetable::timestamp_of;
use super::verifier::{Verifier, Window};
use crate::client::{Journal, JournalEntry, MeterCounts};
use crate::measure::Histogram;
use crate::run::{
    Bytes, Cell, CellSegment, Connections, Generator, LinkUse, Network, OtherLoad, Recovery,
    Requests, ServerCost, TcpIpSource, Trace, TraceEvent, TraceWhat,
};
use crate::scenario::Workload;

/// Longest trace of the first subscriber, for the timeline.
const TRACE_MAX: Duration = Duration::from_secs(6);

/// Snapshots at the start and the end of a phase.
pub(super) type Interval = [Counters; 2];

/// Everything that was observed of a cell.
pub(super) struct Measurements<'a> {
    pub schedule: &'a Schedule,
    pub journal: &'a Journal,
    /// When the warm-up started.
    pub start: Instant,
    pub window: Window,
    /// One-way delay of the simulated link.
    pub one_way: Duration,
    pub unused: &'a Interval,
    pub idle: Interval,
    pub steady: Interval,
    /// Kernel memory before the first connection and with all connections.
    pub kernel: [Option<u64>; 2],
    pub publisher_late_us: Histogram,
    pub poll_late_us: Histogram,
    /// Requests of the whole cell, counted by the client and, if known, by the server.
    pub requests: (u64, Option<u64>),
    /// The server's counter of requests at the start and the end of the cell, for a segment.
    pub server_requests: Option<(u64, u64)>,
    /// Requests of the whole cell that were retried.
    pub repeated: u64,
    /// Whether the server runs on this machine.
    pub is_local: bool,
    /// Connections of the whole cell, except those after a restart.
    pub connections: Connections,
    /// The network to the server, unless this program started the server.
    pub network: Option<Network>,
    /// When the shutdown was requested and when the server listened again, if it was restarted.
    pub away: Option<[Instant; 2]>,
    pub logs: Vec<ReceiptLog>,
}

impl Measurements<'_> {
    /// The result of the cell `plan`.
    pub fn into_cell(self, plan: &CellPlan) -> Cell {
        let verified = self.verify();
        let [from, to] = &self.steady;
        let counts = to.counts.since(&from.counts);
        let generator = Generator {
            cpu_s: to.own_cpu_s - from.own_cpu_s,
            threads: Some(Handle::current().metrics().num_workers() as u32),
            publisher_late_us: self.publisher_late_us.clone(),
            poll_late_us: self.poll_late_us.clone(),
        };
        let in_window = |at: &&Duration| self.window.contains(**at);
        Cell {
            variant: plan.variant,
            case: plan.case.clone(),
            workload: plan.workload.clone(),
            repeat: plan.repeat,
            steady_s: plan.workload.duration.as_secs_f64(),
            published: self.schedule.by_topic.iter().flatten().filter(in_window).count() as u64,
            deliveries: verified.deliveries,
            latency_us: verified.latency_us,
            requests: requests(&counts, self.requests, self.repeated),
            bytes: bytes(&counts),
            server: self.cost(plan),
            others: self.others(),
            trace: self.trace(),
            recovery: self.recovery(verified.latency_after_us),
            segments: plan.share.iter().map(|share| self.segment(share, &generator)).collect(),
            generator,
            link: link_use(&self.steady),
            connections: self.connections,
            network: self.network,
        }
    }

    fn verify(&self) -> Verifier {
        let mut verifier = Verifier { one_way: self.one_way, ..Verifier::default() };
        for log in &self.logs {
            verifier.add(self.schedule, self.window, log.topic, &log.receipts(self.start));
            // Gaps and resets reported by the server count as losses.
            verifier.deliveries.lost += log.notices;
        }
        verifier
    }

    /// CPU time and memory of the server, if known.
    fn cost(&self, plan: &CellPlan) -> Option<ServerCost> {
        let share = |[from, to]: &Interval| -> Option<f64> {
            Some(to.cpu_since(from)? / (to.at - from.at).as_secs_f64().max(1e-3))
        };
        let resident = |[_, to]: &Interval| Some(to.scrape.usage?.resident_bytes);
        let [from, to] = &self.steady;
        let [before, after] = self.kernel;
        Some(ServerCost {
            cpu_s: to.cpu_since(from)?,
            cpu_unused: share(self.unused)?,
            cpu_idle: share(&self.idle)?,
            resident_before_bytes: resident(self.unused)?,
            resident_idle_bytes: resident(&self.idle)?,
            resident_end_bytes: resident(&self.steady)?,
            kernel_socket_bytes: match plan.share {
                None => {
                    let subscribers = u64::from(plan.workload.subscribers);
                    kernel::per_connection(before, after, subscribers)
                }
                // Several load generators may be on one machine.
                Some(_) => None,
            },
        })
    }

    /// What this load generator contributes, for the check that all did so at the same time.
    fn segment(&self, share: &CellShare, generator: &Generator) -> CellSegment {
        let [from, to] = &self.steady;
        let cpu_s = |counters: &Counters| Some(counters.scrape.usage?.cpu_s);
        CellSegment {
            number: share.segment.number,
            steady: [from.at, to.at].map(timestamp_of),
            server_cpu_s: cpu_s(from).zip(cpu_s(to)).map(<[f64; 2]>::from),
            server_requests: self.server_requests.map(<[u64; 2]>::from),
            generator: generator.clone(),
            others: self.others(),
        }
    }

    /// CPU time of other processes in the steady state, if known.
    fn others(&self) -> Option<OtherLoad> {
        let [from, to] = &self.steady;
        let (before, after) = (from.machine?, to.machine?);
        let server_s = match self.is_local {
            true => to.cpu_since(from)?,
            false => 0.0,
        };
        let ours_s = to.own_cpu_s - from.own_cpu_s + to.link_cpu_since(from) + server_s;
        let cpu_s = (after.busy_s - before.busy_s - ours_s).max(0.0);
        Some(OtherLoad { cpu_s, cores: after.cores })
    }

    /// The effects of the restart on the subscribers, if there was one.
    fn recovery(&self, latency_us: Histogram) -> Option<Recovery> {
        let [down_at, up_at] = self.away?;
        let (mut away_us, mut back_us) = (Histogram::new(), Histogram::new());
        for outage in self.logs.iter().filter_map(|log| log.outage_since(down_at)) {
            let since = |from: Instant| outage.back_at.saturating_duration_since(from);
            away_us.record(since(outage.lost_at).as_micros() as u64);
            back_us.record(since(up_at).as_micros() as u64);
        }
        let down_us = (up_at - down_at).as_micros() as u64;
        Some(Recovery { down_us, away_us, back_us, latency_us })
    }

    /// The trace of the first subscriber at the start of the steady state.
    fn trace(&self) -> Trace {
        let log = &self.logs[0];
        let planned = &self.schedule.by_topic[log.topic as usize];
        let zero = self.start + self.window.start;
        let micros = |instant: Instant| match instant.checked_duration_since(zero) {
            Some(after) => after.as_micros() as i64,
            None => -((zero - instant).as_micros() as i64),
        };
        let exchanges = self.journal.entries().into_iter().map(|(at, entry)| {
            let what = match entry {
                JournalEntry::Request => TraceWhat::Request,
                JournalEntry::Response { messages } => {
                    TraceWhat::Response { messages: messages as u32 }
                }
            };
            TraceEvent { at_us: micros(at), what }
        });
        let arrivals = log.arrivals().filter_map(|(number, at)| {
            let planned_us = micros(self.start + *planned.get(number as usize)?);
            Some(TraceEvent { at_us: micros(at), what: TraceWhat::Message { planned_us } })
        });
        let length_us = (self.window.end - self.window.start).min(TRACE_MAX).as_micros() as u64;
        // One second earlier: a long poll pending at the start was sent before it.
        let shown = -1_000_000..=length_us as i64;
        let mut events: Vec<_> =
            exchanges.chain(arrivals).filter(|event| shown.contains(&event.at_us)).collect();
        events.sort_by_key(|event| event.at_us);
        let published = planned.iter().map(|at| micros(self.start + *at));
        let published_us = published.filter(|at| shown.contains(at)).collect();
        Trace { length_us, published_us, events }
    }
}

/// Number of messages times their subscribers, warm-up included.
pub(super) fn expected_deliveries(workload: &Workload, schedule: &Schedule) -> u64 {
    let of_topic = |(topic, instants): (u32, &Vec<Duration>)| {
        instants.len() as u64 * u64::from(workload.subscribers_of(topic))
    };
    (0..).zip(&schedule.by_topic).map(of_topic).sum()
}

fn requests(
    steady: &MeterCounts,
    (client_total, server_total): (u64, Option<u64>),
    repeated: u64,
) -> Requests {
    Requests {
        repeated,
        sent: steady.requests,
        answers: steady.responses,
        empty_answers: steady.empty_responses,
        client_total,
        server_total,
    }
}

/// The counters of the packet link in the steady state, if there was one.
fn link_use([from, to]: &Interval) -> Option<LinkUse> {
    let (before, after) = (from.link.as_ref()?, to.link.as_ref()?);
    let counts = after.counts.since(&before.counts);
    Some(LinkUse {
        cpu_s: to.link_cpu_since(from),
        up: counts.up,
        down: counts.down,
        missed: counts.missed,
        late_us: after.late_us.clone(),
    })
}

fn bytes(steady: &MeterCounts) -> Bytes {
    let tcp_ip_source = match steady.segments_are_counted() {
        true => TcpIpSource::TcpInfo,
        false => TcpIpSource::Estimated,
    };
    Bytes { up: steady.up(), down: steady.down(), tcp_ip_source }
}
