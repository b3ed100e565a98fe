//! Checks that must pass for any bytes: one function for each format that is received from outside.
//!
//! A check panics if it fails. The fuzz targets in this directory search for such bytes;
//! `tests/it/corpus.rs` runs the checks on the inputs stored in `corpus`.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use poll_vs_push::app::token::{Claims, Right, TokenKey};
use poll_vs_push::client::HttpResponse;
use poll_vs_push::client::event_stream::{EventParser, Parsed};
use poll_vs_push::client::websocket_frames::{
    self as frames, FrameError, FrameReader, ServerFrame,
};
use poll_vs_push::feed::{Feed, FeedLimits, Retention};
use poll_vs_push::load::target::Target;
use poll_vs_push::message::{
    Batch, Cursor, Epoch, Event, Message, NewMessage, Offset, ReadResult, StreamItem, TopicName,
};
use poll_vs_push::scenario::Scenario;
use poll_vs_push::transport::sse::cursor_of;
use poll_vs_push::units;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Panics if the check fails for these bytes.
pub type Check = fn(&[u8]);

/// Every check, by the name of its fuzz target and of its folder in the corpus.
#[allow(dead_code, reason = "a fuzz target runs one of them")]
pub const ALL: [(&str, Check); 7] = [
    ("cursor", cursor),
    ("batch", batch),
    ("scenario", scenario),
    ("target", target),
    ("frames", frames),
    ("events", events),
    ("token", token),
];

/// The error text for an invalid value stays short, for any length of the value.
const ERROR_BYTES_MAX: usize = 600;
/// Largest WebSocket message or event, bytes.
const MESSAGE_BYTES_MAX: usize = 1000;

/// The position sent by a subscriber (topic, epoch, offset), and the feed's results for any cursor.
pub fn cursor(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<TopicName>() {
        Ok(name) => assert!(name.as_str() == text && text.len() <= TopicName::MAX_BYTES),
        Err(error) => assert!(error.to_string().len() < ERROR_BYTES_MAX),
    }
    match text.parse::<Epoch>() {
        Ok(epoch) => assert_eq!(epoch.to_string(), text.to_ascii_lowercase()),
        Err(error) => assert!(error.to_string().len() < ERROR_BYTES_MAX),
    }
    if let Ok(duration) = units::parse_duration(&text) {
        assert_eq!(units::parse_duration(&units::show_duration(duration)), Ok(duration));
    }
    if let Some((read, rest)) = bytes.split_first_chunk::<12>() {
        let (epoch, offset) = read.split_first_chunk::<4>().expect("twelve are more than four");
        let epoch = Epoch(u32::from_be_bytes(*epoch));
        let offset = u64::from_be_bytes(offset.try_into().expect("twelve are four and eight"));
        answer_any_cursor(Cursor { epoch, offset }, rest);
    }
}

/// Reads after `cursor` in a topic that keeps only a few of its messages.
fn answer_any_cursor(cursor: Cursor, texts: &[u8]) {
    const EPOCH: Epoch = Epoch(1);
    const LIMIT: usize = 3;
    let retention = Retention { messages: 5, bytes: 1000, age: Duration::MAX };
    let limits = FeedLimits { topics: 1, retention, slice_bytes: 300, ..FeedLimits::default() };
    let topic = Feed::new(EPOCH, limits).topic(&"room".parse().expect("a good name"));
    let topic = topic.expect("room for one");
    for text in texts.chunks(40).take(20) {
        let text = String::from_utf8_lossy(text).into_owned();
        let publishing = topic.publish(NewMessage { sender: "A".to_owned(), text });
        publishing.now_or_never().expect("memory is at once").expect("stored");
    }
    let head = topic.head().offset;
    let reading = topic.read_after(cursor, LIMIT);
    let result = reading.now_or_never().expect("memory is at once").expect("readable");
    let means_something = cursor.epoch == EPOCH && cursor.offset <= head;
    assert_eq!(result.reset, !means_something);
    assert!(result.messages.len() <= LIMIT && result.cursor.offset <= head);
    if means_something {
        assert_eq!(result.cursor.offset, cursor.offset + result.gap + result.messages.len() as u64);
        assert_eq!(result.messages.is_empty(), cursor.offset == head, "there is more: {result:?}");
        for (message, offset) in result.messages.iter().zip(cursor.offset + result.gap + 1..) {
            let message: Message = serde_json::from_slice(message).expect("a message object");
            assert_eq!(message.offset, offset);
        }
    }
}

