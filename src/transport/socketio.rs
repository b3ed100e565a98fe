//! Socket.IO: events with names and acknowledgements, on whichever of long polling and WebSocket
//! works (Socket.IO protocol v5 on Engine.IO protocol v4).
//!
//! # On the wire
//! ```text
//! GET|POST /socket.io/?EIO=4&transport=polling   or   transport=websocket, upgrade
//!     client: 40   server: 40{"sid":..}                                    connected
//!     client: 42["subscribe",{"topic":..,"epoch":..,"after":..}]
//!     server: 42["subscribed",{..}] first, then 42["message",{..}]; 42["gap"|"reset"|"error",{..}]
//!     client: 421["publish",{"topic":..,"sender":..,"text":..}]
//!     server: 431[{"epoch":..,"offset":..}]                                acknowledged
//!     server: 2   client: 3                                                now and then
//! ```
//!
//! # Where the waiting happens
//! Where it happens for the transport below: in the server, once for each request or on one
//! connection. What is added is a session that outlives a request, and a queue for each of them.
//!
//! # What it costs
//! What the transport below costs, and `42["message",` and `]` around each message: 14 bytes. The
//! start takes more round trips. A subscriber costs the server several tasks and that queue. An
//! answer to a poll has a dozen messages at most.

mod engine;
mod outbox;

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{self, TryFutureExt as _};
use http_body_util::Either;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::socket::Sid;
use socketioxide::{SocketIo, TransportType};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer as _;
use warp::reply::Response;

use super::{Received, SubscribeOptions};
use crate::app::metrics::{Refusal, SubscriberGuard};
use crate::app::token::Right;
use crate::app::{ApiError, App, Client, Query, Subscription};
use crate::client::{ClientError, Dialer, Kind};
use crate::message::{Cursor, Epoch, Event, Message, Offset, Stored};
use crate::variant::Transport;
use engine::Engine;
use outbox::{Asked, Flow, Flows, Gone, Outbox, QUEUE_PACKETS};

/// Where Socket.IO lives, whatever the topic; clients add a slash.
const PATH: &str = "/socket.io";
/// Messages that are read from the feed at once.
const READ_MESSAGES: usize = 128;
/// What a client may ask for before it has read the answers. One that asks for more is told to
/// leave, since there is no way to make it wait.
const UNANSWERED_MAX: usize = 1_024;
/// Time between two looks at what does not tell: whether there is room in a full queue again, say.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Time between two looks at what mostly tells, or where nothing is in a hurry.
const LOOK_AGAIN_POLLING: Duration = Duration::from_millis(250);
/// Time that the acknowledgement of a connection may take to be in force, far beyond what it takes.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a WebSocket's read buffer.
const READ_BUFFER_BYTES: usize = 4 << 10;

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The server half: answers what is Socket.IO's, and leaves the rest to `routes`.
pub fn beside<S>(
    app: &Arc<App>,
    routes: S,
) -> impl Service<
    Request<Incoming>,
    Response = hyper::Response<impl Body<Data = Bytes, Error = BodyError> + Send + use<S>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
    S::Future: Send,
{
    let request_bytes_max = app.config.max_message_bytes_encoded();
    let (layer, io) = SocketIo::builder()
        .ping_interval(app.config.heartbeat)
        .ping_timeout(app.config.heartbeat)
        .max_buffer_size(QUEUE_PACKETS)
        .max_payload(request_bytes_max as u64)
        .ws_max_message_size(request_bytes_max)
        .ws_max_frame_size(request_bytes_max)
        .ws_read_buffer_size(READ_BUFFER_BYTES)
        .build_layer();
    let greeted = app.clone();
    // As a middleware: what is registered after the connection was acknowledged may be too late for
    // the client's first packet.
    io.ns(
        "/",
        (async || ()).with(async move |socket: SocketRef, io: SocketIo| {
            greet(&greeted, io, &socket);
            Ok::<_, Infallible>(())
        }),
    );
    let drained = app.drain.clone();
    app.spawn(async move {
        drained.cancelled().await;
        // Without a disconnect packet, after which official clients would stay away for good.
        io.close().await;
    });
    let service = layer.layer(routes);
    let (app, flows) = (app.clone(), Arc::new(Flows::default()));
    service_fn(move |mut request: Request<Incoming>| {
        count(&app, &request);
        let visit = flows.visit(&mut request);
        let answering = service.call(request);
        match visit {
            None => future::Either::Right(answering.map_ok(|it| it.map(Either::Right))),
            // In a box, since every connection keeps room for the larger of the two.
            Some(visit) => future::Either::Left(Box::pin(async move {
                Ok(visit.answered(answering.await?).await.map(Either::Left))
            })),
        }
    })
}

