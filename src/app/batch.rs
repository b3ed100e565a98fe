//! A batch as the answer to a poll: whole, or in fewer bytes if the request allows it. A client
//! that says which answer it has is spared an empty one (RFC 9110, section 13.1.2), and one that
//! takes gzip gets a large one compressed.

use std::convert::Infallible;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use warp::Filter;
use warp::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    VARY,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use super::App;
use super::metrics::TransportMetrics;
use super::respond::json_answer;
use crate::message::ReadResult;

/// On what terms a client takes an answer.
#[derive(Debug, Default)]
pub struct RequestConditions {
    /// The tags of answers that it has, as it sent them.
    known: Vec<HeaderValue>,
    takes_gzip: bool,
}

/// Reads the terms from a request's headers.
pub fn conditions() -> impl Filter<Extract = (RequestConditions,), Error = Infallible> + Copy {
    warp::header::headers_cloned().map(|headers: HeaderMap| RequestConditions {
        known: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
        takes_gzip: takes_gzip(&headers),
    })
}

/// Whether `Accept-Encoding` gives gzip, or what is not named, a weight above 0 (RFC 9110, section
/// 12.5.3). Without the header the response is not compressed.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any_other) = (None, None);
    let texts = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|text| text.to_str().ok());
    for coding in texts.flat_map(|text| text.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().split_once('=').filter(|(key, _)| key.trim() == "q");
        let weight = weight.map_or(Some(1.0), |(_, value)| value.trim().parse::<f32>().ok());
        let is_taken = weight.is_some_and(|weight| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(is_taken),
            "*" => any_other = Some(is_taken),
            _ => {}
        }
    }
    gzip.or(any_other).unwrap_or(false)
}

impl RequestConditions {
    /// Whether the client has the answer of this tag.
    fn has(&self, tag: &str) -> bool {
        is_known(self.known.iter(), tag)
    }
}

/// Whether the values of `If-None-Match` name `tag`, in a list or by `*`. Weak and strong tags are
/// compared alike (RFC 9110, sections 8.8.3.2 and 13.1.2).
pub fn is_known<'a>(mut known: impl Iterator<Item = &'a HeaderValue>, tag: &str) -> bool {
    let strong = |tag: &'_ str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let tag = strong(tag);
    known.any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|given| given == "*" || strong(given) == tag)
    })
}

/// The answer to a poll, counted.
pub fn answer(
    app: &App,
    metrics: &TransportMetrics,
    conditions: &RequestConditions,
    slice: &ReadResult,
) -> Response {
    let tag = tag(slice);
    if conditions.has(&tag) {
        metrics.empty_answers.inc();
        return not_modified(&tag);
    }
    if slice.messages.is_empty() {
        metrics.empty_answers.inc();
    }
    metrics.deliveries.inc_by(slice.messages.len() as u64);
    let body = slice.encode_batch();
    if body.len() < app.config.gzip_min_bytes {
        return tagged(json_answer(StatusCode::OK, body), &tag);
    }
    let mut response = match conditions.takes_gzip {
        // Weak, since the same answer also goes out in other bytes.
        true => tagged(compressed(&body), &format!("W/{tag}")),
        false => tagged(json_answer(StatusCode::OK, body), &tag),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// Says how far the answer reads and what is missing in it, which with the question's cursor is all
/// that tells two answers apart.
fn tag(slice: &ReadResult) -> String {
    let loss = match (slice.gap, slice.reset) {
        (0, false) => String::new(),
        (gap, false) => format!(":gap{gap}"),
        (_, true) => ":reset".to_owned(),
    };
    format!("\"{}:{}{loss}\"", slice.cursor.epoch, slice.cursor.offset)
}

fn tagged(mut response: Response, tag: &str) -> Response {
    let tag = HeaderValue::try_from(tag).expect("digits and letters in quotes are a valid header");
    response.headers_mut().insert(ETAG, tag);
    response
}

fn not_modified(tag: &str) -> Response {
    let mut response = HttpResponse::new(Default::default());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tagged(response, tag)
}

fn compressed(body: &Bytes) -> Response {
    // The fastest level: text of JSON shrinks to a third by it, and little more by any other.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body).expect("a Vec takes all bytes");
    let packed = encoder.finish().expect("a Vec takes all bytes");
    let mut response = json_answer(StatusCode::OK, packed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Cursor, Epoch};

    fn conditions(known: &'static str) -> RequestConditions {
        RequestConditions { known: vec![HeaderValue::from_static(known)], takes_gzip: false }
    }

    #[test]
    fn a_tag_is_found_among_others() {
        let tag = "\"000000ab:7\"";
        for known in ["\"000000ab:7\"", "W/\"000000ab:7\"", "\"x\", \"000000ab:7\"", "*"] {
            assert!(conditions(known).has(tag), "{known}");
        }
        for known in ["\"000000ab:70\"", "000000ab:7", "\"000000AB:7\"", "", "\"000000ab:7:gap1\""]
        {
            assert!(!conditions(known).has(tag), "{known}");
        }
        assert!(!RequestConditions::default().has(tag));
    }

    #[test]
    fn a_tag_tells_what_an_answer_lacks() {
        let cursor = Cursor { epoch: Epoch(0xab), offset: 7 };
        let of = |gap, reset| tag(&ReadResult { gap, reset, ..ReadResult::nothing_yet(cursor) });
        assert_eq!(of(0, false), "\"000000ab:7\"");
        assert_eq!(of(3, false), "\"000000ab:7:gap3\"");
        assert_eq!(of(0, true), "\"000000ab:7:reset\"");
    }

    #[test]
    fn gzip_is_taken_if_it_is_named_with_a_weight() {
        let takes = |text| {
            let headers = [(ACCEPT_ENCODING, HeaderValue::from_static(text))];
            takes_gzip(&HeaderMap::from_iter(headers))
        };
        for text in
            ["gzip", "x-gzip", "*", "deflate, GZIP", "br;q=1.0, gzip;q=0.8", "gzip; q=0.001"]
        {
            assert!(takes(text), "{text}");
        }
        for text in ["", "br", "gzip;q=0", "gzip; q=0.000", "identity, x-gzip2", "*, gzip;q=0"] {
            assert!(!takes(text), "{text}");
        }
    }
}
