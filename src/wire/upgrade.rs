//! A connection that has left HTTP for WebSocket (RFC 6455), the subscriber's end of it.

use std::time::Instant;

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Dialer, WireError, WireStream, head_bytes};

/// Bytes of a connection's read buffer: tungstenite's own default is 128 KiB, zeroed, for each of
/// thousands of idle subscribers.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Bytes of a frame that a subscriber accepts.
const RECEIVED_BYTES_MAX: usize = 1 << 20;

/// Connects and upgrades, counted as one request of a subscriber. The heads are counted as headers,
/// everything after them as framing.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub async fn upgrade(
    dialer: &Dialer,
    path: &str,
) -> Result<WebSocketStream<WireStream>, WireError> {
    let started = Instant::now();
    let stream = dialer.dial().await.map_err(WireError::Connect)?;
    let mut request = format!("ws://{}{path}", dialer.address()).into_client_request()?;
    let headers = dialer.headers().iter();
    request.headers_mut().extend(headers.map(|(name, value)| (name.clone(), value.clone())));
    dialer.admit_request().await;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(RECEIVED_BYTES_MAX))
        .max_frame_size(Some(RECEIVED_BYTES_MAX));
    let (mut socket, response) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    socket.get_mut().leave_http(head_bytes(response.status(), response.headers()));
    dialer.meter().ready_after(started.elapsed());
    Ok(socket)
}

impl From<WsError> for WireError {
    fn from(error: WsError) -> WireError {
        match error {
            WsError::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                WireError::refused(response.status(), response.headers(), body)
            }
            other => WireError::Broken(other.into()),
        }
    }
}
