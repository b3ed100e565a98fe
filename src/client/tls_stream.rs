//! A connection with or without TLS. The bytes that TLS adds, with those of its handshake, are
//! counted as framing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::HandshakeKind;

use super::{DelayedStream, Meter};
use crate::tls::Trust;

/// The stream of a subscriber.
#[derive(Debug)]
pub(super) enum MaybeTlsStream {
    Plain(DelayedStream<TcpStream>),
    Tls(Box<TlsStream<CountedLink>>),
}

impl MaybeTlsStream {
    /// Performs a TLS handshake on `link`, if `trust` is given.
    pub async fn on(
        link: DelayedStream<TcpStream>,
        trust: Option<&Trust>,
        meter: &Arc<Meter>,
    ) -> io::Result<MaybeTlsStream> {
        let Some(trust) = trust else { return Ok(MaybeTlsStream::Plain(link)) };
        let counted = CountedLink { link, meter: meter.clone() };
        let stream = trust.connector().connect(trust.name.clone(), counted).await?;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            meter.resumed.fetch_add(1, Relaxed);
        }
        Ok(MaybeTlsStream::Tls(Box::new(stream)))
    }
}

impl AsyncRead for MaybeTlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            MaybeTlsStream::Plain(link) => Pin::new(link).poll_read(cx, buf),
            MaybeTlsStream::Tls(stream) => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                // The reader counts the decrypted bytes.
                stream.get_ref().0.count(0, before as i64 - buf.filled().len() as i64);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for MaybeTlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            MaybeTlsStream::Plain(link) => Pin::new(link).poll_write(cx, buf),
            MaybeTlsStream::Tls(stream) => {
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, buf))?;
                stream.get_ref().0.count(-(count as i64), 0);
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            MaybeTlsStream::Plain(link) => Pin::new(link).poll_flush(cx),
            MaybeTlsStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            MaybeTlsStream::Plain(link) => Pin::new(link).poll_shutdown(cx),
            MaybeTlsStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The link below TLS, which counts all bytes.
#[derive(Debug)]
pub(super) struct CountedLink {
    link: DelayedStream<TcpStream>,
    meter: Arc<Meter>,
}

impl CountedLink {
    fn count(&self, up: i64, down: i64) {
        self.meter.count_tls(up, down);
    }
}

impl AsyncRead for CountedLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.link).poll_read(cx, buf))?;
        self.count(0, (buf.filled().len() - before) as i64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CountedLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.link).poll_write(cx, buf))?;
        self.count(count as i64, 0);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}
