//! In the steady state nothing is allocated.
//!
//! The allocations counted are those of one thread, so of the reactor and of a client that needs none.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpStream;

use allocation_counter::{AllocationInfo, measure};
use frameloop::{Config, Echo, Handler};
use support::stepped::{Hooks, Server, frame, frames, pattern};

/// Sends `request` and waits for as many bytes.
fn exchange<H: Handler>(server: &mut Server<H>, client: &TcpStream, request: &[u8], received: &mut [u8]) {
    server.write(client, request);
    server.read_into(client, received);
}

/// Allocations in `exchanges`, after as many to warm up.
fn allocations<H: Handler>(handler: H, request: &[u8], exchanges: usize) -> AllocationInfo {
    let mut server = Server::new(Config::default(), handler);
    let clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let mut received = vec![0; request.len()];
    let mut run = || {
        for client in clients.iter().cycle().take(exchanges) {
            exchange(&mut server, client, request, &mut received);
        }
    };
    // Once a second, unused buffers are given back, and what comes behind that is a start again. So of several
    // measurements the least counts; each is far shorter than that second.
    run();
    let least = (0..5).map(|_| measure(&mut run)).min_by_key(|info| info.count_total).unwrap();
    assert!(received == request);
    least
}

/// Answers with a copy.
fn copying() -> Hooks {
    Hooks::default().on_frame(|conn, frame| assert_eq!(conn.reply(frame.payload()), Ok(())))
}

#[test]
fn allocations_are_counted() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn an_echo_of_64_bytes_allocates_nothing() {
    assert_eq!(allocations(Echo, &frame(&[7; 64]), 500).count_total, 0);
}

#[test]
fn an_echo_of_64_frames_at_a_time_allocates_nothing() {
    assert_eq!(allocations(Echo, &frames(&[&[7; 32][..]; 64]), 500).count_total, 0);
}

#[test]
fn an_echo_of_64_kib_allocates_nothing() {
    assert_eq!(allocations(Echo, &frame(&pattern(64 << 10)), 500).count_total, 0);
}

#[test]
fn an_echo_of_1_mib_allocates_no_buffer() {
    let info = allocations(Echo, &frame(&pattern(1 << 20)), 20);
    // The list of its chunks is made anew for each large frame.
    assert!(info.bytes_total <= 20 * 2_048, "{info:?}");
}

#[test]
fn a_copying_reply_allocates_nothing() {
    for request in [frame(&[7; 64]), frames(&[&[7; 32][..]; 64]), frame(&pattern(64 << 10))] {
        assert_eq!(allocations(copying(), &request, 200).count_total, 0, "in requests of {} bytes", request.len());
    }
}

#[test]
fn a_message_to_another_connection_allocates_nothing() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (first, first_id) = server.connect_with_id();
    let second = server.connect();
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        assert_eq!(conn.send(first_id, frame.payload()), Ok(()));
    });
    let Hooks { on_frame, .. } = hooks;
    server.reactor.handler_mut().on_frame = on_frame;
    let (request, mut received) = (frame(&[7; 64]), vec![0; 68]);
    let mut run = || {
        for _ in 0..500 {
            server.write(&second, &request);
            server.read_into(&first, &mut received);
        }
    };
    run();
    let least = (0..5).map(|_| measure(&mut run).count_total).min().unwrap();
    assert_eq!(least, 0);
}

#[test]
fn broadcast_of_1_mib_to_500_allocates_small_records_only() {
    const CLIENTS: usize = 500;
    let mut server = Server::new(Config::default(), Hooks::default());
    let (clients, ids): (Vec<_>, Vec<_>) = (0..CLIENTS).map(|_| server.connect_with_id()).unzip();
    let payload = bytes::Bytes::from(pattern(1 << 20));
    let mut reached = Default::default();
    let info = measure(|| reached = server.reactor.cx().broadcast(ids.iter().copied(), payload.clone()));
    assert_eq!(reached.queued, CLIENTS, "{reached:?}");
    assert!(info.bytes_total <= CLIENTS as u64 * 1_024, "{info:?}");
    // Two read it, one of them in the end.
    for client in [&clients[0], &clients[CLIENTS - 1]] {
        server.expect(client, &[&payload]);
    }
}
