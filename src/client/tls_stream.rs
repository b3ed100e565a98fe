//! A connection under TLS, or not. The bytes that TLS adds, its handshake among them, are counted
//! as framing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Link, Meter};
use crate::tls::Trust;

/// What carries a subscriber's bytes.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(Link<TcpStream>),
    Sealed(Box<TlsStream<Counted>>),
}

impl Carrier {
    /// Shakes hands on `link` if there is somebody to trust.
    pub async fn on(
        link: Link<TcpStream>,
        trust: Option<&Trust>,
        meter: &Arc<Meter>,
    ) -> io::Result<Carrier> {
        let Some(trust) = trust else { return Ok(Carrier::Plain(link)) };
        let counted = Counted { link, meter: meter.clone() };
        let stream = trust.connector.connect(trust.name.clone(), counted).await?;
        Ok(Carrier::Sealed(Box::new(stream)))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Plain(link) => Pin::new(link).poll_read(cx, buf),
            Carrier::Sealed(stream) => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
                // Whoever reads counts what is in the seal.
                stream.get_ref().0.count(0, before as i64 - buf.filled().len() as i64);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Carrier::Plain(link) => Pin::new(link).poll_write(cx, buf),
            Carrier::Sealed(stream) => {
                let count = ready!(Pin::new(&mut *stream).poll_write(cx, buf))?;
                stream.get_ref().0.count(-(count as i64), 0);
                Poll::Ready(Ok(count))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Plain(link) => Pin::new(link).poll_flush(cx),
            Carrier::Sealed(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Carrier::Plain(link) => Pin::new(link).poll_shutdown(cx),
            Carrier::Sealed(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The link below TLS: all that crosses it is counted.
#[derive(Debug)]
pub(super) struct Counted {
    link: Link<TcpStream>,
    meter: Arc<Meter>,
}

impl Counted {
    fn count(&self, up: i64, down: i64) {
        self.meter.count_seal(up, down);
    }
}

impl AsyncRead for Counted {
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

impl AsyncWrite for Counted {
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
