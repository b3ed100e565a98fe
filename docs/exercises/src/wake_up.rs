//! The server half of long polling: wait until there is a message.
//!
//! The fault: now and then a long poll stays silent although a message has been published, until
//! the next message arrives.
//!
//! Hint: reading takes time. What happens to a message that is published after `read_after` has
//! copied the messages, and before `notified` is called? See the documentation of
//! [`tokio::sync::Notify::notify_waiters`]: which waiters does it wake?

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

/// A topic whose messages are read from a slow store.
#[derive(Debug, Default)]
pub struct Topic {
    messages: Mutex<Vec<String>>,
    published: Notify,
}

impl Topic {
    pub fn publish(&self, text: &str) {
        self.messages.lock().expect("no holder panics").push(text.to_owned());
        self.published.notify_waiters();
    }

    /// Returns the messages whose offset is greater than `after`.
    pub async fn read_after(&self, after: usize) -> Vec<String> {
        let new = {
            let messages = self.messages.lock().expect("no holder panics");
            messages.get(after..).unwrap_or_default().to_vec()
        };
        // The store needs a moment to deliver what it has found.
        tokio::time::sleep(Duration::from_millis(5)).await;
        new
    }

    /// Waits until there is a message after `after`, and returns what there is.
    pub async fn long_poll(&self, after: usize) -> Vec<String> {
        loop {
            let new = self.read_after(after).await;
            if !new.is_empty() {
                return new;
            }
            self.published.notified().await;
        }
    }
}
