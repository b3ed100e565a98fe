//! Users B: thousands of subscribers, a task and a connection each.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::schedule::Messages;
use super::target::Target;
use super::target_subscriber;
use super::verifier::Receipt;
use crate::client::{ClientError, Dialer, Journal};
use crate::packet_link;
use crate::scenario::Workload;
use crate::transport::{Backoff, Outage, Received, Reconnecting, SubscribeOptions, Subscriber};
use crate::variant::{Extra, Pacing, Variant};

/// Connections that are being made at the same time; more would only queue in the server's backlog.
const CONNECTING_MAX: usize = 256;

/// Deliveries to one subscriber that end a cell: this many times the published messages, and more.
const EXCESS_FACTOR: usize = 2;
const EXCESS_SPARE: usize = 100;

/// All subscribers of a cell.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    logs: Vec<Arc<Mutex<Log>>>,
    failures: mpsc::Receiver<ClientError>,
}

#[derive(Debug)]
struct Shared {
    variant: Variant,
    /// How to talk to the server, if it is not ours.
    target: Option<Arc<Target>>,
    workload: Workload,
    messages: Arc<Messages>,
    connecting: Semaphore,
    subscribed: AtomicU64,
    delivered: AtomicU64,
    failed: mpsc::Sender<ClientError>,
}

/// How the subscribers reach the server, and talk to it.
#[derive(Debug)]
pub struct Reach {
    /// How to talk to the server, if it is not ours.
    pub target: Option<Arc<Target>>,
    /// The server's port behind the packet link, if there is one: each subscriber, or each group of
    /// those who share a connection, has an address of its own there.
    pub link_port: Option<u16>,
}

/// What one subscriber received, in order of arrival; instants are absolute.
#[derive(Debug)]
pub struct Log {
    pub topic: u32,
    receipts: Vec<(Option<u32>, Instant)>,
    /// By number: which of the topic's messages have arrived.
    seen: Vec<bool>,
    /// Gaps and resets it was told of: none belongs in a run.
    pub notices: u64,
    /// When it was without a server.
    outages: Vec<Outage>,
}

impl Log {
    fn new(topic: u32, messages: &Messages) -> Log {
        let seen = vec![false; messages.count(topic)];
        Log { topic, receipts: Vec::new(), seen, notices: 0, outages: Vec::new() }
    }

    /// What arrived when: the message's number in its topic, and the instant.
    pub fn arrivals(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.receipts.iter().filter_map(|&(number, at)| Some((number?, at)))
    }

    /// Notes that a message arrived, `None` if it is not one of the topic's; whether it is new.
    fn receive(&mut self, number: Option<u32>, at: Instant) -> bool {
        self.receipts.push((number, at));
        let seen = number.and_then(|number| self.seen.get_mut(number as usize));
        seen.is_some_and(|seen| !std::mem::replace(seen, true))
    }

    /// An error once far more has arrived than was published: a server that goes on for ever must
    /// not fill the memory.
    fn check_excess(&self) -> Result<(), ClientError> {
        let (received, published) = (self.receipts.len(), self.seen.len());
        if received <= EXCESS_FACTOR * published + EXCESS_SPARE {
            return Ok(());
        }
        Err(ClientError::ProtocolError(format!(
            "{received} deliveries to one subscriber of a topic to which {published} messages are \
             published"
        )))
    }

    /// Whether each of the topic's first `count` messages has arrived, whatever else has.
    fn has_first(&self, count: usize) -> bool {
        self.seen[..count].iter().all(|seen| *seen)
    }

    /// From when until when it was without a server, if it came back after `instant`: several
    /// outages in a row are one.
    pub fn outage_since(&self, instant: Instant) -> Option<Outage> {
        let mut since = self.outages.iter().filter(|outage| outage.back_at > instant);
        let first = since.next()?;
        let back_at = since.next_back().unwrap_or(first).back_at;
        Some(Outage { lost_at: first.lost_at, back_at })
    }

    /// The receipts, with times since `start`.
    pub fn receipts(&self, start: Instant) -> Vec<Receipt> {
        let since = |at: Instant| at.saturating_duration_since(start);
        self.receipts.iter().map(|&(number, at)| Receipt { number, at: since(at) }).collect()
    }
}

