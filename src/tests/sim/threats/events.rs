//! Readiness that is wrong, late or about another connection, and calls that do less than asked for.

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::Echo;
use crate::id::ConnId;
use crate::net::{Readiness, Ready};
use crate::reactor::token::Subject;
use crate::sim::{Edges, Faults, Peer, Sim};
use crate::tests::sim::threats::{Noting, SECOND, Scene, TURNS_MAX, frame, patient};

/// Three peers, whose streams are cut at different places and echoed under some faults. Returns how many calls it took.
fn echo_under(seed: u64, faults: Faults, edges: Edges) -> u64 {
    let sim = Sim::with_faults(seed, faults);
    sim.set_edges(edges);
    sim.set_send_buffer_bytes(9_000);
    let mut scene = Scene::with(sim, patient().output_high_water(4_000).output_low_water(1_000), Echo);
    let peers = [scene.connect(), scene.connect(), scene.connect()];
    let streams: Vec<Vec<u8>> = (0..3_u8)
        .map(|peer| {
            let payload = |len: usize| (0..len).map(|at| (at * 31 + at / 251) as u8 ^ peer).collect::<Vec<u8>>();
            [0, 1, 70, 0, 5_000, 3, 90_000, 0, 12].map(|len| frame(&payload(len))).concat()
        })
        .collect();
    let mut received = vec![Vec::new(); 3];
    let longest = streams.iter().map(Vec::len).max().unwrap();
    let step = 700;
    for begin in (0..longest).step_by(step) {
        for (peer, stream) in peers.iter().zip(&streams) {
            peer.send(&stream[begin.min(stream.len())..(begin + step).min(stream.len())]);
        }
        scene.settle();
        for (peer, received) in peers.iter().zip(&mut received) {
            received.extend(peer.receive_some(611));
        }
    }
    peers.iter().for_each(Peer::finish);
    for _ in 0..TURNS_MAX {
        if scene.stats().connections == 0 {
            break;
        }
        scene.settle();
        for (peer, received) in peers.iter().zip(&mut received) {
            received.extend(peer.receive());
        }
    }
    for (peer, received) in peers.iter().zip(&mut received) {
        received.extend(peer.receive());
    }
    assert!(received == streams, "seed {seed}, {faults:?}: other bytes came back");
    assert_eq!(scene.closed(&CloseReason::PeerFinished), 3, "seed {seed}, {faults:?}");
    scene.is_empty();
    scene.stats().reads.total() + scene.stats().writes.total()
}

#[test]
fn echo_is_byte_identical_under_all_kernel_faults() {
    let none = Faults::default();
    let calm = echo_under(0, none, Edges::Strict);
    let kinds = [
        (Faults { interrupted: 600, ..none }, Edges::Strict),
        (Faults { would_block: 500, ..none }, Edges::Strict),
        (Faults { short_read: 900, ..none }, Edges::Strict),
        (Faults { short_write: 900, ..none }, Edges::Strict),
        // Spurious, duplicated, split and shuffled events.
        (none, Edges::Noisy),
        (Faults { interrupted: 300, would_block: 300, short_read: 500, short_write: 500, ..none }, Edges::Noisy),
    ];
    for (faults, edges) in kinds {
        let calls: u64 = (0..10).map(|seed| echo_under(seed, faults, edges)).sum();
        assert!(calls > 10 * calm, "{calls} calls, and {calm} a time without: {faults:?}, {edges:?} did not happen");
    }
}

#[test]
fn a_write_of_zero_closes_its_connection_and_no_other() {
    let mut scene = Scene::new(Config::builder());
    let (peer, other) = (scene.connect(), scene.connect());
    scene.sim.set_faults(Faults { write_zero: 1_000, ..Faults::default() });
    peer.send(&frame(b"to be answered"));
    scene.settle();
    assert_eq!((scene.stats().connections, scene.closed(&CloseReason::WriteZero)), (1, 1));
    assert!(peer.receive().is_empty());
    scene.sim.set_faults(Faults::default());
    scene.call(&other, b"unharmed");
    // One call for each: it was not tried again and again.
    assert_eq!((peer.calls(), other.calls()), ((1, 1), (1, 1)));
}

/// Everything that an event can report except a failure, which the kernel never reports without one.
const ALL: Readiness = Readiness { readable: true, writable: true, read_closed: true, urgent: false, failed: false };

