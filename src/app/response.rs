//! Responses: JSON, and errors as JSON with the right status.

use bytes::Bytes;
use serde_json::json;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::feed::TopicError;
#[cfg(feature = "nats")]
use crate::feed::store::NatsError;
use crate::feed::store::StoreError;
use crate::header_list::elements_of;
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

/// The preconditions of a request, on the entity tag of the response (RFC 9110, section 13.1).
#[derive(Debug, Default)]
pub struct Preconditions {
    if_match: Vec<HeaderValue>,
    if_none_match: Vec<HeaderValue>,
}

impl Preconditions {
    pub fn of(headers: &HeaderMap) -> Preconditions {
        let all = |name| headers.get_all(name).iter().cloned().collect();
        Preconditions { if_match: all(IF_MATCH), if_none_match: all(IF_NONE_MATCH) }
    }

    /// True if the client has the response with this strong tag, which is then answered with 304.
    /// `If-None-Match` compares weak and strong tags alike (section 13.1.2).
    ///
    /// # Errors
    /// If `If-Match` names other tags. It compares strong tags only (section 13.1.1).
    pub fn client_has(&self, tag: &str) -> Result<bool, ApiError> {
        if !self.if_match.is_empty() && !names(&self.if_match, |given| given == tag.as_bytes()) {
            let text = format!("If-Match: the entity tag is {tag}");
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, text));
        }
        let opaque = |given: &[u8]| given.strip_prefix(b"W/").unwrap_or(given) == tag.as_bytes();
        Ok(names(&self.if_none_match, opaque))
    }
}

/// Whether one of the values is `*`, or is a list with such a tag. Tags are bytes: they may contain
/// others than those of ASCII (section 8.8.3).
fn names(values: &[HeaderValue], is_it: impl Fn(&[u8]) -> bool) -> bool {
    values.iter().flat_map(elements_of).any(|given| given == b"*" || is_it(given))
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
        let client_has = |name, value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a valid header");
            let headers = HeaderMap::from_iter([(name, value)]);
            Preconditions::of(&headers).client_has("\"000000ab:7\"")
        };
        let matches = |known| client_has(IF_NONE_MATCH, known) == Ok(true);
        for known in [
            "\"000000ab:7\"",
            "\"é\", \"000000ab:7\"",
            "W/\"000000ab:7\"",
            "\"x\", \"000000ab:7\"",
            "*",
        ] {
            let is_strong = !known.starts_with("W/");
            assert_eq!(client_has(IF_MATCH, known).is_ok(), is_strong, "{known}");
            assert!(matches(known), "{known}");
        }
        for known in [
            "\"000000ab:70\"",
            "000000ab:7",
            "\"000000AB:7\"",
            "",
            "\"000000ab:7:gap1\"",
            "\"a,*,b\"",
        ] {
            assert!(!matches(known), "{known}");
            assert!(client_has(IF_MATCH, known).is_err(), "{known}");
        }
    }
}
