//! Short polling: the client polls at an interval.
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/poll?epoch=..&after=..&limit=..   ->   200 Batch, at once, empty or not
//! If-None-Match: the ETag of the last response          ->   304 instead of an empty batch
//! Accept-Encoding: gzip                                 ->   a large batch compressed
//! ```
//!
//! # Where the waiting happens
//! In the client, between two requests. A message waits in the server for the next request.
//!
//! # What it costs
//! A request and a response every interval, however quiet the topic is; on average half an interval
//! of delay. In return the server keeps nothing: no subscriber, no timer, not even a connection.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{PollSchedule, SubscribeOptions, Update, poll_response};
use crate::app::{App, Subscription};
use crate::client::{ClientError, Dialer, PollClient};
use crate::feed::SharedRead;
use crate::feed::store::StoreError;
use crate::variant::Transport;

/// The server half. `poll_response` parses the request, calls `poll` and encodes its result.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    poll_response::route(app, Transport::ShortPolling, "poll", poll)
}

/// Returns at once what there is after the cursor, messages or none.
async fn poll(subscription: Arc<Subscription>) -> Result<SharedRead, StoreError> {
    let topic = &subscription.topic;
    topic.read_after(subscription.cursor, subscription.limit).await
}

/// The client half. [`PollClient`] sends the requests and keeps the cursor.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) client: PollClient,
    schedule: PollSchedule,
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
        let client = PollClient::connect(dialer, options.poll_options("poll")).await?;
        Ok(Subscriber { client, schedule: PollSchedule::new(options) })
    }

    /// Polls when the next poll is due.
    ///
    /// # Errors
    /// If there is no response, or not the one expected.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        // WAIT: here, in the client, between two requests.
        self.client.sleep_until(self.schedule.next_poll()).await;
        let update = self.client.poll(None).await?;
        self.schedule.polled(update.messages.is_empty());
        Ok(update)
    }
}
