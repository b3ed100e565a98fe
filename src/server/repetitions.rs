//! Header fields and query parameters that a request may give once. The server would read one of
//! several and ignore the others, and a proxy in front of it perhaps another one.

use hyper::Request;
use warp::http::header::{AUTHORIZATION, HeaderName, ORIGIN};

const HEADERS: [HeaderName; 4] = [
    AUTHORIZATION,
    ORIGIN,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("sec-fetch-site"),
];
/// Those of all routes and of Socket.IO. Routes with a query of their own check theirs.
const PARAMETERS: [&str; 4] = ["token", "EIO", "transport", "sid"];

pub(super) const PARAMETER_TWICE: &str = "the query contains a parameter twice; give each once";

/// Rejects a request that gives one of them twice.
///
/// # Errors
/// Returns the reason.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), String> {
    if let Some(name) =
        HEADERS.iter().find(|name| request.headers().get_all(*name).iter().nth(1).is_some())
    {
        return Err(format!("the request contains the header {name} twice; give it once"));
    }
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let mut is_given = [false; PARAMETERS.len()];
    for (name, _) in form_urlencoded::parse(query) {
        if let Some(index) = PARAMETERS.iter().position(|it| *it == name)
            && std::mem::replace(&mut is_given[index], true)
        {
            return Err(PARAMETER_TWICE.to_owned());
        }
    }
    Ok(())
}
