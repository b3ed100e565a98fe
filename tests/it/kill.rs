//! `kill -9` at random instants, under load: what was acknowledged is there afterwards, nothing is
//! there twice, and subscribers of every transport end with the whole sequence.
//!
//! `KILLS=200 cargo test --test it kill -- --nocapture` kills more often than the default and
//! prints what was counted; `KILL_SEED` makes another run of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use poll_vs_push::message::{Batch, Cursor, Draft, Stored, TopicName};
use poll_vs_push::transport::{Subscriber, Transport, Wish};
use poll_vs_push::wire::{Answer, Dialer, HttpConnection, WireError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::sync::watch;

use crate::child::{ChildServer, PROGRAM};

const PUBLISHERS: usize = 4;
const TOPIC: &str = "room";
const END: &str = "the end";
/// Far longer than anything here takes: reaching it means that somebody was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(120);

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

fn start(directory: &Path, life: u64) -> ChildServer {
    let durability = if life.is_multiple_of(2) { "full" } else { "os" };
    let directory = directory.to_str().expect("a path in UTF-8");
    let kept = ["--retain-messages", "10000000", "--retain-bytes", "10000000000"];
    let store = ["--data", directory, "--durability", durability];
    ChildServer::start(&[kept, store].concat())
}

async fn post(http: &mut HttpConnection, text: &str) -> Result<Answer, WireError> {
    let draft = Draft { sender: "A".into(), text: text.into() };
    let body = serde_json::to_vec(&draft).expect("encodes");
    http.request(Method::POST, &format!("/topics/{TOPIC}/messages"), body.into()).await
}

fn offset(answer: &Answer) -> u64 {
    serde_json::from_slice::<Stored>(&answer.body).expect("a place").offset
}

/// Publishes a new text each time, never one again; returns what was acknowledged.
async fn publisher(
    who: usize,
    mut address: watch::Receiver<SocketAddr>,
    stop: Arc<AtomicBool>,
) -> Vec<(u64, String)> {
    let mut acknowledged = Vec::new();
    let mut number = 0;
    while !stop.load(Relaxed) {
        let mut http = HttpConnection::new(Dialer::new(*address.borrow_and_update()));
        while !stop.load(Relaxed) {
            number += 1;
            let text = format!("{who} {number}");
            match post(&mut http, &text).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    acknowledged.push((offset(&answer), text));
                }
                Ok(refusal) => panic!("refused: {refusal:?}"),
                Err(_) => break,
            }
        }
        if !stop.load(Relaxed) {
            address.changed().await.expect("the killer lives");
        }
    }
    acknowledged
}

/// Subscribes, resumes from its cursor whenever the server is gone, and returns everything that it
/// was told up to the end.
async fn subscriber(
    transport: Transport,
    begin: Cursor,
    mut address: watch::Receiver<SocketAddr>,
) -> Vec<(u64, String)> {
    let mut cursor = begin;
    let mut seen = Vec::new();
    loop {
        let dialer = Dialer::new(*address.borrow_and_update());
        let topic: TopicName = TOPIC.parse().expect("a good name");
        let interval = Duration::from_millis(5);
        let wish = Wish { cursor: Some(cursor), interval, ..Wish::new(topic) };
        if let Ok(mut subscriber) = Subscriber::connect(transport, dialer, wish).await {
            while let Ok(received) = subscriber.next().await {
                assert!(received.gap == 0 && !received.reset, "{transport}: {received:?}");
                cursor = subscriber.cursor();
                seen.extend(received.messages.into_iter().map(|m| (m.offset, m.text)));
                if seen.last().is_some_and(|(_, text)| text == END) {
                    return seen;
                }
            }
        }
        address.changed().await.expect("the killer lives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_comes_twice() {
    let kills = from_env("KILLS", 20);
    let mut random = ChaCha8Rng::seed_from_u64(from_env("KILL_SEED", 1));
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = start(directory.path(), 0);
    let (address, addresses) = watch::channel(server.address);
    let path = format!("/topics/{TOPIC}/poll");
    let body = HttpConnection::new(Dialer::new(server.address)).get(&path).await.expect("answers");
    let begin: Batch = serde_json::from_slice(&body).expect("a batch");
    let begin = Cursor { epoch: begin.epoch, offset: 0 };
    let subscribers = Transport::ALL
        .map(|transport| tokio::spawn(subscriber(transport, begin, addresses.clone())));
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|who| tokio::spawn(publisher(who, addresses.clone(), stop.clone())))
        .collect();

    for life in 1..=kills {
        // The instant of the kill is what is random here, so this is a sleep for its own sake.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..120_000))).await;
        server.kill();
        server = start(directory.path(), life);
        address.send(server.address).expect("somebody listens");
    }
    stop.store(true, Relaxed);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.expect("publishes"));
    }
    let mut http = HttpConnection::new(Dialer::new(server.address));
    let end = post(&mut http, END).await.expect("the server is up");
    acknowledged.push((offset(&end), END.to_owned()));

    let mut sequences = Vec::new();
    for subscriber in subscribers {
        let seen = tokio::time::timeout(FORGOTTEN, subscriber).await.expect("told all");
        sequences.push(seen.expect("subscribes"));
    }
    let all = &sequences[0];
    let texts: HashSet<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts.len(), all.len(), "a message is there twice");
    assert!(all.iter().map(|(offset, _)| *offset).eq(1..=all.len() as u64), "offsets have holes");
    for (offset, text) in &acknowledged {
        assert_eq!(&all[*offset as usize - 1].1, text, "acknowledged at {offset}, and not there");
    }
    for (transport, seen) in Transport::ALL.iter().zip(&sequences) {
        assert!(seen == all, "{transport} was told something else");
    }
    println!(
        "{kills} kills: {} acknowledged, all there; {} stored, none twice; {} subscribers told all",
        acknowledged.len(),
        all.len(),
        sequences.len()
    );
}

/// A limit on the size of files stands for the full disk: the system refuses to write on, and
/// allows it again later.
#[tokio::test]
async fn a_full_disk_refuses_publishers_and_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("sh");
    // The signal that would end a process at the limit is ignored, as a disk sends none.
    let script = r#"trap '' XFSZ; ulimit -S -f 8000; exec "$0" "$@""#;
    command.args(["-c", script, PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(directory.path());
    let server = ChildServer::spawn(command);
    let mut http = HttpConnection::new(Dialer::new(server.address));
    let large = "x".repeat(50_000);
    let mut stored = 0;
    let refusal = loop {
        let answer = post(&mut http, &large).await.expect("an answer");
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        stored += 1;
        assert_eq!(offset(&answer), stored);
    };
    assert_eq!(refusal.status, StatusCode::INSUFFICIENT_STORAGE, "{refusal:?}");
    let error = String::from_utf8_lossy(&refusal.body).into_owned();
    assert!(error.contains("the disk is full"), "{error}");
    let path = format!("/topics/{TOPIC}/poll?after={}", stored - 1);
    let body: Bytes = http.get(&path).await.expect("readers are served");
    let batch: Batch = serde_json::from_slice(&body).expect("a batch");
    assert_eq!(batch.messages.len(), 1);

    let pid = Pid::from_child(&server.child);
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Fsize, unlimited).expect("the limit can be lifted");
    let publishing = async {
        loop {
            let answer = post(&mut http, "room again").await.expect("an answer");
            if answer.status == StatusCode::CREATED {
                return offset(&answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let offset = tokio::time::timeout(FORGOTTEN, publishing).await.expect("publishing goes on");
    assert!(offset > stored);
}
