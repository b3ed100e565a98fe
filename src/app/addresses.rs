//! What one client address may take: connections at the same time, publications in a second. Both
//! tables are bounded, so that many addresses cost no more than memory for that many.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The connections of each address.
#[derive(Debug)]
pub struct AddressShares {
    limit: usize,
    /// No entry for an address without connections, so it is bounded by them.
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressShares {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(AddressShares { limit, open: Mutex::default() })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A place for one more connection, until it is dropped; `None` if the address has its share.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.open.lock().expect("no panic under this lock");
        let count = open.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place { connections: self.clone(), address })
    }
}

/// One connection of an address.
#[derive(Debug)]
pub struct Place {
    connections: Arc<AddressShares>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().expect("no panic under this lock");
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Addresses whose rate is remembered.
const REMEMBERED: usize = 10_000;

/// How much each address has published lately: a bucket that holds a second's worth and is refilled
/// all the time.
#[derive(Debug)]
pub struct Rates {
    per_s: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    as_of: Instant,
}

impl Bucket {
    fn refilled(self, per_s: f64, now: Instant) -> Bucket {
        let since_s = now.saturating_duration_since(self.as_of).as_secs_f64();
        Bucket { left: (self.left + since_s * per_s).min(per_s), as_of: now }
    }
}

impl Rates {
    pub fn new(per_s: u32) -> Self {
        Rates { per_s: f64::from(per_s), buckets: Mutex::default() }
    }

    /// True if `address` may publish once more at `now`. If not, it may within a second.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().expect("no panic under this lock");
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&address) {
            // A bucket that is full again says no more than none.
            buckets.retain(|_, bucket| bucket.refilled(self.per_s, now).left < self.per_s);
            if buckets.len() >= REMEMBERED {
                return false;
            }
        }
        let full = Bucket { left: self.per_s, as_of: now };
        let bucket = buckets.entry(address).or_insert(full);
        *bucket = bucket.refilled(self.per_s, now);
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_place_is_free_again_once_it_is_left() {
        let connections = AddressShares::new(2);
        let one = connections.enter(address(1)).expect("room");
        let _two = connections.enter(address(1)).expect("room");
        assert!(connections.enter(address(1)).is_none());
        let other = connections.enter(address(2)).expect("another address has its own share");
        drop((one, other));
        assert!(connections.enter(address(1)).is_some());
        assert_eq!(connections.open.lock().expect("no panic").len(), 1, "nothing is left behind");
    }

    #[test]
    fn a_second_of_publications_and_then_the_rate() {
        let rates = Rates::new(10);
        let start = Instant::now();
        let allowed =
            |at: Duration| (0..100).filter(|_| rates.allow(address(1), start + at)).count();
        assert_eq!(allowed(Duration::ZERO), 10);
        assert_eq!(allowed(Duration::from_millis(550)), 5);
        assert_eq!(allowed(Duration::from_secs(60)), 10);
        assert!(rates.allow(address(2), start));
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let rates = Rates::new(10);
        let start = Instant::now();
        let allowed = (0..20_000).filter(|number| rates.allow(address(*number), start)).count();
        assert_eq!(allowed, REMEMBERED);
        assert!(rates.allow(address(30_000), start + Duration::from_secs(1)), "forgotten by then");
    }
}
