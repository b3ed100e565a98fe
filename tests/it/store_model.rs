//! The stores compared with a model: many topics, published to in random groups, with retention,
//! expiry and reopening; and files with inconsistent content.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poll_vs_push::feed::store::{
    Archive, Durability, FileRetention, MemoryStore, RedbStore, StoreError,
};
use poll_vs_push::feed::{Feed, FeedLimits, Retention, Topic};
use poll_vs_push::message::{Cursor, Epoch, Message, NewMessage, TopicName};
use proptest::prelude::*;
use redb::{Database, ReadableTable as _, TableDefinition};
use tokio_util::task::AbortOnDropHandle;

const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
const TOPICS: TableDefinition<&str, (u32, u64, u64, u64)> = TableDefinition::new("topics");
const MESSAGES: TableDefinition<(u32, u64), (u64, &[u8])> = TableDefinition::new("messages");

fn limits(retention: Retention) -> FeedLimits {
    FeedLimits { retention, ..FeedLimits::default() }
}

fn open(directory: &Path, retention: Retention) -> Result<Feed, StoreError> {
    let kept = FileRetention { topic: retention, total_bytes: u64::MAX };
    let store = RedbStore::open(directory, kept, Durability::Os)?;
    Feed::of(Arc::new(store), limits(retention))
}

fn name(text: &str) -> TopicName {
    text.parse().expect("a good name")
}

fn topic(feed: &Feed, text: &str) -> Arc<Topic> {
    feed.topic(&name(text)).expect("within the limit")
}

/// The content of a topic from its first offset: the size of the gap, and the texts.
async fn read_all(topic: &Topic) -> (u64, Vec<String>) {
    let mut cursor = Cursor { offset: 0, ..topic.head() };
    let (mut gap, mut texts) = (0, Vec::new());
    while cursor != topic.head() {
        let read = topic.read_after(cursor, 5).await.expect("can be read");
        assert!(!read.reset && (texts.is_empty() || read.gap == 0), "{read:?}");
        gap += read.gap;
        for json in &read.messages {
            let message: Message = serde_json::from_slice(json).expect("a message");
            texts.push(message.text);
            assert_eq!(message.offset, gap + texts.len() as u64);
        }
        cursor = read.cursor;
    }
    (gap, texts)
}

/// Publishes a message to each topic of `group` concurrently, so that the store may combine any
/// number of them in one commit.
async fn publish_group(feed: &Feed, group: &[u8], model: &mut HashMap<u8, Vec<String>>) {
    let mut publishing = Vec::new();
    for &number in group {
        let texts = model.entry(number).or_default();
        let text = format!("{} of topic {number}", texts.len() + 1);
        texts.push(text.clone());
        let topic = topic(feed, &format!("t{number}"));
        let message = NewMessage { sender: "A".into(), text };
        let mut future = Box::pin(async move { topic.publish(message).await });
        // The first poll sends the message to the store, so this is also the order of the offsets.
        let at_once = futures_util::poll!(&mut future);
        publishing.push((future, at_once));
    }
    for (future, at_once) in publishing {
        match at_once {
            std::task::Poll::Ready(stored) => stored.expect("stored"),
            std::task::Poll::Pending => future.await.expect("stored"),
        };
    }
}

/// The age at which messages expire in runs whose steps expire some.
const AGE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<u8>),
    /// Waits until every message is too old, and drops them all.
    Expire,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0..40u8, 1..30).prop_map(Step::Publish),
        // Many messages to one topic, and one each to a few others that may be new.
        3 => (0..40u8, prop::collection::vec(0..40u8, 1..4)).prop_map(|(many, mut others)| {
            others.extend([many; 20]);
            Step::Publish(others)
        }),
        1 => Just(Step::Expire),
        2 => Just(Step::Reopen),
    ]
}

/// Compares every topic with the model. What a topic holds is always the end of what was published
/// to it; `kept` is the number of its messages, if that is known.
async fn compare(feed: &Feed, model: &HashMap<u8, Vec<String>>, kept: Option<usize>) {
    for (number, texts) in model {
        let (gap, read) = read_all(&topic(feed, &format!("t{number}"))).await;
        assert_eq!(gap as usize + read.len(), texts.len(), "topic t{number}");
        assert_eq!(read, texts[gap as usize..], "topic t{number}");
        if let Some(kept) = kept {
            assert_eq!(read.len(), texts.len().min(kept), "topic t{number}");
        }
    }
}

