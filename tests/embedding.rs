//! The three ways to drive a reactor, and what a turn costs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use frameloop::{Config, Echo, Error, Handler, Interest, Reactor, Turn};
use mio::unix::SourceFd;
use mio::{Events, Poll, Token};
use support::stepped::{Hooks, Log, PATIENCE, Server, frame, pattern, read_frame};

#[test]
fn run_returns_when_it_is_drained() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let addr = server.addr;
    let handle = server.reactor.handle();
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(&frame(b"hello")).unwrap();
        assert_eq!(read_frame(&client), b"hello");
        handle.drain().unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    });
    server.reactor.run().unwrap();
    client.join().unwrap();
    assert_eq!(server.reactor.drain_report().drained, 1);
    // It is done, and says so again without waiting.
    assert_eq!(server.reactor.turn(None).unwrap(), Turn::Done);
}

#[test]
fn turn_returns_at_its_timeout() {
    let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let begin = Instant::now();
        assert_eq!(reactor.turn(Some(timeout)).unwrap(), Turn::Running);
        assert!(begin.elapsed() >= timeout);
    }
    assert_eq!(reactor.stats().polls, 2);
}

#[test]
fn a_turn_ends_when_something_came_and_not_at_its_timeout() {
    let mut server = Server::new(Config::default(), Echo);
    let client = TcpStream::connect(server.addr).unwrap();
    let begin = Instant::now();
    assert_eq!(server.reactor.turn(Some(PATIENCE)).unwrap(), Turn::Running);
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(server.reactor.stats().accepted, 1);
    drop(client);
}

const REACTOR: Token = Token(7);
const OWN: Token = Token(8);
/// How often the outer loop looks whether its test is over. The reactor gets no turn for that.
const TICK: Duration = Duration::from_millis(5);

/// Another loop, which waits for the reactor's descriptor and for a source of its own.
struct Outer<H: Handler> {
    server: Server<H>,
    poll: Poll,
    events: Events,
    own_events: usize,
    outlook: Turn,
}

impl<H: Handler> Outer<H> {
    fn new(server: Server<H>, own: &UnixStream) -> Self {
        let poll = Poll::new().unwrap();
        let fds = [(server.reactor.as_fd().as_raw_fd(), REACTOR), (own.as_raw_fd(), OWN)];
        for (fd, token) in fds {
            poll.registry().register(&mut SourceFd(&fd), token, mio::Interest::READABLE).unwrap();
        }
        Self { server, poll, events: Events::with_capacity(8), own_events: 0, outlook: Turn::Running }
    }

    /// Waits, and gives the reactor a turn only when its descriptor or its deadline asks for one.
    fn turn(&mut self) {
        let deadline = self.server.reactor.next_deadline();
        let timeout = deadline.map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        self.poll.poll(&mut self.events, Some(timeout)).unwrap();
        let mut is_ready = false;
        for event in &self.events {
            is_ready |= event.token() == REACTOR;
            self.own_events += usize::from(event.token() == OWN);
        }
        let is_due = deadline.is_some_and(|due| due <= Instant::now());
        if is_ready || is_due {
            self.outlook = self.server.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    }

    fn turn_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < PATIENCE, "the outer loop was not told that there is something to do");
            self.turn();
        }
    }

    /// Waits until `len` bytes have come to the client.
    fn read(&mut self, mut client: &TcpStream, len: usize) -> Vec<u8> {
        client.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        self.turn_until(|_| {
            let mut buf = vec![0; len - received.len()];
            if let Ok(len) = client.read(&mut buf) {
                assert_ne!(len, 0, "FIN");
                received.extend_from_slice(&buf[..len]);
            }
            received.len() == len
        });
        received
    }
}

#[test]
fn a_reactor_is_driven_by_another_loop_through_its_descriptor() {
    let (own, mut other_end) = UnixStream::pair().unwrap();
    let mut outer = Outer::new(Server::new(Config::default(), Hooks::default()), &own);
    let mut clients: Vec<_> = (0..10).map(|_| TcpStream::connect(outer.server.addr).unwrap()).collect();
    for round in 0..10 {
        for client in &mut clients {
            client.set_nonblocking(false).unwrap();
            client.write_all(&frame(&[round; 100])).unwrap();
        }
        for client in &clients {
            assert_eq!(outer.read(client, 104), frame(&[round; 100]));
        }
    }
    // More than a turn's budgets: the rest is due by the deadline, not by the descriptor.
    let large = pattern(1 << 20);
    let mut writing = clients[0].try_clone().unwrap();
    writing.set_nonblocking(false).unwrap();
    let sent = large.clone();
    let writer = std::thread::spawn(move || writing.write_all(&frame(&sent)).unwrap());
    let mut reading = clients[0].try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 4 + (1 << 20)];
        reading.read_exact(&mut received).map(|()| received)
    });
    outer.turn_until(|outer| outer.server.reactor.stats().frames_in == 101 && writer.is_finished());
    outer.turn_until(|_| reader.is_finished());
    assert!(reader.join().unwrap().unwrap() == frame(&large));
    writer.join().unwrap();

    other_end.write_all(b"!").unwrap();
    outer.turn_until(|outer| outer.own_events == 1);
    // Messages from other threads come through the descriptor as well.
    outer.server.reactor.handle().send(Box::new(|cx| cx.stop())).ok().unwrap();
    outer.turn_until(|outer| outer.outlook == Turn::Done);
}

