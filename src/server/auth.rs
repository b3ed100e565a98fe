//! The middleware that every request passes before it reaches a route: it checks the host, the
//! origin of the page, the method, the codings of the body and the token, in one place for all
//! transports.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_PROTOCOL, VARY, WWW_AUTHENTICATE,
};

use super::body_codings;
use super::host::{AllowedOrigins, host_of, is_http};
use super::repetitions;
use super::response_body::ResponseBody;
use super::route_table::{Access, Handler, Route, normalized, topic_of};
use super::streams::WriteProgress;
use super::timeout_stream::ConnectionPhase;
use crate::app::memory::{Charge, OverLimit};
use crate::app::metrics::Refusal;
use crate::app::token::{Claims, NO_TOKEN, TokenKey};
use crate::app::{ApiError, App, Client, Remote};

/// The WebSocket subprotocol that a browser offers besides the one that contains its token.
const SUBPROTOCOL: &str = "poll-vs-push";
/// The prefix of a subprotocol that contains a token: scripts cannot set headers of a WebSocket.
const TOKEN_SUBPROTOCOL: &str = "token.";
/// Headers that a page of another origin may send: for tokens, JSON, conditional polls and cursors.
const ALLOWED_HEADERS: &str = "authorization, content-type, if-none-match, last-event-id";
/// Headers that such a page may read: for conditional polls, and when to retry.
const EXPOSED_HEADERS: &str = "etag, retry-after";
/// The text of a 404 response.
pub(super) const NO_SUCH_ROUTE: &str = "no such route; topics are at /topics/{topic}/...";

/// The service of one connection. It passes requests that pass all checks to `inner`, which all
/// connections share.
pub fn authenticate<S, B>(
    app: Arc<App>,
    inner: Arc<S>,
    remote: Arc<Remote>,
    phase: Arc<ConnectionPhase>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<ResponseBody<Either<B, Full<Bytes>>>>,
    Error = Infallible,
    Future: Send,
>
where
    S: Service<(Request<Incoming>, Handler), Response = Response<B>, Error = Infallible>,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin,
{
    service_fn(move |mut request: Request<Incoming>| {
        phase.set(ConnectionPhase::SERVING);
        let mut pending = PendingResponse::of(&request, &app, &remote, &phase);
        let is_head = pending.is_head;
        let may_have_unread_body = pending.is_http1 && !request.body().is_end_stream();
        let held = pending.charge.set(held_bytes(&request)).map_err(|over| over_limit(&app, over));
        let mut token_time_left = None;
        let admitted = held.and_then(|()| admit(&app, &mut request, &remote));
        let admitted = admitted.map(|(client, handler)| {
            if let Some(expiry) = client.token_expiry() {
                phase.expiries.add(expiry);
                token_time_left = client.token_time_left();
            }
            request.extensions_mut().insert(client);
            if is_head {
                // The same headers as for GET (RFC 9110, section 9.3.2). A HEAD never upgrades.
                *request.method_mut() = Method::GET;
                request.extensions_mut().remove::<OnUpgrade>();
            }
            inner.call((request, handler))
        });
        async move {
            if let (Some(left), Some(progress)) = (token_time_left, WriteProgress::of_this_stream())
            {
                progress.expires_after(left);
            }
            let response = match admitted {
                Ok(answering) => answering.await?.map(Either::Left),
                Err(refusal) => refusal.map(|body| Either::Right(Full::new(body))),
            };
            if may_have_unread_body && response.status() >= StatusCode::BAD_REQUEST {
                // hyper notices here that the rest of the body is not read. It then closes the
                // connection, and the response contains that (RFC 9112, section 9.6).
                tokio::task::yield_now().await;
            }
            Ok(pending.complete(response))
        }
    })
}

/// A request whose response is not ready: the properties of the request that affect the response.
struct PendingResponse {
    app: Arc<App>,
    remote: Arc<Remote>,
    phase: Arc<ConnectionPhase>,
    origin: Option<HeaderValue>,
    offers_subprotocol: bool,
    is_head: bool,
    is_http1: bool,
    /// For the request.
    charge: Charge,
}

impl PendingResponse {
    fn of<B>(
        request: &Request<B>,
        app: &Arc<App>,
        remote: &Arc<Remote>,
        phase: &Arc<ConnectionPhase>,
    ) -> PendingResponse {
        PendingResponse {
            app: app.clone(),
            remote: remote.clone(),
            phase: phase.clone(),
            origin: request.headers().get(ORIGIN).cloned(),
            offers_subprotocol: subprotocols(request.headers()).any(|it| it == SUBPROTOCOL),
            is_head: request.method() == Method::HEAD,
            is_http1: request.version() != Version::HTTP_2,
            charge: remote.account.charge(),
        }
    }

    /// The response as it is sent: with CORS headers and the selected subprotocol, without a body
    /// for HEAD, and charged to the connection.
    fn complete<B>(
        self,
        mut response: Response<Either<B, Full<Bytes>>>,
    ) -> Response<ResponseBody<Either<B, Full<Bytes>>>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        allow_origin(&self.app, self.origin, response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if self.offers_subprotocol {
                let selected = HeaderValue::from_static(SUBPROTOCOL);
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, selected);
            }
        } else {
            self.phase.set(ConnectionPhase::IDLE);
            if self.is_http1 && self.app.drain.is_cancelled() {
                // The connection is closed after this response (RFC 9112, section 9.6).
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let response = if self.is_head { without_body(response) } else { response };
        let (head, body) = response.into_parts();
        match ResponseBody::new(body, self.charge) {
            Ok(body) => Response::from_parts(head, body),
            Err(over) => {
                let refusal = over_limit(&self.app, over);
                let refusal = refusal.map(|body| Either::Right(Full::new(body)));
                refusal.map(|body| ResponseBody::uncharged(body, self.remote.account.charge()))
            }
        }
    }
}

/// Memory of a pending request on HTTP/2, where a connection has many.
fn held_bytes<B>(request: &Request<B>) -> usize {
    const STREAM_BYTES: usize = 4 << 10;
    const HEADER_BYTES: usize = 64;
    if request.version() != Version::HTTP_2 {
        return 0;
    }
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_BYTES
    };
    STREAM_BYTES + request.headers().iter().map(header).sum::<usize>()
}

