//! A server that may use less memory than the machine has: by a cgroup, as in a container, or by `RLIMIT_AS`.

use std::fs;
use std::path::{Path, PathBuf};

use procfs_core::FromRead;
use procfs_core::process::Status;

use crate::counter;
use crate::support::{Client, PATIENCE, Process, SLACK, connect_and_ping, frame, holds_within, payload, skip};

const LIMIT: u64 = 128 << 20;
const PEERS: usize = 1_000;
const LONGEST: usize = 16 << 20;
/// What each peer sends of its frame: far more, together, than there is.
const PART: usize = 500 << 10;

/// A memory cgroup in the one of this process, with a limit; removed at the end.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// `None` where this process may not make one.
    fn with_limit(bytes: u64) -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |line: &str| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?.trim_start_matches('/'));
            match (number, controllers) {
                (_, "memory") => Some((Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")),
                ("0", "") => Some((Path::new("/sys/fs/cgroup").join(path), "memory.max")),
                _ => None,
            }
        };
        cgroups.lines().filter_map(own).find_map(|(parent, file)| {
            let path = parent.join(format!("frameloop-test-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let cgroup = Self { path };
            // Without this file the directory has no memory controller.
            let file = cgroup.path.join(file);
            (file.exists() && fs::write(file, bytes.to_string()).is_ok()).then_some(cgroup)
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The server's process has ended, but its cgroup may notice a moment later.
        holds_within(SLACK, || fs::remove_dir(&self.path).is_ok());
    }
}

/// A server that starts behind `setup` takes a quarter of its limit for its buffers, says which limit that is, and outlives
/// peers that would fill four times the limit.
fn assert_stays_within_the_limit(setup: &str, named: &str) {
    let (mut server, addr) = Process::serve_after(setup, &["-v"]);
    let line = server.stderr_line_with("--memory is ");
    assert!(line.contains(&format!("--memory is {} bytes, a quarter of {named}", LIMIT / 4)), "{line}");

    let mut small = connect_and_ping(addr);
    let part = &frame(&payload(1, LONGEST))[..PART];
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let mut peer = Client::connect(addr);
        // One that was evicted meanwhile takes no more.
        let _ = std::io::Write::write_all(&mut peer.stream, part);
        peers.push(peer);
    }
    small.call(b"still served");
    // The kernel holds much of what was sent, and the server may not have read all of it yet.
    assert!(holds_within(PATIENCE, || counter(&server.counters(), "evicted") > 0), "{}", server.counters());
    let counters = server.counters();
    assert!(counter(&counters, "buffered") <= LIMIT / 4, "{counters}");
    assert_eq!(counter(&counters, "refused"), 0, "{counters}");
    assert!(server.is_running());
    drop(peers);
    connect_and_ping(addr);
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}

#[test]
fn server_in_a_small_cgroup_stays_within_it() {
    let Some(cgroup) = Cgroup::with_limit(LIMIT) else {
        return skip("no memory cgroup can be made here");
    };
    let procs = cgroup.path.join("cgroup.procs");
    let named = format!("the cgroup limit ({LIMIT} bytes, {}", cgroup.path.display());
    assert_stays_within_the_limit(&format!("echo $$ > '{}'", procs.display()), &named);
}

#[test]
fn server_with_little_address_space_stays_within_it() {
    let named = format!("RLIMIT_AS ({LIMIT} bytes)");
    assert_stays_within_the_limit(&format!("ulimit -v {}", LIMIT >> 10), &named);
}

/// Else what is left for the buffers depends on what the threads do meanwhile.
#[test]
fn threads_take_no_address_space_where_it_is_limited() {
    let (server, addr) = Process::serve_after(&format!("ulimit -v {}", LIMIT >> 10), &["-vv"]);
    for _ in 0..100 {
        connect_and_ping(addr);
    }
    server.counters();
    let peak = Status::from_file(format!("/proc/{}/status", server.id())).unwrap().vmpeak.unwrap();
    assert!(peak < 60 << 10, "{peak} KiB at most");
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}

#[test]
fn default_memory_below_longest_frame_is_raised() {
    let (server, addr) = Process::serve_after("ulimit -v 61440", &[]);
    let line = server.stderr_line_with("a quarter of RLIMIT_AS");
    assert!(line.contains("is 15728640 bytes, but --max-payload and --output-high-water need 16846852"), "{line}");
    connect_and_ping(addr);
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}
