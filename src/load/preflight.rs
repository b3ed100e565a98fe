//! Checks before a run that the limits of this machine allow the scenario.

use crate::usage::raise_connection_limit;
use anyhow::bail;

/// Checks that this process and its server can open `subscribers` connections. Raises the soft
/// limit on file descriptors, which a child process inherits.
///
/// # Errors
/// Names the limit that is too low and the remedy.
pub fn check(subscribers: u32) -> anyhow::Result<()> {
    let room = raise_connection_limit();
    if u64::from(subscribers) > room {
        bail!(
            "--subscribers {subscribers}: the limit on file descriptors allows {room} connections; \
             use fewer subscribers or raise the limit (ulimit -Hn)"
        );
    }
    let ports = ephemeral_ports();
    if u64::from(subscribers) > ports {
        bail!(
            "--subscribers {subscribers}: needs one local port each, but this machine has {ports}; \
             use a smaller number or widen net.ipv4.ip_local_port_range"
        );
    }
    Ok(())
}

/// Number of local ports for outgoing connections to one address.
fn ephemeral_ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let numbers = range.ok().and_then(|text| {
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    // Default: the dynamic ports of RFC 6335, section 6.
    let (low, high) = numbers.unwrap_or((49_152, 65_535));
    high.saturating_sub(low) + 1
}
