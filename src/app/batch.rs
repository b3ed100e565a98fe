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
    known: Option<HeaderValue>,
    takes_gzip: bool,
}

/// Reads the terms from a request's headers.
pub fn conditions() -> impl Filter<Extract = (RequestConditions,), Error = Infallible> + Copy {
    warp::header::headers_cloned().map(|headers: HeaderMap| RequestConditions {
        known: headers.get(IF_NONE_MATCH).cloned(),
        takes_gzip: headers.get_all(ACCEPT_ENCODING).iter().any(names_gzip),
    })
}

/// Whether an `Accept-Encoding` names gzip and does not give it the weight 0.
fn names_gzip(codings: &HeaderValue) -> bool {
    let is_gzip = |coding: &str| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(|weight| weight.trim().parse::<f32>());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|weight| weight != Ok(0.0))
    };
    codings.to_str().is_ok_and(|codings| codings.split(',').any(is_gzip))
}

impl RequestConditions {
    /// Whether the client has the answer of this tag; weak and strong ones are compared alike.
    fn has(&self, tag: &str) -> bool {
        let Some(known) = self.known.as_ref().and_then(|known| known.to_str().ok()) else {
            return false;
        };
        let same = |given: &str| given.strip_prefix("W/").unwrap_or(given) == tag;
        known.split(',').map(str::trim).any(|given| given == "*" || same(given))
    }
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
        RequestConditions { known: Some(HeaderValue::from_static(known)), takes_gzip: false }
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
        let names = |text| names_gzip(&HeaderValue::from_static(text));
        for text in ["gzip", "deflate, GZIP", "br;q=1.0, gzip;q=0.8", "gzip; q=0.001"] {
            assert!(names(text), "{text}");
        }
        for text in ["", "br", "gzip;q=0", "gzip; q=0.000", "identity, x-gzip2"] {
            assert!(!names(text), "{text}");
        }
    }
}
