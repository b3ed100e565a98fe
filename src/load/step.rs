//! Measures the steps of a cell: one, or several with a rising load on the same connections.
//!
//! ```text
//! server | unused | connect | idle | warm-up | steady state | restart    | drain
//! starts |        |         |      |         | (measured)   | (optional) |
//!                 |<---------------- once for each step of a ramp --------------->|
//! ```
//!
//! Publishing pauses between two steps, until every message has arrived and the subscribers that
//! the next step adds are connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::headers;
use super::kernel;
use super::measurements::{Interval, Measurements, expected_deliveries};
use super::monitor::{Counters, Monitor};
use super::plan::{CellPhase, CellPlan, CellTimes, UNUSED};
use super::publisher::{Publisher, Publishing};
use super::schedule::{MessageTexts, Schedule};
use super::server::ServerUnderTest;
use super::subscribers::{Endpoint, Subscribers};
use super::verifier::Window;
use crate::client::clock::sleep_until;
use crate::client::{Journal, Meter, RESPONSE_BYTES_MAX};
use crate::message::TopicName;
use crate::run::{Cell, Connections, Network};
use crate::scenario::{Link, Workload};
use crate::variant::{Transport, Waiting};

/// Longest time for subscribers to connect, and for messages to arrive after the last publication,
/// in addition to the delays caused by the workload.
const PHASE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for publishing after the last planned publication.
const PUBLISHING_GRACE: Duration = Duration::from_secs(10);
/// How long requests may be in transit before the counts of client and server must agree, in
/// addition to the round trip.
const TRANSIT: Duration = Duration::from_secs(2);
/// The same on a lossy link, where TCP retransmits some segments several times.
const TRANSIT_LOSSY: Duration = Duration::from_secs(15);
/// Limit of a response's bytes in addition to those of its messages.
const RESPONSE_BYTES_SPARE: usize = 64 << 10;
/// Bytes of a message in addition to its text: JSON, time, offset, and envelopes of other servers.
const ENVELOPE_BYTES: usize = 1_024;
/// Time from the start of the publisher until its first publication.
const HEAD_START: Duration = Duration::from_millis(20);

/// One step: its plan and its messages.
struct Step {
    plan: CellPlan,
    schedule: Arc<Schedule>,
    messages: Arc<MessageTexts>,
}

impl Step {
    fn of(plan: CellPlan) -> Step {
        let schedule = Schedule::of_topics(&plan.workload, plan.seed, |topic| plan.owns(topic));
        let messages = MessageTexts::new(&schedule, topics(&plan), plan.workload.message_bytes);
        Step { plan, schedule: Arc::new(schedule), messages: Arc::new(messages) }
    }

    /// Limit of a response's bytes: twice all messages of a topic.
    fn response_bytes_max(&self) -> usize {
        let Workload { topics, message_bytes, .. } = self.plan.workload;
        let count = (0..topics).map(|topic| self.messages.count(topic)).max().unwrap_or(0);
        let each = message_bytes as usize + ENVELOPE_BYTES;
        (2 * count * each + RESPONSE_BYTES_SPARE).min(RESPONSE_BYTES_MAX)
    }
}

fn topics(plan: &CellPlan) -> Vec<TopicName> {
    let name = |number| format!("{}t{number}", plan.topic_prefix);
    let parse = |name: String| name.parse().expect("letters, digits and '-'");
    (0..plan.workload.topics).map(|number| parse(name(number))).collect()
}

/// The steps that were measured, and the one that failed, if any.
pub(super) struct MeasuredSteps {
    pub cells: Vec<Cell>,
    pub failed: Option<(Workload, anyhow::Error)>,
}

