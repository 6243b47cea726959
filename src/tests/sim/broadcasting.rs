//! Broadcasts: to receivers in every state, and what follows before a receiver runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, ConfigBuilder};
use crate::conn::payloads::RECORD_LEN;
use crate::error::{CloseReason, SendError};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::options::ListenOptions;
use crate::reach::Broadcast;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Faults, Peer, Sim, SimNet};
use crate::wire::{LengthPrefix, encode_header};
use crate::{Frame, PausedBy, Scan};

const PORT: u16 = 7007;
/// Its connections have a prefix of one byte, which announces no long payload.
const PORT_OF_SHORT: u16 = 7008;
/// Its connections have a prefix of two bytes.
const PORT_OF_U16: u16 = 7009;
const HIGH: usize = 4 << 10;

/// Broadcasts the payload of each frame to all connections in the list, then replies.
#[derive(Default)]
struct Room {
    open: Vec<ConnId>,
    reply_len: usize,
    /// Broadcast instead of the payload of the frame.
    payload: Option<Bytes>,
    reached: Broadcast,
    replied: Option<Result<(), SendError>>,
    /// Broadcast when a connection has ended, to those that have not been reported as closed.
    farewell: Option<Bytes>,
    farewells: Vec<Broadcast>,
}

impl Handler for Room {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.open.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let payload = self.payload.clone().unwrap_or_else(|| Bytes::copy_from_slice(frame.payload()));
        self.reached = conn.cx().broadcast(self.open.iter().copied(), payload);
        self.replied = Some(conn.reply(&vec![b'r'; self.reply_len]));
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, (): (), _reason: &CloseReason) {
        self.open.retain(|open| *open != id);
        if let Some(farewell) = self.farewell.clone() {
            self.farewells.push(cx.broadcast(self.open.iter().copied(), farewell));
        }
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Room, SimNet>,
}

impl Scene {
    /// A send buffer of each connection holds `send_buffer` bytes.
    fn new(send_buffer: usize, config: ConfigBuilder) -> Self {
        let sim = Sim::with_faults(7, Faults::default());
        sim.set_send_buffer_bytes(send_buffer);
        let config = config.frame_timeout(None).write_timeout(None).build().unwrap();
        let mut reactor = Reactor::with_net(sim.net(), config, Room::default()).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        for (port, framing) in [(PORT_OF_SHORT, LengthPrefix::u8()), (PORT_OF_U16, LengthPrefix::u16_be())] {
            reactor.listen_with(&sim.addr(port), ListenOptions::default().framing(framing)).unwrap();
        }
        Self { sim, reactor }
    }

    fn of_default() -> Self {
        Self::new(1 << 20, Config::builder())
    }

    fn connect(&mut self, port: u16) -> (Peer, ConnId) {
        let peer = self.sim.connect(port).unwrap();
        self.settle();
        (peer, *self.reactor.handler().open.last().unwrap())
    }

    fn connect_many(&mut self, count: usize) -> (Vec<Peer>, Vec<ConnId>) {
        (0..count).map(|_| self.connect(PORT)).unzip()
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn broadcast(&mut self, ids: &[ConnId], payload: &Bytes) -> Broadcast {
        let reached = self.reactor.cx().broadcast(ids.iter().copied(), payload.clone());
        assert_eq!(total(&reached), ids.len(), "{reached:?}");
        self.reactor.check_invariants();
        reached
    }

    /// All that a peer receives, however little its connection's send buffer holds.
    fn receive(&mut self, peer: &Peer) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            self.settle();
            match peer.receive() {
                more if more.is_empty() => return received,
                more => received.extend(more),
            }
        }
    }
}

fn total(reached: &Broadcast) -> usize {
    reached.queued + reached.full + reached.no_memory + reached.unfit + reached.gone
}

fn payload(mark: u8, len: usize) -> Bytes {
    Bytes::from(vec![mark; len])
}

fn frames(payloads: &[&Bytes]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| [&encode_header(payload.len() as u32), &payload[..]].concat()).collect()
}

fn u16_frame(payload: &Bytes) -> Vec<u8> {
    [&(payload.len() as u16).to_be_bytes(), &payload[..]].concat()
}

