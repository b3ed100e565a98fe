//! Measures one cell: one transport under one workload, once.
//!
//! ```text
//! server | unused | connect | idle | warm-up | steady state | restart    | drain
//! starts |        |         |      |         | (measured)   | (optional) |
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::headers;
use super::kernel;
use super::measurements::{Measurements, expected_deliveries};
use super::monitor::{Counters, Monitor};
use super::plan::CellPlan;
use super::publisher::Publishing;
use super::schedule::{MessageTexts, Schedule};
use super::server::{Demand, ServerSource, ServerUnderTest};
use super::subscribers::{Endpoint, Subscribers};
use super::verifier::Window;
use crate::client::clock::sleep_until;
use crate::client::{Journal, Meter, RESPONSE_BYTES_MAX};
use crate::message::TopicName;
use crate::run::{Cell, Connections, Network};
use crate::scenario::{Link, Workload};
use crate::text::causes;
use crate::variant::{Extra, Waiting};

/// Length of the baseline measurement before the first subscriber connects.
const UNUSED: Duration = Duration::from_millis(250);
/// Longest time for subscribers to connect, and for messages to arrive after the last publication,
/// in addition to the delays caused by the workload.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for publishing after the last planned publication.
const PUBLISHING_GRACE: Duration = Duration::from_secs(10);
/// How long requests may be in transit before the counts of client and server must agree, beyond
/// the round trip ...
const SETTLE: Duration = Duration::from_secs(2);
/// ... and on a lossy link, where TCP retransmits, some segments several times.
const SETTLE_LOSSY: Duration = Duration::from_secs(15);
/// Limit of a response's bytes in addition to those of its messages.
const RESPONSE_BYTES_SPARE: usize = 64 << 10;
/// Bytes of a message in addition to its text: JSON, time, offset, and envelopes of other servers.
const ENVELOPE_BYTES: usize = 1_024;
/// Time from the start of the publisher until its first publication.
const HEAD_START: Duration = Duration::from_millis(20);

/// Why a cell has no result.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The server cannot be started or reached, or is not supported.
    #[error("{}", causes(.0))]
    NoServer(anyhow::Error),
    /// The server exited, a subscriber or the publisher failed, or a phase timed out.
    #[error("{}", causes(.0))]
    Failed(anyhow::Error),
}

/// A phase of a cell, for progress messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellPhase {
    Connecting,
    Idle,
    WarmUp,
    Steady,
    Restarting,
    Draining,
}

impl CellPlan {
    /// Approximate duration of the cell.
    pub fn expected_duration(&self) -> Duration {
        let Workload { subscribers, rtt, idle, .. } = &self.workload;
        let connect = *rtt * (3 + subscribers / 256) + Duration::from_micros(300) * *subscribers;
        let drain = match self.variant.transport.waiting() {
            Waiting::InClient => self.poll_interval_max() + *rtt,
            Waiting::PerRequest | Waiting::PerConnection => *rtt,
        };
        let starting_and_stopping = Duration::from_millis(200);
        UNUSED + connect + *idle + self.workload.publishing() + drain + starting_and_stopping
    }

    /// Longest interval between two polls of a subscriber.
    fn poll_interval_max(&self) -> Duration {
        let Workload { poll_interval, poll_interval_max, .. } = self.workload;
        match self.variant.has(Extra::Adaptive) {
            true => poll_interval_max.max(poll_interval),
            false => poll_interval,
        }
    }

    /// Measures the cell. Returns the result and the server's version.
    ///
    /// # Errors
    /// If the server is unavailable, or the measurement fails.
    pub async fn measure(
        &self,
        source: &ServerSource,
        on_phase: &(dyn Fn(CellPhase) + Sync),
    ) -> Result<(Cell, String), CellError> {
        let demand = Demand {
            subscribers: self.workload.subscribers,
            on_disk: self.on_disk,
            tls: self.variant.has(Extra::Tls),
            link: self.workload.packet_link_parameters(),
            seed: self.seed,
        };
        let mut server = source.open(demand).await.map_err(CellError::NoServer)?;
        let version = server.version.clone();
        let transport = self.variant.transport;
        let before = match server.is_child() {
            true => None,
            false => server.scrape(transport).await.map_err(CellError::NoServer)?.connections,
        };
        let result = self.measure_on(&mut server, on_phase).await;
        if let Some(before) = before {
            server.until_left(before, transport).await;
        }
        server.close().await;
        Ok((result.map_err(CellError::Failed)?, version))
    }

