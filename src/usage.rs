//! CPU time, resident memory, and limit on file descriptors of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// CPU time of all threads of this process, user and system, seconds, with a resolution of 1 ns.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process, bytes; `None` if the system does not report it.
pub fn resident_bytes() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    system.process(pid).map(|process| process.memory())
}

/// File descriptors that a process needs beside those of its connections.
const DESCRIPTORS_SPARE: u64 = 100;

/// Raises the soft limit on file descriptors to the hard one, which needs no privilege; a child
/// inherits it. Returns how many connections this process may then have open at the same time.
pub fn raise_connection_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    let allowed = if is_raised { limit.maximum } else { limit.current };
    allowed.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_SPARE)
}
