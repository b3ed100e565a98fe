//! The publisher: publishes each message at its planned time, over connections without simulated
//! delay, and records its own lateness.
//!
//! Every topic belongs to one connection, on which requests are pipelined: a message is sent at its
//! planned time even if earlier ones are not acknowledged yet, and the server processes the
//! messages of a topic in the order of the schedule. So the round trip to the server delays no
//! publication.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::schedule::{MessageTexts, Publication, Schedule};
use super::target::PublishRoute;
use super::verifier::Window;
use crate::client::clock::{SleepUntil, sleep_until};
use crate::client::pipeline::{self, PipelinedRequests, PipelinedResponses};
use crate::client::{ClientError, Dialer, HttpResponse};
use crate::measure::Histogram;

/// Connections for publishing.
const CONNECTIONS_MAX: usize = 16;
/// Largest number of unacknowledged messages on one connection. At the limit the next message is
/// late. It also bounds the responses that wait while a request is written, so that the two ends
/// cannot block each other.
const IN_FLIGHT_MAX: usize = 512;
/// Timeout of an acknowledgement.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest time between two attempts to publish a message.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The parameters of the publisher.
#[derive(Debug)]
pub struct Publishing {
    pub route: Arc<PublishRoute>,
    pub schedule: Arc<Schedule>,
    pub messages: Arc<MessageTexts>,
    pub window: Window,
    /// How long the publication of a message is retried while the server is down. Unless it is
    /// zero, a message is sent when the last one is acknowledged, so that a retried message is not
    /// stored after later ones.
    pub retry_max: Duration,
    /// Number of acknowledged publications.
    pub acknowledged: Arc<AtomicU64>,
}

/// A publisher with open connections.
#[derive(Debug)]
pub struct Publisher {
    publishing: Arc<Publishing>,
    dialer: Dialer,
    open: Vec<Pipeline>,
}

impl Publishing {
    /// Opens the connections, so that no publication waits for them.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn connect(self, dialer: Dialer) -> Result<Publisher, ClientError> {
        let count = self.messages.topics.len().min(CONNECTIONS_MAX);
        let dialer = dialer.with_headers(&self.route.headers);
        let mut connecting = JoinSet::new();
        for _ in 0..count {
            let dialer = dialer.clone();
            connecting.spawn(async move { Pipeline::on(&dialer).await });
        }
        let mut open = Vec::new();
        while let Some(connected) = connecting.join_next().await {
            open.push(connected.expect("connecting does not panic")?);
        }
        Ok(Publisher { publishing: Arc::new(self), dialer, open })
    }
}

impl Publisher {
    /// Publishes all messages; the warm-up starts at `start`. Returns the lateness (actual minus
    /// planned time) of the publications in the window.
    ///
    /// # Errors
    /// If a message is not acknowledged within `retry_max`, or a request times out.
    pub async fn run(self, start: Instant) -> Result<Histogram, ClientError> {
        let mut tasks = JoinSet::new();
        let count = self.open.len();
        for (number, open) in self.open.into_iter().enumerate() {
            let share = Share {
                publishing: self.publishing.clone(),
                dialer: self.dialer.clone(),
                start,
                open: Some(open),
                waiting: publications_of(&self.publishing.schedule, number, count),
                due: None,
                in_flight: VecDeque::new(),
                late: Histogram::new(),
            };
            tasks.spawn(share.run());
        }
        let mut late = Histogram::new();
        while let Some(share) = tasks.join_next().await {
            late.merge(&share.expect("publishing does not panic")?);
        }
        Ok(late)
    }
}

/// The publications to the topics of connection `number`, in order.
fn publications_of(schedule: &Schedule, number: usize, count: usize) -> VecDeque<Publication> {
    let is_here = |publication: &&Publication| publication.topic as usize % count == number;
    schedule.publications.iter().filter(is_here).copied().collect()
}

/// An open connection.
#[derive(Debug)]
struct Pipeline {
    requests: PipelinedRequests,
    responses: PipelinedResponses,
}

impl Pipeline {
    async fn on(dialer: &Dialer) -> Result<Pipeline, ClientError> {
        let (requests, responses) = pipeline::open(dialer).await?;
        Ok(Pipeline { requests, responses })
    }
}

/// The publications of one connection.
struct Share {
    publishing: Arc<Publishing>,
    dialer: Dialer,
    start: Instant,
    /// `None` while there is no connection.
    open: Option<Pipeline>,
    /// Not sent yet.
    waiting: VecDeque<Publication>,
    /// The timer for the first of them, if it is running.
    due: Option<SleepUntil>,
    /// Sent and not acknowledged, with the time of sending.
    in_flight: VecDeque<(Publication, Instant)>,
    late: Histogram,
}

/// What happens next on a connection.
enum PublisherEvent {
    /// The next message is due.
    Due,
    /// A part of the requests was sent.
    Written(Result<(), ClientError>),
    Response(Result<Option<HttpResponse>, ClientError>),
    TimedOut,
}

