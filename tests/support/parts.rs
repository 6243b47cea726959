//! Tests that play a part in another one, as a process of their own; tests that are left out; and counters in a line.

use std::env;
use std::io::{Write, stderr};
use std::process::Command;

/// Says that the calling test is left out.
#[track_caller]
pub(crate) fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(env::var_os("FRAMELOOP_TEST_SKIPS_NOTHING").is_none(), "nothing may be skipped, but {why}");
    // Not by `eprintln!`, of which the test harness shows nothing if the test is well.
    let _ = writeln!(stderr(), "skipped: {test}, because {why}");
}

/// This program, about to run one of its tests that play a part in another one.
pub(crate) fn part(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]);
    command
}

/// The address that a part connects to; without it, the part is not played.
pub(crate) const ADDR: &str = "FRAMELOOP_TEST_ADDR";

pub(crate) fn addr_of_part() -> Option<std::net::SocketAddr> {
    env::var(ADDR).ok()?.parse().ok()
}

/// The number that follows `name` in a line of counters; 0 if it is not there.
#[track_caller]
pub(crate) fn counter(line: &str, name: &str) -> u64 {
    let Some((_, rest)) = line.split_once(&format!("{name} ")) else { return 0 };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().unwrap_or_else(|_| panic!("no number behind {name:?} in {line:?}"))
}
