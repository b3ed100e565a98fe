//! Whether this machine can carry a scenario, found out before it runs and not in its middle.

use crate::usage::raise_connection_limit;
use anyhow::bail;

/// Makes sure that `subscribers` connections fit into this process and its server's.
///
/// # Errors
/// Says what there is too little of and what to do about it.
pub fn check(subscribers: u32) -> anyhow::Result<()> {
    let room = raise_connection_limit();
    if u64::from(subscribers) > room {
        bail!(
            "{subscribers} subscribers need as many connections, and this process may have {room}, \
             by its limit on file descriptors: lower --subscribers, or raise the limit (ulimit -Hn)"
        );
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
