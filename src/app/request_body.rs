//! Reads the body of a request: within `--body-timeout`, within a number of bytes, and charged to
//! its connection while it arrives and while it is processed.

use bytes::Buf;
use futures_util::{Stream, StreamExt as _};
use warp::http::StatusCode;

use super::memory::{Account, Charge, FREE_BYTES, OverLimit};
use super::metrics::Refusal;
use super::{ApiError, App};

/// A body that has arrived. Its connection is charged for it until this is dropped.
#[derive(Debug)]
pub struct RequestBody {
    pub bytes: Vec<u8>,
    _charge: Charge,
}

/// Why a body could not be read.
enum NoBody {
    TooLarge,
    EndedEarly,
    OverLimit(OverLimit),
}

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit {
    bytes: usize,
    /// Bytes of the message in it, which exists beside the body while it is decoded.
    decoded_bytes: usize,
    /// The flag that sets the limit.
    flag: Option<&'static str>,
}

impl BodyLimit {
    /// That of a message: [`ServerConfig::max_message_bytes_encoded`].
    ///
    /// [`ServerConfig::max_message_bytes_encoded`]: super::ServerConfig::max_message_bytes_encoded
    pub fn of_message(app: &App) -> BodyLimit {
        BodyLimit {
            bytes: app.config.max_message_bytes_encoded(),
            decoded_bytes: app.config.max_message_bytes,
            flag: Some("--max-message-bytes"),
        }
    }

    /// A fixed one.
    pub const fn fixed(bytes: usize) -> BodyLimit {
        BodyLimit { bytes, decoded_bytes: bytes, flag: None }
    }

    /// Rejects a body by its `Content-Length`, before it is read.
    ///
    /// # Errors
    /// If it is too large.
    pub fn check(self, app: &App, announced: Option<usize>) -> Result<(), ApiError> {
        match announced.is_some_and(|bytes| bytes > self.bytes) {
            true => Err(self.exceeded(app)),
            false => Ok(()),
        }
    }

    fn exceeded(self, app: &App) -> ApiError {
        app.metrics.refused(Refusal::MessageBytes);
        let see = self.flag.map(|flag| format!(" (see {flag})")).unwrap_or_default();
        let text = format!("the body has more than {} bytes{see}", self.bytes);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

/// Reads the body. The parts are copied into one buffer: a client can send one byte at a time, and
/// each such part would keep a buffer of its own. The buffer doubles as bytes arrive, up to the
/// limit; `Content-Length` is not used, because a client could announce a large body and send
/// nothing.
///
/// # Errors
/// If the body is too large, ends early, takes too long, or exceeds the client's memory limit.
pub async fn read_body<B: Buf, E>(
    app: &App,
    account: &Account,
    limit: BodyLimit,
    parts: impl Stream<Item = Result<B, E>>,
) -> Result<RequestBody, ApiError> {
    let reading = read_parts(account.charge(), limit, parts);
    let refuse = |refusal, status, text: String| {
        app.metrics.refused(refusal);
        Err(ApiError::new(status, text))
    };
    match app.pauses.timeout(app.config.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(NoBody::EndedEarly)) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "the body ended too early"))
        }
        Ok(Err(NoBody::TooLarge)) => Err(limit.exceeded(app)),
        Ok(Err(NoBody::OverLimit(over))) => {
            refuse(Refusal::HeldBytes, StatusCode::SERVICE_UNAVAILABLE, over.to_string())
        }
        Err(_) => {
            let text = "the body did not arrive within --body-timeout".to_owned();
            refuse(Refusal::SlowBody, StatusCode::REQUEST_TIMEOUT, text)
        }
    }
}

async fn read_parts<B: Buf, E>(
    mut charge: Charge,
    limit: BodyLimit,
    parts: impl Stream<Item = Result<B, E>>,
) -> Result<RequestBody, NoBody> {
    let mut parts = std::pin::pin!(parts);
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(part) = parts.next().await {
        let mut part = part.map_err(|_| NoBody::EndedEarly)?;
        let size = bytes.len() + part.remaining();
        if size > limit.bytes {
            return Err(NoBody::TooLarge);
        }
        // The client is charged before the buffer grows, and for all of the buffer.
        if size > bytes.capacity() {
            let capacity = size.next_power_of_two().clamp(size, limit.bytes);
            // The message that is decoded from the body exists beside it.
            let decoded = if size > FREE_BYTES { size.min(limit.decoded_bytes) } else { 0 };
            charge.set_unless_small(capacity + decoded).map_err(NoBody::OverLimit)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        while part.has_remaining() {
            bytes.extend_from_slice(part.chunk());
            part.advance(part.chunk().len());
        }
    }
    Ok(RequestBody { bytes, _charge: charge })
}
