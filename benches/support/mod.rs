//! Shared by the benches: a server on a free port, a group of subscribers that reports when all
//! have received everything, and settings that limit `cargo bench` to five minutes.
//!
//! Server and subscribers share a process and its threads here, so a bench measures both together.
//! The load test separates them.

// Each bench is a separate crate and uses a part of this module.
#![allow(dead_code)]

pub mod server_process;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};
use poll_vs_push::app::ServerConfig;
use poll_vs_push::client::{ClientError, Dialer, HttpConnection};
use poll_vs_push::load::TargetSubscriber;
use poll_vs_push::load::target::{PublishRoute, Target};
use poll_vs_push::message::TopicName;
use poll_vs_push::server::Server;
use poll_vs_push::transport::{SubscribeOptions, Subscriber, Update};
use poll_vs_push::variant::Transport;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Bytes of a message's text, as in the default scenario.
pub const TEXT_BYTES: usize = 100;
/// Time limit of a delivery, more than ten times the longest one.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections established concurrently.
const CONNECTING_MAX: usize = 128;

/// Criterion, set for benches whose iterations take milliseconds and wait for a network: ten
/// samples of equal length. `--sample-size` and `--measurement-time` override it.
pub fn criterion<M: Measurement + 'static>(measurement: M) -> Criterion<M> {
    Criterion::default()
        .with_measurement(measurement)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .nresamples(5_000)
        .configure_from_args()
}

/// A group of such benches.
pub fn group<'a, M: Measurement>(
    criterion: &'a mut Criterion<M>,
    name: &str,
) -> BenchmarkGroup<'a, M> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// The runtime of server and subscribers.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads can be created")
}

/// The transport and the number of subscribers of a bench.
#[derive(Clone, Copy)]
pub struct Setting {
    pub transport: Transport,
    pub subscribers: u64,
    pub round_trip: Duration,
    /// Interval of short polling.
    pub interval: Duration,
}

/// A server, its publisher and its connected subscribers.
pub struct Stage {
    pub setting: Setting,
    pub publisher: Publisher,
    pub crowd: Crowd,
    server: TestServer,
}

impl Stage {
    async fn open(setting: Setting) -> Stage {
        let server = TestServer::start().await;
        let topic = topic();
        let dialer = Dialer::new(server.address).with_round_trip(setting.round_trip);
        let options =
            SubscribeOptions { interval: setting.interval, ..SubscribeOptions::new(topic.clone()) };
        let (transport, subscribers) = (setting.transport, setting.subscribers);
        let crowd = Crowd::connect(transport, None, subscribers, dialer, options).await;
        let publisher = Publisher::new(server.address, PublishRoute::ours(), &topic);
        Stage { setting, publisher, crowd, server }
    }

    /// Number of receipts once all published messages have been received.
    pub fn due(&self) -> u64 {
        self.publisher.published * self.setting.subscribers
    }

    async fn close(self) {
        self.crowd.leave().await;
        self.server.stop().await;
    }
}

/// Benches `measure`, which receives the number of iterations. Server and subscribers are set up
/// once, outside the measurement, and not at all if the bench is filtered out.
pub fn bench(
    group: &mut BenchmarkGroup<WallTime>,
    id: BenchmarkId,
    runtime: &Runtime,
    setting: Setting,
    measure: impl AsyncFn(&mut Stage, u64) -> Duration,
) {
    let mut stage = None;
    group.bench_function(id, |bencher| {
        let stage = stage.get_or_insert_with(|| runtime.block_on(Stage::open(setting)));
        bencher.iter_custom(|iterations| runtime.block_on(measure(stage, iterations)));
    });
    if let Some(stage) = stage {
        runtime.block_on(stage.close());
    }
}

/// The topic of every bench.
pub fn topic() -> TopicName {
    "bench".parse().expect("a good name")
}

/// A server of this process, on a free port.
pub struct TestServer {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Binds and serves.
    pub async fn start() -> TestServer {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // No client reconnects, so the server may close all connections at once.
        let config =
            ServerConfig { listen, drain_window: Duration::ZERO, ..ServerConfig::default() };
        let server = Server::bind(config).await.expect("a free port");
        let address = server.local_addr().expect("a bound socket");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(server.serve(stopped));
        TestServer { address, stop, serving }
    }

    /// Stops the server and waits until it has stopped.
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("serving does not panic");
    }
}

/// The publisher, on its own connection without a simulated delay.
pub struct Publisher {
    pub published: u64,
    http: HttpConnection,
    route: PublishRoute,
    path: String,
    body: Bytes,
}

