//! Clients that wait in the listen queue when a drain begins.

use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::sim::{Peer, Sim};
use crate::tests::sim::threats::{PORT, SECOND, Scene, TURNS_MAX, frame};
use crate::{Frame, Turn};

/// Echoes; drains when it is asked to.
struct Draining;

impl Handler for Draining {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        if frame.payload() == b"drain" {
            conn.cx().drain();
        }
        let _ = conn.reply_frame(frame);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, (): ()) {
        cx.drain();
    }
}

const COUNT: usize = 200;

fn queued(scene: &Scene<Draining>) -> Vec<Peer> {
    let peers: Vec<_> = (0..COUNT).map(|_| scene.knock()).collect();
    peers.iter().for_each(|peer| peer.send(&frame(b"before the drain")));
    peers
}

/// Until it is done; `each_turn` is what peers do meanwhile.
fn run(scene: &mut Scene<Draining>, mut each_turn: impl FnMut(&Sim)) {
    for _ in 0..TURNS_MAX {
        let turn = scene.reactor.turn(Some(Duration::from_millis(10))).unwrap();
        scene.reactor.check_invariants();
        each_turn(&scene.sim);
        if turn == Turn::Done {
            return;
        }
    }
    panic!("it does not end: {}", scene.stats());
}

fn answered(peers: &[Peer]) -> usize {
    peers.iter().filter(|peer| peer.receive() == frame(b"before the drain")).count()
}

#[test]
fn queued_clients_are_answered_by_every_kind_of_drain() {
    type Ask = fn(&mut Scene<Draining>, &Peer);
    let asks: [Ask; 4] = [
        |scene, _| scene.reactor.drain(),
        |scene, _| scene.reactor.handle().drain().unwrap(),
        |scene, _| scene.reactor.handle().send(()).unwrap(),
        |_, peer| peer.send(&frame(b"drain")),
    ];
    for (number, ask) in asks.iter().enumerate() {
        // All that comes in one turn is one event.
        let mut scene = Scene::with(Sim::new(7), Config::builder().accept_budget(8), Draining);
        let open = scene.connect();
        let peers = queued(&scene);
        ask(&mut scene, &open);
        run(&mut scene, |_| {});
        assert_eq!(answered(&peers), COUNT, "ask {number}");
        let report = scene.reactor.drain_report();
        assert_eq!(
            (report.drained, report.cut, scene.stats().refused.total()),
            (COUNT as u64 + 1, 0, 0),
            "ask {number}"
        );
        assert!(scene.sim.connect(PORT).is_none());
    }
}

#[test]
fn clients_that_keep_coming_do_not_prolong_a_drain() {
    let mut scene = Scene::with(Sim::new(7), Config::builder().backlog(COUNT as u32), Draining);
    let peers = queued(&scene);
    scene.reactor.drain();
    let mut late = 0;
    run(&mut scene, |sim| {
        for _ in 0..50 {
            if let Some(peer) = sim.connect(PORT) {
                peer.send(&frame(b"late"));
                late += 1;
            }
        }
    });
    assert_eq!(answered(&peers), COUNT);
    assert_eq!(scene.reactor.drain_report().drained, COUNT as u64);
    assert!((1..=COUNT).contains(&late), "{late} came while it still listened");
}

#[test]
fn clients_over_the_limit_are_refused_and_counted() {
    let mut scene = Scene::with(Sim::new(7), Config::builder().max_connections(150), Draining);
    let peers = queued(&scene);
    scene.reactor.drain();
    // All are accepted before the first can have ended.
    let report = loop {
        if scene.reactor.turn(Some(Duration::from_millis(10))).unwrap() == Turn::Done {
            break scene.reactor.drain_report();
        }
    };
    let stats = scene.stats();
    assert_eq!((report.drained, report.cut), (stats.accepted, stats.refused.max_connections), "{stats}");
    assert_eq!((report.drained + report.cut, answered(&peers) as u64), (COUNT as u64, report.drained));
    assert!(report.cut > 0);
}

#[test]
fn clients_in_the_queue_at_the_deadline_are_counted_as_cut() {
    for timeout in [Duration::ZERO, SECOND] {
        let mut scene = Scene::with(Sim::new(7), Config::builder().drain_timeout(timeout), Draining);
        let peers = queued(&scene);
        scene.sim.world.borrow_mut().is_exhausted = timeout > Duration::ZERO;
        scene.reactor.drain();
        let began = scene.sim.now();
        // No descriptor is left until just before the deadline.
        for _ in 0..20 {
            let _ = scene.reactor.turn(Some(Duration::from_millis(10))).unwrap();
        }
        scene.sim.world.borrow_mut().is_exhausted = false;
        run(&mut scene, |_| {});
        let report = scene.reactor.drain_report();
        assert_eq!(report.drained + report.cut, COUNT as u64, "{timeout:?}: {report:?}");
        assert!(answered(&peers) as u64 >= report.drained);
        assert!(scene.sim.now() - began <= timeout + SECOND + SECOND);
    }
}

#[test]
fn drain_without_descriptors_ends_and_counts_what_is_left() {
    let mut scene = Scene::with(Sim::new(7), Config::builder().drain_timeout(Duration::MAX), Draining);
    let _peers = queued(&scene);
    scene.sim.world.borrow_mut().is_exhausted = true;
    scene.reactor.drain();
    run(&mut scene, |_| {});
    assert_eq!((scene.reactor.drain_report().drained, scene.reactor.drain_report().cut), (0, 1));
    assert_eq!(scene.closed(&CloseReason::Drained), 0);
}

#[test]
fn listener_closes_before_any_client_sees_a_close() {
    let mut scene = Scene::with(Sim::new(7), Config::builder(), Draining);
    let open = scene.connect();
    let peers: Vec<_> = (0..10).map(|_| scene.knock()).collect();
    peers.iter().for_each(|peer| peer.send(&frame(b"before the drain")));
    scene.reactor.drain();
    assert!(scene.sim.connect(PORT).is_none() && !open.has_server_finished());
    run(&mut scene, |_| {});
    assert_eq!((answered(&peers), scene.reactor.drain_report().drained), (10, 11));
}
