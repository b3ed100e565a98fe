//! The HTTP connection that a subscriber asks on, kept alive between requests and made anew if the
//! server has closed it: one of its own, or its share of one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::http2::Http2;
use super::{Dialer, Kind, WireStream};
use crate::text::one_line;

/// Bytes of the body of a refusal that are read, and for how long.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a response's head that are read: hyper fails a connection whose head is longer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest `Retry-After` that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Why a subscriber did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the server: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection broke: {}", one_line(&.0.to_string()))]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke under a request that may have taken effect and must not be repeated.
    #[error(
        "the connection broke while the server had the {method} {path}, which is not repeated \
         because it may have taken effect: {}",
        one_line(&.cause.to_string())
    )]
    Unanswered { method: Method, path: String, cause: Box<dyn std::error::Error + Send + Sync> },
    #[error("the server refused: {status} {body}")]
    Refused {
        status: StatusCode,
        /// What the server gave as its reason, on one line and without control characters.
        body: String,
        /// How long to stay away, if the server said so.
        retry_after: Option<Duration>,
    },
    #[error("the server's answer makes no sense: {}", one_line(.0))]
    ProtocolError(String),
    #[error("the server closed the connection: {}", one_line(.0))]
    Closed(String),
}

impl ClientError {
    /// How long to stay away before trying again, as far as the server said so; `None` if trying
    /// again cannot help.
    pub fn passes_in(&self) -> Option<Duration> {
        match self {
            ClientError::Connect(_)
            | ClientError::Broken(_)
            | ClientError::Unanswered { .. }
            | ClientError::Closed(_) => Some(Duration::ZERO),
            ClientError::Refused { status, retry_after, .. } => {
                let may_pass = status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    );
                may_pass.then_some(retry_after.unwrap_or_default())
            }
            ClientError::ProtocolError(_) => None,
        }
    }

    /// That an answer with this head was not the one that was wanted.
    pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClientError {
        let body = match headers.get(LOCATION).filter(|_| status.is_redirection()) {
            Some(location) => {
                format!("to {}", one_line(&String::from_utf8_lossy(location.as_bytes())))
            }
            None => reason(headers, body),
        };
        ClientError::Refused { status, body, retry_after: retry_after(headers) }
    }
}

/// What the body of a refusal says, in one line: the `error` of a JSON object, the type and size of
/// a page, or the beginning of any other text.
fn reason(headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Reason {
        error: String,
    }
    if let Ok(Reason { error }) = serde_json::from_slice(body) {
        return one_line(&error);
    }
    let content_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or(""));
    let text = String::from_utf8_lossy(&body[..body.len().min(4 << 10)]);
    match content_type.contains("html") || text.trim_start().starts_with('<') {
        true => format!("(a page of {} bytes)", body.len()),
        false => one_line(&text),
    }
}

/// The `Retry-After` of an answer, if it is in seconds (RFC 9110, section 10.2.3), up to
/// [`RETRY_AFTER_MAX`].
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that does not fit is larger than any bound.
    let seconds = || text.parse().unwrap_or(u64::MAX);
    is_number.then(|| Duration::from_secs(seconds()).min(RETRY_AFTER_MAX))
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        ClientError::Broken(error.into())
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body of a 200.
    fn accepted(self) -> Result<Bytes, ClientError> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// That this was not the answer that was wanted.
    pub fn refusal(&self) -> ClientError {
        ClientError::refused(self.status, &self.headers, &self.body)
    }
}

/// A connection on which one request at a time is made.
#[derive(Debug)]
pub struct HttpConnection {
    dialer: Dialer,
    open: Option<Open>,
    retry_after: Option<Duration>,
}

/// A connection that speaks HTTP, driven as long as this lives.
#[derive(Debug)]
pub(super) enum Open {
    /// HTTP/1.1, a subscriber's own.
    Own { requests: SendRequest<Full<Bytes>>, _driver: AbortOnDropHandle<()> },
    /// HTTP/2, a share of it.
    Shared(Arc<Http2>),
}

