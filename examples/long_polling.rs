//! Long polling: the client polls, and the server waits for a message before it responds.
//!
//! Run it: `cargo run --example long_polling`. It takes about two seconds and prints what each
//! side does, with the time since the start. `short_polling.rs`, `long_polling.rs`, `sse.rs` and
//! `websocket.rs` have the same four sections and the same feed. Read them in this order; the line
//! marked `WAIT` shows where the waiting happens.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use anyhow::Result;
use http_body_util::BodyExt as _;
use hyper::{Request, client::conn::http1};
use tokio::{net::TcpStream, sync::watch::Sender, time::Instant};
use warp::{Filter as _, Rejection};

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

/// The longest time a request is held. Proxies close connections that are silent for too long,
/// often after 60 s; real servers use 20 to 30 s. It is short here so that you see one time out.
const TIMEOUT: Duration = Duration::from_millis(800);

/// Answers a poll as soon as there is a message, or after `TIMEOUT` without one.
async fn messages(after: usize) -> Result<String, Rejection> {
    // WAIT: here, in the server, once for each request.
    if tokio::time::timeout(TIMEOUT, wait_after(after)).await.is_err() {
        log("server", "has no message before the timeout: empty response");
    }
    // One line for each message; no line means "nothing new".
    Ok(read_after(after).iter().map(|(offset, text)| format!("{offset} {text}\n")).collect())
}

// ---- 3. The client -------------------------------------------------------------------------

/// Requests the messages after the last one received, and repeats at once.
async fn subscribe(address: SocketAddr) -> Result<()> {
    // One TCP connection carries all requests, one after the other.
    let stream = TcpStream::connect(address).await?;
    let (mut connection, driver) = http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let mut after = 0;
    while after < MESSAGES.len() {
        log("client", &format!("requests messages after {after}"));
        let request = Request::get(format!("/messages/after/{after}"))
            .header("host", "localhost")
            .body(String::new())?;
        let body = connection.send_request(request).await?.into_body().collect().await?.to_bytes();
        for line in std::str::from_utf8(&body)?.lines() {
            log("client", &format!("receives {line}"));
            // The next request continues after the last message received.
            after = line.split(' ').next().unwrap_or_default().parse()?;
        }
        // No waiting here: the next request is sent at once, or the server would have no request to
        // answer when the next message is published.
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
    let route = warp::path!("messages" / "after" / usize).and_then(messages);
    tokio::spawn(warp::serve(route).incoming(listener).run());
    for (pause, text) in MESSAGES {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        log("publisher", &format!("publishes {text:?}"));
        FEED.send_modify(|messages| messages.push(text));
    }
    client.await?
}
