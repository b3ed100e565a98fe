//! The HTTP connection of a subscriber: kept alive between requests, and opened again if the server
//! has closed it. It is HTTP/1.1 of its own, or shared HTTP/2.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::error::{ClientError, retry_after};
use super::http2::Http2;
use super::{ByteKind, Dialer, WireStream};
use crate::text::one_line;

/// Limits on the body of an error response: its bytes, and the time to read it.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a response, bytes: hyper fails a connection whose head is longer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A complete response.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpResponse {
    /// The body of a 200.
    fn accepted(self) -> Result<Bytes, ClientError> {
        if self.status == StatusCode::OK { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// The error that reports this response.
    pub fn refusal(&self) -> ClientError {
        ClientError::refused(self.status, &self.headers, &self.body)
    }
}

/// A connection for one request at a time.
#[derive(Debug)]
pub struct HttpConnection {
    dialer: Dialer,
    open: Option<OpenConnection>,
    /// The last connection, which the server closes after its response. It is kept until the next
    /// response, so that the segments that close it are counted.
    closing: Option<OpenConnection>,
    retry_after: Option<Duration>,
}

/// An open HTTP connection, with the task that drives it.
#[derive(Debug)]
pub(super) enum OpenConnection {
    /// HTTP/1.1, of one subscriber.
    Own { requests: SendRequest<Full<Bytes>>, _driver: AbortOnDropHandle<()> },
    /// HTTP/2, shared with other subscribers.
    Shared(Arc<Http2>),
}

impl OpenConnection {
    /// Opens HTTP/1.1 on `stream`.
    pub async fn on(stream: WireStream) -> Result<OpenConnection, ClientError> {
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            // Folded lines (RFC 9112, section 5.2).
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            // The sender of a request receives the errors as well.
            let _ = connection.with_upgrades().await;
        });
        Ok(OpenConnection::Own { requests, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether it accepts another request; waits for the end of the last one.
    async fn is_usable(&mut self) -> bool {
        match self {
            OpenConnection::Own { requests, .. } => requests.ready().await.is_ok(),
            OpenConnection::Shared(shared) => shared.is_usable(),
        }
    }

    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.try_send(request).await.map_err(|failed| failed.cause.into())
    }

    /// Sends `request`. An error states whether the request may have reached the server.
    async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendFailed> {
        match self {
            OpenConnection::Own { requests, .. } => Ok(requests.try_send_request(request).await?),
            OpenConnection::Shared(shared) => Ok(shared.try_send(request).await?),
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

/// The error that reports an unexpected response.
pub(super) async fn refused(response: Response<Incoming>) -> ClientError {
    let (head, mut body) = response.into_parts();
    let mut read = Vec::new();
    // If the body is too long, too slow or cut short, its beginning is used.
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
    let unfit = |_| ClientError::ProtocolError(format!("'{path}' is not a valid request path"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.headers_mut() = dialer.headers().clone();
    // HTTP/2 has pseudo-header fields instead of `host`.
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
    /// A connection that is opened by the first request.
    pub fn new(dialer: Dialer) -> Self {
        HttpConnection { dialer, open: None, closing: None, retry_after: None }
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The `Retry-After` of the last response, whatever its status.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// `GET path`, counted as a request of a subscriber. Returns the body.
    ///
    /// # Errors
    /// If there is no response, or its status is not 200.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        self.counted_request(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?.accepted()
    }

    /// `POST path`, counted as a request of a subscriber, its body as framing. Returns the body.
    ///
    /// # Errors
    /// If there is no response, or its status is not 200.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        self.dialer.meter().move_up(ByteKind::Headers, ByteKind::Framing, body.len());
        self.counted_request(Method::POST, path, &HeaderMap::new(), body).await?.accepted()
    }

    /// Sends a request with `more` headers, counted as a request of a subscriber. With
    /// `connection: close` among them, the next request is sent on a new connection.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn counted_request(
        &mut self,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        // A long poll on a further connection waits for a message, which is no handshake.
        let is_first = self.open.is_none() && self.closing.is_none();
        let started = is_first.then(Instant::now);
        let is_reused = self.connect().await?;
        self.dialer.admit_request().await;
        let response = self.send_with_retry(is_reused, method, path, more, body).await?;
        if let Some(started) = started {
            self.dialer.meter().ready_after(started.elapsed());
        }
        if more.get(CONNECTION).is_some_and(|value| value == "close") {
            self.closing = self.open.take();
        }
        Ok(response)
    }

    /// Opens the connection now, not with the first request.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn open(&mut self) -> Result<(), ClientError> {
        let started = Instant::now();
        self.connect().await?;
        self.dialer.meter().ready_after(started.elapsed());
        Ok(())
    }

    /// Sends a request that is not counted, for instance to publish or to read metrics.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let is_reused = self.connect().await?;
        self.send_with_retry(is_reused, method, path, &HeaderMap::new(), body).await
    }

    /// Opens the connection unless it is open. Returns whether it was.
    async fn connect(&mut self) -> Result<bool, ClientError> {
        if let Some(open) = &mut self.open
            && open.is_usable().await
        {
            return Ok(true);
        }
        self.open = None;
        self.open = Some(match self.dialer.shared_connection().await {
            Some(shared) => OpenConnection::Shared(shared?),
            None => {
                OpenConnection::on(self.dialer.dial().await.map_err(ClientError::Connect)?).await?
            }
        });
        Ok(false)
    }

    /// Sends a request. A server may close an idle connection at the moment in which the client
    /// uses it again: a request that fails then is repeated once on a new connection, if it is
    /// idempotent (RFC 9112, section 9.3.1) or cannot have reached the server.
    async fn send_with_retry(
        &mut self,
        is_reused: bool,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let failed = match self.send(method.clone(), path, more, body.clone()).await? {
            Ok(response) => return Ok(response),
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

    /// The response, or the error of the connection before it.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<Result<HttpResponse, SendFailed>, ClientError> {
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
        let bytes_max = self.dialer.response_bytes_max();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => ClientError::ProtocolError(format!(
                "the response body has more than {bytes_max} bytes"
            )),
            Err(error) => ClientError::Broken(error),
        })?;
        Ok(Ok(HttpResponse { status: head.status, headers: head.headers, body: body.to_bytes() }))
    }
}

/// Bytes of the status line and the headers of a response, with the empty line.
pub fn head_bytes(status: StatusCode, headers: &HeaderMap) -> usize {
    let reason = status.canonical_reason().unwrap_or_default();
    let status_line = "HTTP/1.1 101 ".len() + reason.len() + 2;
    let line = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        name.as_str().len() + ": ".len() + value.len() + 2
    };
    status_line + headers.iter().map(line).sum::<usize>() + 2
}
