//! Errors of the store on NATS.

/// Why a feed on NATS cannot be opened or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsError {
    #[error("--nats {url}: not an address of NATS ({why}); use nats://HOST:4222")]
    InvalidUrl { url: String, why: String },
    #[error(
        "--nats {url}: cannot connect ({why}); start NATS there (nats-server -js), or give the \
         address of another one"
    )]
    Unreachable { url: String, why: String },
    #[error(
        "--nats {url}: this NATS server has no JetStream ({why}); start it with -js, or with a \
         jetstream block in its configuration"
    )]
    NoJetStream { url: String, why: String },
    #[error(
        "--nats-stream {stream}: {why}; choose another name, for example --nats-stream \
         {stream}-feed"
    )]
    ForeignStream { stream: String, why: String },
    #[error(
        "--nats-bytes {bytes}: NATS has no room for a stream of this size ({why}); lower \
         --nats-bytes, or raise max_file_store in the configuration of NATS"
    )]
    TooLarge { bytes: usize, why: String },
    #[error(
        "--max-message-bytes {message_bytes} is too large for NATS: such a message may have \
         {needed} bytes with its headers, and its max_payload is {max_payload}; lower \
         --max-message-bytes, or raise max_payload in the configuration of NATS"
    )]
    MaxPayload { message_bytes: usize, needed: usize, max_payload: usize },
    #[error("--nats {url}: cannot open the stream {stream}: {why}")]
    CannotOpen { url: String, stream: String, why: String },

    #[error(
        "the stream on NATS is full ({why}): the message is not stored; raise --nats-bytes, or \
         lower the --retain limits"
    )]
    Full { why: String },
    #[error("NATS cannot be reached: no message is stored; try again later")]
    Away,
    #[error("the stream on NATS is not followed yet; try again later")]
    NotFollowed,
    #[error(
        "NATS did not confirm the message in time ({why}): it may be stored or not; publishing is \
         possible again as soon as NATS answers"
    )]
    Unconfirmed { why: String },
    #[error("the topic is busy: the message is not stored; try again later")]
    Busy,
    #[error("messages do not arrive from NATS; try again later")]
    Stalled,
    #[error("the stream on NATS cannot be read ({why}); try again later")]
    Unreadable { why: String },
    #[error(
        "the stream {stream} on NATS was deleted or created again; restart all servers that use it"
    )]
    Replaced { stream: String },
    #[error(
        "NATS has lost messages of the stream {stream} that it had stored; restart all servers that \
         use it. They then have a new epoch, since offsets are used again, and reset the cursors of \
         clients"
    )]
    Lost { stream: String },
    #[error("the server is going away: the message is not stored")]
    Closed,
}

impl NatsError {
    /// Whether the stream is no longer the one that was opened, so that only a restart helps.
    pub fn needs_restart(&self) -> bool {
        matches!(self, NatsError::Lost { .. } | NatsError::Replaced { .. })
    }
}
