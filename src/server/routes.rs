//! The routes: transports, publishing, metrics and health.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Buf;
use futures_util::Stream;
use futures_util::future::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::auth::NO_SUCH_ROUTE;
use super::repetitions::PARAMETER_TWICE;
use super::route_table::Handler;
use crate::app::request_body::{BodyLimit, read_body};
use crate::app::response::{json_response, to_response};
use crate::app::{ApiError, App, Client, SERVER_NAME, metrics};
use crate::transport::{long_polling, ndjson, short_polling, socketio, sse, websocket};
use crate::web;

/// Responds to requests with the filter of the route. Filters that are joined by `or` would be
/// tried one after the other.
pub(super) struct Routes<F, S> {
    filters: [F; Handler::FILTERS.len()],
    socketio: S,
}

/// All routes.
pub(super) fn all(
    app: &Arc<App>,
) -> Routes<
    impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<>,
    impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<>,
> {
    let filters = Handler::FILTERS.map(|handler| {
        let filter = filter(app, handler).recover(|rejection| {
            let refusal = refuse(&rejection);
            async move { Ok::<_, Infallible>(refusal.into()) }
        });
        TowerToHyperService::new(warp::service(filter.unify()))
    });
    Routes { filters, socketio: socketio::service(app) }
}

fn filter(app: &Arc<App>, handler: Handler) -> BoxedFilter<(Response,)> {
    match handler {
        Handler::Publish => publish(app),
        Handler::ShortPolling => short_polling::route(app),
        Handler::LongPolling => long_polling::route(app),
        Handler::WebSocket => websocket::route(app),
        Handler::Sse => sse::route(app),
        Handler::Ndjson => ndjson::route(app),
        Handler::Echo => websocket::echo_route(app),
        Handler::Metrics => metrics(app),
        Handler::Health => healthz(),
        Handler::Web => web::route(app.config.reports.clone()),
        Handler::Class => web::class::route(app),
        Handler::Demo => web::demo::route(app),
        Handler::SocketIo => unreachable!("it is not among the filters"),
    }
}

impl<F, S> Service<(Request<Incoming>, Handler)> for Routes<F, S>
where
    F: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<F::Future, S::Future>;

    fn call(&self, (mut request, handler): (Request<Incoming>, Handler)) -> Self::Future {
        if handler == Handler::LongPolling {
            detach(&mut request);
        }
        match handler {
            Handler::SocketIo => Either::Right(self.socketio.call(request)),
            handler => Either::Left(self.filters[handler as usize].call(request)),
        }
    }
}

/// Copies the parts that refer to the read buffer. warp keeps a request until it is answered, so a
/// long poll would keep a buffer of 8 kB for headers of a few hundred bytes.
fn detach(request: &mut Request<Incoming>) {
    for value in request.headers_mut().values_mut() {
        *value = HeaderValue::from_bytes(value.as_bytes()).expect("it was a valid value");
    }
    let uri = request.uri().to_string();
    *request.uri_mut() = uri.try_into().expect("it was a valid URI");
}

/// `POST /topics/{topic}/messages {"sender","text"}` -> `201 {"epoch","offset"}`, once stored.
fn publish(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("topics" / String / "messages")
        .and(warp::post())
        .and(warp::header::optional(CONTENT_LENGTH.as_str()))
        .and(warp::body::stream())
        .and(warp::ext::get::<Client>())
        .then(move |topic: String, announced, body, client: Client| {
            let app = app.clone();
            async move { to_response(store(&app, &client, &topic, announced, body).await) }
        })
        .boxed()
}

async fn store<B: Buf>(
    app: &App,
    client: &Client,
    topic: &str,
    announced: Option<usize>,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, ApiError> {
    let limit = BodyLimit::of_message(app);
    limit.check(app, announced)?;
    let topic = app.topic_name(topic)?;
    client.authorize_publish(app, &topic)?;
    let body = read_body(app, client.account(), limit, body).await?;
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

/// `GET /healthz`: name and version of a running server.
fn healthz() -> BoxedFilter<(Response,)> {
    let body = format!(r#"{{"status":"ok","server":"{SERVER_NAME}"}}"#);
    warp::path!("healthz")
        .and(warp::get())
        .map(move || json_response(StatusCode::OK, body.clone()))
        .boxed()
}

/// The response to a request that no filter accepted.
fn refuse(rejection: &Rejection) -> ApiError {
    let (status, text) = if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        // Query values are parsed as text and checked later, so no other rejection is possible.
        (StatusCode::BAD_REQUEST, PARAMETER_TWICE)
    } else if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, NO_SUCH_ROUTE)
    } else {
        (StatusCode::BAD_REQUEST, "the request is malformed")
    };
    ApiError::new(status, text)
}
