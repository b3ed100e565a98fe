//! Files that were damaged or crafted: a feed, a run, a target and a scenario with random bytes
//! changed, or cut off. Each is refused with a reason, or read; never with a panic, a hang or a
//! large allocation.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use poll_vs_push::feed::store::{Archive, Durability, FileRetention, RedbStore, StoreError};
use poll_vs_push::feed::{Feed, FeedLimits, ReadLimit, Retention};
use poll_vs_push::load::target::Target;
use poll_vs_push::message::{Cursor, NewMessage};
use poll_vs_push::report::Report;
use poll_vs_push::run::Run;
use poll_vs_push::scenario::Scenario;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Changed files of each kind, unless [`TIME_MAX`] ends the test earlier.
const CASES: u64 = 500;
const TIME_MAX: Duration = Duration::from_secs(8);
/// Longest time for one of them, on a slow machine.
const HANG: Duration = Duration::from_secs(60);
/// How much more memory a file may take than a good one.
const MEMORY_MAX: usize = 256 << 20;

const ROOM: [&str; 3] = ["a", "b", "room"];
const MESSAGES: usize = 40;

/// The case with this number of `good`: some bytes changed, or cut off, or repeated.
fn changed(good: &[u8], number: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    let mut bytes = good.to_vec();
    match number % 4 {
        0 => bytes.truncate(random.random_range(0..good.len())),
        1 => {
            // The header and the roots of a database are at its beginning.
            let end = good.len().min(4 << 10);
            bytes[random.random_range(0..end)] = random.random();
        }
        2 => {
            for _ in 0..random.random_range(1..16) {
                bytes[random.random_range(0..good.len())] ^= 1 << random.random_range(0..8);
            }
        }
        _ => {
            let length = random.random_range(1..good.len().min(512));
            let [from, to] = [0, 1].map(|_| random.random_range(0..=good.len() - length));
            bytes.copy_within(from..from + length, to);
        }
    }
    bytes
}

/// Most memory that this process has had resident, bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Calls `check` with changed copies of `good`. Returns how many it accepted.
fn try_changed(
    what: &'static str,
    good: Vec<u8>,
    check: impl Fn(Vec<u8>) -> bool + Send + 'static,
) -> u64 {
    let (done, results) = mpsc::channel();
    let good: Arc<[u8]> = good.into();
    let checking = std::thread::spawn(move || {
        assert!(check(good.to_vec()), "{what}: the good one");
        let began_at = Instant::now();
        for number in 0..CASES {
            if began_at.elapsed() > TIME_MAX {
                break;
            }
            done.send((number, check(changed(&good, number)))).expect("it is received");
        }
    });
    let memory_before = peak_memory();
    let (mut count, mut accepted) = (0, 0);
    loop {
        match results.recv_timeout(HANG) {
            Ok((number, is_accepted)) => {
                accepted += u64::from(is_accepted);
                count = number + 1;
            }
            Err(RecvTimeoutError::Timeout) => panic!("{what}: case {count} does not end"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert!(checking.join().is_ok(), "{what}: case {count} panicked");
    let grown = peak_memory() - memory_before;
    println!("{what}: {accepted} of {count} accepted, {} KiB more memory", grown >> 10);
    assert!(grown < MEMORY_MAX, "{what}: {grown} bytes");
    assert!(count > 20, "{what}: {count} cases");
    accepted
}

fn open(directory: &Path) -> Result<Feed, StoreError> {
    let retention = Retention::default();
    let kept = FileRetention { topic: retention, total_bytes: u64::MAX };
    let store = RedbStore::open(directory, kept, Durability::Os)?;
    Feed::of(Arc::new(store), FeedLimits { retention, ..FeedLimits::default() })
}

/// Reads what an accepted file contains, and stores another message.
async fn use_feed(feed: &Feed) -> Result<(), StoreError> {
    for name in ROOM {
        let Ok(topic) = feed.topic(&name.parse().expect("a good name")) else { continue };
        let mut cursor = Cursor { offset: 0, ..topic.head() };
        let limit = ReadLimit { messages: 1_000, bytes: 1 << 20 };
        for _ in 0..10 {
            cursor = topic.read_after(cursor, limit).await?.cursor;
        }
        topic.publish(NewMessage { sender: "A".into(), text: "more".into() }).await?;
    }
    Ok(())
}

#[test]
fn changed_feed_is_refused_or_read() {
    let original = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let feed = open(original.path()).expect("a new file");
        for number in 0..MESSAGES {
            for name in ROOM {
                let topic = feed.topic(&name.parse().expect("a good name")).expect("room");
                let text = "x".repeat(number * 50);
                let message = NewMessage { sender: "A".into(), text };
                topic.publish(message).await.expect("stored");
            }
        }
        feed.close().await;
    });
    let good = std::fs::read(original.path().join("feed.redb")).expect("it is stored");
    let directory = tempfile::tempdir().expect("a directory");
    let accepted = try_changed("feed.redb", good, move |bytes| {
        let file = directory.path().join("feed.redb");
        std::fs::write(&file, bytes).expect("there is space");
        // As `inspect` reads it.
        if let Ok(archive) = Archive::open_existing(directory.path())
            && let Ok(rows) = archive.rows()
        {
            for (name, row) in rows.iter() {
                let limit = ReadLimit { messages: 1_000, bytes: 1 << 20 };
                let _ = archive.read(name, row.oldest.saturating_sub(1), row.head, limit);
            }
        }
        runtime.block_on(async {
            match open(directory.path()) {
                Ok(feed) => {
                    let used = use_feed(&feed).await;
                    feed.close().await;
                    used.is_ok()
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    false
                }
            }
        })
    });
    println!("{accepted} files were accepted: unused pages were changed");
}

#[test]
fn changed_run_is_refused_or_reported() {
    let good = include_bytes!("../../load-tests/results/restart/run.json");
    try_changed("run.json", good.to_vec(), |bytes| {
        let Ok(text) = String::from_utf8(bytes) else { return false };
        let Ok(run) = Run::from_json(&text) else { return false };
        let report = Report::new(&run);
        !report.html().is_empty() && !report.markdown().is_empty() && !report.csv().is_empty()
    });
}

#[test]
fn changed_target_or_scenario_is_refused_or_read() {
    let target = include_bytes!("../../load-tests/targets/nchan.toml");
    try_changed("a target", target.to_vec(), |bytes| {
        String::from_utf8(bytes).is_ok_and(|text| Target::from_toml(&text).is_ok())
    });
    let scenario = include_bytes!("../../load-tests/scenarios/default.toml");
    try_changed("a scenario", scenario.to_vec(), |bytes| {
        String::from_utf8(bytes).is_ok_and(|text| Scenario::from_toml(&text).is_ok())
    });
}
