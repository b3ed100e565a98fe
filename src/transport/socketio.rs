//! Socket.IO: events with names and acknowledgements, on whichever of long polling and WebSocket
//! works (Socket.IO protocol v5 on Engine.IO protocol v4).
//!
//! # On the wire
//! ```text
//! GET /socket.io/?EIO=4&transport=polling         0{"sid":..}, a session; or transport=websocket
//! GET|POST /socket.io/?EIO=4&transport=polling&sid=..    GET returns packets, POST sends them
//! GET /socket.io/?EIO=4&transport=websocket&sid=..   upgrade:   client: 2probe   server: 3probe
//!                                                               client: 5
//!     client: 40   server: 40{"sid":..}                                    connected
//!     client: 42["subscribe",{"topic":..,"epoch":..,"after":..}]
//!     server: 42["subscribed",{..}] first, then 42["message",{..}]; 42["gap"|"reset"|"error",{..}]
//!     client: 421["publish",{"topic":..,"sender":..,"text":..}]
//!     server: 431[{"epoch":..,"offset":..}]                                acknowledged
//!     server: 2   client: 3                                                every --heartbeat
//! ```
//!
//! # Where the waiting happens
//! In the server, as for the transport below: once for each request, or on one connection. Both
//! wait in `Session::next`. Socket.IO adds a session that outlives a request, so that a client may
//! change from polls to a WebSocket, or stay with polls if that fails.
//!
//! # What it costs
//! The cost of the transport below, and 14 bytes for each message: `42["message",` and `]`. The
//! start takes more round trips. A poll's response has at most sixteen packets. For a subscriber
//! that polls, the server keeps a session beside its connection; on a WebSocket, one task.
//!
//! # Its parts
//! `packet`: the wire format. `session`: the state that outlives a request; `sessions`: all
//! sessions of a server. `polling` and `socket`: a session over requests, and over a WebSocket.
//! `application`: the handlers of events. `subscriber` and `engine`: the client half.

mod application;
mod engine;
mod namespaces;
mod packet;
mod polling;
mod session;
mod sessions;
mod socket;
mod subscriber;

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request};
use serde::{Deserialize, Serialize};
use warp::http::StatusCode;
use warp::reply::Response;

use super::handshake;
use crate::app::response::to_response;
use crate::app::{ApiError, App, Client};
use crate::message::{Epoch, Offset};
use crate::variant::Transport;
use namespaces::Application;
use session::Session;
use sessions::Sessions;
pub use subscriber::Subscriber;

/// The path of Socket.IO, whatever the topic; clients add a slash.
const PATH: &str = "/socket.io";
/// The path of bare Engine.IO, served with `--echo` only.
const ECHO_PATH: &str = "/engine.io";

/// The argument of a `subscribe` event.
#[derive(Debug, Serialize, Deserialize)]
struct Subscribe {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Offset>,
}

/// The server half. It is not a warp filter, because warp keeps each request in memory until its
/// response is ready, and polls wait for a long time.
pub fn service(
    app: &Arc<App>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + use<>
{
    let (app, sessions) = (app.clone(), Sessions::new(app));
    let (checking, checked) = (app.clone(), sessions.clone());
    app.spawn(async move {
        checking.drain.run_until_cancelled(checked.end_abandoned(&checking)).await;
    });
    service_fn(move |request: Request<Incoming>| {
        let answering = route(&app, &sessions, request);
        let answering = answering.unwrap_or_else(|error| future::ready(Err(error)).boxed());
        answering.map(|answered| Ok(to_response(answered)))
    })
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A pending response.
type Answering = BoxFuture<'static, Result<Response, ApiError>>;

/// Starts to respond to a request, then drops the request: otherwise a pending poll would keep its
/// headers in memory, which take as much as the rest of the session.
fn route(
    app: &Arc<App>,
    sessions: &Arc<Sessions>,
    mut request: Request<Incoming>,
) -> Result<Answering, ApiError> {
    let application = match request.uri().path() {
        path if !is_below(path, ECHO_PATH) => Application::Feed,
        _ if app.config.echo => Application::Echo,
        _ => return Err(ApiError::new(StatusCode::NOT_FOUND, "start the server with --echo")),
    };
    let client = request.extensions_mut().remove::<Client>();
    let client = client.expect("every request was authenticated");
    let poller = client.clone();
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let find = |name| {
        let mut pairs = form_urlencoded::parse(query);
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    };
    let transport = match find("transport").as_deref() {
        Some("polling") => Some(Transport::SocketioPolling),
        Some("websocket") => Some(Transport::SocketioWebsocket),
        _ => None,
    };
    app.metrics.of(transport.unwrap_or(Transport::SocketioPolling)).requests.inc();
    let refuse = |text: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, text));
    let Some(transport) = transport else {
        return refuse("transport: must be 'polling' or 'websocket'");
    };
    if find("EIO").as_deref() != Some("4") {
        return refuse("EIO: must be 4, the supported version of Engine.IO");
    }
    let session = match find("sid").map(|id| sessions.find(&id)) {
        Some(None) => return refuse("sid: there is no such session, or it has ended"),
        session => session.flatten(),
    };
    let open = || sessions.open(app, client, application, transport);
    if transport == Transport::SocketioWebsocket {
        if request.method() != Method::GET {
            return refuse(
                "the method must be GET, which opens a WebSocket (RFC 6455, section 4.1)",
            );
        }
        let (response, upgrade) = match handshake::respond(request.headers(), upgrade) {
            Ok(accepted) => accepted,
            Err(refusal) => return Ok(future::ready(Ok(*refusal)).boxed()),
        };
        match session {
            None => app.spawn(socket::serve(open()?, upgrade)),
            Some(session) => serve_upgrade(app, session, poller, upgrade),
        }
        return Ok(future::ready(Ok(response)).boxed());
    }
    match (session, request.method()) {
        (Some(session), &Method::GET) => Ok(polling::poll(session, poller).boxed()),
        (Some(session), &Method::POST) => {
            Ok(polling::post(session, poller, request.into_body()).boxed())
        }
        (None, &Method::GET) => Ok(future::ready(Ok(polling::open(&*open()?))).boxed()),
        _ => refuse("the method must be GET, or POST with the sid of a session"),
    }
}

/// Replaces the polls of `session` by a WebSocket, or closes the WebSocket if that is not possible.
fn serve_upgrade(app: &Arc<App>, session: Arc<Session>, client: Client, upgrade: OnUpgrade) {
    match session.begin_upgrade() {
        true => app.spawn(socket::upgrade(session, client, upgrade)),
        false => app.spawn(socket::reject(app.clone(), client, upgrade)),
    }
}
