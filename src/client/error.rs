//! Errors of a subscriber's connection, and how long to wait before a retry.

use std::io;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use hyper::{Method, StatusCode};

use crate::text::{one_line, without_secrets};

/// Longest `Retry-After` that is respected.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Why a request or a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the server: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection broke: {}", why_broken(&**.0))]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke under a request that may have taken effect and must not be repeated.
    #[error(
        "the connection broke while the server had the {method} {path}, which is not repeated \
         because it may have taken effect: {}",
        why_broken(&**.cause)
    )]
    Unanswered { method: Method, path: String, cause: Box<dyn std::error::Error + Send + Sync> },
    #[error("the server refused: {}", format!("{status} {body}").trim_end())]
    Refused {
        status: StatusCode,
        /// The reason that the server gave, on one line and without control characters.
        body: String,
        /// The `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// The server reported an error on an open connection.
    #[error("the server refused: {}", one_line(.0))]
    Rejected(String),
    #[error("the server sent an invalid response: {}", one_line(.0))]
    ProtocolError(String),
    #[error("the server closed the connection: {}", one_line(.0))]
    Closed(String),
}

impl ClientError {
    /// How long to wait before a retry, as the server requested, else zero; `None` if a retry
    /// cannot succeed.
    pub fn retry_delay(&self) -> Option<Duration> {
        match self {
            ClientError::Connect(_)
            | ClientError::Broken(_)
            | ClientError::Unanswered { .. }
            | ClientError::Closed(_) => Some(Duration::ZERO),
            ClientError::Refused { status, retry_after, .. } => {
                let may_pass = status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    );
                may_pass.then_some(retry_after.unwrap_or_default())
            }
            ClientError::Rejected(_) | ClientError::ProtocolError(_) => None,
        }
    }

    /// The error that reports a response with this status.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClientError {
        let body = match headers.get(LOCATION).filter(|_| status.is_redirection()) {
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                format!("to {}", one_line(&without_secrets(&location)))
            }
            None => reason(headers, body),
        };
        ClientError::Refused { status, body, retry_after: retry_after(headers) }
    }
}

/// Why a connection broke, on one line. hyper's message does not state a remedy.
fn why_broken(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let text = one_line(&cause.to_string());
    match cause.downcast_ref::<hyper::Error>() {
        // Other parts are invalid only in a response that is HTTP.
        Some(error) if error.is_parse() && text.contains("HTTP version") => {
            format!("the response is not HTTP ({text}); a server that uses TLS needs https://")
        }
        Some(error) if error.is_canceled() || error.is_incomplete_message() => format!(
            "it ended without a response ({text}): the server closed it, or sent something other \
             than HTTP"
        ),
        // hyper's message of a broken body does not contain the cause.
        Some(error) => match std::error::Error::source(error) {
            Some(source) => format!("{text}: {}", one_line(&source.to_string())),
            None => text,
        },
        None => text,
    }
}

/// The reason in the body of an error response, on one line: the `error` of a JSON object, the size
/// of an HTML page, or the beginning of other text.
fn reason(headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Reason {
        error: String,
    }
    if let Ok(Reason { error }) = serde_json::from_slice(body) {
        return one_line(&error);
    }
    let content_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
    let text = String::from_utf8_lossy(&body[..body.len().min(4 << 10)]);
    match content_type.contains("html") || text.trim_start().starts_with('<') {
        true => format!("(an HTML page of {} bytes)", body.len()),
        false => one_line(&text),
    }
}

/// The `Retry-After` of a response, if it is in seconds (RFC 9110, section 10.2.3), up to
/// [`RETRY_AFTER_MAX`].
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that does not fit exceeds the limit.
    let seconds = || text.parse().unwrap_or(u64::MAX);
    is_number.then(|| Duration::from_secs(seconds()).min(RETRY_AFTER_MAX))
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        ClientError::Broken(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_errors_are_retried() {
        let refused =
            |status, retry_after| ClientError::Refused { status, body: String::new(), retry_after };
        let wait = Some(Duration::from_secs(3));
        assert_eq!(refused(StatusCode::SERVICE_UNAVAILABLE, wait).retry_delay(), wait);
        let now = Some(Duration::ZERO);
        assert_eq!(refused(StatusCode::TOO_MANY_REQUESTS, None).retry_delay(), now);
        assert_eq!(refused(StatusCode::UNAUTHORIZED, None).retry_delay(), None);
        assert_eq!(ClientError::Closed(String::new()).retry_delay(), now);
        assert_eq!(ClientError::ProtocolError(String::new()).retry_delay(), None);
    }

    #[test]
    fn retry_after_is_limited() {
        let wait = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]))
        };
        assert_eq!(wait("3"), Some(Duration::from_secs(3)));
        for huge in ["9999999999999999999", "99999999999999999999"] {
            assert_eq!(wait(huge), Some(RETRY_AFTER_MAX));
        }
        for no_number in ["", "-1", "1.5", "+1", "Sun, 22 Nov 2026 21:00:02 GMT"] {
            assert_eq!(wait(no_number), None, "{no_number}");
        }
    }

    #[test]
    fn error_is_one_line_without_markup_or_terminal_escapes() {
        let headers = |name, value: &'static str| {
            HeaderMap::from_iter([(name, value.parse().expect("a value"))])
        };
        let text = |status, headers: &HeaderMap, body: &str| {
            ClientError::refused(status, headers, body.as_bytes()).to_string()
        };
        let html = headers(CONTENT_TYPE, "text/html");
        let page = text(StatusCode::NOT_FOUND, &html, "<!doctype html><title>404</title>");
        assert_eq!(page, "the server refused: 404 Not Found (an HTML page of 33 bytes)");
        let none = HeaderMap::new();
        let json = text(StatusCode::FORBIDDEN, &none, r#"{"error":"no\u001b[2J\nway"}"#);
        assert_eq!(json, "the server refused: 403 Forbidden no\\u{1b}[2J way");
        let moved = text(StatusCode::FOUND, &headers(LOCATION, "http://other/"), "<a>");
        assert_eq!(moved, "the server refused: 302 Found to http://other/");
    }
}
