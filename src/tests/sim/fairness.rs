//! The order of runs: how long a client waits alongside others that always have more to do.

use std::time::Duration;

use crate::config::Config;
use crate::handler::Echo;
use crate::reactor::Reactor;
use crate::sim::{Peer, Sim, SimNet};
use crate::wire::encode_header;

const PORT: u16 = 7007;

/// Clients that have sent more than many turns can echo, and one that has sent nothing.
struct Scene {
    sim: Sim,
    reactor: Reactor<Echo, SimNet>,
    flood: Vec<Peer>,
    bystander: Peer,
}

impl Scene {
    fn new(clients: usize, frame: &[u8], frames: usize, turn_budget: usize) -> Self {
        let config = Config { turn_budget, ..Config::default() };
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(usize::MAX / 2);
        let mut reactor = Reactor::with_net(sim.net(), config, Echo).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        let connect = || sim.connect(PORT).unwrap();
        let (flood, bystander) = ((0..clients).map(|_| connect()).collect::<Vec<_>>(), connect());
        let _ = sim.settle(&mut reactor).unwrap();
        flood.iter().for_each(|peer| peer.send(&frame.repeat(frames)));
        let mut scene = Self { sim, reactor, flood, bystander };
        // All of them have just become ready, and run; from here on they wait for their next share.
        while scene.reactor.clients_going_first() > 0 || scene.reactor.stats().bytes_in == 0 {
            scene.turn();
        }
        scene
    }

    /// Returns how many bytes it moved.
    fn turn(&mut self) -> u64 {
        let before = self.bytes_moved();
        let _ = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.reactor.check_invariants();
        self.bytes_moved() - before
    }

    fn bytes_moved(&self) -> u64 {
        let stats = self.reactor.stats();
        stats.bytes_in + stats.bytes_out
    }

    fn is_busy(&self) -> bool {
        self.reactor.next_deadline().is_some_and(|due| due <= self.sim.now())
    }
}

fn frame(payload_len: usize) -> Vec<u8> {
    [&encode_header(payload_len as u32)[..], &vec![7; payload_len]].concat()
}

#[test]
fn newly_ready_connection_runs_after_one_turns_budget() {
    for (payload_len, frames) in [(60, 60_000), (64 << 10, 80), (4_000_000, 1)] {
        for turn_budget in [16 << 10, 64 << 10, 256 << 10, 1 << 20] {
            let mut scene = Scene::new(32, &frame(payload_len), frames, turn_budget);
            for _ in 0..3 {
                scene.bystander.send(b"\0\0\0\x02hi");
                let all = scene.turn();
                assert_eq!(scene.bystander.receive(), b"\0\0\0\x02hi");
                assert!(all <= turn_budget as u64, "{all} of {turn_budget}, {payload_len}");
                assert!(all > 12 && scene.is_busy());
            }
            assert!(scene.reactor.stats().turn_budgets_spent >= 3);
        }
    }
}

#[test]
fn long_runners_do_not_go_first_when_ready_again() {
    let mut scene = Scene::new(64, &frame(64 << 10), 1, 256 << 10);
    while scene.is_busy() {
        scene.turn();
    }
    scene.flood.iter().for_each(|peer| peer.send(&frame(64 << 10)));
    for _ in 0..3 {
        scene.bystander.send(b"\0\0\0\x02hi");
        scene.turn();
        assert_eq!(scene.bystander.receive(), b"\0\0\0\x02hi");
        assert!(scene.is_busy());
    }
    let _ = scene.sim.settle(&mut scene.reactor).unwrap();
    // One short run does not make a long one forgotten, four do.
    for goes_first in [false, true] {
        for _ in 0..if goes_first { 4 } else { 1 } {
            scene.flood[63].send(&frame(1));
            let _ = scene.sim.settle(&mut scene.reactor).unwrap();
        }
        let _ = scene.flood[63].receive();
        scene.flood.iter().for_each(|peer| peer.send(&frame(64 << 10)));
        scene.turn();
        assert_eq!(!scene.flood[63].receive().is_empty(), goes_first);
        let _ = scene.sim.settle(&mut scene.reactor).unwrap();
    }
}

