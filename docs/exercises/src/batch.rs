//! A long poll over a link with a round trip of 40 ms, in a topic with 100 messages a second.
//!
//! The fault: the subscriber falls further and further behind.
//!
//! Hint: how many requests can a subscriber send in a second, and how many messages does each
//! response carry?

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The time from a request to its response if the server answers at once.
pub const ROUND_TRIP: Duration = Duration::from_millis(40);

/// A message: when it was published.
pub type Message = Instant;

/// A topic, with the number of its messages to wait for.
#[derive(Debug)]
pub struct Topic {
    messages: Mutex<Vec<Message>>,
    head: watch::Sender<usize>,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { messages: Mutex::default(), head: watch::Sender::new(0) }
    }
}

impl Topic {
    pub fn publish(&self) {
        let mut messages = self.messages.lock().expect("no holder panics");
        messages.push(Instant::now());
        self.head.send_replace(messages.len());
    }

    /// Answers a long poll: waits for a message whose offset is greater than `after`.
    pub async fn long_poll(&self, after: usize) -> Vec<Message> {
        let mut head = self.head.subscribe();
        let _ = head.wait_for(|head| *head > after).await;
        let messages = self.messages.lock().expect("no holder panics");
        vec![messages[after]]
    }
}

/// Receives `count` messages by long polls, and returns the delay of each.
pub async fn receive(topic: &Topic, count: usize) -> Vec<Duration> {
    let mut delays = Vec::new();
    while delays.len() < count {
        sleep(ROUND_TRIP / 2).await;
        let messages = topic.long_poll(delays.len()).await;
        sleep(ROUND_TRIP / 2).await;
        delays.extend(messages.iter().map(Instant::elapsed));
    }
    delays
}
