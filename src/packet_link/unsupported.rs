//! The packet-level link on systems other than Linux: always an error.

use std::convert::Infallible;

use super::{LinkParameters, Snapshot, Unavailable};

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

/// Cannot be created on this system.
#[derive(Debug)]
pub struct PacketLink(Infallible);

impl PacketLink {
    /// Always an error.
    pub fn start(_: LinkParameters, _: u16, _: u64) -> Result<PacketLink, Unavailable> {
        Err(unavailable())
    }

    /// Never called: there is no link.
    pub fn snapshot(&self) -> Snapshot {
        match self.0 {}
    }
}
