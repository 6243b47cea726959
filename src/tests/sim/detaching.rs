//! Detached connections: other code gets the socket and every byte between it and the handler, and the peer notices nothing.

use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::conn::chunk::CHUNK_LEN;
use crate::error::{CloseKind, CloseReason, SendError};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::net::Detached;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Peer, Sim, SimNet};
use crate::wire::encode_header;
use crate::{Dial, Frame};

const PORT: u16 = 7007;

/// The callback that detaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Open,
    Frame,
    HalfClose,
    Wake,
    Writable,
}

/// Echoes, and detaches in one callback; a frame only if it says so.
struct Detaching {
    at: At,
    /// Keeps the sockets; otherwise they are dropped.
    keeps: bool,
    panics: bool,
    detached: Vec<Detached>,
    /// What was called, in this order.
    calls: Vec<String>,
    ids: Vec<ConnId>,
}

impl Detaching {
    fn detach(&self, at: At, conn: &mut Connection<'_>) {
        if self.at == at {
            conn.detach();
            assert_eq!(conn.reply(b"too late"), Err(SendError::Closed));
            conn.close();
        }
    }
}

impl Handler for Detaching {
    type State = u32;
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) -> u32 {
        self.ids.push(conn.id());
        self.detach(At::Open, conn);
        7
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, _: &mut u32, frame: Frame<'_>) {
        let payload = frame.payload().to_vec();
        self.calls.push(format!("frame of {} bytes", payload.len()));
        let _ = conn.reply_frame(frame);
        match payload.as_slice() {
            b"detach" => self.detach(At::Frame, conn),
            b"detach and abort" => {
                conn.detach();
                conn.abort();
            }
            b"close and detach" => {
                conn.close();
                conn.detach();
            }
            b"detach and panic" => {
                conn.detach();
                panic!("this panic is part of the test");
            }
            _ => {}
        }
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, _: &mut u32) {
        self.detach(At::HalfClose, conn);
        conn.close();
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, _: &mut u32) {
        self.detach(At::Wake, conn);
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, _: &mut u32) {
        self.detach(At::Writable, conn);
    }

    fn on_detach(&mut self, cx: &mut Context<'_>, id: ConnId, state: &mut u32, detached: Detached) {
        assert_eq!(cx.send(id, b"too late"), Err(SendError::Closed));
        assert!(detached.fd.is_none());
        self.calls.push(format!("detached, state {state}"));
        *state += 1;
        if self.panics {
            panic!("this panic is part of the test");
        }
        self.detached.extend(Some(detached).filter(|_| self.keeps));
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, state: u32, reason: &CloseReason) {
        self.calls.push(format!("closed, state {state}: {}", reason.name()));
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Detaching, SimNet>,
}