/// Measures the steps of `plan` on `server`, until one fails.
///
/// # Errors
/// If the server cannot be measured.
pub(super) async fn measure(
    plan: &CellPlan,
    server: &mut ServerUnderTest,
    on_phase: &(dyn Fn(CellPhase) + Sync),
) -> anyhow::Result<MeasuredSteps> {
    let steps: Vec<Step> = plan.steps().into_iter().map(Step::of).collect();
    let (meter, journal) = (Arc::new(Meter::default()), Arc::new(Journal::default()));
    let transport = plan.variant.transport;
    let unused_from = Counters::now(server, transport, &meter).await?;
    sleep_until(Instant::now() + UNUSED).await;
    let unused_to = Counters::now(server, transport, &meter).await?;
    let kernel_before = kernel::memory_bytes();
    let subscribers = subscribers(plan, &steps, server, &meter, &journal);
    let monitor = Monitor { server, subscribers };
    let unused = [unused_from, unused_to];
    let mut cell = CellUnderTest { monitor, meter, journal, transport, unused, kernel_before };
    let mut measured = MeasuredSteps { cells: Vec::new(), failed: None };
    for (index, step) in steps.iter().enumerate() {
        let next = steps.get(index + 1).map(|next| &next.messages);
        match cell.measure(step, next, on_phase).await {
            Ok(result) => measured.cells.push(result),
            Err(error) => {
                measured.failed = Some((step.plan.workload.clone(), error));
                break;
            }
        }
    }
    Ok(measured)
}

/// The subscribers of a cell, none of them connected yet.
fn subscribers(
    plan: &CellPlan,
    steps: &[Step],
    server: &ServerUnderTest,
    meter: &Arc<Meter>,
    journal: &Arc<Journal>,
) -> Subscribers {
    let response_bytes_max = steps.iter().map(Step::response_bytes_max).max();
    let dialer = server
        .dialer
        .clone()
        .with_round_trip(in_process_rtt(&plan.workload))
        .with_headers(&headers::profile(plan.workload.headers))
        .with_response_bytes_max(response_bytes_max.unwrap_or(RESPONSE_BYTES_MAX))
        .with_meter(meter.clone());
    let target = server.target.clone();
    let endpoint = Endpoint { target, link_port: server.link_port() };
    Subscribers::new(plan, endpoint, steps[0].messages.clone(), dialer, journal.clone())
}

/// The round trip that the in-process link adds; a packet link is in front of the server already.
fn in_process_rtt(workload: &Workload) -> Duration {
    match workload.link {
        Link::InProcess => workload.rtt,
        Link::Packets => Duration::ZERO,
    }
}

/// The server, its subscribers, and what was measured before they connected.
struct CellUnderTest<'a> {
    monitor: Monitor<'a>,
    meter: Arc<Meter>,
    journal: Arc<Journal>,
    transport: Transport,
    unused: Interval,
    kernel_before: Option<u64>,
}

/// A publisher under way.
struct Running {
    publisher: AbortOnDropHandle<Result<crate::measure::Histogram, crate::client::ClientError>>,
    meter: Arc<Meter>,
    acknowledged: Arc<AtomicU64>,
    /// When the warm-up starts.
    start: Instant,
}

