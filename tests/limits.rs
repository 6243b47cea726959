//! Limits: of connections, of one address, of memory, and the kernel's limit of descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use frameloop::CloseReason;

use support::{Client, End, Server, announcement, frame, patient, payload};

/// A client that is refused sees its connection end without a byte; by RST if it had sent something already.
#[track_caller]
fn assert_refused(client: &mut Client) {
    let end = client.end();
    assert!(matches!(end, End::InOrder | End::Reset), "{end:?}");
}

#[test]
fn one_connection_past_the_limit_is_refused_and_after_a_close_accepting_resumes() {
    const MAX: usize = 20;
    let server = Server::start(patient().connections_max(MAX));
    let mut clients: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.call(b"let in"));
    for refused in 1..=3 {
        assert_refused(&mut server.connect());
        let stats = server.stats_when(|stats| stats.refused.connections_max == refused);
        assert_eq!((stats.connections, stats.refused.total()), (MAX as u64, refused), "{stats}");
    }

    clients.pop();
    server.stats_when(|stats| stats.connections == MAX as u64 - 1);
    let mut client = server.connect();
    client.call(b"let in");
    clients.push(client);
    assert_refused(&mut server.connect());
    clients.iter_mut().for_each(|client| client.call(b"still there"));

    drop(clients);
    let stats = server.stats_when_empty();
    assert_eq!((stats.accepted, stats.refused.total()), (MAX as u64 + 1, 4), "{stats}");
    assert_eq!((stats.connections_peak, stats.closed_total()), (MAX as u64, MAX as u64 + 1), "{stats}");
}

#[test]
fn one_connection_past_the_limit_of_its_address_is_refused_and_other_addresses_are_not() {
    const MAX: usize = 5;
    let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let server = Server::start(patient().connections_per_ip_max(Some(MAX)));
    let connect = |ip| Client::connect_from(ip, server.addr);
    let mut of_one: Vec<_> = (0..MAX).map(|_| connect(one)).collect();
    of_one.iter_mut().for_each(|client| client.call(b"let in"));
    assert_refused(&mut connect(one));

    let mut of_other: Vec<_> = (0..MAX).map(|_| connect(other)).collect();
    of_other.iter_mut().for_each(|client| client.call(b"let in"));
    assert_refused(&mut connect(other));
    let stats = server.stats_when(|stats| stats.refused.connections_per_ip_max == 2);
    assert_eq!((stats.connections, stats.refused.total()), (2 * MAX as u64, 2), "{stats}");

    // Whether many or few of an address are left, as many as it lacks are let in.
    for left in [1, MAX - 1, 0, 3] {
        of_other.truncate(left);
        server.stats_when(|stats| stats.connections == (MAX + left) as u64);
        assert_refused(&mut connect(one));
        of_other.extend((left..MAX).map(|_| connect(other)));
        of_other.iter_mut().for_each(|client| client.call(b"let in"));
        assert_refused(&mut connect(other));
    }
    drop(of_other);
    drop(of_one);
    let stats = server.stats_when_empty();
    assert_eq!((stats.accepted, stats.refused.total()), (2 * MAX as u64 + 4 + 1 + 5 + 2, 10), "{stats}");
}

#[test]
fn addresses_of_one_ipv4_prefix_count_as_one() {
    let server = Server::start(patient().connections_per_ip_max(Some(1)).ipv4_prefix_len(24));
    let mut first = Client::connect_from([127, 0, 0, 1], server.addr);
    first.call(b"let in");
    assert_refused(&mut Client::connect_from([127, 0, 0, 200], server.addr));
    Client::connect_from([127, 0, 1, 1], server.addr).call(b"another network");
    server.stats_when(|stats| stats.refused.connections_per_ip_max == 1);
    drop(first);
    server.stats_when_empty();
    Client::connect_from([127, 0, 0, 200], server.addr).call(b"let in");
}

/// Silent ones hold every slot; those that have a slot and use it keep it.
#[test]
fn full_server_serves_newcomers_in_place_of_silent_connections() {
    const MAX: usize = 40;
    let server = Server::start(patient().connections_max(MAX).reclaim_idle(Some(Duration::from_millis(200))));
    // In the middle of a frame, so that it is active however slow this machine is.
    let incomplete = frame(&payload(1, 1_000));
    let mut active: Vec<_> = (0..10).map(|_| server.connect()).collect();
    active.iter_mut().for_each(|client| client.send_bytes(&incomplete[..900]));
    let mut silent: Vec<_> = (10..MAX).map(|_| server.connect()).collect();
    server.stats_when(|stats| stats.connections == MAX as u64 && stats.bytes_in == 9_000);
    let reclaimed = |stats: &frameloop::Stats| stats.closed_like(&CloseReason::Reclaimed);
    let mut served = Vec::new();
    while served.len() < 30 {
        let (accepted, refused) = (MAX as u64 + served.len() as u64, server.stats().refused.total());
        let mut client = server.connect();
        let stats = server.stats_when(|stats| stats.accepted > accepted || stats.refused.total() > refused);
        if stats.accepted > accepted {
            client.send_bytes(&incomplete[..900]);
            served.push(client);
        }
    }
    let stats = server.stats();
    assert_eq!((reclaimed(&stats), stats.connections), (30, MAX as u64), "{stats}");
    silent.iter_mut().for_each(|client| assert_eq!(client.end(), End::InOrder));
    for client in active.iter_mut().chain(&mut served) {
        client.send_bytes(&incomplete[900..]);
        client.expect(&payload(1, 1_000));
    }
}

