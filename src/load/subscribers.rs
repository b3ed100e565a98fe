//! The subscribers of a cell, each with its own task and connection.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::plan::CellPlan;
use super::schedule::MessageTexts;
use super::target::Target;
use super::target_subscriber;
use super::verifier::Receipt;
use crate::client::{ClientError, Dialer, Journal};
use crate::message::TopicName;
use crate::packet_link;
use crate::scenario::{Segment, Workload};
use crate::transport::{Backoff, Outage, Reconnecting, SubscribeOptions, Subscriber, Update};
use crate::variant::{Extra, Pacing, Variant};

/// Connections established concurrently; more would only wait in the server's backlog.
const CONNECTING_MAX: usize = 256;

/// A cell fails if a subscriber receives more than `EXCESS_FACTOR` times the published messages
/// plus `EXCESS_SPARE`.
const EXCESS_FACTOR: usize = 2;
const EXCESS_SPARE: usize = 100;

/// All subscribers of a cell.
#[derive(Debug)]
pub struct Subscribers {
    shared: Arc<Shared>,
    /// The messages that are expected now.
    messages: Arc<MessageTexts>,
    next: NextSubscriber,
    tasks: JoinSet<()>,
    logs: Vec<Arc<Mutex<ReceiptLog>>>,
    failures: mpsc::Receiver<ClientError>,
}

#[derive(Debug)]
struct Shared {
    variant: Variant,
    /// The description of a third-party server.
    target: Option<Arc<Target>>,
    workload: Workload,
    topics: Vec<TopicName>,
    connecting: Semaphore,
    subscribed: AtomicU64,
    delivered: AtomicU64,
    failed: mpsc::Sender<ClientError>,
}

/// How the next subscriber is started.
#[derive(Debug)]
struct NextSubscriber {
    number: u32,
    /// `None` if all topics are measured here.
    segment: Option<Segment>,
    phases: ChaCha8Rng,
    link_port: Option<u16>,
    /// The last one's, which subscribers of the same group share.
    dialer: Dialer,
    /// For the first one.
    journal: Option<Arc<Journal>>,
}

impl NextSubscriber {
    fn dialer(&mut self, variant: Variant, number: u32, is_first_of_group: bool) -> Dialer {
        if variant.has(Extra::H2) && is_first_of_group {
            self.dialer = self.dialer.clone().with_shared(Arc::default());
        }
        if let Some(port) = self.link_port
            && (is_first_of_group || !variant.has(Extra::H2))
        {
            let address = (packet_link::address(number), port).into();
            self.dialer = self.dialer.clone().with_address(address);
        }
        let dialer = match variant.has(Extra::Resumed) {
            true => self.dialer.clone().with_own_sessions(),
            false => self.dialer.clone(),
        };
        match self.journal.take() {
            Some(journal) => dialer.with_journal(journal),
            None => dialer,
        }
    }
}

/// How the subscribers reach the server.
#[derive(Debug)]
pub struct Endpoint {
    /// The description of a third-party server.
    pub target: Option<Arc<Target>>,
    /// The server's port behind the packet link, if there is one: each subscriber, or each group of
    /// subscribers that share a connection, has an address of its own there.
    pub link_port: Option<u16>,
}

/// The messages that one subscriber received, in order of arrival.
#[derive(Debug)]
pub struct ReceiptLog {
    pub topic: u32,
    messages: Arc<MessageTexts>,
    receipts: Vec<(Option<u32>, Instant)>,
    /// For each message of the topic, whether it has arrived.
    seen: Vec<bool>,
    /// Gaps and resets reported by the server; they count as losses.
    pub notices: u64,
    /// The times without a connection.
    outages: Vec<Outage>,
}

impl ReceiptLog {
    fn new(topic: u32, messages: Arc<MessageTexts>) -> ReceiptLog {
        let seen = vec![false; messages.count(topic)];
        ReceiptLog { topic, messages, receipts: Vec::new(), seen, notices: 0, outages: Vec::new() }
    }