#[test]
fn those_that_wait_have_their_shares_one_after_the_other() {
    let mut scene = Scene::new(10, &frame(60), 5_000, 16 << 10);
    let mut shares = [0; 10];
    scene.flood.iter().for_each(|peer| drop(peer.receive()));
    let mut order = Vec::new();
    for _ in 0..50 {
        // A connection becomes ready in each turn, and none loses its place by that.
        scene.bystander.send(b"\0\0\0\0");
        scene.turn();
        let ran: Vec<usize> = (0..10).filter(|index| !scene.flood[*index].receive().is_empty()).collect();
        assert_eq!(ran.len(), 1);
        order.push(ran[0]);
        shares[ran[0]] += 1;
    }
    assert_eq!(shares, [5; 10]);
    assert!(order.windows(11).all(|turns| turns[0] == turns[10]), "{order:?}");
}

#[test]
fn everything_is_answered_whatever_a_turns_budget_is() {
    for turn_budget in [16 << 10, 100_000, usize::MAX] {
        let mut scene = Scene::new(5, &frame(100_000), 10, turn_budget);
        let _ = scene.sim.settle(&mut scene.reactor).unwrap();
        assert!(!scene.is_busy());
        for peer in &scene.flood {
            assert!(peer.receive() == frame(100_000).repeat(10));
        }
        assert_eq!(scene.reactor.stats().turn_budgets_spent == 0, turn_budget == usize::MAX);
    }
}

#[test]
fn a_turns_budget_without_waiters_is_not_counted_as_spent() {
    let mut scene = Scene::new(1, &frame(64 << 10), 20, 16 << 10);
    let _ = scene.sim.settle(&mut scene.reactor).unwrap();
    assert_eq!(scene.reactor.stats().turn_budgets_spent, 0);
    assert_eq!(scene.flood[0].receive().len(), 20 * ((64 << 10) + 4));
}

#[test]
fn who_waits_for_its_share_past_its_deadline_is_not_late() {
    let mut scene = Scene::new(10, &frame(300_000), 2, 16 << 10);
    let mut received = vec![Vec::new(); 10];
    while scene.is_busy() {
        // As if the process had been stopped: no connection had a run for longer than any timeout.
        scene.sim.advance(Duration::from_secs(31));
        scene.turn();
        scene.flood.iter().zip(&mut received).for_each(|(peer, received)| received.extend(peer.receive()));
    }
    for received in received {
        assert!(received == frame(300_000).repeat(2));
    }
    assert_eq!(scene.reactor.stats().closed_total(), 0);
}

/// Attackers that each have much to do the moment that the server comes back from a pause, in one of several ways.
#[track_caller]
fn assert_bystander_is_answered(
    clients: usize,
    prepare: impl Fn(&mut Scene),
    burst: impl Fn(&mut Scene),
    turns_max: usize,
) {
    for turn_budget in [16 << 10, 1 << 20] {
        let clients = if turn_budget < 1 << 20 { clients / 8 } else { clients };
        let mut scene = Scene::new(clients, &frame(1), 1, turn_budget);
        let _ = scene.sim.settle(&mut scene.reactor).unwrap();
        for round in 0..2 {
            prepare(&mut scene);
            let _ = scene.sim.settle(&mut scene.reactor).unwrap();
            burst(&mut scene);
            scene.bystander.send(b"\0\0\0\x02hi");
            let mut turns = 0;
            while scene.bystander.receive() != b"\0\0\0\x02hi" {
                let moved = scene.turn();
                assert!(moved <= turn_budget as u64, "{moved} of {turn_budget} in round {round}");
                turns += 1;
            }
            if turn_budget == 1 << 20 {
                assert!(turns <= turns_max, "the bystander waited for {turns} turns in round {round}");
            }
            let _ = scene.sim.settle(&mut scene.reactor).unwrap();
            // A peer that read nothing until the next round would be late by then.
            scene.flood.iter().for_each(|peer| drop(peer.receive()));
        }
        assert_eq!(scene.reactor.stats().closed_total(), 0);
    }
}