#[test]
fn newcomers_at_the_memory_limit_are_served_and_holders_evicted() {
    const MEMORY: usize = 1 << 20;
    let server = Server::start(patient().payload_len_max(800_000).memory_bytes_max(MEMORY));
    // An incomplete frame is buffered, so a few of them take all there is.
    let incomplete = frame(&payload(1, 100_000))[..60_000].to_vec();
    let mut holders = Vec::new();
    let mut sent = 0;
    for _ in 0..60 {
        let mut client = server.connect();
        client.call(b"let in");
        client.send_bytes(&incomplete);
        sent += (incomplete.len() + frame(b"let in").len()) as u64;
        holders.push(client);
        let stats = server.stats_when(|stats| stats.bytes_in == sent);
        assert!(stats.buffered_bytes <= MEMORY as u64, "{stats}");
        assert_eq!(stats.refused.total(), 0, "{stats}");
    }
    let evicted = server.stats().closed_like(&CloseReason::Evicted { input: 0, output: 0 });
    assert!((30..60).contains(&evicted), "{}", server.stats());
    drop(holders);
    server.stats_when(|stats| stats.connections == 0 && stats.buffered_bytes == 0);
    server.connect().call(&payload(2, 500_000));
    server.stats_when_empty();
}

#[test]
fn a_peer_that_announces_little_and_sends_less_is_no_reason_to_refuse_others() {
    let server = Server::start(patient().payload_len_max(1 << 20).memory_bytes_max(2 << 20));
    let announcers: Vec<_> = (0..500)
        .map(|_| {
            let mut client = server.connect();
            client.send_bytes(&announcement(1 << 20));
            client
        })
        .collect();
    server.stats_when(|stats| stats.bytes_in == 4 * 500);
    server.connect().call(&payload(1, 500_000));
    drop(announcers);
    let stats = server.stats_when_empty();
    assert_eq!(stats.refused.total(), 0, "{stats}");
}

#[cfg(feature = "cli")]
mod of_descriptors {
    use std::thread;
    use std::time::Duration;

    use super::support::{Process, connect_and_ping, descriptors};
    use super::*;

    /// How many clients the server had when it stopped accepting, by its own word.
    fn open_connections(line: &str) -> usize {
        let number = line.split("with ").nth(1).and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number of connections in {line:?}"))
    }

    #[test]
    fn without_descriptors_accepting_waits_idly_and_resumes_without_a_new_client() {
        const CLIENTS: usize = 200;
        const LIMIT: usize = 64;
        let (server, addr) = Process::serve_with_descriptors(LIMIT, &["--max-connections", "1000"]);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(addr)).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(&payload(index as u64, 100));
        }

        // The first of the queue are served, and nobody else.
        let line = server.stderr_line_with("accepting pauses");
        let room = open_connections(&line);
        assert!((LIMIT / 2..LIMIT).contains(&room), "{line}");
        // An inherited descriptor may have a number beyond the limit.
        assert!(descriptors(server.id()) >= LIMIT);
        for (index, client) in clients[..room].iter_mut().enumerate() {
            client.expect(&payload(index as u64, 100));
        }
        assert!(!clients[room..].iter().any(Client::has_input));

        // It does not spin, nor does it fill the log; watched for a second.
        let (cpu, lines) = (server.cpu_time(), server.stderr_len());
        thread::sleep(Duration::from_secs(1));
        let (percent, lines) = (cpu.percent_since(), server.stderr_len() - lines);
        assert!(percent < 5.0, "{percent} % of a processor");
        assert!(lines <= 4, "{lines} lines a second");
        clients[..room].iter_mut().for_each(|client| client.call(b"still served"));

        // Whoever goes makes room for one who has waited since the beginning and sends nothing more.
        let mut served = room;
        while served < CLIENTS {
            let leaving = if served == room { 1 } else { room.min(CLIENTS - served) };
            let gone = served - room;
            clients[gone..gone + leaving].iter().for_each(|client| {
                client.stream.shutdown(std::net::Shutdown::Both).unwrap();
            });
            for (index, client) in clients.iter_mut().enumerate().skip(served).take(leaving) {
                client.expect(&payload(index as u64, 100));
            }
            served += leaving;
        }
        drop(clients);
        connect_and_ping(addr);
        server.signal("TERM");
        let outcome = server.outcome();
        assert_eq!(outcome.drain_report().1, 0, "{outcome:?}");
    }

    #[test]
    fn the_default_limit_of_connections_keeps_the_kernels_limit_from_being_met() {
        let (server, addr) = Process::serve_with_descriptors(64, &[]);
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(addr)).collect();
        let mut served = 0;
        for client in &mut clients {
            // A refused client may find its connection reset before it has sent anything.
            if std::io::Write::write_all(&mut client.stream, &frame(b"hello")).is_ok() && client.receive().is_ok() {
                served += 1;
            }
        }
        assert!((16..64).contains(&served), "{served} of 100 are served");
        let counters = server.counters();
        assert!(counters.contains(&format!("accepted {served}, refused {}", 100 - served)), "{counters}");
    }
}
