//! A subscriber that comes back: when its connection breaks or its server goes away, it waits a
//! little, connects again and reads on from its cursor.
//!
//! All clients of a server lose it at the same instant. If all came back at the same instant too,
//! they would be the next thing it dies of. So each waits for a random part of a bound that doubles
//! with every attempt ("full jitter", as Brooker's "Exponential Backoff And Jitter" calls it), on
//! top of what the server has asked for: `Retry-After` (RFC 9110) or the `retry` field of an event
//! stream.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{SubscribeOptions, Subscriber, Update};
use crate::client::clock::sleep_until;
use crate::client::{ClientError, Dialer};
use crate::message::Cursor;
use crate::variant::{Transport, Variant};

/// How long to wait between attempts, and how long to go on trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait before the first attempt.
    pub first: Duration,
    /// Longest wait before any attempt.
    pub delay_max: Duration,
    /// Longest outage that is sat out.
    pub outage_max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(200),
            delay_max: Duration::from_secs(10),
            outage_max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The bound of the wait before attempt `number`, counted from 0.
    pub fn bound(&self, number: u32) -> Duration {
        let doubled = 2_u32.checked_pow(number).and_then(|factor| self.first.checked_mul(factor));
        doubled.unwrap_or(self.delay_max).min(self.delay_max)
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
    options: SubscribeOptions,
    backoff: Backoff,
    subscriber: Option<Subscriber>,
    lost_at: Option<Instant>,
    attempts: u32,
    /// Before this nothing is tried.
    not_before: Option<Instant>,
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
        mut options: SubscribeOptions,
        backoff: Backoff,
    ) -> Result<Reconnecting, ClientError> {
        let variant = variant.into();
        let subscriber = Subscriber::connect(variant, dialer.clone(), options.clone()).await?;
        options.cursor = Some(subscriber.cursor());
        // A poll that is made up for is due at once, and answered at once: who was away wants to
        // know what there is.
        options.first_poll = None;
        options.first_wait = Some(Duration::ZERO);
        Ok(Reconnecting {
            variant,
            dialer,
            options,
            backoff,
            subscriber: Some(subscriber),
            lost_at: None,
            attempts: 0,
            not_before: None,
            outage: None,
        })
    }

    /// Waits for what the server says next, through outages; empty when a stream is back. May be
    /// dropped while it waits.
    ///
    /// # Errors
    /// If the server refuses for good or makes no sense, or an outage outlasts the patience.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if let Some(not_before) = self.not_before {
                sleep_until(not_before).await;
                self.not_before = None;
            }
            let error = match self.attempt().await {
                Ok(received) => {
                    self.is_back();
                    self.leave_if_asked();
                    return Ok(received);
                }
                Err(error) => error,
            };
            let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
            let asked_for =
                self.subscriber.take().and_then(|subscriber| subscriber.reconnect_delay());
            let Some(refused_for) = error.retry_delay() else { return Err(error) };
            let wait = self.wait(asked_for.unwrap_or(refused_for));
            if lost_at.elapsed() + wait > self.backoff.outage_max {
                return Err(error);
            }
            self.attempts += 1;
            self.not_before = Some(Instant::now() + wait);
        }
    }

    /// `asked_for`, and a random part of the bound on top.
    fn wait(&self, asked_for: Duration) -> Duration {
        asked_for + self.backoff.bound(self.attempts).mul_f64(rand::random())
    }

    /// Leaves a server that has answered, and asked to be left alone for a while.
    fn leave_if_asked(&mut self) {
        if let Some(asked_for) = self.subscriber.as_ref().and_then(Subscriber::retry_after) {
            self.subscriber = None;
            self.lost_at = Some(Instant::now());
            self.not_before = Some(Instant::now() + self.wait(asked_for));
        }
    }

    /// How far this subscriber has read.
    pub fn cursor(&self) -> Cursor {
        self.options.cursor.expect("known since the first connection")
    }

    /// The outage that has ended since this was last asked, if there was one.
    pub fn outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// One step: connects if need be, and hears what there is.
    async fn attempt(&mut self) -> Result<Update, ClientError> {
        if self.subscriber.is_none() {
            let connecting =
                Subscriber::connect(self.variant, self.dialer.clone(), self.options.clone());
            let slow = |_| ClientError::Connect(io::ErrorKind::TimedOut.into());
            let connected = timeout(self.backoff.outage_max, connecting).await.map_err(slow)?;
            self.subscriber = Some(connected?);
            // Who polls has not asked anything yet.
            let polls = [Transport::ShortPolling, Transport::LongPolling];
            if !polls.contains(&self.variant.transport) {
                return Ok(Update::default());
            }
        }
        let subscriber = self.subscriber.as_mut().expect("connected just now");
        let received = subscriber.next().await?;
        self.options.cursor = Some(subscriber.cursor());
        Ok(received)
    }

    fn is_back(&mut self) {
        if let Some(lost_at) = self.lost_at.take() {
            self.outage = Some(Outage { lost_at, back_at: Instant::now() });
        }
        self.attempts = 0;
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
        assert_eq!(backoff.bound(u32::MAX), backoff.delay_max);
    }
}
