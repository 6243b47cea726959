//! A server that may not have more memory than `--memory` and a little: where the process is killed that believes a peer.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rlimit::Resource;

use crate::support::{Client, PATIENCE, Process, SLACK, connect_and_ping, descriptors, frame, holds_within, payload};
use crate::{counter, limit};

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 32 * MIB;
const FRAME_LEN: u32 = 4 << 20;
const FLOODERS: usize = 100;

/// What the process may map in addition to what it maps at rest: the buffers of all connections, those kept for reuse
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

    /// Whether the server has closed it, as far as that shows without reading.
    fn has_ended(&self) -> bool {
        match self.client.stream.peek(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Floods until `is_over`. A client that is closed or refused connects again.
fn flood<'a>(addr: SocketAddr, count: usize, is_over: &AtomicBool, bytes: impl Fn(usize) -> (&'a [u8], bool)) {
    let mut flooders: Vec<_> = (0..count).map(|index| Flooder::new(addr, bytes(index))).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (index, flooder) in flooders.iter_mut().enumerate() {
            if !flooder.write() {
                *flooder = Flooder::new(addr, bytes(index));
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

#[test]
fn flood_in_little_memory_closes_only_its_own_peers() {
    let (mut server, addr) = Process::serve(&[
        "--memory",
        &MEMORY.to_string(),
        "--max-payload",
        &FRAME_LEN.to_string(),
        "--frame-timeout",
        "0",
        "--write-timeout",
        "0",
    ]);
    let mut good = connect_and_ping(addr);
    let baseline = descriptors(server.id());
    let mapped = || server.proc_status().vmsize.unwrap() << 10;
    let at_rest = mapped();
    limit(server.id(), Resource::AS, at_rest + MAPPED_MAX);

    let is_over = AtomicBool::new(false);
    let (mut calls, mut longest, mut most_buffered, mut most_mapped) = (0, Duration::ZERO, 0, 0);
    let ended = |counters: &str| counter(counters, "evicted");
    let counters = thread::scope(|scope| {
        // Also when the test fails.
        let _over = SetOnDrop(&is_over);
        let bytes = Bytes::new();
        let is_over = &is_over;
        scope.spawn(move || flood(addr, FLOODERS, is_over, |index| bytes.of(index)));
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            good.call(&payload(calls, 1_000));
            longest = longest.max(asked.elapsed());
            calls += 1;
            let counters = server.counters();
            most_buffered = most_buffered.max(counter(&counters, "buffered"));
            most_mapped = most_mapped.max(mapped());
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

const HOARDERS: usize = 20;
const SMALL: usize = 20;
/// What the longest frame takes by default.
const LONGEST: usize = 16 << 20;
const EVICTED: u64 = 100;

/// Hoarders at the memory limit, each with what it writes: small clients lose no echo and no connection.
fn assert_small_clients_lose_nothing<'a>(bytes: impl Fn(usize) -> (&'a [u8], bool) + Send) {
    let (mut server, addr) =
        Process::serve(&["--memory", &MEMORY.to_string(), "--frame-timeout", "0", "--write-timeout", "0"]);
    let mut small: Vec<Client> = (0..SMALL).map(|_| connect_and_ping(addr)).collect();
    let is_over = AtomicBool::new(false);
    let counters = thread::scope(|scope| {
        let _over = SetOnDrop(&is_over);
        let is_over = &is_over;
        scope.spawn(move || flood(addr, HOARDERS, is_over, bytes));
        let begun = Instant::now();
        for round in 0_u64.. {
            // Whole frames, and such as come in two parts, which have to be kept in between.
            let payloads = [64, 1_000, 5_000, 60_000].map(|len| payload(round, len));
            for (payload, client) in payloads.iter().cycle().zip(&mut small) {
                client.call(payload);
                client.send_bytes(&frame(payload)[..payload.len() / 2]);
            }
            let counters = server.counters();
            assert!(counter(&counters, "buffered") <= MEMORY, "{counters}");
            for (payload, client) in payloads.iter().cycle().zip(&mut small) {
                client.send_bytes(&frame(payload)[payload.len() / 2..]);
                client.expect(payload);
            }
            // Newcomers are served too.
            connect_and_ping(addr);
            if begun.elapsed() > FLOOD / 4 && counter(&counters, "evicted") >= EVICTED {
                return counters;
            }
            assert!(begun.elapsed() < PATIENCE, "{counters}");
        }
        unreachable!("rounds do not end")
    });
    assert_eq!(counter(&counters, "refused"), 0, "{counters}");
    small.iter_mut().for_each(|client| client.call(b"still there"));
    assert!(server.is_running());
}

#[test]
fn hoarders_of_input_cost_small_clients_nothing() {
    let hoard = frame(&payload(1, LONGEST))[..LONGEST / 16 * 15].to_vec();
    assert_small_clients_lose_nothing(|_| (&hoard, false));
}

#[test]
fn hoarders_of_output_cost_small_clients_nothing() {
    let (long, short) = (frame(&payload(1, LONGEST)), frame(&payload(2, 500)).repeat(200));
    assert_small_clients_lose_nothing(|index| (if index % 2 == 0 { &long } else { &short }, true));
}
