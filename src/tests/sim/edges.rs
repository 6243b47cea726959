//! Which events the simulated network reports, and when.

use std::io::{Read, Write};
use std::time::Duration;

use crate::config::Config;
use crate::net::{Net, Readiness};
use crate::sim::{Faults, Peer, Sim, SimNet, SimStream};

const PORT: u16 = 7007;
const CONN: usize = 9;
const NOTHING: Readiness =
    Readiness { readable: false, writable: false, read_closed: false, urgent: false, failed: false };
const INPUT: Readiness = Readiness { readable: true, ..NOTHING };
const ROOM: Readiness = Readiness { writable: true, ..NOTHING };
const FIN: Readiness = Readiness { readable: true, read_closed: true, ..NOTHING };

struct Pair {
    sim: Sim,
    net: SimNet,
    peer: Peer,
    stream: SimStream,
}

impl Pair {
    /// A registered connection, whose first event was read.
    fn new(faults: Faults) -> Self {
        let sim = Sim::with_faults(1, faults);
        let (mut net, config) = (sim.net(), Config::default());
        let (listener, _) = net.listen(&sim.addr(PORT), &config, &crate::options::ListenOptions::default(), 0).unwrap();
        let peer = sim.connect(PORT).unwrap();
        let (mut stream, _) = net.accept(&listener, &config).unwrap();
        net.register(&mut stream, CONN).unwrap();
        let mut pair = Self { sim, net, peer, stream };
        assert_eq!(pair.polled(), [ROOM]);
        pair
    }

    /// What a poll reports of the connection.
    fn polled(&mut self) -> Vec<Readiness> {
        self.net.poll(Some(Duration::ZERO)).unwrap();
        self.net.events().filter(|ready| ready.token == CONN).map(|ready| ready.readiness).collect()
    }
}

#[test]
fn input_between_polls_is_one_event_until_drained() {
    let mut pair = Pair::new(Faults::default());
    pair.peer.send(b"abc");
    pair.peer.send(b"def");
    assert_eq!(pair.polled(), [INPUT]);
    assert_eq!(pair.polled(), []);
    pair.peer.send(b"ghi");
    assert_eq!(pair.polled(), []);

    // As much as was asked for: there may be more.
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 9);
    pair.peer.send(b"jk");
    assert_eq!(pair.polled(), []);
    // Less than was asked for: there is no more.
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 2);
    pair.peer.send(b"l");
    assert_eq!(pair.polled(), [INPUT]);
}

#[test]
fn urgent_mark_ends_a_read_and_is_reported() {
    let mut pair = Pair::new(Faults::default());
    pair.peer.send(b"abc");
    assert_eq!(pair.polled(), [INPUT]);
    pair.peer.mark();
    pair.peer.send(b"def");
    assert_eq!(pair.polled(), [Readiness { urgent: true, ..INPUT }]);
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
    // There is more, and no edge will report it.
    assert_eq!(pair.polled(), []);
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
    assert!(pair.stream.read(&mut [0; 9]).is_err());
}

#[test]
fn an_event_whose_reason_has_gone_is_left_out() {
    let mut pair = Pair::new(Faults::default());
    pair.peer.send(b"abc");
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
    assert_eq!(pair.polled(), []);
    pair.peer.send(b"def");
    assert_eq!(pair.polled(), [INPUT]);
}

#[test]
fn fin_and_rst_are_edges_whatever_was_read_before() {
    let mut pair = Pair::new(Faults::default());
    pair.peer.send(b"abc");
    assert_eq!(pair.polled(), [INPUT]);
    pair.peer.finish();
    assert_eq!(pair.polled(), [FIN]);
    pair.peer.reset();
    assert_eq!(pair.polled(), [Readiness { writable: true, failed: true, ..FIN }]);
    assert_eq!(pair.polled(), []);
}

#[test]
fn room_is_reported_once_a_third_of_the_buffer_is_free_again() {
    let mut pair = Pair::new(Faults::default());
    pair.sim.set_send_buffer_bytes(300);
    assert_eq!(pair.stream.write(&[7; 300]).unwrap(), 300);
    assert_eq!(pair.peer.receive_some(150).len(), 150);
    assert_eq!(pair.polled(), []);

    assert_eq!(pair.stream.write(&[7; 300]).unwrap(), 150);
    assert_eq!(pair.peer.receive_some(99).len(), 99);
    assert_eq!(pair.polled(), []);
    assert_eq!(pair.peer.receive_some(1).len(), 1);
    assert_eq!(pair.polled(), [ROOM]);
    assert_eq!(pair.peer.receive().len(), 200);
    assert_eq!(pair.polled(), []);
}

#[test]
fn a_fault_that_ends_a_call_too_early_is_followed_by_an_edge() {
    let mut pair = Pair::new(Faults { short_read: 1_000, short_write: 1_000, ..Faults::default() });
    pair.peer.send(b"abc");
    assert_eq!(pair.polled(), [INPUT]);
    assert!(pair.stream.read(&mut [0; 9]).unwrap() < 3);
    assert!(pair.stream.write(b"abc").unwrap() < 3);
    assert_eq!(pair.polled(), [Readiness { writable: true, ..INPUT }]);
}

#[test]
fn what_is_late_comes_before_the_next_poll_or_within_a_call() {
    let mut pair = Pair::new(Faults { late: 1_000, ..Faults::default() });
    pair.peer.send(b"abc");
    pair.peer.finish();
    assert_eq!(pair.polled(), [FIN]);
    pair.sim.set_faults(Faults::default());
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 3);
    assert_eq!(pair.stream.read(&mut [0; 9]).unwrap(), 0);
}
