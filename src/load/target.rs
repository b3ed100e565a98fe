//! A target file: describes a third-party server, in TOML.
//!
//! The file states where to publish and, for each transport, what to request, where the cursor
//! goes, where a response contains messages, and which responses are empty. `target_subscriber.rs`
//! executes it.

use std::collections::BTreeMap;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Deserializer};

use super::message_selector::MessageSelector;
use crate::message::TopicName;
use crate::scenario::ScenarioError;
use crate::variant::Transport;

/// The description of a third-party server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The name of the server in results: `nchan`.
    pub name: String,
    /// What the server is and how to set it up, as prose.
    #[serde(default)]
    pub description: String,
    pub publish: PublishRoute,
    /// The text in a message, as a JSON pointer (RFC 6901). Without a pointer the message is the
    /// text; with one, messages without such a text were not published by the load test and are
    /// skipped.
    pub text: Option<String>,
    #[serde(rename = "short-polling")]
    pub short_polling: Option<PollRoute>,
    #[serde(rename = "long-polling")]
    pub long_polling: Option<PollRoute>,
    pub websocket: Option<SocketRoute>,
    pub sse: Option<StreamRoute>,
}

/// How a message is published.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishRoute {
    #[serde(default = "post")]
    method: String,
    /// Contains `{topic}`.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// Contains `{sender}` and `{text}`, which are replaced by the JSON-escaped values without
    /// quotes.
    body: String,
    /// Each of these statuses means that the message is stored.
    #[serde(default = "stored")]
    status: Vec<u16>,
}

/// The request of both kinds of polling.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRoute {
    /// Contains `{topic}`; `{hold}` is the timeout of a long poll in seconds.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    #[serde(default)]
    pub cursor: CursorPlace,
    /// Where a 200 response contains messages.
    #[serde(default)]
    pub messages: MessageSelector,
    /// Each of these statuses means that there is no message, as does a 200 without one.
    #[serde(default)]
    pub empty: Vec<u16>,
    /// A response contains one message and there may be more: poll again at once until one is
    /// empty.
    #[serde(default)]
    pub until_empty: bool,
}

/// Where a request contains the cursor, and where a response contains the next one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CursorPlace {
    /// In `If-None-Match` and `If-Modified-Since`, from the last message's `Etag` and
    /// `Last-Modified`.
    #[default]
    Validators,
    /// In the query: `template`, which contains `{cursor}`, from the JSON pointer `from` in the
    /// body. The first request sends `first`, or no cursor.
    Query { template: String, from: String, first: Option<String> },
    /// In `Last-Event-ID`, from the JSON pointer `from` in the body.
    LastEventId { from: String, first: Option<String> },
}

/// A WebSocket; each text frame is a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketRoute {
    /// Contains `{topic}`.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// A text frame to send once connected, with `{topic}` in it.
    send: Option<String>,
    /// The first frame from the server confirms the subscription. Otherwise the handshake confirms
    /// it.
    #[serde(default)]
    pub greeting: bool,
}

/// An event stream; the data of each event is a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRoute {
    /// Contains `{topic}`.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
}

fn post() -> String {
    Method::POST.to_string()
}

fn stored() -> Vec<u16> {
    vec![200, 201, 202, 204]
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
    use serde::de::Error as _;
    let fields = BTreeMap::<String, String>::deserialize(deserializer)?;
    let field = |(name, value): (&String, &String)| {
        // The value is not quoted: it may be a token.
        let wrong =
            |what: &str| D::Error::custom(format!("{what} '{name}' is not valid in a header"));
        let mut value: HeaderValue = value.parse().map_err(|_| wrong("the value of header"))?;
        value.set_sensitive(true);
        let name: HeaderName = name.parse().map_err(|_| wrong("the header name"))?;
        Ok((name, value))
    };
    fields.iter().map(field).collect()
}

