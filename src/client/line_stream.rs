//! A response that does not end, of lines (NDJSON).

use bytes::{Buf, BytesMut};

use super::{ClientError, Dialer, HttpStream};
use crate::message::StreamItem;

/// Largest line that a subscriber accepts, bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The lines, as they arrive.
#[derive(Debug)]
pub struct LineStream {
    stream: HttpStream,
    /// Received and not returned yet.
    buffer: BytesMut,
}

impl LineStream {
    /// As [`HttpStream::get`].
    ///
    /// # Errors
    /// As [`HttpStream::get`].
    pub async fn get(dialer: &Dialer, path: &str) -> Result<LineStream, ClientError> {
        Ok(LineStream { stream: HttpStream::get(dialer, path).await?, buffer: BytesMut::new() })
    }

    /// The next message or event; empty lines, which are heartbeats, are skipped.
    ///
    /// # Errors
    /// If the stream ends or breaks, or a line is too long or neither of the two.
    pub async fn next_item(&mut self) -> Result<StreamItem, ClientError> {
        loop {
            let line = self.next_line().await?;
            if !line.is_empty() {
                let not_utf8 = |_| ClientError::ProtocolError("text that is not UTF-8".to_owned());
                return self.stream.item(std::str::from_utf8(&line).map_err(not_utf8)?);
            }
        }
    }

    async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        let mut searched = 0;
        loop {
            let rest = &self.buffer[searched..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + length);
                self.buffer.advance(1);
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                let error = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::ProtocolError(error));
            }
            self.buffer.extend_from_slice(&self.stream.next_chunk().await?);
        }
    }
}
