//! A target: how to talk to a server that is not ours, read from TOML.
//!
//! The file says where to publish and, for each transport, what to request, where
//! the cursor goes, how messages stand in an answer, and which answers are empty. What it says is
//! done in `target_subscriber.rs`.

use std::collections::BTreeMap;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Deserializer};

use super::message_selector::MessageSelector;
use crate::message::TopicName;
use crate::scenario::ScenarioError;
use crate::variant::Transport;

/// How to talk to a server that is not ours.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What the server is called in results: `nchan`.
    pub name: String,
    /// What it is and how it has to be set up, as prose.
    #[serde(default)]
    pub description: String,
    pub publish: PublishRoute,
    /// Where in a message its text is, as a JSON pointer (RFC 6901). Without one the message is
    /// the text; with one, a message in which there is no such text is none of ours and is skipped.
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
    /// With `{topic}` in it.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// With `{sender}` and `{text}` in it, which are put in as JSON writes them between quotes.
    body: String,
    /// Any of these statuses says that the message is stored.
    #[serde(default = "stored")]
    status: Vec<u16>,
}

/// How to ask, for both kinds of polling.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRoute {
    /// With `{topic}` in it; `{hold}` is the long poll's hold in seconds.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    #[serde(default)]
    pub cursor: CursorPlace,
    /// How messages stand in a 200.
    #[serde(default)]
    pub messages: MessageSelector,
    /// Any of these statuses says that there is no message; so does a 200 without one.
    #[serde(default)]
    pub empty: Vec<u16>,
    /// An answer holds one message and there may be more: ask again at once until it is empty.
    #[serde(default)]
    pub until_empty: bool,
}

/// Where a subscriber says how far it has read, and where it learns that.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CursorPlace {
    /// In `If-None-Match` and `If-Modified-Since`, from the last message's `Etag` and
    /// `Last-Modified`.
    #[default]
    Validators,
    /// In the query: `template` with `{cursor}` in it, from the JSON pointer `from` in the body.
    /// The first request sends `first`, or no cursor.
    Query { template: String, from: String, first: Option<String> },
    /// In `Last-Event-ID`, from the JSON pointer `from` in the body.
    LastEventId { from: String, first: Option<String> },
}

/// A WebSocket; each text frame is a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketRoute {
    /// With `{topic}` in it.
    path: String,
    #[serde(default, deserialize_with = "headers")]
    pub headers: HeaderMap,
    /// A text frame to send once connected, with `{topic}` in it.
    send: Option<String>,
    /// The server's first frame says that the subscription stands. Without it the handshake does.
    #[serde(default)]
    pub greeting: bool,
}

/// An event stream; the data of each event is a message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRoute {
    /// With `{topic}` in it.
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
        let wrong = |_| D::Error::custom(format!("'{name}: {value}' cannot be a header"));
        let name: HeaderName = name.parse().map_err(|_| wrong(()))?;
        let value: HeaderValue = value.parse().map_err(|_| wrong(()))?;
        Ok((name, value))
    };
    fields.iter().map(field).collect()
}

impl Target {
    /// Reads and checks a target file.
    ///
    /// # Errors
    /// Names the line and key that is wrong and says what would be right.
    pub fn from_toml(text: &str) -> Result<Target, ScenarioError> {
        let target: Target = toml::from_str(text).map_err(ScenarioError::new)?;
        target.check().map_err(ScenarioError::new)?;
        Ok(target)
    }

    /// The transports that it describes, in the order in which reports show them.
    pub fn transports(&self) -> Vec<Transport> {
        let described = |transport: &Transport| match transport {
            Transport::ShortPolling => self.short_polling.is_some(),
            Transport::LongPolling => self.long_polling.is_some(),
            Transport::WebSocket => self.websocket.is_some(),
            Transport::Sse => self.sse.is_some(),
            // Another server's Socket.IO has events of its own, which no file of ours describes.
            Transport::SocketioPolling | Transport::SocketioWebsocket => false,
            // Nobody has asked for another server's lines yet.
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
            .map_err(|_| format!("publish.method: '{method}' is no method"))
    }
}

impl PublishRoute {
    /// How our own server is published to.
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
        // The text goes in last, so that nothing in it is taken for a placeholder.
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

/// `text` as JSON writes it, without the quotes around it.
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
        assert!(bad_header.contains("'a b: c' cannot be a header"), "{bad_header}");
        let bad_place = error(&format!("{LEAST}[long-polling]\npath = '/'\ncursor.to = 'cookie'"));
        assert!(bad_place.contains("`validators`, `query`, `last-event-id`"), "{bad_place}");
        let no_text = error("name = 'x'\n[publish]\npath = '/'\nbody = ''\n[sse]\npath = '/'");
        assert_eq!(no_text, "publish.body: must have {text} in it");
    }
}
