//! A stream that charges its connection for bytes that were read and are not processed yet: the
//! parts of a WebSocket message. tungstenite keeps them until the message is complete and does not
//! report their size.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::forward_writes;
use super::memory::{Account, Charge, OverLimit};

/// A part of a message is kept twice until the next one arrives: in the buffer that it was read
/// into, and at the end of the message.
const COPIES: usize = 2;
/// Bytes of a control frame from a client beside its payload (RFC 6455, section 5.2).
const CONTROL_FRAME_BYTES: usize = 6;

/// A stream whose reads fail once the client's memory limit is reached. The error then contains
/// [`OverLimit`].
#[derive(Debug)]
pub struct ChargedReads<S> {
    stream: S,
    charge: Charge,
    /// Bytes read since the last message was complete.
    held: usize,
    /// A message was complete. It has been processed when the next read begins.
    is_complete: bool,
}

impl<S> ChargedReads<S> {
    /// Wraps `stream`, from which nothing has been read yet.
    pub fn new(stream: S, account: &Account) -> ChargedReads<S> {
        ChargedReads { stream, charge: account.charge(), held: 0, is_complete: false }
    }

    /// A control frame with `payload_bytes` bytes of payload was read. It can be in the middle of a
    /// message.
    pub fn end_control_frame(&mut self, payload_bytes: usize) {
        self.held = self.held.saturating_sub(payload_bytes + CONTROL_FRAME_BYTES);
    }

    /// The message is complete, and is charged for until the next read. `decoded_bytes` is the size
    /// of its decoded form, which exists in addition.
    ///
    /// # Errors
    /// If this exceeds the client's memory limit.
    pub fn end_message(&mut self, decoded_bytes: usize) -> Result<(), OverLimit> {
        self.is_complete = true;
        self.charge.set_unless_small(COPIES * self.held + decoded_bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ChargedReads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_complete) {
            self.held = 0;
            self.charge.set_unless_small(0).expect("nothing always fits");
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.held += buf.filled().len() - before;
        let bytes = COPIES * self.held;
        Poll::Ready(self.charge.set_unless_small(bytes).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ChargedReads<S> {
    forward_writes!(stream);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::app::memory::{ClientMemory, ClientMemoryLimits, FREE_BYTES};

    #[tokio::test]
    async fn parts_of_a_message_are_charged_until_it_is_processed() {
        const LIMIT: usize = 4 * COPIES * FREE_BYTES;
        let limits = ClientMemoryLimits { connection: LIMIT, address: LIMIT, server: LIMIT };
        let memory = ClientMemory::new(limits);
        let mut stream = ChargedReads::new(tokio::io::repeat(b'x'), &memory.account(None));
        let mut part = vec![0; FREE_BYTES];
        stream.read_exact(&mut part[..FREE_BYTES / COPIES]).await.expect("room");
        assert_eq!(memory.used(), 0, "small messages are free");
        stream.read_exact(&mut part[..FREE_BYTES / COPIES]).await.expect("room");
        stream.read_exact(&mut part).await.expect("room");
        assert_eq!(memory.used(), 2 * COPIES * FREE_BYTES);
        stream.end_control_frame(94);
        stream.read_exact(&mut part[..100]).await.expect("room");
        assert_eq!(memory.used(), 2 * COPIES * FREE_BYTES, "a ping in the middle is not held");
        stream.end_message(FREE_BYTES).expect("room");
        assert_eq!(memory.used(), (2 * COPIES + 1) * FREE_BYTES);
        stream.read_exact(&mut part[..1]).await.expect("room");
        assert_eq!(memory.used(), 0, "the next message has begun");
        let mut all = vec![0; LIMIT];
        let error = stream.read_exact(&mut all).await.expect_err("over the limit");
        assert!(error.get_ref().is_some_and(|error| error.is::<OverLimit>()), "{error}");
        assert!(memory.used() <= LIMIT);
        drop(stream);
        assert_eq!(memory.used(), 0);
    }
}