impl CellUnderTest<'_> {
    /// Measures a step. `next` are the messages of the next one.
    async fn measure(
        &mut self,
        step: &Step,
        next: Option<&Arc<MessageTexts>>,
        on_phase: &(dyn Fn(CellPhase) + Sync),
    ) -> anyhow::Result<Cell> {
        let Step { plan, schedule, messages } = step;
        on_phase(CellPhase::Connecting);
        self.connect(plan).await?;

        on_phase(CellPhase::Idle);
        let idle = self.count_during(Instant::now() + plan.workload.idle).await?;
        let kernel_idle = kernel::memory_bytes();

        on_phase(CellPhase::WarmUp);
        let warm_up = plan.workload.warm_up;
        let window = Window { start: warm_up, end: warm_up + plan.workload.duration };
        let mut running = self.publish(step, messages, window).await?;
        let start = running.start;
        self.monitor.sleep_until(start + window.start).await?;

        on_phase(CellPhase::Steady);
        self.meter.forget_lateness();
        let steady = self.count_during(start + window.end).await?;
        let poll_late_us = self.meter.lateness();

        let connections = Connections {
            opened: self.meter.counts().opened,
            resumed: self.meter.resumed.load(Relaxed),
            ready_us: self.meter.readiness(),
        };
        let network = (!self.monitor.server.is_child()).then(|| Network {
            subscribers: self.meter.round_trips(),
            publisher: running.meter.round_trips(),
        });
        let mut away = None;
        if plan.workload.restarts() {
            on_phase(CellPhase::Restarting);
            away = Some(self.restart(plan, schedule, window).await?);
        }

        on_phase(CellPhase::Draining);
        let publisher_late_us = self.published(step, &mut running).await?;
        let expected = expected_deliveries(&plan.workload, schedule);
        let is_over = |monitor: &Monitor| {
            monitor.subscribers.delivered() >= expected
                && all_have_recovered(plan, &monitor.subscribers, away)
        };
        let _ = self.monitor.wait(is_over, all_have_arrived_by(plan)).await;
        let (requests, server_requests) =
            self.count_requests(plan, away.is_some(), next.is_some()).await?;
        let observed = Measurements {
            schedule,
            journal: &self.journal,
            start,
            window,
            one_way: plan.workload.rtt / 2,
            unused: &self.unused,
            idle,
            steady,
            kernel: [self.kernel_before, kernel_idle],
            publisher_late_us,
            poll_late_us,
            requests,
            server_requests,
            repeated: self.meter.repeated.load(Relaxed),
            is_local: self.monitor.server.is_local(),
            connections,
            network,
            away,
            logs: match next {
                Some(next) => self.monitor.subscribers.next_step(next.clone()),
                None => self.monitor.subscribers.stop().await,
            },
        };
        Ok(observed.into_cell(plan))
    }

    async fn counters(&mut self) -> anyhow::Result<Counters> {
        Counters::now(self.monitor.server, self.transport, &self.meter).await
    }

    /// The counters now and at `end`.
    async fn count_during(&mut self, end: Instant) -> anyhow::Result<[Counters; 2]> {
        let before = self.counters().await?;
        self.monitor.sleep_until(end).await?;
        Ok([before, self.counters().await?])
    }

    /// Connects the subscribers that the step adds.
    async fn connect(&mut self, plan: &CellPlan) -> anyhow::Result<()> {
        let (count, times) = (u64::from(plan.own_subscribers()), plan.times());
        self.monitor.subscribers.raise_to(plan.workload.subscribers);
        let connected = |monitor: &Monitor| monitor.subscribers.subscribed() >= count;
        let deadline = Instant::now() + plan.expected_duration() + PHASE_TIMEOUT;
        let deadline = times.map_or(deadline, |times| times.idle);
        self.monitor.until(connected, deadline, "subscribers connect").await?;
        if let Some(times) = times {
            self.monitor.sleep_until(times.idle).await?;
        }
        Ok(())
    }

    /// Starts to publish.
    async fn publish(
        &mut self,
        step: &Step,
        messages: &Arc<MessageTexts>,
        window: Window,
    ) -> anyhow::Result<Running> {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let restarts = step.plan.workload.restarts();
        let publishing = Publishing {
            route: self.monitor.server.publish_route(),
            schedule: step.schedule.clone(),
            messages: messages.clone(),
            window,
            retry_max: if restarts { PHASE_TIMEOUT } else { Duration::ZERO },
            acknowledged: acknowledged.clone(),
        };
        let meter = Arc::new(Meter::default());
        let dialer = self.monitor.server.dialer.clone().with_meter(meter.clone());
        let connecting = timeout(PHASE_TIMEOUT, publishing.connect(dialer));
        let publisher = self.monitor.alongside(connecting).await?;
        let publisher = publisher.context("timed out connecting the publisher")?;
        let publisher: Publisher = publisher.context("the publisher failed")?;
        let times = step.plan.times();
        times.iter().try_for_each(CellTimes::check_publish)?;
        let start = times.map_or_else(|| Instant::now() + HEAD_START, |times| times.publish);
        let publisher = AbortOnDropHandle::new(tokio::spawn(publisher.run(start)));
        Ok(Running { publisher, meter, acknowledged, start })
    }

    /// Waits until all messages are published. Returns the publisher's lateness.
    async fn published(
        &mut self,
        Step { plan, schedule, .. }: &Step,
        Running { publisher, acknowledged, start, .. }: &mut Running,
    ) -> anyhow::Result<crate::measure::Histogram> {
        let deadline = *start + plan.workload.publishing() + PUBLISHING_GRACE;
        let ended = timeout_at(deadline.into(), self.monitor.alongside(publisher)).await;
        let late_us = ended.with_context(|| {
            let (done, all) = (acknowledged.load(Relaxed), schedule.publications.len());
            format!(
                "the server acknowledged {done} of {all} publications within {} s after the last \
                 planned one; it is too slow for --rate {}",
                PUBLISHING_GRACE.as_secs(),
                plan.workload.rate
            )
        })????;
        Ok(late_us)
    }

    /// Counts the requests of the cell so far: by the client and, where both can be compared, by
    /// the server; and the server's counters, for a segment.
    async fn count_requests(
        &mut self,
        plan: &CellPlan,
        restarted: bool,
        continues: bool,
    ) -> anyhow::Result<((u64, Option<u64>), Option<(u64, u64)>)> {
        let so_far = (self.meter.counts().requests, None);
        let before = &self.unused[0];
        match plan.times() {
            // Polling subscribers continue to poll.
            _ if restarted || continues => Ok((so_far, None)),
            None => {
                let counting = self.monitor.stop_and_count_requests(
                    &self.meter,
                    self.transport,
                    before,
                    transit_max(plan),
                );
                Ok((counting.await?, None))
            }
            Some(times) => {
                // The server counts the requests of all segments.
                let counting = self.monitor.stop_requests_at(
                    &self.meter,
                    self.transport,
                    times.count_requests,
                );
                let counters = before.scrape.requests.zip(counting.await?);
                Ok(((self.meter.counts().requests, None), counters))
            }
        }
    }

    /// Restarts the server once every message of the steady state has arrived, so that the restart
    /// does not affect the measurement. Returns the start and the end of the downtime.
    async fn restart(
        &mut self,
        plan: &CellPlan,
        schedule: &Schedule,
        window: Window,
    ) -> anyhow::Result<[Instant; 2]> {
        let before = |instants: &Vec<Duration>| instants.partition_point(|at| *at < window.end);
        let counts: Vec<usize> = schedule.by_topic.iter().map(before).collect();
        let arrived = |monitor: &Monitor| monitor.subscribers.has_first(&counts);
        self.monitor.wait(arrived, all_have_arrived_by(plan)).await?;
        self.monitor.restart().await
    }
}

/// How long a request may be in transit to the server.
fn transit_max(plan: &CellPlan) -> Duration {
    let least = if plan.workload.is_lossy() { TRANSIT_LOSSY } else { TRANSIT };
    least + plan.workload.mean_rtt()
}

/// Deadline for the arrival of the messages published so far. A message that is missing then counts
/// as lost; that is a result, not an error.
fn all_have_arrived_by(plan: &CellPlan) -> Instant {
    Instant::now() + plan.poll_interval_max() + plan.workload.rtt + PHASE_TIMEOUT
}

/// Whether all subscribers have recovered from the restart. A short-polling subscriber may not have
/// noticed it.
fn all_have_recovered(
    plan: &CellPlan,
    subscribers: &Subscribers,
    away: Option<[Instant; 2]>,
) -> bool {
    let Some([down_at, _]) = away else { return true };
    let may_miss_it = plan.variant.transport.waiting() == Waiting::InClient;
    may_miss_it || subscribers.recovered_since(down_at) >= u64::from(plan.workload.subscribers)
}
