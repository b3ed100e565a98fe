//! Long polling: the client polls, and the server waits for a message before it responds (RFC 6202,
//! section 2).
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/long-poll?epoch=..&after=..&limit=..&wait=seconds
//!     ->   200 Batch, as soon as there is a message, or an empty one after `wait`
//! If-None-Match and Accept-Encoding: gzip as for short polling
//! ```
//!
//! # Where the waiting happens
//! In the server, once for each request. A message that is published between a response and the
//! next request waits for that request.
//!
//! # What it costs
//! A request and a response for each message, or for each batch of those that were published while
//! there was no request; and one each time `wait` passes without a message. While a request waits,
//! it keeps a connection, its buffers and a timer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{SubscribeOptions, Update, poll_response};
use crate::app::{App, Subscription};
use crate::client::{ClientError, Dialer, PollClient};
use crate::feed::SharedRead;
use crate::feed::store::StoreError;
use crate::variant::Transport;

/// The server half. `poll_response` parses the request, calls `long_poll` and encodes its result.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    poll_response::route(app, Transport::LongPolling, "long-poll", long_poll)
}

/// Returns when there is a message, or none when `wait` has passed or the subscription ends.
async fn long_poll(subscription: Arc<Subscription>) -> Result<SharedRead, StoreError> {
    let topic = &subscription.topic;
    // WAIT: here, in the server, once for each request.
    tokio::select! {
        () = topic.wait_after(subscription.cursor) => {}
        () = sleep(subscription.wait) => {}
        _ = subscription.ended() => {}
    }
    topic.read_after(subscription.cursor, subscription.limit).await
}

/// The client half. [`PollClient`] sends the requests and keeps the cursor.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) client: PollClient,
    wait: Duration,
}

impl Subscriber {
    /// Learns where the head is, unless the options have a cursor.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: &SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let client = PollClient::connect(dialer, options.poll_options("long-poll")).await?;
        Ok(Subscriber { client, wait: options.wait })
    }

    /// Polls at once. The server waits before it responds.
    ///
    /// # Errors
    /// If there is no response, or not the one expected.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        self.client.poll(Some(self.wait)).await
    }
}
