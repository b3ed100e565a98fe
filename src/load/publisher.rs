//! User A: publishes each message when the schedule says, over connections without any simulated
//! delay, and records how late it was.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::schedule::{self, Publication, Schedule};
use super::verifier::Window;
use crate::message::{Draft, TopicName};
use crate::run::Histogram;
use crate::wire::clock::sleep_until;
use crate::wire::{Dialer, HttpConnection, WireError};

/// Connections to publish on. A topic has one of them for itself or shares it, so that its messages
/// stay in order.
const CONNECTIONS_MAX: usize = 16;

/// What is to be published, where.
#[derive(Debug)]
pub struct Publishing {
    pub schedule: Arc<Schedule>,
    pub topics: Arc<Vec<TopicName>>,
    pub message_bytes: u32,
    /// When the warm-up starts.
    pub start: Instant,
    pub window: Window,
}

impl Publishing {
    /// Publishes everything; returns actual minus planned instant of the window's publications.
    ///
    /// # Errors
    /// If a message is not acknowledged.
    pub async fn run(self, server: SocketAddr) -> Result<Histogram, WireError> {
        let this = Arc::new(self);
        let connections = this.topics.len().min(CONNECTIONS_MAX);
        let mut tasks = tokio::task::JoinSet::new();
        for connection in 0..connections {
            let this = this.clone();
            tasks.spawn(async move { this.run_share(server, connection, connections).await });
        }
        let mut late = Histogram::new();
        while let Some(share) = tasks.join_next().await {
            late.merge(&share.expect("publishing does not panic")?);
        }
        Ok(late)
    }

    async fn run_share(
        &self,
        server: SocketAddr,
        connection: usize,
        connections: usize,
    ) -> Result<Histogram, WireError> {
        let mut http = HttpConnection::new(Dialer::new(server));
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
        }
        Ok(late)
    }

    async fn publish(
        &self,
        http: &mut HttpConnection,
        publication: &Publication,
    ) -> Result<(), WireError> {
        let text = schedule::text(publication.number, self.message_bytes);
        let draft = Draft { sender: "A".to_owned(), text };
        let json = serde_json::to_vec(&draft).expect("strings always encode");
        let path = format!("/topics/{}/messages", self.topics[publication.topic as usize]);
        let answer = http.request(Method::POST, &path, Bytes::from(json)).await?;
        if answer.status == StatusCode::CREATED {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Err(WireError::Refused { status: answer.status, body })
    }
}
