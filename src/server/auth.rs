//! What every request passes before any route: where its page comes from (Origin), who sends it
//! (token), and what its connection is doing now. One place for all transports, so that none can
//! forget it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, VARY,
    WWW_AUTHENTICATE,
};

use super::timeout_stream::Phase;
use crate::app::metrics::Refusal;
use crate::app::token::{Claims, NO_TOKEN, Right, TokenKey};
use crate::app::{ApiError, App, Client};
use crate::transport::socketio::is_socket_io;

/// The WebSocket subprotocol that a browser names beside the one that carries its token.
const SUBPROTOCOL: &str = "poll-vs-push";
/// What the subprotocol that carries a token begins with: a page's script can set no header.
const TOKEN_SUBPROTOCOL: &str = "token.";
/// What a page of another origin may send beyond what every page may: a token, JSON, and the place
/// it has read to, as a cursor or as what it has of a conditional poll.
const ALLOWED_HEADERS: &str = "authorization, content-type, if-none-match, last-event-id";
/// What such a page may read: what its next conditional poll names, and when to come back.
const EXPOSED_HEADERS: &str = "etag, retry-after";

/// The service of one connection: `inner`, for those who may.
pub fn authenticate<S, B>(
    app: Arc<App>,
    inner: S,
    address: IpAddr,
    phase: Arc<Phase>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Either<B, Full<Bytes>>>,
    Error = Infallible,
    Future: Send,
>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    service_fn(move |mut request: Request<Incoming>| {
        phase.set(Phase::SERVING);
        let origin = request.headers().get(ORIGIN).cloned();
        let offers_subprotocol = subprotocols(request.headers()).any(|it| it == SUBPROTOCOL);
        let admitted = admit(&app, &request, address).map(|client| {
            request.extensions_mut().insert(client);
            inner.call(request)
        });
        let (app, phase) = (app.clone(), phase.clone());
        async move {
            let mut response = match admitted {
                Ok(answering) => answering.await?.map(Either::Left),
                Err(refusal) => refusal.map(|body| Either::Right(Full::new(body))),
            };
            allow_origin(&app, origin, response.headers_mut());
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                if offers_subprotocol {
                    let chosen = HeaderValue::from_static(SUBPROTOCOL);
                    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
                }
            } else {
                phase.set(Phase::IDLE);
            }
            Ok(response)
        }
    })
}

/// Who sends the request, or the answer to those who may not, and to those who only ask whether.
fn admit<B>(
    app: &App,
    request: &Request<B>,
    address: IpAddr,
) -> Result<Client, Box<Response<Bytes>>> {
    let headers = request.headers();
    // HTTP/2 has the host in the address.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = host.or(request.uri().authority().map(|authority| authority.as_str()));
    if let Some(origin) = headers.get(ORIGIN)
        && !is_allowed(app, origin, own)
    {
        app.metrics.refused(Refusal::Origin);
        let text = "pages of this origin may not use this server; see --allow-origin";
        return Err(refusal(StatusCode::FORBIDDEN, text));
    }
    if request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return Err(preflight());
    }
    let claims = match &app.token_key {
        Some(key) => match may(key, request) {
            Ok(claims) => claims,
            Err((status, text)) => {
                app.metrics.refused(Refusal::Token);
                return Err(refusal(status, &text));
            }
        },
        None => None,
    };
    Ok(Client::new(address, claims))
}

/// What the request's token says, if its path needs one; or why it may not pass.
fn may<B>(key: &TokenKey, request: &Request<B>) -> Result<Option<Claims>, (StatusCode, String)> {
    let path = request.uri().path();
    let topic = path.strip_prefix("/topics/");
    if topic.is_none() && !is_socket_io(path) {
        return Ok(None);
    }
    let unauthorized = |text: String| (StatusCode::UNAUTHORIZED, text);
    let Some(token) = token_of(request) else {
        return Err(unauthorized(NO_TOKEN.to_owned()));
    };
    let claims = key.check(token).map_err(|error| unauthorized(error.to_string()))?;
    // On Socket.IO the topic comes later, and is checked then.
    if let Some((topic, route)) = topic.and_then(|rest| rest.split_once('/')) {
        let right = if route == "messages" { Right::Publish } else { Right::Subscribe };
        let granted = topic.parse().is_ok_and(|topic| claims.grant(right, &topic));
        if !granted {
            let text = format!("the token does not grant to {right} to this topic");
            return Err((StatusCode::FORBIDDEN, text));
        }
    }
    Ok(Some(claims))
}

/// The token, from the first place that has one: header, subprotocol, query.
fn token_of<B>(request: &Request<B>) -> Option<&str> {
    let headers = request.headers();
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|text| text.strip_prefix("Bearer "));
    let subprotocol = || subprotocols(headers).find_map(|it| it.strip_prefix(TOKEN_SUBPROTOCOL));
    let query = || {
        let pairs = request.uri().query()?.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find_map(|(k, v)| (k == "token").then_some(v))
    };
    bearer.or_else(subprotocol).or_else(query)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// True for the server's own pages and for those of the allow-list.
fn is_allowed(app: &App, origin: &HeaderValue, own: Option<&str>) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let is_own = origin.split_once("://").is_some_and(|(_, host)| Some(host) == own);
    is_own || app.config.allow_origin.iter().any(|allowed| allowed == "*" || allowed == origin)
}

/// Lets the page read the answer, if it is from elsewhere and allowed.
fn allow_origin(app: &App, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    headers.append(VARY, HeaderValue::from_static("origin"));
    let listed = |allowed: &String| allowed == "*" || origin == allowed.as_str();
    if app.config.allow_origin.iter().any(listed) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}

/// What a browser asks before it sends a request with a token across origins.
fn preflight() -> Box<Response<Bytes>> {
    let response = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
        .header(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
        .header(ACCESS_CONTROL_MAX_AGE, "600");
    Box::new(response.body(Bytes::new()).expect("these headers are valid"))
}

fn refusal(status: StatusCode, text: &str) -> Box<Response<Bytes>> {
    let mut response = ApiError::new(status, text).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Box::new(response)
}
