//! The packet-level link: real TCP between server and subscribers, over a network of our own.
//!
//! The process moves into a network namespace of its own ([`enter`]). There a TUN device hands
//! every packet to a thread ([`PacketLink`]), which holds, drops or queues it and writes it back
//! with source and destination swapped. A subscriber connects to an address behind the device; the
//! packet comes back to the device's own address, where the server listens. The checksums stay
//! right, since they are sums. Each subscriber has an address, and with it an access link, of its
//! own. Nobody needs privileges, and the namespace ends with the processes in it.
//!
//! Unlike the in-process link ([`crate::client::Link`]) it shows what TCP does: loss and
//! retransmission, head-of-line blocking, a full queue, slow start, acknowledgements.

mod path;

#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod reflector;
#[cfg(target_os = "linux")]
mod tun;
#[cfg(not(target_os = "linux"))]
mod unsupported;

use std::net::Ipv4Addr;

use crate::measure::Histogram;

#[cfg(target_os = "linux")]
pub use namespace::enter;
pub use path::{Loss, Profile};
#[cfg(target_os = "linux")]
pub use reflector::PacketLink;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{PacketLink, enter};

/// Bytes of the largest packet: that of Ethernet.
pub const PACKET_BYTES_MAX: u32 = 1_500;
/// Subscribers that can have an address of their own: those of a /16 but the device's, the
/// network's and the broadcast address.
pub const SUBSCRIBERS_MAX: u32 = 65_533;

/// The device's address; its network is 10.9.0.0/16.
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The address behind the device that leads subscriber `number`, 0 to [`SUBSCRIBERS_MAX`] - 1, to
/// the server over an access link of its own.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(DEVICE.to_bits() + 1 + number)
}

/// Why there is no packet-level link on this machine; says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("--link packets: {reason}; {remedy}")]
pub struct Unavailable {
    reason: String,
    remedy: String,
}

/// What happened on a link since it was started, both directions apart: up is from subscriber to
/// server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub up: PathCounts,
    pub down: PathCounts,
    /// Packets that the system dropped because the link's thread did not take them in time, or
    /// could not hand them back.
    pub missed: u64,
}

/// What happened to the packets of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCounts {
    /// Packets that entered.
    pub packets: u64,
    /// Of these, dropped as the loss demands.
    pub lost: u64,
    /// Of these, dropped because a queue was full.
    pub overflowed: u64,
}

impl Counts {
    /// What happened between `earlier` and this one.
    pub fn since(&self, earlier: &Counts) -> Counts {
        let path = |now: &PathCounts, then: &PathCounts| PathCounts {
            packets: now.packets - then.packets,
            lost: now.lost - then.lost,
            overflowed: now.overflowed - then.overflowed,
        };
        Counts {
            up: path(&self.up, &earlier.up),
            down: path(&self.down, &earlier.down),
            missed: self.missed - earlier.missed,
        }
    }
}

/// The state of a link at one instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub counts: Counts,
    /// CPU time of the link's thread so far, seconds: its own work, and TCP's on receipt of what it
    /// hands back.
    pub cpu_s: f64,
    /// Actual minus planned instant at which packets were handed back since the last snapshot,
    /// microseconds.
    pub late_us: Histogram,
}