#[test]
fn broadcast_to_mixed_receivers_reports_each() {
    let mut scene = Scene::new(1_000, Config::builder().output_high_water(HIGH).output_low_water(HIGH / 4));
    let (idle, ids) = scene.connect_many(3);
    let (busy, busy_id) = scene.connect(PORT);
    let (full, full_id) = scene.connect(PORT);
    let (closing, closing_id) = scene.connect(PORT);
    let (gone, gone_id) = scene.connect(PORT);
    let (_short, short_id) = scene.connect(PORT_OF_SHORT);
    let (u16s, u16_ids): (Vec<_>, Vec<_>) = (0..2).map(|_| scene.connect(PORT_OF_U16)).unzip();
    gone.reset();
    scene.settle();
    let (before, filling, to_all) = (payload(b'b', 1_500), payload(b'f', 2 * HIGH), payload(b'a', 2_000));
    assert_eq!(scene.broadcast(&[busy_id], &before).queued, 1);
    assert_eq!(scene.broadcast(&[full_id], &filling).queued, 1);
    scene.settle();
    assert!(scene.reactor.cx().close(closing_id));

    // Idle ones come first, between the others, and twice. The first is the one that the callback is about.
    let order =
        [ids[0], u16_ids[0], ids[1], full_id, closing_id, ids[2], gone_id, short_id, u16_ids[1], busy_id, ids[1]];
    scene.reactor.handler_mut().open = order.to_vec();
    idle[0].send(&frames(&[&to_all]));
    scene.settle();
    let reached = scene.reactor.handler().reached;
    let expected = Broadcast { queued: 7, full: 1, no_memory: 0, unfit: 1, gone: 2 };
    assert_eq!(reached, expected);
    let dropped = scene.reactor.stats().dropped;
    assert_eq!((dropped.full, dropped.gone, dropped.no_memory), (1, 2, 0));

    assert!(scene.receive(&idle[0]) == frames(&[&to_all, &Bytes::new()]));
    assert!(scene.receive(&idle[1]) == frames(&[&to_all, &to_all]));
    assert!(scene.receive(&idle[2]) == frames(&[&to_all]));
    assert!(scene.receive(&busy) == frames(&[&before, &to_all]));
    assert!(scene.receive(&full) == frames(&[&filling]));
    assert!(scene.receive(&closing).is_empty());
    for peer in &u16s {
        assert!(scene.receive(peer) == u16_frame(&to_all));
    }
    assert_eq!(scene.reactor.stats().buffered_bytes, 0);
    assert_eq!(scene.reactor.stats().closed_total(), 1, "{}", scene.reactor.stats());
}

#[test]
fn frames_around_a_broadcast_keep_their_order() {
    let mut scene = Scene::of_default();
    let (peers, ids) = scene.connect_many(3);
    let (a, b, c) = (payload(b'a', 3_000), payload(b'b', 600), payload(b'c', 90_000));
    assert_eq!(scene.broadcast(&ids, &a).queued, 3);
    assert_eq!(scene.reactor.cx().send(ids[0], b"short"), Ok(()));
    assert_eq!(scene.reactor.cx().send_shared(ids[1], b.clone()), Ok(()));
    assert_eq!(scene.broadcast(&ids, &b).queued, 3);
    assert_eq!(scene.reactor.cx().broadcast_all_shared(c.clone()).queued, 3);
    scene.reactor.check_invariants();
    let short = Bytes::from_static(b"short");
    assert!(scene.receive(&peers[0]) == frames(&[&a, &short, &b, &c]));
    assert!(scene.receive(&peers[1]) == frames(&[&a, &b, &b, &c]));
    assert!(scene.receive(&peers[2]) == frames(&[&a, &b, &c]));
    assert_eq!(scene.reactor.stats().frames_out, 11);
    assert_eq!(scene.reactor.stats().buffered_bytes, 0);
}

#[test]
fn receiver_twice_in_one_broadcast_gets_two_frames() {
    let mut scene = Scene::of_default();
    let (peers, ids) = scene.connect_many(2);
    let all = payload(b'a', 1_024);
    let twice = [ids[0], ids[0], ids[1], ids[1], ids[1]];
    assert_eq!(scene.broadcast(&twice, &all).queued, 5);
    assert!(scene.receive(&peers[0]) == frames(&[&all; 2]));
    assert!(scene.receive(&peers[1]) == frames(&[&all; 3]));
}

#[test]
fn receiver_that_ends_before_it_runs_frees_the_payload() {
    let mut scene = Scene::of_default();
    let (peers, ids) = scene.connect_many(4);
    let all = payload(b'a', 1_024);
    assert_eq!(scene.broadcast(&ids, &all).queued, 4);
    let mut cx = scene.reactor.cx();
    assert!(cx.close(ids[0]) && cx.finish(ids[1]) && cx.abort(ids[2]) && cx.pause(ids[3]));
    assert_eq!(scene.broadcast(&ids, &all), Broadcast { queued: 1, gone: 3, ..Broadcast::default() });
    // What is pending is sent before FIN, and lost with a reset.
    assert!(scene.receive(&peers[0]) == frames(&[&all]));
    assert!(scene.receive(&peers[1]) == frames(&[&all]));
    assert!(scene.receive(&peers[2]).is_empty());
    assert!(scene.receive(&peers[3]) == frames(&[&all; 2]));
    assert!(peers[0].has_server_finished() && peers[1].has_server_finished() && peers[2].is_reset());
    assert_eq!(scene.reactor.stats().buffered_bytes, 0);
}

