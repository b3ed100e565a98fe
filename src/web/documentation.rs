//! `GET /docs/{page}`: the pages of the documentation that a report links to. They are part of the
//! program, so that the links of a report work wherever the server finds it.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::Response as HttpResponse;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use warp::reply::Response;

macro_rules! pages {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../docs/", $name)))),*]
    };
}

const PAGES: [(&str, &str); 4] = pages!["methodology.md" "bias.md" "operations.md" "advice.md"];

pub(super) fn route() -> BoxedFilter<(Response,)> {
    warp::path!("docs" / String)
        .and(warp::get())
        .and_then(|name: String| async move { page(&name).ok_or_else(warp::reject::not_found) })
        .boxed()
}

/// A page as plain text; `None` if there is none of that name.
pub(super) fn page(name: &str) -> Option<Response> {
    let (_, text) = PAGES.iter().find(|(known, _)| *known == name)?;
    let mut response = HttpResponse::new((*text).into());
    let headers = response.headers_mut();
    // With the media type of Markdown a browser would download the page instead of showing it.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}
