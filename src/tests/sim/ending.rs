//! How a reactor ends: by a drain, a stop or a drop, whatever its handler does meanwhile.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::address::Dial;
use crate::config::Config;
use crate::error::{CloseReason, DialError, DialRefused, Error};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, TimerId};
use crate::reactor::handle::{Handle, HandleError};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Faults, Peer, Sim, SimNet};
use crate::wire::encode_header;
use crate::{Address, Frame, SendError};

const PORT: u16 = 7007;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// What a handler has heard; outlives the reactor.
#[derive(Debug, Default)]
struct Heard {
    opened: Vec<ConnId>,
    closed: Vec<(ConnId, CloseReason)>,
    dialed: Vec<ConnId>,
    failed: Vec<(ConnId, DialError)>,
    refused: Vec<DialRefused>,
    callbacks: usize,
}

impl Heard {
    /// Each connection and each dial has had its one end.
    #[track_caller]
    fn assert_paired(&self) {
        let (mut opened, mut closed) = (self.opened.clone(), self.closed.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        opened.sort();
        closed.sort();
        assert_eq!(opened, closed);
        for dialed in &self.dialed {
            let failed = self.failed.iter().filter(|(id, _)| id == dialed).count();
            assert_eq!(failed + usize::from(self.opened.contains(dialed)), 1, "{dialed}");
        }
    }
}

/// Does in each callback whatever could keep a reactor from ending.
struct Stubborn {
    heard: Rc<RefCell<Heard>>,
    there: Dial,
    handle: Option<Handle<()>>,
    panics_in_close: bool,
}

impl Stubborn {
    fn insist(&mut self, cx: &mut Context<'_>) {
        let mut heard = self.heard.borrow_mut();
        heard.callbacks += 1;
        match cx.dial(self.there.clone()) {
            Ok(id) => heard.dialed.push(id),
            Err(refused) => heard.refused.push(refused),
        }
        let _ = cx.set_timer(cx.now() - Duration::from_secs(1));
        for id in &heard.opened {
            cx.wake(*id);
            cx.resume(*id);
            let _ = cx.send(*id, &[7; 10_000]);
        }
        if let Some(handle) = &self.handle {
            let _ = handle.send(());
        }
    }
}

impl Handler for Stubborn {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.heard.borrow_mut().opened.push(conn.id());
        self.insist(&mut conn.cx());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
        self.insist(&mut conn.cx());
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        while conn.reply(&[7; 10_000]).is_ok() {}
        self.insist(&mut conn.cx());
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        let id = conn.id();
        assert!(conn.cx().wake(id));
        self.insist(&mut conn.cx());
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.insist(&mut conn.cx());
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, (): (), reason: &CloseReason) {
        self.heard.borrow_mut().closed.push((id, *reason));
        self.insist(cx);
        assert!(!self.panics_in_close, "a panic in on_close");
    }

    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        self.heard.borrow_mut().failed.push((id, *error));
        self.insist(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: TimerId) {
        self.insist(cx);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, (): ()) {
        self.insist(cx);
    }
}

struct Rig {
    sim: Sim,
    reactor: Reactor<Stubborn, SimNet>,
    heard: Rc<RefCell<Heard>>,
    peers: Vec<Peer>,
}

