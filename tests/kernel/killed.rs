//! `kill -9` of the process that fills a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{
    Client, End, PATIENCE, Process, announcement, connect_and_ping, descriptors, frame, holds_within,
};
use crate::{ADDR, addr_of_part, counter, has_descriptors, part};

const MAX: usize = 2_000;
/// In addition to one bystander.
const KILLED: usize = MAX - 1;

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "is run by another test"]
fn part_of_many_clients() {
    let Some(addr) = addr_of_part() else { return };
    let connect = |index: usize| {
        let mut client = TcpStream::connect(addr).unwrap();
        // Some are silent, some are inside a frame, small or large, some have replies that they do not read.
        match index % 4 {
            0 => {}
            1 => client.write_all(&announcement(100)).unwrap(),
            2 => client.write_all(&frame(&[7; 100_000])[..10_000]).unwrap(),
            _ => client.write_all(&frame(&[7; 1_000])).unwrap(),
        }
        client
    };
    let clients: Vec<_> = (0..KILLED).map(connect).collect();
    println!("connected {}", clients.len());
    // Until it is killed; or until its parent is.
    let _ = (&clients[0]).read(&mut [0]);
}

#[test]
fn full_server_is_empty_5_s_after_clients_are_killed() {
    if !has_descriptors(MAX as u64 + 200) {
        return;
    }
    let (server, addr) = Process::serve(&["--max-connections", &MAX.to_string(), "--frame-timeout", "0"]);
    let mut bystander = connect_and_ping(addr);
    let before = descriptors(server.id());
    let clients = Process::start(part("killed::part_of_many_clients").env(ADDR, addr.to_string()));
    clients.stdout_line_with(&format!("connected {KILLED}"));
    assert!(holds_within(PATIENCE, || descriptors(server.id()) == before + KILLED));
    let end = Client::connect(addr).end();
    assert!(matches!(end, End::InOrder | End::Reset), "the server is full, and one more is let in: {end:?}");

    let begun = Instant::now();
    drop(clients);
    let are_gone = holds_within(Duration::from_secs(5), || descriptors(server.id()) == before);
    assert!(are_gone, "{} of {KILLED} connections are left", descriptors(server.id()) - before);
    println!("{KILLED} connections were reaped within {:?}", begun.elapsed());
    bystander.call(b"unharmed");
    connect_and_ping(addr).finish();
    let counters = server.counters();
    assert_eq!(counter(&counters, "refused"), 1, "{counters}");
    assert_eq!(counter(&counters, "buffered"), 0, "{counters}");
    // The two that are not among the killed are the bystander and the one that came last.
    let ended = ["peer finished", "truncated frame", "reset"].map(|reason| counter(&counters, reason));
    assert!((KILLED as u64..=MAX as u64).contains(&ended.iter().sum()), "{counters}");
    assert!(ended[1] >= KILLED as u64 / 2, "{counters}");
}
