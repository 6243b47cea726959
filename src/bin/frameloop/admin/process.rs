//! What the kernel reports of this process: the metrics that Prometheus' own client libraries have under the same names.
//!
//! Nothing here waits for a disk: `/proc` has none behind it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use procfs_core::FromRead;
use procfs_core::process::Status;

/// The process at the moment of a scrape; `None` where the kernel does not report it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    pub(crate) fn observe() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let cpu = usage.map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
        let status = Status::from_file("/proc/self/status").ok();
        let bytes = |kib: Option<u64>| kib.map(|kib| kib << 10);
        Self {
            cpu_seconds: cpu.map(|micros| micros as f64 / 1e6),
            resident_bytes: bytes(status.as_ref().and_then(|status| status.vmrss)),
            virtual_bytes: bytes(status.as_ref().and_then(|status| status.vmsize)),
            // Since Linux 6.2 this is how many there are; listing a million of them would take long.
            open_fds: fs::metadata("/proc/self/fd").ok().map(|fds| fds.size()).filter(|count| *count > 0),
            max_fds: rlimit::Resource::NOFILE.get_soft().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_has_memory_time_and_descriptors() {
        let process = Process::observe();
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds > 0.0), "{process:?}");
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.open_fds.is_none_or(|count| count >= 3), "{process:?}");
        assert!(process.max_fds.is_some_and(|max| max >= 3), "{process:?}");
    }
}