/// JSON received or sent: new messages, messages, events, batches.
pub fn batch(bytes: &[u8]) {
    if let Some(new_message) = read_again::<NewMessage>(bytes) {
        message(new_message);
    }
    read_again::<Event>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        match StreamItem::decode(text) {
            Ok(StreamItem::Message(message)) => one_line(&message.encode()),
            Ok(StreamItem::Event(event)) => one_line(event.encode().as_bytes()),
            Err(_) => {}
        }
    }
    if let Some(batch) = read_again::<Batch>(bytes) {
        let messages = batch.messages.iter().map(Message::encode).collect();
        let cursor = Cursor { epoch: batch.epoch, offset: batch.cursor };
        let result = ReadResult { cursor, messages, gap: batch.gap, reset: batch.reset };
        assert_eq!(result.encode_batch(), serde_json::to_vec(&batch).expect("encodes"));
    }
}

fn message(NewMessage { sender, text }: NewMessage) {
    let message = Message { offset: Offset::MAX, published_at: u64::MAX, sender, text };
    let encoded = message.encode();
    one_line(&encoded);
    let text = std::str::from_utf8(&encoded).expect("JSON is UTF-8");
    assert_eq!(StreamItem::decode(text).expect("our own"), StreamItem::Message(message));
}

/// An event stream cannot carry other characters.
fn one_line(json: &[u8]) {
    assert!(!json.iter().any(|byte| b"\r\n".contains(byte)));
}

/// Parses the bytes; if they are valid, encoding and parsing again gives the same value.
fn read_again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let read = serde_json::from_slice::<T>(bytes).ok()?;
    let encoded = serde_json::to_vec(&read).expect("what was read encodes");
    assert_eq!(serde_json::from_slice::<T>(&encoded).expect("our own"), read);
    Some(read)
}

/// A scenario file: an accepted scenario can be measured and stored in `run.json`.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(scenario) = Scenario::from_toml(text) else { return };
    let points = scenario.points();
    assert!(!points.is_empty());
    for point in points {
        assert_eq!(point.workload.check(), Ok(()));
        assert!(!point.transports.is_empty() && point.workload.fan_out() >= 1.0);
    }
    let json = serde_json::to_vec(&scenario).expect("encodes");
    assert_eq!(serde_json::from_slice::<Scenario>(&json).expect("our own"), scenario);
    let toml = toml::to_string(&scenario).expect("encodes");
    assert_eq!(Scenario::from_toml(&toml).expect("our own"), scenario);
}

