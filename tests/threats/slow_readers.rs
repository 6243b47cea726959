//! Peers that read slowly or not at all, where the kernel decides: what it acknowledges, holds and frees.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use frameloop::CloseReason;

use crate::support::{Client, PATIENCE, Server, frame, holds_within, patient};

const TIMEOUT: Duration = Duration::from_secs(1);
const WINDOWS: u32 = 4;
const RATE_MIN: usize = 8 << 10;

/// Sends frames and reads `per_second` bytes of the replies in each second, in small steps, for some windows. Returns
/// whether it was closed.
fn is_closed(mut stream: impl Read + Write, per_second: usize) -> bool {
    const PACE: Duration = Duration::from_millis(50);
    let request = frame(&[7; 64 << 10]);
    let mut at = 0;
    let mut read = vec![0; per_second / 20];
    let begun = Instant::now();
    let mut steps = 0;
    while begun.elapsed() < WINDOWS * TIMEOUT {
        // As much as the server takes.
        loop {
            match stream.write(&request[at..]) {
                Ok(sent) => at = (at + sent) % request.len(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // What has come before the end can still be read.
                Err(_) => return true,
            }
        }
        if begun.elapsed() < PACE * steps {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        steps += 1;
        match stream.read(&mut read) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return true,
        }
    }
    false
}

fn server(path: Option<&Path>) -> Server {
    let config = patient().write_timeout(Some(TIMEOUT)).write_rate_min(RATE_MIN);
    path.map_or_else(|| Server::start(config.clone()), |path| Server::start_on_path(path, config.clone()))
}

#[test]
fn tcp_reader_above_the_rate_stays_and_one_below_is_closed() {
    let server = server(None);
    let is_closed = |per_second| {
        let stream = Client::connect_narrow(server.addr).stream;
        stream.set_nonblocking(true).unwrap();
        is_closed(stream, per_second)
    };
    thread::scope(|scope| {
        let slow = scope.spawn(|| is_closed(1_000));
        let steady = [scope.spawn(|| is_closed(40_000)), scope.spawn(|| is_closed(200_000))];
        assert!(slow.join().unwrap(), "1 kB/s");
        assert!(steady.into_iter().all(|steady| !steady.join().unwrap()), "40 kB/s, or 200 kB/s");
    });
    assert_eq!(server.stats().closed_by(CloseReason::WriteTimeout.kind()), 1);
}

#[test]
fn unix_reader_above_the_rate_stays_and_one_below_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slow");
    let server = server(Some(&path));
    let is_closed = |per_second| {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_nonblocking(true).unwrap();
        is_closed(stream, per_second)
    };
    thread::scope(|scope| {
        let slow = scope.spawn(|| is_closed(1_000));
        let steady = [scope.spawn(|| is_closed(20_000)), scope.spawn(|| is_closed(200_000))];
        assert!(slow.join().unwrap(), "1 kB/s");
        assert!(steady.into_iter().all(|steady| !steady.join().unwrap()), "20 kB/s, or 200 kB/s");
    });
    assert_eq!(server.stats().closed_by(CloseReason::WriteTimeout.kind()), 1);
}

/// State and send queue of the kernel's sockets with this local port that have a peer.
#[cfg(target_os = "linux")]
fn sockets_of(port: u16) -> Vec<(String, usize)> {
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    // The table can be long, with the closed sockets of other tests.
    let lines = table.lines().skip(1).filter(|line| line.contains(&port));
    let rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && row[3] != LISTEN)
        .map(|row| (row[3].to_owned(), usize::from_str_radix(row[4].split(':').next().unwrap(), 16).unwrap()))
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn unread_small_replies_leave_nothing_in_the_kernel() {
    const PEERS: usize = 200;
    const FIN_WAIT_1: &str = "04";
    let server = server(None);
    let requests = frame(&[7; 1_000]).repeat(1_000);
    let mut peers: Vec<TcpStream> = Vec::new();
    let mut held_max = 0;
    let held = || sockets_of(server.addr.port()).iter().map(|(_, bytes)| bytes).sum::<usize>();
    for number in 0..PEERS {
        let mut client = Client::connect_narrow(server.addr);
        // All of it, or what the server takes before the kernel holds no more replies.
        client.stream.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        let _ = client.stream.write_all(&requests);
        peers.push(client.stream);
        if number % 10 == 0 {
            held_max = held_max.max(held());
        }
    }
    assert!(held_max > 100_000, "{held_max} bytes of replies are in the kernel");
    let is_freed = || held() == 0 && sockets_of(server.addr.port()).iter().all(|(state, _)| state != FIN_WAIT_1);
    assert!(holds_within(2 * TIMEOUT + PATIENCE, is_freed), "{:?}", sockets_of(server.addr.port()));
    let stats = server.stats_when_empty();
    assert_eq!(stats.closed_by(CloseReason::WriteTimeout.kind()), PEERS as u64, "{stats}");
    // Each sees a reset, behind what it can still read.
    for mut peer in peers {
        peer.set_nonblocking(false).unwrap();
        let outcome = std::io::copy(&mut peer, &mut std::io::sink()).map_err(|error| error.kind());
        assert_eq!(outcome, Err(std::io::ErrorKind::ConnectionReset));
    }
}
