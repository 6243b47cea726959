//! The peer sees the end of its connection while another process holds the descriptor, however the connection ends.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::address::{Address, Dial, PeerAddr};
use crate::config::{Config, ConfigBuilder};
use crate::conn::frame::Frame;
use crate::handler::{Connection, Handler};
use crate::net::owner::Owner;
use crate::net::{Listener, Mio, Net, Ready, Stream, kernel};
use crate::options::ListenOptions;
use crate::reactor::Reactor;
use crate::wire::encode_header;

/// The operating system's sockets, each of which a forked child holds as well: a copy of the descriptor, which is what a
/// child inherits.
struct Forked {
    net: Mio,
}

thread_local! {
    static HELD_BY_CHILD: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
}

impl Forked {
    fn fork(&mut self, stream: &Stream) {
        let copy = stream.fd().try_clone_to_owned().unwrap();
        HELD_BY_CHILD.with_borrow_mut(|copies| copies.push(copy));
    }
}

impl Net for Forked {
    type Stream = Stream;
    type Listener = Listener;
    type Wake = <Mio as Net>::Wake;

    fn now(&self) -> Instant {
        self.net.now()
    }
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.poll(timeout)
    }
    fn events(&self) -> impl Iterator<Item = Ready> {
        self.net.events()
    }
    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        options: &ListenOptions,
        token: usize,
    ) -> io::Result<(Listener, Address)> {
        self.net.listen(addr, config, options, token)
    }
    fn accept(&mut self, listener: &Listener, config: &Config) -> io::Result<(Stream, PeerAddr)> {
        let accepted = self.net.accept(listener, config)?;
        self.fork(&accepted.0);
        Ok(accepted)
    }
    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Stream> {
        let stream = self.net.dial(to, from, config)?;
        self.fork(&stream);
        Ok(stream)
    }
    fn is_connected(&self, stream: &Stream) -> io::Result<bool> {
        self.net.is_connected(stream)
    }
    fn register(&mut self, stream: &mut Stream, token: usize) -> io::Result<()> {
        self.net.register(stream, token)
    }
    fn release(&mut self, stream: Stream) -> crate::net::Released {
        self.net.release(stream)
    }
    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        self.net.waker(token)
    }
}

/// Does with a connection what the first byte of a frame says.
struct Obedient;

impl Handler for Obedient {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        if conn.peer_addr().socket_addr().is_some_and(|addr| addr.ip().is_ipv6()) {
            panic!("this panic is part of the test");
        }
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        match frame.payload().first() {
            Some(b'a') => conn.abort(),
            Some(b'c') => conn.close(),
            Some(b'p') => panic!("this panic is part of the test"),
            Some(b's') => conn.cx().stop(),
            Some(b'd') => conn.cx().drain(),
            _ => _ = conn.reply_frame(frame),
        }
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        conn.close();
    }
}

const SHORT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

fn reactor(config: ConfigBuilder) -> Reactor<Obedient, Forked> {
    // What each copy of a descriptor stands for.
    assert_eq!(kernel::fork(), 0);
    let config = config.drain_timeout(SHORT).linger_timeout(SHORT).build().unwrap();
    let net = Forked { net: Mio::new(&config).unwrap() };
    Reactor::with_net(net, config, Obedient).unwrap()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(u32::try_from(payload.len()).unwrap()), payload].concat()
}

/// Turns until the client sees FIN or RST.
fn assert_end_is_seen(reactor: &mut Reactor<Obedient, Forked>, client: &mut impl Read, what: &str) {
    let begun = Instant::now();
    let mut buf = [0; 4_096];
    loop {
        let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
        match client.read(&mut buf) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{what}: {error}"),
            Ok(_) | Err(_) => {}
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: the peer does not see the end");
    }
}

