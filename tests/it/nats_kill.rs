//! `kill -9` of two servers on one feed and of NATS under load, and partitions between a server and
//! NATS: acknowledged messages are stored, nothing is duplicated, and the subscribers of both
//! servers receive the same sequence on every transport.
//!
//! `NATS_KILLS` sets the number of faults and `KILL_SEED` the seed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::StatusCode;
use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::message::{Batch, Cursor};
use poll_vs_push::variant::Transport;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::child::ChildServer;
use crate::kill::{END, FORGOTTEN, TOPIC, from_env, hear_all, offset, post, read_topic, subscribe};
use crate::support::nats::NatsServer;

const PUBLISHERS_PER_SERVER: usize = 3;
/// How long a publisher waits after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// Forwards connections to NATS unless there is a partition.
struct Proxy {
    address: SocketAddr,
    is_open: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    async fn start(nats_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let (is_open, watched) = watch::channel(true);
        let accepting = async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut is_open = watched.clone();
                tokio::spawn(async move {
                    let forwarding = async {
                        if let Ok(mut nats) = TcpStream::connect(("127.0.0.1", nats_port)).await {
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut nats).await;
                        }
                    };
                    tokio::select! {
                        _ = is_open.wait_for(|is_open| !is_open) => {}
                        () = forwarding => {}
                    }
                });
            }
        };
        let accepting = AbortOnDropHandle::new(tokio::spawn(accepting));
        Proxy { address, is_open, _accepting: accepting }
    }
}

fn start(listen: &str, nats: &str) -> ChildServer {
    let kept = ["--retain-messages", "10000000", "--retain-bytes", "10000000000"];
    let total = ["--retain-total-bytes", "1000000000"];
    ChildServer::start_on(listen, &[&kept[..], &total[..], &["--nats", nats]].concat())
}

/// Publishes unique texts without retrying. Returns the acknowledged messages, and how many
/// publications failed.
async fn publisher(
    who: usize,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
) -> (Vec<(u64, String)>, usize) {
    let (mut acknowledged, mut failed, mut number) = (Vec::new(), 0, 0);
    while !stop.load(Relaxed) {
        let mut http = HttpConnection::new(Dialer::new(address));
        loop {
            number += 1;
            let text = format!("{who} {number}");
            match post(&mut http, &text).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    acknowledged.push((offset(&answer), text));
                }
                Ok(refusal) => {
                    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
                    assert!(refusal.headers.contains_key("retry-after"), "{refusal:?}");
                    break;
                }
                Err(_) => break,
            }
            if stop.load(Relaxed) {
                return (acknowledged, failed);
            }
        }
        failed += 1;
        tokio::time::sleep(RETRY_DELAY).await;
    }
    (acknowledged, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_and_nats_lose_and_duplicate_no_acknowledged_message() {
    let kills = from_env("NATS_KILLS", 8);
    let mut random = ChaCha8Rng::seed_from_u64(from_env("KILL_SEED", 1));
    let Some(mut nats) = NatsServer::start() else { return };
    let proxy = Proxy::start(nats.port).await;
    // The first server reaches NATS through the proxy.
    let urls = [format!("nats://{}", proxy.address), nats.url()];
    let mut servers = urls.each_ref().map(|url| start("127.0.0.1:0", url));
    let addresses = servers.each_ref().map(|server| server.address);
    let mut http = HttpConnection::new(Dialer::new(addresses[0]));
    let body = http.get(&format!("/topics/{TOPIC}/poll")).await.expect("answers");
    let begin: Batch = serde_json::from_slice(&body).expect("a batch");
    let begin = Cursor { epoch: begin.epoch, offset: 0 };
    let mut subscribers = Vec::new();
    for address in addresses {
        for transport in Transport::ALL {
            let subscriber = subscribe(transport, begin, address).await;
            subscribers.push((transport, tokio::spawn(hear_all(subscriber))));
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..2 * PUBLISHERS_PER_SERVER)
        .map(|who| tokio::spawn(publisher(who, addresses[who % 2], stop.clone())))
        .collect();

    let mut done = [0; 3];
    for _ in 0..kills {
        // Fixed sleeps, because the time of a fault and its length must be random.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        let downtime = Duration::from_millis(random.random_range(0..300));
        let which = random.random_range(0..4);
        match which {
            0 | 1 => {
                servers[which].kill();
                servers[which] = start(&addresses[which].to_string(), &urls[which]);
            }
            2 => {
                nats.kill();
                tokio::time::sleep(downtime).await;
                nats.restart().await;
            }
            _ => {
                proxy.is_open.send_replace(false);
                tokio::time::sleep(downtime).await;
                proxy.is_open.send_replace(true);
            }
        }
        done[which.saturating_sub(1)] += 1;
    }
    stop.store(true, Relaxed);
    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    for publisher in publishers {
        let (of_one, failures) = publisher.await.expect("publishes");
        acknowledged.extend(of_one);
        failed += failures;
    }
    let publishing_end = async {
        loop {
            let mut http = HttpConnection::new(Dialer::new(addresses[1]));
            match post(&mut http, END).await {
                Ok(answer) if answer.status == StatusCode::CREATED => return offset(&answer),
                _ => tokio::time::sleep(RETRY_DELAY).await,
            }
        }
    };
    let end = tokio::time::timeout(FORGOTTEN, publishing_end).await.expect("NATS is back");
    acknowledged.push((end, END.to_owned()));

    let all = read_topic(&mut HttpConnection::new(Dialer::new(addresses[1])), TOPIC).await;
    let texts: HashSet<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts.len(), all.len(), "a message is stored twice");
    assert!(all.iter().map(|(offset, _)| *offset).eq(1..=all.len() as u64), "offsets have holes");
    for (offset, text) in &acknowledged {
        let stored = all.get(*offset as usize - 1);
        assert_eq!(stored, Some(&(*offset, text.clone())), "acknowledged and lost");
    }
    for (transport, subscriber) in subscribers {
        let received = tokio::time::timeout(FORGOTTEN, subscriber).await;
        let (seen, _) = received.expect("received all").expect("subscribes");
        assert!(seen == all, "{transport} received something else");
    }
    let other = read_topic(&mut HttpConnection::new(Dialer::new(addresses[0])), TOPIC).await;
    assert!(other == all, "the servers have different messages");
    println!(
        "{kills} faults ({} of a server, {} of NATS, {} partitions): {} acknowledged, all there; \
         {} stored, none twice; {failed} publications failed",
        done[0],
        done[1],
        done[2],
        acknowledged.len(),
        all.len(),
    );
}
