//! User A: publishes each message when the schedule says, over connections without any simulated
//! delay, and records how late it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::schedule::{Messages, Publication, Schedule};
use super::target::PublishRoute;
use super::verifier::Window;
use crate::client::clock::sleep_until;
use crate::client::{ClientError, Dialer, HttpConnection};
use crate::measure::Histogram;

/// Connections to publish on. A topic has one of them for itself or shares it, so that its messages
/// stay in order.
const CONNECTIONS_MAX: usize = 16;
/// Longest that an acknowledgement may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two attempts to publish a message.
const RETRY: Duration = Duration::from_millis(20);

/// What is to be published, where.
#[derive(Debug)]
pub struct Publishing {
    pub route: Arc<PublishRoute>,
    pub schedule: Arc<Schedule>,
    pub messages: Arc<Messages>,
    /// When the warm-up starts.
    pub start: Instant,
    pub window: Window,
    /// How long a server that is away is waited for, message by message.
    pub patience: Duration,
    /// Counts what has been acknowledged.
    pub acknowledged: Arc<AtomicU64>,
}

impl Publishing {
    /// Publishes everything; returns actual minus planned instant of the window's publications.
    ///
    /// # Errors
    /// If a message is not acknowledged, for all the patience, or there is no answer at all.
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
            match error.passes_in() {
                Some(wait) if Instant::now() + wait < deadline => {
                    sleep(wait.max(RETRY)).await;
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
        let asking = http.request(self.route.method(), &path, body);
        // Not tried again: the message may be stored.
        let unanswered = |_| ClientError::ProtocolError(format!("no answer within {ANSWER:?}"));
        let answer = timeout(ANSWER, asking).await.map_err(unanswered)??;
        if self.route.is_stored(answer.status) { Ok(()) } else { Err(answer.refusal()) }
    }
}