impl Target {
    /// Reads and checks a target file.
    ///
    /// # Errors
    /// Names the line and the key, and states the valid values.
    pub fn from_toml(text: &str) -> Result<Target, ScenarioError> {
        // Without the line itself, which may contain a token.
        let wrong = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
            ScenarioError::new(format!("line {line}: {}", error.message()))
        };
        let target: Target = toml::from_str(text).map_err(wrong)?;
        target.check().map_err(ScenarioError::new)?;
        Ok(target)
    }

    /// The transports that it describes, in the order of reports.
    pub fn transports(&self) -> Vec<Transport> {
        let described = |transport: &Transport| match transport {
            Transport::ShortPolling => self.short_polling.is_some(),
            Transport::LongPolling => self.long_polling.is_some(),
            Transport::WebSocket => self.websocket.is_some(),
            Transport::Sse => self.sse.is_some(),
            // The Socket.IO events of another server differ, and target files cannot describe them.
            Transport::SocketioPolling | Transport::SocketioWebsocket => false,
            // Target files cannot describe streams of lines.
            Transport::Ndjson => false,
        };
        Transport::ALL.into_iter().filter(described).collect()
    }

    /// The text in a message, if there is one.
    pub fn text_in(&self, message: &str) -> Option<String> {
        let Some(pointer) = &self.text else { return Some(message.to_owned()) };
        let value: serde_json::Value = serde_json::from_str(message).ok()?;
        value.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn check(&self) -> Result<(), String> {
        if self.transports().is_empty() {
            return Err("describe at least one of [short-polling], [long-polling], [websocket] \
                        and [sse]"
                .to_owned());
        }
        let polls = [("short-polling", &self.short_polling), ("long-polling", &self.long_polling)];
        let polls = polls.into_iter().filter_map(|(at, route)| Some((at, &route.as_ref()?.path)));
        let socket = self.websocket.iter().map(|route| ("websocket", &route.path));
        let stream = self.sse.iter().map(|route| ("sse", &route.path));
        let publish = ("publish", &self.publish.path);
        for (at, path) in polls.chain(socket).chain(stream).chain([publish]) {
            if !path.starts_with('/') {
                return Err(format!("{at}.path: must begin with '/', '{path}' does not"));
            }
        }
        if !self.publish.body.contains("{text}") {
            return Err("publish.body: must have {text} in it".to_owned());
        }
        let method = &self.publish.method;
        Method::from_bytes(method.as_bytes())
            .map(|_| ())
            .map_err(|_| format!("publish.method: '{method}' is not a method"))
    }
}

impl PublishRoute {
    /// How to publish to a `poll-vs-push` server.
    pub fn ours() -> PublishRoute {
        PublishRoute {
            method: post(),
            path: "/topics/{topic}/messages".to_owned(),
            headers: HeaderMap::new(),
            body: r#"{"sender":"{sender}","text":"{text}"}"#.to_owned(),
            status: vec![StatusCode::CREATED.as_u16()],
        }
    }

    pub fn method(&self) -> Method {
        Method::from_bytes(self.method.as_bytes()).expect("checked when it was read")
    }

    pub fn path(&self, topic: &TopicName) -> String {
        at(&self.path, topic)
    }

    pub fn body(&self, sender: &str, text: &str) -> String {
        // The text is inserted last, so that nothing in it is taken for a placeholder.
        self.body.replace("{sender}", &escaped(sender)).replace("{text}", &escaped(text))
    }

    pub fn is_stored(&self, status: StatusCode) -> bool {
        self.status.contains(&status.as_u16())
    }
}

impl PollRoute {
    pub fn path(&self, topic: &TopicName, hold_s: f64) -> String {
        at(&self.path, topic).replace("{hold}", &hold_s.to_string())
    }
}

impl SocketRoute {
    pub fn path(&self, topic: &TopicName) -> String {
        at(&self.path, topic)
    }