/// The response if the client's memory budget is used up.
fn over_limit(app: &App, over: OverLimit) -> Box<Response<Bytes>> {
    app.metrics.refused(Refusal::HeldBytes);
    refusal(StatusCode::SERVICE_UNAVAILABLE, &over.to_string())
}

/// The headers of a response, with the length of the body that GET would have had.
fn without_body<B>(response: Response<Either<B, Full<Bytes>>>) -> Response<Either<B, Full<Bytes>>>
where
    B: Body<Data = Bytes>,
{
    let length = match response.body() {
        Either::Left(body) => body.size_hint().exact(),
        Either::Right(body) => body.size_hint().exact(),
    };
    let mut response = response.map(|_| Either::Right(Full::default()));
    if let Some(length) = length
        && response.status() != StatusCode::NOT_MODIFIED
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Authenticates the request and finds its route, or returns the rejection. The path is normalized,
/// so that later filters see the path that was checked here.
fn admit<B: Body>(
    app: &App,
    request: &mut Request<B>,
    remote: &Arc<Remote>,
) -> Result<(Client, Handler), Box<Response<Bytes>>> {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, text);
    let host = host_of(request).map_err(bad)?;
    repetitions::check(request).map_err(|text| bad(&text))?;
    if !is_http(request.uri()) {
        app.metrics.refused(Refusal::Host);
        let text = "this server serves only http and https URLs";
        return Err(refusal(StatusCode::MISDIRECTED_REQUEST, text));
    }
    if app.serves_own_machine_only()
        && !host.as_ref().is_none_or(|it| it.is_acceptable_on_loopback(&app.config.allow_host))
    {
        app.metrics.refused(Refusal::Host);
        let text = "this server accepts only localhost and IP addresses as host; see --allow-host";
        return Err(refusal(StatusCode::MISDIRECTED_REQUEST, text));
    }
    if !AllowedOrigins(&app.config.allow_origin).accept(request.headers(), host.as_ref()) {
        app.metrics.refused(Refusal::Origin);
        let text = "pages of this origin may not use this server; see --allow-origin";
        return Err(refusal(StatusCode::FORBIDDEN, text));
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Err(options("GET, HEAD, POST, OPTIONS"));
    }
    let uri = normalized(request.uri()).ok_or_else(|| bad("the path must begin with '/'"))?;
    if let Cow::Owned(uri) = uri {
        *request.uri_mut() = uri;
    }
    let Some(route) = Route::find(request.uri().path()) else {
        return Err(refusal(StatusCode::NOT_FOUND, NO_SUCH_ROUTE));
    };
    check_method(route, request)?;
    if !request.body().is_end_stream() {
        body_codings::check(request.headers())?;
    }
    let claims = match &app.token_key {
        Some(key) => claims_for(key, route, request).map_err(|(status, text)| {
            app.metrics.refused(Refusal::Token);
            refusal(status, &text)
        })?,
        None => None,
    };
    Ok((Client::new(remote.clone(), claims), route.handler))
}

