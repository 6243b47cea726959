//! Listeners on real sockets: each with a framing, limits, a name and permissions of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::{fs, thread};

use frameloop::wire::{Framing, LengthPrefix};
use frameloop::{
    Address, AdoptError, CloseReason, Config, ConnId, Connection, Context, Error, Frame, Handle, Handler, Limits,
    ListenOptions, Listening, Reactor,
};

use support::{PATIENCE, frame};

/// Replies with the name of the listener and the payload, listens where messages say, and notes why connections end.
#[derive(Default)]
struct Naming {
    closed: Vec<CloseReason>,
    /// Who waits for the outcomes, in order.
    waiting: VecDeque<Sender<Result<Address, Error>>>,
}

/// Where to listen, and who waits for the outcome.
type Listen = (Address, Sender<Result<Address, Error>>);

impl Handler for Naming {
    type State = ();
    type Message = Listen;

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let reply = [conn.listener_name().as_bytes(), frame.payload()].concat();
        let _ = conn.reply(&reply);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, (addr, waiting): Listen) {
        cx.listen(addr, ListenOptions::default().framing(Framing::lines()).name("later ")).unwrap();
        self.waiting.push_back(waiting);
    }

    fn on_listen(&mut self, _: &mut Context<'_>, _: &Address, outcome: Result<Listening, Error>) {
        self.waiting.pop_front().unwrap().send(outcome.map(|listening| listening.addr)).unwrap();
    }
}

/// A reactor that runs on a thread of its own, and is drained by the caller.
fn run(mut reactor: Reactor<Naming>) -> (Handle<Listen>, JoinHandle<Vec<CloseReason>>) {
    let handle = reactor.handle();
    let thread = thread::spawn(move || {
        reactor.run().unwrap();
        std::mem::take(&mut reactor.handler_mut().closed)
    });
    (handle, thread)
}

fn tcp(addr: &Address) -> SocketAddr {
    let Address::Tcp(addr) = addr else { panic!("{addr} is no TCP address") };
    *addr
}

