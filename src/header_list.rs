//! Headers whose value is a comma-separated list (RFC 9110, section 5.6.1).

use hyper::header::{HeaderMap, HeaderName};

/// True if the header `name`, which may be repeated, contains `token`; case-insensitive.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}
