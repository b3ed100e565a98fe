//! The routes: transports, publishing, metrics and health.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Buf;
use futures_util::Stream;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::auth::NO_SUCH_ROUTE;
use crate::app::metrics::Refusal;
use crate::app::request_body::read_body;
use crate::app::response::{json_response, to_response};
use crate::app::{ApiError, App, Client, SERVER_NAME, metrics};
use crate::transport::{long_polling, ndjson, short_polling, sse, websocket};
use crate::web;

/// All routes.
pub(super) fn all(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static + use<>
{
    let rejecting = app.clone();
    publish(app)
        .or(short_polling::route(app))
        .unify()
        .or(long_polling::route(app))
        .unify()
        .or(websocket::route(app))
        .unify()
        .or(websocket::echo_route(app))
        .unify()
        .or(sse::route(app))
        .unify()
        .or(ndjson::route(app))
        .unify()
        .or(metrics(app))
        .unify()
        .or(healthz())
        .unify()
        .or(web::route(app.config.reports.clone()))
        .unify()
        .recover(move |rejection| {
            let refusal = refuse(&rejecting, &rejection);
            async move { Ok::<_, Infallible>(refusal.into()) }
        })
        .unify()
}

/// `POST /topics/{topic}/messages {"sender","text"}` -> `201 {"epoch","offset"}`, once stored.
fn publish(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let body_limit = app.config.max_message_bytes_encoded() as u64;
    let app = app.clone();
    warp::path!("topics" / String / "messages")
        .and(warp::post())
        .and(warp::body::content_length_limit(body_limit))
        .and(warp::body::stream())
        .and(warp::ext::get::<Client>())
        .then(move |topic: String, body, client: Client| {
            let app = app.clone();
            async move { to_response(store(&app, &client, &topic, body).await) }
        })
        .boxed()
}

async fn store<B: Buf>(
    app: &App,
    client: &Client,
    topic: &str,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, ApiError> {
    let topic = app.topic_name(topic)?;
    client.authorize_publish(app, &topic)?;
    let body = read_body(app, client.account(), body).await?;
    let stored = app.publish_for(Some(client), &topic, &body.bytes).await?;
    let json = serde_json::to_vec(&stored).expect("an epoch and a number always encode");
    Ok(json_response(StatusCode::CREATED, json))
}

/// `GET /metrics`: the counters in the format of Prometheus.
fn metrics(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("metrics")
        .and(warp::get())
        .map(move || {
            app.metrics.topics.set(app.feed.topic_count() as i64);
            let mut response = Response::new(app.metrics.encode().into());
            let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        })
        .boxed()
}

/// `GET /healthz`: that the server is up, with its name and version.
fn healthz() -> BoxedFilter<(Response,)> {
    let body = format!(r#"{{"status":"ok","server":"{SERVER_NAME}"}}"#);
    warp::path!("healthz")
        .and(warp::get())
        .map(move || json_response(StatusCode::OK, body.clone()))
        .boxed()
}

/// The response to a request that no filter accepted.
fn refuse(app: &App, rejection: &Rejection) -> ApiError {
    use warp::reject::{LengthRequired, PayloadTooLarge};
    let (status, text) = if rejection.find::<PayloadTooLarge>().is_some() {
        app.metrics.refused(Refusal::MessageBytes);
        (StatusCode::PAYLOAD_TOO_LARGE, "the body exceeds --max-message-bytes")
    } else if rejection.find::<LengthRequired>().is_some() {
        (StatusCode::LENGTH_REQUIRED, "the request must have a Content-Length")
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, NO_SUCH_ROUTE)
    } else {
        (StatusCode::BAD_REQUEST, "the request is malformed")
    };
    ApiError::new(status, text)
}
