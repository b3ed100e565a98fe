//! The handlers of Socket.IO packets: they connect clients to namespaces, subscribe them, publish
//! and acknowledge their messages. With `--echo` they also implement the application that the
//! protocol's official test suites expect.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Subscribe;
use super::namespaces::{Application, Attachments, CUSTOM, MAIN};
use super::packet::{Incoming, Outgoing, Packet, PacketType};
use super::session::{Session, SessionEnd};
use crate::app::Query;
use crate::app::token::Right;
use crate::message::{Event, Object, Stored};

/// Largest number of attachments of one packet, the same as in Node's parser.
const ATTACHMENTS_MAX: usize = 10;
/// Longest text of an error that is sent, characters: some errors quote what the client sent.
const ERROR_CHARS: usize = 300;

/// The argument of a `publish` event.
#[derive(Debug, Deserialize)]
struct Publish {
    topic: String,
    #[serde(flatten)]
    new_message: serde_json::Value,
}

/// The acknowledgement of a `publish`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Acknowledgement {
    Stored(Stored),
    Refused { error: String },
}

impl From<Event> for Outgoing {
    fn from(event: Event) -> Outgoing {
        emit(MAIN, event.name(), &event.encode())
    }
}

fn emit(namespace: &str, name: &str, json: &str) -> Outgoing {
    let data = &format!("[\"{name}\",{json}]");
    Packet { kind: PacketType::Event, attachments: 0, namespace, id: "", data }.encode()
}

/// Processes a packet from the client.
///
/// # Errors
/// If the packet ends the session.
pub async fn receive(session: &Session, packet: Incoming<'_>) -> Result<(), SessionEnd> {
    let is_echo = session.application == Application::Echo;
    match packet {
        Incoming::Noop => Ok(()),
        Incoming::Pong => {
            session.pong();
            Ok(())
        }
        Incoming::Close => Err(SessionEnd::CLIENT_CLOSED),
        Incoming::Message(text) if is_echo => session.push(Outgoing::Text(format!("4{text}"))),
        Incoming::Binary(bytes) if is_echo => session.push(Outgoing::Binary(bytes)),
        Incoming::Message(text) => {
            if session.state().attachments.is_some() {
                return Err(SessionEnd::INVALID);
            }
            let packet = Packet::decode(text).ok_or(SessionEnd::INVALID)?;
            if packet.attachments > 0 {
                return expect_attachments(session, text, packet.attachments);
            }
            on_packet(session, packet, &[]).await
        }
        Incoming::Binary(bytes) => {
            let Some(whole) = add_attachment(session, bytes)? else { return Ok(()) };
            let packet = Packet::decode(&whole.packet).ok_or(SessionEnd::INVALID)?;
            on_packet(session, packet, &whole.arrived).await
        }
    }
}

/// Only the test suite's events may have attachments.
fn expect_attachments(session: &Session, packet: &str, wanted: usize) -> Result<(), SessionEnd> {
    if !session.app.config.echo || wanted > ATTACHMENTS_MAX {
        return Err(SessionEnd::INVALID);
    }
    let attachments = Attachments { packet: packet.to_owned(), wanted, arrived: Vec::new() };
    session.state().attachments = Some(Box::new(attachments));
    Ok(())
}

/// Adds an attachment to the packet that announced it. Returns the packet once it is complete.
fn add_attachment(session: &Session, bytes: Bytes) -> Result<Option<Box<Attachments>>, SessionEnd> {
    let mut state = session.state();
    let mut attachments = state.attachments.take().ok_or(SessionEnd::INVALID)?;
    attachments.arrived.push(bytes);
    let size = attachments.packet.len() + attachments.arrived.iter().map(Bytes::len).sum::<usize>();
    if size > session.app.config.max_message_bytes_encoded() {
        return Err(SessionEnd::INVALID);
    }
    if attachments.arrived.len() == attachments.wanted {
        return Ok(Some(attachments));
    }
    state.attachments = Some(attachments);
    Ok(None)
}

async fn on_packet(
    session: &Session,
    packet: Packet<'_>,
    attachments: &[Bytes],
) -> Result<(), SessionEnd> {
    if packet.kind == PacketType::Connect {
        return connect(session, packet);
    }
    let is_connected = session.state().namespaces.of(packet.namespace).is_some_and(|it| *it);
    if !is_connected {
        return Err(SessionEnd::INVALID);
    }
    match packet.kind {
        PacketType::Disconnect => {
            let mut state = session.state();
            if packet.namespace == MAIN {
                state.unsubscribe();
            }
            state.namespaces.of(packet.namespace).into_iter().for_each(|it| *it = false);
            Ok(())
        }
        PacketType::Event | PacketType::BinaryEvent => on_event(session, packet, attachments).await,
        // The server requests no acknowledgements.
        PacketType::Ack | PacketType::BinaryAck => {
            let data: Result<Vec<&RawValue>, _> = serde_json::from_str(packet.data);
            data.map(drop).map_err(|_| SessionEnd::INVALID)
        }
        PacketType::Connect | PacketType::ConnectError => Err(SessionEnd::INVALID),
    }
}