fn listen(reactor: &mut Reactor<Obedient, Forked>, ip: &str) -> SocketAddr {
    let any_port = SocketAddr::new(ip.parse().unwrap(), 0);
    match reactor.listen(&any_port.into()) {
        Ok(Address::Tcp(addr)) => addr,
        other => panic!("{other:?}"),
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

#[test]
fn the_peer_sees_every_end_while_a_child_holds_the_descriptor() {
    let config = Config::builder;
    let dripped = config().frame_timeout(Some(SHORT));
    let too_long = [0xff; 4].to_vec();
    let cases: [(&str, ConfigBuilder, Vec<u8>); 8] = [
        ("abort", config(), frame(b"a")),
        ("close", config(), frame(b"c")),
        ("a panic", config(), frame(b"p")),
        ("stop", config(), frame(b"s")),
        ("drain", config(), frame(b"d")),
        ("a drain's deadline, inside a frame", config(), [frame(b"d"), vec![0, 0]].concat()),
        ("the frame timeout", dripped, vec![0, 0]),
        ("a frame that is too long", config(), too_long),
    ];
    for (what, config, bytes) in cases {
        let mut tcp = reactor(config.clone());
        let mut client = connect(listen(&mut tcp, "127.0.0.1"));
        client.write_all(&bytes).unwrap();
        assert_end_is_seen(&mut tcp, &mut client, what);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("held");
        let mut unix = reactor(config);
        unix.listen(&Address::Unix(path.clone())).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(&bytes).unwrap();
        assert_end_is_seen(&mut unix, &mut client, what);
    }
}

#[test]
fn timeout_closes_while_child_holds_descriptor() {
    let mut idle = reactor(Config::builder().idle_timeout(Some(SHORT)));
    let mut client = connect(listen(&mut idle, "127.0.0.1"));
    assert_end_is_seen(&mut idle, &mut client, "the idle timeout");

    let mut finished = reactor(Config::builder());
    let mut client = connect(listen(&mut finished, "127.0.0.1"));
    client.shutdown(Shutdown::Write).unwrap();
    assert_end_is_seen(&mut finished, &mut client, "the peer's own end");

    let mut stalled = reactor(Config::builder().write_timeout(Some(SHORT)));
    let mut client = connect(listen(&mut stalled, "127.0.0.1"));
    let large = frame(&[7; 1 << 20]);
    let mut unsent = &large[..];
    let begun = Instant::now();
    // Nothing is read, so that the server's output stalls.
    while stalled.stats().closed_total() == 0 {
        match client.write(unsent) {
            Ok(len) => unsent = if len == unsent.len() { &large } else { &unsent[len..] },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        let _ = stalled.turn(Some(Duration::from_millis(1))).unwrap();
        assert!(begun.elapsed() < PATIENCE, "no write timeout");
    }
    assert_end_is_seen(&mut stalled, &mut client, "the write timeout");
}

#[test]
fn refused_peer_sees_close_while_child_holds_descriptor() {
    let mut full = reactor(Config::builder().max_connections(1));
    let addr = listen(&mut full, "127.0.0.1");
    let _first = connect(addr);
    let mut second = connect(addr);
    assert_end_is_seen(&mut full, &mut second, "refused");

    let mut panicking = reactor(Config::builder());
    let mut client = connect(listen(&mut panicking, "::1"));
    assert_end_is_seen(&mut panicking, &mut client, "a panic in on_open");
}

#[test]
fn dialed_peer_sees_close_while_child_holds_descriptor() {
    let mut reactor = reactor(Config::builder());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    reactor.cx().dial(Dial::to(listener.local_addr().unwrap())).unwrap();
    let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    server.write_all(&frame(b"a")).unwrap();
    assert_end_is_seen(&mut reactor, &mut server, "dialed and aborted");
}

#[test]
fn dropped_reactor_closes_while_child_holds_descriptors() {
    let mut reactor = reactor(Config::builder());
    let mut client = connect(listen(&mut reactor, "127.0.0.1"));
    let begun = Instant::now();
    while reactor.stats().accepted == 0 {
        assert!(begun.elapsed() < PATIENCE);
        let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    let copies = HELD_BY_CHILD.take();
    drop(reactor);
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    drop(copies);
}

#[test]
fn a_child_that_drops_its_copy_does_not_end_the_connection() {
    let mut net = Mio::new(&Config::default()).unwrap();
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (listener, bound) = net.listen(&any_port.into(), &Config::default(), &ListenOptions::default(), 0).unwrap();
    let Address::Tcp(addr) = bound else { panic!("{bound} is no TCP address") };
    let mut client = TcpStream::connect(addr).unwrap();
    let begun = Instant::now();
    let mut stream = loop {
        match net.accept(&listener, &Config::default()) {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    // What the parent still has while the child drops its own.
    let mut parents = TcpStream::from(stream.fd().try_clone_to_owned().unwrap());
    *stream.owner_mut() = Owner::another_process();
    drop(stream);
    parents.write_all(b"served").unwrap();
    let mut received = [0; 6];
    client.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"served");
}

#[test]
fn the_owner_takes_no_room_in_a_stream() {
    #[allow(dead_code)]
    enum WithoutOwner {
        Tcp(mio::net::TcpStream),
        Unix(mio::net::UnixStream),
    }
    assert_eq!(size_of::<Stream>(), size_of::<WithoutOwner>());
}
