//! CPU time and resident memory of another process and its children, read from the system.

use anyhow::Context;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Resource usage of a server so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all threads, seconds.
    pub cpu_s: f64,
    /// Current resident memory, bytes. Pages shared by several processes are counted for each.
    pub resident_bytes: u64,
}

/// A process and its descendants, such as a master and its workers.
#[derive(Debug)]
pub struct ProcessTree {
    pid: Pid,
    system: System,
}

impl ProcessTree {
    /// The process `pid` and its descendants.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<ProcessTree> {
        let mut tree = ProcessTree { pid: Pid::from_u32(pid), system: System::new() };
        tree.usage()?;
        Ok(tree)
    }

    /// Sum over the live processes.
    ///
    /// # Errors
    /// If the process `pid` has ended.
    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        let is_there = self.system.process(self.pid).is_some();
        is_there.then_some(()).with_context(|| format!("--pid {}: no such process", self.pid))?;
        let members =
            self.system.processes().values().filter(|process| self.is_member(process.pid()));
        Ok(members.fold(Usage::default(), |sum, process| Usage {
            cpu_s: sum.cpu_s + process.accumulated_cpu_time() as f64 / 1_000.0,
            resident_bytes: sum.resident_bytes + process.memory(),
        }))
    }

    fn is_member(&self, pid: Pid) -> bool {
        let parent = |pid: &Pid| self.system.process(*pid).and_then(|process| process.parent());
        std::iter::successors(Some(pid), parent).any(|ancestor| ancestor == self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_includes_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        let alone = ProcessTree::of(child.id()).and_then(|mut tree| tree.usage());
        let together = ProcessTree::of(std::process::id()).and_then(|mut tree| tree.usage());
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        let (alone, together) = (alone.expect("it runs"), together.expect("this process runs"));
        assert!(alone.resident_bytes > 0);
        assert!(together.resident_bytes > alone.resident_bytes);
        assert!(together.cpu_s >= alone.cpu_s);
        assert!(ProcessTree::of(child.id()).is_err(), "it has ended");
    }
}
