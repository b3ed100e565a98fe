//! Subscribers of a third-party server: each speaks the protocol that the target file describes.
//!
//! They have the interface of [`transport::Subscriber`](crate::transport::Subscriber), so the rest
//! of the load test treats both alike. They start at the first message of a topic, which is empty
//! when they connect, and they do not resume after a failure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use hyper::{Method, StatusCode};

use super::message_selector;
use super::target::{CursorPlace, PollRoute, Target};
use crate::client::{
    ClientError, Dialer, EventStream, HttpConnection, HttpResponse, Update, WebSocket,
};
use crate::message::{Message, TopicName};
use crate::transport::{PollSchedule, SubscribeOptions};
use crate::variant::Transport;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A subscriber of a third-party server.
#[derive(Debug)]
pub struct Subscriber {
    target: Arc<Target>,
    connection: TargetConnection,
}

#[derive(Debug)]
enum TargetConnection {
    Polling(Box<Poller>),
    WebSocket(Box<WebSocket>),
    Sse(Box<EventStream>),
}

impl Subscriber {
    /// Connects and subscribes: when this returns, no later message will be missed.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses, or if the target file has no
    /// section for the transport.
    pub async fn connect(
        target: &Arc<Target>,
        transport: Transport,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let missing_section =
            || ClientError::ProtocolError(format!("the target file has no section [{transport}]"));
        let connection = match transport {
            Transport::ShortPolling | Transport::LongPolling => {
                let is_short = transport == Transport::ShortPolling;
                let route = if is_short { &target.short_polling } else { &target.long_polling };
                let route = route.as_ref().ok_or_else(missing_section)?;
                let dialer = dialer.with_headers(&route.headers);
                let schedule = is_short.then(|| PollSchedule::new(&options));
                let poller = Poller::connect(dialer, route.clone(), &options, schedule).await?;
                TargetConnection::Polling(Box::new(poller))
            }
            Transport::WebSocket => {
                let route = target.websocket.as_ref().ok_or_else(missing_section)?;
                let dialer = dialer.with_headers(&route.headers);
                let mut socket = WebSocket::connect(&dialer, &route.path(&options.topic)).await?;
                if let Some(frame) = route.send(&options.topic) {
                    socket.send(&frame).await?;
                }
                if route.greeting {
                    socket.receive(|_| ()).await?;
                }
                TargetConnection::WebSocket(Box::new(socket))
            }
            Transport::SocketioPolling | Transport::SocketioWebsocket | Transport::Ndjson => {
                return Err(missing_section());
            }
            Transport::Sse => {
                let route = target.sse.as_ref().ok_or_else(missing_section)?;
                let dialer = dialer.with_headers(&route.headers);
                let stream = EventStream::get(&dialer, &route.path(&options.topic)).await?;
                TargetConnection::Sse(Box::new(stream))
            }
        };
        Ok(Subscriber { target: target.clone(), connection })
    }

    /// Waits for the next messages.
    ///
    /// # Errors
    /// If the connection is lost, or the response does not match the target file.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        let messages = match &mut self.connection {
            TargetConnection::Polling(poller) => poller.next().await?,
            TargetConnection::WebSocket(socket) => vec![socket.receive(str::to_owned).await?],
            TargetConnection::Sse(stream) => vec![stream.next_event().await?.data],
        };
        let mut received = Update::default();
        for message in messages {
            let Some(text) = self.target.text_in(&message) else { continue };
            match &self.connection {
                // Counted with the response.
                TargetConnection::Polling(_) => {}
                TargetConnection::WebSocket(socket) => socket.count_payload(message.len()),
                TargetConnection::Sse(stream) => stream.count_payload(message.len()),
            }
            let sender = String::new();
            received.messages.push(Message { offset: 0, published_at: 0, sender, text });
        }
        Ok(received)
    }
}

/// Both kinds of polling: with a schedule the client waits between requests, without one the server
/// waits before it responds.
#[derive(Debug)]
struct Poller {
    http: HttpConnection,
    route: PollRoute,
    topic: TopicName,
    hold: Duration,
    schedule: Option<PollSchedule>,
    /// There may be more messages: the next poll is sent at once.
    again: bool,
    cursor: PollCursor,
}

impl Poller {
    async fn connect(
        dialer: Dialer,
        route: PollRoute,
        options: &SubscribeOptions,
        schedule: Option<PollSchedule>,
    ) -> Result<Poller, ClientError> {
        let mut http = HttpConnection::new(dialer);
        http.open().await?;
        let cursor = PollCursor::first(&route.cursor);
        let (topic, hold) = (options.topic.clone(), options.wait);
        Ok(Poller { http, route, topic, hold, schedule, again: false, cursor })
    }