#[test]
fn stopped_reactor_frees_the_payload_of_receivers_that_never_ran() {
    let mut scene = Scene::of_default();
    let (_peers, ids) = scene.connect_many(3);
    assert_eq!(scene.broadcast(&ids, &payload(b'a', 1_024)).queued, 3);
    scene.reactor.stop();
    while scene.reactor.turn(Some(Duration::ZERO)).unwrap() != Turn::Done {}
    assert_eq!((scene.reactor.stats().connections, scene.reactor.stats().buffered_bytes), (0, 0));
}

#[test]
fn inspection_after_a_broadcast_sees_what_is_pending() {
    let mut scene = Scene::new(1 << 20, Config::builder().output_high_water(HIGH).output_low_water(HIGH / 4));
    let (peers, ids) = scene.connect_many(2);
    let all = payload(b'a', HIGH);
    let before = scene.reactor.stats().buffered_bytes;
    assert_eq!(scene.broadcast(&ids, &all).queued, 2);
    let added = scene.reactor.stats().buffered_bytes - before;
    assert!((HIGH as u64..HIGH as u64 + 1_000).contains(&added), "the payload counts once: {added}");
    let info = scene.reactor.cx().inspect(ids[0]).unwrap();
    assert_eq!((info.pending_output, info.paused_by), (4 + HIGH, Some(PausedBy::Backpressure)));
    assert!(info.buffered_bytes >= HIGH);
    let mut pending = Vec::new();
    assert!(!scene.reactor.scan(&mut Scan::default(), 100, |info| pending.push(info.pending_output)));
    assert_eq!(pending, [4 + HIGH; 2]);
    scene.reactor.check_invariants();
    assert_eq!(scene.reactor.stats().buffered_bytes - before, added);
    assert_eq!(scene.broadcast(&ids, &all).full, 2);
    assert!(scene.receive(&peers[0]) == frames(&[&all]));
}

/// Two end in the same turn, and the first of them is reported before the slot of the second is free.
#[test]
fn broadcast_does_not_reach_a_receiver_that_ended_in_this_turn() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let mut scene = Scene::new(1 << 20, Config::builder().idle_timeout(Some(TIMEOUT)));
    let (_idle, _) = scene.connect_many(2);
    scene.sim.advance(TIMEOUT / 2);
    let (peer, _) = scene.connect(PORT);
    let farewell = payload(b'f', HIGH);
    let room = scene.reactor.handler_mut();
    // The one that stays is the first receiver.
    room.open.reverse();
    room.farewell = Some(farewell.clone());
    scene.sim.advance(TIMEOUT / 2);
    scene.settle();
    let of = |gone| Broadcast { queued: 1, gone, ..Broadcast::default() };
    assert_eq!(scene.reactor.handler().farewells, [of(1), of(0)]);
    assert!(scene.receive(&peer) == frames(&[&farewell, &farewell]));
}

#[test]
fn broadcast_to_stale_id_misses_next_connection_of_its_slot() {
    let mut scene = Scene::of_default();
    let (mut peers, mut ids) = scene.connect_many(3);
    peers.remove(1).reset();
    scene.settle();
    let (newcomer, id) = scene.connect(PORT);
    assert_eq!(id.index, ids[1].index);
    let all = payload(b'a', HIGH);
    ids.push(id);
    assert_eq!(scene.broadcast(&ids, &all), Broadcast { queued: 3, gone: 1, ..Broadcast::default() });
    for peer in peers.iter().chain([&newcomer]) {
        assert!(scene.receive(peer) == frames(&[&all]));
    }
}

/// Short payloads too: only behind something that is pending they are copied.
#[test]
fn payload_of_any_length_is_held_once_for_idle_receivers() {
    const RECEIVERS: usize = 5;
    for len in [1, 511, 512, 513, HIGH - 8] {
        let mut scene = Scene::of_default();
        let (peers, ids) = scene.connect_many(RECEIVERS);
        let all = [b'a', b'b', b'c'].map(|mark| payload(mark, len));
        assert_eq!(scene.broadcast(&ids, &all[0]).queued, RECEIVERS);
        assert_eq!(scene.reactor.stats().buffered_bytes, (RECEIVERS * RECORD_LEN + len) as u64);
        scene.settle();
        // As a slice, and then behind it.
        assert_eq!(scene.reactor.cx().broadcast_all(&all[1]).queued, RECEIVERS);
        assert_eq!(scene.reactor.stats().buffered_bytes, (RECEIVERS * RECORD_LEN + len) as u64);
        assert_eq!(scene.broadcast(&ids, &all[2]).queued, RECEIVERS);
        for peer in &peers {
            assert!(scene.receive(peer) == frames(&all.each_ref()), "{len}");
        }
        assert_eq!(scene.reactor.stats().buffered_bytes, 0);
    }
}

