//! The stores: one suite for all, and tests of the one on disk: a restart changes nothing, and
//! file errors are reported clearly.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::feed::store::{
    Archive, Durability, FileRetention, MemoryStore, RedbStore, StoreError,
};
use poll_vs_push::feed::{Feed, FeedLimits, ReadLimit, Retention, Topic};
use poll_vs_push::message::{Cursor, Epoch, NewMessage};
use poll_vs_push::variant::Transport;
use proptest::prelude::*;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Reader, TestServer, eventually, options, soon, texts};

/// Far longer than any step takes: a timeout means that a waiting reader was not woken.
const FORGOTTEN: Duration = Duration::from_secs(60);

fn limits(retention: Retention) -> FeedLimits {
    FeedLimits { retention, ..FeedLimits::default() }
}

fn in_memory(retention: Retention) -> Feed {
    Feed::of(Arc::new(MemoryStore::new(Epoch(7))), limits(retention)).expect("nothing to open")
}

fn try_on_disk(directory: &Path, retention: Retention) -> Result<Feed, StoreError> {
    let kept = FileRetention { topic: retention, total_bytes: u64::MAX };
    let store = RedbStore::open(directory, kept, Durability::Os)?;
    Feed::of(Arc::new(store), limits(retention))
}

fn on_disk(directory: &Path, retention: Retention) -> Feed {
    try_on_disk(directory, retention).expect("a good directory")
}

fn topic(feed: &Feed) -> Arc<Topic> {
    feed.topic(&"room".parse().expect("a good name")).expect("room for one")
}

fn at(topic: &Topic, offset: u64) -> Cursor {
    Cursor { offset, ..topic.head() }
}

async fn publish(topic: &Topic, text: &str) -> Cursor {
    topic.publish(NewMessage { sender: "A".into(), text: text.into() }).await.expect("stored")
}

/// Runs a test with every store; with the one on NATS if there is a server for tests.
macro_rules! on_all {
    ($($test:ident($retention:expr);)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&super::in_memory($retention)).await;
            })*
        }
        mod disk {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let directory = tempfile::tempdir().expect("a directory");
                super::$test(&super::on_disk(directory.path(), $retention)).await;
            })*
        }
        #[cfg(feature = "nats")]
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                use crate::support::nats::{follow, shared_store};
                let Some(config) = shared_store($retention) else { return };
                let feed = crate::support::nats::open(&config, super::limits($retention)).await;
                let _following = follow(&feed);
                super::$test(&feed).await;
            })*
        }
    };
}

on_all! {
    publishing_and_reading(super::Retention::default());
    retention_by_count(super::Retention { messages: 3, ..Default::default() });
    retention_by_bytes(super::Retention { bytes: 500, ..Default::default() });
    retention_by_age(super::Retention { age: std::time::Duration::ZERO, ..Default::default() });
    a_slice_has_a_bound_in_bytes(super::Retention::default());
    many_publishers_and_readers(super::Retention::default());
    a_publisher_that_leaves_loses_nobody_elses_message(super::Retention::default());
}

async fn publishing_and_reading(feed: &Feed) {
    let topic = topic(feed);
    assert_eq!(topic.head().offset, 0);
    for number in 1..=5 {
        assert_eq!(publish(&topic, &number.to_string()).await, at(&topic, number));
    }
    let result = topic.read_after(at(&topic, 1), 3).await.expect("can be read");
    assert_eq!(texts(&result), ["2", "3", "4"]);
    assert_eq!((result.cursor, result.gap, result.reset), (at(&topic, 4), 0, false));
    assert!(topic.read_after(at(&topic, 6), 3).await.expect("can be read").reset);
    let elsewhere = Cursor { epoch: Epoch(!topic.head().epoch.0), offset: 1 };
    assert!(topic.read_after(elsewhere, 3).await.expect("can be read").reset);
}

async fn retention_by_count(feed: &Feed) {
    let topic = topic(feed);
    for number in 1..=10 {
        publish(&topic, &number.to_string()).await;
    }
    let result = topic.read_after(at(&topic, 2), 100).await.expect("can be read");
    assert_eq!((result.gap, texts(&result)), (5, vec!["8".into(), "9".into(), "10".into()]));
}

