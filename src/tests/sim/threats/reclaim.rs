//! A full server: who gives way to a client that waits, and who never does.

use std::time::Duration;

use crate::address::Dial;
use crate::config::{Config, ConfigBuilder};
use crate::error::CloseReason;
use crate::handler::{Connection, Echo, Handler};
use crate::id::ConnId;
use crate::sim::{Peer, Rng, Sim};
use crate::tests::sim::threats::{Noting, PORT, SECOND, Scene, frame, patient};
use crate::{Address, Frame};

const IDLE: Duration = Duration::from_secs(30);

fn full(max: usize, config: ConfigBuilder) -> (Scene<Noting>, Vec<Peer>) {
    let config = config.max_connections(max).reclaim_idle(Some(IDLE));
    let mut scene = Scene::with(Sim::new(7), config, Noting::default());
    let peers = (0..max).map(|_| scene.knock()).collect();
    scene.settle();
    (scene, peers)
}

/// Of these peers, those whose connection was closed.
fn closed(peers: &[Peer]) -> Vec<usize> {
    (0..peers.len()).filter(|index| peers[*index].has_server_finished()).collect()
}

fn reclaimed<H: Handler>(scene: &Scene<H>) -> u64 {
    scene.closed(&CloseReason::Reclaimed)
}

fn refused<H: Handler>(scene: &Scene<H>) -> u64 {
    scene.stats().refused.max_connections
}

#[test]
fn full_server_closes_the_longest_idle_for_each_newcomer() {
    let (mut scene, peers) = full(5, patient());
    // The order in which they were active last is not the order in which they came.
    for number in [3, 0, 4, 2, 0] {
        scene.pass(SECOND);
        scene.call(&peers[number], b"active");
    }
    scene.pass(IDLE);
    let mut newcomers = Vec::new();
    for expected in [&[1][..], &[1, 3], &[1, 3, 4], &[1, 2, 3, 4], &[0, 1, 2, 3, 4]] {
        newcomers.push(scene.connect());
        assert_eq!(closed(&peers), expected);
        scene.call(newcomers.last().unwrap(), b"served");
    }
    // They were active just now.
    let last = scene.connect();
    assert!(last.has_server_finished());
    assert_eq!((reclaimed(&scene), refused(&scene), scene.stats().connections), (5, 1, 5));
    assert!(closed(&newcomers).is_empty());
}

#[test]
fn connection_is_kept_until_it_was_idle_for_long_enough() {
    let (mut scene, peers) = full(2, patient());
    scene.call(&peers[0], b"active");
    scene.pass(IDLE - Duration::from_millis(2));
    assert!(scene.connect().has_server_finished());
    scene.pass(Duration::from_millis(2));
    let newcomer = scene.connect();
    scene.call(&newcomer, b"served");
    assert_eq!((closed(&peers).len(), refused(&scene)), (1, 1));
}

/// Whatever can be called activity, one connection each; and newcomers all the time.
#[test]
fn active_connection_is_never_closed_for_a_newcomer() {
    let config = patient().output_high_water(2_000).output_low_water(500);
    let (mut scene, peers) = full(7, config);
    scene.sim.set_send_buffer_bytes(1_000);
    // An incomplete header, an incomplete frame, and output that is not read.
    peers[0].send(&[0, 0]);
    peers[1].send(&frame(&[1; 500])[..100]);
    peers[2].send(&frame(&[2; 1_900]));
    // Unread input of a connection that its handler has paused.
    let paused = scene.reactor.handler().ids[3];
    assert!(scene.reactor.cx().pause(paused));
    peers[3].send(&frame(b"waits"));
    scene.settle();
    for second in 0..200 {
        match second % 20 {
            // A frame in either direction.
            0 => scene.call(&peers[4], b"active"),
            7 => {
                let to = scene.reactor.handler().ids[5];
                let _ = scene.reactor.cx().send(to, b"from the server");
                scene.settle();
                assert!(!peers[5].receive().is_empty());
            }
            // Byte by byte.
            _ => peers[6].send(&[0]),
        }
        scene.pass(SECOND);
        assert!(scene.connect().has_server_finished(), "in second {second}");
    }
    assert!(closed(&peers).is_empty());
    assert_eq!((reclaimed(&scene), refused(&scene)), (0, 200));
}

