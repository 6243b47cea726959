//! Who runs when: what one client waits for beside others that always have more to do.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::config::Config;
use crate::frame::encode_header;
use crate::handler::Echo;
use crate::reactor::Reactor;
use crate::sim::{Peer, Sim, SimNet};

const PORT: u16 = 7007;

/// One share of a connection, in bytes read and written: each budget is crossed by at most one call, and at most a chunk.
const SHARE: u64 = (128 << 10) + (512 << 10) + 2 * (68 << 10);

/// Clients that have sent more than many turns can echo, and one that has sent nothing.
struct Rig {
    sim: Sim,
    reactor: Reactor<Echo, SimNet>,
    flood: Vec<Peer>,
    bystander: Peer,
}

impl Rig {
    fn new(clients: usize, frame: &[u8], frames: usize, turn_budget_bytes: usize) -> Self {
        let config = Config { turn_budget_bytes, ..Config::default() };
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(usize::MAX / 2);
        let mut reactor = Reactor::with_net(sim.net(), config, Echo).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        let connect = || sim.connect(PORT).unwrap();
        let (flood, bystander) = ((0..clients).map(|_| connect()).collect::<Vec<_>>(), connect());
        let _ = sim.settle(&mut reactor).unwrap();
        flood.iter().for_each(|peer| peer.send(&frame.repeat(frames)));
        let mut rig = Self { sim, reactor, flood, bystander };
        // All of them have just become ready, and run; from here on they wait for their next share.
        rig.turn();
        rig
    }

    /// Returns how many bytes it moved.
    fn turn(&mut self) -> u64 {
        let before = self.reactor.stats().bytes_moved();
        let _ = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.reactor.check_invariants();
        self.reactor.stats().bytes_moved() - before
    }

    fn is_busy(&self) -> bool {
        self.reactor.next_deadline().is_some_and(|due| due <= self.sim.now())
    }
}

fn frame(payload_len: usize) -> Vec<u8> {
    [&encode_header(payload_len as u32)[..], &vec![7; payload_len]].concat()
}

#[test]
fn who_becomes_ready_runs_in_the_next_turn_and_that_comes_after_a_turns_budget_of_others() {
    for (payload_len, frames) in [(60, 20_000), (64 << 10, 20), (4_000_000, 1)] {
        for turn_budget_bytes in [1, 64 << 10, 256 << 10, 1 << 20] {
            let mut rig = Rig::new(32, &frame(payload_len), frames, turn_budget_bytes);
            for _ in 0..3 {
                rig.bystander.send(b"\0\0\0\x02hi");
                let others = rig.turn() - 12;
                assert_eq!(rig.bystander.receive(), b"\0\0\0\x02hi");
                assert!(others < turn_budget_bytes as u64 + SHARE, "{others} of {turn_budget_bytes}, {payload_len}");
                assert!(others > 0 && rig.is_busy());
            }
            assert!(rig.reactor.stats().turn_budgets_spent >= 3);
        }
    }
}

#[test]
fn those_that_had_long_runs_do_not_go_first_when_they_become_ready_again() {
    let mut rig = Rig::new(64, &frame(64 << 10), 1, 256 << 10);
    while rig.is_busy() {
        rig.turn();
    }
    rig.flood.iter().for_each(|peer| peer.send(&frame(64 << 10)));
    for _ in 0..3 {
        rig.bystander.send(b"\0\0\0\x02hi");
        let others = rig.turn() - 12;
        assert_eq!(rig.bystander.receive(), b"\0\0\0\x02hi");
        assert!(others < (256 << 10) + SHARE, "{others}");
        assert!(rig.is_busy());
    }
    // After a short run it is as good as new.
    let _ = rig.sim.settle(&mut rig.reactor).unwrap();
    rig.flood[0].send(&frame(1));
    let _ = rig.sim.settle(&mut rig.reactor).unwrap();
    rig.flood.iter().for_each(|peer| peer.send(&frame(64 << 10)));
    let received = rig.flood[0].receive().len();
    rig.turn();
    assert!(rig.flood[0].receive().len() > (64 << 10), "{received} bytes before");
}

#[test]
fn those_that_wait_have_their_shares_one_after_the_other() {
    let mut rig = Rig::new(10, &frame(64 << 10), 20, 1);
    let mut shares = [0; 10];
    rig.flood.iter().for_each(|peer| drop(peer.receive()));
    for turn in 0..50 {
        // Somebody becomes ready in each turn, and nobody loses a place by it.
        rig.bystander.send(b"\0\0\0\0");
        rig.turn();
        let ran: Vec<usize> = (0..10).filter(|index| !rig.flood[*index].receive().is_empty()).collect();
        assert_eq!(ran, [turn % 10]);
        shares[ran[0]] += 1;
    }
    assert_eq!(shares, [5; 10]);
}

#[test]
fn everything_is_answered_whatever_a_turns_budget_is() {
    for turn_budget_bytes in [1, 100_000, usize::MAX] {
        let mut rig = Rig::new(5, &frame(100_000), 10, turn_budget_bytes);
        let _ = rig.sim.settle(&mut rig.reactor).unwrap();
        assert!(!rig.is_busy());
        for peer in &rig.flood {
            assert!(peer.receive() == frame(100_000).repeat(10));
        }
        assert_eq!(rig.reactor.stats().turn_budgets_spent == 0, turn_budget_bytes == usize::MAX);
    }
}

#[test]
fn a_turns_budget_that_nobody_waits_for_is_not_counted_as_spent() {
    let mut rig = Rig::new(1, &frame(64 << 10), 20, 1);
    let _ = rig.sim.settle(&mut rig.reactor).unwrap();
    assert_eq!(rig.reactor.stats().turn_budgets_spent, 0);
    assert_eq!(rig.flood[0].receive().len(), 20 * ((64 << 10) + 4));
}

#[test]
fn who_waits_for_its_share_past_its_deadline_is_not_late() {
    let mut rig = Rig::new(10, &frame(300_000), 2, 1);
    while rig.is_busy() {
        // As if the process had been stopped; nobody's share has come for longer than any timeout.
        rig.sim.advance(Duration::from_secs(31));
        rig.turn();
    }
    for peer in &rig.flood {
        assert!(peer.receive() == frame(300_000).repeat(2));
    }
    assert_eq!(rig.reactor.stats().closed_total(), 0);
}