async fn retention_by_bytes(feed: &Feed) {
    let topic = topic(feed);
    for _ in 0..10 {
        publish(&topic, &"x".repeat(100)).await;
    }
    let kept = topic.read_after(at(&topic, 0), 100).await.expect("can be read");
    assert!((1..5).contains(&kept.messages.len()), "{}", kept.messages.len());
    assert_eq!(kept.gap + kept.messages.len() as u64, 10);
    publish(&topic, &"x".repeat(1_000)).await;
    let kept = topic.read_after(at(&topic, 0), 100).await.expect("can be read");
    assert_eq!((kept.gap, kept.messages.len()), (10, 1), "the newest is kept whatever its size");
}

async fn retention_by_age(feed: &Feed) {
    let topic = topic(feed);
    publish(&topic, "old at once").await;
    let ending = async {
        loop {
            feed.expire().await;
            let result = topic.read_after(at(&topic, 0), 100).await.expect("can be read");
            if result.messages.is_empty() {
                return result;
            }
            tokio::task::yield_now().await;
        }
    };
    let result = tokio::time::timeout(FORGOTTEN, ending).await.expect("a microsecond passes");
    assert_eq!((result.gap, result.cursor, result.reset), (1, at(&topic, 1), false));
    assert_eq!(publish(&topic, "next").await, at(&topic, 2), "offsets go on");
}

async fn a_slice_has_a_bound_in_bytes(feed: &Feed) {
    let topic = topic(feed);
    for _ in 0..30 {
        publish(&topic, &"x".repeat(100_000)).await;
    }
    let mut cursor = at(&topic, 0);
    let mut seen = 0;
    while cursor != topic.head() {
        let result = topic.read_after(cursor, 100).await.expect("can be read");
        let bytes: usize = result.messages.iter().map(|message| message.len()).sum();
        assert!(bytes <= 1 << 20 && !result.messages.is_empty());
        seen += result.messages.len();
        cursor = result.cursor;
    }
    assert_eq!(seen, 30);
}

/// Every reader sees every message once and in order, whether from memory or from the file, and no
/// reader sees a message before it is stored.
async fn many_publishers_and_readers(feed: &Feed) {
    const PUBLISHERS: usize = 16;
    const EACH: usize = 100;
    let topic = topic(feed);
    let reader = |topic: Arc<Topic>| async move {
        let mut cursor = at(&topic, 0);
        let mut seen = Vec::new();
        while seen.len() < PUBLISHERS * EACH {
            topic.wait_after(cursor).await;
            let result = topic.read_after(cursor, 7).await.expect("can be read");
            assert!(result.gap == 0 && !result.reset && !result.messages.is_empty());
            cursor = result.cursor;
            seen.extend(texts(&result));
        }
        seen
    };
    let readers: Vec<_> = (0..10).map(|_| tokio::spawn(reader(topic.clone()))).collect();
    let publisher = |topic: Arc<Topic>, who: usize| async move {
        for number in 0..EACH {
            publish(&topic, &format!("{who} {number}")).await;
        }
    };
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|who| tokio::spawn(publisher(topic.clone(), who))).collect();
    for publisher in publishers {
        publisher.await.expect("publishes");
    }
    let all = texts(&topic.read_after(at(&topic, 0), usize::MAX).await.expect("can be read"));
    assert_eq!(all.len(), PUBLISHERS * EACH);
    for reader in readers {
        let seen = tokio::time::timeout(FORGOTTEN, reader).await.expect("woken").expect("reads");
        assert_eq!(seen, all);
    }
}

async fn a_publisher_that_leaves_loses_nobody_elses_message(feed: &Feed) {
    let topic = topic(feed);
    for number in 0..50 {
        let new_message = NewMessage { sender: "leaves".into(), text: number.to_string() };
        let mut leaving = Box::pin(topic.publish(new_message));
        let _ = futures_util::poll!(&mut leaving);
        drop(leaving);
        publish(&topic, "stays").await;
    }
    let result = topic.read_after(at(&topic, 0), 1_000).await.expect("can be read");
    assert_eq!(result.messages.len() as u64, topic.head().offset);
    assert_eq!(texts(&result).iter().filter(|text| *text == "stays").count(), 50);
}

