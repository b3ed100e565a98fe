//! Short polling without losing a message.
//!
//! The subscriber keeps a cursor: the offset of the last message that it has received. Each poll
//! sends it, and each response moves it. A poll that finds nothing changes nothing, and a poll that
//! failed can be repeated.

/// A topic. The first message has offset 1.
#[derive(Debug, Default)]
pub struct Topic {
    messages: Vec<String>,
}

impl Topic {
    pub fn publish(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }

    /// Returns the offset of the newest message, 0 if there is none.
    pub fn head(&self) -> usize {
        self.messages.len()
    }

    /// Returns the messages whose offset is greater than `after`, and the offset of the last one.
    pub fn read_after(&self, after: usize) -> (Vec<String>, usize) {
        let new = self.messages.get(after..).unwrap_or_default();
        (new.to_vec(), after + new.len())
    }
}

/// A client that polls.
#[derive(Debug, Default)]
pub struct Subscriber {
    /// The offset of the last message received.
    cursor: usize,
}

impl Subscriber {
    /// Sends one poll and returns the messages of its response.
    pub fn poll(&mut self, topic: &Topic) -> Vec<String> {
        let (messages, cursor) = topic.read_after(self.cursor);
        self.cursor = cursor;
        messages
    }
}
