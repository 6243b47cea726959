//! Measurement: how long a bystander waits for its reply when a server goes on after a pause and finds everything ready at
//! once. That a turn is bounded is asserted in virtual time (`src/sim/fairness.rs`).

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Process, connect_and_ping, frame};
use crate::timed::{begin, p99};
use crate::{ROUNDS, support};

/// Clients that all have much to do the moment that a stopped server goes on.
const ATTACKERS: usize = 64;

/// How long a bystander waits for its reply, counted from when the server goes on after a pause: sorted, one for each pause.
/// The attackers send a small frame each before the pause, and a burst during it.
fn waits_after_pauses(server: &Process, addr: SocketAddr, burst: &[u8], pauses: usize) -> Vec<Duration> {
    let mut bystander = connect_and_ping(addr);
    let barrier = Barrier::new(ATTACKERS + 1);
    let mut waits = Vec::new();
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                let mut attacker = connect_and_ping(addr);
                let mut echoed = vec![0; burst.len()];
                for _ in 0..pauses {
                    attacker.send(b"small");
                    attacker.expect(b"small");
                    barrier.wait();
                    // The server is stopped: what does not fit its socket follows when it goes on.
                    barrier.wait();
                    let mut reader = attacker.clone_for_thread();
                    thread::scope(|scope| {
                        scope.spawn(|| reader.stream.read_exact(&mut echoed).unwrap());
                        attacker.send_bytes(burst);
                    });
                    barrier.wait();
                }
            });
        }
        for _ in 0..pauses {
            barrier.wait();
            server.signal("STOP");
            barrier.wait();
            // Nothing announces that the bursts lie in the sockets.
            thread::sleep(Duration::from_millis(100));
            bystander.send(b"ping");
            let begun = Instant::now();
            server.signal("CONT");
            bystander.expect(b"ping");
            waits.push(begun.elapsed());
            barrier.wait();
        }
    });
    waits.sort();
    waits
}

#[test]
fn bystander_keeps_p99_through_bursts_after_pause() {
    const PAUSES: usize = 30;
    let Some(_alone) = begin() else { return };
    // All frames that are under way when the server is stopped are past their deadline when it goes on.
    let (server, addr) = Process::serve(&["-q", "--frame-timeout", "50ms"]);
    let burst = frame(&support::payload(2, 64 << 10)).repeat(8);
    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        let quiet = p99(&waits_after_pauses(&server, addr, &[], PAUSES));
        let attacked = p99(&waits_after_pauses(&server, addr, &burst, PAUSES));
        measured.push((quiet, attacked));
        if attacked <= 2 * quiet + Duration::from_millis(1) {
            return println!("p99 without and with bursts: {measured:?}");
        }
    }
    panic!("p99 without and with bursts: {measured:?}");
}
