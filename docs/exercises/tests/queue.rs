//! A subscriber that does not read costs bounded memory and does not affect other subscribers.

use exercises::queue::{CAPACITY, Event, Topic};

#[test]
fn memory_is_bounded_while_a_subscriber_does_not_read() {
    let topic = Topic::default();
    let (mut stuck, mut active) = (topic.subscribe(), topic.subscribe());
    for message in 0..100_000 {
        topic.publish(message);
        assert_eq!(active.try_next(), Some(Event::Message(message)));
        assert!(topic.kept() <= CAPACITY, "{} messages are kept", topic.kept());
    }
    assert_eq!(active.try_next(), None);
    // It learns how many messages it has missed, and receives the newest ones in order.
    let missed = 100_000 - CAPACITY as u64;
    assert_eq!(stuck.try_next(), Some(Event::Gap(missed)));
    for message in missed..100_000 {
        assert_eq!(stuck.try_next(), Some(Event::Message(message)));
    }
    assert_eq!(stuck.try_next(), None);
}

#[test]
fn subscriber_that_pauses_briefly_misses_nothing() {
    let topic = Topic::default();
    topic.publish(1);
    let mut subscriber = topic.subscribe();
    for message in 2..500 {
        topic.publish(message);
    }
    for message in 2..500 {
        assert_eq!(subscriber.try_next(), Some(Event::Message(message)));
    }
    assert_eq!(subscriber.try_next(), None);
}
