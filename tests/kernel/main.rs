//! The server and the kernel's own behavior: limits, signals, dead peers and dead links, on real sockets.
//!
//! What a machine lacks for a test is reported in a line `skipped: …`, past the test harness, so that it is always seen. With
//! `FRAMELOOP_TEST_SKIPS_NOTHING` set, a test that would be skipped fails.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod container;
mod cycles;
mod descriptors;
mod killed;
mod memory;
mod partition;
mod ports;
mod sigpipe;
mod slow_reader;
mod stopped;

use rlimit::Resource;

use support::{ADDR, addr_of_part, counter, part, skip};

/// Whether this process, and each that it starts, may have so many descriptors; if not, the calling test is left out.
#[track_caller]
fn has_descriptors(needed: u64) -> bool {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    if limit < needed {
        skip(&format!("it needs {needed} open files and may have {limit}"));
    }
    limit >= needed
}

/// Sets a soft limit of another process.
fn limit(pid: u32, resource: Resource, soft: u64) {
    let pid = i32::try_from(pid).unwrap();
    let (mut old_soft, mut hard) = (0, 0);
    rlimit::prlimit(pid, resource, None, Some((&mut old_soft, &mut hard))).unwrap();
    rlimit::prlimit(pid, resource, Some((soft, hard)), None).unwrap();
}