/// True for all paths that the library answers on, the bare one included.
pub fn is_socket_io(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn count(app: &App, request: &Request<Incoming>) {
    if is_socket_io(request.uri().path()) {
        let is_websocket =
            request.uri().query().is_some_and(|query| query.contains("transport=websocket"));
        app.metrics.of(transport(is_websocket)).requests.inc();
    }
}

fn transport(is_websocket: bool) -> Transport {
    if is_websocket { Transport::SocketioWebsocket } else { Transport::SocketioPolling }
}

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
struct Subscribe {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Offset>,
}

/// What a client says.
#[derive(Debug, Deserialize)]
struct Publish {
    topic: String,
    #[serde(flatten)]
    draft: serde_json::Value,
}

/// The acknowledgement of a `publish`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Acknowledgement {
    Stored(Stored),
    Refused { error: String },
}

/// Says what a new client may do. It has one subscription at a time: another replaces the first.
fn greet(app: &Arc<App>, io: SocketIo, socket: &SocketRef) {
    let extensions = &socket.req_parts().extensions;
    let client = extensions.get::<Client>().expect("every request has passed the gate").clone();
    let left = CancellationToken::new();
    let current = Arc::new(Mutex::new(left.child_token()));
    // A connection that comes to nothing does not tell, and takes this with it.
    let leaving = Arc::new(left.clone().drop_guard());
    socket.on_disconnect(async move || drop(leaving));
    let (drain, has_left) = (app.drain.clone(), left.clone());
    let dismissed = dismiss(client.expired(), io, socket.id);
    app.spawn(async move {
        tokio::select! {
            () = dismissed => {}
            () = has_left.cancelled() => {}
            () = drain.cancelled() => {}
        }
    });
    let (publisher, publisher_left, flow) = (client.clone(), left.clone(), Flow::of(socket));
    let (app_for_publishing, flow_for_publishing) = (app.clone(), flow.clone());
    let app = app.clone();
    let unanswered = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let unanswered_publications = unanswered.clone();
    socket.on("subscribe", async move |socket: SocketRef, TryData::<Subscribe>(asked)| {
        let Some(_one) = one_more(&app, &unanswered, &socket) else { return };
        let asked = asked.map_err(|error| error.to_string());
        let subscribed = asked.and_then(|asked| {
            let subscription = subscription(&app, &client, &asked);
            let held = app.hold(transport_of(&socket));
            subscription.and_then(|it| Ok((it, held?))).map_err(|error| error.message)
        });
        let outbox = Outbox { socket, flow: flow.clone() };
        match subscribed {
            Ok((subscription, held)) => {
                let stop = left.child_token();
                let mut current = current.lock().expect("no panic under this lock");
                std::mem::replace(&mut *current, stop.clone()).cancel();
                let session = Session::new(app.clone(), outbox, subscription, held);
                app.spawn(async move {
                    // A subscriber that is gone has ended its session; there is nobody to tell.
                    let _ = stop.run_until_cancelled(session.run()).await;
                });
            }
            Err(error) => {
                let telling = outbox.tell(Event::Error { error });
                let _ = left.run_until_cancelled(telling).await;
            }
        }
    });
    socket.on("publish", async move |socket, TryData::<Publish>(said), asked: Asked| {
        let app = &app_for_publishing;
        let Some(_one) = one_more(app, &unanswered_publications, &socket) else { return };
        let said = said.map_err(|error| error.to_string());
        let stored = match said {
            Ok(said) => publish(app, &publisher, &said).await.map_err(|error| error.message),
            Err(error) => Err(error),
        };
        let acknowledgement =
            stored.map_or_else(|error| Acknowledgement::Refused { error }, Acknowledgement::Stored);
        let outbox = Outbox { socket, flow: flow_for_publishing.clone() };
        // A client that has left misses it.
        let telling = outbox.acknowledge(asked, &acknowledgement);
        let _ = publisher_left.run_until_cancelled(telling).await;
    });
}