/// A subscriber of our own server, or of another.
enum Connected {
    Ours(Box<Subscriber>),
    /// The same, where the server will be restarted.
    Returning(Box<Reconnecting>),
    Foreign(target_subscriber::Subscriber),
}

impl Connected {
    async fn next(&mut self) -> Result<Received, ClientError> {
        match self {
            Connected::Ours(subscriber) => subscriber.next().await,
            Connected::Returning(subscriber) => subscriber.next().await,
            Connected::Foreign(subscriber) => subscriber.next().await,
        }
    }

    /// The outage that has ended since this was last asked, if there was one.
    fn outage(&mut self) -> Option<Outage> {
        match self {
            Connected::Returning(subscriber) => subscriber.outage(),
            Connected::Ours(_) | Connected::Foreign(_) => None,
        }
    }
}

impl Fleet {
    /// Starts all subscribers; each connects as soon as it may. The first one writes `journal`.
    pub fn launch(
        variant: Variant,
        Reach { target, link_port }: Reach,
        workload: &Workload,
        messages: Arc<Messages>,
        dialer: &Dialer,
        journal: Arc<Journal>,
        seed: u64,
    ) -> Fleet {
        let (failed, failures) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            variant,
            target,
            workload: workload.clone(),
            messages,
            connecting: Semaphore::new(CONNECTING_MAX),
            subscribed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed,
        });
        let mut phases = phases(seed);
        let (mut tasks, mut logs) = (JoinSet::new(), Vec::new());
        let (mut dialer, mut journal) = (dialer.clone(), Some(journal));
        for number in 0..workload.subscribers {
            let is_first_of_group = number % workload.streams_per_connection == 0;
            if variant.has(Extra::H2) && is_first_of_group {
                dialer = dialer.with_shared(Arc::default());
            }
            if let Some(port) = link_port
                && (is_first_of_group || !variant.has(Extra::H2))
            {
                dialer = dialer.with_address((packet_link::address(number), port).into());
            }
            let dialer = match journal.take() {
                Some(journal) => dialer.clone().with_journal(journal),
                None => dialer.clone(),
            };
            let phase = phases.next().expect("they do not end");
            let topic = number % workload.topics;
            let log = Arc::new(Mutex::new(Log::new(topic, &shared.messages)));
            tasks.spawn(shared.clone().subscribe(dialer, log.clone(), topic, phase));
            logs.push(log);
        }
        Fleet { shared, tasks, logs, failures }
    }

    /// Subscribers that will miss nothing from now on.
    pub fn subscribed(&self) -> u64 {
        self.shared.subscribed.load(Relaxed)
    }

    /// Published messages that have arrived so far, each once for each subscriber.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Relaxed)
    }

    /// Whether everybody has received as many messages of their topic as `counts` says, by topic,
    /// and they were the first.
    pub fn has_first(&self, counts: &[usize]) -> bool {
        self.logs.iter().all(|log| {
            let log = log.lock().expect("no panic under this lock");
            log.has_first(counts[log.topic as usize])
        })
    }

    /// Subscribers that have come back from an outage since `instant`.
    pub fn back_since(&self, instant: Instant) -> u64 {
        let is_back = |log: &&Arc<Mutex<Log>>| {
            log.lock().expect("no panic under this lock").outage_since(instant).is_some()
        };
        self.logs.iter().filter(is_back).count() as u64
    }

    /// Waits for a subscriber to fail, which none should.
    pub async fn failure(&mut self) -> ClientError {
        match self.failures.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Sends all of them home and returns what they received, in the order of their numbers.
    pub async fn stop(mut self) -> Vec<Log> {
        // They are cut off where they wait: a token would be asked whenever one of them wakes.
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            let is_well = ended.map_or_else(|error| error.is_cancelled(), |()| true);
            assert!(is_well, "a subscriber does not panic");
        }
        let whole = |log| Arc::into_inner(log).expect("its subscriber has ended");
        let logs = self.logs.into_iter().map(whole);
        logs.map(|log| log.into_inner().expect("no panic under this lock")).collect()
    }
}

