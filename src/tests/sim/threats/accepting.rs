//! What the kernel can answer to an accept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::PeerAddr;
use crate::address::Address;
use crate::config::Config;
use crate::handler::Echo;
use crate::net::{Net, Ready};
use crate::options::ListenOptions;
use crate::reactor::Reactor;
use crate::sim::{Sim, SimListener, SimNet, SimStream};
use crate::tests::sim::threats::{PORT, SECOND, TURNS_MAX, frame};

/// From when the kernel has the resource again until a waiting client is accepted.
const PROMISED: Duration = Duration::from_millis(200);

/// What the next accepts fail with.
#[derive(Default)]
struct Failures {
    once: VecDeque<io::Error>,
    /// `errno`, until there is enough again of what is lacking.
    lasting: Option<i32>,
}

/// A simulated network whose accepts fail as [`Failures`] determines.
struct Failing {
    net: SimNet,
    failures: Rc<RefCell<Failures>>,
}

impl Net for Failing {
    type Stream = SimStream;
    type Listener = SimListener;
    type Wake = <SimNet as Net>::Wake;

    fn now(&self) -> std::time::Instant {
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
    ) -> io::Result<(SimListener, Address)> {
        self.net.listen(addr, config, options, token)
    }

    fn accept(&mut self, listener: &SimListener, config: &Config) -> io::Result<(SimStream, PeerAddr)> {
        let mut failures = self.failures.borrow_mut();
        if let Some(error) = failures.once.pop_front() {
            return Err(error);
        }
        match failures.lasting {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => self.net.accept(listener, config),
        }
    }

    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<SimStream> {
        self.net.dial(to, from, config)
    }

    fn is_connected(&self, stream: &SimStream) -> io::Result<bool> {
        self.net.is_connected(stream)
    }

    fn register(&mut self, stream: &mut SimStream, token: usize) -> io::Result<()> {
        self.net.register(stream, token)
    }

    fn release(&mut self, stream: SimStream) -> crate::net::Released {
        self.net.release(stream)
    }

    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        self.net.waker(token)
    }
}

fn failing() -> (Sim, Rc<RefCell<Failures>>, Reactor<Echo, Failing>) {
    let sim = Sim::new(7);
    let failures = Rc::<RefCell<Failures>>::default();
    let net = Failing { net: sim.net(), failures: Rc::clone(&failures) };
    let mut reactor = Reactor::with_net(net, Config::default(), Echo).unwrap();
    reactor.listen(&sim.addr(PORT)).unwrap();
    (sim, failures, reactor)
}

fn turn(reactor: &mut Reactor<Echo, Failing>, timeout: Option<Duration>) {
    let _ = reactor.turn(timeout).unwrap();
    reactor.check_invariants();
}

/// Turns, asleep for as long as the reactor wants to be, until so many were let in.
fn sleep_until_accepted(reactor: &mut Reactor<Echo, Failing>, count: u64) {
    for _ in 0..TURNS_MAX {
        if reactor.stats().accepted == count {
            return;
        }
        turn(reactor, None);
    }
    panic!("{}", reactor.stats());
}

#[test]
fn accept_without_resources_is_retried_every_100_ms() {
    // EMFILE, ENFILE, ENOMEM, ENOBUFS of Linux; and EPERM, of a firewall.
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EPERM] {
        let (sim, failures, mut reactor) = failing();
        let served = sim.connect(PORT).unwrap();
        turn(&mut reactor, None);
        failures.borrow_mut().lasting = Some(errno);
        let waiting: Vec<_> = (0..5).map(|_| sim.connect(PORT).unwrap()).collect();
        waiting.iter().for_each(|peer| peer.send(&frame(b"waiting")));
        let (began, polls) = (sim.now(), reactor.stats().polls);
        while sim.now() < began + 10 * SECOND && reactor.stats().polls - polls < 10_000 {
            turn(&mut reactor, None);
        }
        let stats = reactor.stats();
        // It sleeps in between: less than a millisecond's work each tenth of a second.
        assert!(stats.polls - polls <= 102, "errno {errno}: {stats}");
        assert!((50..=101).contains(&stats.accept_pauses), "errno {errno}: {} pauses", stats.accept_pauses);
        served.send(&frame(b"served meanwhile"));
        turn(&mut reactor, Some(Duration::ZERO));
        assert_eq!(served.receive(), frame(b"served meanwhile"), "errno {errno}");

        // The resource is there again. No client connects or sends: those in the queue have been waiting for long.
        failures.borrow_mut().lasting = None;
        let freed = sim.now();
        sleep_until_accepted(&mut reactor, 6);
        assert!(sim.now() - freed <= PROMISED, "errno {errno}: {:?}", sim.now() - freed);
        turn(&mut reactor, Some(Duration::ZERO));
        assert!(waiting.iter().all(|peer| peer.receive() == frame(b"waiting")), "errno {errno}");
    }
}

#[test]
fn when_a_connection_of_ours_ends_accepting_is_tried_at_once() {
    let (sim, failures, mut reactor) = failing();
    let served = sim.connect(PORT).unwrap();
    turn(&mut reactor, None);
    failures.borrow_mut().lasting = Some(libc::EMFILE);
    let waiting = sim.connect(PORT).unwrap();
    turn(&mut reactor, Some(Duration::ZERO));
    assert_eq!(reactor.stats().accept_pauses, 1);
    failures.borrow_mut().lasting = None;
    served.finish();
    let began = sim.now();
    sleep_until_accepted(&mut reactor, 2);
    assert_eq!(sim.now() - began, Duration::ZERO);
    drop(waiting);
}

