//! Limits per client address: concurrent resources such as connections, and publications per
//! second. The tables are bounded, however many addresses there are.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// Limits how many items of one kind, such as connections, one address has.
#[derive(Debug)]
pub struct AddressShares {
    limit: usize,
    /// No entry for an address that has none, so the table is bounded by what is counted.
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressShares {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(AddressShares { limit, open: Mutex::default() })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A permit for one more item, released when it is dropped; `None` at the limit of the address.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressPermit> {
        let mut open = self.open.lock().expect("no panic under this lock");
        let count = open.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(AddressPermit { shares: self.clone(), address })
    }
}

/// Counts against the limit of an address until it is dropped.
#[derive(Debug)]
pub struct AddressPermit {
    shares: Arc<AddressShares>,
    address: IpAddr,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut open = self.shares.open.lock().expect("no panic under this lock");
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A value for each address, as long as it is in use.
pub struct AddressMap<T> {
    of_address: Mutex<HashMap<IpAddr, Weak<OfAddress<T>>>>,
    new: Box<dyn Fn() -> T + Send + Sync>,
}

/// The value of one address.
#[derive(Debug)]
pub struct OfAddress<T> {
    value: T,
    address: IpAddr,
    map: Weak<AddressMap<T>>,
}

impl<T> AddressMap<T> {
    /// Values that are made by `new`.
    pub fn new(new: impl Fn() -> T + Send + Sync + 'static) -> Arc<AddressMap<T>> {
        Arc::new(AddressMap { of_address: Mutex::default(), new: Box::new(new) })
    }

    /// The value of `address`.
    pub fn of(self: &Arc<Self>, address: IpAddr) -> Arc<OfAddress<T>> {
        let mut of_address = self.of_address.lock().expect("no panic under this lock");
        let known = of_address.get(&address).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let map = Arc::downgrade(self);
            let value = Arc::new(OfAddress { value: (self.new)(), address, map });
            of_address.insert(address, Arc::downgrade(&value));
            value
        })
    }
}

impl<T> fmt::Debug for AddressMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.of_address.lock().expect("no panic under this lock").len();
        f.debug_struct("AddressMap").field("addresses", &count).finish()
    }
}

impl<T> Deref for OfAddress<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for OfAddress<T> {
    fn drop(&mut self) {
        let Some(map) = self.map.upgrade() else { return };
        let mut of_address = map.of_address.lock().expect("no panic under this lock");
        // By now there may be a new one of the same address.
        if of_address.get(&self.address).is_some_and(|it| it.strong_count() == 0) {
            of_address.remove(&self.address);
        }
    }
}

/// The client that an address belongs to, for the limits of one address. A network usually gives
/// one customer 2^64 addresses of IPv6 (RFC 6177), so those count together.
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()
        }
        address => address,
    }
}

/// Addresses whose rate is remembered, each on its own.
const REMEMBERED: usize = 10_000;
/// Buckets for further addresses, of which several share one.
const SHARED: usize = 1_024;
/// Time between two searches for buckets that are full again.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// How much each address has published lately: a token bucket for each, which holds the
/// publications of one second and is refilled continuously.
#[derive(Debug)]
pub struct Rates {
    per_s: f64,
    buckets: Mutex<Buckets>,
    /// Secret, so that no client can choose the bucket that it shares.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Buckets {
    of_address: HashMap<IpAddr, Bucket>,
    /// Empty until they are needed.
    shared: Vec<Bucket>,
    swept_at: Option<Instant>,
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

impl Buckets {
    /// True if one more address can have its own bucket. Buckets that are full again carry no
    /// information and are dropped, at most once per [`SWEEP_INTERVAL`].
    fn has_room(&mut self, per_s: f64, now: Instant) -> bool {
        let is_full = self.of_address.len() >= REMEMBERED;
        if is_full && self.swept_at.is_none_or(|at| now >= at + SWEEP_INTERVAL) {
            self.swept_at = Some(now);
            self.of_address.retain(|_, bucket| bucket.refilled(per_s, now).left < per_s);
        }
        self.of_address.len() < REMEMBERED
    }
}

impl Rates {
    pub fn new(per_s: u32) -> Self {
        let (buckets, hasher) = (Mutex::default(), RandomState::new());
        Rates { per_s: f64::from(per_s), buckets, hasher }
    }

    /// True if `address` may publish once more at `now`. If not, it may within a second.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let full = Bucket { left: self.per_s, as_of: now };
        let mut buckets = self.buckets.lock().expect("no panic under this lock");
        let is_own = buckets.of_address.contains_key(&address);
        let bucket = if is_own || buckets.has_room(self.per_s, now) {
            buckets.of_address.entry(address).or_insert(full)
        } else {
            buckets.shared.resize(SHARED, full);
            &mut buckets.shared[self.hasher.hash_one(address) as usize % SHARED]
        };
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

    #[test]
    fn addresses_without_a_user_are_forgotten() {
        let map = AddressMap::new(|| 0);
        let address = |number| IpAddr::from(Ipv4Addr::from_bits(number));
        let (one, again) = (map.of(address(1)), map.of(address(1)));
        assert!(Arc::ptr_eq(&one, &again));
        drop(map.of(address(2)));
        assert_eq!(map.of_address.lock().expect("no panic").len(), 1);
        drop((one, again));
        assert!(map.of_address.lock().expect("no panic").is_empty());
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn dropped_permit_can_be_acquired_again() {
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
    fn burst_of_one_second_is_allowed_and_then_the_rate() {
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
    fn addresses_beyond_those_remembered_share_buckets_and_are_not_refused_at_once() {
        let rates = Rates::new(10);
        let start = Instant::now();
        let allowed = |from: u32, count: u32, at: Instant| {
            (from..from + count).filter(|number| rates.allow(address(*number), at)).count()
        };
        let many = 2 * REMEMBERED as u32;
        let at_first = allowed(0, many, start);
        assert!((REMEMBERED + SHARED..many as usize).contains(&at_first), "{at_first}");
        let remembered = || rates.buckets.lock().expect("no panic").of_address.len();
        assert_eq!(remembered(), REMEMBERED);
        // One client with many addresses cannot use the buckets of all others.
        assert!(allowed(many, 1_000, start + Duration::from_millis(100)) > 100);
        assert_eq!(allowed(many + 1_000, 100, start + Duration::from_secs(1)), 100);
        assert_eq!(remembered(), 100, "the others are forgotten by then");
    }

    #[test]
    fn a_client_has_one_address_of_ipv4_or_a_network_of_ipv6() {
        let of = |text: &str| client_of(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::1"), "::1");
    }
}
