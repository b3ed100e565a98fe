//! The feed alone: publish, read, wake, encode. No server, no network.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use futures_util::FutureExt;
use poll_vs_push::feed::{Feed, FeedLimits, Topic};
use poll_vs_push::message::{Cursor, Epoch, Message, NewMessage};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn main() {
    let mut criterion = support::criterion(WallTime);
    publish(&mut criterion);
    read_after(&mut criterion);
    wake(&mut criterion);
    encode(&mut criterion);
    criterion.final_summary();
}

/// `feed-publish`: store a message without waiting subscribers.
fn publish(criterion: &mut Criterion) {
    let topic = topic();
    criterion.bench_function("feed-publish", |bencher| {
        let publish =
            |new_message| topic.publish(new_message).now_or_never().expect("memory is at once");
        bencher.iter_batched(new_message, publish, BatchSize::SmallInput);
    });
}

/// `feed-read-after/{messages}`: the read of one poll. The messages are shared, not copied.
fn read_after(criterion: &mut Criterion) {
    let topic = topic();
    for _ in 0..100 {
        topic.publish(new_message()).now_or_never().expect("memory is at once").expect("is stored");
    }
    let mut group = criterion.benchmark_group("feed-read-after");
    for messages in [0, 1, 10, 100] {
        let head = topic.head();
        let cursor = Cursor { offset: head.offset - messages, ..head };
        group.throughput(Throughput::Elements(messages.max(1)));
        group.bench_function(BenchmarkId::from_parameter(messages), |bencher| {
            bencher.iter(|| topic.read_after(black_box(cursor), 1_000));
        });
    }
}

/// `feed-wake/{waiters}`: from a publication until all waiting tasks have been woken.
fn wake(criterion: &mut Criterion) {
    let runtime = support::runtime();
    let mut group = criterion.benchmark_group("feed-wake");
    for waiters in [1, 10, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(waiters));
        let mut waiting = None;
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| {
            let waiting = waiting.get_or_insert_with(|| Waiting::start(&runtime, waiters));
            bencher.iter_custom(|publications| runtime.block_on(waiting.wake(publications)));
        });
    }
}

/// `feed-encode/{bytes}`: encoding of a message as JSON, done once for all subscribers.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed-encode");
    for bytes in [100, 1_000, 10_000] {
        let NewMessage { sender, .. } = new_message();
        let message = Message { offset: 1, published_at: 1, sender, text: "x".repeat(bytes) };
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| black_box(&message).encode());
        });
    }
}

fn topic() -> Arc<Topic> {
    let feed = Feed::new(Epoch(1), FeedLimits::default());
    feed.topic(&support::topic()).expect("room for one topic")
}

fn new_message() -> NewMessage {
    NewMessage { sender: "A".to_owned(), text: "x".repeat(support::TEXT_BYTES) }
}

/// Tasks that wait for one topic repeatedly.
struct Waiting {
    topic: Arc<Topic>,
    waiters: u64,
    /// Waiters that the newest publication has not woken yet.
    asleep: Arc<AtomicU64>,
    /// When the last of them was woken.
    all_woken: mpsc::Receiver<Instant>,
    _tasks: JoinSet<()>,
}

impl Waiting {
    fn start(runtime: &Runtime, waiters: u64) -> Waiting {
        let topic = topic();
        let asleep = Arc::new(AtomicU64::new(0));
        let (tell, all_woken) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for _ in 0..waiters {
            let waiter = wait(topic.clone(), asleep.clone(), tell.clone());
            tasks.spawn_on(waiter, runtime.handle());
        }
        Waiting { topic, waiters, asleep, all_woken, _tasks: tasks }
    }

    async fn wake(&mut self, publications: u64) -> Duration {
        let mut sum = Duration::ZERO;
        for _ in 0..publications {
            self.asleep.store(self.waiters, SeqCst);
            let published_at = Instant::now();
            self.topic.publish(new_message()).await.expect("is stored");
            let all_woken = self.all_woken.recv().await.expect("waiters do not leave");
            sum += all_woken - published_at;
        }
        sum
    }
}

async fn wait(topic: Arc<Topic>, asleep: Arc<AtomicU64>, tell: mpsc::Sender<Instant>) {
    let mut cursor = Cursor { offset: 0, ..topic.head() };
    loop {
        topic.wait_after(cursor).await;
        cursor.offset += 1;
        if asleep.fetch_sub(1, SeqCst) == 1 && tell.send(Instant::now()).await.is_err() {
            return;
        }
    }
}
