//! Many clients: all at once, all idle, all dead at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use support::{End, Server, frame, holds_within, patient, payload};

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

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    const THREADS: u64 = 4;
    const CLIENTS_PER_THREAD: u64 = 500;
    let server = Server::start(patient());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                for client in 0..CLIENTS_PER_THREAD {
                    let mut connection = server.connect();
                    match (thread + client) % 4 {
                        0 => connection.call(&payload(client, 300)),
                        1 => connection.send_bytes(&[0, 0]),
                        2 => {
                            connection.send(&payload(client, 5_000));
                            connection.reset();
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let stats = server.stats_when(|stats| stats.closed_total() == THREADS * CLIENTS_PER_THREAD);
    assert_eq!((stats.connections, stats.buffered_bytes), (0, 0), "{stats}");
    let mut client = server.connect();
    client.call(b"as on the first day");
}

/// Each question is one poll, so the server may not have polled for anything else between two of them.
#[test]
fn a_server_with_idle_clients_does_not_turn() {
    let server = Server::start(patient());
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.call(&payload(1, 16 << 10)));
    // Buffers kept for reuse are given back in steps a second apart, for which it wakes up.
    let is_at_rest = || {
        let before = server.stats().polls;
        thread::sleep(Duration::from_millis(1_200));
        server.stats().polls == before + 1
    };
    assert!(holds_within(support::PATIENCE, is_at_rest), "{}", server.stats());
    let stats = server.stats();
    assert_eq!((stats.connections, stats.buffered_bytes, stats.pooled_bytes), (100, 0, 0), "{stats}");
}

#[cfg(feature = "cli")]
mod seen_from_outside {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::process::Command;
    use std::{env, iter};

    use super::support::{Process, announcement, connect_and_ping, descriptors, resident_bytes};
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Tells the process that is to be killed whom to connect to.
    const ADDR: &str = "FRAMELOOP_TEST_ADDR";
    const CLIENTS: usize = 500;

    #[test]
    fn an_idle_server_takes_no_processor_time() {
        let (server, addr) = Process::serve(&["--idle-timeout", "1h"]);
        let clients: Vec<_> = iter::repeat_with(|| connect_and_ping(addr)).take(100).collect();
        let cpu = server.cpu_time();
        thread::sleep(Duration::from_secs(1));
        let percent = cpu.percent_since();
        assert!(percent < 5.0, "{percent} % of a processor");
        drop(clients);
    }

    #[test]
    fn announcements_do_not_grow_the_process() {
        let (server, addr) = Process::serve(&["--max-frame", "4294967295", "--memory", "8GiB"]);
        let clients: Vec<_> = iter::repeat_with(|| connect_and_ping(addr)).take(200).collect();
        let before = resident_bytes(server.id());
        let announcing: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                client.send_bytes(&announcement(u32::MAX));
                client
            })
            .collect();
        connect_and_ping(addr);
        let after = resident_bytes(server.id());
        assert!(after < before + 4 * MIB, "{before} bytes were resident, and now {after}");
        drop(announcing);
    }

    /// Not a test of its own: the process that the next one kills.
    #[test]
    #[ignore = "is run by another test"]
    fn a_client_process_with_many_connections() {
        let Some(addr) = env::var(ADDR).ok().and_then(|addr| addr.parse::<SocketAddr>().ok()) else { return };
        let connect = |index: usize| {
            let mut client = TcpStream::connect(addr).unwrap();
            // Some have nothing under way, some a part of a frame, some replies that they do not read.
            match index % 3 {
                0 => {}
                1 => client.write_all(&announcement(100)).unwrap(),
                _ => client.write_all(&frame(&[7; 1_000])).unwrap(),
            }
            client
        };
        let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        println!("connected {}", clients.len());
        // Until it is killed; or until its parent is.
        let _ = (&clients[0]).read(&mut [0]);
    }

    #[test]
    fn when_the_process_of_many_clients_is_killed_all_its_connections_are_reaped() {
        let (server, addr) = Process::serve(&[]);
        let mut bystander = connect_and_ping(addr);
        let before = descriptors(server.id());
        let name = "seen_from_outside::a_client_process_with_many_connections";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture"]).env(ADDR, addr.to_string());
        let clients = Process::start(&mut command);
        clients.stdout_line_with(&format!("connected {CLIENTS}"));
        bystander.call(b"all of them are in the listen queue by now, or further");
        assert!(holds_within(support::PATIENCE, || descriptors(server.id()) == before + CLIENTS));

        drop(clients);
        let are_gone = holds_within(Duration::from_secs(5), || descriptors(server.id()) == before);
        assert!(are_gone, "{} of {CLIENTS} connections are left", descriptors(server.id()) - before);
        bystander.call(b"unharmed");
        let counters = server.counters();
        assert!(counters.contains("connections 1 ("), "{counters}");
        assert!(counters.contains(&format!("closed {CLIENTS} (")), "{counters}");
    }
}