impl Publisher {
    /// Publishes to a server through `route`.
    pub fn new(server: SocketAddr, route: PublishRoute, topic: &TopicName) -> Publisher {
        Publisher {
            published: 0,
            http: HttpConnection::new(Dialer::new(server).with_headers(&route.headers)),
            path: route.path(topic),
            body: route.body("A", &"x".repeat(TEXT_BYTES)).into(),
            route,
        }
    }

    /// Publishes one message; returns when it is stored.
    pub async fn publish(&mut self) {
        let method = self.route.method();
        let answer = self.http.request(method, &self.path, self.body.clone()).await;
        assert!(self.route.is_stored(answer.expect("an answer").status));
        self.published += 1;
    }
}

/// Subscribers of one topic by one transport.
pub struct Crowd {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    transport: Transport,
    /// `None` for this project's own server.
    target: Option<Arc<Target>>,
    dialer: Dialer,
    options: SubscribeOptions,
    connecting: Semaphore,
    progress: Mutex<Progress>,
    /// Notified when all are connected, and when `wanted` messages have been received.
    reached: Notify,
}

/// Sums over all subscribers.
struct Progress {
    /// Subscribers that are not yet connected.
    absent: u64,
    received: u64,
    wanted: u64,
    /// When `received` reached `wanted`.
    reached_at: Option<Instant>,
}

impl Crowd {
    /// Connects `size` subscribers; returns when all of them are subscribed.
    pub async fn connect(
        transport: Transport,
        target: Option<Arc<Target>>,
        size: u64,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Crowd {
        let connecting = Semaphore::new(CONNECTING_MAX);
        let progress = Progress { absent: size, received: 0, wanted: 0, reached_at: None };
        let progress = Mutex::new(progress);
        let reached = Notify::new();
        let shared = Shared { transport, target, dialer, options, connecting, progress, reached };
        let shared = Arc::new(shared);
        let tasks = (0..size).map(|_| shared.clone().subscribe()).collect();
        let crowd = Crowd { shared, tasks };
        crowd.until(|progress| (progress.absent == 0).then_some(())).await;
        crowd
    }

    /// Messages received so far.
    pub fn received(&self) -> u64 {
        self.shared.progress().received
    }

    /// Waits until `total` messages have been received since the subscribers connected. Returns the
    /// time of the last receipt.
    pub async fn has_received(&self, total: u64) -> Instant {
        {
            let mut progress = self.shared.progress();
            progress.wanted = total;
            progress.reached_at = (progress.received >= total).then(Instant::now);
        }
        self.until(|progress| progress.reached_at).await
    }

    /// Disconnects all subscribers.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
    }

    async fn until<T>(&self, done: impl Fn(&Progress) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(result) = done(&self.shared.progress()) {
                    return result;
                }
                self.shared.reached.notified().await;
            }
        };
        tokio::time::timeout(DELIVERY_TIMEOUT, waiting).await.expect("every message arrives")
    }
}

/// A subscriber of this project's server, or of another one.
enum AnySubscriber {
    Own(Box<Subscriber>),
    Target(Box<TargetSubscriber>),
}

impl AnySubscriber {
    async fn next(&mut self) -> Result<Update, ClientError> {
        match self {
            AnySubscriber::Own(subscriber) => subscriber.next().await,
            AnySubscriber::Target(subscriber) => subscriber.next().await,
        }
    }
}

impl Shared {
    async fn subscribe(self: Arc<Self>) {
        let turn = self.connecting.acquire().await.expect("never closed");
        let mut subscriber = self.connect().await.expect("the server accepts");
        drop(turn);
        self.note(|progress| {
            progress.absent -= 1;
            progress.absent == 0
        });
        loop {
            let received = subscriber.next().await.expect("the server stays");
            assert!(received.gap == 0 && !received.reset, "nothing may be lost");
            let now = Instant::now();
            self.note(|progress| {
                progress.received += received.messages.len() as u64;
                let reached = progress.reached_at.is_none() && progress.received >= progress.wanted;
                progress.reached_at = progress.reached_at.or(reached.then_some(now));
                reached
            });
        }
    }

    async fn connect(&self) -> Result<AnySubscriber, ClientError> {
        let (dialer, options) = (self.dialer.clone(), self.options.clone());
        Ok(match &self.target {
            None => {
                let connecting = Subscriber::connect(self.transport, dialer, options);
                AnySubscriber::Own(Box::new(connecting.await?))
            }
            Some(target) => {
                let connecting = TargetSubscriber::connect(target, self.transport, dialer, options);
                AnySubscriber::Target(Box::new(connecting.await?))
            }
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no panic under this lock")
    }

    /// Applies a change and notifies the waiting task if its condition is met.
    fn note(&self, change: impl FnOnce(&mut Progress) -> bool) {
        let reached = change(&mut self.progress());
        if reached {
            self.reached.notify_one();
        }
    }
}
