//! Server-sent events (SSE): one HTTP response that never ends; the server writes a message when
//! there is one.
//!
//! Run it: `cargo run --example sse`. It takes about two seconds and prints what each side does,
//! with the time since the start. `short_polling.rs`, `long_polling.rs`, `sse.rs` and
//! `websocket.rs` have the same four sections and the same feed. Read them in this order; the line
//! marked `WAIT` shows where the waiting happens.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::{Request, client::conn::http1};
use tokio::{net::TcpStream, sync::watch::Sender, time::Instant};
use warp::{Filter as _, Reply, sse::Event};

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

/// Answers with a stream of events. `unfold` calls its function for each next event, and passes on
/// the offset of the previous one.
fn messages(after: usize) -> impl Reply {
    warp::sse::reply(futures_util::stream::unfold(after, |after| async move {
        // WAIT: here, in the server, in the middle of a response.
        wait_after(after).await;
        // One event at a time; `unfold` calls again at once for the next, if there are several.
        let (offset, text) = read_after(after).remove(0);
        // On the wire: `id:3`, `data:well?`, and an empty line that ends the event.
        Some((Ok::<_, hyper::Error>(Event::default().id(offset.to_string()).data(text)), offset))
    }))
}

// ---- 3. The client -------------------------------------------------------------------------

/// Sends one request and reads events from its response as they arrive. In a browser, `EventSource`
/// does all of this, and reconnects with the last `id` in the header `Last-Event-ID`.
async fn subscribe(address: SocketAddr) -> Result<()> {
    // One TCP connection carries one request and its endless response.
    let stream = TcpStream::connect(address).await?;
    let (mut connection, driver) = http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    log("client", "requests messages after 0");
    let request =
        Request::get("/messages/after/0").header("host", "localhost").body(String::new())?;
    let mut body = connection.send_request(request).await?.into_body();
    let (mut after, mut received) = (0, String::new());
    while after < MESSAGES.len() {
        // A piece of the body may end in the middle of an event; the rest is kept for the next.
        let piece = body.frame().await.context("the server ended the stream")??;
        received += std::str::from_utf8(piece.data_ref().context("no data")?)?;
        while let Some((event, rest)) = received.split_once("\n\n") {
            let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
            let (id, data) = field("id:").zip(field("data:")).context("an event without id")?;
            log("client", &format!("receives {id} {data}"));
            // After a broken connection, a new request would continue from here.
            after = id.parse()?;
            received = rest.to_string();
        }
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
    let route = warp::path!("messages" / "after" / usize).map(messages);
    tokio::spawn(warp::serve(route).incoming(listener).run());
    for (pause, text) in MESSAGES {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        log("publisher", &format!("publishes {text:?}"));
        FEED.send_modify(|messages| messages.push(text));
    }
    client.await?
}
