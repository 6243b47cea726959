//! No descriptor for another connection (EMFILE), and then one again.

use std::thread;
use std::time::{Duration, Instant};

use rlimit::Resource;

use crate::limit;
use crate::support::{Client, PATIENCE, Process, holds_within};

const CLIENTS: usize = 80;
const LIMIT: u64 = 64;
const ROUNDS: u64 = 7;

/// From when a descriptor is free to when a connection in the listen queue is served.
const PROMISED: Duration = Duration::from_millis(200);

/// A server without a descriptor for one connection more.
struct Exhausted {
    server: Process,
    served: Vec<Client>,
    /// In the listen queue, first come first; each has sent a frame, and sends nothing more.
    waiting: Vec<Client>,
}

impl Exhausted {
    fn new() -> Self {
        let (server, addr) = Process::serve(&["--max-connections", "1000"]);
        limit(server.id(), Resource::NOFILE, LIMIT);
        let mut served: Vec<_> = (0..CLIENTS).map(|_| Client::connect(addr)).collect();
        served.iter_mut().for_each(|client| client.send(b"waiting"));
        let line = server.stderr_line_with("accepting pauses");
        let room = line.split_once("with ").and_then(|(_, rest)| rest.split(' ').next());
        let waiting = served.split_off(room.and_then(|room| room.parse().ok()).unwrap());
        served.iter_mut().for_each(|client| client.expect(b"waiting"));
        assert!(waiting.len() > ROUNDS as usize && !waiting.iter().any(Client::has_input), "{line}");
        Self { server, served, waiting }
    }

    /// How long it takes until the first of those who wait is served, once a descriptor was freed.
    fn wait_of_the_first(&mut self, free: impl FnOnce(&mut Self)) -> Duration {
        let begun = Instant::now();
        free(self);
        let mut client = self.waiting.remove(0);
        client.expect(b"waiting");
        let waited = begun.elapsed();
        assert!(!self.waiting.iter().any(Client::has_input), "one descriptor serves more than one");
        self.served.push(client);
        waited
    }
}

/// The machine may be busy with something else now and then, not always.
#[track_caller]
fn assert_promise_kept(mut waits: Vec<Duration>) {
    waits.sort();
    println!("{waits:?}");
    assert!(waits[waits.len() / 2] <= PROMISED, "{waits:?}");
}

#[test]
fn server_without_descriptors_is_idle_and_logs_little() {
    const WATCHED: Duration = Duration::from_secs(4);
    let Exhausted { server, mut served, waiting } = Exhausted::new();
    let (cpu, lines) = (server.cpu_time(), server.stderr_len());
    thread::sleep(WATCHED);
    let (percent, lines) = (cpu.percent_since(), server.stderr_len() - lines);
    assert!(percent < 5.0, "{percent} % of a processor");
    // One of them may be about the time before.
    assert!(lines as u64 <= WATCHED.as_secs() + 1, "{lines} lines in {WATCHED:?}");
    served.iter_mut().for_each(|client| client.call(b"still served"));
    assert!(!waiting.iter().any(Client::has_input));
}

/// Each client waits for a descriptor, and nothing else makes room.
#[test]
fn idle_connections_give_way_when_no_descriptor_is_left() {
    let (server, addr) = Process::serve(&["--max-connections", "1000", "--reclaim-idle", "100ms"]);
    limit(server.id(), Resource::NOFILE, LIMIT);
    let mut clients: Vec<_> = (0..2 * CLIENTS).map(|_| Client::connect(addr)).collect();
    for client in &mut clients {
        client.send(b"waiting");
    }
    clients.iter_mut().for_each(|client| client.expect(b"waiting"));
    let closed = || clients.iter().filter(|client| client.has_input()).count();
    assert!(holds_within(PATIENCE, || closed() >= 2 * CLIENTS - LIMIT as usize), "{} gave way", closed());
}

#[test]
fn queued_client_is_accepted_200_ms_after_a_close() {
    let mut scene = Exhausted::new();
    let wait = |_| {
        scene.wait_of_the_first(|scene| {
            scene.served.remove(0).finish();
        })
    };
    assert_promise_kept((0..ROUNDS).map(wait).collect());
}

#[test]
fn queued_client_is_accepted_200_ms_after_a_free_fd() {
    let mut scene = Exhausted::new();
    let wait = |round| scene.wait_of_the_first(|scene| limit(scene.server.id(), Resource::NOFILE, LIMIT + round));
    assert_promise_kept((1..=ROUNDS).map(wait).collect());

    limit(scene.server.id(), Resource::NOFILE, 4 * LIMIT);
    scene.waiting.iter_mut().for_each(|client| client.expect(b"waiting"));
    assert!(holds_within(PATIENCE, || !scene.served.iter().any(Client::has_input)), "somebody was cut");
}