    /// The received messages of the topic: number and time of arrival.
    pub fn arrivals(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.receipts.iter().filter_map(|&(number, at)| Some((number?, at)))
    }

    /// Records the arrival of a message; `None` means that it is not one of the topic. Returns
    /// whether it is the first arrival of that message.
    fn receive(&mut self, number: Option<u32>, at: Instant) -> bool {
        self.receipts.push((number, at));
        let seen = number.and_then(|number| self.seen.get_mut(number as usize));
        seen.is_some_and(|seen| !std::mem::replace(seen, true))
    }

    /// Limits the memory that a server can fill with deliveries.
    ///
    /// # Errors
    /// If far more messages have arrived than are published.
    fn check_excess(&self) -> Result<(), ClientError> {
        let (received, published) = (self.receipts.len(), self.seen.len());
        if received <= EXCESS_FACTOR * published + EXCESS_SPARE {
            return Ok(());
        }
        Err(ClientError::ProtocolError(format!(
            "the server sent {received} messages to a subscriber of a topic with {published} \
             published messages"
        )))
    }

    /// Whether each of the topic's first `count` messages has arrived.
    fn has_first(&self, count: usize) -> bool {
        self.seen[..count].iter().all(|seen| *seen)
    }

    /// The outage that ended after `instant`, if any. Several outages are merged into one.
    pub fn outage_since(&self, instant: Instant) -> Option<Outage> {
        let mut since = self.outages.iter().filter(|outage| outage.back_at > instant);
        let first = since.next()?;
        let back_at = since.next_back().unwrap_or(first).back_at;
        Some(Outage { lost_at: first.lost_at, back_at })
    }

    /// The receipts with times relative to `start`.
    pub fn receipts(&self, start: Instant) -> Vec<Receipt> {
        let since = |at: Instant| at.saturating_duration_since(start);
        self.receipts.iter().map(|&(number, at)| Receipt { number, at: since(at) }).collect()
    }
}

/// A connected subscriber.
enum AnySubscriber {
    Ours(Box<Subscriber>),
    /// A subscriber that reconnects, for cells with a restart.
    Reconnecting(Box<Reconnecting>),
    ThirdParty(target_subscriber::Subscriber),
}

impl AnySubscriber {
    async fn next(&mut self) -> Result<Update, ClientError> {
        match self {
            AnySubscriber::Ours(subscriber) => subscriber.next().await,
            AnySubscriber::Reconnecting(subscriber) => subscriber.next().await,
            AnySubscriber::ThirdParty(subscriber) => subscriber.next().await,
        }
    }

    /// The outage that has ended since the last call, if any.
    fn outage(&mut self) -> Option<Outage> {
        match self {
            AnySubscriber::Reconnecting(subscriber) => subscriber.outage(),
            AnySubscriber::Ours(_) | AnySubscriber::ThirdParty(_) => None,
        }
    }
}

