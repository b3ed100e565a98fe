//! Push to many subscribers, one of which has stopped reading.
//!
//! The log is the queue: the server keeps the newest messages once, and a subscriber is a position
//! in that log. A slow subscriber costs nothing but its position. If the log has dropped messages
//! that it has not read, it receives the size of the gap and continues with the oldest one kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Message(u64),
    /// So many messages were dropped before the next one.
    Gap(u64),
}

/// The messages that the server may keep, for all subscribers together.
pub const CAPACITY: usize = 1_000;

#[derive(Debug, Default)]
struct State {
    /// The newest messages, at most `CAPACITY`.
    log: VecDeque<u64>,
    /// How many messages have left the log.
    dropped: usize,
}

/// A topic with its subscribers.
#[derive(Debug, Clone, Default)]
pub struct Topic {
    state: Arc<Mutex<State>>,
}

/// One subscriber, which reads when it likes.
#[derive(Debug)]
pub struct Subscriber {
    topic: Topic,
    /// How many messages were published before the one that it reads next.
    cursor: usize,
}

impl Topic {
    /// Adds a subscriber to the messages that are published from now on.
    pub fn subscribe(&self) -> Subscriber {
        let state = self.state.lock().expect("no holder panics");
        Subscriber { topic: self.clone(), cursor: state.dropped + state.log.len() }
    }

    /// Delivers a message to every subscriber.
    pub fn publish(&self, message: u64) {
        let mut state = self.state.lock().expect("no holder panics");
        state.log.push_back(message);
        if state.log.len() > CAPACITY {
            state.log.pop_front();
            state.dropped += 1;
        }
    }

    /// Returns the number of messages that the server keeps.
    pub fn kept(&self) -> usize {
        self.state.lock().expect("no holder panics").log.len()
    }
}

impl Subscriber {
    /// Returns the next event, or `None` if there is none now.
    pub fn try_next(&mut self) -> Option<Event> {
        let state = self.topic.state.lock().expect("no holder panics");
        if self.cursor < state.dropped {
            let gap = state.dropped - self.cursor;
            self.cursor = state.dropped;
            return Some(Event::Gap(gap as u64));
        }
        let message = state.log.get(self.cursor - state.dropped)?;
        self.cursor += 1;
        Some(Event::Message(*message))
    }
}