#[test]
fn accept_continues_after_econnaborted_or_eintr() {
    let kinds = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::Interrupted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::NetworkDown,
    ];
    let (sim, failures, mut reactor) = failing();
    for (before, kind) in kinds.into_iter().enumerate() {
        failures.borrow_mut().once.extend([kind.into(), kind.into(), kind.into()]);
        let peer = sim.connect(PORT).unwrap();
        turn(&mut reactor, Some(Duration::ZERO));
        assert_eq!(reactor.stats().accepted, before as u64 + 1, "{kind}");
        assert_eq!(reactor.stats().accept_pauses, 0, "{kind}");
        drop(peer);
    }
}

/// Compared with what the kernel lacks otherwise, where closing a connection need not help.
#[test]
fn idle_connection_gives_way_when_no_descriptor_is_left() {
    for (errno, gives_way) in
        [(libc::EMFILE, true), (libc::ENFILE, true), (libc::ENOMEM, false), (libc::ENOBUFS, false)]
    {
        let (sim, failures, mut reactor) = failing();
        let served: Vec<_> = (0..3).map(|_| sim.connect(PORT).unwrap()).collect();
        turn(&mut reactor, None);
        sim.advance(31 * SECOND);
        served[0].send(&frame(b"active"));
        turn(&mut reactor, None);
        failures.borrow_mut().once.push_back(io::Error::from_raw_os_error(errno));
        let newcomer = sim.connect(PORT).unwrap();
        newcomer.send(&frame(b"served"));
        (0..3).for_each(|_| turn(&mut reactor, Some(Duration::ZERO)));
        let stats = reactor.stats();
        assert_eq!(newcomer.receive() == frame(b"served"), gives_way, "errno {errno}: {stats}");
        let closed = served.iter().filter(|peer| peer.has_server_finished()).count();
        assert_eq!((closed, stats.accept_pauses == 0), (usize::from(gives_way), gives_way), "errno {errno}: {stats}");
        assert!(!served[0].has_server_finished());
    }
}

/// Its connections take no places of others.
#[test]
fn listener_with_its_own_limit_closes_no_idle_connection() {
    let (sim, failures, mut reactor) = failing();
    let options = ListenOptions::default().max_connections(1);
    reactor.listen_with(&sim.addr(PORT + 1), options).unwrap();
    let served = sim.connect(PORT).unwrap();
    turn(&mut reactor, None);
    sim.advance(31 * SECOND);
    failures.borrow_mut().once.push_back(io::Error::from_raw_os_error(libc::EMFILE));
    let newcomer = sim.connect(PORT + 1).unwrap();
    newcomer.send(&frame(b"served"));
    (0..3).for_each(|_| turn(&mut reactor, Some(Duration::ZERO)));
    assert_eq!((served.has_server_finished(), reactor.stats().accept_pauses), (false, 1));
    sim.advance(PROMISED);
    (0..3).for_each(|_| turn(&mut reactor, Some(Duration::ZERO)));
    assert_eq!(newcomer.receive(), frame(b"served"));
}

/// It gives its queue up, and takes no place from an idle connection for the listeners behind it.
#[test]
fn closing_listener_without_descriptors_reclaims_no_second_one() {
    let (sim, failures, mut reactor) = failing();
    let ports = [PORT, PORT + 1, PORT + 2];
    let [closing, _] =
        [ports[1], ports[2]].map(|port| reactor.listen_with(&sim.addr(port), ListenOptions::default()).unwrap().id);
    let served: Vec<_> = (0..5).map(|_| sim.connect(PORT).unwrap()).collect();
    sleep_until_accepted(&mut reactor, 5);
    sim.advance(31 * SECOND);
    failures.borrow_mut().lasting = Some(libc::EMFILE);
    let newcomers = ports.map(|port| sim.connect(port).unwrap());
    newcomers.iter().for_each(|peer| peer.send(&frame(b"served")));
    reactor.cx().unlisten(closing);
    turn(&mut reactor, Some(Duration::ZERO));
    // The first listener has failed and closed one; the second has given up; the third pauses.
    assert_eq!(reactor.stats().accepts.failed, 3);
    failures.borrow_mut().lasting = None;
    sim.advance(PROMISED);
    (0..3).for_each(|_| turn(&mut reactor, Some(Duration::ZERO)));
    let closed = served.iter().filter(|peer| peer.has_server_finished()).count();
    assert_eq!((closed, reactor.stats().accept_pauses), (1, 1), "{}", reactor.stats());
    assert_eq!(newcomers.map(|peer| peer.receive() == frame(b"served")), [true, false, true]);
}

/// The whole system lacks descriptors: what is closed here is used elsewhere.
#[test]
fn lasting_lack_of_descriptors_closes_few_idle_connections() {
    let (sim, failures, mut reactor) = failing();
    let served: Vec<_> = (0..100).map(|_| sim.connect(PORT).unwrap()).collect();
    sleep_until_accepted(&mut reactor, 100);
    sim.advance(31 * SECOND);
    failures.borrow_mut().lasting = Some(libc::ENFILE);
    let _newcomer = sim.connect(PORT).unwrap();
    let (began, polls) = (sim.now(), reactor.stats().polls);
    while sim.now() < began + SECOND && reactor.stats().polls - polls < 10_000 {
        turn(&mut reactor, None);
    }
    let closed = served.iter().filter(|peer| peer.has_server_finished()).count();
    assert!((1..=11).contains(&closed), "{closed} connections were closed in a second");
    assert!(reactor.stats().polls - polls <= 50, "{}", reactor.stats());
}
