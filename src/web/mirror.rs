//! `GET /mirror`: returns the headers of the request as the server received them.
//!
//! Request headers are most of the bytes of a poll, and a script cannot read those that its browser
//! sends. Credentials are returned by their length only, so that a script on the page cannot read
//! them.

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{AUTHORIZATION, COOKIE, HeaderMap, PROXY_AUTHORIZATION};
use warp::reply::Response;

use crate::app::response::json_response;

/// One header.
#[derive(Debug, Serialize)]
struct HeaderLine<'a> {
    name: &'a str,
    /// `None` for credentials.
    value: Option<String>,
    /// Length of the value.
    bytes: usize,
}

pub(super) fn route() -> BoxedFilter<(Response,)> {
    warp::path!("mirror")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .map(|headers: HeaderMap| {
            let lines: Vec<HeaderLine<'_>> = headers
                .iter()
                .map(|(name, value)| {
                    let secret = [COOKIE, AUTHORIZATION, PROXY_AUTHORIZATION].contains(name);
                    let text = || String::from_utf8_lossy(value.as_bytes()).into_owned();
                    HeaderLine {
                        name: name.as_str(),
                        value: (!secret).then(text),
                        bytes: value.as_bytes().len(),
                    }
                })
                .collect();
            let json = serde_json::to_vec(&lines).expect("strings and numbers always encode");
            json_response(StatusCode::OK, json)
        })
        .boxed()
}