/// Connects a client to a namespace, or reports that there is none of that name.
fn connect(session: &Session, packet: Packet<'_>) -> Result<(), SessionEnd> {
    let payload = if packet.data.is_empty() { "{}" } else { packet.data };
    serde_json::from_str::<serde_json::Map<_, _>>(payload).map_err(|_| SessionEnd::INVALID)?;
    let is_echo = session.app.config.echo;
    let is_known = packet.namespace == MAIN || is_echo && packet.namespace == CUSTOM;
    if !is_known {
        let data = r#"{"message":"Invalid namespace"}"#;
        return session
            .push(Packet { kind: PacketType::ConnectError, id: "", data, ..packet }.encode());
    }
    let mut state = session.state();
    let is_connected = state.namespaces.of(packet.namespace).ok_or(SessionEnd::INVALID)?;
    if std::mem::replace(is_connected, true) {
        return Err(SessionEnd::INVALID);
    }
    state.unconnected_since = None;
    drop(state);
    // Not the id of the session, which is a secret.
    let data = &format!("{{\"sid\":\"{:032x}\"}}", rand::random::<u128>());
    session.push(Packet { data, id: "", ..packet }.encode())?;
    match is_echo {
        true => session.push(emit(packet.namespace, "auth", payload)),
        false => Ok(()),
    }
}

/// `["name", argument, ...]`
async fn on_event(
    session: &Session,
    packet: Packet<'_>,
    attachments: &[Bytes],
) -> Result<(), SessionEnd> {
    let arguments: Vec<&RawValue> =
        serde_json::from_str(packet.data).map_err(|_| SessionEnd::INVALID)?;
    let name = arguments.first().and_then(|name| serde_json::from_str::<Cow<str>>(name.get()).ok());
    let (name, first) = (name.ok_or(SessionEnd::INVALID)?, arguments.get(1).copied());
    let is_echo = session.app.config.echo;
    match &*name {
        "message" if is_echo => {
            let data = &json_array(Some("\"message-back\""), &arguments[1..]);
            echo(session, Packet { data, ..packet }, attachments)
        }
        "message-with-ack" if is_echo => {
            let kind = if attachments.is_empty() { PacketType::Ack } else { PacketType::BinaryAck };
            let data = &json_array(None, &arguments[1..]);
            echo(session, Packet { kind, data, ..packet }, attachments)
        }
        "subscribe" if packet.namespace == MAIN => subscribe(session, first),
        "publish" if packet.namespace == MAIN => {
            // Boxed: there can be thousands of sessions, and publishing may wait for the disk.
            drop(arguments);
            publish(session, packet, first).await
        }
        // Ignored, as by any server that has no handler for the event.
        _ => Ok(()),
    }
}

fn json_array(first: Option<&str>, rest: &[&RawValue]) -> String {
    let items: Vec<&str> = first.into_iter().chain(rest.iter().map(|it| it.get())).collect();
    format!("[{}]", items.join(","))
}

fn echo(session: &Session, packet: Packet<'_>, attachments: &[Bytes]) -> Result<(), SessionEnd> {
    session.push(packet.encode())?;
    attachments.iter().try_for_each(|bytes| session.push(Outgoing::Binary(bytes.clone())))
}

/// The first argument, a JSON object.
fn argument<'a, T: Deserialize<'a>>(first: Option<&'a RawValue>) -> Result<T, String> {
    let first = first.ok_or("the event has no argument; it needs an object with a topic")?;
    let argument = serde_json::from_str(first.get());
    argument.map(|Object(argument)| argument).map_err(|error| error.to_string())
}

fn shortened(error: String) -> String {
    error.chars().take(ERROR_CHARS).collect()
}

/// Subscribes the client. It has one subscription at a time: a new one replaces the last.
fn subscribe(session: &Session, first: Option<&RawValue>) -> Result<(), SessionEnd> {
    let subscription = argument(first).and_then(|asked: Subscribe| {
        let app = &session.app;
        let topic = app.topic_name(&asked.topic).map_err(|error| error.message)?;
        let query = Query {
            epoch: asked.epoch.map(String::from),
            after: asked.after.map(|offset| offset.to_string()),
            ..Query::default()
        };
        let demanded = session.client.authorize(app, Right::Subscribe, &topic);
        let subscription = demanded.and_then(|()| {
            let topic = app.topic(&topic, Some(&session.client))?;
            let cursor = query.check(app, &topic)?.cursor.unwrap_or_else(|| topic.head());
            Ok((topic, cursor, app.admit_subscriber(session.transport(), &session.client)?))
        });
        subscription.map_err(|error| error.message)
    });
    match subscription {
        Ok((topic, cursor, guard)) => session.subscribe(topic, cursor, guard),
        Err(error) => session.push(Event::Error { error: shortened(error) }.into()),
    }
}

async fn publish(
    session: &Session,
    packet: Packet<'_>,
    first: Option<&RawValue>,
) -> Result<(), SessionEnd> {
    let (app, client) = (&session.app, &session.client);
    let stored = async {
        let Publish { topic, new_message } = argument(first)?;
        let topic = app.topic_name(&topic).map_err(|error| error.message)?;
        client.authorize_publish(app, &topic).map_err(|error| error.message)?;
        let json = new_message.to_string();
        let stored = app.publish_for(Some(client), &topic, json.as_bytes()).await;
        stored.map_err(|error| error.message)
    };
    let acknowledgement = match stored.await {
        Ok(stored) => Acknowledgement::Stored(stored),
        Err(error) => Acknowledgement::Refused { error: shortened(error) },
    };
    if packet.id.is_empty() {
        return Ok(());
    }
    let data = &serde_json::to_string(&(acknowledgement,)).expect("strings and numbers");
    session.push(Packet { kind: PacketType::Ack, data, ..packet }.encode())
}
