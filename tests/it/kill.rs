//! SIGKILL at random times under load: acknowledged messages are stored, nothing is duplicated,
//! every topic has only its own messages, and subscribers of every transport receive the whole
//! sequence.
//!
//! Set `KILLS=200` with `cargo test --test it kill -- --nocapture` to kill more often than the
//! default and print the counts; `KILL_SEED` sets the seed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use poll_vs_push::client::{ClientError, Dialer, HttpConnection, HttpResponse};
use poll_vs_push::message::{Batch, Cursor, NewMessage, Stored, TopicName};
use poll_vs_push::transport::{Backoff, Reconnecting, SubscribeOptions};
use poll_vs_push::variant::Transport;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::sync::watch;

use crate::child::{ChildServer, PROGRAM};
use crate::measure;

const PUBLISHERS: usize = 8;
/// The topic with subscribers.
pub const TOPIC: &str = "room";
/// Further topics, which are published to and read after all kills.
const OTHER_TOPICS: u32 = 60;
pub const END: &str = "the end";
/// Far longer than any step takes: a timeout means that a waiting reader was not woken.
pub const FORGOTTEN: Duration = Duration::from_secs(120);

pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

fn start(directory: &Path, listen: &str, life: u64) -> ChildServer {
    let durability = if life.is_multiple_of(2) { "full" } else { "os" };
    let directory = directory.to_str().expect("a path in UTF-8");
    let kept = ["--retain-messages", "10000000", "--retain-bytes", "10000000000"];
    let store = ["--data", directory, "--durability", durability];
    ChildServer::start_on(listen, &[kept, store].concat())
}

async fn post_to(
    http: &mut HttpConnection,
    topic: &str,
    text: &str,
) -> Result<HttpResponse, ClientError> {
    let message = NewMessage { sender: "A".into(), text: text.into() };
    let body = serde_json::to_vec(&message).expect("encodes");
    http.request(Method::POST, &format!("/topics/{topic}/messages"), body.into()).await
}

pub async fn post(http: &mut HttpConnection, text: &str) -> Result<HttpResponse, ClientError> {
    post_to(http, TOPIC, text).await
}

pub fn offset(answer: &HttpResponse) -> u64 {
    serde_json::from_slice::<Stored>(&answer.body).expect("a place").offset
}

/// An acknowledged message: topic, offset, text.
type Acknowledged = (String, u64, String);

/// Publishes unique texts without retrying, half of them to [`TOPIC`], the others to random topics.
/// Returns the acknowledged messages.
async fn publisher(
    who: usize,
    address: SocketAddr,
    mut life: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
) -> Vec<Acknowledged> {
    let mut random = ChaCha8Rng::seed_from_u64(who as u64);
    let mut acknowledged = Vec::new();
    let mut number = 0;
    while !stop.load(Relaxed) {
        life.mark_unchanged();
        let mut http = HttpConnection::new(Dialer::new(address));
        while !stop.load(Relaxed) {
            number += 1;
            let topic = match random.random_bool(0.5) {
                true => TOPIC.to_owned(),
                false => format!("other-{}", random.random_range(0..OTHER_TOPICS)),
            };
            let text = format!("{topic} {who} {number}");
            match post_to(&mut http, &topic, &text).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    acknowledged.push((topic, offset(&answer), text));
                }
                Ok(refusal) => panic!("refused: {refusal:?}"),
                Err(_) => break,
            }
        }
        if !stop.load(Relaxed) {
            life.changed().await.expect("the killer lives");
        }
    }
    acknowledged
}

/// A subscriber that reconnects whenever the server is down.
pub async fn subscribe(transport: Transport, begin: Cursor, address: SocketAddr) -> Reconnecting {
    let topic: TopicName = TOPIC.parse().expect("a good name");
    let interval = Duration::from_millis(5);
    let options =
        SubscribeOptions { cursor: Some(begin), interval, ..SubscribeOptions::new(topic) };
    let backoff = Backoff {
        first_delay_max: Duration::from_millis(5),
        delay_max: Duration::from_millis(50),
        outage_max: FORGOTTEN,
    };
    let connecting = Reconnecting::connect(transport, Dialer::new(address), options, backoff);
    connecting.await.expect("the server is up")
}

/// All messages received until the end, and the number of reconnections.
pub async fn hear_all(mut subscriber: Reconnecting) -> (Vec<(u64, String)>, u32) {
    let (mut seen, mut outages) = (Vec::new(), 0);
    while seen.last().is_none_or(|(_, text)| text != END) {
        let received = subscriber.next().await.expect("outages pass");
        assert!(received.gap == 0 && !received.reset, "{received:?}");
        seen.extend(received.messages.into_iter().map(|m| (m.offset, m.text)));
        outages += u32::from(subscriber.outage().is_some());
    }
    (seen, outages)
}