#[test]
fn short_slice_does_not_keep_its_buffer_alive() {
    for (len, is_kept) in [(1, false), (512, false), (513, true)] {
        let mut scene = Scene::of_default();
        let (_peers, ids) = scene.connect_many(2);
        let buffer = Arc::new([b'a'; 1_024]);
        let whole = Bytes::from_owner(Owner(buffer.clone()));
        assert_eq!(scene.broadcast(&ids, &whole.slice(..len)).queued, 2);
        drop(whole);
        assert_eq!(Arc::strong_count(&buffer) > 1, is_kept, "{len}");
        scene.settle();
        assert_eq!(Arc::strong_count(&buffer), 1, "{len}");
    }
}

/// The buffer of a payload, which is seen from elsewhere.
struct Owner(Arc<[u8; 1_024]>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &*self.0
    }
}

#[test]
fn empty_payload_reaches_all() {
    let mut scene = Scene::of_default();
    let (peers, ids) = scene.connect_many(3);
    assert_eq!(scene.broadcast(&ids, &Bytes::new()).queued, 3);
    assert_eq!(scene.reactor.cx().broadcast_all(&[]).queued, 3);
    for peer in &peers {
        assert_eq!(scene.receive(peer), [0; 8]);
    }
}

#[test]
fn more_payloads_than_can_be_deferred_all_arrive() {
    const RECEIVERS: usize = 300;
    let mut scene = Scene::of_default();
    let (peers, ids) = scene.connect_many(RECEIVERS);
    let of = |number: usize| payload(number as u8, 600 + number);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(scene.broadcast(&[*id], &of(number)).queued, 1);
    }
    scene.settle();
    for (number, peer) in peers.iter().enumerate() {
        assert!(peer.receive() == frames(&[&of(number)]), "{number}");
    }
    assert_eq!(scene.reactor.stats().buffered_bytes, 0);
}

#[test]
fn broadcast_at_the_memory_limit_counts_each_receiver() {
    const RECEIVERS: usize = 300;
    let mut scene = Scene::new(1_000, Config::builder().max_payload(64 << 10).memory(512 << 10));
    let (peers, ids) = scene.connect_many(RECEIVERS);
    let (_holder, holder_id) = scene.connect(PORT);
    let all = payload(b'a', 16 << 10);
    // An eighth is left free, and a record of each receiver is counted.
    let free = (512 << 10) / 8 * 7 - all.len() - 100 * RECORD_LEN;
    assert_eq!(scene.broadcast(&[holder_id], &payload(b'h', free - RECORD_LEN)).queued, 1);
    let reached = scene.broadcast(&ids, &all);
    assert_eq!(reached, Broadcast { queued: 100, no_memory: 200, ..Broadcast::default() });
    assert_eq!(scene.reactor.stats().dropped.no_memory, 200);
    for (number, peer) in peers.iter().enumerate() {
        let expected = if number < 100 { frames(&[&all]) } else { Vec::new() };
        assert!(scene.receive(peer) == expected, "{number}");
    }
    assert_eq!(scene.reactor.stats().closed_total(), 0);
}

/// A receiver that has not run yet is found like any other holder.
#[test]
fn reply_evicts_receivers_of_the_broadcast_before_it() {
    const REPLY: usize = 1 << 20;
    let mut scene = Scene::new(1_000, Config::builder().max_payload(1 << 20).memory(2 << 20));
    let (peers, ids) = scene.connect_many(5);
    // It replies itself, and is none of the receivers.
    let room = scene.reactor.handler_mut();
    (room.open, room.reply_len, room.payload) = (ids[1..].to_vec(), REPLY, Some(payload(b'a', 1_200_000)));
    peers[0].send(&frames(&[&Bytes::new()]));
    scene.settle();
    assert_eq!(scene.reactor.handler().reached.queued, 4);
    assert_eq!(scene.reactor.handler().replied, Some(Ok(())));
    assert_eq!(scene.reactor.stats().closed_by(CloseReason::Evicted { input: 0, output: 0 }.kind()), 4);
    assert!(scene.receive(&peers[0]) == frames(&[&payload(b'r', REPLY)]));
    assert_eq!(scene.reactor.stats().buffered_bytes, 0);
}