/// Where a feed is stored.
enum Place<'a> {
    /// It cannot be reopened.
    Memory,
    Disk(&'a Path),
    #[cfg(feature = "nats")]
    Nats(poll_vs_push::feed::store::NatsConfig),
}

/// An open feed, and the task that follows a shared store.
type OpenFeed = (Arc<Feed>, Option<AbortOnDropHandle<()>>);

impl Place<'_> {
    async fn open(&self, retention: Retention) -> OpenFeed {
        match self {
            Place::Memory => {
                let store = MemoryStore::new(Epoch(7));
                (Arc::new(Feed::of(Arc::new(store), limits(retention)).expect("opens")), None)
            }
            Place::Disk(path) => (Arc::new(open(path, retention).expect("a good directory")), None),
            #[cfg(feature = "nats")]
            Place::Nats(config) => {
                let feed = crate::support::nats::open(config, limits(retention)).await;
                let following = crate::support::nats::follow(&feed);
                (feed, Some(following))
            }
        }
    }
}

/// Runs the steps on a store and compares every topic with the model after each of them that can
/// change what is kept.
async fn run(retention: Retention, steps: &[Step], place: Place<'_>) {
    // Messages that are too old are dropped at any time.
    let kept = (retention.age == Duration::MAX).then_some(retention.messages);
    let (mut feed, mut following) = place.open(retention).await;
    let mut model = HashMap::new();
    for step in steps.iter().chain([&Step::Reopen]) {
        match step {
            Step::Publish(group) => publish_group(&feed, group, &mut model).await,
            Step::Expire => {
                std::thread::sleep(AGE * 2);
                feed.expire().await;
                compare(&feed, &model, kept.or(Some(0))).await;
            }
            Step::Reopen => {
                if !matches!(place, Place::Memory) {
                    feed.close().await;
                    drop((feed, following));
                    (feed, following) = place.open(retention).await;
                }
                compare(&feed, &model, kept).await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_topic_keeps_its_own_messages(
        messages in prop_oneof![1..10usize, Just(1_000)],
        age in prop_oneof![Just(Duration::MAX), Just(AGE)],
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let retention = Retention { messages, age, ..Retention::default() };
            let directory = tempfile::tempdir().expect("a directory");
            run(retention, &steps, Place::Disk(directory.path())).await;
            run(retention, &steps, Place::Memory).await;
        });
    }
}

#[cfg(feature = "nats")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn every_topic_on_nats_keeps_its_own_messages(
        messages in prop_oneof![1..10usize, Just(1_000)],
        age in prop_oneof![Just(Duration::MAX), Just(AGE)],
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let retention = Retention { messages, age, ..Retention::default() };
        let Some(config) = crate::support::nats::shared_store(retention) else { return Ok(()) };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(run(retention, &steps, Place::Nats(config)));
    }
}

/// Writes a feed file by hand: rows of topics (name, number, oldest, head) and messages (number,
/// offset in the key, offset in the object).
fn write_file(directory: &Path, rows: &[(&str, u32, u64, u64)], messages: &[(u32, u64, u64)]) {
    let object = |offset| {
        let (sender, text) = ("A".to_owned(), "hi".to_owned());
        Message { offset, published_at: 1, sender, text }.encode()
    };
    let database = Database::create(directory.join("feed.redb")).expect("can be created");
    let write = database.begin_write().expect("can be written");
    {
        let mut about = write.open_table(ABOUT).expect("opens");
        about.insert("format", "poll-vs-push feed 1").expect("inserted");
        about.insert("epoch", "0000002a").expect("inserted");
        let mut table = write.open_table(MESSAGES).expect("opens");
        for &(number, key, offset) in messages {
            table.insert((number, key), (1, &object(offset)[..])).expect("inserted");
        }
        let mut topics = write.open_table(TOPICS).expect("opens");
        for &(name, number, oldest, head) in rows {
            let own = messages.iter().filter(|(of, ..)| *of == number);
            let bytes = own.map(|&(_, _, offset)| object(offset).len() as u64).sum();
            topics.insert(name, (number, oldest, head, bytes)).expect("inserted");
        }
    }
    write.commit().expect("committed");
}

