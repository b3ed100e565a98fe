//! WebSocket: one request that turns its connection into a channel on which the server sends a
//! frame when there is a message (RFC 6455).
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/ws?epoch=..&after=..   Upgrade: websocket   ->   101, then frames
//!     server: {"event":"subscribed",...} first, then message objects; {"event":"gap"|"reset",...}
//!     client: {"sender":"..","text":".."} publishes; {"event":"published",...} acknowledges it
//! ```
//!
//! # Where the waiting happens
//! In the server, on one connection, for as long as the subscriber stays. No request is needed to
//! begin waiting again, so no message waits for one.
//!
//! # What it costs
//! One handshake; then a frame for each message, 2 to 10 bytes around the payload. The server keeps
//! a connection, a task and small buffers for each subscriber, and sends a ping every --heartbeat.

mod echo;
pub(super) mod handshake;
pub(super) mod server_frames;
mod socket;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{SubscribeOptions, Update};
use crate::app::{App, End, Subscription};
use crate::client::{ClientError, Dialer, WebSocket, first_cursor};
use crate::message::{Cursor, Event};
pub use echo::route as echo_route;
use socket::Socket;

/// The server half. `socket` accepts the upgrade, then calls `serve`.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    socket::route(app, "ws", serve)
}

/// Sends frames until the subscription ends, then a close frame with the reason.
async fn serve(subscription: Arc<Subscription>, mut socket: Box<Socket>) {
    // `frames` loops until there is a reason to end, so it has no other result.
    let Err(end) = frames(&subscription, &mut socket).await;
    socket.close(end).await;
}

/// Sends each message as a frame, until the subscription ends; publishes what the client sends.
async fn frames(subscription: &Subscription, socket: &mut Socket) -> Result<Infallible, End> {
    let topic = &subscription.topic;
    let mut cursor = subscription.cursor;
    let mut ended = pin!(subscription.ended());
    socket.begin(subscription).await?;
    loop {
        // WAIT: here, in the server, on a connection that stays open.
        tokio::select! {
            () = topic.wait_after(cursor) => {
                let result = topic.read_after(cursor, subscription.limit).await?;
                cursor = result.cursor;
                socket.send(result).await?;
            }
            // `receive` also sends heartbeats.
            text = socket.receive() => {
                let event = match subscription.publish(text?.as_bytes()).await {
                    Ok(stored) => Event::Published { epoch: stored.epoch, offset: stored.offset },
                    Err(error) => Event::Error { error: error.message },
                };
                socket.send_event(event).await?;
            }
            end = &mut ended => return Err(end),
        }
    }
}

/// The client half. [`WebSocket`] sends the upgrade request and reads the frames.
#[derive(Debug)]
pub struct Subscriber {
    socket: WebSocket,
    pub(super) cursor: Cursor,
}

impl Subscriber {
    /// Sends the upgrade request, and reads where the subscription begins.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: &SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let mut socket = WebSocket::connect(&dialer, &options.path("ws")).await?;
        let cursor = first_cursor(socket.next_item().await?)?;
        Ok(Subscriber { socket, cursor })
    }

    /// Reads until there is an update. The server waits before it sends one.
    ///
    /// # Errors
    /// If the connection breaks or the server sends something invalid.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            let item = self.socket.next_item().await?;
            if let Some(update) = Update::of(item, &mut self.cursor)? {
                return Ok(update);
            }
        }
    }
}
