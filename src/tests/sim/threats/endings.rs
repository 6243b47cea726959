//! Ends: of peers, at once and without a trace; and of the reactor, at its deadline.

use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::Echo;
use crate::reactor::Turn;
use crate::sim::Peer;
use crate::tests::sim::threats::capture::warnings_of;
use crate::tests::sim::threats::{SECOND, Scene, TURNS_MAX, frame, patient, sim_with_send_buffer};

type End = fn(&Peer);

const FIN: End = Peer::finish;
const RST: End = Peer::reset;
const FIN_THEN_RST: End = |peer| {
    peer.finish();
    peer.reset();
};

#[test]
fn every_close_of_a_peer_is_counted_by_kind() {
    let long = frame(&[7; 100_000]);
    let frames = frame(b"answered").repeat(5);
    let cases: [(&[u8], &[u8], End, CloseReason); 10] = [
        (b"", b"", FIN, CloseReason::PeerFinished),
        (&frames, b"", FIN, CloseReason::PeerFinished),
        (&frames, &long[..2], FIN, CloseReason::TruncatedFrame { received: 2 }),
        (&frames, &long[..4], FIN, CloseReason::TruncatedFrame { received: 4 }),
        (b"", &long[..90_000], FIN, CloseReason::TruncatedFrame { received: 90_000 }),
        (b"", b"", RST, CloseReason::Reset),
        (&frames, &long[..2], RST, CloseReason::Reset),
        (b"", &long[..90_000], RST, CloseReason::Reset),
        (b"", b"", FIN_THEN_RST, CloseReason::Reset),
        (&frames, &long[..90_000], FIN_THEN_RST, CloseReason::Reset),
    ];
    for (whole, part, end, reason) in cases {
        let mut scene = Scene::new(Config::builder());
        let peer = scene.connect();
        let (began, polls) = (scene.sim.now(), scene.stats().polls);
        peer.send(whole);
        peer.send(part);
        scene.settle();
        assert_eq!(peer.receive(), whole);
        end(&peer);
        scene.settle();
        assert_eq!(scene.closed(&reason), 1, "{reason}: {}", scene.stats());
        scene.is_empty();
        assert!(peer.is_reset() || peer.has_server_finished(), "{reason}: it has no FIN of ours");
        // It is seen when it comes, with no time in between and in a few turns.
        assert_eq!(scene.sim.now(), began);
        assert!(scene.stats().polls - polls < 10, "{}", scene.stats());
        // Buffers are given back by and by; behind that there is nothing to wake up for.
        scene.pass(10 * SECOND);
        scene.pass(10 * SECOND);
        assert_eq!(scene.reactor.next_deadline(), None, "{reason}");
    }
}

#[test]
fn finished_peer_that_does_not_read_costs_no_turn() {
    let mut scene = Scene::with(sim_with_send_buffer(100), Config::builder(), Echo);
    let peer = scene.connect();
    peer.send(&frame(&[7; 5_000]));
    peer.finish();
    scene.settle();
    let (polls, calls) = (scene.stats().polls, peer.calls());
    assert_eq!(scene.sleep_until(|stats| stats.connections == 0), 30 * SECOND);
    // One of them at the deadline, the others to give buffers back.
    assert!(scene.stats().polls - polls < 20, "{}", scene.stats());
    assert!(peer.calls().1 - calls.1 <= 1 && peer.calls().0 == calls.0, "{calls:?}, then {:?}", peer.calls());
    assert_eq!(scene.closed(&CloseReason::WriteTimeout), 1);
}

const DRAIN: Duration = Duration::from_secs(5);
const TAKEN: usize = 100;

/// Four peers: idle, inside a frame, with a frame that waits for its next turn, and with pending output that it does not read.
fn with_frames_in_flight() -> (Scene<Echo>, [Peer; 4], usize) {
    let mut scene = Scene::with(sim_with_send_buffer(TAKEN), patient().drain_timeout(DRAIN).frame_budget(1), Echo);
    let peers = [scene.connect(), scene.connect(), scene.connect(), scene.connect()];
    peers[1].send(&frame(b"in flight")[..6]);
    let stuck = frame(&[7; 5_000]);
    peers[3].send(&stuck);
    scene.settle();
    peers[2].send(&frame(b"hi").repeat(4));
    scene.turn();
    (scene, peers, stuck.len())
}

#[test]
fn drain_completes_at_its_deadline_with_exact_report() {
    let (mut scene, peers, pending) = with_frames_in_flight();
    scene.reactor.drain();
    let began = scene.sim.now();
    scene.settle();
    // Those that were at rest have our FIN at once, behind all their answers.
    assert!(peers[0].has_server_finished());
    assert_eq!(peers[2].receive(), frame(b"hi").repeat(4));
    [&peers[0], &peers[2]].into_iter().for_each(Peer::finish);
    scene.pass(SECOND);
    peers[1].send(&frame(b"in flight")[6..]);
    scene.settle();
    assert_eq!(peers[1].receive(), frame(b"in flight"));
    peers[1].finish();
    scene.settle();
    assert_eq!((scene.stats().connections, scene.reactor.drain_report().drained), (1, 3));

    let mut turns = 0;
    let lines = warnings_of(|| {
        turns = (0..TURNS_MAX).take_while(|_| scene.reactor.turn(None).unwrap() == Turn::Running).count();
    });
    assert!(turns < 20, "{turns} turns");
    let unsent = pending - TAKEN;
    let text = format!("cut by the deadline of the drain: pending: 0 bytes of input, {unsent} bytes of output");
    assert!(lines.len() == 1 && lines[0].starts_with("WARN [") && lines[0].ends_with(&text), "{lines:?}");
    assert_eq!(scene.sim.now() - began, DRAIN);
    let report = scene.reactor.drain_report();
    assert_eq!((report.drained, report.cut, report.unsent_bytes), (3, 1, (pending - TAKEN) as u64));
    scene.is_empty();
}

#[test]
fn stop_after_drain_completes_in_next_turn() {
    let (mut scene, peers, pending) = with_frames_in_flight();
    scene.reactor.drain();
    scene.settle();
    assert_eq!(peers[2].receive(), frame(b"hi").repeat(4));
    [&peers[0], &peers[2]].into_iter().for_each(Peer::finish);
    scene.settle();
    let began = scene.sim.now();
    scene.reactor.stop();
    assert_eq!(scene.reactor.turn(None).unwrap(), Turn::Done);
    assert_eq!(scene.sim.now(), began);
    let report = scene.reactor.drain_report();
    assert_eq!((report.drained, report.cut, report.unsent_bytes), (2, 2, (pending - TAKEN) as u64));
    scene.is_empty();
}
