//! Responses to polls, for both kinds of polling: the route, and the batch as JSON, sent in fewer
//! bytes if the request allows it. A client that names the response it has gets 304 instead of an
//! empty batch (RFC 9110, section 13.1.2); one that accepts gzip gets a large batch compressed.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, RETRY_AFTER,
    VARY,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::metrics::Refusal;
use crate::app::response::{Preconditions, json_response, to_response};
use crate::app::{ApiError, App, SubscribeRequest, Subscription};
use crate::feed::SharedRead;
use crate::feed::store::StoreError;
use crate::message::ReadResult;
use crate::variant::Transport;

/// The route `GET /topics/{topic}/{name}`, which responds with what `read` returns.
pub(super) fn route<F>(
    app: &Arc<App>,
    transport: Transport,
    name: &'static str,
    read: impl Fn(Arc<Subscription>) -> F + Clone + Send + Sync + 'static,
) -> BoxedFilter<(Response,)>
where
    F: Future<Output = Result<SharedRead, StoreError>> + Send,
{
    let app = app.clone();
    SubscribeRequest::filter(name)
        .and(conditions())
        .then(move |request, conditions| {
            app.metrics.of(transport).requests.inc();
            // The `SubscribeRequest` is dropped before the poll waits, to save memory.
            let subscription = Subscription::new(&app, transport, request).map(Arc::new);
            let (app, read) = (app.clone(), read.clone());
            async move {
                let respond = async {
                    let subscription = subscription?;
                    let result = read(subscription.clone()).await?;
                    respond(&app, &subscription, &conditions, &result)
                };
                to_response(respond.await)
            }
        })
        .boxed()
}

/// Responds to a poll and counts it.
fn respond(
    app: &App,
    subscription: &Subscription,
    conditions: &RequestConditions,
    result: &SharedRead,
) -> Result<Response, ApiError> {
    subscription.check_token().map_err(|end| {
        app.metrics.refused(Refusal::Token);
        end.into_api_error()
    })?;
    let mut response = batch_response(app, subscription, conditions, result)?;
    let delay = app.drain_end().reconnect_delay().filter(|_| app.drain.is_cancelled());
    if let Some(delay) = delay {
        // Whole seconds (RFC 9110, section 10.2.3).
        let seconds = HeaderValue::from(delay.as_secs_f64().round().max(1.0) as u64);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    Ok(response)
}

/// The request headers of a poll that affect its response.
#[derive(Debug, Default)]
struct RequestConditions {
    preconditions: Preconditions,
    prefers_gzip: bool,
}

fn conditions() -> impl Filter<Extract = (RequestConditions,), Error = Infallible> + Copy {
    warp::header::headers_cloned().map(|headers: HeaderMap| RequestConditions {
        preconditions: Preconditions::of(&headers),
        prefers_gzip: prefers_gzip(&headers),
    })
}

/// Whether `Accept-Encoding` gives gzip a weight above 0, and not below that of the plain response,
/// if it names that (RFC 9110, section 12.5.3). `*` stands for codings that are not named. Without
/// the header the response is not compressed.
fn prefers_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any_other) = (None, None, None);
    let texts = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|text| text.to_str().ok());
    for coding in texts.flat_map(|text| text.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        // The name of the weight is case-insensitive, and other parameters may come before it.
        let mut parameters = parameters.split(';').filter_map(|it| it.split_once('='));
        let weight = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case("q"));
        let weight = weight.map_or(Some(1.0), |(_, value)| value.trim().parse::<f32>().ok());
        let weight = weight.filter(|weight| *weight > 0.0).unwrap_or(0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "identity" => identity = Some(weight),
            "*" => any_other = Some(weight),
            _ => {}
        }
    }
    let [gzip, identity] = [gzip, identity].map(|weight| weight.or(any_other).unwrap_or(0.0));
    gzip > 0.0 && gzip >= identity
}

fn batch_response(
    app: &App,
    subscription: &Subscription,
    conditions: &RequestConditions,
    result: &SharedRead,
) -> Result<Response, ApiError> {
    let metrics = subscription.metrics();
    let tag = tag(result);
    if conditions.preconditions.client_has(&tag)? {
        metrics.empty_answers.inc();
        return Ok(not_modified(&tag));
    }
    if result.messages.is_empty() {
        metrics.empty_answers.inc();
    }
    metrics.deliveries.inc_by(result.messages.len() as u64);
    // Both kinds of polling share the encoding.
    let body = result.encoded(Transport::ShortPolling, ReadResult::encode_batch);
    if body.len() < app.config.gzip_min_bytes {
        return Ok(tagged(json_response(StatusCode::OK, body), &tag));
    }
    let mut response = match conditions.prefers_gzip {
        // Weak, because the same batch has another representation.
        true => tagged(compressed(&body), &format!("W/{tag}")),
        false => tagged(json_response(StatusCode::OK, body), &tag),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// The entity tag of a batch: its cursor, and its gap or reset. For one request URL these identify
/// the batch.
fn tag(result: &ReadResult) -> String {
    let loss = match (result.gap, result.reset) {
        (0, false) => String::new(),
        (gap, false) => format!(":gap{gap}"),
        (_, true) => ":reset".to_owned(),
    };
    format!("\"{}:{}{loss}\"", result.cursor.epoch, result.cursor.offset)
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
    // The fastest level: it shrinks JSON text to a third, and higher levels gain little.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body).expect("a Vec takes all bytes");
    let compressed = encoder.finish().expect("a Vec takes all bytes");
    let mut response = json_response(StatusCode::OK, compressed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Cursor, Epoch};

    #[test]
    fn tag_contains_gap_and_reset() {
        let cursor = Cursor { epoch: Epoch(0xab), offset: 7 };
        let of = |gap, reset| tag(&ReadResult { cursor, messages: Vec::new(), gap, reset });
        assert_eq!(of(0, false), "\"000000ab:7\"");
        assert_eq!(of(3, false), "\"000000ab:7:gap3\"");
        assert_eq!(of(0, true), "\"000000ab:7:reset\"");
    }

    #[test]
    fn gzip_is_preferred_if_its_weight_is_neither_zero_nor_below_that_of_identity() {
        let prefers = |text| {
            let headers = [(ACCEPT_ENCODING, HeaderValue::from_static(text))];
            prefers_gzip(&HeaderMap::from_iter(headers))
        };
        for text in ["identity;q=0.5, gzip;q=0.5", "gzip, *;q=0", "identity;q=0, *", "gzip;q=0.1"] {
            assert!(prefers(text), "{text}");
        }
        for text in [
            "identity;q=1, gzip;q=0.1",
            "gzip;q=0.5, IDENTITY",
            "identity, *;q=0.9",
            "gzip;q=0.5, *",
            "identity;q=0, gzip;q=0",
        ] {
            assert!(!prefers(text), "{text}");
        }
        for text in
            ["gzip", "x-gzip", "*", "deflate, GZIP", "br;q=1.0, gzip;Q=0.8", "gzip; q=0.001"]
        {
            assert!(prefers(text), "{text}");
        }
        for text in ["", "br", "gzip;q=0", "gzip; q=0.000", "identity, x-gzip2", "*, gzip;q=0"] {
            assert!(!prefers(text), "{text}");
        }
        for text in ["gzip;Q=0", "gzip ; level=1 ; q = 0", "gzip;q=x", "gzip;q=NaN", "gzip;q=-1"] {
            assert!(!prefers(text), "{text}");
        }
    }
}