#[test]
fn small_frame_before_each_burst_does_not_widen_a_turn() {
    let burst = frame(64 << 10).repeat(4);
    for small_frames in [1, 4, 10] {
        assert_bystander_is_answered(
            200,
            |scene| scene.flood.iter().for_each(|peer| peer.send(&frame(1).repeat(small_frames))),
            |scene| scene.flood.iter().for_each(|peer| peer.send(&burst)),
            2,
        );
    }
    // The small frames come one at a time, so that each is a short run.
    assert_bystander_is_answered(
        200,
        |scene| {
            for _ in 0..5 {
                scene.flood.iter().for_each(|peer| peer.send(&frame(1)));
                let _ = scene.sim.settle(&mut scene.reactor).unwrap();
            }
        },
        |scene| scene.flood.iter().for_each(|peer| peer.send(&burst)),
        2,
    );
}

#[test]
fn many_deadlines_at_one_instant_do_not_widen_a_turn() {
    // Each has begun a frame, and the rest of it, and more, lies in its socket when all deadlines have passed.
    let all = frame(500_000).repeat(2);
    assert_bystander_is_answered(
        200,
        |scene| scene.flood.iter().for_each(|peer| peer.send(&all[..10])),
        |scene| {
            scene.flood.iter().for_each(|peer| peer.send(&all[10..]));
            scene.sim.advance(Duration::from_secs(31));
        },
        2,
    );
}

#[test]
fn late_peers_are_closed_in_time_among_busy_ones() {
    const LATE: usize = 500;
    let mut scene = Scene::new(100, &frame(64 << 10), 40, 1 << 20);
    let late: Vec<_> = (0..LATE).map(|_| scene.sim.connect(PORT).unwrap()).collect();
    while scene.reactor.stats().accepted < 101 + LATE as u64 {
        scene.turn();
    }
    late.iter().for_each(|peer| peer.send(&[0, 0, 1, 0, 7]));
    for _ in 0..20 {
        scene.turn();
    }
    let mut received = [0; 100];
    let read = |scene: &Scene, received: &mut [usize]| {
        scene.flood.iter().zip(received).for_each(|(peer, received)| *received += peer.receive().len());
    };
    read(&scene, &mut received);
    scene.sim.advance(Duration::from_secs(31));
    let mut turns = 0;
    while scene.reactor.stats().closed_by(crate::CloseReason::FrameTimeout.kind()) < LATE as u64 {
        assert!(scene.is_busy());
        scene.turn();
        read(&scene, &mut received);
        turns += 1;
        assert!(turns < 2_000, "{}", scene.reactor.stats());
    }
    let _ = scene.sim.settle(&mut scene.reactor).unwrap();
    assert_eq!(scene.reactor.stats().closed_total(), LATE as u64);
    read(&scene, &mut received);
    assert_eq!(received, [40 * ((64 << 10) + 4); 100]);
}

/// Each read once took half of what was left of a share, so that a share of 8 KiB took 14 reads.
#[test]
fn share_of_a_burst_is_read_in_one_call() {
    const CLIENTS: u64 = 2_000;
    for (payload_len, reads_max) in [(100, 1), (4 << 10, 2), (16 << 10, 2), (60_000, 2)] {
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(1 << 20);
        let mut reactor = Reactor::with_net(sim.net(), Config::default(), Echo).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        let peers: Vec<Peer> = (0..CLIENTS).map(|_| sim.connect(PORT).unwrap()).collect();
        let _ = sim.settle(&mut reactor).unwrap();
        let frame = frame(payload_len);
        peers.iter().for_each(|peer| peer.send(&frame));
        let _ = sim.settle(&mut reactor).unwrap();
        assert!(peers.iter().all(|peer| peer.receive() == frame));
        let reads = reactor.stats().reads.total();
        // The end of a turn cuts one share short, too.
        let cut_short = CLIENTS * payload_len as u64 / (256 << 10) + 1;
        assert!(reads <= CLIENTS * reads_max + 2 * cut_short, "{reads} reads of {payload_len}");
    }
}
