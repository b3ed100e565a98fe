//! What stands in for the packet-level link where there is none: on systems other than Linux.

use std::convert::Infallible;

use super::{Profile, Snapshot, Unavailable};

fn unavailable() -> Unavailable {
    Unavailable {
        reason: format!("it needs Linux, and this is {}", std::env::consts::OS),
        remedy: "measure in a Linux virtual machine, or with `--link in-process`".to_owned(),
    }
}

/// Always an error.
pub fn enter() -> Result<(), Unavailable> {
    Err(unavailable())
}

/// Cannot be made here.
#[derive(Debug)]
pub struct PacketLink(Infallible);

impl PacketLink {
    /// Always an error.
    pub fn start(_: Profile, _: u16, _: u64) -> Result<PacketLink, Unavailable> {
        Err(unavailable())
    }

    /// There is none to look at.
    pub fn snapshot(&self) -> Snapshot {
        match self.0 {}
    }
}