#[test]
fn input_that_came_while_the_server_was_stopped_is_activity() {
    // One event in a turn: most of what has come is not seen when the first newcomer is accepted.
    let (mut scene, peers) = full(50, patient().events_per_turn(1));
    let newcomers: Vec<_> = (0..10).map(|_| scene.knock()).collect();
    scene.sim.advance(2 * IDLE);
    peers[..49].iter().for_each(|peer| peer.send(&frame(b"while it was stopped")));
    scene.settle();
    assert_eq!(closed(&peers), [49]);
    assert!(peers[..49].iter().all(|peer| peer.receive() == frame(b"while it was stopped")));
    assert_eq!((reclaimed(&scene), refused(&scene)), (1, 9));
    drop(newcomers);
}

#[test]
fn silent_connections_in_every_slot_give_way_to_newcomers() {
    let (mut scene, silent) = full(500, Config::builder());
    let (began, mut newcomers) = (scene.sim.now(), Vec::new());
    // Each tries again until it is served, as clients do.
    while newcomers.len() < 20 {
        let newcomer = scene.connect();
        if newcomer.has_server_finished() {
            scene.pass(SECOND / 5);
        } else {
            scene.call(&newcomer, b"served");
            newcomers.push(newcomer);
        }
    }
    assert!(scene.sim.now() - began <= IDLE + 2 * SECOND, "{:?}", scene.sim.now() - began);
    assert_eq!((closed(&silent).len(), reclaimed(&scene)), (20, 20));
}

#[test]
fn without_reclaim_idle_a_full_server_refuses() {
    const DAY: Duration = Duration::from_secs(86_400);
    for never in [None, Some(Duration::MAX), Some(60 * DAY)] {
        let mut scene = Scene::new(patient().max_connections(2).reclaim_idle(never));
        let peers = [scene.connect(), scene.connect()];
        for days in [1, 49, 10, 300] {
            scene.pass(days * DAY);
            assert!(scene.connect().has_server_finished());
        }
        assert_eq!((closed(&peers).len(), refused(&scene)), (0, 4));
    }
}

/// The ticks begin again after 52 days.
#[test]
fn connection_that_is_idle_for_months_gives_way() {
    let (mut scene, peers) = full(2, patient());
    for turn in 1..=8 {
        scene.pass(Duration::from_secs(11 * 86_400));
        scene.call(&peers[0], b"active");
        if turn == 8 {
            scene.pass(2 * SECOND);
            scene.call(&scene.sim.connect(PORT).unwrap(), b"served");
        }
    }
    assert_eq!(closed(&peers), [1]);
}

#[test]
fn client_refused_by_address_reclaims_no_connection() {
    let config = patient().max_connections(2).max_per_ip(Some(1));
    let mut scene = Scene::new(config);
    let peers = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| scene.sim.connect_from(PORT, ip).unwrap());
    scene.settle();
    scene.pass(2 * IDLE);
    let again = scene.sim.connect_from(PORT, [10, 0, 0, 1]).unwrap();
    scene.settle();
    assert!(again.has_server_finished());
    assert_eq!((closed(&peers).len(), scene.stats().refused.max_per_ip), (0, 1));
}

/// A handler that keeps half-closed connections, and dials.
#[derive(Default)]
struct Keeping {
    opened: Vec<ConnId>,
}

impl Handler for Keeping {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.opened.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }

    fn on_half_close(&mut self, _: &mut Connection<'_>, (): &mut ()) {}
}

#[test]
fn dialed_connection_is_kept_and_a_half_closed_one_is_not() {
    let mut scene = Scene::with(Sim::new(7), patient().max_connections(2), Keeping::default());
    let Address::Tcp(there) = scene.sim.addr(9) else { panic!("no TCP address") };
    let dialed = scene.reactor.cx().dial(Dial::to(there)).unwrap();
    scene.settle();
    assert_eq!(scene.reactor.handler().opened, [dialed]);
    let half_closed = scene.connect();
    half_closed.finish();
    scene.settle();
    assert!(!half_closed.has_server_finished());
    scene.pass(2 * IDLE);
    let newcomer = scene.connect();
    scene.call(&newcomer, b"served");
    assert!(half_closed.has_server_finished());
    assert!(scene.connect().has_server_finished(), "the connection that was dialed is kept");
    assert_eq!((reclaimed(&scene), refused(&scene)), (1, 1));
}

