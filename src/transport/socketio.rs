//! Socket.IO: events with names and acknowledgements, on whichever of long polling and WebSocket
//! works (Socket.IO protocol v5 on Engine.IO protocol v4).
//!
//! # On the wire
//! ```text
//! GET /socket.io/?EIO=4&transport=polling         0{"sid":..}, a session; or transport=websocket
//! GET|POST /socket.io/?EIO=4&transport=polling&sid=..           takes packets, brings packets
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
//! Where it happens for the transport below: in the server, once for each request or on one
//! connection. Both wait in `Session::next`. What is added is a session that outlives a request, so
//! that a client may change from polls to a WebSocket, or stay with polls if that fails.
//!
//! # What it costs
//! What the transport below costs, and `42["message",` and `]` around each message: 14 bytes. The
//! start takes more round trips. A poll's response has at most sixteen packets. A subscriber that
//! polls costs the server a session beside its connection; on a WebSocket, one task.
//!
//! # Its parts
//! `packet`: what is on the wire. `session`: what outlives a request; `sessions`: all of them.
//! `polling` and `socket`: what carries a session. `application`: what events do. `subscriber` and
//! `engine`: the client half.

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
use sessions::Sessions;
pub use subscriber::Subscriber;

/// The path of Socket.IO, whatever the topic; clients add a slash.
const PATH: &str = "/socket.io";
/// The path of bare Engine.IO, served with `--echo` only.
const ECHO_PATH: &str = "/engine.io";

/// What a client subscribes to.
#[derive(Debug, Serialize, Deserialize)]
struct Subscribe {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Offset>,
}

/// The server half. It is not a warp filter, because warp keeps a request until it is answered, and
/// polls wait for long.
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

/// Starts to answer a request, of which nothing is kept: a pending poll would otherwise keep its
/// headers, which need as much memory as everything else.
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
            Some(session) if session.begin_upgrade() => {
                app.spawn(socket::upgrade(session, poller, upgrade));
            }
            Some(_) => app.spawn(socket::reject(app.clone(), poller, upgrade)),
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
