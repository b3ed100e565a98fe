//! Checks before a run that the limits of this machine allow the scenario.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors of this process in addition to the subscribers' connections.
const DESCRIPTORS_SPARE: u64 = 100;

/// Checks that this process and its server can open `subscribers` connections. Raises the soft
/// limit on file descriptors if necessary; a child process inherits it.
///
/// # Errors
/// Names the limit that is too low and the remedy.
pub fn check(subscribers: u32) -> anyhow::Result<()> {
    let needed = u64::from(subscribers) + DESCRIPTORS_SPARE;
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if needed > allowed {
        bail!(
            "--subscribers {subscribers}: needs {needed} file descriptors, but the limit per process \
             is {allowed}; use --subscribers {} or raise the limit (ulimit -Hn)",
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
