//! Users B: thousands of subscribers, a task and a connection each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::scenario::{Pacing, Workload};
use super::target::Target;
use super::verifier::Receipt;
use super::{foreign, schedule};
use crate::message::TopicName;
use crate::transport::{Extra, Received, Subscriber, Variant, Wish};
use crate::wire::{Dialer, Journal, WireError};

/// Connections that are being made at the same time; more would only queue in the server's backlog.
const CONNECTING_MAX: usize = 256;

/// All subscribers of a cell.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    tasks: JoinSet<Log>,
    failures: mpsc::Receiver<WireError>,
}

#[derive(Debug)]
struct Shared {
    variant: Variant,
    /// How to talk to the server, if it is not ours.
    target: Option<Arc<Target>>,
    workload: Workload,
    topics: Arc<Vec<TopicName>>,
    connecting: Semaphore,
    subscribed: AtomicU64,
    received: AtomicU64,
    stop: CancellationToken,
    failed: mpsc::Sender<WireError>,
}

/// What one subscriber received, in order of arrival; instants are absolute.
#[derive(Debug)]
pub struct Log {
    number: u32,
    pub topic: u32,
    receipts: Vec<(u32, Instant)>,
    /// Gaps and resets it was told of: none belongs in a run.
    pub notices: u64,
}

impl Log {
    /// What arrived when: the message's number in its topic, and the instant.
    pub fn arrivals(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.receipts.iter().copied()
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
    Foreign(foreign::Subscriber),
}

impl Connected {
    async fn next(&mut self) -> Result<Received, WireError> {
        match self {
            Connected::Ours(subscriber) => subscriber.next().await,
            Connected::Foreign(subscriber) => subscriber.next().await,
        }
    }
}

impl Fleet {
    /// Starts all subscribers; each connects as soon as it may. The first one writes `journal`.
    pub fn launch(
        variant: Variant,
        target: Option<Arc<Target>>,
        workload: &Workload,
        topics: Arc<Vec<TopicName>>,
        dialer: &Dialer,
        journal: Arc<Journal>,
        seed: u64,
    ) -> Fleet {
        let (failed, failures) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            variant,
            target,
            workload: workload.clone(),
            topics,
            connecting: Semaphore::new(CONNECTING_MAX),
            subscribed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stop: CancellationToken::new(),
            failed,
        });
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tasks = JoinSet::new();
        let (mut dialer, mut journal) = (dialer.clone(), Some(journal));
        for number in 0..workload.subscribers {
            if variant.has(Extra::H2) && number % workload.streams_per_connection == 0 {
                dialer = dialer.with_shared(Arc::default());
            }
            let dialer = match journal.take() {
                Some(journal) => dialer.clone().with_journal(journal),
                None => dialer.clone(),
            };
            let phase = random.random::<f64>();
            tasks.spawn(shared.clone().subscribe(dialer, number, phase));
        }
        Fleet { shared, tasks, failures }
    }

    /// Subscribers that will miss nothing from now on.
    pub fn subscribed(&self) -> u64 {
        self.shared.subscribed.load(Relaxed)
    }

    /// Messages received so far, by all of them.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Relaxed)
    }

    /// Waits for a subscriber to fail, which none should.
    pub async fn failure(&mut self) -> WireError {
        match self.failures.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Sends all of them home and returns what they received, in the order of their numbers.
    pub async fn stop(self) -> Vec<Log> {
        self.shared.stop.cancel();
        let mut logs = self.tasks.join_all().await;
        logs.sort_by_key(|log| log.number);
        logs
    }
}

impl Shared {
    async fn subscribe(self: Arc<Self>, dialer: Dialer, number: u32, phase: f64) -> Log {
        let topic = number % self.workload.topics;
        let mut log = Log { number, topic, receipts: Vec::new(), notices: 0 };
        let stop = self.stop.clone();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => return log,
            result = self.follow(dialer, phase, &mut log) => result,
        };
        if let Err(error) = ended {
            // The first failure ends the cell; there is no room for more, and no need.
            let _ = self.failed.try_send(error);
        }
        stop.cancelled().await;
        log
    }

    /// Connects and then receives without end.
    async fn follow(&self, dialer: Dialer, phase: f64, log: &mut Log) -> Result<(), WireError> {
        let mut subscriber = {
            let _turn = self.connecting.acquire().await.expect("never closed");
            let wish = self.wish(log.topic, phase);
            self.connect(dialer, wish).await?
        };
        self.subscribed.fetch_add(1, Relaxed);
        loop {
            let received = subscriber.next().await?;
            let now = Instant::now();
            log.notices += u64::from(received.gap > 0) + u64::from(received.reset);
            for message in &received.messages {
                let number = schedule::number(&message.text).unwrap_or(u32::MAX);
                log.receipts.push((number, now));
            }
            self.received.fetch_add(received.messages.len() as u64, Relaxed);
        }
    }

    async fn connect(&self, dialer: Dialer, wish: Wish) -> Result<Connected, WireError> {
        let variant = self.variant;
        Ok(match &self.target {
            None => {
                let subscriber = Subscriber::connect(variant, dialer, wish).await?;
                Connected::Ours(Box::new(subscriber))
            }
            Some(target) => {
                let subscriber =
                    foreign::Subscriber::connect(target, variant.transport, dialer, wish);
                Connected::Foreign(subscriber.await?)
            }
        })
    }

    fn wish(&self, topic: u32, phase: f64) -> Wish {
        let Workload { poll_interval, poll_interval_max, poll_pacing, long_poll_hold, rtt, .. } =
            self.workload;
        let round_trip = match poll_pacing {
            Pacing::AfterResponse => rtt,
            Pacing::FixedRate => Duration::ZERO,
        };
        Wish {
            interval: poll_interval,
            interval_max: poll_interval_max,
            pacing: poll_pacing,
            first_poll: Some(
                Instant::now() + 3 * rtt + (poll_interval + round_trip).mul_f64(phase),
            ),
            hold: long_poll_hold,
            ..Wish::new(self.topics[topic as usize].clone())
        }
    }
}
