//! Short polling: ask every so often.
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/poll?epoch=..&after=..&limit=..   ->   200 Batch, at once, empty or not
//! ```
//!
//! # Where the waiting happens
//! In the client, between two requests. A message waits in the server for the next of them.
//!
//! # What it costs
//! A request and an answer every interval, however quiet the topic is; on average half an interval
//! of delay. In return the server holds nothing: no subscriber, no timer, not even a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::polling::Asker;
use super::{Received, Transport, Wish};
use crate::load::scenario::Pacing;
use crate::message::Cursor;
use crate::server::respond::{answer, batch};
use crate::server::{ApiError, App, Query, Subscription};
use crate::wire::{Dialer, WireError, clock::sleep_until};

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "poll")
        .and(warp::get())
        .and(warp::query())
        .map(move |topic: String, query: Query| answer(poll(&app, &topic, &query)))
        .boxed()
}

fn poll(app: &App, topic: &str, query: &Query) -> Result<Response, ApiError> {
    let metrics = app.metrics.of(Transport::ShortPolling);
    metrics.requests.inc();
    let subscription = Subscription::parse(app, topic, query)?;
    Ok(batch(metrics, &subscription.read()?))
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    asker: Asker,
    interval: Duration,
    pacing: Pacing,
    next_poll: Instant,
}

impl Subscriber {
    /// Learns where the head is.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(dialer: Dialer, wish: Wish) -> Result<Subscriber, WireError> {
        let asker = Asker::connect(dialer, &wish, "poll").await?;
        let next_poll = wish.first_poll.unwrap_or_else(Instant::now);
        Ok(Subscriber { asker, interval: wish.interval, pacing: wish.pacing, next_poll })
    }

    /// Sleeps until the next poll is due, then asks.
    ///
    /// # Errors
    /// If there is no answer, or not the one expected.
    pub async fn next(&mut self) -> Result<Received, WireError> {
        // Here the client waits.
        sleep_until(self.next_poll).await;
        self.asker.dialer().meter().polled_late(self.next_poll.elapsed());
        let received = self.asker.ask("").await?;
        self.next_poll = match self.pacing {
            Pacing::AfterResponse => Instant::now() + self.interval,
            // A poll that took longer than the interval makes the next one due at once, no more.
            Pacing::FixedRate => (self.next_poll + self.interval).max(Instant::now()),
        };
        Ok(received)
    }

    pub fn cursor(&self) -> Cursor {
        self.asker.cursor()
    }
}