impl Rig {
    /// Connections in all states, dials that are refused, unanswered or made, timers and messages.
    fn new(panics_in_close: bool) -> Self {
        let faults = Faults { dial_unanswered: 300, dial_refused: 300, ..Faults::default() };
        let sim = Sim::with_faults(3, faults);
        let config = Config::builder().drain_timeout(DRAIN_TIMEOUT).max_connections(40).dials_max(20).timers_max(50);
        let Address::Tcp(there) = sim.addr(9) else { panic!("no TCP address") };
        let heard = Rc::<RefCell<Heard>>::default();
        let handler = Stubborn { heard: Rc::clone(&heard), there: Dial::to(there), handle: None, panics_in_close };
        let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), handler).unwrap();
        reactor.handler_mut().handle = Some(reactor.handle());
        reactor.listen(&sim.addr(PORT)).unwrap();
        let peers: Vec<_> = (0..8).map(|_| sim.connect(PORT).unwrap()).collect();
        let mut rig = Self { sim, reactor, heard, peers };
        for _ in 0..20 {
            rig.peers.iter().for_each(|peer| peer.send(&[&encode_header(9)[..], &[1; 9]].concat()));
            let _ = rig.turn();
        }
        rig.peers[0].finish();
        rig.peers[1].send(&[0, 0, 1]);
        let _ = rig.turn();
        assert!(rig.heard.borrow().opened.len() > 8);
        rig
    }

    fn turn(&mut self) -> Turn {
        self.sim.advance(Duration::from_millis(1));
        let turn = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.reactor.check_invariants();
        turn
    }

    /// How many turns it takes to end.
    fn turns_to_end(&mut self) -> u128 {
        let refused = self.heard.borrow().refused.len();
        let mut turns = 1;
        while self.turn() == Turn::Running {
            turns += 1;
            assert!(turns < 10_000, "it does not end");
            // Nothing that peers do may keep it from ending either.
            self.peers.iter().for_each(|peer| peer.send(&[&encode_header(9)[..], &[1; 9]].concat()));
            self.peers.iter().for_each(|peer| drop(peer.receive_some(1_000)));
        }
        let heard = self.heard.borrow();
        assert!(heard.refused[refused..].iter().all(|refused| *refused == DialRefused::Ending));
        assert_eq!(self.sim.open_sockets(), 0);
        turns
    }
}

#[test]
fn drain_ends_at_its_deadline_whatever_the_handler_does() {
    let mut rig = Rig::new(false);
    rig.reactor.drain();
    let turns = rig.turns_to_end();
    assert!(turns <= DRAIN_TIMEOUT.as_millis() + 2, "{turns} turns of a millisecond");
    rig.heard.borrow().assert_paired();
    // Further turns do nothing.
    let callbacks = rig.heard.borrow().callbacks;
    assert_eq!((rig.turn(), rig.heard.borrow().callbacks), (Turn::Done, callbacks));
}

#[test]
fn stop_ends_in_one_turn_whatever_the_handler_does() {
    for is_draining in [false, true] {
        let mut rig = Rig::new(false);
        if is_draining {
            rig.reactor.drain();
            let _ = rig.turn();
        }
        rig.reactor.stop();
        assert_eq!(rig.turns_to_end(), 1);
        rig.heard.borrow().assert_paired();
    }
}

#[test]
fn dial_and_listen_are_refused_while_ending() {
    let there = Dial::to("10.0.0.1:1".parse::<std::net::SocketAddr>().unwrap());
    let ends: [fn(&mut Reactor<Stubborn, SimNet>); 4] =
        [Reactor::drain, Reactor::stop, |reactor| reactor.cx().drain(), |reactor| reactor.cx().stop()];
    for end in ends {
        let mut rig = Rig::new(false);
        end(&mut rig.reactor);
        assert_eq!(rig.reactor.cx().dial(there.clone()), Err(DialRefused::Ending));
        let refused = rig.reactor.listen(&rig.sim.addr(8));
        assert!(matches!(&refused, Err(Error::Ending { addr }) if *addr == rig.sim.addr(8)), "{refused:?}");
    }
}

#[test]
fn drop_closes_every_connection_once_in_every_state() {
    type Step = fn(&mut Rig);
    let states: [Step; 6] = [
        |_| {},
        |rig| rig.reactor.drain(),
        |rig| {
            rig.reactor.drain();
            let _ = rig.turn();
        },
        |rig| rig.reactor.stop(),
        |rig| {
            rig.reactor.stop();
            let _ = rig.turn();
        },
        |rig| rig.reactor.cx().stop(),
    ];
    for panics_in_close in [false, true] {
        for (number, state) in states.iter().enumerate() {
            let mut rig = Rig::new(panics_in_close);
            state(&mut rig);
            let Rig { sim, reactor, heard, peers } = rig;
            let handle = reactor.handle();
            drop(reactor);
            heard.borrow().assert_paired();
            assert_eq!(sim.open_sockets(), 0, "state {number}");
            assert_eq!(handle.send(()), Err(HandleError::Finished(())), "state {number}");
            assert_eq!(handle.drain(), Err(HandleError::Finished(())), "state {number}");
            drop(peers);
        }
    }
}