impl Share {
    async fn run(mut self) -> Result<Histogram, ClientError> {
        let mut failing_since = None;
        while !(self.waiting.is_empty() && self.in_flight.is_empty()) {
            let Err(error) = self.step().await else {
                failing_since = None;
                continue;
            };
            // The connection's requests are sent again on the next one.
            self.open = None;
            let retry_max = self.publishing.retry_max;
            let give_up_at = *failing_since.get_or_insert_with(|| Instant::now() + retry_max);
            match error.retry_delay() {
                Some(wait) if Instant::now() + wait < give_up_at => {
                    sleep(wait.max(RETRY_INTERVAL)).await;
                }
                _ => return Err(error),
            }
        }
        Ok(self.late)
    }

    /// Waits for the next event and handles it.
    async fn step(&mut self) -> Result<(), ClientError> {
        if self.open.is_none() {
            return self.reopen().await;
        }
        match self.next_event().await {
            PublisherEvent::Due => {
                self.send_next();
                Ok(())
            }
            PublisherEvent::Written(result) => result,
            PublisherEvent::Response(response) => self.received(response?),
            PublisherEvent::TimedOut => Err(ClientError::ProtocolError(format!(
                "publication not acknowledged within {ACKNOWLEDGEMENT_TIMEOUT:?}"
            ))),
        }
    }

    /// Opens a new connection once there is something to send, and sends the unacknowledged
    /// messages of the last one again.
    async fn reopen(&mut self) -> Result<(), ClientError> {
        if self.in_flight.is_empty()
            && let Some(next) = self.waiting.front()
        {
            sleep_until(self.start + next.at).await;
        }
        let mut open = Pipeline::on(&self.dialer).await?;
        for (publication, sent_at) in &mut self.in_flight {
            push(&self.publishing, &mut open.requests, publication);
            *sent_at = Instant::now();
        }
        self.open = Some(open);
        Ok(())
    }

    async fn next_event(&mut self) -> PublisherEvent {
        let depth = if self.publishing.retry_max.is_zero() { IN_FLIGHT_MAX } else { 1 };
        let Some(open) = &mut self.open else { return pending().await };
        let is_sent = open.requests.is_sent();
        let has_room = is_sent && self.in_flight.len() < depth;
        let start = self.start;
        let due = self.waiting.front().filter(|_| has_room).map(|next| {
            let due = self.due.get_or_insert_with(|| sleep_until(start + next.at));
            Pin::new(due)
        });
        let timeout = self.in_flight.front().map(|(_, sent_at)| {
            tokio::time::sleep_until((*sent_at + ACKNOWLEDGEMENT_TIMEOUT).into())
        });
        tokio::select! {
            response = open.responses.next() => PublisherEvent::Response(response),
            written = open.requests.write(), if !is_sent => PublisherEvent::Written(written),
            () = or_never(due) => PublisherEvent::Due,
            () = or_never(timeout) => PublisherEvent::TimedOut,
        }
    }

    fn send_next(&mut self) {
        self.due = None;
        let Some(publication) = self.waiting.pop_front() else { return };
        if self.publishing.window.contains(publication.at) {
            let due = self.start + publication.at;
            self.late.record(due.elapsed().as_micros() as u64);
        }
        if let Some(open) = &mut self.open {
            push(&self.publishing, &mut open.requests, &publication);
        }
        self.in_flight.push_back((publication, Instant::now()));
    }

    /// Handles a response, or the end of the connection.
    fn received(&mut self, response: Option<HttpResponse>) -> Result<(), ClientError> {
        let Some(response) = response else {
            self.open = None;
            // An idle connection may end at any time.
            return match self.in_flight.is_empty() {
                true => Ok(()),
                false => Err(ClientError::Closed(format!(
                    "publications without an acknowledgement, which are not repeated because \
                     they may have taken effect: {}",
                    self.in_flight.len()
                ))),
            };
        };
        if !self.publishing.route.is_stored(response.status) {
            return Err(response.refusal());
        }
        if self.in_flight.pop_front().is_none() {
            return Err(ClientError::ProtocolError("a response without a request".to_owned()));
        }
        self.publishing.acknowledged.fetch_add(1, Relaxed);
        if pipeline::is_last(&response) {
            self.open = None;
        }
        Ok(())
    }
}

/// Adds the request that publishes a message.
fn push(publishing: &Publishing, requests: &mut PipelinedRequests, publication: &Publication) {
    let Publishing { route, messages, .. } = publishing;
    let text = messages.text(publication.topic, publication.number);
    let topic = &messages.topics[publication.topic as usize];
    requests.push(&route.method(), &route.path(topic), route.body("A", &text).as_bytes());
}

