//! One cell: one transport under one workload, once.
//!
//! ```text
//! server | unused | connect | idle | warm-up | steady state | drain
//! starts |        |         |      |         what counts    |
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio_util::task::AbortOnDropHandle;

use super::fleet::{Fleet, Log};
use super::headers;
use super::kernel;
use super::publisher::Publishing;
use super::scenario::Workload;
use super::schedule::Schedule;
use super::server::{Scrape, ServerSource, ServerUnderTest};
use super::verifier::{Verdict, Window};
use crate::message::TopicName;
use crate::run::{
    Bytes, Cell, Connections, Generator, Requests, ServerCost, TcpIpSource, Trace, TraceEvent,
    TraceWhat,
};
use crate::transport::{Transport, Waiting};
use crate::usage;
use crate::wire::clock::sleep_until;
use crate::wire::{Dialer, Entry, Journal, Meter, Tally, WireError};

/// How long the server is watched before the first subscriber connects.
const UNUSED: Duration = Duration::from_millis(250);
/// Longest that subscribers may take to connect, and messages to arrive after the last one was
/// published, beyond what the workload itself makes them wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long requests may be on their way before client and server are said to disagree.
const SETTLE: Duration = Duration::from_secs(2);
/// Time between two looks at a counter that is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// Longest stretch of one subscriber's life that is kept for the timeline.
const TRACE_MAX: Duration = Duration::from_secs(6);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct CellPlan {
    pub transport: Transport,
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// For schedule and poll phases: the same for every transport of a repeat.
    pub seed: u64,
    /// Set before the topics' names, where a server outlives the cell.
    pub topic_prefix: String,
}

/// A phase of a cell, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connecting,
    Idle,
    WarmUp,
    Steady,
    Draining,
}

impl CellPlan {
    /// How long the cell takes, about.
    pub fn expected_duration(&self) -> Duration {
        let Workload { subscribers, rtt, idle, warm_up, duration, poll_interval, .. } =
            &self.workload;
        let connect = *rtt * (3 + subscribers / 256) + Duration::from_micros(300) * *subscribers;
        let drain = match self.transport.waiting() {
            Waiting::InClient => *poll_interval + *rtt,
            Waiting::PerRequest | Waiting::PerConnection => *rtt,
        };
        let starting_and_stopping = Duration::from_millis(200);
        UNUSED + connect + *idle + *warm_up + *duration + drain + starting_and_stopping
    }

    /// Measures it.
    ///
    /// # Errors
    /// If the server ends, a subscriber fails, or messages stop arriving.
    pub async fn measure(
        &self,
        source: &ServerSource,
        tell: &(dyn Fn(Phase) + Sync),
    ) -> anyhow::Result<(Cell, String)> {
        let mut server = source.open(self.workload.subscribers).await?;
        let version = server.version.clone();
        let result = self.measure_on(&mut server, tell).await;
        server.close().await;
        Ok((result?, version))
    }

