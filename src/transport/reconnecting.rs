//! A subscriber that comes back: when its connection breaks or its server goes away, it waits a
//! little, connects again and reads on from its cursor.
//!
//! All clients of a server lose it at the same instant. If all came back at the same instant too,
//! they would be the next thing it dies of. So each waits for a random part of a bound that doubles
//! with every attempt ("full jitter", as Brooker's "Exponential Backoff And Jitter" calls it), on
//! top of what the server has asked for: `Retry-After` (RFC 9110) or the `retry` field of an event
//! stream.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::time::sleep;

use super::{Received, Subscriber, Variant, Waiting, Wish};
use crate::message::Cursor;
use crate::wire::{Dialer, WireError};

/// How long to wait between attempts, and how long to go on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait before the first attempt.
    pub first: Duration,
    /// Longest wait before any attempt.
    pub longest: Duration,
    /// Longest outage that is sat out.
    pub patience: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The bound of the wait before attempt `number`, counted from 0.
    pub fn bound(&self, number: u32) -> Duration {
        let doubled = 2_u32.checked_pow(number).and_then(|factor| self.first.checked_mul(factor));
        doubled.unwrap_or(self.longest).min(self.longest)
    }
}

/// A time without a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the subscriber noticed.
    pub lost_at: Instant,
    /// When it was subscribed again, or had its first answer.
    pub back_at: Instant,
}

/// A subscriber by any transport, in any variant, that sits out outages.
#[derive(Debug)]
pub struct Reconnecting {
    variant: Variant,
    dialer: Dialer,
    wish: Wish,
    backoff: Backoff,
    subscriber: Option<Subscriber>,
    lost_at: Option<Instant>,
    attempts: u32,
    outage: Option<Outage>,
}

impl Reconnecting {
    /// Connects and subscribes. This first attempt is the only one: who cannot reach a server at
    /// all has its address wrong.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        variant: impl Into<Variant>,
        dialer: Dialer,
        mut wish: Wish,
        backoff: Backoff,
    ) -> Result<Reconnecting, WireError> {
        let variant = variant.into();
        let subscriber = Subscriber::connect(variant, dialer.clone(), wish.clone()).await?;
        wish.cursor = Some(subscriber.cursor());
        // A poll that is made up for is due at once.
        wish.first_poll = None;
        Ok(Reconnecting {
            variant,
            dialer,
            wish,
            backoff,
            subscriber: Some(subscriber),
            lost_at: None,
            attempts: 0,
            outage: None,
        })
    }

    /// Waits for what the server says next, through outages; empty when a stream is back. May be
    /// dropped while it waits.
    ///
    /// # Errors
    /// If the server refuses for good or makes no sense, or an outage outlasts the patience.
    pub async fn next(&mut self) -> Result<Received, WireError> {
        loop {
            let error = match self.attempt().await {
                Ok(received) => {
                    self.is_back();
                    return Ok(received);
                }
                Err(error) => error,
            };
            let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
            let asked_for = self.subscriber.take().and_then(|subscriber| subscriber.retry());
            let Some(refused_for) = temporarily(&error) else { return Err(error) };
            let jitter = self.backoff.bound(self.attempts).mul_f64(rand::random());
            let wait = asked_for.or(refused_for).unwrap_or_default() + jitter;
            if lost_at.elapsed() + wait > self.backoff.patience {
                return Err(error);
            }
            self.attempts += 1;
            sleep(wait).await;
        }
    }

    /// How far this subscriber has read.
    pub fn cursor(&self) -> Cursor {
        self.wish.cursor.expect("known since the first connection")
    }

    /// The outage that has ended since this was last asked, if there was one.
    pub fn outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// One step: connects if need be, and hears what there is.
    async fn attempt(&mut self) -> Result<Received, WireError> {
        if self.subscriber.is_none() {
            let connecting =
                Subscriber::connect(self.variant, self.dialer.clone(), self.wish.clone());
            self.subscriber = Some(connecting.await?);
            // A poller has not asked anything yet.
            if self.variant.transport.waiting() == Waiting::PerConnection {
                return Ok(Received::default());
            }
        }
        let subscriber = self.subscriber.as_mut().expect("connected just now");
        let received = subscriber.next().await?;
        self.wish.cursor = Some(subscriber.cursor());
        Ok(received)
    }

    fn is_back(&mut self) {
        if let Some(lost_at) = self.lost_at.take() {
            self.outage = Some(Outage { lost_at, back_at: Instant::now() });
        }
        self.attempts = 0;
    }
}

/// Whether trying again may help, and how long the server asked to stay away first.
fn temporarily(error: &WireError) -> Option<Option<Duration>> {
    match error {
        WireError::Connect(_) | WireError::Broken(_) | WireError::Closed(_) => Some(None),
        WireError::Refused { status, retry_after, .. } => {
            let may_pass = status.is_server_error()
                || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
            may_pass.then_some(*retry_after)
        }
        WireError::Nonsense(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let bounds: Vec<_> = (0..7).map(|number| backoff.bound(number).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(backoff.bound(u32::MAX), backoff.longest);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused =
            |status, retry_after| WireError::Refused { status, body: String::new(), retry_after };
        let wait = Some(Duration::from_secs(3));
        assert_eq!(temporarily(&refused(StatusCode::SERVICE_UNAVAILABLE, wait)), Some(wait));
        assert_eq!(temporarily(&refused(StatusCode::TOO_MANY_REQUESTS, None)), Some(None));
        assert_eq!(temporarily(&refused(StatusCode::UNAUTHORIZED, None)), None);
        assert_eq!(temporarily(&WireError::Closed(String::new())), Some(None));
        assert_eq!(temporarily(&WireError::Nonsense(String::new())), None);
    }
}
