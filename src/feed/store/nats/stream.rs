//! Opens the connection to NATS and the stream, and reports every condition that prevents it.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, StorageType,
};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::{NatsConfig, NatsError, Shared};
use crate::message::Epoch;
use crate::text::causes;

/// Marks a stream as ours, and its format. NATS 2.9 has no other place for that.
const DESCRIPTION: &str = "poll-vs-push feed 1";
/// Appended to it, before the number of the stream's generation, once NATS has lost messages.
const GENERATION: &str = ", life ";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is checked: it counts as lost after two checks without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Room for the headers of a message.
const HEADER_BYTES: usize = 512;

/// Connects to NATS. The receiver contains whether the connection is open; a lost connection is
/// restored.
pub async fn connect(config: &NatsConfig) -> Result<(Client, watch::Receiver<bool>), NatsError> {
    let address: ServerAddr = config.url.parse().map_err(|error: std::io::Error| {
        NatsError::InvalidUrl { url: config.public_url(), why: error.to_string() }
    })?;
    let (is_connected, connected) = watch::channel(true);
    let options = ConnectOptions::new()
        .name(env!("CARGO_PKG_NAME"))
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(super::REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|attempts| {
            RECONNECT_DELAY_MAX.min(Duration::from_millis(50 * attempts as u64))
        })
        .event_callback(move |event| {
            match event {
                Event::Connected => {
                    is_connected.send_replace(true);
                }
                Event::Disconnected | Event::Closed => {
                    is_connected.send_replace(false);
                }
                other => tracing::debug!(event = %other, "NATS"),
            }
            std::future::ready(())
        });
    let unreachable = |why| NatsError::Unreachable { url: config.public_url(), why };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect(address));
    let connected_client = connecting.await.map_err(|_| unreachable("no answer".to_owned()))?;
    let client = connected_client.map_err(|error| unreachable(causes(&error.into())))?;
    let needed = config.message_bytes_encoded + HEADER_BYTES;
    let max_payload = client.server_info().max_payload;
    if needed > max_payload {
        let message_bytes = config.message_bytes;
        return Err(NatsError::MaxPayload { message_bytes, needed, max_payload });
    }
    Ok((client, connected))
}

/// What distinguishes a stream from others with the same name, and from itself after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// When it was created, nanoseconds since the Unix epoch.
    created_at: i128,
    /// 1, and one more after each loss of messages that a server noticed.
    generation: u32,
}

impl Identity {
    /// `None` if the stream is not ours.
    fn of(info: &Info) -> Option<Identity> {
        let rest = info.config.description.as_deref()?.strip_prefix(DESCRIPTION)?;
        let generation =
            if rest.is_empty() { 1 } else { rest.strip_prefix(GENERATION)?.parse().ok()? };
        Some(Identity { created_at: info.created.unix_timestamp_nanos(), generation })
    }

    /// Offsets are contiguous within an epoch.
    pub fn epoch(self) -> Epoch {
        let created = (self.created_at ^ (self.created_at >> 32)) as u32;
        Epoch(created.wrapping_add((self.generation - 1).wrapping_mul(0x9e37_79b9)))
    }
}

/// Opens the stream, which is created if there is none, and gives it the present limits.
pub async fn open(jetstream: &Context, config: &NatsConfig) -> Result<Identity, NatsError> {
    let info = match jetstream.get_stream(&config.stream).await {
        Ok(stream) => stream.cached_info().clone(),
        Err(error) => {
            let GetStreamErrorKind::JetStream(cause) = error.kind() else {
                return Err(config.no_jetstream(&error));
            };
            match cause.error_code() {
                ErrorCode::STREAM_NOT_FOUND => create(jetstream, config).await?,
                code => return Err(config.refused(code, &cause)),
            }
        }
    };
    let ours = [format!("{}.*", config.stream)];
    let foreign =
        |why: &str| NatsError::ForeignStream { stream: config.stream.clone(), why: why.to_owned() };
    let identity = Identity::of(&info).filter(|_| info.config.subjects == ours);
    let identity =
        identity.ok_or_else(|| foreign("this stream on NATS belongs to another application"))?;
    if info.config.max_messages_per_subject != config.max_messages_per_subject()
        || info.config.max_bytes != config.max_bytes()
    {
        let limits = Config {
            max_messages_per_subject: config.max_messages_per_subject(),
            max_bytes: config.max_bytes(),
            ..info.config.clone()
        };
        jetstream.update_stream(limits).await.map_err(|error| config.not_created(&error))?;
    }
    Ok(identity)
}

async fn create(jetstream: &Context, config: &NatsConfig) -> Result<Info, NatsError> {
    let stream = Config {
        name: config.stream.clone(),
        description: Some(DESCRIPTION.to_owned()),
        subjects: vec![format!("{}.*", config.stream)],
        storage: StorageType::File,
        // A full stream refuses messages: if it dropped the last message of a topic, its offsets
        // would begin again.
        discard: DiscardPolicy::New,
        max_messages_per_subject: config.max_messages_per_subject(),
        max_bytes: config.max_bytes(),
        num_replicas: 1,
        ..Config::default()
    };
    match jetstream.create_stream(stream).await {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => {
            // Another server may have created it at the same time.
            let existing = jetstream.get_stream(&config.stream).await;
            existing
                .map(|stream| stream.cached_info().clone())
                .map_err(|_| config.not_created(&error))
        }
    }
}