    async fn next(&mut self) -> Result<Vec<String>, ClientError> {
        if let Some(schedule) = &self.schedule
            && !self.again
        {
            self.http.dialer().sleep_until(schedule.next_poll()).await;
        }
        let messages = self.poll().await?;
        self.again = self.route.until_empty && !messages.is_empty();
        if let Some(schedule) = &mut self.schedule
            && !self.again
        {
            schedule.polled(messages.is_empty());
        }
        Ok(messages)
    }

    async fn poll(&mut self) -> Result<Vec<String>, ClientError> {
        let path = self.cursor.path(self.route.path(&self.topic, self.hold.as_secs_f64()));
        let more = &self.cursor.headers;
        let response = self.http.counted_request(Method::GET, &path, more, Bytes::new()).await?;
        let mut messages = Vec::new();
        if response.status == StatusCode::OK {
            messages = self.route.messages.find(&response)?;
            self.cursor.advance(&self.route.cursor, &response)?;
        } else if !self.route.empty.contains(&response.status.as_u16()) {
            return Err(response.refusal());
        }
        let payload_bytes =
            messages.iter().map(String::len).sum::<usize>().min(response.body.len());
        let envelope_bytes = response.body.len() - payload_bytes;
        self.http.dialer().answered(messages.len(), payload_bytes, envelope_bytes);
        Ok(messages)
    }
}

/// The position of a poller, in the form in which its next request contains it.
#[derive(Debug, Default)]
struct PollCursor {
    headers: HeaderMap,
    query: Option<String>,
}

impl PollCursor {
    fn first(place: &CursorPlace) -> PollCursor {
        let mut cursor = PollCursor::default();
        if let CursorPlace::Query { first: Some(value), .. }
        | CursorPlace::LastEventId { first: Some(value), .. } = place
        {
            cursor.set(place, value);
        }
        cursor
    }

    fn set(&mut self, place: &CursorPlace, value: &str) {
        match place {
            CursorPlace::Validators => {}
            CursorPlace::Query { template, .. } => {
                self.query = Some(template.replace("{cursor}", value));
            }
            CursorPlace::LastEventId { .. } => {
                if let Ok(value) = HeaderValue::from_str(value) {
                    self.headers.insert(LAST_EVENT_ID, value);
                }
            }
        }
    }

    /// Moves the cursor to the end of `response`.
    fn advance(&mut self, place: &CursorPlace, response: &HttpResponse) -> Result<(), ClientError> {
        match place {
            CursorPlace::Validators => {
                let sent_back = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
                for (from, to) in sent_back {
                    if let Some(value) = response.headers.get(from) {
                        self.headers.insert(to, value.clone());
                    }
                }
            }
            CursorPlace::Query { from, .. } | CursorPlace::LastEventId { from, .. } => {
                let json = message_selector::json(response)?;
                let missing =
                    || ClientError::ProtocolError(format!("no cursor at '{from}': {json}"));
                let value = json.pointer(from).ok_or_else(missing)?;
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.set(place, &text);
            }
        }
        Ok(())
    }

    /// `path` with the cursor in its query, if it belongs there.
    fn path(&self, path: String) -> String {
        match &self.query {
            None => path,
            Some(query) if path.contains('?') => format!("{path}&{query}"),
            Some(query) => format!("{path}?{query}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(headers: &[(HeaderName, &'static str)], body: &'static str) -> HttpResponse {
        let field = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(field).collect();
        HttpResponse { status: StatusCode::OK, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn validators_are_sent_back() {
        let place = CursorPlace::Validators;
        let mut cursor = PollCursor::first(&place);
        assert!(cursor.headers.is_empty());
        let date = "Sun, 22 Nov 2026 21:00:02 GMT";
        let response = response(&[(ETAG, "3"), (LAST_MODIFIED, date)], "");
        cursor.advance(&place, &response).expect("all is there");
        assert_eq!(cursor.headers[IF_NONE_MATCH], "3");
        assert_eq!(cursor.headers[IF_MODIFIED_SINCE], date);
        assert_eq!(cursor.path("/a".to_owned()), "/a");
    }

    #[test]
    fn cursor_in_the_body_is_sent_in_query_or_header() {
        let template = "after={cursor}".to_owned();
        let first = Some("0".to_owned());
        let query = CursorPlace::Query { template, from: "/at".to_owned(), first };
        let mut cursor = PollCursor::first(&query);
        assert_eq!(cursor.path("/a".to_owned()), "/a?after=0");
        cursor.advance(&query, &response(&[], r#"{"at":7}"#)).expect("it is there");
        assert_eq!(cursor.path("/a?b=1".to_owned()), "/a?b=1&after=7");
        assert!(cursor.advance(&query, &response(&[], "{}")).is_err());

        let header = CursorPlace::LastEventId { from: "/at".to_owned(), first: None };
        let mut cursor = PollCursor::first(&header);
        assert!(cursor.headers.is_empty());
        cursor.advance(&header, &response(&[], r#"{"at":"x:7"}"#)).expect("it is there");
        assert_eq!(cursor.headers[LAST_EVENT_ID], "x:7");
    }
}