#[test]
fn file_with_two_topics_of_one_number_is_rejected_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let rows = [("a", 0, 1, 1), ("b", 2, 1, 1), ("c", 2, 1, 1)];
    write_file(directory.path(), &rows, &[(0, 1, 1), (2, 1, 1)]);
    let before = std::fs::read(directory.path().join("feed.redb")).expect("readable");
    let error = open(directory.path(), Retention::default()).expect_err("refused");
    assert!(matches!(error, StoreError::Mixed { .. }), "{error}");
    let text = error.to_string();
    for part in ["'b', 'c'", "overwritten", "Nothing has been deleted", "move the file away"] {
        assert!(text.contains(part), "{text}");
    }
    let archive = Archive::open_existing(directory.path()).expect("can be inspected");
    let rows = archive.rows().expect("readable");
    assert_eq!(rows.sharing_a_number(), [&name("b"), &name("c")]);
    drop(archive);
    let after = std::fs::read(directory.path().join("feed.redb")).expect("readable");
    assert_eq!(before.len(), after.len());
}

#[test]
fn file_with_inconsistent_rows_is_rejected() {
    type Rows = &'static [(&'static str, u32, u64, u64)];
    type Messages = &'static [(u32, u64, u64)];
    const HUGE: u64 = 1_000_000_000_000_000_000;
    let cases: [(&str, Rows, Messages); 7] = [
        ("a huge head", &[("a", 0, 1, HUGE)], &[(0, 1, 1), (0, HUGE, HUGE)]),
        ("a head beyond the messages", &[("a", 0, 1, 3)], &[(0, 1, 1), (0, 2, 2)]),
        ("a hole", &[("a", 0, 1, 3)], &[(0, 1, 1), (0, 3, 3)]),
        ("an oldest offset of 0", &[("a", 0, 0, 1)], &[(0, 0, 0), (0, 1, 1)]),
        ("an oldest offset beyond the head", &[("a", 0, 9, 1)], &[(0, 1, 1)]),
        ("messages beyond the head", &[("a", 0, 1, 1)], &[(0, 1, 1), (0, 2, 2)]),
        ("messages of no topic", &[("a", 0, 1, 1)], &[(0, 1, 1), (7, 1, 1)]),
    ];
    for (case, rows, messages) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        write_file(directory.path(), rows, messages);
        let error = open(directory.path(), Retention::default()).expect_err(case);
        assert!(matches!(error, StoreError::Damaged { .. }), "{case}: {error}");
    }
}

#[tokio::test]
async fn object_with_a_wrong_offset_is_a_read_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let messages: Vec<_> = (1..=3).map(|offset| (0, offset, 1)).collect();
    write_file(directory.path(), &[("a", 0, 1, 3)], &messages);
    let feed = open(directory.path(), Retention::default()).expect("consistent");
    let topic = topic(&feed, "a");
    let read = topic.read_after(Cursor { offset: 0, ..topic.head() }, 10).await;
    assert!(matches!(read, Err(StoreError::NotRead(_))), "{read:?}");
}

/// Files of older versions may have stamps in any order, if the clock was set back.
#[tokio::test]
async fn messages_expire_whatever_the_order_of_their_timestamps() {
    const FUTURE: u64 = u64::MAX;
    for stamps in [[FUTURE, FUTURE, FUTURE], [FUTURE, 1, 1], [1, FUTURE, 1], [1, 1, FUTURE]] {
        let directory = tempfile::tempdir().expect("a directory");
        let messages = [1, 2, 3].map(|offset| (0, offset, offset));
        write_file(directory.path(), &[("a", 0, 1, 3)], &messages);
        let database = Database::open(directory.path().join("feed.redb")).expect("opens");
        let write = database.begin_write().expect("can be written");
        {
            let mut table = write.open_table(MESSAGES).expect("opens");
            for (offset, stamp) in (1..).zip(stamps) {
                let object =
                    table.get((0, offset)).expect("readable").expect("there").value().1.to_vec();
                table.insert((0, offset), (stamp, &object[..])).expect("inserted");
            }
        }
        write.commit().expect("committed");
        drop(database);
        let retention = Retention { age: AGE, ..Retention::default() };
        let feed = open(directory.path(), retention).expect("consistent");
        let topic = topic(&feed, "a");
        topic
            .publish(NewMessage { sender: "A".into(), text: "later".into() })
            .await
            .expect("stored");
        let expiring = async {
            while read_all(&topic).await.0 < 4 {
                feed.expire().await;
                tokio::task::yield_now().await;
            }
        };
        let expired = tokio::time::timeout(Duration::from_secs(60), expiring).await;
        expired.unwrap_or_else(|_| panic!("stamps {stamps:?}: not all messages expire"));
    }
}