    async fn measure_on(
        &self,
        server: &mut ServerUnderTest,
        tell: &(dyn Fn(Phase) + Sync),
    ) -> anyhow::Result<Cell> {
        let before = Moment::now(server, self.transport, &Meter::default()).await?;
        sleep_until(Instant::now() + UNUSED).await;
        let unused = Moment::now(server, self.transport, &Meter::default()).await?;
        let kernel_before = kernel::memory_bytes();

        tell(Phase::Connecting);
        let schedule = Arc::new(Schedule::plan(&self.workload, self.seed));
        let topics = Arc::new(self.topics());
        let meter = Arc::new(Meter::default());
        let journal = Arc::new(Journal::default());
        let dialer = Dialer::new(server.address)
            .with_round_trip(self.workload.rtt)
            .with_headers(&headers::profile(self.workload.headers))
            .with_meter(meter.clone());
        let (workload, seed) = (&self.workload, self.seed);
        let fleet =
            Fleet::launch(self.transport, workload, topics.clone(), &dialer, journal.clone(), seed);
        let mut watch = Watch { server, fleet };
        let subscribers = u64::from(workload.subscribers);
        let connected = |watch: &Watch| watch.fleet.subscribed() >= subscribers;
        let deadline = Instant::now() + self.expected_duration() + PATIENCE;
        watch.until(connected, deadline, "subscribers connect").await?;

        tell(Phase::Idle);
        let idle_from = Moment::now(watch.server, self.transport, &meter).await?;
        watch.sleep_until(Instant::now() + workload.idle).await?;
        let idle_to = Moment::now(watch.server, self.transport, &meter).await?;
        let kernel_idle = kernel::memory_bytes();

        tell(Phase::WarmUp);
        let window = Window { start: workload.warm_up, end: workload.warm_up + workload.duration };
        let start = Instant::now() + Duration::from_millis(20);
        let publishing = Publishing {
            schedule: schedule.clone(),
            topics,
            message_bytes: workload.message_bytes,
            start,
            window,
        };
        let publisher = publishing.run(watch.server.address);
        let mut publisher = AbortOnDropHandle::new(tokio::spawn(publisher));
        watch.sleep_until(start + window.start).await?;

        tell(Phase::Steady);
        meter.forget_lateness();
        let steady_from = Moment::now(watch.server, self.transport, &meter).await?;
        watch.sleep_until(start + window.end).await?;
        let steady_to = Moment::now(watch.server, self.transport, &meter).await?;
        let poll_late_us = meter.lateness();

        tell(Phase::Draining);
        let publisher_late_us = watch.alongside(&mut publisher).await???;
        let expected = expected_deliveries(workload, &schedule);
        let deadline = Instant::now() + workload.poll_interval + workload.rtt + PATIENCE;
        // What is missing after that is lost, which is a result and not an error.
        let _ = watch.until(|watch| watch.fleet.received() >= expected, deadline, "").await;
        let settled = watch.settle(&meter, self.transport, &before).await?;
        let logs = watch.fleet.stop().await;

        let verdict = verify(&logs, &schedule, start, window);
        let steady = steady_to.since(&steady_from);
        let in_window =
            |publication: &&super::schedule::Publication| window.contains(publication.at);
        Ok(Cell {
            transport: self.transport,
            case: self.case.clone(),
            workload: workload.clone(),
            repeat: self.repeat,
            steady_s: workload.duration.as_secs_f64(),
            published: schedule.publications.iter().filter(in_window).count() as u64,
            deliveries: verdict.deliveries,
            latency_us: verdict.latency_us,
            requests: requests(&steady.tally, settled),
            bytes: bytes(&steady.tally),
            connections: Connections { opened: meter.tally().opened, ready_us: meter.readiness() },
            server: Some(ServerCost {
                cpu_s: steady.cpu_s,
                cpu_unused: unused.since(&before).cpu_share(),
                cpu_idle: idle_to.since(&idle_from).cpu_share(),
                resident_before_bytes: unused.scrape.resident_bytes,
                resident_idle_bytes: idle_to.scrape.resident_bytes,
                resident_end_bytes: steady_to.scrape.resident_bytes,
                kernel_socket_bytes: kernel::per_connection(
                    kernel_before,
                    kernel_idle,
                    subscribers,
                ),
            }),
            generator: Generator {
                publisher_late_us,
                poll_late_us,
                cpu_s: steady_to.own_cpu_s - steady_from.own_cpu_s,
            },
            trace: trace(&journal, &logs[0], &schedule, start, window),
        })
    }

    fn topics(&self) -> Vec<TopicName> {
        let name = |number| format!("{}t{number}", self.topic_prefix);
        let parse = |name: String| name.parse().expect("letters, digits and '-'");
        (0..self.workload.topics).map(|number| parse(name(number))).collect()
    }
}

/// All counters at one instant.
struct Moment {
    at: Instant,
    tally: Tally,
    scrape: Scrape,
    own_cpu_s: f64,
}

/// What happened between two moments.
struct Stretch {
    tally: Tally,
    cpu_s: f64,
    length: Duration,
}

impl Moment {
    async fn now(
        server: &mut ServerUnderTest,
        transport: Transport,
        meter: &Meter,
    ) -> Result<Moment, WireError> {
        let (at, tally, own_cpu_s) = (Instant::now(), meter.tally(), usage::cpu_seconds());
        let scrape = server.scrape(transport).await?;
        Ok(Moment { at, tally, scrape, own_cpu_s })
    }

    fn since(&self, earlier: &Moment) -> Stretch {
        Stretch {
            tally: self.tally.since(&earlier.tally),
            cpu_s: self.scrape.cpu_s - earlier.scrape.cpu_s,
            length: self.at - earlier.at,
        }
    }
}

impl Stretch {
    fn cpu_share(&self) -> f64 {
        self.cpu_s / self.length.as_secs_f64().max(1e-3)
    }
}

/// Server and fleet, watched while something else is waited for: if one of them fails, so does the
/// wait.
struct Watch<'a> {
    server: &'a mut ServerUnderTest,
    fleet: Fleet,
}

