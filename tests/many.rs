//! Many clients: all at once, all idle, all dead at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Barrier;
use std::thread;
#[cfg(feature = "cli")]
use std::time::Duration;

use support::{End, Server, frame, patient, payload};

#[test]
fn a_thousand_clients_at_once_get_back_every_byte_in_order() {
    const THREADS: u64 = 8;
    const CLIENTS_PER_THREAD: u64 = 125;
    const ROUNDS: u64 = 12;
    let server = Server::start(patient());
    let all_connected = Barrier::new(THREADS as usize + 1);
    let checked = Barrier::new(THREADS as usize + 1);
    // What a client sends in a round, as it lies on the wire: no two are alike.
    let frames_of = |client: u64, round: u64| {
        let seed = client * ROUNDS + round;
        let lens = [seed % 7, seed * 31 % 1_500, 0, seed * 1_009 % 20_000];
        lens.map(|len| payload(seed + len, len as usize))
    };

    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (server, all_connected, checked) = (&server, &all_connected, &checked);
            scope.spawn(move || {
                let first = thread * CLIENTS_PER_THREAD;
                let mut clients: Vec<_> =
                    (first..first + CLIENTS_PER_THREAD).map(|client| (client, server.connect())).collect();
                all_connected.wait();
                checked.wait();
                for round in 0..ROUNDS {
                    for (client, connection) in &mut clients {
                        let bytes = frames_of(*client, round).map(|payload| frame(&payload)).concat();
                        // Cut at another place for each, so that headers come in pieces as well.
                        let cut = (*client + round) as usize % bytes.len();
                        connection.send_bytes(&bytes[..cut]);
                        connection.send_bytes(&bytes[cut..]);
                    }
                    for (client, connection) in &mut clients {
                        frames_of(*client, round).iter().for_each(|payload| connection.expect(payload));
                    }
                }
                for (_, connection) in &mut clients {
                    connection.finish();
                    assert_eq!(connection.end(), End::InOrder);
                }
            });
        }
        all_connected.wait();
        server.stats_when(|stats| stats.connections == THREADS * CLIENTS_PER_THREAD);
        checked.wait();
    });

    let stats = server.stats_when_empty();
    let clients = THREADS * CLIENTS_PER_THREAD;
    assert_eq!((stats.connections_peak, stats.accepted), (clients, clients), "{stats}");
    assert_eq!((stats.frames_in, stats.frames_out), (4 * clients * ROUNDS, 4 * clients * ROUNDS), "{stats}");
    assert_eq!(stats.bytes_in, stats.bytes_out, "{stats}");
    assert_eq!(stats.registrations.total(), clients, "{stats}");
}

#[cfg(feature = "cli")]
#[test]
fn an_idle_server_takes_no_processor_time() {
    let (server, addr) = support::Process::serve(&["--idle-timeout", "1h"]);
    let clients: Vec<_> = std::iter::repeat_with(|| support::connect_and_ping(addr)).take(100).collect();
    let cpu = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let percent = cpu.percent_since();
    assert!(percent < 5.0, "{percent} % of a processor");
    drop(clients);
}