impl Subscribers {
    /// The subscribers of a cell, of which none is started. The first one records its requests and
    /// responses in `journal`.
    pub fn new(
        plan: &CellPlan,
        Endpoint { target, link_port }: Endpoint,
        messages: Arc<MessageTexts>,
        dialer: Dialer,
        journal: Arc<Journal>,
    ) -> Subscribers {
        let (failed, failures) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            variant: plan.variant,
            target,
            workload: plan.workload.clone(),
            topics: messages.topics.clone(),
            connecting: Semaphore::new(CONNECTING_MAX),
            subscribed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed,
        });
        let next = NextSubscriber {
            number: 0,
            segment: plan.share.map(|share| share.segment),
            phases: phases(plan.seed),
            link_port,
            dialer,
            journal: Some(journal),
        };
        Subscribers { shared, messages, next, tasks: JoinSet::new(), logs: Vec::new(), failures }
    }

    /// Starts further subscribers until there are `count`, those of other segments included.
    pub fn raise_to(&mut self, count: u32) {
        let Shared { variant, workload, .. } = &*self.shared;
        while self.next.number < count {
            let number = self.next.number;
            self.next.number += 1;
            // Drawn in any case, so that every subscriber has the same phase.
            let phase = self.next.phases.random();
            let topic = number % workload.topics;
            if self.next.segment.is_some_and(|segment| !segment.owns(topic)) {
                continue;
            }
            let is_first_of_group =
                (self.logs.len() as u32).is_multiple_of(workload.streams_per_connection);
            let dialer = self.next.dialer(*variant, number, is_first_of_group);
            let log = ReceiptLog::new(topic, self.messages.clone());
            let log = Arc::new(Mutex::new(log));
            let shared = self.shared.clone();
            self.tasks.spawn(shared.subscribe(dialer, log.clone(), topic, phase));
            self.logs.push(log);
        }
    }

    /// Expects `messages` from now on. Returns the logs so far, in the order of the subscribers'
    /// numbers.
    pub fn next_step(&mut self, messages: Arc<MessageTexts>) -> Vec<ReceiptLog> {
        let replace = |log: &Arc<Mutex<ReceiptLog>>| {
            let mut log = log.lock().expect("no panic under this lock");
            let next = ReceiptLog::new(log.topic, messages.clone());
            std::mem::replace(&mut *log, next)
        };
        let logs = self.logs.iter().map(replace).collect();
        self.shared.delivered.store(0, Relaxed);
        self.messages = messages;
        logs
    }

    /// Number of subscribers whose subscription is complete: they miss no later message.
    pub fn subscribed(&self) -> u64 {
        self.shared.subscribed.load(Relaxed)
    }

    /// Number of messages received so far by all subscribers, without duplicates.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Relaxed)
    }

    /// Whether every subscriber has received the first `counts[topic]` messages of its topic.
    pub fn has_first(&self, counts: &[usize]) -> bool {
        self.logs.iter().all(|log| {
            let log = log.lock().expect("no panic under this lock");
            log.has_first(counts[log.topic as usize])
        })
    }

    /// Number of subscribers that have recovered from an outage since `instant`.
    pub fn recovered_since(&self, instant: Instant) -> u64 {
        let has_recovered = |log: &&Arc<Mutex<ReceiptLog>>| {
            log.lock().expect("no panic under this lock").outage_since(instant).is_some()
        };
        self.logs.iter().filter(has_recovered).count() as u64
    }

    /// Waits until a subscriber fails.
    pub async fn failure(&mut self) -> ClientError {
        match self.failures.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Stops all subscribers, and returns their logs in the order of their numbers.
    pub async fn stop(&mut self) -> Vec<ReceiptLog> {
        // Aborting is cheaper than a cancellation token, which every wake-up would have to check.
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            let is_regular = ended.map_or_else(|error| error.is_cancelled(), |()| true);
            assert!(is_regular, "a subscriber does not panic");
        }
        let unwrap = |log| Arc::into_inner(log).expect("its subscriber has ended");
        let logs = std::mem::take(&mut self.logs).into_iter().map(unwrap);
        logs.map(|log| log.into_inner().expect("no panic under this lock")).collect()
    }
}

/// A random phase from 0 to 1 for each subscriber. It uses another random stream than the schedule;
/// with the same stream the first subscribers would poll in step with the publications.
fn phases(seed: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(1);
    random
}

impl Shared {
    async fn subscribe(
        self: Arc<Self>,
        dialer: Dialer,
        log: Arc<Mutex<ReceiptLog>>,
        topic: u32,
        phase: f64,
    ) {
        let Err(error) = self.follow(dialer, &log, topic, phase).await;
        // The first failure ends the cell; later ones are dropped.
        let _ = self.failed.try_send(error);
    }

