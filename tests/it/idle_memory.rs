//! Memory of an idle subscriber at the server, on each transport that waits. The bounds are for a
//! build without optimization, and half of the size of hyper's buffers alone.

use std::time::Duration;

use poll_vs_push::client::Dialer;
use poll_vs_push::variant::Transport;
use tokio::task::JoinSet;

use crate::child::ChildServer;
use crate::support::{FORGOTTEN, Reader, options};

/// Subscribers that are counted, after some that make the server allocate what all of them share.
const SUBSCRIBERS: usize = 400;
const SUBSCRIBERS_BEFORE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn idle_subscribers_cost_little_memory() {
    for (transport, bytes_max) in [
        (Transport::WebSocket, 9_000),
        (Transport::Sse, 9_000),
        (Transport::Ndjson, 9_000),
        (Transport::LongPolling, 11_000),
        (Transport::SocketioPolling, 11_000),
        (Transport::SocketioWebsocket, 9_000),
    ] {
        let server = ChildServer::start(&[]);
        let mut waiting = JoinSet::new();
        connect(&server, transport, SUBSCRIBERS_BEFORE, &mut waiting).await;
        // Until all of them wait.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = resident_bytes(&server);
        connect(&server, transport, SUBSCRIBERS, &mut waiting).await;
        let cost = || resident_bytes(&server).saturating_sub(before) / SUBSCRIBERS;
        let falling = async {
            while cost() > bytes_max {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let is_little = tokio::time::timeout(FORGOTTEN / 6, falling).await.is_ok();
        println!("{transport}: {} bytes for each idle subscriber", cost());
        assert!(is_little, "{transport}: {} bytes for each idle subscriber", cost());
        waiting.shutdown().await;
    }
}

/// Connects subscribers, which wait for a message that is never published.
async fn connect(
    server: &ChildServer,
    transport: Transport,
    count: usize,
    waiting: &mut JoinSet<()>,
) {
    for _ in 0..count {
        let mut reader =
            Reader::connect(transport, Dialer::new(server.address), options(None)).await;
        waiting.spawn(async move {
            loop {
                reader.next().await;
            }
        });
    }
}

fn resident_bytes(server: &ChildServer) -> usize {
    let path = format!("/proc/{}/statm", server.child.id());
    let text = std::fs::read_to_string(path).expect("this system has /proc");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * rustix::param::page_size()
}
