//! Connects to a host with several addresses as RFC 8305 ("Happy Eyeballs") describes: one after
//! another, the next as soon as an attempt fails or has taken 250 ms. The address that accepted is
//! tried first from then on, so that all connections of a run use one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time between the starts of two attempts (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Time limit for all attempts together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The addresses of a host, at least one.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    all: Arc<[SocketAddr]>,
    preferred: Arc<AtomicUsize>,
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Addresses {
        Addresses::from(vec![address])
    }
}

impl From<Vec<SocketAddr>> for Addresses {
    fn from(addresses: Vec<SocketAddr>) -> Addresses {
        Addresses { all: alternating(addresses).into(), preferred: Arc::default() }
    }
}

impl Addresses {
    pub fn preferred(&self) -> SocketAddr {
        self.all[self.preferred.load(Relaxed)]
    }

    /// Connects to the first address that accepts a connection.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let connecting = async {
            match &*self.all {
                [only] => TcpStream::connect(only).await,
                all => self.race(all).await,
            }
        };
        timeout(CONNECT_TIMEOUT, connecting).await?
    }

    async fn race(&self, all: &[SocketAddr]) -> io::Result<TcpStream> {
        let first = self.preferred.load(Relaxed);
        let mut order = (0..all.len()).map(|step| (first + step) % all.len());
        let mut attempts = JoinSet::new();
        let mut failures = Vec::new();
        loop {
            if let Some(index) = order.next() {
                let address = all[index];
                attempts.spawn(async move { (index, TcpStream::connect(address).await) });
            } else if attempts.is_empty() {
                return Err(io::Error::other(failures.join("; ")));
            }
            let ended = match order.len() {
                0 => attempts.join_next().await,
                _ => timeout(ATTEMPT_DELAY, attempts.join_next()).await.unwrap_or(None),
            };
            match ended.map(|attempt| attempt.expect("an attempt does not panic")) {
                Some((index, Ok(stream))) => {
                    self.preferred.store(index, Relaxed);
                    return Ok(stream);
                }
                Some((index, Err(error))) => failures.push(format!("{}: {error}", all[index])),
                None => {}
            }
        }
    }
}

/// IPv4 and IPv6 addresses alternately (RFC 8305, section 4), IPv4 first: `localhost` often
/// resolves to ::1 first, where few servers listen.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (four, six): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    let longer = four.len().max(six.len());
    let pair = |index: usize| [four.get(index).copied(), six.get(index).copied()];
    (0..longer).flat_map(pair).flatten().collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_tried_and_the_working_one_is_preferred() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("it has one");
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let closed = gone.local_addr().expect("it has one");
        drop(gone);
        let addresses = Addresses::from(vec![closed, open]);
        assert_eq!(addresses.preferred(), closed);
        addresses.connect().await.expect("the second one listens");
        assert_eq!(addresses.preferred(), open);
        let error = Addresses::from(vec![closed, closed]).connect().await.expect_err("nobody");
        assert!(error.to_string().contains(&closed.to_string()), "{error}");
    }

    #[test]
    fn address_families_alternate() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let wanted = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(alternating(given), wanted);
    }
}
