//! Peers that end, in order and not: how soon nothing is left of them, and what it costs to have them half there.

use std::iter;
use std::thread;
use std::time::{Duration, Instant};

use crate::assert_kept_once;
use crate::support::{
    Client, PATIENCE, Process, announcement, connect_and_ping, counter, descriptors, frame, holds_within, payload,
};

const REAPED: Duration = Duration::from_secs(1);
const CLIENTS: u64 = 50;

/// What a client does last, and under which name it is counted.
type Ending = (&'static str, fn(Client));

const ENDINGS: [Ending; 8] = [
    ("peer finished", |mut client| {
        client.send_bytes(&frame(b"answered").repeat(20));
        client.finish();
        (0..20).for_each(|_| client.expect(b"answered"));
    }),
    ("truncated frame", |mut client| {
        client.send_bytes(&announcement(1_000)[..2]);
        client.finish();
    }),
    ("truncated frame", |mut client| {
        client.send_bytes(&frame(&payload(1, 100_000))[..80_000]);
        client.finish();
    }),
    ("reset", |mut client| {
        client.call(b"answered");
        client.send_bytes(&announcement(1_000)[..2]);
        client.reset();
    }),
    ("reset", |mut client| {
        client.call(b"answered");
        client.send_bytes(&frame(&payload(1, 100_000))[..80_000]);
        client.reset();
    }),
    ("reset", Client::reset),
    // It closes with a reply unread, so the kernel sends RST.
    ("reset", |mut client| {
        client.send(b"its reply is not read");
        client.stream.peek(&mut [0]).unwrap();
    }),
    // Which of both the server sees first is a matter of time.
    ("", |mut client| {
        client.send_bytes(&frame(&payload(1, 1_000))[..500]);
        client.finish();
        client.reset();
    }),
];

#[test]
fn closed_peer_is_reaped_in_1_s_without_processor_time() {
    let (server, addr) = Process::serve(&["-q"]);
    let mut bystander = connect_and_ping(addr);
    let baseline = descriptors(server.id());
    for (name, end) in ENDINGS {
        assert_kept_once(REAPED, || {
            let clients: Vec<_> = iter::repeat_with(|| connect_and_ping(addr)).take(CLIENTS as usize).collect();
            assert_eq!(descriptors(server.id()), baseline + clients.len());
            let begun = Instant::now();
            clients.into_iter().for_each(end);
            assert!(holds_within(PATIENCE, || descriptors(server.id()) == baseline), "{name}");
            begun.elapsed()
        });
    }
    let cpu = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let percent = cpu.percent_since();
    assert!(percent < 5.0, "{percent} % of a processor");
    bystander.call(b"unharmed");
}

#[test]
fn each_end_is_counted_in_order_or_as_abrupt() {
    let (server, addr) = Process::serve(&[]);
    let baseline = descriptors(server.id());
    for (_, end) in ENDINGS {
        (0..CLIENTS).for_each(|_| end(connect_and_ping(addr)));
    }
    assert!(holds_within(PATIENCE, || descriptors(server.id()) == baseline));
    let counters = server.counters();
    let counted = ["peer finished", "truncated frame", "reset"].map(|name| counter(&counters, name));
    assert_eq!(counted[0], CLIENTS, "{counters}");
    assert!(counted[1] >= 2 * CLIENTS && counted[2] >= 3 * CLIENTS, "{counters}");
    assert_eq!(counted.iter().sum::<u64>(), ENDINGS.len() as u64 * CLIENTS, "{counters}");
}

/// FIN has arrived, and output is pending and not accepted: the kernel reports the end for as long as it lasts.
#[test]
fn peers_that_finished_and_do_not_read_cost_no_processor_time() {
    let (server, addr) = Process::serve(&["--write-timeout", "0"]);
    let mut stuck: Vec<_> = iter::repeat_with(|| Client::connect_narrow(addr)).take(20).collect();
    let owed = frame(&payload(1, 8 << 20));
    for client in &mut stuck {
        client.send_bytes(&owed);
        client.finish();
        // A reply's first byte: the server has the whole frame.
        client.stream.peek(&mut [0]).unwrap();
    }
    let mut bystander = connect_and_ping(addr);
    let cpu = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let percent = cpu.percent_since();
    assert!(percent < 5.0, "{percent} % of a processor");
    bystander.call(b"unharmed");
    assert_eq!(counter(&server.counters(), "connections"), 21);
    let baseline = descriptors(server.id()) - stuck.len();
    stuck.into_iter().for_each(Client::reset);
    assert!(holds_within(PATIENCE, || descriptors(server.id()) == baseline));
}