#[tokio::test]
async fn restart_keeps_offsets_epochs_and_messages() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut published: Vec<String> = Vec::new();
    let mut epoch = None;
    for life in 0..4 {
        let feed = on_disk(directory.path(), Retention::default());
        let topic = topic(&feed);
        assert_eq!(topic.head().offset as usize, published.len());
        assert_eq!(topic.head().epoch, *epoch.get_or_insert(topic.head().epoch));
        for number in 0..10 {
            let text = format!("{life} {number}");
            publish(&topic, &text).await;
            published.push(text);
        }
        let result = topic.read_after(at(&topic, 0), 1_000).await.expect("can be read");
        assert_eq!((result.gap, texts(&result)), (0, published.clone()));
        // Half of the lifetimes end with a close, the others with a drop.
        if life % 2 == 0 {
            feed.close().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// For any content of the tail, reads give the same results as a plain `Vec`.
    #[test]
    fn reopened_store_gives_the_same_results_as_a_vec(
        kept in 1..8usize,
        lives in prop::collection::vec(0..12usize, 1..4),
        after in 0..40u64,
        limit in 1..10usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a directory");
            let retention = Retention { messages: kept, ..Retention::default() };
            let mut model = Vec::new();
            for count in lives {
                let feed = on_disk(directory.path(), retention);
                let topic = topic(&feed);
                for _ in 0..count {
                    model.push(model.len().to_string());
                    publish(&topic, model.last().expect("just pushed")).await;
                }
                let head = model.len() as u64;
                let result = topic.read_after(at(&topic, after), limit).await.expect("can be read");
                if after > head {
                    prop_assert!(result.reset);
                } else {
                    let oldest = head.saturating_sub(kept as u64).max(after) as usize;
                    let wanted: Vec<_> = model[oldest..].iter().take(limit).cloned().collect();
                    prop_assert_eq!(result.gap, oldest as u64 - after);
                    prop_assert_eq!(texts(&result), wanted);
                }
                feed.close().await;
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn locked_unknown_and_damaged_files_have_distinct_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let feed = on_disk(path, Retention::default());
    publish(&topic(&feed), "one").await;
    let open = || try_on_disk(path, Retention::default()).map(drop).expect_err("cannot be opened");
    assert!(matches!(open(), StoreError::InUse { .. }), "{}", open());
    feed.close().await;
    drop(feed);

    let file = path.join("feed.redb");
    let good = std::fs::read(&file).expect("the file");
    std::fs::write(&file, "a diary").expect("writes");
    assert!(matches!(open(), StoreError::UnknownFormat { .. }), "{}", open());
    std::fs::write(&file, &good[..good.len() / 2]).expect("writes");
    assert!(matches!(open(), StoreError::Damaged { .. }), "{}", open());
    let mut damaged = good.clone();
    for block in damaged.chunks_mut(512).skip(8) {
        block[100] ^= 0x55;
    }
    std::fs::write(&file, &damaged).expect("writes");
    assert!(matches!(open(), StoreError::Damaged { .. }), "{}", open());

    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("created");
    let expected = |error: StoreError| assert!(error.to_string().ends_with("not a regular file"));
    expected(open());
    std::fs::remove_dir(&file).expect("removed");
    // Reading a named pipe would block.
    let status = std::process::Command::new("mkfifo").arg(&file).status().expect("it starts");
    assert!(status.success());
    expected(open());
    expected(Archive::open_existing(path).map(drop).expect_err("cannot be opened"));
    std::fs::remove_file(&file).expect("removed");

    std::fs::write(&file, &good).expect("writes");
    assert_eq!(topic(&on_disk(path, Retention::default())).head().offset, 1);
}

#[tokio::test]
async fn copy_of_a_store_can_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let feed = on_disk(directory.path(), Retention::default());
    for number in 1..=3 {
        publish(&topic(&feed), &number.to_string()).await;
    }
    feed.close().await;
    let copy = tempfile::tempdir().expect("a directory");
    std::fs::copy(directory.path().join("feed.redb"), copy.path().join("feed.redb"))
        .expect("copies");
    drop(directory);
    let archive = Archive::open_existing(copy.path()).expect("a good copy");
    let rows = archive.rows().expect("can be read");
    let (name, kept) = rows.iter().next().expect("one topic");
    assert_eq!((name.as_str(), kept.oldest, kept.head, kept.messages()), ("room", 1, 3, 3));
    let all = archive.read(name, 0, 3, ReadLimit { messages: 10, bytes: 1 << 20 });
    assert_eq!(all.expect("can be read").messages.len(), 3);
}

/// All topics together keep what they may, in the largest of them, and the file is not much larger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_topics_give_way_when_the_file_is_full() {
    const TOTAL: u64 = 4 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let retention = Retention::default();
    let kept = FileRetention { topic: retention, total_bytes: TOTAL };
    let open = || {
        let store = RedbStore::open(directory.path(), kept, Durability::Os).expect("opens");
        Feed::of(Arc::new(store), limits(retention)).expect("opens")
    };
    let named = |feed: &Feed, name: &str| feed.topic(&name.parse().expect("a name")).expect("room");
    let feed = open();
    publish(&named(&feed, "small"), "kept").await;
    let text = "x".repeat(60_000);
    for round in 0..400 {
        publish(&named(&feed, &format!("large-{}", round % 20)), &text).await;
    }
    feed.close().await;
    drop(feed);
    let archive = Archive::open_existing(directory.path()).expect("a feed");
    let rows = archive.rows().expect("readable");
    archive.check(&rows).expect("consistent");
    assert!((TOTAL / 10 * 9..=TOTAL).contains(&rows.bytes()), "{}", rows.bytes());
    let messages: Vec<_> = rows.iter().map(|(_, kept)| kept.messages()).collect();
    assert!(messages.iter().all(|count| (1..=4).contains(count)), "{messages:?}");
    drop(archive);
    let size = std::fs::metadata(directory.path().join("feed.redb")).expect("a file").len();
    println!("{size} bytes of file for {TOTAL} bytes of messages");
    assert!(size <= 4 * TOTAL + (8 << 20), "{size}");
    // After a restart, what is gone is a gap.
    let feed = open();
    assert_eq!(
        texts(
            &named(&feed, "small")
                .read_after(at(&named(&feed, "small"), 0), 9)
                .await
                .expect("reads")
        ),
        ["kept"]
    );
    let large = named(&feed, "large-0");
    let read = large.read_after(at(&large, 0), 100).await.expect("reads");
    assert_eq!(read.gap + read.messages.len() as u64, 20);
    feed.close().await;
}

/// The only thread of the blocking pool is occupied. A subscriber whose messages are in the file
/// alone has to wait for that thread, and the runtime's threads serve others meanwhile.
#[test]
fn old_messages_are_read_by_the_blocking_pool_on_every_transport() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let data = directory.path().to_path_buf();
        let server = TestServer::with(|config| config.data = Some(data)).await;
        // More than stays in memory.
        for _ in 0..40 {
            server.publish(&"x".repeat(50_000)).await;
        }
        let begin = server.at(0);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let occupying = tokio::task::spawn_blocking(move || released.recv());
        let dialer = server.dialer();
        let reading = Transport::ALL.map(|transport| {
            let dialer = dialer.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut reader = Reader::connect(transport, dialer, options(Some(begin))).await;
                loop {
                    if let Some(first) = reader.next().await.messages.first() {
                        return first.offset;
                    }
                }
            }))
        });
        let metrics = &server.app.metrics;
        for transport in Transport::ALL {
            eventually("requested", || metrics.of(transport).requests.get() > 0).await;
        }
        for _ in 0..20 {
            assert_eq!(server.get("/healthz").await.status, 200);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(reading.iter().all(|task| !task.is_finished()), "a read did not use the pool");
        drop(release);
        for task in reading {
            assert_eq!(soon(task).await.expect("no panic"), 1);
        }
        let _ = occupying.await;
        server.stop().await;
    });
}
