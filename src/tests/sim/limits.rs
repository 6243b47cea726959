//! Limits of a listener, and limits that a handler changes: sizes, marks and timeouts.

use std::time::Duration;

use crate::Frame;
use crate::address::Dial;
use crate::config::{Config, ConfigBuilder};
use crate::error::{CloseReason, DialError, SendError};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::options::{Limits, ListenOptions};
use crate::reactor::Reactor;
use crate::sim::{Faults, Peer, Sim, SimNet};
use crate::wire::encode_header;

const SECOND: Duration = Duration::from_secs(1);

/// Echoes. Each byte of a frame of one or two bytes changes the limits: to those with this index.
struct Changing {
    limits: Vec<Limits>,
    closed: Vec<CloseReason>,
    failed: Vec<DialError>,
    writable: usize,
    open: Vec<ConnId>,
}

impl Handler for Changing {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.open.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let indices = if frame.payload_len() <= 2 { frame.payload().to_vec() } else { Vec::new() };
        assert_eq!(conn.reply_frame(frame), Ok(()));
        for index in indices {
            let limits = self.limits[usize::from(index)];
            assert_eq!(conn.set_limits(limits), Ok(()));
            assert_eq!(conn.limits(), limits);
        }
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        assert_eq!(conn.set_limits(self.limits[0]), Ok(()));
    }

    fn on_writable(&mut self, _conn: &mut Connection<'_>, (): &mut ()) {
        self.writable += 1;
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }

    fn on_dial_failed(&mut self, _: &mut Context<'_>, _: ConnId, error: &DialError) {
        self.failed.push(*error);
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Changing, SimNet>,
}

impl Scene {
    fn new(config: &Config, limits: &[Limits]) -> Self {
        let sim = Sim::new(3);
        let handler =
            Changing { limits: limits.into(), closed: Vec::new(), failed: Vec::new(), writable: 0, open: Vec::new() };
        let reactor = Reactor::with_net(sim.net(), config.clone(), handler).unwrap();
        let mut scene = Self { sim, reactor };
        scene.reactor.listen(&scene.sim.addr(7007)).unwrap();
        scene
    }

    fn listen(&mut self, port: u16, limits: Limits) {
        let options = ListenOptions::default().limits(limits);
        self.reactor.listen_with(&self.sim.addr(port), options).unwrap();
    }

    fn connect(&mut self, port: u16) -> Peer {
        let peer = self.sim.connect(port).unwrap();
        self.settle();
        peer
    }

    fn settle(&mut self) {
        let _ = self.sim.settle(&mut self.reactor).unwrap();
        self.reactor.check_invariants();
    }

    fn send(&mut self, peer: &Peer, payload: &[u8]) {
        peer.send(&frame(payload));
        self.settle();
    }

