//! Timers in the past, and limits of what waits for a reactor.

use std::time::{Duration, Instant};

use crate::address::Dial;
use crate::config::{Config, ConfigBuilder};
use crate::error::{DialRefused, TimerRefused};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, TimerId};
use crate::reactor::Reactor;
use crate::reactor::handle::HandleError;
use crate::sim::{Peer, Sim, SimNet};
use crate::{Address, Frame};

const COUNT: usize = 100_000;

/// Sets timers again as they fire, each for an instant further back.
#[derive(Default)]
struct Again {
    fired: Vec<TimerId>,
    again: usize,
    back: Duration,
    messages: Vec<usize>,
}

impl Handler for Again {
    type State = ();
    type Message = usize;

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        self.fired.push(timer);
        if self.again > 0 {
            self.again -= 1;
            self.back += Duration::from_nanos(1);
            cx.set_timer(cx.now() - self.back).unwrap();
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, message: usize) {
        self.messages.push(message);
    }
}

fn rig(config: ConfigBuilder) -> (Sim, Reactor<Again, SimNet>, Peer) {
    let sim = Sim::new(1);
    let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), Again::default()).unwrap();
    reactor.listen(&sim.addr(7007)).unwrap();
    let peer = sim.connect(7007).unwrap();
    let _ = sim.settle(&mut reactor).unwrap();
    sim.advance(Duration::from_secs(3_600));
    let _ = sim.settle(&mut reactor).unwrap();
    (sim, reactor, peer)
}

fn turn(reactor: &mut Reactor<Again, SimNet>) {
    let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.check_invariants();
}

#[test]
fn timers_in_the_past_fire_once_in_linear_time() {
    let (sim, mut reactor, peer) = rig(Config::builder());
    let began = Instant::now();
    // In the past, at one instant, and at instants that run backwards.
    for number in 0..COUNT {
        let back = Duration::from_nanos(if number % 2 == 0 { 7 } else { number as u64 });
        let now = reactor.cx().now();
        reactor.cx().set_timer(now - back).unwrap();
    }
    reactor.handler_mut().again = COUNT;
    let mut turns = 0;
    while reactor.handler().fired.len() < 2 * COUNT {
        peer.send(&[0, 0, 0, 0]);
        turn(&mut reactor);
        assert_eq!(peer.receive(), [0, 0, 0, 0], "others are served in each turn");
        turns += 1;
    }
    assert!((90..2_000).contains(&turns), "{turns} turns");
    // It took a minute and more when each timer looked at all others.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let mut fired = reactor.handler().fired.clone();
    fired.sort();
    fired.dedup();
    assert_eq!(fired.len(), 2 * COUNT, "each fires once");
    assert_eq!(reactor.next_deadline(), None);
    drop(sim);
}

#[test]
fn timer_in_the_past_does_not_starve_others() {
    let (_sim, mut reactor, _peer) = rig(Config::builder().turn_budget(16 << 10));
    let now = reactor.cx().now();
    let count = 100;
    reactor.handler_mut().again = usize::MAX;
    // More than fire in one turn, and all of them come again.
    for _ in 0..count {
        reactor.cx().set_timer(now - Duration::from_secs(9)).unwrap();
    }
    let other = reactor.cx().set_timer(now).unwrap();
    for _ in 0..count {
        turn(&mut reactor);
    }
    assert!(reactor.handler().fired.contains(&other));
}

#[test]
fn timer_beyond_the_limit_is_refused_until_one_has_fired() {
    let (sim, mut reactor, _peer) = rig(Config::builder().timers_max(3));
    let at = reactor.cx().now() + Duration::from_secs(1);
    let set: Vec<_> = (0..3).map(|_| reactor.cx().set_timer(at).unwrap()).collect();
    assert_eq!(reactor.cx().set_timer(at), Err(TimerRefused::TooMany { allowed: 3 }));
    assert!(reactor.cx().cancel_timer(set[0]));
    reactor.cx().set_timer(at).unwrap();
    assert!(reactor.cx().set_timer(at).is_err());
    sim.advance(Duration::from_secs(1));
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!(reactor.handler().fired.len(), 3);
    assert!((0..3).all(|_| reactor.cx().set_timer(at).is_ok()));
}

#[test]
fn dial_beyond_the_limit_is_refused_until_one_has_begun() {
    let (sim, mut reactor, _peer) = rig(Config::builder().dials_max(3).dial_budget(1));
    let Address::Tcp(there) = sim.addr(9) else { panic!("no TCP address") };
    let dialed: Vec<ConnId> = (0..3).map(|_| reactor.cx().dial(Dial::to(there)).unwrap()).collect();
    assert_eq!(reactor.cx().dial(Dial::to(there)), Err(DialRefused::TooMany { allowed: 3 }));
    turn(&mut reactor);
    reactor.cx().dial(Dial::to(there)).unwrap();
    assert!(reactor.cx().dial(Dial::to(there)).is_err());
    // One that is given up makes room as well.
    assert!(reactor.cx().abort(dialed[2]));
    reactor.cx().dial(Dial::to(there)).unwrap();
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!((reactor.stats().dialed, reactor.stats().dials_failed), (4, 1));
}

#[test]
fn message_beyond_the_limit_is_returned_until_one_was_taken() {
    let (sim, mut reactor, peer) = rig(Config::builder().mailbox_max(3));
    peer.finish();
    let handle = reactor.handle();
    (0..3).for_each(|number| handle.send(number).unwrap());
    assert_eq!(handle.send(3), Err(HandleError::Full(3)));
    // What ends the reactor is never refused, and does not pile up either.
    let _ = sim.settle(&mut reactor).unwrap();
    (3..6).for_each(|number| handle.send(number).unwrap());
    assert_eq!(handle.send(6), Err(HandleError::Full(6)));
    (0..1_000).for_each(|_| handle.drain().unwrap());
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!(reactor.handler().messages, [0, 1, 2, 3, 4, 5]);
    assert_eq!(handle.send(7), Err(HandleError::Finished(7)));
}
