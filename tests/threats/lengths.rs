//! Announced lengths: what is over the limit ends at the header's fourth byte, and nothing is allocated for a promise.

use std::io::{ErrorKind, Read};
use std::iter;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use frameloop::{CloseReason, Config, ConfigBuilder, Stats};

use crate::support::stepped::{self, Hooks};
use crate::support::{Client, End, PATIENCE, Process, announcement, connect_and_ping, counter, holds_within};

/// What every constructor sets.
const MAX: u32 = 16 << 20;
const LENGTHS: [u32; 9] = [0, 1, MAX - 1, MAX, MAX + 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX];

/// What a connection may take that has sent so many bytes.
const fn allowed(received: usize) -> usize {
    2 * received + (4 << 10)
}

/// Everything that makes a `Config` without given limits. The command line's own is tried by itself.
fn constructors() -> [(&'static str, Config); 3] {
    [
        ("Config::default", Config::default()),
        ("Config::builder", Config::builder().build().unwrap()),
        ("ConfigBuilder::default", ConfigBuilder::default().build().unwrap()),
    ]
}

/// A server that has answered already, so that what it needs once is there.
fn warm(config: &Config) -> stepped::Server<Hooks> {
    let mut server = stepped::Server::new(config.clone(), Hooks::default());
    let client = server.connect();
    server.echo(&client, b"warm");
    drop(client);
    server.closed(1);
    server
}

/// Writes, and lets the server take it. Asks it nothing: that would be counted among its allocations.
fn write_and_turn(server: &mut stepped::Server<Hooks>, client: &TcpStream, bytes: &[u8]) {
    server.write(client, bytes);
    let _ = server.turn();
    for _ in 0..3 {
        let _ = server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn has_ended(mut client: &TcpStream) -> bool {
    match client.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(len) => panic!("{len} bytes came"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn length_above_limit_closes_and_names_both_lengths() {
    for (made_by, config) in constructors() {
        for announced in LENGTHS {
            let mut server = warm(&config);
            let client = server.connect();
            let header = announcement(announced);
            let before = server.reactor.stats().bytes_in;
            server.write(&client, &header[..3]);
            server.turn_until("three bytes", |reactor| reactor.stats().bytes_in == before + 3);
            assert!(!has_ended(&client), "{made_by}: {announced} is over after three bytes");
            server.write(&client, &header[3..]);
            server.turn_until("the fourth", |reactor| reactor.stats().bytes_in == before + 4);
            if announced > MAX {
                server.turn_until("FIN", |_| has_ended(&client));
                drop(client);
                let reason = server.closed(2).1;
                let CloseReason::FrameTooLong(error) = reason else { panic!("{made_by}: {reason}") };
                assert_eq!((error.announced(), error.allowed), (announced.into(), MAX), "{made_by}");
                let text = reason.to_string();
                assert!(text.contains(&announced.to_string()) && text.contains(&MAX.to_string()), "{text}");
            } else if announced == 0 {
                server.expect(&client, &[b""]);
            } else {
                assert!(!has_ended(&client), "{made_by}: {announced} is refused");
                assert_eq!(server.log().closed.len(), 1);
            }
        }
    }
}

/// What a server has done, and what its heap has grown by at most, while a connection announced a length and sent so much
/// of it.
fn cost(config: &Config, announced: u32, payload_len: usize) -> (Stats, AllocationInfo) {
    let (header, payload) = (announcement(announced), vec![7; payload_len]);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let mut server = warm(config);
        let client = server.connect();
        let before = server.reactor.stats().bytes_in;
        let heap = measure(|| {
            write_and_turn(&mut server, &client, &header);
            for piece in payload.chunks(7_000) {
                write_and_turn(&mut server, &client, piece);
            }
        });
        let stats = server.reactor.stats();
        // On a busy machine a part of it may still be on its way.
        if stats.bytes_in - before == (header.len() + payload_len) as u64 {
            return (stats, heap);
        }
    }
    panic!("{announced} announced: {payload_len} bytes did not come");
}

#[test]
fn memory_is_at_most_twice_the_received_bytes_and_4_kib() {
    let mut most = (0.0, String::new());
    for (made_by, config) in constructors() {
        for announced in LENGTHS {
            for payload_len in [0, 1, 500, 5_000, 34_000, 35_000, 60_000, 200_000] {
                let payload_len = payload_len.min(announced.saturating_sub(1) as usize);
                let (stats, heap) = cost(&config, announced, payload_len);
                let received = 4 + payload_len;
                let case = format!("{made_by}: {announced} announced, {received} received");
                assert!(stats.buffered_bytes as usize <= allowed(received), "{case}: {stats}");
                assert!(heap.bytes_max as usize <= allowed(received), "{case}: {heap:?}");
                let share = heap.bytes_max as f64 / allowed(received) as f64;
                if share > most.0 {
                    most = (share, format!("{case}: {} bytes", heap.bytes_max));
                }
            }
        }
    }
    println!("most of what is allowed: {:.0} %, {}", 100.0 * most.0, most.1);
}

#[test]
fn the_command_lines_defaults_are_guarded_as_well() {
    const SENT: usize = 1_000;
    let (server, addr) = Process::serve(&[]);
    drop(connect_and_ping(addr));
    let data = || server.proc_status().vmdata.unwrap() << 10;
    let before = data();
    let (mut holders, mut others) = (Vec::new(), Vec::new());
    for announced in LENGTHS {
        // Of those that are refused so few that each has its log line: there are ten of them a second.
        let count = if announced > MAX { 2 } else { 20 };
        let mut clients: Vec<_> = iter::repeat_with(|| Client::connect(addr)).take(count).collect();
        clients.iter_mut().for_each(|client| client.send_bytes(&announcement(announced)));
        if announced > MAX {
            clients.iter_mut().for_each(|client| assert_eq!(client.end(), End::InOrder, "{announced}"));
            drop(clients);
            let line = server.stderr_line_with(&format!("frame of {announced} bytes exceeds"));
            assert!(line.contains(&format!("the limit of {MAX}")), "{line}");
        } else if announced > 1 {
            clients.iter_mut().for_each(|client| client.send_bytes(&[7; SENT]));
            holders.extend(clients);
        } else {
            others.extend(clients);
        }
    }
    let expected = holders.len() as u64 * (4 + SENT) as u64;
    assert!(holds_within(PATIENCE, || counter(&server.counters(), "buffered") >= expected));
    let buffered = counter(&server.counters(), "buffered");
    let grown = data() - before;
    println!("{} connections hold {buffered} bytes, and the process has grown by {grown}", holders.len());
    assert!(buffered <= (holders.len() * allowed(4 + SENT)) as u64, "{buffered} bytes");
    // Address space that was requested and never touched counts here too.
    assert!(grown < 1 << 20, "the process has grown by {grown} bytes");
    drop(others);
}
