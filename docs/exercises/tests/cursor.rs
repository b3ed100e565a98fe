//! Every message reaches the subscriber once, in order, however many were published between polls.

use exercises::cursor::{Subscriber, Topic};

#[test]
fn polls_return_every_message_once_and_in_order() {
    let (mut topic, mut subscriber) = (Topic::default(), Subscriber::default());
    let mut received = Vec::new();
    // How many messages are published before each poll.
    for count in [1, 0, 3, 0, 0, 1, 2] {
        for _ in 0..count {
            topic.publish(&format!("message {}", topic.head() + 1));
        }
        received.extend(subscriber.poll(&topic));
    }
    let published: Vec<String> = (1..=7).map(|number| format!("message {number}")).collect();
    assert_eq!(received, published);
}

#[test]
fn two_subscribers_read_independently() {
    let mut topic = Topic::default();
    let (mut early, mut late) = (Subscriber::default(), Subscriber::default());
    topic.publish("a");
    assert_eq!(early.poll(&topic), ["a"]);
    topic.publish("b");
    assert_eq!(early.poll(&topic), ["b"]);
    assert_eq!(late.poll(&topic), ["a", "b"]);
}
