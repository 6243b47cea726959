//! The proxy example: bytes, ends and resets in both directions, and the memory that a slow side costs.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::{env, thread};

use socket2::SockRef;

use support::{PATIENCE, Process, example};

/// A proxy, and the listener that it relays to.
struct Relay {
    process: Process,
    addr: SocketAddr,
    backend: TcpListener,
}

impl Relay {
    fn start() -> Self {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(example("proxy"));
        command.arg("127.0.0.1:0").arg(backend.local_addr().unwrap().to_string()).stdin(Stdio::piped());
        let (process, addr) = Process::serve_by(&mut command);
        Self { process, addr, backend }
    }

    /// A client, and the connection that the proxy opens for it.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.addr).unwrap();
        let (server, _) = self.backend.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        (client, server)
    }
}

/// Closes a connection with RST.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// A block of a stream, which differs from the others.
fn block(seed: u8, number: usize) -> Vec<u8> {
    let number = (number as u64 * 31 + u64::from(seed)).to_be_bytes();
    number.iter().copied().cycle().take(64 << 10).collect()
}

fn write_blocks(mut stream: &TcpStream, seed: u8, blocks: usize) {
    (0..blocks).for_each(|number| stream.write_all(&block(seed, number)).unwrap());
    stream.shutdown(Shutdown::Write).unwrap();
}

fn read_blocks(mut stream: &TcpStream, seed: u8, blocks: usize) {
    let mut received = vec![0; 64 << 10];
    for number in 0..blocks {
        stream.read_exact(&mut received).unwrap();
        assert!(received == block(seed, number), "block {number} differs");
    }
    assert_eq!(stream.read(&mut received).unwrap(), 0, "bytes follow the last");
}

/// `FRAMELOOP_TEST_PROXY_MIB` is the amount in each direction.
#[test]
fn both_directions_at_once_need_little_memory() {
    let mib: usize = env::var("FRAMELOOP_TEST_PROXY_MIB").map_or(64, |text| text.parse().unwrap());
    let relay = Relay::start();
    let before = relay.process.proc_status().vmhwm.unwrap();
    let (client, server) = relay.connect();
    thread::scope(|scope| {
        for (from, to, seed) in [(&client, &server, 1), (&server, &client, 2)] {
            scope.spawn(move || write_blocks(from, seed, 16 * mib));
            scope.spawn(move || read_blocks(to, seed, 16 * mib));
        }
    });
    let peak = relay.process.proc_status().vmhwm.unwrap();
    println!("{mib} MiB in each direction: {before} KiB of resident memory before, at most {peak} KiB");
    assert!(peak < before + 4_096, "{before} KiB before, then {peak} KiB");
}

#[test]
fn side_that_does_not_read_stops_its_sender_alone() {
    let relay = Relay::start();
    let (client, server) = relay.connect();
    client.set_nonblocking(true).unwrap();
    // The kernel's buffers and the proxy's are full when nothing more is accepted for long; the proxy holds a bounded part.
    let before = relay.process.proc_status().vmhwm.unwrap();
    let mut sent = 0;
    let block = vec![7; 64 << 10];
    let mut refusals = 0;
    while refusals < 50 {
        match (&client).write(&block) {
            Ok(len) => (sent, refusals) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                // The other direction goes on meanwhile: the round trip is the wait.
                (&server).write_all(b"x").unwrap();
                client.set_nonblocking(false).unwrap();
                (&client).read_exact(&mut [0]).unwrap();
                client.set_nonblocking(true).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 256 << 20, "nothing stops the sender");
    }
    let peak = relay.process.proc_status().vmhwm.unwrap();
    assert!(peak < before + 4_096, "{before} KiB before, then {peak} KiB");
    client.set_nonblocking(false).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    (&server).read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
    assert!(received.iter().all(|byte| *byte == 7));
}

#[test]
fn fin_of_one_side_leaves_the_other_direction_open() {
    let relay = Relay::start();
    for client_first in [true, false] {
        let (client, server) = relay.connect();
        let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        second.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"question");
        second.write_all(b"answer").unwrap();
        drop(second);
        received.clear();
        first.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"answer");
    }
    // FIN alone, perhaps before the other side is connected.
    for _ in 0..20 {
        let client = TcpStream::connect(relay.addr).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut server, _) = relay.backend.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn reset_of_one_side_resets_the_other() {
    let relay = Relay::start();
    for client_first in [true, false] {
        let (client, server) = relay.connect();
        let (first, mut second) = if client_first { (client, server) } else { (server, client) };
        (&first).write_all(b"x").unwrap();
        second.read_exact(&mut [0]).unwrap();
        reset(first);
        assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn client_is_reset_if_no_backend_listens() {
    // A port that is bound, so that no other listener gets it.
    let backend = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    backend.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let mut command = Command::new(example("proxy"));
    command
        .arg("127.0.0.1:0")
        .arg(backend.local_addr().unwrap().as_socket().unwrap().to_string())
        .stdin(Stdio::piped());
    let (process, addr) = Process::serve_by(&mut command);
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(process.stderr_line_with("is not reached").contains("refused"));
}

#[test]
fn drain_waits_for_relayed_connections() -> io::Result<()> {
    let mut relay = Relay::start();
    let (mut client, mut server) = relay.connect();
    client.write_all(b"before")?;
    server.read_exact(&mut [0; 6])?;
    relay.process.close_stdin();
    // The listener is closed once the drain has begun.
    while TcpStream::connect(relay.addr).is_ok() {
        thread::yield_now();
    }
    server.write_all(b"during")?;
    drop(server);
    let mut received = Vec::new();
    client.read_to_end(&mut received)?;
    assert_eq!(received, b"during");
    drop(client);
    assert_eq!(relay.process.outcome().code, Some(0));
    Ok(())
}