#[test]
fn outer_loop_is_woken_for_events_left_by_a_poll() {
    let config = Config::builder().events_per_turn(1).build().unwrap();
    let (own, _other_end) = UnixStream::pair().unwrap();
    let mut outer = Outer::new(Server::new(config, Echo), &own);
    let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(outer.server.addr).unwrap()).collect();
    outer.turn_until(|outer| outer.server.reactor.stats().accepted == 10);
    for mut client in &clients {
        client.write_all(&frame(b"all at once")).unwrap();
    }
    for client in &clients {
        assert_eq!(outer.read(client, 15), frame(b"all at once"));
    }
}

#[test]
fn a_watched_descriptor_calls_on_source() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (first, mut to_first) = UnixStream::pair().unwrap();
    let (second, mut to_second) = UnixStream::pair().unwrap();
    let first_id = server.reactor.watch(&first, Interest::Readable).unwrap();
    let second_id = server.reactor.watch(&second, Interest::Readable).unwrap();
    assert_ne!(first_id, second_id);
    let _ = server.turn();
    assert_eq!(server.log().sources, []);

    to_second.write_all(b"x").unwrap();
    server.turn_until("the source", |reactor| reactor.handler().log.sources == [second_id]);
    to_first.write_all(b"x").unwrap();
    server.turn_until("the source", |reactor| reactor.handler().log.sources == [second_id, first_id]);
    // It is an edge: without another byte there is no other report.
    for _ in 0..5 {
        let _ = server.turn();
    }
    assert_eq!(server.log().sources.len(), 2);
    drop(to_first);
    server.turn_until("the end of the source", |reactor| reactor.handler().log.sources.len() == 3);
    assert_eq!(server.log().sources[2], first_id);
}

/// Turns often enough for any event that there is.
fn settle(server: &mut Server<Hooks>) {
    for _ in 0..5 {
        let _ = server.turn();
    }
}

#[test]
fn source_is_reported_for_its_interest_and_rewatch_changes_it() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (watched, mut far_end) = UnixStream::pair().unwrap();
    far_end.write_all(b"unread all the time").unwrap();
    let source = server.reactor.watch(&watched, Interest::Writable).unwrap();
    let reported = |server: &mut Server<Hooks>| {
        settle(server);
        let Log { sources, source_ready, .. } = server.log();
        (sources.len(), source_ready.readable, source_ready.writable)
    };
    assert_eq!(reported(&mut server), (1, false, true));
    for (count, interest, is_readable, is_writable) in [
        (2, Interest::Readable, true, false),
        (3, Interest::Readable, true, false), // the same, once more
        (4, Interest::Both, true, true),
        (5, Interest::Writable, false, true),
    ] {
        server.reactor.rewatch(source, interest).unwrap();
        assert_eq!(reported(&mut server), (count, is_readable, is_writable), "{interest:?}");
        assert_eq!(reported(&mut server).0, count, "an edge is reported once");
    }
    // A hang-up is reported whatever the interest is.
    drop(far_end);
    assert_eq!(reported(&mut server), (6, true, true));
}

#[test]
fn rewatch_fails_once_the_source_is_closed_or_unwatched() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (watched, _far_end) = UnixStream::pair().unwrap();
    let (closed, mut far_end) = UnixStream::pair().unwrap();
    let unwatched = server.reactor.watch(&watched, Interest::Readable).unwrap();
    assert!(server.reactor.unwatch(unwatched));
    let source = server.reactor.watch(&closed, Interest::Readable).unwrap();
    let duplicate = closed.try_clone().unwrap();
    drop(closed);
    // The number is free, and may be another descriptor's.
    let client = server.connect();
    for stale in [unwatched, source] {
        match server.reactor.rewatch(stale, Interest::Both) {
            Err(Error::Poll(error)) => assert_eq!(error.kind(), ErrorKind::NotFound),
            other => panic!("{other:?}"),
        }
    }
    far_end.write_all(b"x").unwrap();
    server.echo(&client, b"served");
    settle(&mut server);
    assert_eq!(server.log().sources, []);
    drop(duplicate);
}

