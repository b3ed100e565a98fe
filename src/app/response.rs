//! Responses: JSON, and errors as JSON with the right status.

use bytes::Bytes;
use serde_json::json;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::feed::TopicError;
#[cfg(feature = "nats")]
use crate::feed::store::NatsError;
use crate::feed::store::StoreError;
use crate::message::BadInput;

/// An error response: `{"error": "..."}`. The message states what is wrong and what would be valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into() }
    }

    /// `who` has `count` of `what`, and `flag` allows no more.
    pub fn at_limit(
        status: StatusCode,
        who: &str,
        count: usize,
        what: &str,
        flag: &str,
    ) -> ApiError {
        ApiError::new(status, format!("{who} has {count} {what}, which is its limit ({flag})"))
    }
}

impl From<BadInput> for ApiError {
    fn from(error: BadInput) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::TooMany { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            TopicError::ShareUsed { .. } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            TopicError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
            #[cfg(feature = "nats")]
            StoreError::Nats(NatsError::Full { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError::new(status, error.to_string())
    }
}

/// A JSON response that caches must not store.
pub fn json_response<B: From<Bytes>>(
    status: StatusCode,
    body: impl Into<Bytes>,
) -> HttpResponse<B> {
    let mut response = HttpResponse::new(B::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl ApiError {
    /// The response, with any type of body.
    pub fn into_response<B: From<Bytes>>(self) -> HttpResponse<B> {
        let body = json!({ "error": self.message }).to_string();
        let mut response = json_response(self.status, body);
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Response {
        error.into_response()
    }
}

/// Whether the values of `If-None-Match` name `tag`, in a list or by `*`. Weak and strong tags are
/// compared alike (RFC 9110, sections 8.8.3.2 and 13.1.2).
pub fn etag_matches<'a>(mut known: impl Iterator<Item = &'a HeaderValue>, tag: &str) -> bool {
    let opaque = |tag: &'a str| tag.strip_prefix("W/").unwrap_or(tag);
    known.any(|value| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|given| given == "*" || opaque(given) == tag.strip_prefix("W/").unwrap_or(tag))
    })
}

/// The response, or the error as a response.
pub fn to_response(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(Response::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_is_found_among_others() {
        let tag = "\"000000ab:7\"";
        let matches =
            |known: &'static str| etag_matches([&HeaderValue::from_static(known)].into_iter(), tag);
        for known in ["\"000000ab:7\"", "W/\"000000ab:7\"", "\"x\", \"000000ab:7\"", "*"] {
            assert!(matches(known), "{known}");
        }
        for known in ["\"000000ab:70\"", "000000ab:7", "\"000000AB:7\"", "", "\"000000ab:7:gap1\""]
        {
            assert!(!matches(known), "{known}");
        }
    }
}
