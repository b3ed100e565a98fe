//! The delay of a long poll is bounded by the round trip, however many messages there are.

use std::sync::Arc;
use std::time::Duration;

use exercises::batch::{ROUND_TRIP, Topic, receive};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn delays_do_not_grow_with_the_number_of_messages() {
    const COUNT: usize = 500;
    let topic = Arc::new(Topic::default());
    let subscriber = tokio::spawn({
        let topic = topic.clone();
        async move { receive(&topic, COUNT).await }
    });
    for _ in 0..COUNT {
        sleep(Duration::from_millis(10)).await;
        topic.publish();
    }
    let delays = subscriber.await.expect("the subscriber does not panic");
    // A message waits at most for the next request: half a round trip for the response before it
    // to arrive, half for the request, and half for its own response.
    let bound = ROUND_TRIP * 3 / 2 + Duration::from_millis(5);
    for (index, delay) in delays.iter().enumerate() {
        assert!(*delay <= bound, "message {} arrived after {delay:?}", index + 1);
    }
}