/// Waits for `timer`; without one, for ever.
async fn or_never(timer: Option<impl Future<Output = ()>>) {
    match timer {
        Some(timer) => timer.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const COUNT: u32 = 5;
    const STORED: &str = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
    const STORED_LAST: &str =
        "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    /// A server whose responses the test controls, and a publisher of [`COUNT`] messages that are
    /// all due at once.
    struct Pair {
        listener: TcpListener,
        messages: Arc<MessageTexts>,
        acknowledged: Arc<AtomicU64>,
        publishing: AbortOnDropHandle<Result<Histogram, ClientError>>,
    }

    impl Pair {
        async fn start() -> Pair {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = Duration::ZERO;
            let publication = |number| Publication { at, topic: 0, number };
            let schedule = Schedule {
                publications: (0..COUNT).map(publication).collect(),
                by_topic: vec![vec![at; COUNT as usize]],
            };
            let topics = vec!["t".parse().expect("a name")];
            let messages = Arc::new(MessageTexts::new(&schedule, topics, 20));
            let acknowledged = Arc::<AtomicU64>::default();
            let publishing = Publishing {
                route: Arc::new(PublishRoute::ours()),
                schedule: Arc::new(schedule),
                messages: messages.clone(),
                window: Window { start: at, end: Duration::from_secs(1) },
                retry_max: Duration::ZERO,
                acknowledged: acknowledged.clone(),
            };
            let dialer = Dialer::new(listener.local_addr().expect("it has one"));
            let publisher = publishing.connect(dialer).await.expect("it listens");
            let publishing = AbortOnDropHandle::new(tokio::spawn(publisher.run(Instant::now())));
            Pair { listener, messages, acknowledged, publishing }
        }

        async fn accept(&self) -> TcpStream {
            self.listener.accept().await.expect("a connection").0
        }

        /// Reads until these messages have been requested, in this order.
        async fn expect(&self, stream: &mut TcpStream, numbers: std::ops::Range<u32>) {
            let mut bytes = Vec::new();
            loop {
                let text = String::from_utf8_lossy(&bytes);
                let texts = text.split(r#""text":""#).skip(1);
                let whole = texts.filter_map(|rest| rest.split_once("\"}"));
                let seen: Vec<u32> =
                    whole.filter_map(|(text, _)| self.messages.number(0, text)).collect();
                if seen.len() >= numbers.len() {
                    assert_eq!(seen, numbers.collect::<Vec<_>>());
                    return;
                }
                assert!(stream.read_buf(&mut bytes).await.expect("reads") > 0, "{seen:?}");
            }
        }
    }

    #[tokio::test]
    async fn messages_are_sent_in_order_before_earlier_ones_are_acknowledged() {
        let pair = Pair::start().await;
        let mut stream = pair.accept().await;
        pair.expect(&mut stream, 0..COUNT).await;
        assert_eq!(pair.acknowledged.load(Relaxed), 0);
        stream.write_all(STORED.repeat(COUNT as usize).as_bytes()).await.expect("writes");
        let late = pair.publishing.await.expect("no panic").expect("all are stored");
        assert_eq!(late.0.len(), u64::from(COUNT));
        assert_eq!(pair.acknowledged.load(Relaxed), u64::from(COUNT));
    }

    #[tokio::test]
    async fn messages_that_a_closing_server_did_not_process_are_sent_again_in_order() {
        let pair = Pair::start().await;
        let mut first = pair.accept().await;
        pair.expect(&mut first, 0..COUNT).await;
        first.write_all(format!("{STORED}{STORED_LAST}").as_bytes()).await.expect("writes");
        let mut second = pair.accept().await;
        pair.expect(&mut second, 2..COUNT).await;
        second.write_all(STORED.repeat(COUNT as usize - 2).as_bytes()).await.expect("writes");
        pair.publishing.await.expect("no panic").expect("all are stored");
        assert_eq!(pair.acknowledged.load(Relaxed), u64::from(COUNT));
    }

    #[tokio::test]
    async fn messages_of_a_broken_connection_are_not_sent_again() {
        let pair = Pair::start().await;
        let mut stream = pair.accept().await;
        pair.expect(&mut stream, 0..COUNT).await;
        drop(stream);
        let error = pair.publishing.await.expect("no panic").expect_err("they may be stored");
        assert!(matches!(&error, ClientError::Closed(_) | ClientError::Broken(_)), "{error}");
    }

    #[tokio::test]
    async fn refusal_ends_publishing_with_its_reason() {
        let pair = Pair::start().await;
        let mut stream = pair.accept().await;
        pair.expect(&mut stream, 0..COUNT).await;
        let body = r#"{"error":"over --publish-rate"}"#;
        let head = format!("HTTP/1.1 429 No\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{STORED}{head}{body}").as_bytes()).await.expect("writes");
        let error = pair.publishing.await.expect("no panic").expect_err("refused").to_string();
        assert!(error.contains("429 Too Many Requests over --publish-rate"), "{error}");
    }
}