impl Open {
    /// Speaks HTTP/1.1 on `stream`.
    pub async fn on(stream: WireStream) -> Result<Open, ClientError> {
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            // Its errors reach whoever has sent the request.
            let _ = connection.with_upgrades().await;
        });
        Ok(Open::Own { requests, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether requests can still be made on it; waits for the last one's end, if one has to.
    async fn is_usable(&mut self) -> bool {
        match self {
            Open::Own { requests, .. } => requests.ready().await.is_ok(),
            Open::Shared(shared) => shared.is_usable(),
        }
    }

    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.try_send(request).await.map_err(|failed| failed.cause.into())
    }

    /// Sends `request`; an error tells whether any of it can have reached the server.
    async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendFailed> {
        match self {
            Open::Own { requests, .. } => Ok(requests.try_send_request(request).await?),
            Open::Shared(shared) => Ok(shared.try_send(request).await?),
        }
    }
}

/// A request without a response.
#[derive(Debug)]
struct SendFailed {
    cause: hyper::Error,
    /// The request was not written to the connection.
    is_unsent: bool,
}

impl<T> From<TrySendError<T>> for SendFailed {
    fn from(mut error: TrySendError<T>) -> SendFailed {
        let is_unsent = error.take_message().is_some();
        SendFailed { cause: error.into_error(), is_unsent }
    }
}

/// That `response` was not the answer that was wanted.
pub(super) async fn refused(response: Response<Incoming>) -> ClientError {
    let (head, mut body) = response.into_parts();
    let mut read = Vec::new();
    // What has come when the body is too long, slow or cut short says enough.
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if read.len() > REFUSAL_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(REFUSAL_TIMEOUT, reading).await;
    ClientError::refused(head.status, &head.headers, &read)
}

/// A request with the dialer's headers.
pub(super) fn request(
    dialer: &Dialer,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let unfit = |_| ClientError::ProtocolError(format!("'{path}' cannot be the path of a request"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.headers_mut() = dialer.headers().clone();
    // HTTP/2 has no `host`: the whole address goes into fields of its own.
    let host = dialer.shared().and_then(|_| request.headers_mut().remove(HOST));
    let base = dialer.base_path();
    *request.uri_mut() = match host.as_ref().and_then(|host| host.to_str().ok()) {
        None => format!("{base}{path}").parse(),
        Some(host) => format!("http://{host}{base}{path}").parse(),
    }
    .map_err(unfit)?;
    Ok(request)
}

impl HttpConnection {
    /// A connection that is made when it is first needed.
    pub fn new(dialer: Dialer) -> Self {
        HttpConnection { dialer, open: None, retry_after: None }
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// How long the server's last answer asks to stay away, whether it was a refusal or not.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// `GET path`, counted as a subscriber's request; the body of a 200.
    ///
    /// # Errors
    /// If there is no answer, or it is not a 200.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        self.ask(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?.accepted()
    }

    /// `POST path`, counted as a subscriber's request, its body as framing; the body of a 200.
    ///
    /// # Errors
    /// If there is no answer, or it is not a 200.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        self.dialer.meter().move_up(Kind::Headers, Kind::Framing, body.len());
        self.ask(Method::POST, path, &HeaderMap::new(), body).await?.accepted()
    }

    /// A request with `more` headers, counted as a subscriber's; any answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let started = self.open.is_none().then(Instant::now);
        let is_reused = self.connect().await?;
        self.dialer.admit_request().await;
        let answer = self.send_once_or_twice(is_reused, method, path, more, body).await?;
        if let Some(started) = started {
            self.dialer.meter().ready_after(started.elapsed());
        }
        Ok(answer)
    }

    /// Makes the connection now, not when it is first needed; usable is then what is connected.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn open(&mut self) -> Result<(), ClientError> {
        let started = Instant::now();
        self.connect().await?;
        self.dialer.meter().ready_after(started.elapsed());
        Ok(())
    }

    /// Any request that is not a subscriber's: publishing, asking for metrics.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let is_reused = self.connect().await?;
        self.send_once_or_twice(is_reused, method, path, &HeaderMap::new(), body).await
    }

    /// Makes the connection unless there is one that the server still holds; whether there was.
    async fn connect(&mut self) -> Result<bool, ClientError> {
        if let Some(open) = &mut self.open
            && open.is_usable().await
        {
            return Ok(true);
        }
        self.open = None;
        self.open = Some(match self.dialer.shared() {
            Some(shared) => Open::Shared(shared.connection(&self.dialer).await?),
            None => Open::on(self.dialer.dial().await.map_err(ClientError::Connect)?).await?,
        });
        Ok(false)
    }

    /// Sends a request. A server may close a kept connection at any time, also in the instant in
    /// which it is used again: a request that fails there is repeated once, on a new connection, if
    /// it is idempotent (RFC 9112, section 9.3.1) or cannot have reached the server.
    async fn send_once_or_twice(
        &mut self,
        is_reused: bool,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let failed = match self.send(method.clone(), path, more, body.clone()).await? {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        self.open = None;
        let is_repeatable = failed.is_unsent || method.is_idempotent();
        if !is_repeatable {
            let (path, cause) = (one_line(path), failed.cause.into());
            return Err(ClientError::Unanswered { method, path, cause });
        }
        if !is_reused {
            return Err(failed.cause.into());
        }
        self.connect().await?;
        self.dialer.meter().repeated();
        self.send(method, path, more, body).await?.map_err(|failed| failed.cause.into())
    }

    /// The answer to a request, or how the connection failed before there was one.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<Result<Answer, SendFailed>, ClientError> {
        let mut request = request(&self.dialer, method, path, body)?;
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        let open = self.open.as_mut().expect("connected just now");
        let response = match open.try_send(request).await {
            Ok(response) => response,
            Err(failed) => return Ok(Err(failed)),
        };
        let (head, body) = response.into_parts();
        self.retry_after = retry_after(&head.headers);
        let bytes_max = self.dialer.answer_bytes_max();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => ClientError::ProtocolError(format!(
                "the body of an answer has more than {bytes_max} bytes"
            )),
            Err(error) => ClientError::Broken(error),
        })?;
        Ok(Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() }))
    }
}

