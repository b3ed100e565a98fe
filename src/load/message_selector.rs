//! Extracts the messages from a response of a third-party server.

use hyper::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::client::{ClientError, HttpResponse};

/// Where a response contains its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MessageSelector {
    /// The whole body is one message.
    #[default]
    Body,
    /// Each part of a `multipart` body is one message (RFC 2046, section 5.1); a body of another
    /// type is one message.
    Multipart,
    /// A JSON pointer (RFC 6901) to an array of messages in the body.
    Pointer(String),
}

impl TryFrom<String> for MessageSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "body" => Ok(MessageSelector::Body),
            "multipart" => Ok(MessageSelector::Multipart),
            _ if text.is_empty() || text.starts_with('/') => Ok(MessageSelector::Pointer(text)),
            _ => Err(format!(
                "'{text}': must be body, multipart, or a JSON pointer such as /messages"
            )),
        }
    }
}

impl MessageSelector {
    /// The messages in `response`, in order.
    ///
    /// # Errors
    /// If the body does not have the expected format.
    pub fn find(&self, response: &HttpResponse) -> Result<Vec<String>, ClientError> {
        let body = String::from_utf8_lossy(&response.body);
        if body.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            MessageSelector::Body => Ok(vec![body.into_owned()]),
            MessageSelector::Multipart => match boundary(response) {
                Some(boundary) => parts(&body, &boundary).ok_or_else(|| {
                    ClientError::ProtocolError("a truncated multipart body".to_owned())
                }),
                None => Ok(vec![body.into_owned()]),
            },
            MessageSelector::Pointer(pointer) => {
                let json = json(response)?;
                let array = json.pointer(pointer).and_then(|value| value.as_array());
                let array = array.ok_or_else(|| {
                    ClientError::ProtocolError(format!("no array at '{pointer}': {body}"))
                })?;
                Ok(array.iter().map(ToString::to_string).collect())
            }
        }
    }
}

/// Parses the body of `response`.
///
/// # Errors
/// If it is not JSON.
pub fn json(response: &HttpResponse) -> Result<serde_json::Value, ClientError> {
    serde_json::from_slice(&response.body)
        .map_err(|error| ClientError::ProtocolError(error.to_string()))
}

fn boundary(response: &HttpResponse) -> Option<String> {
    let content_type = response.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let parameters = content_type.strip_prefix("multipart/")?;
    let (_, boundary) = parameters.split_once("boundary=")?;
    let boundary = boundary.split(';').next().unwrap_or_default();
    Some(boundary.trim().trim_matches('"').to_owned())
}

/// The bodies of the parts; `None` if the last boundary is missing. The line break before a
/// boundary is part of the boundary.
fn parts(body: &str, boundary: &str) -> Option<Vec<String>> {
    let delimiter = format!("\r\n--{boundary}");
    let framed = format!("\r\n{body}");
    let mut pieces = framed.split(delimiter.as_str()).skip(1);
    let mut parts = Vec::new();
    loop {
        let piece = pieces.next()?;
        if piece.starts_with("--") {
            return Some(parts);
        }
        let (_, content) = piece.split_once("\r\n\r\n")?;
        parts.push(content.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::{HeaderMap, StatusCode};

    fn find(messages: &str, content_type: &'static str, body: &'static str) -> Option<Vec<String>> {
        let messages = MessageSelector::try_from(messages.to_owned()).expect("a good place");
        let content_type = content_type.parse().expect("a good header");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
        let response = HttpResponse {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        messages.find(&response).ok()
    }

    fn some(messages: &[&str]) -> Option<Vec<String>> {
        Some(messages.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn body_is_one_message_or_none() {
        assert_eq!(find("body", "text/plain", "0..."), some(&["0..."]));
        assert_eq!(find("body", "text/plain", ""), some(&[]));
        assert_eq!(find("multipart", "text/plain", "0..."), some(&["0..."]));
    }

    #[test]
    fn each_part_of_a_multipart_body_is_a_message() {
        let mixed = "multipart/mixed; boundary=Ab";
        let body = "--Ab\r\nContent-Type: x\r\n\r\n0.\r\n.\r\n--Ab\r\n\r\n1...\r\n--Ab--\r\n";
        assert_eq!(find("multipart", mixed, body), some(&["0.\r\n.", "1..."]));
        assert_eq!(find("multipart", mixed, "--Ab\r\n\r\n0..."), None, "cut short");
    }

    #[test]
    fn json_pointer_selects_the_messages() {
        let body = r#"{"data":{"messages":[{"text":"0"},"1"]}}"#;
        assert_eq!(find("/data/messages", "", body), some(&[r#"{"text":"0"}"#, r#""1""#]));
        assert_eq!(find("", "", "[]"), some(&[]));
        assert_eq!(find("/data", "", body), None, "not an array");
        assert!(MessageSelector::try_from("parts".to_owned()).is_err());
    }
}