impl Watch<'_> {
    async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => Ok(done),
            how = self.server.ended() => bail!(how),
            error = self.fleet.failure() => {
                // A dying server takes its subscribers with it: say what came first.
                let ended = tokio::time::timeout(LOOK * 20, self.server.ended()).await;
                match ended {
                    Ok(how) => bail!(how),
                    Err(_) => Err(anyhow::Error::new(error).context("a subscriber failed")),
                }
            }
        }
    }

    async fn sleep_until(&mut self, instant: Instant) -> anyhow::Result<()> {
        self.alongside(sleep_until(instant)).await
    }

    /// Waits for `done`, as long as there is any hope.
    async fn until(
        &mut self,
        done: impl Fn(&Watch) -> bool,
        deadline: Instant,
        what: &str,
    ) -> anyhow::Result<()> {
        while !done(self) {
            if Instant::now() > deadline {
                bail!("gave up waiting until all {what}");
            }
            self.sleep_until(Instant::now() + LOOK).await?;
        }
        Ok(())
    }

    /// Lets no further request out and waits until those on their way have been counted by the
    /// server too. Returns what both have counted in the whole cell.
    async fn settle(
        &mut self,
        meter: &Meter,
        transport: Transport,
        before: &Moment,
    ) -> anyhow::Result<(u64, u64)> {
        meter.hush.cancel();
        let deadline = Instant::now() + SETTLE;
        loop {
            let counted = self.server.scrape(transport).await?.requests - before.scrape.requests;
            let sent = meter.requests.load(Relaxed);
            if counted == sent || Instant::now() > deadline {
                return Ok((sent, counted));
            }
            self.sleep_until(Instant::now() + LOOK).await?;
        }
    }
}

fn expected_deliveries(workload: &Workload, schedule: &Schedule) -> u64 {
    let subscribers_of = |topic: u32| {
        let whole = workload.subscribers / workload.topics;
        whole + u32::from(topic < workload.subscribers % workload.topics)
    };
    let of_topic = |(topic, instants): (u32, &Vec<Duration>)| {
        instants.len() as u64 * u64::from(subscribers_of(topic))
    };
    (0..).zip(&schedule.by_topic).map(of_topic).sum()
}

fn verify(logs: &[Log], schedule: &Schedule, start: Instant, window: Window) -> Verdict {
    let mut verdict = Verdict::default();
    for log in logs {
        verdict.add(schedule, window, log.topic, &log.receipts(start));
        // A gap or a reset is a loss that the server owned up to.
        verdict.deliveries.lost += log.notices;
    }
    verdict
}

fn requests(steady: &Tally, (client_total, server_total): (u64, u64)) -> Requests {
    Requests {
        sent: steady.requests,
        answers: steady.answers,
        empty_answers: steady.empty_answers,
        client_total,
        server_total: Some(server_total),
    }
}

fn bytes(steady: &Tally) -> Bytes {
    let tcp_ip_source = match steady.segments_are_counted() {
        true => TcpIpSource::TcpInfo,
        false => TcpIpSource::Estimated,
    };
    Bytes { up: steady.up(), down: steady.down(), tcp_ip_source }
}

/// The first subscriber's life at the beginning of the steady state.
fn trace(
    journal: &Journal,
    log: &Log,
    schedule: &Schedule,
    start: Instant,
    window: Window,
) -> Trace {
    let length = (window.end - window.start).min(TRACE_MAX);
    let zero = start + window.start;
    let micros = |instant: Instant| match instant.checked_duration_since(zero) {
        Some(after) => after.as_micros() as i64,
        None => -((zero - instant).as_micros() as i64),
    };
    let planned = |number: u32| start + schedule.by_topic[log.topic as usize][number as usize];
    let asked = journal.entries().into_iter().map(|(at, entry)| {
        let what = match entry {
            Entry::Request => TraceWhat::Request,
            Entry::Answer { messages } => TraceWhat::Answer { messages: messages as u32 },
        };
        TraceEvent { at_us: micros(at), what }
    });
    let heard = log
        .arrivals()
        .filter(|(number, _)| (*number as usize) < schedule.by_topic[log.topic as usize].len());
    let heard = heard.map(|(number, at)| {
        let planned_us = micros(planned(number));
        TraceEvent { at_us: micros(at), what: TraceWhat::Message { planned_us } }
    });
    let length_us = length.as_micros() as u64;
    let shown = -1_000_000..=length_us as i64;
    let mut events: Vec<_> =
        asked.chain(heard).filter(|event| shown.contains(&event.at_us)).collect();
    events.sort_by_key(|event| event.at_us);
    let published = schedule.by_topic[log.topic as usize].iter().map(|at| micros(start + *at));
    Trace { length_us, published_us: published.filter(|at| shown.contains(at)).collect(), events }
}