/// A target file up to the first NUL, and after it a response of a server, which it describes.
pub fn target(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let file = std::str::from_utf8(parts.next().unwrap_or_default());
    let Ok(Ok(target)) = file.map(Target::from_toml) else { return };
    let topic: TopicName = "t-1".parse().expect("a good name");
    assert!(!target.transports().is_empty());
    let publish = &target.publish;
    publish.method();
    assert!(publish.path(&topic).starts_with('/'));
    assert!(publish.body("A", "\"x\"").contains(r#"\"x\""#));
    let content_type = HeaderValue::from_bytes(parts.next().unwrap_or_default());
    let headers = content_type.map(|value| HeaderMap::from_iter([(CONTENT_TYPE, value)]));
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let said = String::from_utf8_lossy(&body).into_owned();
    let answer =
        HttpResponse { status: StatusCode::OK, headers: headers.unwrap_or_default(), body };
    for route in [&target.short_polling, &target.long_polling].into_iter().flatten() {
        assert!(route.path(&topic, 0.5).starts_with('/'));
        for message in route.messages.find(&answer).unwrap_or_default() {
            target.text_in(&message);
        }
    }
    target.text_in(&said);
}

/// WebSocket frames of a server: the results are the same for any split of the bytes.
pub fn frames(bytes: &[u8]) {
    let (received, end) = receive(&[bytes]);
    let cut = bytes.first().map_or(1, |byte| usize::from(*byte % 16) + 1);
    for size in [1, cut] {
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(receive(&parts), (received.clone(), end), "in parts of {size}");
    }
    assert!(received.iter().map(String::len).all(|length| length < 8 * MESSAGE_BYTES_MAX));
    let text = String::from_utf8_lossy(bytes);
    let mut said = Vec::new();
    frames::text(&text, [0; 4], &mut said);
    // A server's frame is a client's without the mask.
    said[1] &= 0x7f;
    let mask = said.len() - text.len() - 4;
    said.drain(mask..mask + 4);
    let mut frames = FrameReader::new(text.len());
    frames.read_buffer().extend_from_slice(&said);
    assert_eq!(frames.next_frame(), Ok(Some(ServerFrame::Text(&text))));
}

/// The results for `parts`, received one after the other, and the error at the end.
fn receive(parts: &[&[u8]]) -> (Vec<String>, Option<FrameError>) {
    let mut frames = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut received = Vec::new();
    for part in parts {
        frames.read_buffer().extend_from_slice(part);
        loop {
            match frames.next_frame() {
                Ok(Some(said)) => received.push(format!("{said:?}")),
                Ok(None) => break,
                Err(error) => return (received, Some(error)),
            }
        }
    }
    (received, None)
}

/// An event stream: the results are the same for any split of the bytes.
pub fn events(bytes: &[u8]) {
    let parsed = parse(&[bytes]);
    let cut = bytes.first().map_or(1, |byte| usize::from(*byte % 16) + 1);
    for size in [1, cut] {
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(parse(&parts), parsed, "in parts of {size}");
    }
    for event in parsed.0 {
        let Parsed::Event(event) = event else { continue };
        assert!(event.data.len() <= MESSAGE_BYTES_MAX);
        if let Some(cursor) = cursor_of(event.id.as_bytes()) {
            let id = format!("{}:{}", cursor.epoch, cursor.offset);
            assert_eq!(cursor_of(id.as_bytes()), Some(cursor));
        }
    }
}

/// The results for `parts`, and whether an event was too long.
fn parse(parts: &[&[u8]]) -> (Vec<Parsed>, bool) {
    let mut parser = EventParser::up_to(MESSAGE_BYTES_MAX);
    let is_too_long = parts.iter().any(|part| parser.feed(part).is_err());
    (parser.collect(), is_too_long)
}

/// A token: rejected unless signed with the key; signed claims are read unchanged.
pub fn token(bytes: &[u8]) {
    let key = TokenKey::new(b"0123456789abcdef0123456789abcdef").expect("long enough");
    let text = String::from_utf8_lossy(bytes);
    if let Ok(claims) = key.check(&text) {
        assert_eq!(key.check(&key.sign(&claims)), Ok(claims));
    }
    if let Some(claims) = read_again::<Claims>(bytes) {
        let token = key.sign(&claims);
        if claims.exp.is_none() && token.len() < 4000 {
            assert_eq!(key.check(&token).as_ref(), Ok(&claims));
        }
        let topic = "news.sport".parse().expect("a good name");
        let all = claims.publish.iter().any(|pattern| pattern == "*");
        assert!(claims.grant(Right::Publish, &topic) || !all);
        // A token changed at any position is rejected.
        let bent = token.len() * usize::from(bytes[0]) / 256;
        let bent: String = [&token[..bent], &token[bent + 1..]].concat();
        assert!(key.check(&bent).is_err());
    }
}
