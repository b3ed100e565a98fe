//! The server half of long polling: wait until there is a message.
//!
//! First register for wake-ups, then read. A message that is published between the two wakes the
//! waiter at once. In the opposite order it wakes nobody: `notify_waiters` stores no permit for a
//! later call of `notified`.

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
            // For `notify_waiters` the future counts from its creation, even if it has not been
            // polled. For `notify_one` it would have to be enabled first: see `Notified::enable`.
            let published = self.published.notified();
            let new = self.read_after(after).await;
            if !new.is_empty() {
                return new;
            }
            published.await;
        }
    }
}
