//! Adopted connections: what was read before comes first, and the limits and deadlines are those of accepted ones.

use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::conn::chunk::CHUNK_LEN;
use crate::error::{AdoptError, CloseReason};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Sim, SimNet};
use crate::wire::encode_header;
use crate::{Frame, Stats};

/// Echoes, and writes down what it is called for.
#[derive(Default)]
struct Noting {
    opened: Vec<ConnId>,
    frames: Vec<Vec<u8>>,
    closed: Vec<CloseReason>,
    in_open: OnOpen,
}

#[derive(Default, Clone, Copy)]
enum OnOpen {
    #[default]
    Nothing,
    Pause,
    Panic,
}

impl Handler for Noting {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        match self.in_open {
            OnOpen::Nothing => {}
            OnOpen::Pause => conn.pause(),
            OnOpen::Panic => panic!("this panic is part of the test"),
        }
        self.opened.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.frames.push(frame.payload().to_vec());
        let _ = conn.reply_frame(frame);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Noting, SimNet>,
}

impl Scene {
    fn new(config: ConfigBuilder, in_open: OnOpen) -> Self {
        let sim = Sim::new(3);
        let handler = Noting { in_open, ..Noting::default() };
        let reactor = Reactor::with_net(sim.net(), config.build().unwrap(), handler).unwrap();
        Self { sim, reactor }
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn stats(&self) -> Stats {
        self.reactor.stats()
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

#[test]
fn bytes_read_before_come_before_those_in_the_socket() {
    let stream = [frame(b"first"), frame(b""), frame(&[7; 300]), frame(b"last")].concat();
    for read_before in 0..=stream.len() {
        let mut scene = Scene::new(Config::builder(), OnOpen::Nothing);
        let (id, peer) = scene.sim.adopt(&mut scene.reactor, &stream[..read_before]).unwrap();
        assert_eq!(scene.reactor.handler().opened, [id], "on_open is called in the call");
        assert!(scene.reactor.handler().frames.is_empty(), "frames are not");
        peer.send(&stream[read_before..]);
        scene.settle();
        assert_eq!(scene.reactor.handler().frames, [&b"first"[..], b"", &[7; 300], b"last"]);
        assert_eq!(peer.receive(), stream);
        peer.finish();
        scene.settle();
        assert_eq!(scene.reactor.handler().closed, [CloseReason::PeerFinished]);
        assert_eq!((scene.stats().accepted, scene.stats().buffered_bytes, scene.sim.open_sockets()), (1, 0, 0));
    }
}

#[test]
fn frame_begun_before_has_its_deadline() {
    let timeout = Duration::from_secs(2);
    let mut scene = Scene::new(Config::builder().frame_timeout(Some(timeout)), OnOpen::Nothing);
    // The time before the adoption is not the peer's.
    scene.sim.advance(Duration::from_secs(60));
    let (_, peer) = scene.sim.adopt(&mut scene.reactor, &frame(b"begun")[..6]).unwrap();
    scene.settle();
    scene.sim.advance(timeout - Duration::from_millis(1));
    scene.settle();
    assert_eq!(scene.stats().connections, 1);
    scene.sim.advance(Duration::from_millis(1));
    scene.settle();
    assert_eq!(scene.reactor.handler().closed, [CloseReason::FrameTimeout]);
    assert!(peer.has_server_finished());
}

#[test]
fn paused_adopted_connection_delivers_after_resume() {
    let mut scene = Scene::new(Config::builder(), OnOpen::Pause);
    let (id, peer) = scene.sim.adopt(&mut scene.reactor, &frame(b"held")).unwrap();
    peer.send(&frame(b"behind"));
    scene.settle();
    assert!(scene.reactor.handler().frames.is_empty());
    scene.reactor.cx().resume(id);
    scene.settle();
    assert_eq!(scene.reactor.handler().frames, [&b"held"[..], b"behind"]);
}

#[test]
fn refused_adoption_closes_the_socket_and_calls_nothing() {
    let config = || Config::builder().max_connections(1).reclaim_idle(None);
    let mut scene = Scene::new(config(), OnOpen::Nothing);
    let _first = scene.sim.adopt(&mut scene.reactor, b"").unwrap();
    let error = scene.sim.adopt(&mut scene.reactor, b"").unwrap_err();
    assert!(matches!(error, AdoptError::ConnectionsMax { allowed: 1 }), "{error}");
    let too_long = vec![0; CHUNK_LEN + 1];
    let error = scene.sim.adopt(&mut scene.reactor, &too_long).unwrap_err();
    assert!(matches!(error, AdoptError::UnreadTooLong { .. }), "{error}");
    assert_eq!((scene.sim.open_sockets(), scene.reactor.handler().opened.len()), (1, 1));
    assert_eq!(scene.stats().refused.max_connections, 1);

    let mut scene = Scene::new(config(), OnOpen::Panic);
    let error = scene.sim.adopt(&mut scene.reactor, b"").unwrap_err();
    assert!(matches!(error, AdoptError::HandlerPanicked), "{error}");
    assert_eq!((scene.sim.open_sockets(), scene.reactor.handler().closed.len()), (0, 0));

    scene.reactor.drain();
    let error = scene.sim.adopt(&mut scene.reactor, b"").unwrap_err();
    assert!(matches!(error, AdoptError::Ending), "{error}");
    assert_eq!(scene.sim.open_sockets(), 0);
}

#[test]
fn adoption_reclaims_the_longest_idle_connection() {
    let idle = Duration::from_secs(5);
    let config = Config::builder().max_connections(1).reclaim_idle(Some(idle));
    let mut scene = Scene::new(config, OnOpen::Nothing);
    let _first = scene.sim.adopt(&mut scene.reactor, b"").unwrap();
    scene.settle();
    scene.sim.advance(2 * idle);
    scene.settle();
    let (_, second) = scene.sim.adopt(&mut scene.reactor, &frame(b"in its place")).unwrap();
    scene.settle();
    assert_eq!(scene.reactor.handler().closed, [CloseReason::Reclaimed]);
    assert_eq!(second.receive(), frame(b"in its place"));
}

#[test]
fn largest_unread_bytes_are_delivered_with_little_memory() {
    let config = Config::builder().max_payload(100).memory(6 * CHUNK_LEN).output_high_water(1_024).output_low_water(0);
    let mut scene = Scene::new(config, OnOpen::Nothing);
    let frames = frame(&[7; 60]).repeat(CHUNK_LEN / 64);
    let peers: Vec<_> = (0..10).map(|_| scene.sim.adopt(&mut scene.reactor, &frames)).collect();
    // Those that hold the most make room for the others.
    let mut received: Vec<_> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..100 {
        scene.settle();
        for (adopted, received) in peers.iter().zip(&mut received) {
            received.extend(adopted.as_ref().unwrap().1.receive());
        }
    }
    let served = received.iter().filter(|received| **received == frames).count();
    let evicted = scene.reactor.handler().closed.iter().filter(|reason| matches!(reason, CloseReason::Evicted { .. }));
    assert_eq!(served + evicted.count(), 10);
    assert!(served > 0 && scene.stats().buffered_bytes == 0);
}
