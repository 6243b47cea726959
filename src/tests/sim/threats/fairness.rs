//! One peer among many: its share of a turn, and that all others get their replies in the turn of their request.

use std::cell::Cell;

use crate::Frame;
use crate::config::Config;
use crate::handler::{Connection, Echo, Handler};
use crate::sim::{Peer, Sim};
use crate::tests::sim::threats::{Scene, frame, patient, sim_with_send_buffer};

const PINGERS: usize = 100;
/// A budget ends a turn after the call that crosses it, by at most a chunk.
const READ: u64 = (128 << 10) + (68 << 10);
const WRITTEN: u64 = (512 << 10) + (68 << 10);

/// Each peer sends a request, and gets its reply within one turn.
#[track_caller]
fn ping<H: Handler>(scene: &mut Scene<H>, pingers: &[Peer]) {
    let ping = frame(b"ping");
    pingers.iter().for_each(|pinger| pinger.send(&ping));
    let polls = scene.stats().polls;
    scene.turn();
    assert_eq!(scene.stats().polls, polls + 1);
    let answered = pingers.iter().filter(|pinger| pinger.receive() == ping).count();
    assert_eq!(answered, pingers.len(), "of those who asked in this turn");
}

#[test]
fn flooder_delays_no_pinger_beyond_its_turn() {
    for payload_len in [0, 100, 60_000, 4 << 20] {
        let flood = frame(&vec![7; payload_len]);
        let flood = flood.repeat((8 << 20) / flood.len());
        let mut scene = Scene::with(sim_with_send_buffer(1 << 20), patient(), Echo);
        let flooder = scene.connect();
        let pingers: Vec<_> = (0..PINGERS).map(|_| scene.connect()).collect();
        let (mut sent, mut received) = (0, 0);
        let pings = (PINGERS * frame(b"ping").len()) as u64;
        for _ in 0..300 {
            // Its socket is never empty, and whatever it is sent it takes at once.
            while sent < scene.stats().bytes_in as usize + flood.len() / 2 {
                flooder.send(&flood);
                sent += flood.len();
            }
            let before = scene.stats();
            ping(&mut scene, &pingers);
            let after = scene.stats();
            let (read, written) =
                (after.bytes_in - before.bytes_in - pings, after.bytes_out - before.bytes_out - pings);
            assert!(read <= READ && written <= WRITTEN, "{read} bytes read, {written} written in one turn");
            received += flooder.receive().len();
        }
        assert!(received > 1 << 20, "only {received} bytes of {payload_len} each came back: that is no flood");
    }
}

#[test]
fn flooders_with_new_events_have_one_share_per_turn() {
    let flood = frame(&vec![7; 4 << 20]);
    let mut scene = Scene::with(sim_with_send_buffer(1 << 20), patient(), Echo);
    let flooders: Vec<_> = (0..4).map(|_| scene.connect()).collect();
    let pingers: Vec<_> = (0..PINGERS).map(|_| scene.connect()).collect();
    for _ in 0..200 {
        flooders.iter().for_each(|flooder| flooder.send(&flood[..100_000]));
        let before = scene.stats().bytes_in;
        ping(&mut scene, &pingers);
        let read = scene.stats().bytes_in - before;
        // Each of them has one share, however many events came.
        assert!(read <= 4 * READ + 800, "{read} bytes read in one turn");
        flooders.iter().for_each(|flooder| drop(flooder.receive()));
    }
}

/// Echoes, and notes whose frames were delivered, in their order.
#[derive(Default)]
struct Order {
    opened: usize,
    answered: Vec<usize>,
}

impl Handler for Order {
    type State = usize;
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) -> usize {
        self.opened += 1;
        self.opened
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, number: &mut usize, frame: Frame<'_>) {
        self.answered.push(*number);
        let _ = conn.reply_frame(frame);
    }
}

#[test]
fn newly_ready_connections_run_before_waiting_ones() {
    const FLOODERS: usize = 4;
    let mut scene = Scene::with(sim_with_send_buffer(16 << 20), patient(), Order::default());
    let flooders: Vec<_> = (0..FLOODERS).map(|_| scene.connect()).collect();
    let pingers: Vec<_> = (0..PINGERS).map(|_| scene.connect()).collect();
    // One event each; from then on they wait for their shares.
    flooders.iter().for_each(|flooder| flooder.send(&frame(&[7; 1_000]).repeat(10_000)));
    scene.turn();
    for _ in 0..50 {
        scene.reactor.handler_mut().answered.clear();
        ping(&mut scene, &pingers);
        let answered = &scene.reactor.handler().answered;
        assert!(answered.len() > PINGERS + FLOODERS, "the flood is over: only {} frames came", answered.len());
        let (first, rest) = answered.split_at(PINGERS);
        assert!(first.iter().all(|number| *number > FLOODERS) && rest.iter().all(|number| *number <= FLOODERS));
    }
}

#[test]
fn twenty_thousand_connects_are_accepted_within_the_budget() {
    const BURST: usize = 20_000;
    let budget = Config::default().accept_budget;
    let mut scene = Scene::new(patient().max_connections(BURST + PINGERS));
    let pingers: Vec<_> = (0..PINGERS).map(|_| scene.connect()).collect();
    let burst: Vec<_> = (0..BURST).map(|_| scene.knock()).collect();
    let mut turns = 0;
    while scene.stats().connections < (BURST + PINGERS) as u64 {
        let before = scene.stats().accepted;
        let ping = frame(b"ping");
        pingers.iter().for_each(|pinger| pinger.send(&ping));
        let _ = scene.reactor.turn(Some(std::time::Duration::ZERO)).unwrap();
        assert!(pingers.iter().all(|pinger| pinger.receive() == ping), "in turn {turns} of the burst");
        let accepted = scene.stats().accepted - before;
        assert!((1..=budget as u64).contains(&accepted), "{accepted} in one turn");
        turns += 1;
    }
    assert_eq!(turns, BURST.div_ceil(budget));
    drop(burst);
}

#[test]
fn replies_after_a_spent_budget_need_no_event() {
    let sent = [frame(&[]), frame(&[1; 700]), frame(&vec![2; 150_000]), frame(b"last")].concat().repeat(3);
    let tiny = [
        patient().frame_budget(1),
        patient().read_budget_bytes(1),
        patient().write_budget_bytes(1),
        patient().frame_budget(1).read_budget_bytes(1).write_budget_bytes(1),
    ];
    for config in tiny {
        // The socket takes all there is, so there is no edge but the one that all of this came with.
        let mut scene = Scene::with(sim_with_send_buffer(4 << 20), config, Echo);
        let peer = scene.connect();
        peer.send(&sent);
        let answered = Cell::new(0);
        scene.sleep_until(|stats| {
            answered.set(answered.get() + 1);
            stats.bytes_out == sent.len() as u64
        });
        assert!(answered.get() > 5, "it took {} turns", answered.get());
        let stats = scene.stats();
        assert!(stats.read_budgets_spent + stats.write_budgets_spent + stats.frame_budgets_spent > 5, "{stats}");
        assert!(peer.receive() == sent);
    }
}

/// Not even a turn is spent on those who have nothing to say.
#[test]
fn idle_peers_cost_no_turn_and_no_call() {
    let mut scene = Scene::with(Sim::new(7), patient(), Echo);
    let idle: Vec<_> = (0..PINGERS).map(|_| scene.connect()).collect();
    let pinger = scene.connect();
    for _ in 0..100 {
        scene.call(&pinger, b"ping");
    }
    assert!(idle.iter().all(|peer| peer.calls() == (0, 0)));
    assert_eq!(scene.reactor.next_deadline(), None);
}
