//! A session over requests: a GET returns packets, and waits until there are some; a POST sends
//! packets.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyDataStream;
use hyper::body::Incoming as Body;
use tokio::time::{Instant, sleep_until};
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use super::application::receive;
use super::packet::{Incoming, Outgoing, Output, SEPARATOR};
use super::session::{NOOP, NOOP_INTERVAL, Session, SessionEnd, Upgrade};
use crate::app::memory::Account;
use crate::app::request_body::{BodyLimit, read_body};
use crate::app::work_share::yield_if_slice_is_over;
use crate::app::{ApiError, Client};
use crate::variant::Transport;

fn bad_request(text: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, text)
}

fn text(body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Responds to the request that opens a session.
pub fn open(session: &Session) -> Response {
    text(Output::from(session.open_packet()).payload())
}

/// Responds to a poll as soon as there is something to send.
///
/// # Errors
/// If another poll is pending, or the session is on a WebSocket.
pub async fn poll(session: Arc<Session>, client: Client) -> Result<Response, ApiError> {
    let mut exchange = session.begin(true)?;
    let answer = tokio::select! {
        answer = next(&session) => answer,
        // The guard of the unanswered request is dropped here, which ends the session.
        () = client.has_left() => return Err(bad_request("the client has cancelled its poll")),
    };
    let body = match answer {
        Ok(output) => output.payload(),
        Err(ending) => ending.packet.into(),
    };
    exchange.is_answered = true;
    Ok(text(body))
}

async fn next(session: &Session) -> Result<Output, SessionEnd> {
    let app = &session.app;
    let ended = tokio::select! {
        output = session.next(Transport::SocketioPolling) => return output,
        output = timer(session) => return output,
        () = session.client.token_expired() => SessionEnd::EXPIRED,
        () = app.drained(session.slot) => SessionEnd::drain(app),
    };
    session.end(ended);
    Err(ended)
}

/// Returns when the poll must end even without data: when the session ends, or an upgrade needs the
/// polls to pause. Pings are sent meanwhile.
async fn timer(session: &Session) -> Result<Output, SessionEnd> {
    loop {
        let tick_at = session.tick_at();
        sleep_until(session.noop_at().map_or(tick_at, |noop_at| tick_at.min(noop_at))).await;
        if session.take_noop() {
            return Ok(Outgoing::from(NOOP).into());
        }
        session.tick()?;
    }
}

/// Processes the packets of a POST.
///
/// # Errors
/// If another POST is being processed, the session is on a WebSocket, or the packets or their body
/// are invalid.
pub async fn post(session: Arc<Session>, client: Client, body: Body) -> Result<Response, ApiError> {
    let mut exchange = session.begin(false)?;
    let received = receive_all(&session, client.account(), body).await;
    exchange.is_answered = true;
    received.map(|()| text("ok"))
}

async fn receive_all(session: &Session, account: &Account, body: Body) -> Result<(), ApiError> {
    let ended = |ending: SessionEnd, error: ApiError| {
        session.end(ending);
        error
    };
    let limit = BodyLimit::of_message(&session.app);
    let reading = read_body(&session.app, account, limit, BodyDataStream::new(body));
    let body = reading.await.map_err(|error| ended(SessionEnd::INVALID, error))?;
    for packet in body.bytes.split(|byte| *byte == SEPARATOR) {
        let packet = std::str::from_utf8(packet).ok().and_then(Incoming::decode);
        let received = match packet {
            Some(packet) => receive(session, packet).await,
            None => Err(SessionEnd::INVALID),
        };
        match received {
            Ok(()) => yield_if_slice_is_over().await,
            Err(SessionEnd::CLIENT_CLOSED) => {
                session.end(SessionEnd::CLIENT_CLOSED);
                return Ok(());
            }
            Err(ending) => {
                let text = "the session has ended: a packet is invalid, or too many are unread";
                return Err(ended(ending, bad_request(text)));
            }
        }
    }
    Ok(())
}

impl Session {
    /// Marks a poll, or a POST, as in progress until the returned guard is dropped.
    ///
    /// # Errors
    /// If one is in progress already, which ends the session, or the session is on a WebSocket.
    pub fn begin(&self, is_poll: bool) -> Result<RequestGuard<'_>, ApiError> {
        let mut state = self.state();
        if state.transport != Transport::SocketioPolling {
            return Err(bad_request("this session has moved to its WebSocket"));
        }
        let (flag, busy) = match is_poll {
            true => (&mut state.is_polling, "another poll of this session is pending"),
            false => (&mut state.is_posting, "another POST of this session is being processed"),
        };
        if std::mem::replace(flag, true) {
            drop(state);
            self.end(SessionEnd::INVALID);
            return Err(bad_request(&format!("{busy}, which ends the session")));
        }
        Ok(RequestGuard { session: self, is_poll, is_answered: false })
    }

    /// When the pending poll ends with a NOOP, if it does.
    pub fn noop_at(&self) -> Option<Instant> {
        match self.state().upgrade {
            Upgrade::Probed { noop_at } => Some(noop_at),
            Upgrade::None | Upgrade::Begun => None,
        }
    }

    /// True if the pending poll must end with a NOOP now. The next one waits for a while.
    pub fn take_noop(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let is_due = matches!(state.upgrade, Upgrade::Probed { noop_at } if noop_at <= now);
        if is_due {
            state.upgrade = Upgrade::Probed { noop_at: now + NOOP_INTERVAL };
        }
        is_due
    }
}

/// A request of a session in progress. If this is dropped before the response is ready, the client
/// has cancelled the request, and the session ends.
pub struct RequestGuard<'a> {
    session: &'a Session,
    is_poll: bool,
    pub is_answered: bool,
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        if self.is_poll {
            state.is_polling = false;
            state.unread_since = Instant::now();
        } else {
            state.is_posting = false;
        }
        drop(state);
        if !self.is_answered {
            self.session.end(SessionEnd::GONE);
        }
    }
}
