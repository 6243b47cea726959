//! Reads that end early although more waits: at the mark of urgent data (`MSG_OOB`), and at ancillary data on a Unix socket
//! (`SCM_RIGHTS`). What waits behind is still answered, and descriptors that come are closed.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use frameloop::{Address, Config, Echo};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::SockRef;

use crate::support::stepped::{Server, frame, pattern};

/// What is sent: 61 bytes, and the urgent or ancillary data before each of them in turn.
fn request() -> Vec<u8> {
    frame(&pattern(57))
}

/// A server that listens on a path as well.
fn local_server(name: &str) -> (Server<Echo>, PathBuf) {
    let mut server = Server::new(Config::default(), Echo);
    let path = std::env::temp_dir().join(format!("frameloop-{name}-{}.sock", std::process::id()));
    server.reactor.listen(&Address::Unix(path.clone())).unwrap();
    (server, path)
}

/// Receives what was sent, with the server turning meanwhile.
fn expect_echo(server: &mut Server<Echo>, client: &mut (impl Read + AsRawFd), request: &[u8], at: usize) {
    let mut received: Vec<u8> = Vec::new();
    server.turn_until(&format!("the echo of a request cut at {at}"), |_| {
        let mut buf = [0; 100];
        match client.read(&mut buf) {
            Ok(len) => received.extend(&buf[..len]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        received.len() >= request.len()
    });
    assert!(received == request, "cut at {at}");
}

#[test]
fn urgent_data_before_any_byte_loses_no_request() {
    let request = request();
    for is_read_in_between in [false, true] {
        for at in 0..request.len() {
            let mut server = Server::new(Config::default(), Echo);
            let mut client = server.connect();
            server.write(&client, &request[..at]);
            if is_read_in_between {
                server.turn_until("the first piece", |reactor| reactor.stats().bytes_in == at as u64);
            }
            assert_eq!(SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
            server.write(&client, &request[at..]);
            expect_echo(&mut server, &mut client, &request, at);
            // And for the rest of the connection's life.
            for at in [1, 30, 60] {
                server.write(&client, &request[..at]);
                assert_eq!(SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
                server.write(&client, &request[at..]);
                expect_echo(&mut server, &mut client, &request, at);
            }
        }
    }
}

#[test]
fn urgent_data_inside_a_large_frame_loses_no_byte() {
    let request = frame(&pattern(300_000));
    let mut server = Server::new(Config::default(), Echo);
    let client = server.connect();
    let mut sent = 0;
    for piece in request.chunks(29_989) {
        assert_eq!(SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
        server.write(&client, piece);
        sent += piece.len() as u64;
        // An urgent byte that was not read when the next one comes is one of the stream (tcp(7)).
        server.turn_until("the piece", |reactor| reactor.stats().bytes_in == sent);
    }
    let mut received = vec![0; request.len()];
    server.read_into(&client, &mut received);
    assert!(received == request);
}

#[test]
fn urgent_data_on_a_unix_socket_loses_no_request() {
    let request = request();
    let (mut server, path) = local_server("urgent");
    for at in 0..request.len() {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(&request[..at]).unwrap();
        if SockRef::from(&client).send_out_of_band(b"!").is_err() {
            println!("this kernel has no urgent data on Unix sockets");
            return;
        }
        client.write_all(&request[at..]).unwrap();
        expect_echo(&mut server, &mut client, &request, at);
    }
}

#[test]
fn descriptors_before_any_byte_are_closed() {
    let request = request();
    let (mut server, path) = local_server("rights");
    for is_read_in_between in [false, true] {
        for at in 0..request.len() {
            let mut client = UnixStream::connect(&path).unwrap();
            client.set_nonblocking(true).unwrap();
            let before = server.reactor.stats().bytes_in;
            client.write_all(&request[..at]).unwrap();
            if is_read_in_between {
                server.turn_until("the first piece", |reactor| reactor.stats().bytes_in == before + at as u64);
            }
            let (mut reader, writer) =
                nix::unistd::pipe().map(|(reader, writer)| (File::from(reader), writer)).unwrap();
            send_with_descriptor(&client, &request[at..at + 1], writer);
            client.write_all(&request[at + 1..]).unwrap();
            expect_echo(&mut server, &mut client, &request, at);
            // The end of the pipe comes once no process has its other side.
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
        }
    }
}

/// Sends bytes and a descriptor, and closes that here.
fn send_with_descriptor(client: &UnixStream, bytes: &[u8], descriptor: OwnedFd) {
    let descriptors = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let sent = sendmsg::<()>(client.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::empty(), None);
    assert_eq!(sent.unwrap(), bytes.len());
}
