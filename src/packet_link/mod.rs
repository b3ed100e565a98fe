//! The packet-level link: real TCP between server and subscribers, over a simulated network.
//!
//! The process enters a new network namespace ([`enter`]). There a TUN device passes every packet
//! to a thread ([`PacketLink`]), which delays, drops or queues it and writes it back with source
//! and destination swapped. A subscriber connects to an address behind the device; the packet
//! returns to the device's own address, where the server listens. The checksums remain valid, since
//! swapping does not change a sum. Each subscriber has its own address, and with it its own access
//! link. No privileges are needed, and the namespace ends with the processes in it.
//!
//! Unlike the in-process link ([`crate::client::DelayedStream`]) it includes the effects of TCP:
//! loss and retransmission, head-of-line blocking, a full queue, slow start, acknowledgements.

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

use serde::{Deserialize, Serialize};

use crate::measure::Histogram;

#[cfg(target_os = "linux")]
pub use namespace::enter;
pub use path::{LinkParameters, Loss};
#[cfg(target_os = "linux")]
pub use reflector::PacketLink;
#[cfg(not(target_os = "linux"))]
pub use unsupported::{PacketLink, enter};

/// Bytes of the largest packet: that of Ethernet.
pub const PACKET_BYTES_MAX: u32 = 1_500;
/// Maximum number of subscribers: the addresses of a /16 without those of the device, the network
/// and the broadcast.
pub const SUBSCRIBERS_MAX: u32 = 65_533;

/// The device's address; its network is 10.9.0.0/16.
const DEVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The address behind the device at which subscriber `number`, 0 to [`SUBSCRIBERS_MAX`] - 1,
/// reaches the server over its own access link.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(DEVICE.to_bits() + 1 + number)
}

/// Why a packet-level link is not available on this machine, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("--link packets: {reason}; {remedy}")]
pub struct Unavailable {
    reason: String,
    remedy: String,
}

/// The counts of a link since its start, by direction; up is from subscriber to server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub up: PathCounts,
    pub down: PathCounts,
    /// Packets that the system dropped because the link's thread did not read them in time, or
    /// could not write them back.
    pub missed: u64,
}

/// Packets of one direction, acknowledgements and retransmissions included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCounts {
    /// Packets that entered.
    pub packets: u64,
    /// Of these, dropped by the configured loss.
    pub lost: u64,
    /// Of these, dropped because a queue was full.
    pub overflowed: u64,
}

impl Counts {
    /// The difference from `earlier`.
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
    /// CPU time of the link's thread so far, seconds: its own work, and that of TCP on receipt of
    /// the packets.
    pub cpu_s: f64,
    /// Lateness of the packets written since the last snapshot (actual minus planned time),
    /// microseconds.
    pub late_us: Histogram,
}
