//! Connections that a reactor opens, on the simulated network.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::address::Dial;
use crate::config::{Config, ConfigBuilder};
use crate::error::{CloseReason, DialError};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, TimerId};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Edges, Faults, Rng, Sim, SimNet};
use crate::wire::encode_header;
use crate::{Address, Frame};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks on each connection, and notes what becomes of each dial.
#[derive(Debug, Default)]
struct Caller {
    opened: Vec<ConnId>,
    peers: Vec<SocketAddr>,
    answered: Vec<ConnId>,
    failed: HashMap<ConnId, DialError>,
    closed: Vec<ConnId>,
    fired: Vec<TimerId>,
}

impl Handler for Caller {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.opened.push(conn.id());
        self.peers.extend(conn.peer_addr().socket_addr());
        let _ = conn.reply(b"?");
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {
        self.answered.push(conn.id());
        conn.close();
    }

    fn on_close(&mut self, _: &mut Context<'_>, id: ConnId, (): (), _: &CloseReason) {
        self.closed.push(id);
    }

    fn on_dial_failed(&mut self, _: &mut Context<'_>, id: ConnId, error: &DialError) {
        assert!(self.failed.insert(id, *error).is_none());
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        self.fired.push(timer);
        cx.set_timer(cx.now()).unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_>, (): ()) {
        cx.set_timer(cx.now() + TIMEOUT).unwrap();
    }
}

fn caller(sim: &Sim, config: ConfigBuilder) -> Reactor<Caller, SimNet> {
    Reactor::with_net(sim.net(), config.connect_timeout(TIMEOUT).build().unwrap(), Caller::default()).unwrap()
}

fn there(sim: &Sim) -> Dial {
    let Address::Tcp(addr) = sim.addr(9) else { panic!("no TCP address") };
    Dial::to(addr)
}

fn settle(sim: &Sim, reactor: &mut Reactor<Caller, SimNet>) {
    assert_eq!(sim.settle(reactor).unwrap(), Turn::Running);
    reactor.check_invariants();
}

#[test]
fn what_is_dialed_is_open_once_it_is_made_and_speaks_first() {
    let sim = Sim::new(1);
    let mut reactor = caller(&sim, Config::builder());
    let id = reactor.cx().dial(there(&sim)).unwrap();
    settle(&sim, &mut reactor);
    let far_end = sim.dialed().unwrap();
    let asked = [&encode_header(1)[..], b"?"].concat();
    assert_eq!(far_end.receive(), asked);
    far_end.send(&asked);
    settle(&sim, &mut reactor);
    assert_eq!(reactor.handler().answered, [id]);
    assert!(far_end.has_server_finished());
    far_end.finish();
    settle(&sim, &mut reactor);
    assert_eq!((reactor.handler().closed.as_slice(), sim.open_sockets()), (&[id][..], 0));
    assert_eq!(far_end.calls(), (3, 1), "the answer, nothing more, the FIN; and what was asked");
}

#[test]
fn a_dial_without_an_answer_fails_exactly_at_its_deadline() {
    let sim = Sim::with_faults(1, Faults { dial_unanswered: 1_000, ..Faults::default() });
    let mut reactor = caller(&sim, Config::builder());
    let id = reactor.cx().dial(there(&sim)).unwrap();
    settle(&sim, &mut reactor);
    sim.advance(TIMEOUT - Duration::from_nanos(1));
    settle(&sim, &mut reactor);
    assert!(reactor.handler().failed.is_empty());
    assert_eq!(reactor.next_deadline(), Some(sim.now() + Duration::from_nanos(1)));
    sim.advance(Duration::from_nanos(1));
    settle(&sim, &mut reactor);
    assert_eq!(reactor.handler().failed[&id], DialError::TimedOut { allowed: TIMEOUT });
    assert_eq!((sim.open_sockets(), reactor.stats().dialing), (0, 0));
}

#[test]
fn a_dial_that_is_refused_fails_at_once() {
    let sim = Sim::with_faults(1, Faults { dial_refused: 1_000, ..Faults::default() });
    let mut reactor = caller(&sim, Config::builder());
    let id = reactor.cx().dial(there(&sim)).unwrap();
    settle(&sim, &mut reactor);
    assert_eq!(reactor.handler().failed[&id], DialError::Refused);
    assert_eq!(sim.open_sockets(), 0);
}

