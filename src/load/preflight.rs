//! Whether this machine can carry a scenario, found out before it runs and not in its middle.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors of this process beside its subscribers' connections.
const DESCRIPTORS_SPARE: u64 = 100;

/// Makes sure that `subscribers` connections fit into this process and its server's. Raises the
/// soft limit on file descriptors as far as needed and allowed; a child inherits it.
///
/// # Errors
/// Says what there is too little of and what to do about it.
pub fn check(subscribers: u32) -> anyhow::Result<()> {
    let needed = u64::from(subscribers) + DESCRIPTORS_SPARE;
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if needed > allowed {
        bail!(
            "{subscribers} subscribers need {needed} file descriptors, and a process may have \
             {allowed}: lower --subscribers to {}, or raise the limit (ulimit -Hn)",
            allowed.saturating_sub(DESCRIPTORS_SPARE)
        );
    }
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)?;
    }
    let ports = ephemeral_ports();
    if u64::from(subscribers) > ports {
        bail!(
            "{subscribers} subscribers need as many ports, and this machine hands out {ports}: \
             lower --subscribers, or widen net.ipv4.ip_local_port_range"
        );
    }
    Ok(())
}

/// How many ports the system has for outgoing connections to one address.
fn ephemeral_ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let numbers = range.ok().and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    // Where the system does not say: the range that IANA gives (RFC 6335).
    let (low, high) = numbers.unwrap_or((49_152, 65_535));
    high.saturating_sub(low) + 1
}
