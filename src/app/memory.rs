//! Memory that the server holds on behalf of its clients: requests and messages that have not
//! arrived completely or are not answered, and responses and messages that are not read. It is
//! counted for each connection, each address and the whole server, so that a client that makes the
//! server queue anything reaches a limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::addresses::{AddressMap, OfAddress};

/// Bytes that a connection may have in one place without a charge, so that small requests and
/// messages cost no counting.
pub const FREE_BYTES: usize = 4 << 10;

/// Bytes in use, and their limit.
#[derive(Debug)]
struct Level {
    used: AtomicUsize,
    limit: usize,
}

impl Level {
    fn new(limit: usize) -> Level {
        Level { used: AtomicUsize::new(0), limit }
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Relaxed);
        let fits = before <= self.limit && bytes <= self.limit - before;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// The limits of one connection, one address and all clients together, bytes.
#[derive(Debug, Clone, Copy)]
pub struct ClientMemoryLimits {
    pub connection: usize,
    pub address: usize,
    pub server: usize,
}

/// The accounts of all clients.
#[derive(Debug)]
pub struct ClientMemory {
    limits: ClientMemoryLimits,
    server: Level,
    /// Those of addresses with connections.
    addresses: Arc<AddressMap<Level>>,
}

impl ClientMemory {
    pub fn new(limits: ClientMemoryLimits) -> Arc<ClientMemory> {
        let server = Level::new(limits.server);
        let addresses = AddressMap::new(move || Level::new(limits.address));
        Arc::new(ClientMemory { limits, server, addresses })
    }

    /// The account of a connection. `address` is `None` if the limit of one address does not apply.
    pub fn account(self: &Arc<Self>, address: Option<IpAddr>) -> Account {
        Account(Arc::new(Levels {
            connection: Level::new(self.limits.connection),
            address: address.map(|address| self.addresses.of(address)),
            memory: self.clone(),
        }))
    }

    /// Bytes held for all clients now.
    pub fn used(&self) -> usize {
        self.server.used.load(Relaxed)
    }
}

/// What one connection is charged for.
#[derive(Debug, Clone)]
pub struct Account(Arc<Levels>);

#[derive(Debug)]
struct Levels {
    connection: Level,
    address: Option<Arc<OfAddress<Level>>>,
    memory: Arc<ClientMemory>,
}

impl Levels {
    fn all(&self) -> impl Iterator<Item = &Level> {
        let address = self.address.iter().map(|address| &***address);
        [&self.connection].into_iter().chain(address).chain([&self.memory.server])
    }

    fn take(&self, bytes: usize) -> bool {
        let refused = self.all().position(|level| !level.take(bytes));
        if let Some(refused) = refused {
            self.all().take(refused).for_each(|level| level.give_back(bytes));
        }
        refused.is_none()
    }

    fn give_back(&self, bytes: usize) {
        self.all().for_each(|level| level.give_back(bytes));
    }
}

impl Account {
    /// A charge of no bytes yet.
    pub fn charge(&self) -> Charge {
        Charge { levels: self.0.clone(), bytes: 0 }
    }
}

/// Bytes that a connection is charged for until this is dropped.
#[derive(Debug)]
pub struct Charge {
    levels: Arc<Levels>,
    bytes: usize,
}

/// A client has no room for what it would be charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server holds as many bytes for this client as --max-held-bytes, \
     --max-held-bytes-per-address or --max-held-bytes-total allows; read pending responses and try \
     again later"
)]
pub struct OverLimit;

impl Charge {
    /// Charges for `bytes` instead of what was charged for before.
    ///
    /// # Errors
    /// If a limit would be exceeded; the charge then is as it was.
    pub fn set(&mut self, bytes: usize) -> Result<(), OverLimit> {
        if bytes > self.bytes && !self.levels.take(bytes - self.bytes) {
            return Err(OverLimit);
        }
        if bytes < self.bytes {
            self.levels.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// As [`Charge::set`], for bytes of which the first [`FREE_BYTES`] are free.
    ///
    /// # Errors
    /// As [`Charge::set`].
    pub fn set_unless_small(&mut self, bytes: usize) -> Result<(), OverLimit> {
        let charged = if bytes > FREE_BYTES { bytes } else { 0 };
        if charged == self.bytes { Ok(()) } else { self.set(charged) }
    }

    /// Charges for `bytes` more.
    ///
    /// # Errors
    /// As [`Charge::set`].
    pub fn grow(&mut self, bytes: usize) -> Result<(), OverLimit> {
        self.set(self.bytes.saturating_add(bytes))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.levels.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: ClientMemoryLimits =
        ClientMemoryLimits { connection: 100, address: 150, server: 200 };

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn each_level_has_its_limit() {
        let memory = ClientMemory::new(LIMITS);
        let (one, two) = (memory.account(address(1)), memory.account(address(1)));
        let (mut first, mut second) = (one.charge(), two.charge());
        assert_eq!(first.set(101), Err(OverLimit), "one connection");
        assert_eq!(first.set(100), Ok(()));
        assert_eq!(second.set(51), Err(OverLimit), "one address");
        assert_eq!(second.set(50), Ok(()));
        let other = memory.account(None);
        let mut third = other.charge();
        assert_eq!(third.grow(51), Err(OverLimit), "the server");
        assert_eq!(third.grow(50), Ok(()));
        assert_eq!(memory.used(), 200);
        first.set(10).expect("less than before");
        assert_eq!((third.grow(50), memory.used()), (Ok(()), 160));
        drop((first, second, third));
        assert_eq!(memory.used(), 0);
    }
}