impl NatsConfig {
    fn max_messages_per_subject(&self) -> i64 {
        i64::try_from(self.retention.messages).unwrap_or(i64::MAX)
    }

    fn max_bytes(&self) -> i64 {
        i64::try_from(self.stream_bytes).unwrap_or(i64::MAX)
    }

    /// The address without user name and password.
    fn public_url(&self) -> String {
        match self.url.rsplit_once('@') {
            None => self.url.clone(),
            Some((secret, host)) => {
                let scheme = secret.split_once("://").map_or("nats", |(scheme, _)| scheme);
                format!("{scheme}://...@{host}")
            }
        }
    }

    fn no_jetstream(&self, why: &dyn Error) -> NatsError {
        NatsError::NoJetStream { url: self.public_url(), why: why.to_string() }
    }

    fn not_created(&self, error: &async_nats::jetstream::context::CreateStreamError) -> NatsError {
        match error.kind() {
            CreateStreamErrorKind::JetStream(cause) => self.refused(cause.error_code(), &cause),
            CreateStreamErrorKind::JetStreamUnavailable => self.no_jetstream(error),
            _ => self.cannot_open(error),
        }
    }

    /// The error for an answer of JetStream.
    fn refused(&self, code: ErrorCode, why: &dyn Error) -> NatsError {
        let (stream, bytes) = (self.stream.clone(), self.stream_bytes);
        match code {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                self.no_jetstream(why)
            }
            ErrorCode::STREAM_SUBJECT_OVERLAP => {
                let why = format!("another stream on NATS takes its subjects {stream}.*");
                NatsError::ForeignStream { stream, why }
            }
            ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => {
                NatsError::TooLarge { bytes, why: why.to_string() }
            }
            _ => self.cannot_open(why),
        }
    }

    fn cannot_open(&self, why: &dyn Error) -> NatsError {
        let (url, stream) = (self.public_url(), self.stream.clone());
        NatsError::CannotOpen { url, stream, why: why.to_string() }
    }
}

impl Shared {
    /// The state of the stream according to NATS.
    ///
    /// # Errors
    /// If NATS does not respond, or the stream is not the one that was opened.
    pub(super) async fn stream_info(&self) -> Result<Info, NatsError> {
        let replaced = || NatsError::Replaced { stream: self.config.stream.clone() };
        // Before the request: later messages can arrive before the answer does.
        let reached = *self.position.borrow();
        let stream = self.jetstream.get_stream(&self.config.stream).await.map_err(|error| {
            match error.kind() {
                GetStreamErrorKind::JetStream(cause)
                    if cause.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    replaced()
                }
                _ => NatsError::Unreadable { why: error.to_string() },
            }
        })?;
        let info = stream.cached_info().clone();
        let lost = || NatsError::Lost { stream: self.config.stream.clone() };
        let identity = Identity::of(&info)
            .filter(|identity| identity.created_at == self.identity.created_at)
            .ok_or_else(replaced)?;
        if identity != self.identity {
            return Err(lost());
        }
        if info.state.last_sequence < reached {
            self.begin_next_generation(&info).await;
            return Err(lost());
        }
        Ok(info)
    }

    /// Checks that the last message that was received is still the one with its sequence number.
    /// After a loss another server may have stored a new one there.
    ///
    /// # Errors
    /// If it is another one, or the stream cannot be read.
    pub(super) async fn check_last_received(&self, info: &Info) -> Result<(), NatsError> {
        let last = *self.last_received.lock().expect("no panic under this lock");
        let Some((sequence, stored_at)) = last else { return Ok(()) };
        let unreadable = |why: String| NatsError::Unreadable { why };
        let stream = self.jetstream.get_stream_no_info(&self.config.stream).await;
        let stream = stream.map_err(|error| unreadable(error.to_string()))?;
        match stream.get_raw_message(sequence).await {
            Ok(message) if message.time.unix_timestamp_nanos() == stored_at => Ok(()),
            Ok(_) => {
                self.begin_next_generation(info).await;
                Err(NatsError::Lost { stream: self.config.stream.clone() })
            }
            // It has expired.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// Records in the stream that it has lost messages, so that all servers use a new epoch once
    /// they are restarted. Several servers write the same.
    async fn begin_next_generation(&self, info: &Info) {
        let description = format!("{DESCRIPTION}{GENERATION}{}", self.identity.generation + 1);
        let config = Config { description: Some(description), ..info.config.clone() };
        if let Err(error) = self.jetstream.update_stream(config).await {
            tracing::warn!(%error, "NATS: cannot record that messages were lost; trying again");
        }
    }

    /// The sequence number of the newest message in the stream.
    pub(super) async fn stream_end(&self) -> Result<u64, NatsError> {
        Ok(self.stream_info().await?.state.last_sequence)
    }
}