/// Sends `bytes` and FIN, and reads to the end.
fn exchange(addr: &Address, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(tcp(addr)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    received
}

fn any_port() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

#[test]
fn three_protocols_are_served_by_one_loop() {
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    let mut listen = |framing: Framing, name: &str| {
        let options = ListenOptions::default().framing(framing).name(name).backlog(16);
        reactor.listen_with(&any_port(), options).unwrap()
    };
    let frames = listen(Framing::default(), "frames ");
    let lines = listen(Framing::lines(), "lines ");
    let varint = listen(LengthPrefix::varint().into(), "");
    let (handle, thread) = run(reactor);
    for _ in 0..3 {
        assert_eq!(exchange(&frames.addr, &frame(b"hi")), frame(b"frames hi"));
        assert_eq!(exchange(&lines.addr, b"a\r\nb\n"), b"lines a\nlines b\n");
        let long = [&b"\x80\x80\x10"[..], &vec![7; 1 << 18]].concat();
        assert!(exchange(&varint.addr, &long) == long);
    }
    handle.drain().unwrap();
    assert_eq!(thread.join().unwrap(), [CloseReason::PeerFinished; 9]);
}

#[test]
fn limits_of_one_listener_do_not_apply_to_another() {
    let config = Config::default();
    let mut reactor = Reactor::new(config.clone(), Naming::default()).unwrap();
    let small = ListenOptions::default().limits(Limits::of(&config).max_payload(4));
    let small = reactor.listen_with(&any_port(), small).unwrap().addr;
    let usual = reactor.listen(&any_port()).unwrap();
    let (handle, thread) = run(reactor);
    assert_eq!(exchange(&usual, &frame(b"12345")), frame(b"12345"));
    assert_eq!(exchange(&small, &[frame(b"1234"), frame(b"12345")].concat()), frame(b"1234"));
    handle.drain().unwrap();
    let closed = thread.join().unwrap();
    assert!(matches!(closed[..], [CloseReason::PeerFinished, CloseReason::FrameTooLong(_)]), "{closed:?}");
}

#[test]
fn unix_socket_has_the_permissions_of_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    for mode in [0o600, 0o660, 0o666, 0o777, 0o700] {
        let path = dir.path().join(format!("{mode:o}"));
        reactor.listen_with(&Address::Unix(path.clone()), ListenOptions::default().mode(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        UnixStream::connect(&path).unwrap();
    }
    let options = ListenOptions::default().mode(0o1000);
    let error = reactor.listen_with(&Address::Unix(dir.path().join("x")), options).unwrap_err();
    assert_eq!(error.to_string(), "mode is 0o1000 and must be at most 0o777");
    assert!(!dir.path().join("x").exists());
    // It has no meaning elsewhere.
    reactor.listen_with(&any_port(), ListenOptions::default().mode(0o600)).unwrap();
}

#[test]
fn adopted_listener_has_the_framing_of_its_options() {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    let options = ListenOptions::default().framing(Framing::lines()).name("adopted ");
    let adopted = reactor.adopt_listener_with(bound, options).unwrap();
    let (handle, thread) = run(reactor);
    assert_eq!(exchange(&adopted.addr, b"a\n"), b"adopted a\n");
    handle.drain().unwrap();
    thread.join().unwrap();
}

#[test]
fn options_out_of_their_range_are_refused_with_the_value() {
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    let rows = [
        (ListenOptions::default().backlog(0), "backlog is 0 and must be from 1 to 2147483647"),
        (ListenOptions::default().framing(Framing::Exact(0)), "framing is exact:0 and must be exact:1 or more"),
        (
            ListenOptions::default().framing(Framing::Exact((16 << 20) + 1)),
            "framing is exact:16777217 and must be at most exact:16777216, the longest payload",
        ),
    ];
    for (options, message) in rows {
        let error = reactor.listen_with(&any_port(), options.clone()).unwrap_err();
        assert!(matches!(error, Error::Config(_)));
        assert_eq!(error.to_string(), message);
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = reactor.adopt_listener_with(bound, options).unwrap_err();
        assert!(matches!(error, AdoptError::Config(_)));
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn closed_listener_refuses_and_its_connections_continue() {
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    let lines = reactor.listen_with(&any_port(), ListenOptions::default().framing(Framing::lines())).unwrap();
    let mut open = TcpStream::connect(tcp(&lines.addr)).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(reactor.unlisten(lines.id));
    assert!(TcpStream::connect(tcp(&lines.addr)).is_err());
    assert!(!reactor.unlisten(lines.id));
    let frames = reactor.listen(&lines.addr).unwrap();
    assert_eq!(frames, lines.addr);
    let (handle, thread) = run(reactor);
    open.write_all(b"still\n").unwrap();
    let mut reply = [0; 6];
    open.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"still\n");
    assert_eq!(exchange(&frames, &frame(b"new")), frame(b"new"));
    handle.drain().unwrap();
    thread.join().unwrap();
}

#[test]
fn listener_that_a_message_asks_for_serves_or_reports_why_not() {
    let mut reactor = Reactor::new(Config::default(), Naming::default()).unwrap();
    let first = reactor.listen(&any_port()).unwrap();
    let (handle, thread) = run(reactor);
    let listen = |addr: Address| {
        let (waiting, outcome) = mpsc::channel();
        handle.send((addr, waiting)).unwrap();
        outcome.recv_timeout(PATIENCE).unwrap()
    };
    let addr = listen(any_port()).unwrap();
    assert_ne!(tcp(&addr).port(), 0);
    assert_eq!(exchange(&addr, b"a\n"), b"later a\n");
    assert_eq!(exchange(&first, &frame(b"a")), frame(b"a"));
    let Err(Error::Listen { addr, source }) = listen(first.clone()) else { panic!("it is in use") };
    assert_eq!((addr, source.kind()), (first, io::ErrorKind::AddrInUse));
    handle.drain().unwrap();
    thread.join().unwrap();
}
