//! What the kernel reports of this process and of the machine; `None` where it does not.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

use procfs_core::FromRead;
use procfs_core::process::{Schedstat, Status};

/// A thread's processor time, readable from any thread.
#[derive(Debug, Clone)]
pub(crate) struct ThreadClock {
    path: Option<PathBuf>,
}

impl ThreadClock {
    /// Of the thread that calls this.
    pub(crate) fn of_this_thread() -> Self {
        let thread = fs::read_link("/proc/thread-self").ok();
        Self { path: thread.map(|thread| Path::new("/proc").join(thread).join("schedstat")) }
    }

    /// Nanoseconds on a processor.
    pub(crate) fn nanos(&self) -> Option<u64> {
        Some(Schedstat::from_file(self.path.as_ref()?).ok()?.sum_exec_runtime)
    }
}

/// Resident bytes of this process, without those of files, such as its program: these grow as more of it is used.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = Status::from_file("/proc/self/status").ok()?;
    Some(status.rssanon.or(status.vmrss)? * 1024)
}

/// Whether the address is one of this machine, as far as is known.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind((ip, 0));
    !bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// How many ports there are from one source to one destination.
pub(crate) fn ports() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

/// How often a listen queue of this network namespace was full when a connection arrived (`ListenOverflows` of `TcpExt`,
/// `proc_net(5)`).
pub(crate) fn listen_overflows() -> Option<u64> {
    overflows_of(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// The counters of a group are two lines: their names, and their values.
fn overflows_of(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_overflows_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: A\nIpExt: 4\n";
        assert_eq!(overflows_of(text), Some(22));
        assert_eq!(overflows_of("TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(overflows_of(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_works_uses_processor_time() {
        let clock = ThreadClock::of_this_thread();
        let before = clock.nanos().unwrap();
        let mut sum = 0_u64;
        while clock.nanos().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident_bytes().unwrap() > 0 && ports().unwrap() > 0 && listen_overflows().is_some());
    }
}