    pub fn send(&self, topic: &TopicName) -> Option<String> {
        self.send.as_ref().map(|template| at(template, topic))
    }
}

impl StreamRoute {
    pub fn path(&self, topic: &TopicName) -> String {
        at(&self.path, topic)
    }
}

fn at(template: &str, topic: &TopicName) -> String {
    template.replace("{topic}", topic.as_str())
}

/// `text` escaped for JSON, without the quotes around it.
fn escaped(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string always encodes");
    json[1..json.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = 'x'\n[publish]\npath = '/p/{topic}'\nbody = '{text}'\n";

    fn error(text: &str) -> String {
        Target::from_toml(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn every_shipped_target_is_read() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/targets");
        let files = std::fs::read_dir(directory).expect("it is there");
        let files = files.map(|file| file.expect("it can be read").path());
        let files: Vec<_> =
            files.filter(|path| path.extension() == Some("toml".as_ref())).collect();
        assert!(files.len() >= 3, "{files:?}");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("it can be read");
            let target = Target::from_toml(&text).unwrap_or_else(|e| panic!("{file:?}: {e}"));
            assert!(!target.description.is_empty(), "{file:?}");
        }
    }

    #[test]
    fn published_values_are_escaped_in_path_and_body() {
        let topic: TopicName = "t-1".parse().expect("a good name");
        let route = PublishRoute::ours();
        assert_eq!(route.path(&topic), "/topics/t-1/messages");
        assert_eq!(route.body("{text}", "\"é\"\n"), r#"{"sender":"\"é\"\n","text":"\"é\"\n"}"#);
        assert_eq!(
            route.body("A", "\"é\"\n{sender}"),
            r#"{"sender":"A","text":"\"é\"\n{sender}"}"#
        );
    }

    #[test]
    fn text_is_selected_by_the_json_pointer() {
        let socket = "[websocket]\npath = '/'\n";
        let whole = Target::from_toml(&format!("{LEAST}{socket}")).expect("a good target");
        assert_eq!(whole.text_in("0...").as_deref(), Some("0..."));
        let text = format!("text = '/data/text'\n{LEAST}{socket}");
        let inside = Target::from_toml(&text).expect("a good target");
        assert_eq!(inside.text_in(r#"{"data":{"text":"0..."}}"#).as_deref(), Some("0..."));
        assert_eq!(inside.text_in(r#"{"event":"hello"}"#), None);
        assert_eq!(inside.transports(), [Transport::WebSocket]);
    }

    #[test]
    fn errors_list_the_valid_values() {
        assert!(error(LEAST).contains("describe at least one of [short-polling]"));
        let bad_path = error(&format!("{LEAST}[sse]\npath = 'events'"));
        assert_eq!(bad_path, "sse.path: must begin with '/', 'events' does not");
        let bad_header = error(&format!("{LEAST}[sse]\npath = '/'\nheaders = {{ 'a b' = 'c' }}"));
        assert!(
            bad_header.contains("the header name 'a b' is not valid in a header"),
            "{bad_header}"
        );
        let bad_value = format!("{LEAST}[sse]\npath = '/'\nheaders = {{ a = \"secret\\n\" }}");
        let bad_value = error(&bad_value);
        assert!(
            bad_value.contains("the value of header 'a' is not valid in a header"),
            "{bad_value}"
        );
        let no_end = error(&format!("{LEAST}[sse]\nheaders = {{ a = 'secret }}"));
        assert!(no_end.starts_with("line ") && !no_end.contains("secret"), "{no_end}");
        let bad_place = error(&format!("{LEAST}[long-polling]\npath = '/'\ncursor.to = 'cookie'"));
        assert!(bad_place.contains("`validators`, `query`, `last-event-id`"), "{bad_place}");
        let no_text = error("name = 'x'\n[publish]\npath = '/'\nbody = ''\n[sse]\npath = '/'");
        assert_eq!(no_text, "publish.body: must have {text} in it");
    }
}