fn report_about(scene: &Scene<Noting>, id: ConnId) {
    scene.sim.world.borrow_mut().report(Ready { token: Subject::Conn(id).token(), readiness: ALL });
}

#[test]
fn a_stale_event_in_the_batch_of_a_new_connection_is_ignored() {
    type Act = fn(&Scene<Noting>, &Peer) -> Option<Peer>;
    let ends: Act = |scene, a| {
        a.send(&frame(b"for a alone"));
        a.finish();
        let _ = scene;
        None
    };
    let comes: Act = |scene, _| Some(scene.knock());
    let stale: Act = |scene, _| {
        report_about(scene, scene.reactor.handler().ids[0]);
        None
    };
    for order in [[ends, comes, stale], [ends, stale, comes], [comes, ends, stale], [comes, stale, ends]] {
        let mut scene = Scene::with(Sim::new(7), Config::builder(), Noting::default());
        let a = scene.connect();
        // All of it is in one batch: A ends, B is let in, and there are more events for A than A needs.
        let came: Vec<_> = order.iter().filter_map(|act| act(&scene, &a)).collect();
        let [b] = &came[..] else { panic!("one came in this batch") };
        scene.turn();
        scene.settle();
        let stats = scene.stats();
        assert_eq!((stats.connections, stats.closed_by(CloseReason::PeerFinished.kind())), (1, 1), "{stats}");
        assert_eq!((a.receive(), b.receive(), b.calls()), (frame(b"for a alone"), vec![], (0, 0)));
        scene.call(b, b"for b alone");
        assert_eq!((a.receive(), b.calls()), (vec![], (1, 1)));
    }
}

#[test]
fn stale_event_does_not_reach_next_connection_of_slot() {
    let mut scene = Scene::with(Sim::new(7), Config::builder(), Noting::default());
    for round in 0..10 {
        let a = scene.connect();
        let id_a = scene.reactor.handler().ids[2 * round];
        a.reset();
        scene.turn();
        // In the batch that lets B in, before and behind it; and in those that follow.
        report_about(&scene, id_a);
        let b = scene.knock();
        report_about(&scene, id_a);
        for _ in 0..3 {
            scene.turn();
            report_about(&scene, id_a);
            let id_b = scene.reactor.handler().ids[2 * round + 1];
            assert_eq!(id_b.index, id_a.index, "this test needs the same slot");
            assert_ne!(id_b, id_a);
            assert_eq!((b.calls(), scene.stats().connections), ((0, 0), 1));
        }
        scene.call(&b, b"for b alone");
        assert_eq!(b.calls(), (1, 1));
        b.finish();
        scene.settle();
        scene.is_empty();
    }
}

#[test]
fn stale_deadline_does_not_close_next_connection_of_slot() {
    let mut scene = Scene::with(Sim::new(7), Config::builder(), Noting::default());
    let a = scene.connect();
    a.send(&[0]);
    scene.settle();
    scene.pass(20 * SECOND);
    a.reset();
    scene.settle();
    let b = scene.connect();
    let ids = &scene.reactor.handler().ids;
    assert_eq!(ids[0].index, ids[1].index, "this test needs the same slot");
    b.send(&[0]);
    scene.settle();
    scene.pass(29 * SECOND);
    assert_eq!(scene.stats().connections, 1);
    scene.pass(SECOND);
    assert_eq!((scene.stats().connections, scene.closed(&CloseReason::FrameTimeout)), (0, 1));
}

/// Our FIN was sent and the peer's awaited; it has come, and the connection is gone.
#[test]
fn stale_linger_deadline_does_not_close_next_connection() {
    let mut scene = Scene::with(Sim::new(7), Config::builder(), Noting::default());
    let a = scene.connect();
    a.send(&[0xff; 4]);
    scene.settle();
    assert!(a.has_server_finished() && scene.stats().connections == 1);
    a.finish();
    scene.settle();
    let b = scene.connect();
    let ids = &scene.reactor.handler().ids;
    assert_eq!(ids[0].index, ids[1].index, "this test needs the same slot");
    scene.pass(2 * SECOND);
    assert_eq!(scene.stats().connections, 1);
    scene.call(&b, b"unharmed");
}