/// Responds to OPTIONS, and rejects methods that the route lacks (RFC 9110, section 15.5.6).
fn check_method<B>(route: &Route, request: &Request<B>) -> Result<(), Box<Response<Bytes>>> {
    let allow = || HeaderValue::try_from(route.allow()).expect("names of methods are valid");
    if request.method() == Method::OPTIONS {
        return Err(match request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            true => preflight(),
            false => options(&route.allow()),
        });
    }
    if !route.allows(request.method()) {
        let status = match route.handler {
            // The official test suites require this.
            Handler::SocketIo => StatusCode::BAD_REQUEST,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        let mut refusal = refusal(status, "method not allowed: see the Allow header");
        refusal.headers_mut().insert(ALLOW, allow());
        return Err(refusal);
    }
    Ok(())
}

/// The claims of the request's token, if the route requires one; or the reason for a rejection.
fn claims_for<B>(
    key: &TokenKey,
    route: &Route,
    request: &Request<B>,
) -> Result<Option<Claims>, (StatusCode, String)> {
    if route.access == Access::Public {
        return Ok(None);
    }
    let unauthorized = |text: String| (StatusCode::UNAUTHORIZED, text);
    let Some(token) = token_of(request) else {
        return Err(unauthorized(NO_TOKEN.to_owned()));
    };
    let claims = key.check(&token).map_err(|error| unauthorized(error.to_string()))?;
    if let Access::Topic(right) = route.access {
        let topic = topic_of(request.uri().path()).and_then(|topic| topic.parse().ok());
        if !topic.is_some_and(|topic| claims.grant(right, &topic)) {
            let text = format!("the token does not grant the right to {right} to this topic");
            return Err((StatusCode::FORBIDDEN, text));
        }
    }
    Ok(Some(claims))
}

/// The token: from the header, else a subprotocol, else the query.
fn token_of<B>(request: &Request<B>) -> Option<Cow<'_, str>> {
    let headers = request.headers();
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    // The scheme is case-insensitive (RFC 9110, section 11.1).
    let bearer = authorization
        .and_then(|text| text.split_once(' '))
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()));
    let subprotocol = || subprotocols(headers).find_map(|it| it.strip_prefix(TOKEN_SUBPROTOCOL));
    let query = || {
        let mut pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
        pairs.find_map(|(key, value)| (key == "token").then_some(value))
    };
    bearer.or_else(subprotocol).map(Cow::Borrowed).or_else(query)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// Lets a page of an allowed origin read the response.
fn allow_origin(app: &App, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    headers.append(VARY, HeaderValue::from_static("origin"));
    if AllowedOrigins(&app.config.allow_origin).list(&origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}

/// The response to a CORS preflight request.
fn preflight() -> Box<Response<Bytes>> {
    let response = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
        .header(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
        .header(ACCESS_CONTROL_MAX_AGE, "600");
    Box::new(response.body(Bytes::new()).expect("these headers are valid"))
}

/// The methods of a route (RFC 9110, section 9.3.7).
fn options(allow: &str) -> Box<Response<Bytes>> {
    let response = Response::builder().status(StatusCode::NO_CONTENT).header(ALLOW, allow);
    Box::new(response.body(Bytes::new()).expect("names of methods are valid"))
}

fn refusal(status: StatusCode, text: &str) -> Box<Response<Bytes>> {
    let mut response = ApiError::new(status, text).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Box::new(response)
}