/// Three addresses, to be tried in order.
fn any_of_three(sim: &Sim) -> (Dial, Vec<SocketAddr>) {
    let addr = |port| match sim.addr(port) {
        Address::Tcp(addr) => addr,
        other => panic!("{other} is no TCP address"),
    };
    let addrs = vec![addr(9), addr(10), addr(11)];
    (Dial::any_of(addrs.clone()), addrs)
}

#[test]
fn each_address_of_a_dial_has_the_whole_timeout() {
    let sim = Sim::with_faults(1, Faults { dial_unanswered: 1_000, ..Faults::default() });
    let mut reactor = caller(&sim, Config::builder());
    let id = reactor.cx().dial(any_of_three(&sim).0).unwrap();
    for attempt in 0..3 {
        settle(&sim, &mut reactor);
        assert_eq!(reactor.next_deadline(), Some(sim.now() + TIMEOUT), "attempt {attempt}");
        assert_eq!((sim.open_sockets(), reactor.stats().dialing), (1, 1), "the one before is closed");
        assert!(reactor.handler().failed.is_empty());
        sim.advance(TIMEOUT);
    }
    settle(&sim, &mut reactor);
    assert_eq!(reactor.handler().failed[&id], DialError::TimedOut { allowed: TIMEOUT });
    let stats = reactor.stats();
    assert_eq!((sim.open_sockets(), stats.dialing, stats.dials_failed, stats.dials.total()), (0, 0, 1, 3));
}

#[test]
fn dial_of_several_addresses_opens_to_the_first_that_accepts() {
    let mut opened_to = [0; 3];
    for seed in 0..100 {
        let sim = Sim::with_faults(seed, Faults { dial_refused: 400, ..Faults::default() });
        let mut reactor = caller(&sim, Config::builder());
        let (dial, addrs) = any_of_three(&sim);
        let id = reactor.cx().dial(dial).unwrap();
        settle(&sim, &mut reactor);
        let attempts = reactor.stats().dials.total() as usize;
        match reactor.handler().opened.as_slice() {
            [opened] => {
                assert_eq!(*opened, id, "seed {seed}");
                assert_eq!(reactor.handler().peers, [addrs[attempts - 1]], "seed {seed}");
                opened_to[attempts - 1] += 1;
            }
            _ => assert_eq!((attempts, reactor.handler().failed[&id]), (3, DialError::Refused), "seed {seed}"),
        }
    }
    assert!(opened_to.iter().all(|count| *count > 0), "{opened_to:?}");
}

#[test]
fn dial_without_an_address_fails_by_name() {
    let sim = Sim::new(1);
    let mut reactor = caller(&sim, Config::builder());
    let id = reactor.cx().dial(Dial::any_of(Vec::new())).unwrap();
    settle(&sim, &mut reactor);
    assert_eq!(reactor.handler().failed[&id], DialError::NoAddress);
}

#[test]
fn dials_beyond_the_budget_wait_for_the_next_turn() {
    let sim = Sim::new(1);
    let mut reactor = caller(&sim, Config::builder().dial_budget(3));
    for _ in 0..10 {
        reactor.cx().dial(there(&sim)).unwrap();
    }
    for dialed in [3, 6, 9, 10] {
        let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(sim.open_sockets(), dialed);
        reactor.check_invariants();
    }
}

