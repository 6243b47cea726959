//! Connections that a reactor opens, and timers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use frameloop::{
    Address, CloseReason, Config, ConnId, Connection, Context, Dial, DialError, Frame, Handler, Reactor, TimerId, Turn,
};
use support::{PATIENCE, Server, patient};

/// Sends one frame on each connection, and notes everything.
#[derive(Default)]
struct Caller {
    opened: Vec<ConnId>,
    replies: HashMap<ConnId, Vec<u8>>,
    failed: Vec<(ConnId, DialError)>,
    closed: Vec<(ConnId, CloseReason)>,
    fired: Vec<TimerId>,
    /// To be dialed when the next timer fires.
    next: Option<Dial>,
}

impl Handler for Caller {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.opened.push(conn.id());
        let _ = conn.reply(conn.id().to_string().as_bytes());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.replies.insert(conn.id(), frame.payload().to_vec());
        conn.close();
    }

    fn on_close(&mut self, _: &mut Context<'_>, id: ConnId, (): (), reason: &CloseReason) {
        self.closed.push((id, *reason));
    }

    fn on_dial_failed(&mut self, _: &mut Context<'_>, id: ConnId, error: &DialError) {
        self.failed.push((id, *error));
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        self.fired.push(timer);
        if let Some(dial) = self.next.take() {
            cx.dial(dial).unwrap();
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, (): ()) {
        let now = cx.now();
        for millis in [20, 1, 10] {
            cx.set_timer(now + Duration::from_millis(millis)).unwrap();
        }
        let canceled = cx.set_timer(now + Duration::from_millis(5)).unwrap();
        assert!(cx.cancel_timer(canceled));
        assert!(!cx.cancel_timer(canceled));
    }
}

fn caller(config: frameloop::ConfigBuilder) -> Reactor<Caller> {
    Reactor::new(config.build().unwrap(), Caller::default()).unwrap()
}

#[track_caller]
fn turn_until(reactor: &mut Reactor<Caller>, is_done: impl Fn(&Caller) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done(reactor.handler()) {
        assert!(Instant::now() < deadline, "it does not happen: {:?}", reactor.stats());
        assert_eq!(reactor.turn(Some(Duration::from_millis(100))).unwrap(), Turn::Running);
    }
}

/// A port without a listener, for as long as the test runs.
fn deaf_port() -> (SocketAddr, TcpListener) {
    let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    holder.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let holder = TcpListener::from(holder);
    (holder.local_addr().unwrap(), holder)
}

#[test]
fn connections_that_are_dialed_are_served_like_those_accepted() {
    let server = Server::start(patient());
    let mut reactor = caller(patient().dial_budget(7));
    let ids: Vec<ConnId> = (0..100).map(|_| reactor.cx().dial(Dial::to(server.addr)).unwrap()).collect();
    assert_eq!(reactor.stats().dialing, 100);
    turn_until(&mut reactor, |caller| caller.closed.len() == 100);

    let caller = reactor.handler();
    for id in &ids {
        assert_eq!(caller.replies[id], id.to_string().as_bytes());
    }
    assert!(caller.failed.is_empty());
    let stats = reactor.stats();
    assert_eq!((stats.dialed, stats.dials_failed, stats.dialing, stats.accepted), (100, 0, 0, 0));
    assert_eq!(stats.registrations.total(), 100, "one registration in a connection's life");
}

#[test]
fn a_dial_times_out_when_the_listen_queue_takes_no_more() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let allowed = Duration::from_millis(300);
    let mut reactor = caller(patient().connect_timeout(allowed));
    for _ in 0..8 {
        reactor.cx().dial(Dial::to(addr)).unwrap();
    }
    turn_until(&mut reactor, |caller| caller.opened.len() + caller.failed.len() == 8);
    let failed = &reactor.handler().failed;
    assert!(!failed.is_empty());
    assert!(failed.iter().all(|(_, error)| *error == DialError::TimedOut { allowed }), "{failed:?}");
}

#[test]
fn a_source_address_is_used_and_a_foreign_one_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = caller(patient());
    reactor.cx().dial(Dial::to(addr).bind([127, 9, 8, 7].into())).unwrap();
    turn_until(&mut reactor, |caller| caller.opened.len() == 1);
    assert_eq!(listener.accept().unwrap().1.ip(), SocketAddr::from(([127, 9, 8, 7], 0)).ip());

    // An address for documentation, which no machine has (RFC 5737).
    let id = reactor.cx().dial(Dial::to(addr).bind([192, 0, 2, 1].into())).unwrap();
    turn_until(&mut reactor, |caller| !caller.failed.is_empty());
    assert_eq!(reactor.handler().failed, [(id, DialError::SourceNotLocal)]);
}

