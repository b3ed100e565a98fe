//! Headers whose value is a comma-separated list (RFC 9110, section 5.6.1).

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// True if the header `name`, which may be repeated, contains `token`; case-insensitive.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The elements of the header `name`, without empty ones, which a recipient ignores.
pub fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().flat_map(elements_of)
}

/// The elements of one line of a list. A quoted string, or an entity tag, may contain commas.
pub fn elements_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let parts = line.as_bytes().split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// False if the header `name` is present and is not a list of at least one element that matches.
pub fn is_absent_or_list_of(
    headers: &HeaderMap,
    name: &HeaderName,
    matches: impl Fn(&[u8]) -> bool,
) -> bool {
    let mut elements = elements(headers, name).peekable();
    !headers.contains_key(name) || elements.peek().is_some() && elements.all(matches)
}

/// A token (RFC 9110, section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// A name with parameters, whose values are tokens, quoted or not: `name; key; key=value`.
pub fn has_token_parameters(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let is_parameter = |part: &[u8]| match part.iter().position(|byte| *byte == b'=') {
        None => is_token(part),
        Some(at) => {
            let value = &part[at + 1..];
            let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            is_token(&part[..at]) && is_token(unquoted.unwrap_or(value))
        }
    };
    parts.next().is_some_and(is_token) && parts.all(is_parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parameters_are_recognised() {
        for (text, expected) in [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("x;a=1; b=\"2\"", true),
            ("", false),
            (";", false),
            ("x;", false),
            ("x; a b", false),
            ("x; a=", false),
            ("x; =1", false),
            ("x; a=\"1", false),
            ("x y", false),
        ] {
            assert_eq!(has_token_parameters(text.as_bytes()), expected, "{text}");
        }
    }
}
