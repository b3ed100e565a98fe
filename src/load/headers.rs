//! Profiles of request headers. Published byte ratios depend on them: a browser with cookies sends
//! ten times as many header bytes as a minimal client.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::scenario::Headers;

/// The headers of a same-origin `fetch` in Chromium, with a session cookie and two cookies of an
/// analytics script: 562 bytes on the wire.
const BROWSER: [(&str, &str); 12] = [
    ("connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36",
    ),
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("sec-ch-ua-mobile", "?0"),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "http://127.0.0.1:3030/"),
    ("accept-language", "en-GB,en;q=0.9"),
    (
        "cookie",
        "session=eyJ1c2VyIjoxMDI0LCJ0aWNrZXQiOiJjNWU0ZjFhNy0yYjhkIn0.aHR0cHM; \
         _ga=GA1.1.1403258201.1763800000; _ga_B7K2=GS2.1.s1763800000$o1$g1$t1763800420$j60$l0$h0",
    ),
];

/// The headers of a profile, without `host`.
pub fn profile(headers: Headers) -> HeaderMap {
    let fields: &[(&'static str, &'static str)] = match headers {
        Headers::Minimal => &[],
        Headers::Browser => &BROWSER,
    };
    let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_profile_has_the_documented_size() {
        let size =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let bytes: usize = profile(Headers::Browser).iter().map(size).sum();
        assert_eq!(bytes, 562);
        assert!(profile(Headers::Minimal).is_empty());
    }
}
