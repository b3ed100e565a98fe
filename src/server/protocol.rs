//! Detects HTTP/1.1 or HTTP/2 from the first bytes: HTTP/2 begins with a preface that is not a
//! valid HTTP/1.1 request (RFC 9113, section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::app::forward_writes;

/// The connection preface of an HTTP/2 client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The version of HTTP on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the version is known, at most as many bytes as the preface has. Returns the version
/// and the bytes read.
///
/// # Errors
/// If the stream breaks or ends before that.
pub(super) async fn detect<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Protocol, Bytes)> {
    let mut first = [0; PREFACE.len()];
    let mut count = 0;
    while count < PREFACE.len() && PREFACE.starts_with(&first[..count]) {
        match stream.read(&mut first[count..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => count += more,
        }
    }
    let protocol = if first == PREFACE { Protocol::Http2 } else { Protocol::Http1 };
    Ok((protocol, Bytes::copy_from_slice(&first[..count])))
}

/// A stream with bytes that were read ahead, which are returned first.
#[derive(Debug)]
pub(super) struct Rewind<S> {
    first: Bytes,
    stream: S,
}

impl<S> Rewind<S> {
    /// Wraps `stream`, from which `first` has been read.
    pub fn new(first: Bytes, stream: S) -> Self {
        Rewind { first, stream }
    }

    /// Returns the bytes that have not been replayed, and the stream.
    pub fn into_parts(self) -> (Bytes, S) {
        (self.first, self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..count]);
        self.first.advance(count);
        if self.first.is_empty() {
            // Frees the memory, which an empty slice would not.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    forward_writes!(stream);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_read_ahead_are_read_again_in_any_fragmentation() {
        let cases: [(&[u8], Protocol); 4] = [
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"PUT /topics", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", Protocol::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nno", Protocol::Http1),
        ];
        for (sent, expected) in cases {
            for part in [1, 5, 100] {
                let (mut near, mut far) = tokio::io::duplex(part);
                let sending = async move {
                    near.write_all(sent).await.expect("the other end reads");
                };
                let receiving = async {
                    let (protocol, first) = detect(&mut far).await.expect("bytes were sent");
                    let mut rewound = Rewind::new(first, far);
                    let mut received = Vec::new();
                    rewound.read_to_end(&mut received).await.expect("reads to the end");
                    (protocol, received)
                };
                let ((protocol, received), ()) = tokio::join!(receiving, sending);
                assert_eq!((protocol, &received[..]), (expected, sent));
            }
        }
        assert!(detect(&mut tokio::io::empty()).await.is_err());
        assert!(detect(&mut &b"PRI"[..]).await.is_err(), "cut short");
    }
}
