//! What this process has used so far: CPU time and resident memory, as the system tells it.

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// CPU time of this process, all threads, user and system, in seconds; to the nanosecond.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process, bytes; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    system.process(pid).map(|process| process.memory())
}
