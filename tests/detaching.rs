//! Connections that leave a reactor: their sockets go on in blocking code, and in another reactor.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use frameloop::{Address, CloseReason, Config, ConnId, Connection, Context, Detached, Frame, Handler, Reactor};
use socket2::SockRef;
use support::stepped::{PATIENCE, Server, frame};

/// Echoes, and detaches after a frame with the payload `detach`.
#[derive(Default)]
struct Detaching {
    detached: Option<Detached>,
    closed: Vec<CloseReason>,
}

impl Handler for Detaching {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        if frame.payload() == b"detach" {
            conn.detach();
        } else {
            conn.reply_frame(frame).unwrap();
        }
    }

    fn on_detach(&mut self, _: &mut Context<'_>, _: ConnId, (): &mut (), detached: Detached) {
        self.detached = Some(detached);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }
}

fn detached(reactor: &mut Reactor<Detaching>) -> Detached {
    let begin = Instant::now();
    loop {
        if let Some(detached) = reactor.handler_mut().detached.take() {
            return detached;
        }
        assert!(begin.elapsed() < PATIENCE, "the connection is not detached");
        let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

#[test]
fn detached_tcp_socket_goes_on_in_blocking_code() {
    let mut server = Server::new(Config::default(), Detaching::default());
    let mut client = server.connect();
    server.write(&client, &[frame(b"one"), frame(b"detach"), b"GET /".to_vec()].concat());
    server.expect(&client, &[b"one"]);
    let Detached { fd, peer, unread, unsent, .. } = detached(&mut server.reactor);
    assert_eq!((unread.as_slice(), unsent.as_slice()), (&b"GET /"[..], &b""[..]));
    assert_eq!(peer, client.local_addr().unwrap().into());
    let mut socket = TcpStream::from(fd.unwrap());
    assert!(SockRef::from(&socket).nonblocking().unwrap());

    // Its events do not wake the reactor, whose end does not end it.
    client.write_all(b" HTTP/1.1\r\n").unwrap();
    let (polls, begin, wait) = (server.reactor.stats().polls, Instant::now(), Duration::from_millis(50));
    let _ = server.reactor.turn(Some(wait)).unwrap();
    assert!(begin.elapsed() >= wait && server.reactor.stats().polls == polls + 1);
    assert_eq!(server.reactor.handler().closed, [CloseReason::Detached]);
    drop(server);

    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = [0; 11];
    socket.read_exact(&mut line).unwrap();
    assert_eq!(&line, b" HTTP/1.1\r\n");
    socket.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
    drop(socket);
    client.set_nonblocking(false).unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "HTTP/1.1 200 OK\r\n");
}

#[test]
fn detached_connection_goes_on_in_another_reactor() {
    let mut first = Server::new(Config::default(), Detaching::default());
    let mut second = Server::new(Config::default(), Detaching::default());
    let client = first.connect();
    let behind = frame(b"behind it");
    let (whole, part) = behind.split_at(6);
    first.write(&client, &[&frame(b"detach"), whole].concat());
    let Detached { fd, unread, .. } = detached(&mut first.reactor);
    assert_eq!(unread, whole);
    second.reactor.adopt_stream(fd.unwrap(), &unread).unwrap();
    second.write(&client, part);
    second.expect(&client, &[b"behind it"]);
    // And back.
    second.write(&client, &frame(b"detach"));
    let Detached { fd, .. } = detached(&mut second.reactor);
    first.reactor.adopt_stream(fd.unwrap(), b"").unwrap();
    first.echo(&client, b"again");
    drop(client);
    first.turn_until("the end", |reactor| reactor.handler().closed.len() == 2);
    assert_eq!(first.reactor.handler().closed, [CloseReason::Detached, CloseReason::PeerFinished]);
}

#[test]
fn output_that_a_full_socket_did_not_take_is_handed_over() {
    let config = Config::builder().output_high_water(8 << 20).output_low_water(0).build().unwrap();
    let mut server = Server::new(config, Detaching::default());
    let mut client = server.connect();
    let frames = [frame(&vec![7; 6 << 20]), frame(b"detach")].concat();
    server.write(&client, &frames);
    let Detached { fd, unsent, .. } = detached(&mut server.reactor);
    assert!(!unsent.is_empty(), "6 MiB fit in a socket");
    let mut socket = TcpStream::from(fd.unwrap());
    socket.set_nonblocking(false).unwrap();
    let writer = std::thread::spawn(move || socket.write_all(&unsent).unwrap());
    client.set_nonblocking(false).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == frames[..frames.len() - 10], "{} bytes were received", received.len());
}

#[test]
fn detached_unix_socket_closes_when_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut reactor = Reactor::new(Config::default(), Detaching::default()).unwrap();
    reactor.listen(&Address::Unix(path.clone())).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&frame(b"detach")).unwrap();
    let detached = detached(&mut reactor);
    assert!(format!("{detached:?}").contains("unread: 0"), "{detached:?}");
    drop(detached);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
