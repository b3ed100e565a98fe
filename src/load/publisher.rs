//! The publisher: publishes each message at its planned time, over connections without simulated
//! delay, and records its own lateness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::schedule::{MessageTexts, Publication, Schedule};
use super::target::PublishRoute;
use super::verifier::Window;
use crate::client::clock::sleep_until;
use crate::client::{ClientError, Dialer, HttpConnection};
use crate::measure::Histogram;

/// Connections for publishing. Each topic uses one connection, so that its messages stay in order.
const CONNECTIONS_MAX: usize = 16;
/// Timeout of an acknowledgement.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest time between two attempts to publish a message.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The parameters of the publisher.
#[derive(Debug)]
pub struct Publishing {
    pub route: Arc<PublishRoute>,
    pub schedule: Arc<Schedule>,
    pub messages: Arc<MessageTexts>,
    /// When the warm-up starts.
    pub start: Instant,
    pub window: Window,
    /// How long the publication of a message is retried while the server is down.
    pub patience: Duration,
    /// Number of acknowledged publications.
    pub acknowledged: Arc<AtomicU64>,
}

impl Publishing {
    /// Publishes all messages. Returns the lateness (actual minus planned time) of the publications
    /// in the window.
    ///
    /// # Errors
    /// If a message is not acknowledged within `patience`, or a request times out.
    pub async fn run(self, dialer: Dialer) -> Result<Histogram, ClientError> {
        let this = Arc::new(self);
        let connections = this.messages.topics.len().min(CONNECTIONS_MAX);
        let mut tasks = tokio::task::JoinSet::new();
        for connection in 0..connections {
            let (this, dialer) = (this.clone(), dialer.clone());
            tasks.spawn(async move { this.run_share(dialer, connection, connections).await });
        }
        let mut late = Histogram::new();
        while let Some(share) = tasks.join_next().await {
            late.merge(&share.expect("publishing does not panic")?);
        }
        Ok(late)
    }

    async fn run_share(
        &self,
        dialer: Dialer,
        connection: usize,
        connections: usize,
    ) -> Result<Histogram, ClientError> {
        let mut http = HttpConnection::new(dialer.with_headers(&self.route.headers));
        let mut late = Histogram::new();
        let is_ours =
            |publication: &&Publication| publication.topic as usize % connections == connection;
        for publication in self.schedule.publications.iter().filter(is_ours) {
            let due = self.start + publication.at;
            sleep_until(due).await;
            if self.window.contains(publication.at) {
                late.record(due.elapsed().as_micros() as u64);
            }
            self.publish(&mut http, publication).await?;
            self.acknowledged.fetch_add(1, Relaxed);
        }
        Ok(late)
    }

    async fn publish(
        &self,
        http: &mut HttpConnection,
        publication: &Publication,
    ) -> Result<(), ClientError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let Err(error) = self.try_to_publish(http, publication).await else { return Ok(()) };
            match error.retry_delay() {
                Some(wait) if Instant::now() + wait < deadline => {
                    sleep(wait.max(RETRY_INTERVAL)).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn try_to_publish(
        &self,
        http: &mut HttpConnection,
        publication: &Publication,
    ) -> Result<(), ClientError> {
        let text = self.messages.text(publication.topic, publication.number);
        let topic = &self.messages.topics[publication.topic as usize];
        let body = Bytes::from(self.route.body("A", &text));
        let path = self.route.path(topic);
        let request = http.request(self.route.method(), &path, body);
        // No retry after a timeout: the message may be stored.
        let timed_out = |_| {
            let limit = ACKNOWLEDGEMENT_TIMEOUT;
            ClientError::ProtocolError(format!("publication not acknowledged within {limit:?}"))
        };
        let response = timeout(ACKNOWLEDGEMENT_TIMEOUT, request).await.map_err(timed_out)??;
        if self.route.is_stored(response.status) { Ok(()) } else { Err(response.refusal()) }
    }
}