/// Bytes of a response's head on the wire, from its status line to the empty line.
pub fn head_bytes(status: StatusCode, headers: &HeaderMap) -> usize {
    let reason = status.canonical_reason().unwrap_or_default();
    let status_line = "HTTP/1.1 101 ".len() + reason.len() + 2;
    let line = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        name.as_str().len() + ": ".len() + value.len() + 2
    };
    status_line + headers.iter().map(line).sum::<usize>() + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused =
            |status, retry_after| ClientError::Refused { status, body: String::new(), retry_after };
        let wait = Some(Duration::from_secs(3));
        assert_eq!(refused(StatusCode::SERVICE_UNAVAILABLE, wait).passes_in(), wait);
        let now = Some(Duration::ZERO);
        assert_eq!(refused(StatusCode::TOO_MANY_REQUESTS, None).passes_in(), now);
        assert_eq!(refused(StatusCode::UNAUTHORIZED, None).passes_in(), None);
        assert_eq!(ClientError::Closed(String::new()).passes_in(), now);
        assert_eq!(ClientError::ProtocolError(String::new()).passes_in(), None);
    }

    #[test]
    fn a_retry_after_is_bounded() {
        let wait = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]))
        };
        assert_eq!(wait("3"), Some(Duration::from_secs(3)));
        for huge in ["9999999999999999999", "99999999999999999999"] {
            assert_eq!(wait(huge), Some(RETRY_AFTER_MAX));
        }
        for no_number in ["", "-1", "1.5", "+1", "Sun, 22 Nov 2026 21:00:02 GMT"] {
            assert_eq!(wait(no_number), None, "{no_number}");
        }
    }

    #[test]
    fn a_refusal_is_one_line_without_markup_or_terminal_escapes() {
        let headers = |name, value: &'static str| {
            HeaderMap::from_iter([(name, value.parse().expect("a value"))])
        };
        let text = |status, headers: &HeaderMap, body: &str| {
            ClientError::refused(status, headers, body.as_bytes()).to_string()
        };
        let html = headers(CONTENT_TYPE, "text/html");
        let page = text(StatusCode::NOT_FOUND, &html, "<!doctype html><title>404</title>");
        assert_eq!(page, "the server refused: 404 Not Found (a page of 33 bytes)");
        let none = HeaderMap::new();
        let json = text(StatusCode::FORBIDDEN, &none, r#"{"error":"no\u001b[2J\nway"}"#);
        assert_eq!(json, "the server refused: 403 Forbidden no\\u{1b}[2J way");
        let moved = text(StatusCode::FOUND, &headers(LOCATION, "http://other/"), "<a>");
        assert_eq!(moved, "the server refused: 302 Found to http://other/");
    }
}
