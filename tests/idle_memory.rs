//! What a connection costs in user space while it does nothing.
//!
//! The bytes counted are those that one thread has on its heap: those of the reactor, as the clients, which live in the
//! same thread, have none.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpStream;

use allocation_counter::measure;
use frameloop::{Config, Echo};
use procfs_core::FromRead;
use procfs_core::process::{LimitValue, Limits};
use support::stepped::{Server, frame, pattern};

/// Connections that this process may hold, both ends of each, up to `wanted`.
fn affordable(wanted: usize) -> usize {
    let soft = match Limits::from_file("/proc/self/limits").map(|limits| limits.max_open_files.soft_limit) {
        Ok(LimitValue::Value(soft)) => Some(soft as usize),
        Ok(LimitValue::Unlimited) | Err(_) => None,
    };
    let count = soft.map_or(wanted, |soft| wanted.min(soft.saturating_sub(200) / 2));
    if count < wanted {
        println!("only {count} connections instead of {wanted}: the descriptor limit is {}", soft.unwrap_or(0));
    }
    count
}

/// A server that has already had a connection, so that what it needs once is there.
fn warm_server() -> Server<Echo> {
    let config = Config::builder().max_connections(100_000).max_payload(16 << 20).build().unwrap();
    let mut server = Server::new(config, Echo);
    let client = server.connect();
    server.echo(&client, &pattern(16 << 10));
    drop(client);
    server.turn_until("the first connection to end", |reactor| reactor.stats().connections == 0);
    server
}

/// Heap bytes for each of `count` connections on which `act` was done, without buffers that the reactor keeps to reuse.
fn bytes_per_connection(count: usize, mut act: impl FnMut(&mut Server<Echo>, &TcpStream)) -> f64 {
    let mut server = warm_server();
    let pooled_before = server.reactor.stats().pooled_bytes;
    let mut clients = Vec::with_capacity(count);
    let heap = measure(|| {
        for _ in 0..count {
            let client = server.connect();
            act(&mut server, &client);
            clients.push(client);
        }
    });
    let stats = server.reactor.stats();
    assert_eq!(stats.connections, count as u64);
    let pooled = stats.pooled_bytes as i64 - pooled_before as i64;
    (heap.bytes_current - pooled) as f64 / count as f64
}

/// Writes `bytes` and waits until the server has read them.
fn write_and_wait(server: &mut Server<Echo>, client: &TcpStream, bytes: &[u8]) {
    let expected = server.reactor.stats().bytes_in + bytes.len() as u64;
    server.write(client, bytes);
    server.turn_until("the bytes", |reactor| reactor.stats().bytes_in == expected);
}

/// Just below a power of two, to which the arrays of connections grow. Right above one, half of them is address space
/// that nothing has touched: it takes no memory, but would be counted here.
const CONNECTIONS: usize = 4_000;

/// In builds with debug assertions mio keeps in each socket which poll it belongs to.
const MIO_DEBUG_BYTES: f64 = if cfg!(debug_assertions) { 16.0 } else { 0.0 };

#[test]
fn idle_connection_takes_128_bytes_after_16_kib_echo() {
    let request = frame(&pattern(16 << 10));
    let mut received = vec![0; request.len()];
    let bytes = bytes_per_connection(affordable(CONNECTIONS), |server, client| {
        server.write(client, &request);
        server.read_into(client, &mut received);
    });
    println!("an idle connection takes {bytes:.1} bytes");
    assert!(bytes <= 128.0, "an idle connection takes {bytes:.1} bytes of heap");
}

#[test]
fn idle_connection_takes_128_bytes_after_split_frame() {
    let request = frame(&pattern(16 << 10));
    let mut received = vec![0; request.len()];
    let bytes = bytes_per_connection(affordable(CONNECTIONS), |server, client| {
        for piece in request.chunks(9_000) {
            write_and_wait(server, client, piece);
        }
        server.read_into(client, &mut received);
    });
    println!("an idle connection that sent a frame in pieces takes {bytes:.1} bytes");
    let most = 128.0 + MIO_DEBUG_BYTES;
    assert!(bytes <= most, "an idle connection takes {bytes:.1} bytes of heap, and {most} are allowed");
}

#[test]
fn an_announced_length_takes_at_most_1_kib_until_its_bytes_come() {
    let header = (8_u32 << 20).to_be_bytes();
    let bytes = bytes_per_connection(200, |server, client| {
        write_and_wait(server, client, &header);
    });
    println!("a connection that announced 8 MiB takes {bytes:.1} bytes");
    assert!(bytes <= 1_024.0, "a connection that announced 8 MiB takes {bytes:.1} bytes of heap");
}

#[test]
fn a_connection_that_has_ended_takes_nothing() {
    let mut server = warm_server();
    let heap = measure(|| {
        for _ in 0..200 {
            let client = server.connect();
            server.echo(&client, &[7; 1_000]);
            drop(client);
            server.turn_until("its end", |reactor| reactor.stats().connections == 0);
        }
    });
    assert!(heap.bytes_current < 1_024, "{} bytes are left", heap.bytes_current);
}
