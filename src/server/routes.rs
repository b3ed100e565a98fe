//! The routes: every transport, publishing, and what operators ask for.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::respond::{answer, json_answer};
use super::{ApiError, App, SERVER_NAME, metrics};
use crate::message::{Draft, Stored, TopicName};
use crate::transport::{long_polling, short_polling, sse, websocket};

/// Everything the server answers.
pub(super) fn all(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static + use<>
{
    publish(app)
        .or(short_polling::route(app))
        .unify()
        .or(long_polling::route(app))
        .unify()
        .or(websocket::route(app))
        .unify()
        .or(sse::route(app))
        .unify()
        .or(metrics(app))
        .unify()
        .or(healthz())
        .unify()
        .recover(|rejection| async move { Ok::<_, Infallible>(refuse(&rejection).into()) })
        .unify()
}

/// `POST /topics/{topic}/messages {"sender","text"}` -> `201 {"epoch","offset"}`, once it is stored.
fn publish(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let body_limit = app.config.max_message_bytes_encoded() as u64;
    let app = app.clone();
    warp::path!("topics" / String / "messages")
        .and(warp::post())
        .and(warp::body::content_length_limit(body_limit))
        .and(warp::body::bytes())
        .then(move |topic: String, body: Bytes| {
            let app = app.clone();
            async move { answer(store(&app, &topic, &body).await) }
        })
        .boxed()
}

async fn store(app: &App, topic: &str, body: &[u8]) -> Result<Response, ApiError> {
    let topic = topic.parse::<TopicName>()?;
    let stored = app.publish(&topic, body).await?;
    let json = serde_json::to_vec(&stored).expect("an epoch and a number always encode");
    Ok(json_answer(StatusCode::CREATED, json))
}

impl App {
    /// Stores a message that came as JSON, by whatever way it came.
    ///
    /// # Errors
    /// If the JSON is not a draft, the text too large, the topic one too many, or the store fails.
    pub async fn publish(&self, topic: &TopicName, json: &[u8]) -> Result<Stored, ApiError> {
        let draft: Draft = serde_json::from_slice(json).map_err(|error| {
            let wanted = r#"the body must be {"sender": "...", "text": "..."}"#;
            ApiError::new(StatusCode::BAD_REQUEST, format!("{wanted}: {error}"))
        })?;
        let size = draft.sender.len() + draft.text.len();
        if size > self.config.max_message_bytes {
            let limit = self.config.max_message_bytes;
            let text = format!("sender and text have {size} bytes together; the limit is {limit}");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let cursor = self.feed.topic(topic)?.publish(draft).await?;
        self.metrics.published.inc();
        Ok(Stored { epoch: cursor.epoch, offset: cursor.offset })
    }
}

/// `GET /metrics`: the counters, for Prometheus.
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

/// `GET /healthz`: that the server is up, and which it is.
fn healthz() -> BoxedFilter<(Response,)> {
    let body = format!(r#"{{"status":"ok","server":"{SERVER_NAME}"}}"#);
    warp::path!("healthz")
        .and(warp::get())
        .map(move || json_answer(StatusCode::OK, body.clone()))
        .boxed()
}

/// What no route took.
fn refuse(rejection: &Rejection) -> ApiError {
    use warp::reject::{LengthRequired, MethodNotAllowed, PayloadTooLarge};
    let (status, text) = if rejection.find::<PayloadTooLarge>().is_some() {
        (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than any message may be")
    } else if rejection.find::<LengthRequired>().is_some() {
        (StatusCode::LENGTH_REQUIRED, "send the body with a Content-Length")
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "no such route; topics are at /topics/{topic}/...")
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "this route wants another method")
    } else {
        (StatusCode::BAD_REQUEST, "the request cannot be understood")
    };
    ApiError::new(status, text)
}
