//! A server that may not have more memory than `--memory` and a little: where the process is killed that believes a peer.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rlimit::Resource;

use crate::support::{Client, PATIENCE, Process, SLACK, connect_and_ping, descriptors, frame, holds_within, payload};
use crate::{counter, limit};

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 32 * MIB;
const FRAME_LEN: u32 = 4 << 20;
const FLOODERS: usize = 100;

/// What the process may map beside what it has mapped at rest: the buffers of all connections, those kept for reuse
/// (16 MiB), one frame put together, and what an allocator loses.
const MAPPED_MAX: u64 = MEMORY + 24 * MIB;

/// How long the flood lasts, at least.
const FLOOD: Duration = Duration::from_secs(4);

/// How many peers are ended for want of memory meanwhile, at least.
const ENDED: u64 = 20;

/// What the peers write, over and over from its beginning; they read nothing.
struct Bytes {
    large: Vec<u8>,
    small: Vec<u8>,
}

impl Bytes {
    fn new() -> Self {
        Self { large: frame(&payload(1, FRAME_LEN as usize)), small: frame(&payload(2, 500)).repeat(200) }
    }

    /// A peer's, and whether it begins again at the end.
    fn of(&self, index: usize) -> (&[u8], bool) {
        match index % 4 {
            // A large frame, in part.
            0 => (&self.large[..self.large.len() / 2 + index], false),
            // Small ones.
            1 => (&self.small, true),
            // Large ones.
            2 => (&self.large, true),
            // The word alone.
            _ => (&self.large[..4], false),
        }
    }
}

struct Flooder<'a> {
    client: Client,
    bytes: &'a [u8],
    written: usize,
    goes_on: bool,
}

impl<'a> Flooder<'a> {
    fn new(addr: SocketAddr, (bytes, goes_on): (&'a [u8], bool)) -> Self {
        let client = Client::connect_narrow(addr);
        client.stream.set_nonblocking(true).unwrap();
        Self { client, bytes, written: 0, goes_on }
    }

    /// Writes what the socket takes, up to a part of a frame. Returns whether it is still connected.
    fn write(&mut self) -> bool {
        for _ in 0..16 {
            if self.written == self.bytes.len() && self.goes_on {
                self.written = 0;
            }
            match self.client.stream.write(&self.bytes[self.written..]) {
                Ok(0) => return !self.has_ended(),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return !self.has_ended(),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether the server has closed it, as far as that can be told without reading.
    fn has_ended(&self) -> bool {
        match self.client.stream.peek(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Floods until told to end. Who is cut or refused comes again.
fn flood(addr: SocketAddr, is_over: &AtomicBool) {
    let bytes = Bytes::new();
    let mut flooders: Vec<_> = (0..FLOODERS).map(|index| Flooder::new(addr, bytes.of(index))).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (index, flooder) in flooders.iter_mut().enumerate() {
            if !flooder.write() {
                *flooder = Flooder::new(addr, bytes.of(index));
            }
        }
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The memory that a process has mapped, in bytes.
fn mapped(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_flood_in_little_memory_ends_its_peers_and_neither_the_server_nor_others() {
    let (mut server, addr) = Process::serve(&[
        "--memory",
        &MEMORY.to_string(),
        "--max-frame",
        &FRAME_LEN.to_string(),
        "--frame-timeout",
        "0",
        "--write-timeout",
        "0",
    ]);
    let mut good = connect_and_ping(addr);
    let baseline = descriptors(server.id());
    let at_rest = mapped(server.id());
    limit(server.id(), Resource::AS, at_rest + MAPPED_MAX);

    let is_over = AtomicBool::new(false);
    let (mut calls, mut longest, mut most_buffered, mut most_mapped) = (0, Duration::ZERO, 0, 0);
    // Who needs more is cut, and who comes then is refused: of which there are more is a matter of who comes first.
    let ended = |counters: &str| counter(counters, "memory limit") + counter(counters, "refused");
    let counters = thread::scope(|scope| {
        // Also when the test fails.
        let _over = SetOnDrop(&is_over);
        scope.spawn(|| flood(addr, &is_over));
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            good.call(&payload(calls, 1_000));
            longest = longest.max(asked.elapsed());
            calls += 1;
            let counters = server.counters();
            most_buffered = most_buffered.max(counter(&counters, "buffered"));
            most_mapped = most_mapped.max(mapped(server.id()));
            if begun.elapsed() > FLOOD && ended(&counters) >= ENDED {
                return counters;
            }
            assert!(begun.elapsed() < PATIENCE, "{counters}");
        }
    });
    println!("{calls} calls, the longest took {longest:?}; {most_buffered} bytes were buffered; {counters}");
    println!("at most {} bytes were mapped beside {at_rest} at rest", most_mapped - at_rest);
    assert!(longest < SLACK, "a call took {longest:?}");
    assert!((MEMORY / 2..=MEMORY).contains(&most_buffered), "{most_buffered} bytes were buffered");

    // All is well when they are gone.
    assert!(holds_within(SLACK, || descriptors(server.id()) == baseline));
    good.call(&payload(1, FRAME_LEN as usize / 8));
    connect_and_ping(addr);
    assert_eq!(counter(&server.counters(), "buffered"), 0);
    assert!(server.is_running());
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}
