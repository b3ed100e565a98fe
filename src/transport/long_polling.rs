//! Long polling: ask, and be kept waiting until there is something (RFC 6202, section 2).
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/long-poll?epoch=..&after=..&limit=..&wait=seconds
//!     ->   200 Batch, as soon as there is something, or an empty one after `wait`
//! If-None-Match and Accept-Encoding: gzip as for short polling
//! ```
//!
//! # Where the waiting happens
//! In the server, once for each request. Between an answer and the next request nobody waits for
//! the subscriber, and what is published then waits for the request.
//!
//! # What it costs
//! A request and an answer for each message, or for each batch of those that came while no request
//! was there; one for each hold that ends with nothing. A held request keeps a connection, its
//! buffers and a timer.

use std::sync::Arc;
use std::time::Duration;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{HeaderValue, RETRY_AFTER};
use warp::reply::Response;

use super::polling::PollClient;
use super::{Received, SubscribeOptions};
use crate::app::batch::{self, RequestConditions};
use crate::app::respond::answer;
use crate::app::{ApiError, App, Client, DrainSlot, Query, Subscription};
use crate::client::{ClientError, Dialer};
use crate::message::Cursor;
use crate::variant::Transport;

/// A hold ends after a random share of what was asked for, so that those who began together do not
/// all come back together.
pub const HOLD_SHARE: std::ops::RangeInclusive<f64> = 0.9..=1.0;

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "long-poll")
        .and(warp::get())
        .and(warp::query())
        .and(batch::conditions())
        .and(warp::ext::get::<Client>())
        .then(move |topic: String, query: Query, conditions, client| {
            let app = app.clone();
            async move { answer(long_poll(&app, &client, &topic, &query, &conditions).await) }
        })
        .boxed()
}

async fn long_poll(
    app: &App,
    client: &Client,
    topic: &str,
    query: &Query,
    conditions: &RequestConditions,
) -> Result<Response, ApiError> {
    let metrics = app.metrics.of(Transport::LongPolling);
    metrics.requests.inc();
    let subscription = Subscription::parse(app, topic, query)?;
    if let Some(cursor) = subscription.cursor {
        let _held = app.hold(Transport::LongPolling)?;
        let hold = subscription.hold.mul_f64(rand::random_range(HOLD_SHARE));
        // Here the server waits.
        tokio::select! {
            () = subscription.topic.wait_after(cursor) => {}
            () = tokio::time::sleep(hold) => {}
            () = app.told_to_leave(DrainSlot::random()) => {}
            () = client.expired() => {}
            () = client.has_left() => {}
        }
    }
    client.check_expiry(app)?;
    let mut response = batch::answer(app, metrics, conditions, &subscription.read().await?);
    if app.drain.is_cancelled() {
        // Spread, so that those who were let go do not all come back at once.
        let seconds = HeaderValue::from(rand::random_range(1..=3_u16));
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    Ok(response)
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    asker: PollClient,
    hold: Duration,
    next_hold: Duration,
}

impl Subscriber {
    /// Learns where the head is.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let asker = PollClient::connect(dialer, &options, "long-poll").await?;
        let next_hold = options.first_hold.unwrap_or(options.hold);
        Ok(Subscriber { asker, hold: options.hold, next_hold })
    }

    /// Asks at once, and waits for the answer.
    ///
    /// # Errors
    /// If there is no answer, or not the one expected.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        let hold = std::mem::replace(&mut self.next_hold, self.hold);
        self.asker.ask(&format!("&wait={}", hold.as_secs_f64())).await
    }

    /// How long the server's last answer asked to stay away, if it did.
    pub fn told_to_leave(&self) -> Option<Duration> {
        self.asker.told_to_leave()
    }

    pub fn cursor(&self) -> Cursor {
        self.asker.cursor()
    }
}