#[test]
fn each_dial_ends_in_one_open_or_one_failure() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut rate = || [0, 50, 300][rng.below(3)];
        let faults = Faults {
            dial_refused: rate(),
            dial_unanswered: rate(),
            register: rate(),
            interrupted: rate(),
            would_block: rate(),
            reset: rate(),
            ..Faults::default()
        };
        let sim = Sim::with_faults(seed, faults);
        sim.set_edges(if seed % 2 == 0 { Edges::Strict } else { Edges::Noisy });
        let mut reactor = caller(&sim, Config::builder().max_connections(8).dial_budget(3));
        let mut dialed = Vec::new();
        let mut far_ends = Vec::new();
        for _ in 0..100 {
            match rng.below(10) {
                0..3 => dialed.push(reactor.cx().dial(there(&sim)).unwrap()),
                3 => dialed.push(reactor.cx().dial(any_of_three(&sim).0).unwrap()),
                4 => {
                    let any = rng.below(dialed.len());
                    if let Some(id) = dialed.get(any) {
                        reactor.cx().abort(*id);
                    }
                }
                5 => sim.advance(Duration::from_secs(rng.below(12) as u64)),
                6 => far_ends
                    .iter()
                    .for_each(|peer: &crate::sim::Peer| peer.send(&[&encode_header(1)[..], b"!"].concat())),
                7 => far_ends.iter().for_each(crate::sim::Peer::finish),
                _ => {}
            }
            far_ends.extend(sim.dialed());
            let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
            reactor.check_invariants();
        }
        reactor.stop();
        reactor.run().unwrap();
        let Caller { opened, failed, closed, .. } = reactor.handler();
        assert_eq!(opened.len() + failed.len(), dialed.len(), "seed {seed}");
        assert!(opened.iter().all(|id| closed.contains(id) && !failed.contains_key(id)), "seed {seed}");
        assert_eq!((closed.len(), sim.open_sockets()), (opened.len(), 0), "seed {seed}");
    }
}

#[test]
fn repeated_timer_fires_once_per_turn_in_time() {
    let sim = Sim::new(1);
    let mut reactor = caller(&sim, Config::builder());
    reactor.handle().send(()).unwrap();
    let begun = sim.now();
    settle(&sim, &mut reactor);
    assert_eq!(reactor.next_deadline(), Some(begun + TIMEOUT));
    // The poll sleeps until then.
    let _ = reactor.turn(None).unwrap();
    assert_eq!((sim.now(), reactor.handler().fired.len()), (begun + TIMEOUT, 1));
    for fired in 2..5 {
        let _ = reactor.turn(None).unwrap();
        assert_eq!((sim.now(), reactor.handler().fired.len()), (begun + TIMEOUT, fired));
    }
}

/// Dials in `on_open` of each accepted connection, and notes which ids it has seen for what.
#[derive(Debug, Default)]
struct Proxy {
    there: Option<Dial>,
    dialed: Vec<ConnId>,
    opened: Vec<ConnId>,
    panics: bool,
}

impl Handler for Proxy {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        let id = conn.id();
        self.opened.push(id);
        if self.dialed.contains(&id) {
            return;
        }
        for _ in 0..2 {
            let dialed = conn.cx().dial(self.there.clone().unwrap()).unwrap();
            assert_ne!(dialed, id);
            assert!(!self.dialed.contains(&dialed), "{dialed} was handed out twice");
            self.dialed.push(dialed);
        }
        assert!(!self.panics, "refused by a panic");
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }
}

#[test]
fn dial_in_on_open_returns_another_id_and_both_are_served() {
    for panics in [false, true] {
        let sim = Sim::new(1);
        let handler = Proxy { there: Some(there(&sim)), panics, ..Proxy::default() };
        let mut reactor = Reactor::with_net(sim.net(), Config::default(), handler).unwrap();
        reactor.listen(&sim.addr(7007)).unwrap();
        let peers: Vec<_> = (0..3).map(|_| sim.connect(7007).unwrap()).collect();
        let ask = [&encode_header(1)[..], b"?"].concat();
        peers.iter().for_each(|peer| peer.send(&ask));
        let _ = sim.settle(&mut reactor).unwrap();
        reactor.check_invariants();
        for peer in &peers {
            assert_eq!(peer.receive(), if panics { vec![] } else { ask.clone() });
        }
        let accepted = if panics { 0 } else { 3 };
        let stats = reactor.stats();
        assert_eq!((stats.accepted, stats.dialed, stats.dialing), (accepted, 6, 0), "{stats}");
        let mut opened = reactor.handler().opened.clone();
        opened.sort();
        opened.dedup();
        assert_eq!(opened.len(), 9, "no id is opened twice");
    }
}
