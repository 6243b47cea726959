//! The server and the kernel's own behaviour: limits, signals, dead peers and dead links, on real sockets.
//!
//! What a machine lacks for a test is told in a line `skipped: …`, past the test harness, so that it is always seen. With
//! `FRAMELOOP_TEST_SKIPS_NOTHING` set, a test that would be skipped fails.

#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod cycles;
mod descriptors;
mod killed;
mod memory;
mod partition;
mod sigpipe;
mod slow_reader;
mod stopped;

use std::env;
use std::io::{Write, stderr};
use std::process::Command;

use rlimit::Resource;

/// Says that the calling test is left out.
#[track_caller]
fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(env::var_os("FRAMELOOP_TEST_SKIPS_NOTHING").is_none(), "nothing may be skipped, but {why}");
    // Not by `eprintln!`, of which the test harness shows nothing if the test is well.
    let _ = writeln!(stderr(), "skipped: {test}, because {why}");
}

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

/// This program, about to run one of its tests that play a part in another one.
fn part(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// Tells a part whom to connect to; without it, it is played by nobody.
const ADDR: &str = "FRAMELOOP_TEST_ADDR";

fn addr_of_part() -> Option<std::net::SocketAddr> {
    env::var(ADDR).ok()?.parse().ok()
}

/// The number that follows `name` in a line of counters; 0 if it is not there.
#[track_caller]
fn counter(line: &str, name: &str) -> u64 {
    let Some((_, rest)) = line.split_once(&format!("{name} ")) else { return 0 };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().unwrap_or_else(|_| panic!("no number behind {name:?} in {line:?}"))
}
