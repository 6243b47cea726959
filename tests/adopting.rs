//! Sockets from elsewhere: listeners of a parent process or a service manager, and connections that other code has accepted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use frameloop::{Address, AdoptError, Config, Echo, PeerAddr, Reactor};
use socket2::{Domain, SockRef, Socket, Type};
use support::stepped::{Hooks, PATIENCE, Server, frame};

fn reactor(config: Config) -> Reactor<Echo> {
    Reactor::new(config, Echo).unwrap()
}

/// Sends a frame with a timeout, while the reactor turns, and expects it back.
fn echo(reactor: &mut Reactor<Echo>, mut client: impl Read + Write) {
    client.write_all(&frame(b"adopted")).unwrap();
    let frames = reactor.stats().frames_out;
    while reactor.stats().frames_out == frames {
        let _ = reactor.turn(Some(PATIENCE)).unwrap();
    }
    let mut reply = [0; 11];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply.as_slice(), frame(b"adopted"));
}

#[test]
fn adopted_tcp_listener_serves_and_stays_open_for_others() {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = bound.local_addr().unwrap();
    // As a service manager does, which keeps its own.
    let mut reactor = reactor(Config::default());
    assert_eq!(reactor.adopt_listener(bound.try_clone().unwrap()).unwrap(), Address::Tcp(addr));
    let before = TcpStream::connect(addr).unwrap();
    echo(&mut reactor, &before);
    assert!(SockRef::from(&bound).nonblocking().unwrap(), "the open description is shared");
    drop(reactor);
    let _after = TcpStream::connect(addr).unwrap();
    bound.set_nonblocking(false).unwrap();
    bound.accept().unwrap();
}

#[test]
fn connection_of_adopted_listener_sends_without_delay() {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = bound.local_addr().unwrap();
    let mut reactor = reactor(Config::builder().keepalive(Some(Duration::from_secs(60))).build().unwrap());
    let copy = bound.try_clone().unwrap();
    reactor.adopt_listener(bound).unwrap();
    // What an accepted socket inherits.
    let socket = SockRef::from(&copy);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    echo(&mut reactor, TcpStream::connect(addr).unwrap());
}

#[test]
fn adopted_unix_listener_keeps_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let bound = UnixListener::bind(&path).unwrap();
    let mut reactor = reactor(Config::default());
    assert_eq!(reactor.adopt_listener(bound).unwrap(), Address::Unix(path.clone()));
    echo(&mut reactor, UnixStream::connect(&path).unwrap());
    drop(reactor);
    assert!(path.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn adopted_abstract_listener_has_its_name() {
    use std::os::linux::net::SocketAddrExt;

    let name = format!("frameloop-adopted-{}", std::process::id());
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let bound = UnixListener::bind_addr(&addr).unwrap();
    let mut reactor = reactor(Config::default());
    assert_eq!(reactor.adopt_listener(bound).unwrap().to_string(), format!("unix:@{name}"));
    echo(&mut reactor, UnixStream::connect_addr(&addr).unwrap());
}

/// What a refusal says that the descriptor is.
#[track_caller]
fn observed<T: std::fmt::Debug>(outcome: Result<T, AdoptError>) -> String {
    match outcome {
        Err(AdoptError::Unfit { observed, .. }) => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unfit_descriptors_are_refused_with_what_they_are() {
    let mut reactor = reactor(Config::default());
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = File::open("/dev/null").unwrap();
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let unconnected = bound.try_clone().unwrap();
    let connected = TcpStream::connect(listener().local_addr().unwrap());
    let held = listener();
    let connected = connected.or_else(|_| TcpStream::connect(held.local_addr().unwrap())).unwrap();
    let (datagram, _other) = UnixDatagram::pair().unwrap();

    let listeners: [(OwnedFd, &str); 5] = [
        (udp.try_clone().unwrap().into(), "an IP socket of the type SOCK_DGRAM"),
        (datagram.into(), "a Unix socket of the type SOCK_DGRAM"),
        (file.into(), "not a socket"),
        (bound.into(), "a stream socket that does not listen"),
        (connected.into(), "a stream socket that does not listen"),
    ];
    for (fd, what) in listeners {
        assert_eq!(observed(reactor.adopt_listener(fd)), what);
    }
    let streams: [(OwnedFd, &str); 4] = [
        (udp.into(), "an IP socket of the type SOCK_DGRAM"),
        (pipe().unwrap().0.into(), "not a socket"),
        (listener().into(), "a listening socket"),
        (unconnected.into(), "a stream socket that is not connected"),
    ];
    for (fd, what) in streams {
        assert_eq!(observed(reactor.adopt_stream(fd, b"")), what);
    }
    assert_eq!(
        reactor.adopt_stream(listener(), b"").unwrap_err().to_string(),
        "the descriptor is a listening socket and must be a connected TCP or Unix stream socket"
    );
    assert_eq!(reactor.stats().accepted, 0);
}

#[test]
fn adopted_streams_deliver_what_was_read_before_first() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut accepted, peer) = listener.accept().unwrap();
    client.write_all(&[frame(b"first"), frame(b"second")].concat()).unwrap();
    let mut sniffed = [0; 7];
    accepted.read_exact(&mut sniffed).unwrap();
    let id = server.reactor.adopt_stream(accepted, &sniffed).unwrap();
    assert_eq!(server.log().opened, [id]);
    server.expect(&client, &[b"first", b"second"]);
    assert_eq!(client.local_addr().unwrap(), peer);
    server.echo(&client, b"third");
    drop(client);
    assert_eq!(server.closed(1).0, id);
}

#[test]
fn adopted_unix_stream_ends_though_a_duplicate_is_open() {
    let mut reactor = reactor(Config::default());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let duplicate = ours.try_clone().unwrap();
    let id = reactor.adopt_stream(ours, b"").unwrap();
    echo(&mut reactor, &theirs);
    reactor.cx().abort(id);
    let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    drop(duplicate);
}

#[test]
fn adopted_stream_counts_towards_max_per_ip() {
    let config = Config::builder().max_per_ip(Some(1)).build().unwrap();
    let mut server = Server::new(config, Hooks::default());
    let _first = server.connect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let refused = server.reactor.adopt_stream(accepted, b"");
    assert!(matches!(refused, Err(AdoptError::PerIpMax { allowed: 1 })), "{refused:?}");
    // Unix sockets have no address.
    server.reactor.adopt_stream(UnixStream::pair().unwrap().0, b"").unwrap();
    assert_eq!(server.reactor.stats().refused.max_per_ip, 1);
    assert_eq!(PeerAddr::UNNAMED.ip(), None);
}
