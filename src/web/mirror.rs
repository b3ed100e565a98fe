//! `GET /mirror`: the head of the request, as the server received it.
//!
//! A browser does not tell a script which headers it sends, and they are most of what a poll costs.
//! So the page asks once and is shown them. Credentials are shown by their length only: whoever
//! can run a script on the page must not learn more from the mirror than from the page.

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{AUTHORIZATION, COOKIE, HeaderMap, PROXY_AUTHORIZATION};
use warp::reply::Response;

use crate::app::response::json_response;

/// One line of the head.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// Absent if it is a secret.
    value: Option<String>,
    /// Length of the value.
    bytes: usize,
}

pub(super) fn route() -> BoxedFilter<(Response,)> {
    warp::path!("mirror")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .map(|headers: HeaderMap| {
            let lines: Vec<Line<'_>> = headers
                .iter()
                .map(|(name, value)| {
                    let secret = [COOKIE, AUTHORIZATION, PROXY_AUTHORIZATION].contains(name);
                    let text = || String::from_utf8_lossy(value.as_bytes()).into_owned();
                    Line {
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