/// Sends a client away once its token has expired, and again until it has left: that takes a place
/// in its queue. Holds no client that has left of its own accord.
async fn dismiss(expired: impl Future<Output = ()>, io: SocketIo, session: Sid) {
    expired.await;
    let guest = || io.of("/").and_then(|guests| guests.get_socket(session));
    while guest().is_none_or(|guest| guest.disconnect().is_err()) {
        sleep(LOOK_AGAIN_POLLING).await;
    }
}

/// Counts what the client asked for as unanswered until this is dropped. `None` if that is too
/// much: then it is told to leave.
fn one_more<'a>(
    app: &App,
    unanswered: &'a Semaphore,
    socket: &SocketRef,
) -> Option<SemaphorePermit<'a>> {
    let one = unanswered.try_acquire().ok();
    if one.is_none() && socket.connected() {
        app.metrics.refused(Refusal::SlowReader);
        let _ = socket.clone().disconnect();
    }
    one
}

fn subscription(app: &App, client: &Client, asked: &Subscribe) -> Result<Subscription, ApiError> {
    client.demand(app, Right::Subscribe, &app.topic_name(&asked.topic)?)?;
    let query = Query {
        epoch: asked.epoch.map(String::from),
        after: asked.after.map(|offset| offset.to_string()),
        ..Query::default()
    };
    Subscription::parse(app, &asked.topic, &query)
}

async fn publish(app: &App, client: &Client, said: &Publish) -> Result<Stored, ApiError> {
    let topic = app.topic_name(&said.topic)?;
    client.may_publish(app, &topic)?;
    app.publish(&topic, said.draft.to_string().as_bytes()).await
}

/// One subscription of one client.
struct Session {
    app: Arc<App>,
    outbox: Outbox,
    subscription: Subscription,
    cursor: Cursor,
    _held: SubscriberGuard,
}

impl Session {
    fn new(
        app: Arc<App>,
        outbox: Outbox,
        subscription: Subscription,
        held: SubscriberGuard,
    ) -> Session {
        let cursor = subscription.cursor.unwrap_or_else(|| subscription.topic.head());
        Session { app, outbox, subscription, cursor, _held: held }
    }