/// More connections than one turn looks at.
#[test]
fn search_of_many_connections_is_split_over_turns() {
    let max = 10_000;
    let (mut scene, peers) = full(max, patient());
    // The first order is used up: all were active since.
    peers.iter().for_each(|peer| peer.send(&frame(b"active")));
    scene.pass(SECOND);
    assert!(peers.iter().all(|peer| peer.receive() == frame(b"active")));
    scene.pass(2 * IDLE);
    let newcomer = scene.knock();
    let mut turns = 0;
    while reclaimed(&scene) == 0 {
        peers[77].send(&frame(b"active"));
        scene.turn();
        assert_eq!(peers[77].receive(), frame(b"active"));
        turns += 1;
        assert!(turns < 20);
    }
    assert!(turns > 3, "{turns} turns");
    scene.call(&newcomer, b"served");
    assert_eq!(closed(&peers).len(), 1);
}

/// Compared with a search through all connections, while some are active, some end, and others come.
#[test]
fn victim_is_the_longest_idle_whatever_happened_before() {
    let mut outcomes = (0, 0);
    for seed in 0..40 {
        let (max, mut rng) = (12, Rng::new(seed));
        let mut scene = Scene::new(patient().max_connections(max).reclaim_idle(Some(2 * IDLE)));
        let mut active = Vec::new();
        for _ in 0..600 {
            // Each second, so that no two were active in one tick.
            scene.pass(SECOND * rng.between(1, 8) as u32);
            let now = scene.sim.now();
            match rng.below(10) {
                0..5 if !active.is_empty() => {
                    let index = rng.below(active.len());
                    let (peer, at): &mut (Peer, _) = &mut active[index];
                    *at = now;
                    peer.send(&frame(b"active"));
                    scene.settle();
                    assert_eq!(active[index].0.receive(), frame(b"active"));
                }
                5 if !active.is_empty() => {
                    let (peer, _) = active.swap_remove(rng.below(active.len()));
                    peer.finish();
                    scene.settle();
                }
                _ => {
                    let newcomer = scene.connect();
                    let oldest = (0..active.len()).min_by_key(|index| active[*index].1);
                    let victim = oldest.filter(|index| active.len() == max && now - active[*index].1 >= 2 * IDLE);
                    if let Some(index) = victim {
                        assert!(active.swap_remove(index).0.has_server_finished(), "seed {seed}");
                    }
                    assert_eq!(newcomer.has_server_finished(), active.len() == max, "seed {seed}");
                    if active.len() < max {
                        active.push((newcomer, now));
                    }
                    assert!(active.iter().all(|(peer, _)| !peer.has_server_finished()), "seed {seed}");
                }
            }
        }
        outcomes = (outcomes.0 + reclaimed(&scene), outcomes.1 + refused(&scene));
    }
    assert!(outcomes.0 > 1_000 && outcomes.1 > 100, "{outcomes:?}");
}

/// 120 seconds with newcomers all the time: of the silent ones all go, of the active ones none.
#[test]
fn active_connections_among_silent_ones_are_all_kept() {
    let mut scene = Scene::with(Sim::new(7), Config::builder().max_connections(100), Echo);
    let peers: Vec<_> = (0..100).map(|_| scene.connect()).collect();
    let (active, silent) = peers.split_at(50);
    let mut served = Vec::new();
    for second in 0..120 {
        if second % 29 == 0 {
            active.iter().for_each(|peer| scene.call(peer, b"active"));
        }
        scene.pass(SECOND);
        served.push(scene.connect());
    }
    assert_eq!((closed(active).len(), closed(silent).len()), (0, 50));
    assert!(reclaimed(&scene) >= 50, "{}", scene.stats());
}
