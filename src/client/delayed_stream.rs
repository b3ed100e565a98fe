//! The simulated link: delays all bytes of each direction by the one-way delay. Without it all
//! transports look alike on loopback, where a round trip takes almost no time.
//!
//! It does not simulate loss, bandwidth, or TCP's slow start and window.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Timer;

/// Bytes in flight in one direction; at the limit the sender waits, as for a full socket buffer.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;
/// Bytes read from the socket at a time.
const READ_BYTES: usize = 8 << 10;

/// A stream whose two directions take `delay` each.
#[derive(Debug)]
pub struct DelayedStream<S> {
    stream: S,
    delay: Duration,
    outbound: Flight,
    inbound: Flight,
    /// The peer has closed its direction; bytes in flight still arrive.
    ended: bool,
    timer: Timer,
}

/// The bytes in flight in one direction.
#[derive(Debug, Default)]
struct Flight {
    parts: VecDeque<(Instant, Bytes)>,
    bytes: usize,
}

impl Flight {
    fn push(&mut self, due: Instant, part: &[u8]) {
        self.bytes += part.len();
        self.parts.push_back((due, Bytes::copy_from_slice(part)));
    }

    fn is_full(&self) -> bool {
        self.bytes >= IN_FLIGHT_BYTES_MAX
    }

    fn next_due(&self) -> Option<Instant> {
        self.parts.front().map(|(due, _)| *due)
    }

    /// The next bytes that have arrived.
    fn arrived(&self, now: Instant) -> Option<&Bytes> {
        self.parts.front().filter(|(due, _)| *due <= now).map(|(_, part)| part)
    }

    fn take(&mut self, count: usize) {
        self.bytes -= count;
        let (_, part) = self.parts.front_mut().expect("only what arrived is taken");
        part.advance(count);
        if part.is_empty() {
            self.parts.pop_front();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> DelayedStream<S> {
    /// Wraps `stream`. Without a delay it forwards all calls.
    pub fn new(stream: S, delay: Duration) -> Self {
        DelayedStream {
            stream,
            delay,
            outbound: Flight::default(),
            inbound: Flight::default(),
            ended: false,
            timer: Timer::default(),
        }
    }

    /// Writes the bytes that have crossed the link to the socket. Ready once no outbound bytes are
    /// in flight.
    fn deliver_outbound(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.parts.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        while let Some(part) = self.outbound.arrived(now) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
            self.outbound.take(written);
        }
        match self.outbound.next_due() {
            None => Poll::Ready(Ok(())),
            Some(_) => Poll::Pending,
        }
    }

    /// Reads the bytes that have arrived at the socket, and sends them across the link. The delay
    /// begins when they are read, so this is called whenever the socket may be readable.
    fn collect_inbound(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.ended && !self.inbound.is_full() {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => break,
                Poll::Ready(result) => result?,
            }
            self.ended = read.filled().is_empty();
            if !self.ended {
                self.inbound.push(Instant::now() + self.delay, read.filled());
            }
        }
        Ok(())
    }

    fn set_alarm(&mut self, cx: &Context<'_>) {
        let dues = [self.inbound.next_due(), self.outbound.next_due()];
        if let Some(due) = dues.into_iter().flatten().min() {
            self.timer.set(due, cx);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for DelayedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.delay.is_zero() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        // The reader gets the error of a failed write, since no task may be writing.
        if let Poll::Ready(Err(error)) = this.deliver_outbound(cx) {
            return Poll::Ready(Err(error));
        }
        this.collect_inbound(cx)?;
        if let Some(part) = this.inbound.arrived(Instant::now()) {
            let count = part.len().min(buf.remaining());
            buf.put_slice(&part[..count]);
            this.inbound.take(count);
            return Poll::Ready(Ok(()));
        }
        if this.ended && this.inbound.parts.is_empty() {
            return Poll::Ready(Ok(()));
        }
        this.set_alarm(cx);
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for DelayedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.delay.is_zero() {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        if let Poll::Ready(Err(error)) = this.deliver_outbound(cx) {
            return Poll::Ready(Err(error));
        }
        let has_room = !this.outbound.is_full();
        if has_room {
            this.outbound.push(Instant::now() + this.delay, buf);
        }
        this.set_alarm(cx);
        if has_room { Poll::Ready(Ok(buf.len())) } else { Poll::Pending }
    }

    /// Returns at once, as for a socket.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.deliver_outbound(cx)?.is_pending() {
            // The stream is no longer read, so inbound bytes need no timer.
            if let Some(due) = this.outbound.next_due() {
                this.timer.set(due, cx);
            }
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::clock::sleep_until;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const DELAY: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn both_directions_are_delayed_and_complete() {
        let (near, mut far) = duplex(1 << 16);
        let mut near = DelayedStream::new(near, DELAY);
        let sent_at = Instant::now();
        let sent: Vec<u8> = (0..50_000u32).map(|number| number as u8).collect();
        near.write_all(&sent).await.expect("room");
        let echo = async {
            let mut received = vec![0; sent.len()];
            far.read_exact(&mut received).await.expect("arrives");
            assert!(sent_at.elapsed() >= DELAY);
            far.write_all(&received).await.expect("room");
            far
        };
        let mut back = vec![0; sent.len()];
        let (far, read) = tokio::join!(echo, near.read_exact(&mut back));
        read.expect("arrives");
        assert!(sent_at.elapsed() >= 2 * DELAY);
        assert_eq!(back, sent);
        drop(far);
        assert_eq!(near.read(&mut back).await.expect("a clean end"), 0);
    }

    #[tokio::test]
    async fn shutdown_waits_for_outbound_bytes() {
        let (near, mut far) = duplex(64);
        let mut near = DelayedStream::new(near, DELAY);
        near.write_all(b"the end").await.expect("room");
        near.shutdown().await.expect("closes");
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("a clean end");
        assert_eq!(received, b"the end");
    }

    #[tokio::test]
    async fn shutdown_does_not_wait_for_inbound_bytes() {
        let (near, mut far) = duplex(64);
        // Long compared with a stall of a busy machine between the two steps of a read.
        let delay = 40 * DELAY;
        let mut near = DelayedStream::new(near, delay);
        far.write_all(b"unread").await.expect("room");
        let mut byte = [0];
        // Reads from the socket, and is cancelled before the delay has passed.
        let reading = tokio::time::timeout(Duration::ZERO, near.read(&mut byte));
        assert!(reading.await.is_err(), "it takes the delay");
        sleep_until(Instant::now() + 2 * delay).await;
        near.write_all(b"the end").await.expect("room");
        near.shutdown().await.expect("closes");
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("a clean end");
        assert_eq!(received, b"the end");
    }
}