#[test]
fn drop_while_unwinding_closes_every_connection_once() {
    for panics_in_close in [false, true] {
        let Rig { sim, reactor, heard, peers: _peers } = Rig::new(panics_in_close);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let _reactor = reactor;
            panic!("the embedder panics");
        }));
        assert!(outcome.is_err());
        heard.borrow().assert_paired();
        assert_eq!(sim.open_sockets(), 0);
    }
}

/// Uses its connection's own id like any other.
struct Own {
    act: fn(&mut Context<'_>, ConnId),
    woken: usize,
}

impl Handler for Own {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        let id = conn.id();
        (self.act)(&mut conn.cx(), id);
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {
        let id = conn.id();
        (self.act)(&mut conn.cx(), id);
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.woken += 1;
        let _ = conn.reply(b"woken");
    }
}

/// One peer that has sent two frames.
fn own(act: fn(&mut Context<'_>, ConnId)) -> (Sim, Reactor<Own, SimNet>, Peer) {
    let sim = Sim::new(1);
    let mut reactor = Reactor::with_net(sim.net(), Config::default(), Own { act, woken: 0 }).unwrap();
    reactor.listen(&sim.addr(PORT)).unwrap();
    let peer = sim.connect(PORT).unwrap();
    peer.send(&[0, 0, 0, 0, 0, 0, 0, 0]);
    let _ = sim.settle(&mut reactor).unwrap();
    reactor.check_invariants();
    (sim, reactor, peer)
}

#[test]
fn send_to_own_id_in_a_callback_is_a_reply() {
    let (_sim, _reactor, peer) = own(|cx, id| assert_eq!(cx.send(id, b"x"), Ok(())));
    assert_eq!(peer.receive(), [0, 0, 0, 1, b'x'].repeat(3));
}

#[test]
fn close_and_abort_of_own_id_in_a_callback_end_it() {
    let (sim, reactor, peer) = own(|cx, id| {
        assert!(cx.close(id));
        assert_eq!(cx.send(id, b"x"), Err(SendError::Closed));
    });
    peer.finish();
    let mut reactor = reactor;
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!(reactor.stats().closed_by(CloseReason::ClosedByHandler.kind()), 1);
    let (_sim, reactor, _peer) = own(|cx, id| assert!(cx.abort(id)));
    assert_eq!(reactor.stats().closed_by(CloseReason::AbortedByHandler.kind()), 1);
}

#[test]
fn pause_of_own_id_in_a_callback_holds_further_frames() {
    let (sim, mut reactor, peer) = own(|cx, id| {
        assert!(cx.pause(id));
        let _ = cx.send(id, b"x");
    });
    assert_eq!(peer.receive(), [0, 0, 0, 1, b'x'], "in on_open");
    let id = reactor.clients_ids()[0];
    for _ in 0..2 {
        assert!(reactor.cx().resume(id));
        let _ = sim.settle(&mut reactor).unwrap();
        assert_eq!(peer.receive(), [0, 0, 0, 1, b'x'], "one frame for each time that it is resumed");
    }
}

#[test]
fn wake_of_own_id_in_a_callback_comes_once_in_another_run() {
    let (_sim, reactor, peer) = own(|cx, id| assert!(cx.wake(id)));
    assert_eq!(reactor.handler().woken, 2, "once for on_open, once for the frames of one run");
    assert_eq!(peer.receive(), [&[0, 0, 0, 5][..], b"woken"].concat().repeat(2));
}