    async fn measure_on(
        &self,
        server: &mut ServerUnderTest,
        on_phase: &(dyn Fn(CellPhase) + Sync),
    ) -> anyhow::Result<Cell> {
        let transport = self.variant.transport;
        let schedule = Arc::new(Schedule::plan(&self.workload, self.seed));
        let bytes = self.workload.message_bytes;
        let messages = Arc::new(MessageTexts::new(&schedule, self.topics(), bytes));
        let meter = Arc::new(Meter::default());
        let journal = Arc::new(Journal::default());

        let unused_from = Counters::now(server, transport, &meter).await?;
        sleep_until(Instant::now() + UNUSED).await;
        let unused_to = Counters::now(server, transport, &meter).await?;
        let kernel_before = kernel::memory_bytes();

        on_phase(CellPhase::Connecting);
        let subscribers = self.launch(server, messages.clone(), meter.clone(), journal.clone());
        let mut monitor = Monitor { server, subscribers };
        let count = u64::from(self.workload.subscribers);
        let connected = |monitor: &Monitor| monitor.subscribers.subscribed() >= count;
        let deadline = Instant::now() + self.expected_duration() + PATIENCE;
        monitor.until(connected, deadline, "subscribers connect").await?;

        on_phase(CellPhase::Idle);
        let idle_from = Counters::now(monitor.server, transport, &meter).await?;
        monitor.sleep_until(Instant::now() + self.workload.idle).await?;
        let idle_to = Counters::now(monitor.server, transport, &meter).await?;
        let kernel_idle = kernel::memory_bytes();

        on_phase(CellPhase::WarmUp);
        let warm_up = self.workload.warm_up;
        let window = Window { start: warm_up, end: warm_up + self.workload.duration };
        let acknowledged = Arc::new(AtomicU64::new(0));
        let publishing = Publishing {
            route: monitor.server.publish_route(),
            schedule: schedule.clone(),
            messages,
            window,
            patience: if self.workload.restarts() { PATIENCE } else { Duration::ZERO },
            acknowledged: acknowledged.clone(),
        };
        let publisher_meter = Arc::new(Meter::default());
        let dialer = monitor.server.dialer.clone().with_meter(publisher_meter.clone());
        let connecting = timeout(PATIENCE, publishing.connect(dialer));
        let publisher = monitor.alongside(connecting).await?;
        let publisher = publisher.context("timed out connecting the publisher")?;
        let publisher = publisher.context("the publisher failed")?;
        let start = Instant::now() + HEAD_START;
        let mut publisher = AbortOnDropHandle::new(tokio::spawn(publisher.run(start)));
        monitor.sleep_until(start + window.start).await?;

        on_phase(CellPhase::Steady);
        meter.forget_lateness();
        let steady_from = Counters::now(monitor.server, transport, &meter).await?;
        monitor.sleep_until(start + window.end).await?;
        let steady_to = Counters::now(monitor.server, transport, &meter).await?;
        let poll_late_us = meter.lateness();

        let opened = meter.counts().opened;
        let resumed = meter.resumed.load(Relaxed);
        let connections = Connections { opened, resumed, ready_us: meter.readiness() };
        let network = (!monitor.server.is_child()).then(|| Network {
            subscribers: meter.round_trips(),
            publisher: publisher_meter.round_trips(),
        });
        let away = match self.workload.restarts() {
            true => {
                on_phase(CellPhase::Restarting);
                Some(self.restart(&mut monitor, &schedule, window).await?)
            }
            false => None,
        };

        on_phase(CellPhase::Draining);
        let deadline = start + self.workload.publishing() + PUBLISHING_GRACE;
        let ended = timeout_at(deadline.into(), monitor.alongside(&mut publisher)).await;
        let publisher_late_us = ended.with_context(|| {
            let (done, all) = (acknowledged.load(Relaxed), schedule.publications.len());
            format!(
                "the server acknowledged {done} of {all} publications within {} s after the last \
                 planned one; it is too slow for --rate {}",
                PUBLISHING_GRACE.as_secs(),
                self.workload.rate
            )
        })????;
        let expected = expected_deliveries(&self.workload, &schedule);
        let is_over = |monitor: &Monitor| {
            monitor.subscribers.delivered() >= expected
                && self.all_have_recovered(&monitor.subscribers, away)
        };
        let _ = monitor.wait(is_over, self.all_have_arrived_by()).await;
        let requests = match away {
            None => monitor.settle(&meter, transport, &unused_from, self.settling()).await?,
            Some(_) => (meter.counts().requests, None),
        };
        let observed = Measurements {
            schedule: &schedule,
            journal: &journal,
            start,
            window,
            one_way: self.workload.rtt / 2,
            unused: [unused_from, unused_to],
            idle: [idle_from, idle_to],
            steady: [steady_from, steady_to],
            kernel: [kernel_before, kernel_idle],
            publisher_late_us,
            poll_late_us,
            requests,
            repeated: meter.repeated.load(Relaxed),
            is_local: monitor.server.is_local(),
            connections,
            network,
            away,
            logs: monitor.subscribers.stop().await,
        };
        Ok(observed.into_cell(self))
    }