#[test]
fn unwatched_source_can_be_watched_again() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (watched, mut far_end) = UnixStream::pair().unwrap();
    let old = server.reactor.watch(&watched, Interest::Readable).unwrap();
    assert!(server.reactor.watch(&watched, Interest::Readable).is_err(), "watched twice");
    far_end.write_all(b"x").unwrap();
    assert!(server.reactor.unwatch(old));
    assert!(!server.reactor.unwatch(old));
    settle(&mut server);
    assert_eq!(server.log().sources, []);

    let new = server.reactor.watch(&watched, Interest::Readable).unwrap();
    assert_ne!(new, old);
    server.turn_until("the source", |reactor| !reactor.handler().log.sources.is_empty());
    assert_eq!(server.log().sources, [new]);
    drop(watched);
    assert!(!server.reactor.unwatch(new), "it is closed");
}

#[test]
fn closed_source_with_duplicate_reports_nothing() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (watched, mut far_end) = UnixStream::pair().unwrap();
    let old = server.reactor.watch(&watched, Interest::Readable).unwrap();
    let duplicate = watched.try_clone().unwrap();
    drop(watched);
    far_end.write_all(b"x").unwrap();
    settle(&mut server);
    assert_eq!(server.log().sources, []);

    // The number is free, and the lowest that is: others get it, one after the other.
    let clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    far_end.write_all(b"x").unwrap();
    settle(&mut server);
    assert_eq!(server.log().sources, [], "the number is a connection's");
    for client in &clients {
        server.echo(client, b"served");
    }
    assert!(!server.reactor.unwatch(old));
    for client in &clients {
        server.echo(client, b"served still");
    }

    let new = server.reactor.watch(&duplicate, Interest::Readable).unwrap();
    server.turn_until("the source", |reactor| !reactor.handler().log.sources.is_empty());
    assert_eq!(server.log().sources, [new]);
}

/// A pair of which the first end has a given number; `None` if another thread of this process has taken that.
fn pair_numbered(number: RawFd) -> Option<(UnixStream, UnixStream)> {
    let mut others = Vec::new();
    for _ in 0..100 {
        let (one, other) = UnixStream::pair().unwrap();
        match (one.as_raw_fd() == number, other.as_raw_fd() == number) {
            (true, _) => return Some((one, other)),
            (_, true) => return Some((other, one)),
            _ => others.push((one, other)),
        }
    }
    None
}

#[test]
fn source_with_reused_number_has_new_id() {
    let mut server = Server::new(Config::default(), Hooks::default());
    let (first_id, _duplicate, mut to_first, (second, mut to_second)) = (0..1_000)
        .find_map(|_| {
            let (first, to_first) = UnixStream::pair().unwrap();
            let first_id = server.reactor.watch(&first, Interest::Readable).unwrap();
            let duplicate = first.try_clone().unwrap();
            let number = first.as_raw_fd();
            drop(first);
            Some((first_id, duplicate, to_first, pair_numbered(number)?))
        })
        .unwrap();
    let second_id = server.reactor.watch(&second, Interest::Readable).unwrap();
    to_first.write_all(b"x").unwrap();
    settle(&mut server);
    assert_eq!(server.log().sources, []);
    to_second.write_all(b"x").unwrap();
    server.turn_until("the source", |reactor| !reactor.handler().log.sources.is_empty());
    assert_eq!(server.log().sources, [second_id]);
    assert!(!server.reactor.unwatch(first_id));
    to_second.write_all(b"x").unwrap();
    server.turn_until("the source", |reactor| reactor.handler().log.sources == [second_id, second_id]);
}

#[test]
fn the_deadline_is_past_while_work_waits_and_none_afterwards() {
    let mut server = Server::new(Config::builder().frame_budget(1).build().unwrap(), Echo);
    let client = server.connect();
    server.write(&client, &support::stepped::frames(&[b"1", b"2", b"3"]));
    assert_eq!(server.reactor.turn(Some(PATIENCE)).unwrap(), Turn::Running);
    assert_eq!(server.reactor.stats().frames_in, 1);
    assert!(server.reactor.next_deadline().is_some_and(|due| due <= Instant::now()));
    // So a turn does not wait for an event, of which there is none.
    for _ in 0..2 {
        let _ = server.reactor.turn(None).unwrap();
    }
    assert_eq!(server.reactor.stats().frames_in, 3);
    server.expect(&client, &[b"1", b"2", b"3"]);
}

#[test]
fn the_deadline_is_that_of_the_connection_that_is_late_first() {
    let config = Config::builder().frame_timeout(Some(Duration::from_millis(40))).build().unwrap();
    let mut server = Server::new(config, Hooks::default());
    let client = server.connect();
    assert_eq!(server.reactor.next_deadline(), None);
    let begin = Instant::now();
    server.write(&client, &[0, 0]);
    assert_eq!(server.reactor.turn(Some(PATIENCE)).unwrap(), Turn::Running);
    let due = server.reactor.next_deadline().unwrap();
    assert!(due >= begin + Duration::from_millis(40) && due <= Instant::now() + Duration::from_millis(40));
    // Without a timeout of its own the turn wakes for the deadline.
    while server.log().closed.is_empty() {
        let _ = server.reactor.turn(None).unwrap();
    }
    assert!(Instant::now() >= due);
}
