//! Ends a connection whose client reads so slowly that it would receive messages after its token
//! has expired. Nothing is written for a token that has expired, but data that was written before
//! may wait in the kernel, and the rest of a response may wait here.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Sleep, sleep};

use crate::app::peer::Peer;

/// After a token has expired, its client may receive earlier data for this long, and for the same
/// time again until the connection is reset: less than a second together.
pub(super) const GRACE: Duration = Duration::from_millis(400);
/// Tokens of one connection that are watched. A client has one or two; only HTTP/2 can have more.
const WATCHED: usize = 64;

/// When the tokens of a connection expire, seconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct TokenExpiries {
    /// The next one; 0 if there is none.
    next: AtomicU64,
    all: Mutex<BTreeSet<u64>>,
}

impl TokenExpiries {
    /// Adds the expiry of a token with which the client has sent a request.
    pub fn add(&self, expiry: u64) {
        let mut all = self.all.lock().expect("no panic under this lock");
        all.insert(expiry);
        if all.len() > WATCHED {
            all.pop_last();
        }
        self.next.store(all.first().copied().unwrap_or(0), Relaxed);
    }

    fn remove(&self, expiry: u64) {
        let mut all = self.all.lock().expect("no panic under this lock");
        all.remove(&expiry);
        self.next.store(all.first().copied().unwrap_or(0), Relaxed);
    }

    fn next(&self) -> Option<u64> {
        Some(self.next.load(Relaxed)).filter(|expiry| *expiry > 0)
    }
}

/// Watches the connection's next token to expire.
#[derive(Debug)]
pub(super) struct ExpiryWatch {
    expiry: u64,
    /// Bytes that had been written [`GRACE`] after the token expired.
    written: Option<u64>,
    sleep: Pin<Box<Sleep>>,
}

impl ExpiryWatch {
    fn new(expiry: u64) -> ExpiryWatch {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(expiry).saturating_sub(now);
        ExpiryWatch { expiry, written: None, sleep: Box::pin(sleep(left.saturating_add(GRACE))) }
    }
}

/// Ready when the connection has to be reset, for which the socket is then prepared. `watch` is the
/// state so far. The task of `cx` is woken when there is something to check. `is_blocked` is true
/// if a response, or an upgraded connection, waits for the client to read.
pub(super) fn poll_expired(
    watch: &mut Option<Box<ExpiryWatch>>,
    expiries: &TokenExpiries,
    peer: &Peer,
    is_blocked: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let Some(next) = expiries.next() else {
            *watch = None;
            return Poll::Pending;
        };
        if watch.as_ref().is_none_or(|watch| watch.expiry != next) {
            *watch = Some(Box::new(ExpiryWatch::new(next)));
        }
        let watched = watch.as_mut().expect("it was just set");
        if watched.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        match watched.written {
            None => {
                watched.written = Some(peer.written());
                watched.sleep = Box::pin(sleep(GRACE));
            }
            Some(written) if is_blocked || peer.acknowledged() < written => {
                peer.discard_unsent();
                return Poll::Ready(());
            }
            Some(_) => expiries.remove(next),
        }
    }
}
