//! What the kernel reports of a process and of the machine.

use std::fs;

use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use procfs_core::process::{LimitValue, Limits, SmapsRollup};
use procfs_core::{CpuInfo, FromRead};

use crate::failure::Result;

/// Nanoseconds on a CPU, of all threads of a process, also those that have
/// ended. Exact only while it sleeps, which is when it is read.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    use nix::time::{clock_getcpuclockid, clock_gettime};
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    let used = clock_gettime(clock)?;
    Ok(u64::try_from(used.num_nanoseconds())?)
}

/// Resident bytes. `smaps_rollup` walks the pages; the figure in `status` is kept in batches for each CPU and may be off by
/// more than a small row.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let rollup = SmapsRollup::from_file(format!("/proc/{pid}/smaps_rollup"))?.memory_map_rollup.0;
    Ok(*rollup.first().and_then(|map| map.extension.map.get("Rss")).ok_or("smaps_rollup has no Rss")?)
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// CPU time of all children that have ended and were waited for.
pub(crate) fn children_ns() -> Result<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    Ok(u64::try_from(micros.iter().sum::<i64>())? * 1_000)
}

/// The hard limit: the helpers and frameloop raise their own soft one.
pub(crate) fn descriptor_limit() -> usize {
    match Limits::from_file("/proc/self/limits").map(|limits| limits.max_open_files.hard_limit) {
        Ok(LimitValue::Value(max)) => max as usize,
        Ok(LimitValue::Unlimited) | Err(_) => 1024,
    }
}

/// CPUs this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One line: processor and kernel.
pub(crate) fn machine() -> String {
    let cpuinfo = CpuInfo::from_file("/proc/cpuinfo").ok();
    let model = cpuinfo.as_ref().and_then(|info| info.model_name(0)).unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} × {model}, Linux {}", cpus(), kernel.trim())
}

/// Now, in UTC, to the minute.
pub(crate) fn date() -> Result<String> {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    Ok(now.get(..16).ok_or("no date")?.replace('T', " "))
}
