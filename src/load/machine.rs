//! Describes the program and the machine of a run.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::run::{Machine, Tool};

/// Describes this machine.
pub fn machine() -> Machine {
    let kind = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kind);
    let unknown = || "unknown".to_owned();
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    Machine {
        os: System::long_os_version().unwrap_or_else(unknown),
        kernel: System::kernel_version().unwrap_or_else(unknown),
        cpu: cpu.filter(|brand| !brand.is_empty()).unwrap_or_else(unknown),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        memory_bytes: system.total_memory(),
        load_average_before: System::load_average().one,
    }
}

/// A number that stays the same on this machine and differs between machines.
pub fn identity() -> u32 {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (id, System::host_name()).hash(&mut hasher);
    hasher.finish() as u32
}

/// CPU time of all processes of the machine since boot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineCpu {
    /// Seconds, summed over the cores: user and kernel time of processes, and time stolen by other
    /// virtual machines. Interrupts belong to no process and are not included.
    pub busy_s: f64,
    /// Number of cores included, possibly more than this process may use.
    pub cores: u32,
}

impl MachineCpu {
    /// Reads the current values; `None` if the system does not report them.
    pub fn now() -> Option<MachineCpu> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        MachineCpu::parse(&text, rustix::param::clock_ticks_per_second())
    }

    /// Parses `/proc/stat`; the columns are described in proc_stat(5).
    fn parse(text: &str, ticks_per_second: u64) -> Option<MachineCpu> {
        let mut lines = text.lines().take_while(|line| line.starts_with("cpu"));
        let total = lines.next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> =
            total.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, _irq, _softirq, steal, ..] = ticks[..] else {
            return None;
        };
        let busy_s = (user + nice + system + steal) as f64 / ticks_per_second as f64;
        Some(MachineCpu { busy_s, cores: lines.count() as u32 })
    }
}

/// Describes this program.
pub fn tool() -> Tool {
    Tool {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("BUILD_COMMIT").map(str::to_owned),
        rustc: env!("BUILD_RUSTC").to_owned(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_includes_processes_and_stolen_time() {
        let text = "cpu  100 20 30 4000 500 60 70 8 9 1\ncpu0 1 2 3 4 5 6 7 8 9 1\n\
                    cpu1 1 2 3 4 5 6 7 8 9 1\nintr 5\ncpufoo 1\n";
        assert_eq!(MachineCpu::parse(text, 100), Some(MachineCpu { busy_s: 1.58, cores: 2 }));
        assert_eq!(MachineCpu::parse("intr 5", 100), None);
        assert_eq!(MachineCpu::parse("cpu 1 2 3", 100), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn busy_time_grows_with_the_time_of_this_process() {
        let (before, own_before) =
            (MachineCpu::now().expect("Linux reports it"), crate::usage::cpu_seconds());
        while crate::usage::cpu_seconds() < own_before + 0.3 {
            std::hint::black_box((0..1_000).sum::<u64>());
        }
        let after = MachineCpu::now().expect("Linux reports it");
        assert!(after.busy_s - before.busy_s > 0.2, "{before:?} {after:?}");
        assert!(after.cores >= 1);
    }
}