/// A random phase, 0 to 1, for each subscriber. Drawn from another stream than the schedule of the
/// same seed: with its numbers the first subscribers would poll in step with their topics.
fn phases(seed: u64) -> impl Iterator<Item = f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(1);
    std::iter::repeat_with(move || random.random())
}

impl Shared {
    async fn subscribe(
        self: Arc<Self>,
        dialer: Dialer,
        log: Arc<Mutex<Log>>,
        topic: u32,
        phase: f64,
    ) {
        let Err(error) = self.follow(dialer, &log, topic, phase).await;
        // The first failure ends the cell; there is no room for more, and no need.
        let _ = self.failed.try_send(error);
    }

    /// Connects and then receives without end.
    async fn follow(
        &self,
        dialer: Dialer,
        log: &Mutex<Log>,
        topic: u32,
        phase: f64,
    ) -> Result<Infallible, ClientError> {
        let mut subscriber = {
            let _turn = self.connecting.acquire().await.expect("never closed");
            self.connect(dialer, self.options(topic, phase)).await?
        };
        self.subscribed.fetch_add(1, Relaxed);
        loop {
            let received = subscriber.next().await?;
            let now = Instant::now();
            let mut log = log.lock().expect("no panic under this lock");
            log.notices += u64::from(received.gap > 0) + u64::from(received.reset);
            log.outages.extend(subscriber.outage());
            let mut fresh = 0;
            for message in &received.messages {
                let number = self.messages.number(topic, &message.text);
                fresh += u64::from(log.receive(number, now));
            }
            log.check_excess()?;
            self.delivered.fetch_add(fresh, Relaxed);
        }
    }

    async fn connect(
        &self,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Connected, ClientError> {
        let variant = self.variant;
        Ok(match &self.target {
            None if !self.workload.restarts() => {
                let subscriber = Subscriber::connect(variant, dialer, options).await?;
                Connected::Ours(Box::new(subscriber))
            }
            None => {
                let connecting =
                    Reconnecting::connect(variant, dialer, options, Backoff::default());
                Connected::Returning(Box::new(connecting.await?))
            }
            Some(target) => {
                let subscriber = target_subscriber::Subscriber::connect(
                    target,
                    variant.transport,
                    dialer,
                    options,
                );
                Connected::Foreign(subscriber.await?)
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
            hold: long_poll_hold,
            // Holds that all began with the connection would end together, or not at all while it
            // counts.
            first_hold: Some(long_poll_hold.mul_f64(phase)),
            ..SubscribeOptions::new(self.messages.topics[topic as usize].clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;
    use crate::scenario::Process;

    #[test]
    fn duplicates_do_not_pass_for_messages_that_are_missing() {
        let schedule =
            Schedule { publications: Vec::new(), by_topic: vec![vec![Duration::ZERO; 2]] };
        let messages = Messages::new(&schedule, vec!["a".parse().expect("a name")], 16);
        let mut log = Log::new(0, &messages);
        let now = Instant::now();
        assert!(log.receive(Some(0), now));
        assert!(!log.receive(Some(0), now) && !log.receive(None, now));
        assert!(log.has_first(1) && !log.has_first(2));
        assert!(log.receive(Some(1), now) && log.has_first(2));
        (0..2 * EXCESS_SPARE).for_each(|_| {
            log.receive(None, now);
        });
        let error = log.check_excess().expect_err("far too many").to_string();
        assert!(error.contains("to which 2 messages are published"), "{error}");
    }

    #[test]
    fn polls_are_not_in_step_with_their_topics() {
        let workload = Workload { process: Process::Periodic, topics: 200, ..Workload::default() };
        let schedule = Schedule::plan(&workload, 5);
        let first_s = schedule.by_topic.iter().map(|instants| instants[0].as_secs_f64());
        let apart_s: Vec<f64> = first_s.zip(phases(5)).map(|(at, phase)| at - phase).collect();
        let mean_s = apart_s.iter().sum::<f64>() / apart_s.len() as f64;
        let far = apart_s.iter().filter(|apart_s| (*apart_s - mean_s).abs() > 0.1).count();
        assert!(far > 100, "{far} of 200 are out of step");
    }
}