    async fn run(mut self) -> Result<(), Gone> {
        // The acknowledgement of a connection may be on its way a moment before it is in force.
        let in_force = async {
            while !self.outbox.socket.connected() {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(IN_FORCE_WITHIN, in_force).await.map_err(|_| Gone)?;
        let Cursor { epoch, offset } = self.cursor;
        self.outbox.tell(Event::Subscribed { epoch, cursor: offset }).await?;
        let drain = self.app.drain.clone();
        loop {
            // Here the server waits: for the topic, and for the end.
            tokio::select! {
                () = self.subscription.topic.wait_after(self.cursor) => self.push().await?,
                () = drain.cancelled() => return Ok(()),
            }
        }
    }

    /// Queues whatever there is after the cursor; who empties the queue sends it at once.
    async fn push(&mut self) -> Result<(), Gone> {
        let slice = match self.subscription.topic.read_after(self.cursor, READ_MESSAGES).await {
            Ok(slice) => slice,
            Err(error) => {
                // It keeps its connection, and may subscribe again with its cursor.
                self.outbox.tell(Event::Error { error: error.to_string() }).await?;
                return Err(Gone);
            }
        };
        let Cursor { epoch, offset } = slice.cursor;
        if slice.gap > 0 {
            self.outbox.tell(Event::Gap { gap: slice.gap }).await?;
        }
        if slice.reset {
            self.outbox.tell(Event::Reset { epoch, cursor: offset }).await?;
        }
        for message in &slice.messages {
            let json: &RawValue =
                serde_json::from_slice(message).expect("messages are encoded as JSON");
            self.outbox.emit("message", json).await?;
        }
        self.cursor = slice.cursor;
        let metrics = self.app.metrics.of(transport_of(&self.outbox.socket));
        metrics.deliveries.inc_by(slice.messages.len() as u64);
        Ok(())
    }
}

fn transport_of(socket: &SocketRef) -> Transport {
    transport(socket.transport_type() == TransportType::Websocket)
}

/// The client half.
#[derive(Debug)]
pub struct Subscriber {
    engine: Engine,
    cursor: Cursor,
}

/// What a Socket.IO packet says, as far as a subscriber cares.
const CONNECT: &str = "0";
const CONNECTED: &str = "0{";
const EVENT: &str = "2";

impl Subscriber {
    /// Opens a session, connects, subscribes, and hears where the subscription begins. Starts on
    /// the transport that it is to stay on; there is no upgrade.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(
        transport: Transport,
        dialer: Dialer,
        options: SubscribeOptions,
    ) -> Result<Subscriber, ClientError> {
        let mut engine = Engine::open(transport == Transport::SocketioWebsocket, dialer).await?;
        engine.send(CONNECT).await?;
        let packet = engine.receive().await?;
        if !packet.starts_with(CONNECTED) {
            return Err(ClientError::ProtocolError(format!("'{packet}' before the connection")));
        }
        let subscribe = Subscribe {
            topic: options.topic.to_string(),
            epoch: options.cursor.map(|cursor| cursor.epoch),
            after: options.cursor.map(|cursor| cursor.offset),
        };
        let json = serde_json::to_string(&("subscribe", subscribe)).expect("strings and numbers");
        engine.send(&format!("{EVENT}{json}")).await?;
        let unknown = Cursor { epoch: Epoch(0), offset: 0 };
        let mut subscriber = Subscriber { engine, cursor: options.cursor.unwrap_or(unknown) };
        loop {
            let (_, is_subscribed) = subscriber.hear().await?;
            if is_subscribed {
                subscriber.engine.settle();
                return Ok(subscriber);
            }
        }
    }

    /// Waits for the server to speak.
    ///
    /// # Errors
    /// If the connection is gone, or what it carries makes no sense.
    pub async fn next(&mut self) -> Result<Received, ClientError> {
        Ok(self.hear().await?.0)
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next packet, and whether it was the one that begins the subscription.
    async fn hear(&mut self) -> Result<(Received, bool), ClientError> {
        let packet = self.engine.receive().await?;
        let nonsense = || ClientError::ProtocolError(format!("a packet that says {packet}"));
        let json = packet.strip_prefix(EVENT).ok_or_else(nonsense)?;
        let (name, data): (Cow<str>, &RawValue) =
            serde_json::from_str(json).map_err(|_| nonsense())?;
        let nothing = Received::default();
        if name == "message" {
            let message: Message = serde_json::from_str(data.get()).map_err(|_| nonsense())?;
            self.engine.meter().move_down(Kind::Framing, Kind::Payload, data.get().len());
            self.cursor.offset = message.offset;
            return Ok((Received { messages: vec![message], ..nothing }, false));
        }
        match serde_json::from_str(data.get()).map_err(|_| nonsense())? {
            Event::Subscribed { epoch, cursor } => {
                self.cursor = Cursor { epoch, offset: cursor };
                Ok((nothing, true))
            }
            Event::Reset { epoch, cursor } => {
                self.cursor = Cursor { epoch, offset: cursor };
                Ok((Received { reset: true, ..nothing }, false))
            }
            Event::Gap { gap } => Ok((Received { gap, ..nothing }, false)),
            Event::Error { error } => Err(ClientError::ProtocolError(error)),
            Event::Published { .. } => Err(nonsense()),
        }
    }
}
