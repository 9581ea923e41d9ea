//! What the system knows of this process.

use std::fs;

use serde::{Deserialize, Serialize};

/// This process, as Linux tells of it; zeros where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) open_files: u64,
    pub(crate) open_files_max: u64,
}

impl Process {
    pub(super) fn read() -> Self {
        let pid = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut process = Self::parse(&stat).unwrap_or_default();
        process.pid = pid;
        process.open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        let max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        process.open_files_max = max.unwrap_or(u64::MAX);
        process
    }

    /// The fields of `proc_pid_stat(5)`. The name may hold anything, parentheses too.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // The state is the third field of the file, the first one here.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        #[allow(clippy::cast_precision_loss, reason = "centuries have few ticks")]
        let cpu_seconds =
            (field(14)? + field(15)?) as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let process = Process::read();
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes);
        assert!(process.threads >= 1 && process.open_files >= 3);
    }

    #[test]
    fn names_may_look_like_fields() {
        let stat = "12 (a) S 9) R 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 7 0 99 4096 3 18\n";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.threads, process.virtual_bytes), (7, 4096));
        assert!(process.cpu_seconds > 0.0);
        assert_eq!(Process::parse("nothing"), None);
    }
}