    /// Restarts the server once every message of the steady state has arrived, so that the restart
    /// does not affect the measurement. Returns the start and the end of the downtime.
    async fn restart(
        &self,
        monitor: &mut Monitor<'_>,
        schedule: &Schedule,
        window: Window,
    ) -> anyhow::Result<[Instant; 2]> {
        let before = |instants: &Vec<Duration>| instants.partition_point(|at| *at < window.end);
        let counts: Vec<usize> = schedule.by_topic.iter().map(before).collect();
        let arrived = |monitor: &Monitor| monitor.subscribers.has_first(&counts);
        monitor.wait(arrived, self.all_have_arrived_by()).await?;
        monitor.restart().await
    }

    /// How long a request may be in transit to the server.
    fn settling(&self) -> Duration {
        let least = if self.workload.is_lossy() { SETTLE_LOSSY } else { SETTLE };
        least + self.workload.mean_rtt()
    }

    /// Deadline for the arrival of the messages published so far. A message that is missing then
    /// counts as lost; that is a result, not an error.
    fn all_have_arrived_by(&self) -> Instant {
        Instant::now() + self.poll_interval_max() + self.workload.rtt + PATIENCE
    }

    /// Whether all subscribers have recovered from the restart. A short-polling subscriber may not
    /// have noticed it.
    fn all_have_recovered(&self, subscribers: &Subscribers, away: Option<[Instant; 2]>) -> bool {
        let Some([down_at, _]) = away else { return true };
        let may_miss_it = self.variant.transport.waiting() == Waiting::InClient;
        may_miss_it || subscribers.recovered_since(down_at) >= u64::from(self.workload.subscribers)
    }

    fn launch(
        &self,
        server: &ServerUnderTest,
        messages: Arc<MessageTexts>,
        meter: Arc<Meter>,
        journal: Arc<Journal>,
    ) -> Subscribers {
        let dialer = server
            .dialer
            .clone()
            .with_round_trip(self.in_process_rtt())
            .with_headers(&headers::profile(self.workload.headers))
            .with_response_bytes_max(self.response_bytes_max(&messages))
            .with_meter(meter);
        let target = server.target.clone();
        let endpoint = Endpoint { target, link_port: server.link_port() };
        Subscribers::launch(
            self.variant,
            endpoint,
            &self.workload,
            messages,
            &dialer,
            journal,
            self.seed,
        )
    }

    /// The round trip that the in-process link adds; a packet link is in front of the server
    /// already.
    fn in_process_rtt(&self) -> Duration {
        match self.workload.link {
            Link::InProcess => self.workload.rtt,
            Link::Packets => Duration::ZERO,
        }
    }

    /// Limit of a response's bytes: twice all messages of a topic.
    fn response_bytes_max(&self, messages: &MessageTexts) -> usize {
        let count = (0..self.workload.topics).map(|topic| messages.count(topic)).max().unwrap_or(0);
        let each = self.workload.message_bytes as usize + ENVELOPE_BYTES;
        (2 * count * each + RESPONSE_BYTES_SPARE).min(RESPONSE_BYTES_MAX)
    }

    fn topics(&self) -> Vec<TopicName> {
        let name = |number| format!("{}t{number}", self.topic_prefix);
        let parse = |name: String| name.parse().expect("letters, digits and '-'");
        (0..self.workload.topics).map(|number| parse(name(number))).collect()
    }
}