#[test]
fn dial_from_a_source_of_the_other_family_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = caller(patient());
    let id = reactor.cx().dial(Dial::to(addr).bind("::1".parse().unwrap())).unwrap();
    turn_until(&mut reactor, |caller| !caller.failed.is_empty());
    assert_eq!(reactor.handler().failed, [(id, DialError::SourceFamily)]);
}

#[test]
fn dial_of_several_addresses_leaves_out_those_that_refuse() {
    let (refuses, _holder) = deaf_port();
    let server = Server::start(patient());
    let mut reactor = caller(patient());
    let id = reactor.cx().dial(Dial::any_of(vec![refuses, "[::1]:1".parse().unwrap(), server.addr])).unwrap();
    turn_until(&mut reactor, |caller| !caller.closed.is_empty());
    assert_eq!(reactor.handler().replies[&id], id.to_string().as_bytes());
    assert!(reactor.handler().failed.is_empty());
    let id = reactor.cx().dial(Dial::any_of(vec!["[::1]:1".parse().unwrap(), refuses])).unwrap();
    turn_until(&mut reactor, |caller| !caller.failed.is_empty());
    assert_eq!(reactor.handler().failed, [(id, DialError::Refused)]);
    assert_eq!((reactor.stats().dialed, reactor.stats().dials_failed), (1, 1));
}

#[test]
fn a_unix_socket_can_be_dialed() {
    let path = std::env::temp_dir().join(format!("frameloop-dialing-{}.sock", std::process::id()));
    let _server = Server::start_on_path(&path, patient());
    let mut reactor = caller(patient());
    let id = reactor.cx().dial(Dial::to(Address::Unix(path.clone()))).unwrap();
    turn_until(&mut reactor, |caller| !caller.closed.is_empty());
    assert_eq!(reactor.handler().replies[&id], id.to_string().as_bytes());

    let id = reactor.cx().dial(Dial::to(Address::Unix(path.with_extension("none")))).unwrap();
    turn_until(&mut reactor, |caller| !caller.failed.is_empty());
    assert_eq!(reactor.handler().failed, [(id, DialError::Io(std::io::ErrorKind::NotFound))]);
}

#[test]
fn dials_over_the_limit_of_connections_fail_by_name() {
    let server = Server::start(patient());
    let mut reactor = caller(Config::builder().max_connections(2));
    for _ in 0..3 {
        reactor.cx().dial(Dial::to(server.addr)).unwrap();
    }
    turn_until(&mut reactor, |caller| caller.failed.len() + caller.closed.len() == 3);
    let failed = &reactor.handler().failed;
    assert!(failed.iter().all(|(_, error)| *error == DialError::ConnectionsMax { allowed: 2 }), "{failed:?}");
    assert_eq!(failed.len(), 1);
}

#[test]
fn a_dial_is_given_up_by_abort_by_drain_and_by_stop() {
    let (addr, _holder) = deaf_port();
    for end in [Reactor::drain, Reactor::stop] {
        let mut reactor = caller(patient());
        let ids = [reactor.cx().dial(Dial::to(addr)).unwrap(), reactor.cx().dial(Dial::to(addr)).unwrap()];
        end(&mut reactor);
        reactor.run().unwrap();
        let failed = &reactor.handler().failed;
        assert_eq!(failed.len(), 2);
        for id in ids {
            assert!(failed.contains(&(id, DialError::Canceled)), "{failed:?}");
        }
    }
}

#[test]
fn a_handler_that_panics_in_on_open_loses_only_that_connection() {
    struct Panics(u32);
    impl Handler for Panics {
        type State = ();
        type Message = ();
        fn on_open(&mut self, _: &mut Connection<'_>) {
            self.0 += 1;
            std::panic::panic_any("asked to");
        }
        fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}
        fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), _: &CloseReason) {
            self.0 += 1_000;
        }
    }
    let server = Server::start(patient());
    let mut reactor = Reactor::new(Config::default(), Panics(0)).unwrap();
    reactor.cx().dial(Dial::to(server.addr)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while reactor.stats().dialing > 0 {
        assert!(Instant::now() < deadline);
        let _ = reactor.turn(Some(Duration::from_millis(100))).unwrap();
    }
    assert_eq!(reactor.handler().0, 1);
    assert_eq!((reactor.stats().connections, reactor.stats().dials_failed), (0, 1));
}

#[test]
fn timers_fire_in_their_order_once_and_not_early() {
    let server = Server::start(patient());
    let mut reactor = caller(patient());
    let begun = Instant::now();
    reactor.handle().send(()).unwrap();
    reactor.handler_mut().next = Some(Dial::to(server.addr));
    turn_until(&mut reactor, |caller| caller.fired.len() == 3 && caller.closed.len() == 1);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert!(reactor.handler().fired.is_sorted());
    let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(reactor.handler().fired.len(), 3);
}
