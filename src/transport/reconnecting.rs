//! A subscriber that reconnects: when its connection breaks or its server shuts down, it waits,
//! connects again and resumes from its cursor.
//!
//! All clients of a server lose it at the same instant. If they all reconnected at the same
//! instant, they would overload it. So each uses exponential backoff with full jitter (Brooker,
//! "Exponential Backoff And Jitter"): a random part of a bound that doubles with every attempt, on
//! top of what the server has requested by `Retry-After` (RFC 9110) or the `retry` field of an
//! event stream.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{SubscribeOptions, Subscriber, Update};
use crate::client::clock::sleep_until;
use crate::client::{ClientError, Dialer};
use crate::message::Cursor;
use crate::variant::{Transport, Variant};

/// The delays between attempts, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest delay before the first attempt.
    pub first_delay_max: Duration,
    /// Longest delay before any attempt.
    pub delay_max: Duration,
    /// Longest outage after which the subscriber still reconnects.
    pub outage_max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first_delay_max: Duration::from_millis(200),
            delay_max: Duration::from_secs(10),
            outage_max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The longest delay before attempt `number`, counted from 0.
    pub fn bound(&self, number: u32) -> Duration {
        let doubled =
            2_u32.checked_pow(number).and_then(|factor| self.first_delay_max.checked_mul(factor));
        doubled.unwrap_or(self.delay_max).min(self.delay_max)
    }
}

/// A time without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the subscriber noticed.
    pub lost_at: Instant,
    /// When it was subscribed again, or received its first response.
    pub back_at: Instant,
}

/// A subscriber on any transport that reconnects after outages.
#[derive(Debug)]
pub struct Reconnecting {
    variant: Variant,
    dialer: Dialer,
    options: SubscribeOptions,
    backoff: Backoff,
    subscriber: Option<Subscriber>,
    lost_at: Option<Instant>,
    attempts: u32,
    /// No attempt is made before this.
    not_before: Option<Instant>,
    outage: Option<Outage>,
}

impl Reconnecting {
    /// Connects and subscribes, without a retry: if a server cannot be reached at all, its address
    /// is probably wrong.
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
        // After an outage the first poll is sent at once, and answered at once.
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

    /// Waits for the next update, and reconnects meanwhile if necessary. The update is empty when a
    /// stream has reconnected. May be dropped while it waits.
    ///
    /// # Errors
    /// If a retry cannot succeed, or an outage lasts longer than [`Backoff::outage_max`].
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if let Some(not_before) = self.not_before {
                sleep_until(not_before).await;
                self.not_before = None;
            }
            let error = match self.attempt().await {
                Ok(received) => {
                    self.record_recovery();
                    self.disconnect_if_requested();
                    return Ok(received);
                }
                Err(error) => error,
            };
            let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
            let requested =
                self.subscriber.take().and_then(|subscriber| subscriber.reconnect_delay());
            let Some(retry_delay) = error.retry_delay() else { return Err(error) };
            let wait = self.wait(requested.unwrap_or(retry_delay));
            if lost_at.elapsed() + wait > self.backoff.outage_max {
                return Err(error);
            }
            self.attempts += 1;
            self.not_before = Some(Instant::now() + wait);
        }
    }

    /// `requested`, and a random part of the bound.
    fn wait(&self, requested: Duration) -> Duration {
        requested + self.backoff.bound(self.attempts).mul_f64(rand::random())
    }

    /// Disconnects from a server that has responded with `Retry-After`.
    fn disconnect_if_requested(&mut self) {
        if let Some(requested) = self.subscriber.as_ref().and_then(Subscriber::retry_after) {
            self.subscriber = None;
            self.lost_at = Some(Instant::now());
            self.not_before = Some(Instant::now() + self.wait(requested));
        }
    }

    /// How far this subscriber has read.
    pub fn cursor(&self) -> Cursor {
        self.options.cursor.expect("set by the first connection")
    }

    /// The outage that has ended since the last call, if there was one.
    pub fn outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// Connects if necessary, and waits for an update.
    async fn attempt(&mut self) -> Result<Update, ClientError> {
        if self.subscriber.is_none() {
            let connecting =
                Subscriber::connect(self.variant, self.dialer.clone(), self.options.clone());
            let slow = |_| ClientError::Connect(io::ErrorKind::TimedOut.into());
            let connected = timeout(self.backoff.outage_max, connecting).await.map_err(slow)?;
            self.subscriber = Some(connected?);
            // A polling subscriber has not sent a request yet.
            let polls = [Transport::ShortPolling, Transport::LongPolling];
            if !polls.contains(&self.variant.transport) {
                return Ok(Update::default());
            }
        }
        let subscriber = self.subscriber.as_mut().expect("connected above");
        let received = subscriber.next().await?;
        self.options.cursor = Some(subscriber.cursor());
        Ok(received)
    }

    fn record_recovery(&mut self) {
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
    fn delays_double_up_to_the_limit() {
        let backoff = Backoff::default();
        let bounds: Vec<_> = (0..7).map(|number| backoff.bound(number).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(backoff.bound(u32::MAX), backoff.delay_max);
    }
}
