//! Limits: of connections, of one address, of memory, and the kernel's limit of descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use frameloop::CloseReason;

use support::{Client, End, Server, frame, patient, payload};

/// A client that is refused sees its connection end without a byte; by RST if it had sent something already.
#[track_caller]
fn assert_refused(client: &mut Client) {
    let end = client.end();
    assert!(matches!(end, End::InOrder | End::Reset), "{end:?}");
}

#[test]
fn connection_above_limit_is_refused_until_one_closes() {
    const MAX: usize = 20;
    let server = Server::start(patient().max_connections(MAX));
    let mut clients: Vec<_> = (0..MAX).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.call(b"let in"));
    for refused in 1..=3 {
        assert_refused(&mut server.connect());
        let stats = server.stats_when(|stats| stats.refused.max_connections == refused);
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
fn connection_above_address_limit_is_refused() {
    const MAX: usize = 5;
    let (one, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let server = Server::start(patient().max_per_ip(Some(MAX)));
    let connect = |ip| Client::connect_from(ip, server.addr);
    let mut of_one: Vec<_> = (0..MAX).map(|_| connect(one)).collect();
    of_one.iter_mut().for_each(|client| client.call(b"let in"));
    assert_refused(&mut connect(one));

    let mut of_other: Vec<_> = (0..MAX).map(|_| connect(other)).collect();
    of_other.iter_mut().for_each(|client| client.call(b"let in"));
    assert_refused(&mut connect(other));
    let stats = server.stats_when(|stats| stats.refused.max_per_ip == 2);
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

/// Silent ones hold every slot; those that have a slot and use it keep it.
#[test]
fn full_server_serves_newcomers_in_place_of_silent_connections() {
    const MAX: usize = 40;
    let server = Server::start(patient().max_connections(MAX).reclaim_idle(Some(Duration::from_millis(200))));
    // In the middle of a frame, so that it is active however slow this machine is.
    let incomplete = frame(&payload(1, 1_000));
    let mut active: Vec<_> = (0..10).map(|_| server.connect()).collect();
    active.iter_mut().for_each(|client| client.send_bytes(&incomplete[..900]));
    let mut silent: Vec<_> = (10..MAX).map(|_| server.connect()).collect();
    server.stats_when(|stats| stats.connections == MAX as u64 && stats.bytes_in == 9_000);
    let reclaimed = |stats: &frameloop::Stats| stats.closed_by(CloseReason::Reclaimed.kind());
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

#[cfg(feature = "cli")]
#[test]
fn default_connection_limit_stays_below_the_kernels() {
    let (server, addr) = support::Process::serve_with_descriptors(64, &[]);
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