/// All messages of a topic: offset and text.
pub async fn read_topic(http: &mut HttpConnection, topic: &str) -> Vec<(u64, String)> {
    let mut messages = Vec::new();
    loop {
        let path = format!("/topics/{topic}/poll?after={}", messages.len());
        let body = http.get(&path).await.expect("the server is up");
        let batch: Batch = serde_json::from_slice(&body).expect("a batch");
        assert!(batch.gap == 0 && !batch.reset, "{batch:?}");
        if batch.messages.is_empty() {
            return messages;
        }
        messages.extend(batch.messages.into_iter().map(|m| (m.offset, m.text)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_loses_and_duplicates_no_acknowledged_message() {
    let kills = from_env("KILLS", 20);
    let mut random = ChaCha8Rng::seed_from_u64(from_env("KILL_SEED", 1));
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = start(directory.path(), "127.0.0.1:0", 0);
    let (address, listen) = (server.address, server.address.to_string());
    let (life, lives) = watch::channel(0);
    let path = format!("/topics/{TOPIC}/poll");
    let body = HttpConnection::new(Dialer::new(server.address)).get(&path).await.expect("answers");
    let begin: Batch = serde_json::from_slice(&body).expect("a batch");
    let begin = Cursor { epoch: begin.epoch, offset: 0 };
    let mut subscribers = Vec::new();
    for transport in Transport::ALL {
        subscribers.push(tokio::spawn(hear_all(subscribe(transport, begin, address).await)));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|who| tokio::spawn(publisher(who, address, lives.clone(), stop.clone())))
        .collect();

    for number in 1..=kills {
        // A fixed sleep, because the time of the kill must be random.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..120_000))).await;
        server.kill();
        server = start(directory.path(), &listen, number);
        life.send(number).expect("somebody listens");
    }
    stop.store(true, Relaxed);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.expect("publishes"));
    }
    let mut http = HttpConnection::new(Dialer::new(server.address));
    let end = post(&mut http, END).await.expect("the server is up");
    acknowledged.push((TOPIC.to_owned(), offset(&end), END.to_owned()));
    let mut topics: HashMap<String, Vec<(u64, String)>> = HashMap::new();
    for other in (0..OTHER_TOPICS).map(|number| format!("other-{number}")) {
        let messages = read_topic(&mut http, &other).await;
        assert!(messages.iter().all(|(_, text)| text.starts_with(&format!("{other} "))));
        topics.insert(other, messages);
    }

    let mut sequences = Vec::new();
    for subscriber in subscribers {
        let told = tokio::time::timeout(FORGOTTEN, subscriber).await.expect("told all");
        let (seen, outages) = told.expect("subscribes");
        assert!(outages > 0, "it was not even disturbed");
        sequences.push(seen);
    }
    let all = &sequences[0];
    topics.insert(TOPIC.to_owned(), all.clone());
    for (topic, all) in &topics {
        let texts: HashSet<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts.len(), all.len(), "{topic}: a message is there twice");
        let offsets = all.iter().map(|(offset, _)| *offset);
        assert!(offsets.eq(1..=all.len() as u64), "{topic}: offsets have holes");
    }
    for (topic, offset, text) in &acknowledged {
        let stored = topics[topic].get(*offset as usize - 1);
        assert_eq!(stored, Some(&(*offset, text.clone())), "{topic}: acknowledged and lost");
    }
    for (transport, seen) in Transport::ALL.iter().zip(&sequences) {
        assert!(seen == all, "{transport} was told something else");
    }
    let stored = topics.values().map(Vec::len).sum::<usize>();
    println!(
        "{kills} kills, {} topics: {} acknowledged, all there; {stored} stored, none twice; \
         {} subscribers received all",
        topics.len(),
        acknowledged.len(),
        sequences.len()
    );
    let acknowledged = acknowledged.len();
    let figures = json!({ "count": kills, "acknowledged": acknowledged, "stored": stored });
    measure::record("kills", figures);
}

/// A limit on the file size stands for a full disk: the system rejects writes, and accepts them
/// again later.
#[tokio::test]
async fn full_disk_rejects_publishers_and_still_serves_readers() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("sh");
    // The signal SIGXFSZ is ignored, since a full disk sends none.
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
    // The file was closed after the error. A reader of older messages has it opened again, without
    // another publication.
    let path = format!("/topics/{TOPIC}/poll?after=0");
    let reading = async {
        loop {
            match http.get(&path).await {
                Ok(body) => return body,
                Err(ClientError::Refused { status, body, .. }) => {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                    assert!(body.contains("cannot read older messages"), "{body}");
                }
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let body = tokio::time::timeout(FORGOTTEN, reading).await.expect("the file is opened again");
    let batch: Batch = serde_json::from_slice(&body).expect("a batch");
    assert_eq!(batch.messages[0].offset, 1);

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
