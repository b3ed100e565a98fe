//! WebSocket: an HTTP request turns its connection into a message channel in both directions.
//!
//! Run it: `cargo run --example websocket`. It takes about two seconds and prints what each side
//! does, with the time since the start. `short_polling.rs`, `long_polling.rs`, `sse.rs` and
//! `websocket.rs` have the same four sections and the same feed. Read them in this order; the line
//! marked `WAIT` shows where the waiting happens.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, sync::watch::Sender, time::Instant};
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::Role};
use tokio_tungstenite::{WebSocketStream, client_async};
use warp::{Filter as _, Reply, http::StatusCode, reply::with_header};

// ---- 1. The feed ---------------------------------------------------------------------------

/// All messages ever published, in order. The first has offset 1. The `watch` channel holds the
/// list and wakes tasks that wait for a change of it.
static FEED: LazyLock<Sender<Vec<&str>>> = LazyLock::new(Sender::default);

/// Returns the messages with an offset greater than `after`; it never waits.
///
/// The subscriber, not the server, remembers how far it has read. A message that arrives between
/// two reads is therefore never lost: the next read returns it.
fn read_after(after: usize) -> Vec<(usize, &'static str)> {
    FEED.borrow().iter().enumerate().skip(after).map(|(index, text)| (index + 1, *text)).collect()
}

/// Returns when there is a message with an offset greater than `after`: at once if there is one
/// already.
///
/// `subscribe` comes before `wait_for` looks at the list. In the opposite order, a message
/// published between the two would wake no waiter.
async fn wait_after(after: usize) {
    // `wait_for` fails only if the sender is dropped, and a static is never dropped.
    let _ = FEED.subscribe().wait_for(|messages| messages.len() > after).await;
}

// ---- 2. The server -------------------------------------------------------------------------

/// Answers `101 Switching Protocols`. From then on the connection carries WebSocket frames instead
/// of HTTP. The accept key proves that the server supports WebSocket (RFC 6455, section 4.2.2).
fn messages(after: usize, upgrade: hyper::upgrade::OnUpgrade, key: String) -> impl Reply {
    // The upgraded connection is available once the response below has been sent; `push` waits for
    // that.
    tokio::spawn(push(after, upgrade));
    let accept = derive_accept_key(key.as_bytes());
    let reply = with_header(StatusCode::SWITCHING_PROTOCOLS, "sec-websocket-accept", accept);
    with_header(with_header(reply, "connection", "upgrade"), "upgrade", "websocket")
}

/// Sends each message as one text frame, until a frame cannot be sent. A real server also reads, to
/// answer pings and to notice at once that the client has left; this one notices at the next frame.
async fn push(mut after: usize, upgrade: hyper::upgrade::OnUpgrade) -> Result<()> {
    let io = hyper_util::rt::TokioIo::new(upgrade.await?);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    loop {
        // WAIT: here, in the server, on a connection that stays open.
        wait_after(after).await;
        for (offset, text) in read_after(after) {
            socket.send(format!("{offset} {text}").into()).await?;
            after = offset;
        }
    }
}

// ---- 3. The client -------------------------------------------------------------------------

/// Opens a WebSocket and reads frames as they arrive.
async fn subscribe(address: SocketAddr) -> Result<()> {
    log("client", "requests messages after 0");
    let url = format!("ws://{address}/messages/after/0");
    let (mut socket, _) = client_async(url, TcpStream::connect(address).await?).await?;
    for _ in MESSAGES {
        // Each message contains its offset. A real client keeps the last one: after a broken
        // connection it connects again and continues from there.
        let frame = socket.next().await.context("the server closed the connection")??;
        log("client", &format!("receives {frame}"));
    }
    Ok(())
}

// ---- 4. The program ------------------------------------------------------------------------

/// What is published, and how long after the previous message.
const MESSAGES: [(u64, &str); 4] = [(300, "hello"), (50, "hi"), (400, "well?"), (1300, "bye")];

/// Prints a step with the time since the start.
fn log(who: &str, step: &str) {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    println!("{:>5} ms  {who:<9}  {step}", START.elapsed().as_millis());
}

#[tokio::main]
async fn main() -> Result<()> {
    // Server, client and publisher run at the same time. Port 0 is any free port.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let client = tokio::spawn(subscribe(listener.local_addr()?));
    let upgrade = warp::ext::get().and(warp::header("sec-websocket-key"));
    let route = warp::path!("messages" / "after" / usize).and(upgrade).map(messages);
    tokio::spawn(warp::serve(route).incoming(listener).run());
    for (pause, text) in MESSAGES {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        log("publisher", &format!("publishes {text:?}"));
        FEED.send_modify(|messages| messages.push(text));
    }
    client.await?
}