impl Scene {
    fn new(at: At, config: ConfigBuilder) -> Self {
        let sim = Sim::new(5);
        let handler =
            Detaching { at, keeps: true, panics: false, detached: Vec::new(), calls: Vec::new(), ids: Vec::new() };
        let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), handler).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        Self { sim, reactor }
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    /// The unread and the unsent bytes of the only detached connection, which its peer believes to be open.
    #[track_caller]
    fn left(&self, peer: &Peer) -> (&[u8], &[u8]) {
        let handler = self.reactor.handler();
        let [detached] = handler.detached.as_slice() else { panic!("{:?}", handler.calls) };
        assert_eq!(handler.calls[handler.calls.len() - 2..], ["detached, state 7", "closed, state 8: detached"]);
        assert!(peer.is_detached() && !peer.has_server_finished() && !peer.is_reset());
        assert_eq!(detached.peer, peer.addr());
        let stats = self.reactor.stats();
        assert_eq!((stats.connections, stats.buffered_bytes, self.sim.open_sockets()), (0, 0, 0));
        assert_eq!(stats.closed_by(CloseKind::Detached), 1);
        (&detached.unread, &detached.unsent)
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

#[test]
fn bytes_behind_the_frame_are_handed_over_unread() {
    let before = [frame(b"before"), frame(b"detach")].concat();
    for behind in [Vec::new(), frame(b"whole"), frame(b"incomplete")[..7].to_vec(), frame(&[7; 9_000])] {
        let mut scene = Scene::new(At::Frame, Config::builder());
        let peer = scene.sim.connect(PORT).unwrap();
        peer.send(&[before.clone(), behind.clone()].concat());
        scene.settle();
        assert_eq!(scene.left(&peer), (&behind[..], &b""[..]));
        assert_eq!(peer.receive(), before, "both were answered");
        // The socket is other code's: nothing more is read.
        peer.send(b"more");
        scene.settle();
        assert_eq!(scene.reactor.handler().calls.len(), 4);
    }
}

#[test]
fn replies_that_the_socket_did_not_accept_are_handed_over_unsent() {
    let mut scene = Scene::new(At::Frame, Config::builder());
    scene.sim.set_send_buffer_bytes(100);
    let peer = scene.sim.connect(PORT).unwrap();
    let frames = [frame(&[1; 60]), frame(&[2; 300]), frame(b"detach")].concat();
    peer.send(&frames);
    scene.settle();
    let (unread, unsent) = scene.left(&peer);
    assert!(unread.is_empty() && unsent.len() == frames.len() - 100);
    assert_eq!([&peer.receive(), unsent].concat(), frames);
}

#[test]
fn every_callback_can_detach() {
    for at in [At::Open, At::HalfClose, At::Wake, At::Writable] {
        let mut scene = Scene::new(at, Config::builder().output_high_water(500).output_low_water(100));
        scene.sim.set_send_buffer_bytes(50);
        let peer = scene.sim.connect(PORT).unwrap();
        let frames = frame(&[9; 100]).repeat(8);
        peer.send(&frames);
        if at == At::HalfClose {
            peer.finish();
        }
        scene.settle();
        if at == At::Wake {
            let id = scene.reactor.handler().ids[0];
            scene.reactor.cx().wake(id);
        }
        let mut received = Vec::new();
        for _ in 0..100 {
            scene.settle();
            received.extend(peer.receive());
        }
        let delivered = scene.reactor.handler().calls.len() - 2;
        let (unread, unsent) = scene.left(&peer);
        received.extend(unsent);
        let (answered, rest) = frames.split_at(delivered * 104);
        assert!(received == answered && rest.starts_with(unread), "{at:?}: {delivered} frames");
        // In on_open, nothing was read yet.
        assert_eq!(rest.is_empty(), at == At::HalfClose, "{at:?}");
    }
}

#[test]
fn beginning_of_a_large_frame_is_handed_over() {
    let mut scene = Scene::new(At::Wake, Config::builder());
    let peer = scene.sim.connect(PORT).unwrap();
    let part = &frame(&vec![3; 4 * CHUNK_LEN])[..3 * CHUNK_LEN];
    peer.send(part);
    scene.settle();
    assert!(scene.reactor.stats().buffered_bytes as usize >= part.len());
    let id = scene.reactor.handler().ids[0];
    scene.reactor.cx().wake(id);
    scene.settle();
    let (unread, unsent) = scene.left(&peer);
    assert!(unread == part && unsent.is_empty());
}

#[test]
fn dialed_connection_is_detached_like_an_accepted_one() {
    let mut scene = Scene::new(At::Open, Config::builder());
    let sim = scene.sim.clone();
    scene.reactor.cx().dial(Dial::to(sim.addr(1))).unwrap();
    scene.settle();
    let peer = sim.dialed().unwrap();
    assert_eq!(scene.left(&peer), (&b""[..], &b""[..]));
}

#[test]
fn other_ends_take_precedence_over_a_detach() {
    for (order, reason) in [
        (&b"detach and abort"[..], CloseKind::AbortedByHandler),
        (b"close and detach", CloseKind::ClosedByHandler),
        (b"detach and panic", CloseKind::HandlerPanicked),
    ] {
        let mut scene = Scene::new(At::Frame, Config::builder());
        let peer = scene.sim.connect(PORT).unwrap();
        peer.send(&frame(order));
        scene.settle();
        peer.finish();
        scene.settle();
        assert!(!peer.is_detached());
        let handler = scene.reactor.handler();
        assert_eq!(handler.calls.len(), 2, "{:?}", handler.calls);
        assert_eq!(scene.reactor.stats().closed_by(reason), 1);
    }
}

#[test]
fn dropped_handover_closes_the_socket() {
    for panics in [false, true] {
        let mut scene = Scene::new(At::Frame, Config::builder());
        (scene.reactor.handler_mut().keeps, scene.reactor.handler_mut().panics) = (false, panics);
        let peer = scene.sim.connect(PORT).unwrap();
        peer.send(&frame(b"detach"));
        scene.settle();
        assert_eq!(peer.receive(), frame(b"detach"));
        assert!(peer.has_server_finished() && !peer.is_detached());
        assert_eq!(scene.reactor.handler().calls[1..], ["detached, state 7", "closed, state 8: detached"]);
        assert_eq!(scene.reactor.stats().handler_panics, u64::from(panics));
    }
}

#[test]
fn drain_and_drop_of_the_reactor_leave_detached_connections_alone() {
    let mut scene = Scene::new(At::Frame, Config::builder());
    let peer = scene.sim.connect(PORT).unwrap();
    scene.settle();
    peer.send(&frame(b"detach"));
    scene.reactor.drain();
    while scene.reactor.turn(Some(Duration::ZERO)).unwrap() == Turn::Running {}
    let report = scene.reactor.drain_report();
    assert_eq!((report.drained, report.cut), (1, 0));
    let Scene { mut reactor, .. } = scene;
    let detached = std::mem::take(&mut reactor.handler_mut().detached);
    drop(reactor);
    assert!(peer.is_detached() && !peer.has_server_finished());
    drop(detached);
    assert_eq!(peer.receive(), frame(b"detach"));
    assert!(peer.has_server_finished());
}
