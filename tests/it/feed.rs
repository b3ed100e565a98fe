//! The feed compared with a plain `Vec`: any sequence of publications and reads gives the results
//! of this model, and no waiting reader is missed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use poll_vs_push::feed::{Feed, FeedLimits, Retention, SharedRead, Topic};
use poll_vs_push::message::{Cursor, Epoch, NewMessage};
use proptest::prelude::*;

use crate::support::texts;

const EPOCH: Epoch = Epoch(7);
/// Far longer than any step takes: a timeout means that a waiting reader was not woken.
const FORGOTTEN: Duration = Duration::from_secs(60);

fn topic(retention: Retention) -> Arc<Topic> {
    let feed = Feed::new(EPOCH, FeedLimits { topics: 1, retention, ..FeedLimits::default() });
    feed.topic(&"room".parse().expect("a good name")).expect("room for one")
}

fn publish(topic: &Topic, text: &str) -> Cursor {
    let publishing = topic.publish(NewMessage { sender: "A".into(), text: text.into() });
    publishing.now_or_never().expect("memory is at once").expect("stored")
}

fn read_after(topic: &Topic, cursor: Cursor, limit: usize) -> SharedRead {
    topic.read_after(cursor, limit).now_or_never().expect("memory is at once").expect("readable")
}

fn at(offset: u64) -> Cursor {
    Cursor { epoch: EPOCH, offset }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(String),
    Read { after: u64, limit: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        ".{0,20}".prop_map(Step::Publish),
        (0..40u64, 1..10usize).prop_map(|(after, limit)| Step::Read { after, limit }),
    ]
}

proptest! {
    #[test]
    fn store_gives_the_same_results_as_a_vec(
        kept in 1..12usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let topic = topic(Retention { messages: kept, ..Retention::default() });
        let mut model: Vec<String> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(text) => {
                    let cursor = publish(&topic, &text);
                    model.push(text);
                    prop_assert_eq!(cursor, at(model.len() as u64));
                }
                Step::Read { after, limit } => {
                    let result = read_after(&topic, at(after), limit);
                    let head = model.len() as u64;
                    if after > head {
                        prop_assert!(result.reset && result.messages.is_empty());
                        prop_assert_eq!(result.cursor, at(head));
                        continue;
                    }
                    let oldest = head.saturating_sub(kept as u64).max(after) as usize;
                    let wanted: Vec<_> = model[oldest..].iter().take(limit).cloned().collect();
                    prop_assert!(!result.reset);
                    prop_assert_eq!(result.gap, oldest as u64 - after);
                    prop_assert_eq!(result.cursor, at((oldest + wanted.len()) as u64));
                    prop_assert_eq!(texts(&result), wanted);
                }
            }
        }
    }

    #[test]
    fn store_keeps_at_most_its_limit_of_bytes(sizes in prop::collection::vec(0..300usize, 1..40)) {
        let bound = 1_000;
        let topic = topic(Retention { bytes: bound, ..Retention::default() });
        for size in sizes {
            publish(&topic, &"x".repeat(size));
            let kept = read_after(&topic, at(0), usize::MAX).messages.clone();
            let bytes: usize = kept.iter().map(|message| message.len()).sum();
            prop_assert!(bytes <= bound || kept.len() == 1);
        }
    }
}

#[test]
fn cursor_of_another_epoch_is_reset_to_the_head() {
    let topic = topic(Retention::default());
    publish(&topic, "one");
    let result = read_after(&topic, Cursor { epoch: Epoch(8), offset: 0 }, 10);
    assert!(result.reset && result.messages.is_empty());
    assert_eq!(result.cursor, at(1));
}

/// Publishers and readers run concurrently; every reader sees every message once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_receive_everything_once_and_in_order() {
    const PUBLISHERS: u64 = 4;
    const EACH: u64 = 500;
    const READERS: usize = 50;
    let topic = topic(Retention::default());
    let reader = |topic: Arc<Topic>| async move {
        let mut cursor = at(0);
        let mut seen = Vec::new();
        while seen.len() < (PUBLISHERS * EACH) as usize {
            topic.wait_after(cursor).await;
            let result = read_after(&topic, cursor, 7);
            assert!(result.gap == 0 && !result.reset && !result.messages.is_empty());
            cursor = result.cursor;
            seen.extend(texts(&result));
        }
        seen
    };
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(reader(topic.clone()))).collect();
    let publisher = |topic: Arc<Topic>, who: u64| async move {
        for number in 0..EACH {
            publish(&topic, &format!("{who} {number}"));
            tokio::task::yield_now().await;
        }
    };
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|who| tokio::spawn(publisher(topic.clone(), who))).collect();
    for publisher in publishers {
        publisher.await.expect("publishes");
    }
    let all = texts(&read_after(&topic, at(0), usize::MAX));
    for reader in readers {
        let seen = tokio::time::timeout(FORGOTTEN, reader).await.expect("woken").expect("reads");
        assert_eq!(seen, all);
    }
}

#[tokio::test]
async fn waiting_with_an_invalid_cursor_returns_at_once() {
    let topic = topic(Retention::default());
    for cursor in [Cursor { epoch: Epoch(8), offset: 0 }, at(1)] {
        tokio::time::timeout(FORGOTTEN, topic.wait_after(cursor)).await.expect("no wait");
    }
}

#[tokio::test]
async fn one_publication_wakes_ten_thousand_waiters() {
    let topic = topic(Retention::default());
    let wait = |topic: Arc<Topic>| async move { topic.wait_after(at(0)).await };
    let waiters: Vec<_> = (0..10_000).map(|_| tokio::spawn(wait(topic.clone()))).collect();
    tokio::task::yield_now().await;
    publish(&topic, "wake up");
    for waiter in waiters {
        tokio::time::timeout(FORGOTTEN, waiter).await.expect("woken").expect("waits");
    }
}
