//! The subscriber's end of a WebSocket (RFC 6455).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_util::io::poll_read_buf;

use super::http::{OpenConnection, refused, request};
use super::websocket_frames::{self as frames, FrameError, FrameReader, ServerFrame};
use super::{ByteKind, ClientError, Dialer, WireStream, head_bytes};
use crate::message::StreamItem;

/// Largest message that a subscriber accepts, bytes.
const RECEIVED_BYTES_MAX: usize = 1 << 20;
/// Bytes waiting to be sent beyond which pings are not answered: earlier pongs are still waiting.
const WAITING_BYTES_MAX: usize = 4 << 10;

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: WireStream,
    frames: FrameReader,
    /// Bytes that are not written yet.
    waiting: Vec<u8>,
}

impl WebSocket {
    /// Connects and upgrades, counted as one request of a subscriber. Bytes after the response are
    /// counted as framing, until they turn out to be a message.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn connect(dialer: &Dialer, path: &str) -> Result<WebSocket, ClientError> {
        let started = Instant::now();
        let stream = dialer.dial().await.map_err(ClientError::Connect)?;
        let mut connection = OpenConnection::on(stream).await?;
        let mut request = request(dialer, Method::GET, path, Default::default())?;
        let key = generate_key();
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, key.parse().expect("base64"));
        dialer.admit_request().await;
        let response = connection.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(response).await);
        }
        let accept = derive_accept_key(key.as_bytes());
        if response.headers().get(SEC_WEBSOCKET_ACCEPT).is_none_or(|said| *said != accept) {
            let what = "the upgrade has a wrong Sec-WebSocket-Accept".to_owned();
            return Err(ClientError::ProtocolError(what));
        }
        let head_bytes = head_bytes(response.status(), response.headers());
        let upgraded = hyper::upgrade::on(response).await?.downcast::<TokioIo<WireStream>>();
        let parts = upgraded.expect("it is the stream of the connection");
        let mut stream = parts.io.into_inner();
        stream.switch_protocols(head_bytes);
        dialer.meter().ready_after(started.elapsed());
        let received_bytes_max = RECEIVED_BYTES_MAX.min(dialer.response_bytes_max());
        let mut frames = FrameReader::new(received_bytes_max);
        // Bytes that the server sent right after its response.
        frames.read_buffer().extend_from_slice(&parts.read_buf);
        Ok(WebSocket { stream, frames, waiting: Vec::new() })
    }

    /// The next message or event; a message is counted as payload. Nothing is lost if this is
    /// dropped while it waits.
    ///
    /// # Errors
    /// As [`WebSocket::receive`], or if the text is neither of the two.
    pub async fn next_item(&mut self) -> Result<StreamItem, ClientError> {
        let read = |text: &str| match StreamItem::decode(text) {
            Ok(item) => Ok((matches!(item, StreamItem::Message(_)).then_some(text.len()), item)),
            Err(_) => {
                let error = format!("neither a message nor an event: {text}");
                Err(ClientError::ProtocolError(error))
            }
        };
        let (payload_bytes, item) = self.receive(read).await??;
        self.count_payload(payload_bytes.unwrap_or(0));
        Ok(item)
    }

    /// Counts received bytes that were message objects.
    pub fn count_payload(&self, bytes: usize) {
        self.stream.meter().move_down(ByteKind::Framing, ByteKind::Payload, bytes);
    }

    /// Waits for a text and returns it as converted by `read`; answers pings and a close meanwhile.
    /// Cancel safe.
    ///
    /// # Errors
    /// If the connection is gone or was closed, or the server breaks the protocol.
    pub async fn receive<T>(&mut self, read: impl FnOnce(&str) -> T) -> Result<T, ClientError> {
        loop {
            let said = self.frames.next_frame();
            match said {
                Ok(Some(ServerFrame::Text(text))) => return Ok(read(text)),
                Ok(Some(ServerFrame::Ping(payload))) if self.waiting.len() < WAITING_BYTES_MAX => {
                    frames::pong(payload, rand::random(), &mut self.waiting);
                }
                Ok(Some(ServerFrame::Close(close))) => {
                    let said = close.map(|(code, reason)| format!("{code} {reason}"));
                    let code = close.map(|(code, _)| code);
                    self.close(code).await;
                    return Err(ClientError::Closed(said.unwrap_or_default()));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    if std::future::poll_fn(|cx| self.poll_receive(cx)).await? == 0 {
                        return Err(ClientError::Closed("without a close frame".to_owned()));
                    }
                }
                Err(broken) => {
                    self.close(Some(broken.closing_code())).await;
                    return Err(broken.into());
                }
            }
        }
    }

    /// Sends a text.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, text: &str) -> Result<(), ClientError> {
        frames::text(text, rand::random(), &mut self.waiting);
        Ok(std::future::poll_fn(|cx| self.poll_send(cx)).await?)
    }

    /// Sends a close frame if the kernel accepts it at once; does not wait for the answer.
    async fn close(&mut self, code: Option<u16>) {
        frames::close(code, rand::random(), &mut self.waiting);
        std::future::poll_fn(|cx| {
            let _ = self.poll_send(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// The number of bytes received; zero at the end of the connection.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Even if the server does not read, the client can read from it.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, self.frames.read_buffer())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written =
                std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            self.waiting.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        ClientError::Broken(error.into())
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> ClientError {
        ClientError::Broken(error.into())
    }
}
