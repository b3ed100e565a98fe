//! The HTTP connection that a subscriber asks on, kept alive between requests and made anew if the
//! server has closed it: one of its own, or its share of one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::http2::Http2;
use super::{Dialer, Kind, WireStream};

/// Why a subscriber did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the server: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    #[error("the server refused: {status} {body}")]
    Refused {
        status: StatusCode,
        body: String,
        /// How long to stay away, if the server said so.
        retry_after: Option<Duration>,
    },
    #[error("the server's answer makes no sense: {0}")]
    ProtocolError(String),
    #[error("the server closed the connection: {0}")]
    Closed(String),
}

impl ClientError {
    /// How long to stay away before trying again, as far as the server said so; `None` if trying
    /// again cannot help.
    pub fn passes_in(&self) -> Option<Duration> {
        match self {
            ClientError::Connect(_) | ClientError::Broken(_) | ClientError::Closed(_) => {
                Some(Duration::ZERO)
            }
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
        let body = String::from_utf8_lossy(body).into_owned();
        ClientError::Refused { status, body, retry_after: retry_after(headers) }
    }
}

/// The `Retry-After` of an answer, if it is in seconds (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
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
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
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
        match self {
            Open::Own { requests, .. } => Ok(requests.send_request(request).await?),
            Open::Shared(shared) => shared.send(request).await,
        }
    }
}

/// That `response` was not the answer that was wanted.
pub(super) async fn refused(response: Response<Incoming>) -> ClientError {
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => ClientError::refused(head.status, &head.headers, &body.to_bytes()),
        Err(error) => error.into(),
    }
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
    *request.uri_mut() = match host.as_ref().and_then(|host| host.to_str().ok()) {
        None => path.parse(),
        Some(host) => format!("http://{host}{path}").parse(),
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
        self.connect().await?;
        self.dialer.admit_request().await;
        let answer = self.send(method, path, more, body).await?;
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
        self.connect().await?;
        self.send(method, path, &HeaderMap::new(), body).await
    }

    /// Makes the connection unless there is one that the server still holds.
    async fn connect(&mut self) -> Result<(), ClientError> {
        if let Some(open) = &mut self.open
            && open.is_usable().await
        {
            return Ok(());
        }
        self.open = None;
        self.open = Some(match self.dialer.shared() {
            Some(shared) => Open::Shared(shared.connection(&self.dialer).await?),
            None => Open::on(self.dialer.dial().await.map_err(ClientError::Connect)?).await?,
        });
        Ok(())
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        more: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = request(&self.dialer, method, path, body)?;
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        let open = self.open.as_mut().expect("connected just now");
        let response = open.send(request).await?;
        let (head, body) = response.into_parts();
        self.retry_after = retry_after(&head.headers);
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
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
}