    /// Connects, then receives until an error.
    async fn follow(
        &self,
        dialer: Dialer,
        log: &Mutex<ReceiptLog>,
        topic: u32,
        phase: f64,
    ) -> Result<Infallible, ClientError> {
        let mut subscriber = {
            let _permit = self.connecting.acquire().await.expect("never closed");
            self.connect(dialer, self.options(topic, phase)).await?
        };
        self.subscribed.fetch_add(1, Relaxed);
        loop {
            let received = subscriber.next().await?;
            let now = Instant::now();
            let mut log = log.lock().expect("no panic under this lock");
            log.notices += u64::from(received.gap > 0) + u64::from(received.reset);
            log.outages.extend(subscriber.outage());
            let mut first_arrivals = 0;
            for message in &received.messages {
                let number = log.messages.number(topic, &message.text);
                first_arrivals += u64::from(log.receive(number, now));
            }
            log.check_excess()?;
            self.delivered.fetch_add(first_arrivals, Relaxed);
        }
    }

    async fn connect(
        &self,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<AnySubscriber, ClientError> {
        let variant = self.variant;
        Ok(match &self.target {
            None if !self.workload.restarts() => {
                let subscriber = Subscriber::connect(variant, dialer, options).await?;
                AnySubscriber::Ours(Box::new(subscriber))
            }
            None => {
                let connecting =
                    Reconnecting::connect(variant, dialer, options, Backoff::default());
                AnySubscriber::Reconnecting(Box::new(connecting.await?))
            }
            Some(target) => {
                let subscriber = target_subscriber::Subscriber::connect(
                    target,
                    variant.transport,
                    dialer,
                    options,
                );
                AnySubscriber::ThirdParty(subscriber.await?)
            }
        })
    }

    fn options(&self, topic: u32, phase: f64) -> SubscribeOptions {
        let Workload { poll_interval, poll_interval_max, poll_pacing, long_poll_hold, rtt, .. } =
            self.workload;
        let round_trip = match poll_pacing {
            Pacing::AfterResponse => rtt,
            Pacing::FixedRate => Duration::ZERO,
        };
        SubscribeOptions {
            interval: poll_interval,
            interval_max: poll_interval_max,
            pacing: poll_pacing,
            first_poll: Some(
                Instant::now() + 3 * rtt + (poll_interval + round_trip).mul_f64(phase),
            ),
            wait: long_poll_hold,
            // Otherwise all long polls would time out at the same moment, or none would during the
            // measurement.
            first_wait: Some(long_poll_hold.mul_f64(phase)),
            ..SubscribeOptions::new(self.topics[topic as usize].clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;
    use crate::scenario::Process;

    #[test]
    fn duplicates_do_not_count_as_missing_messages() {
        let schedule =
            Schedule { publications: Vec::new(), by_topic: vec![vec![Duration::ZERO; 2]] };
        let messages = MessageTexts::new(&schedule, vec!["a".parse().expect("a name")], 16);
        let mut log = ReceiptLog::new(0, Arc::new(messages));
        let now = Instant::now();
        assert!(log.receive(Some(0), now));
        assert!(!log.receive(Some(0), now) && !log.receive(None, now));
        assert!(log.has_first(1) && !log.has_first(2));
        assert!(log.receive(Some(1), now) && log.has_first(2));
        (0..2 * EXCESS_SPARE).for_each(|_| {
            log.receive(None, now);
        });
        let error = log.check_excess().expect_err("far too many").to_string();
        assert!(error.contains("with 2 published messages"), "{error}");
    }

    #[test]
    fn polls_and_publications_have_independent_phases() {
        let workload = Workload { process: Process::Periodic, topics: 200, ..Workload::default() };
        let schedule = Schedule::plan(&workload, 5);
        let first_s = schedule.by_topic.iter().map(|instants| instants[0].as_secs_f64());
        let mut phases = phases(5);
        let apart_s: Vec<f64> = first_s.map(|at| at - phases.random::<f64>()).collect();
        let mean_s = apart_s.iter().sum::<f64>() / apart_s.len() as f64;
        let far = apart_s.iter().filter(|apart_s| (*apart_s - mean_s).abs() > 0.1).count();
        assert!(far > 100, "{far} of 200 are out of step");
    }
}
