//! Short polling: ask every so often.
//!
//! # On the wire
//! ```text
//! GET /topics/{topic}/poll?epoch=..&after=..&limit=..   ->   200 Batch, at once, empty or not
//! If-None-Match: the last answer's ETag                 ->   304 instead of an empty one
//! Accept-Encoding: gzip                                 ->   a large one compressed
//! ```
//!
//! # Where the waiting happens
//! In the client, between two requests. A message waits in the server for the next of them.
//!
//! # What it costs
//! A request and an answer every interval, however quiet the topic is; on average half an interval
//! of delay. In return the server holds nothing: no subscriber, no timer, not even a connection.
//!
//! An adaptive client waits twice as long after each empty answer, up to a limit, and the base
//! interval again after any other: fewer requests while the topic is quiet, and more delay for the
//! message that ends the quiet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::polling::PollClient;
use super::{Received, SubscribeOptions};
use crate::app::batch::{self, RequestConditions};
use crate::app::respond::answer;
use crate::app::{ApiError, App, Query, Subscription};
use crate::client::{ClientError, Dialer, clock::sleep_until};
use crate::message::Cursor;
use crate::variant::{Extra, Pacing, Transport};

/// The server half.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "poll")
        .and(warp::get())
        .and(warp::query())
        .and(batch::conditions())
        .then(move |topic: String, query: Query, conditions: RequestConditions| {
            let app = app.clone();
            async move { answer(poll(&app, &topic, &query, &conditions).await) }
        })
        .boxed()
}

async fn poll(
    app: &App,
    topic: &str,
    query: &Query,
    conditions: &RequestConditions,
) -> Result<Response, ApiError> {
    let metrics = app.metrics.of(Transport::ShortPolling);
    metrics.requests.inc();
    let subscription = Subscription::parse(app, topic, query)?;
    Ok(batch::answer(app, metrics, conditions, &subscription.read().await?))
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    asker: PollClient,
    interval: Interval,
    pacing: Pacing,
    next_poll: Instant,
}

/// The time between polls.
#[derive(Debug)]
enum Interval {
    Fixed(Duration),
    /// Doubles with each empty answer up to `max`, and is `base` again after any other.
    Adaptive {
        base: Duration,
        now: Duration,
        max: Duration,
    },
}

impl Interval {
    fn of(options: &SubscribeOptions) -> Interval {
        match options.extras.has(Extra::Adaptive) {
            false => Interval::Fixed(options.interval),
            true => Interval::Adaptive {
                base: options.interval,
                now: options.interval,
                max: options.interval_max.max(options.interval),
            },
        }
    }

    /// The interval after an answer, which may have been empty.
    fn after(&mut self, is_empty: bool) -> Duration {
        match self {
            Interval::Fixed(interval) => *interval,
            Interval::Adaptive { base, now, max } => {
                *now = if is_empty { (2 * *now).min(*max) } else { *base };
                *now
            }
        }
    }
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
        let asker = PollClient::connect(dialer, &options, "poll").await?;
        let next_poll = options.first_poll.unwrap_or_else(Instant::now);
        Ok(Subscriber {
            asker,
            interval: Interval::of(&options),
            pacing: options.pacing,
            next_poll,
        })
    }

    /// Sleeps until the next poll is due, then asks.
    ///
    /// # Errors
    /// If there is no answer, or not the one expected.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        // Here the client waits.
        sleep_until(self.next_poll).await;
        self.asker.dialer().meter().polled_late(self.next_poll.elapsed());
        let received = self.asker.ask("").await?;
        let interval = self.interval.after(received.messages.is_empty());
        self.next_poll = match self.pacing {
            Pacing::AfterResponse => Instant::now() + interval,
            // A poll that took longer than the interval makes the next one due at once, no more.
            Pacing::FixedRate => (self.next_poll + interval).max(Instant::now()),
        };
        Ok(received)
    }

    /// How long the server's last answer asked to stay away, if it did.
    pub fn told_to_leave(&self) -> Option<Duration> {
        self.asker.told_to_leave()
    }

    pub fn cursor(&self) -> Cursor {
        self.asker.cursor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adaptive_interval_doubles_up_to_its_limit_and_falls_back() {
        let ms = Duration::from_millis;
        let topic = "room".parse().expect("a good name");
        let options = SubscribeOptions {
            interval: ms(100),
            interval_max: ms(500),
            ..SubscribeOptions::new(topic)
        };
        let adaptive =
            SubscribeOptions { extras: [Extra::Adaptive].into_iter().collect(), ..options.clone() };
        let answers = [true, true, true, true, false, true];
        let mut interval = Interval::of(&adaptive);
        let after = answers.map(|is_empty| interval.after(is_empty).as_millis());
        assert_eq!(after, [200, 400, 500, 500, 100, 200]);
        let mut interval = Interval::of(&options);
        assert!(answers.iter().all(|is_empty| interval.after(*is_empty) == ms(100)));
        let mut never = Interval::of(&SubscribeOptions { interval_max: ms(1), ..adaptive });
        assert_eq!(never.after(true), ms(100));
    }
}
