//! Push to many subscribers, one of which has stopped reading.
//!
//! The fault: the memory of the server grows until the process is killed.
//!
//! Hint: a message is kept once for each subscriber that has not read it. Keep one log for all of
//! them, of at most `CAPACITY` messages; what does a subscriber need to know then? One that is
//! overtaken learns how many messages it has missed. The publisher never waits.

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
    /// The messages that each subscriber has not read yet.
    queues: Vec<VecDeque<u64>>,
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
    index: usize,
}

impl Topic {
    /// Adds a subscriber to the messages that are published from now on.
    pub fn subscribe(&self) -> Subscriber {
        let mut state = self.state.lock().expect("no holder panics");
        state.queues.push(VecDeque::new());
        Subscriber { topic: self.clone(), index: state.queues.len() - 1 }
    }

    /// Delivers a message to every subscriber.
    pub fn publish(&self, message: u64) {
        let mut state = self.state.lock().expect("no holder panics");
        for queue in &mut state.queues {
            queue.push_back(message);
        }
    }

    /// Returns the number of messages that the server keeps.
    pub fn kept(&self) -> usize {
        let state = self.state.lock().expect("no holder panics");
        state.queues.iter().map(VecDeque::len).sum()
    }
}

impl Subscriber {
    /// Returns the next event, or `None` if there is none now.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut state = self.topic.state.lock().expect("no holder panics");
        state.queues[self.index].pop_front().map(Event::Message)
    }
}