    /// Lets time pass, second by second.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.sim.advance(SECOND);
            self.settle();
        }
    }

    /// How many seconds pass until a connection has closed, and why.
    fn seconds_until_closed(&mut self) -> (u32, CloseReason) {
        (0..100)
            .find_map(|second| {
                let closed = self.reactor.handler_mut().closed.pop();
                if closed.is_none() {
                    self.pass(1);
                }
                closed.map(|reason| (second, reason))
            })
            .unwrap()
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

fn limits(config: ConfigBuilder) -> Limits {
    Limits::of(&config.build().unwrap())
}

#[test]
fn each_connection_has_the_idle_timeout_of_its_limits() {
    let config = Config::builder().idle_timeout(Some(20 * SECOND)).build().unwrap();
    let short = Limits::of(&config).idle_timeout(Some(5 * SECOND));
    let mut scene = Scene::new(&config, &[short, Limits::of(&config), Limits::of(&config).idle_timeout(None)]);
    scene.listen(7008, short);

    let _usual = scene.connect(7007);
    let _short = scene.connect(7008);
    assert_eq!(scene.seconds_until_closed(), (5, CloseReason::IdleTimeout));
    assert_eq!(scene.seconds_until_closed(), (15, CloseReason::IdleTimeout));

    // A change begins the timeout anew, in both directions; without one, a connection stays.
    let peer = scene.connect(7007);
    scene.pass(10);
    scene.send(&peer, &[0]);
    assert_eq!(scene.seconds_until_closed(), (5, CloseReason::IdleTimeout));
    let peer = scene.connect(7008);
    scene.pass(4);
    scene.send(&peer, &[1]);
    assert_eq!(scene.seconds_until_closed(), (20, CloseReason::IdleTimeout));
    let peer = scene.connect(7008);
    scene.send(&peer, &[2]);
    scene.pass(99);
    assert_eq!(scene.reactor.handler().closed, []);
    scene.send(&peer, &[0]);
    assert_eq!(scene.seconds_until_closed(), (5, CloseReason::IdleTimeout));
}

#[test]
fn idle_timeout_changed_at_its_end_begins_anew() {
    let config = Config::builder().idle_timeout(Some(5 * SECOND)).build().unwrap();
    let longer = Limits::of(&config).idle_timeout(Some(20 * SECOND));
    for (limits, seconds) in [(longer, Some(20)), (longer.idle_timeout(None), None)] {
        let mut scene = Scene::new(&config, &[limits]);
        let _peer = scene.connect(7007);
        let id = scene.reactor.handler().open[0];
        scene.sim.advance(5 * SECOND);
        assert!(scene.reactor.cx().wake(id));
        scene.settle();
        match seconds {
            Some(seconds) => assert_eq!(scene.seconds_until_closed(), (seconds, CloseReason::IdleTimeout)),
            None => scene.pass(99),
        }
        assert_eq!(scene.reactor.handler().closed, []);
    }
}

#[test]
fn limits_that_change_twice_in_a_callback_have_the_last_timeout() {
    let config = Config::default();
    let timeout = |seconds| Limits::of(&config).idle_timeout(Some(seconds * SECOND));
    let mut scene = Scene::new(&config, &[timeout(30), timeout(20), timeout(5)]);
    let peer = scene.connect(7007);
    scene.send(&peer, &[0]);
    // No other connection has the first limits, so nothing distinguishes the last ones from them but their content.
    scene.send(&peer, &[1, 2]);
    assert_eq!(scene.seconds_until_closed(), (5, CloseReason::IdleTimeout));
}

#[test]
fn write_timeout_that_is_switched_off_spares_pending_output() {
    let config = Config::builder().write_timeout(Some(5 * SECOND)).build().unwrap();
    let mut scene = Scene::new(&config, &[Limits::of(&config).write_timeout(None), Limits::of(&config)]);
    scene.sim.set_send_buffer_bytes(300);
    let peer = scene.connect(7007);
    scene.send(&peer, &[7; 1_000]);
    scene.pass(3);
    scene.send(&peer, &[0]);
    scene.pass(60);
    assert_eq!(scene.reactor.handler().closed, []);
    scene.send(&peer, &[1]);
    assert_eq!(scene.seconds_until_closed(), (5, CloseReason::WriteTimeout));
}

#[test]
fn write_timeout_changed_at_its_end_begins_anew() {
    let config = Config::builder().write_timeout(Some(5 * SECOND)).build().unwrap();
    let longer = Limits::of(&config).write_timeout(Some(60 * SECOND));
    for (limits, seconds) in [(longer, Some(60)), (longer.write_timeout(None), None)] {
        let mut scene = Scene::new(&config, &[limits]);
        scene.sim.set_send_buffer_bytes(300);
        let peer = scene.connect(7007);
        scene.send(&peer, &[7; 1_000]);
        scene.sim.advance(5 * SECOND);
        scene.send(&peer, &[0]);
        match seconds {
            Some(seconds) => assert_eq!(scene.seconds_until_closed(), (seconds, CloseReason::WriteTimeout)),
            None => scene.pass(99),
        }
        assert_eq!(scene.reactor.handler().closed, []);
    }
}

#[test]
fn frame_timeout_of_the_limits_closes_an_incomplete_frame() {
    let config = Config::builder().frame_timeout(Some(20 * SECOND)).build().unwrap();
    let short = Limits::of(&config).frame_timeout(Some(3 * SECOND));
    let mut scene = Scene::new(&config, &[short, Limits::of(&config).frame_timeout(None)]);
    scene.listen(7008, short);
    for (port, first, seconds) in [(7007, None, 20), (7008, None, 3), (7007, Some(0), 3)] {
        let peer = scene.connect(port);
        if let Some(change) = first {
            scene.send(&peer, &[change]);
        }
        peer.send(&[0, 0]);
        scene.settle();
        assert_eq!(scene.seconds_until_closed(), (seconds, CloseReason::FrameTimeout));
    }
    // The part of a frame behind the one that changes the limits has the new timeout.
    let peer = scene.connect(7007);
    peer.send(&[&frame(&[0])[..], &[0, 0]].concat());
    scene.settle();
    assert_eq!(scene.seconds_until_closed(), (3, CloseReason::FrameTimeout));
    let peer = scene.connect(7008);
    peer.send(&[&frame(&[1])[..], &[0, 0]].concat());
    scene.settle();
    scene.pass(99);
    assert_eq!(scene.reactor.handler().closed, []);
}

#[test]
fn write_timeout_of_the_limits_closes_a_peer_that_reads_nothing() {
    let config = Config::builder().write_timeout(Some(20 * SECOND)).build().unwrap();
    let short = Limits::of(&config).write_timeout(Some(4 * SECOND)).write_rate_min(0);
    let mut scene = Scene::new(&config, &[short]);
    scene.sim.set_send_buffer_bytes(300);
    scene.listen(7008, short);
    for (port, change, seconds) in [(7007, false, 20), (7008, false, 4), (7007, true, 4)] {
        let peer = scene.connect(port);
        if change {
            scene.send(&peer, &[0]);
        }
        scene.send(&peer, &[7; 1_000]);
        assert_eq!(scene.seconds_until_closed(), (seconds, CloseReason::WriteTimeout));
    }
    // Below the rate of its limits, a peer is closed; without a rate, it is not.
    let fast = short.write_rate_min(1_000);
    scene.listen(7009, fast);
    for (port, is_closed) in [(7008, false), (7009, true)] {
        let peer = scene.connect(port);
        scene.send(&peer, &[7; 30_000]);
        for _ in 0..10 {
            let _ = peer.receive_some(100);
            scene.pass(1);
        }
        assert_eq!(scene.reactor.handler().closed.len(), usize::from(is_closed));
        peer.reset();
        scene.settle();
        scene.reactor.handler_mut().closed.clear();
    }
}

#[test]
fn largest_payload_is_that_of_the_limits() {
    let config = Config::default();
    let small = limits(Config::builder().max_payload(10));
    let mut scene = Scene::new(&config, &[small, Limits::of(&config)]);
    scene.listen(7008, small);
    for (port, change, len, is_closed) in [
        (7007, None, 11, false),
        (7008, None, 10, false),
        (7008, None, 11, true),
        (7007, Some(0), 11, true),
        (7008, Some(1), 11, false),
    ] {
        let peer = scene.connect(port);
        // In one read with the change.
        let change = change.map_or(Vec::new(), |index| frame(&[index]));
        peer.send(&[change, frame(&vec![0; len])].concat());
        scene.settle();
        peer.finish();
        scene.settle();
        let reason = scene.reactor.handler_mut().closed.pop().unwrap();
        assert_eq!(matches!(reason, CloseReason::FrameTooLong(_)), is_closed, "{port}: {reason}");
    }
}

#[test]
fn lowered_and_raised_marks_hold_for_pending_output() {
    let config = Config::builder().output_high_water(64 << 10).output_low_water(16 << 10).build().unwrap();
    let low = Limits::of(&config).output_high_water(1_000).output_low_water(500);
    let mut scene = Scene::new(&config, &[low, Limits::of(&config)]);
    scene.sim.set_send_buffer_bytes(1);
    let peer = scene.connect(7007);
    scene.send(&peer, &[7; 2_000]);
    let id = scene.reactor.handler().open[0];
    assert_eq!(scene.reactor.cx().send(id, b"more"), Ok(()), "2,000 bytes are below the mark");
    scene.send(&peer, &[0]);
    assert_eq!(scene.reactor.cx().send(id, b"more"), Err(SendError::Full));
    // Above the mark, the frame that would raise it waits.
    scene.send(&peer, &[1]);
    assert_eq!(scene.reactor.cx().send(id, b"more"), Err(SendError::Full));
    assert_eq!(scene.reactor.handler().writable, 0);
    while scene.reactor.handler().writable == 0 {
        assert!(!peer.receive().is_empty(), "there is room again, and the handler is not called");
        scene.settle();
    }
    scene.settle();
    assert_eq!(scene.reactor.cx().send(id, &[7; 3_000]), Ok(()));
    assert_eq!(scene.reactor.cx().send(id, b"more"), Ok(()));
}

#[test]
fn output_between_its_raised_marks_still_pauses_input() {
    let config = Config::builder().output_high_water(4_096).output_low_water(1_024).build().unwrap();
    let low = Limits::of(&config).output_high_water(1_000).output_low_water(500);
    let mut scene = Scene::new(&config, &[low, Limits::of(&config)]);
    scene.sim.set_send_buffer_bytes(1);
    let peer = scene.connect(7007);
    scene.send(&peer, &[7; 2_000]);
    // Lowered and raised in one callback; the frame behind it has arrived with it.
    let behind = frame(&[8; 100]);
    peer.send(&[&frame(&[0, 1])[..], &behind].concat());
    scene.settle();
    let mut received = Vec::new();
    while !received.ends_with(&behind) {
        let more = peer.receive();
        assert!(!more.is_empty(), "the frame behind the change waits forever");
        received.extend(more);
        scene.settle();
    }
    assert_eq!(scene.reactor.handler().closed, []);
}

#[test]
fn dial_has_its_own_timeout() {
    let mut scene = Scene::new(&Config::default(), &[]);
    scene.sim.set_faults(Faults { dial_unanswered: 1_000, ..Faults::default() });
    let backend = scene.sim.addr(9000);
    for (dial, seconds) in [(Dial::to(backend.clone()).timeout(3 * SECOND), 3), (Dial::to(backend), 10)] {
        scene.reactor.cx().dial(dial).unwrap();
        scene.settle();
        scene.pass(seconds - 1);
        assert_eq!(scene.reactor.handler().failed, []);
        scene.pass(1);
        let allowed = seconds * SECOND;
        assert_eq!(scene.reactor.handler_mut().failed.pop(), Some(DialError::TimedOut { allowed }));
    }
}

#[test]
fn limits_out_of_their_range_are_refused_and_change_nothing() {
    let config = Config::builder().memory(4 << 20).max_payload(1 << 20).build().unwrap();
    let usual = Limits::of(&config);
    assert_eq!(usual.check(&config), Ok(()));
    let wrong = [
        ("output_high_water", usual.output_high_water(0).output_low_water(0)),
        ("output_low_water", usual.output_high_water(10).output_low_water(10)),
        ("max_payload", usual.max_payload(4 << 20)),
        ("output_high_water", usual.output_high_water(4 << 20)),
        ("idle_timeout", usual.idle_timeout(Some(Duration::ZERO))),
        ("frame_timeout", usual.frame_timeout(Some(Duration::ZERO))),
        ("write_timeout", usual.write_timeout(Some(Duration::ZERO))),
    ];
    let mut scene = Scene::new(&config, &[]);
    for (setting, limits) in wrong {
        let error = limits.check(&config).unwrap_err();
        assert_eq!(error.setting(), setting, "{error}");
        let options = ListenOptions::default().limits(limits);
        let refused = scene.reactor.listen_with(&scene.sim.addr(8_000), options).unwrap_err();
        assert_eq!(refused.to_string(), error.to_string());
    }
    assert!(scene.sim.connect(8_000).is_none());
}
