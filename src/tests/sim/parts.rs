//! Frames that are delivered in parts.

use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::conn::sink::Drain;
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Peer, Rng, Sim, SimNet};
use crate::tests::sim::exchange;
use crate::wire::{Delimiter, Framing, LengthPrefix, encode_header};
use crate::{Frame, FramePart};

/// Collects payloads, and replies as a test says.
#[derive(Default)]
struct Parts {
    /// Replies to each part with a part.
    echoes: bool,
    /// Pauses after each part.
    pauses: bool,
    /// Whole frames and frames in parts, each with the number of its parts.
    payloads: Vec<(usize, Vec<u8>)>,
    /// The frame in progress.
    parts: usize,
    bytes: Vec<u8>,
    headers: Vec<Vec<u8>>,
    writable: usize,
    drained: usize,
    open: Vec<ConnId>,
    closed: Vec<CloseReason>,
}

impl Handler for Parts {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.open.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        assert!(self.bytes.is_empty() && self.parts == 0);
        self.payloads.push((0, frame.payload().to_vec()));
        if self.echoes {
            assert_eq!(conn.reply_frame(frame), Ok(()));
        }
    }

    fn on_frame_part(&mut self, conn: &mut Connection<'_>, (): &mut (), part: FramePart<'_>) {
        assert_eq!(part.offset(), self.bytes.len() as u64);
        assert_eq!(part.is_first(), self.parts == 0);
        assert!(part.bytes().len() <= CHUNK_LEN);
        self.parts += 1;
        self.bytes.extend_from_slice(part.bytes());
        if part.is_first() {
            self.headers.push(part.header().to_vec());
        } else {
            assert_eq!(part.header(), b"");
        }
        if self.echoes {
            if let Some(len) = part.payload_len().filter(|_| part.is_first()) {
                assert_eq!(conn.begin_reply(len as usize), Ok(()));
            }
            assert_eq!(conn.reply_part(part.bytes()), Ok(()));
        }
        if part.is_last() {
            assert_eq!(part.payload_len(), Some(self.bytes.len() as u64));
            let parts = std::mem::take(&mut self.parts);
            self.payloads.push((parts, std::mem::take(&mut self.bytes)));
        }
        if self.pauses {
            conn.pause();
        }
    }

    fn on_writable(&mut self, _: &mut Connection<'_>, (): &mut ()) {
        self.writable += 1;
    }

    fn on_drain(&mut self, _: &mut Connection<'_>, (): &mut ()) -> Drain {
        self.drained += 1;
        Drain::AtRest
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
        self.parts = 0;
        self.bytes.clear();
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Parts, SimNet>,
}

/// Less than the frames that are sent.
const MEMORY: usize = 1 << 20;
const PAYLOAD_MAX: u32 = 8 << 20;

impl Scene {
    fn new(framing: impl Into<Framing>, handler: Parts) -> Self {
        let sim = Sim::new(6);
        let config = Config::builder().memory(MEMORY).max_payload(1_000).build().unwrap();
        let limits = Limits::of(&config).max_payload(PAYLOAD_MAX).frames_in_parts(true);
        let mut reactor = Reactor::with_net(sim.net(), config, handler).unwrap();
        let options = ListenOptions::default().framing(framing).limits(limits);
        reactor.listen_with(&sim.addr(7007), options).unwrap();
        Self { sim, reactor }
    }

    fn connect(&mut self) -> Peer {
        let peer = self.sim.connect(7007).unwrap();
        self.settle();
        peer
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    /// Sends `bytes` in pieces of any length up to `piece_max`, and reads what comes.
    fn exchange(&mut self, peer: &Peer, bytes: &[u8], piece_max: usize, rng: &mut Rng) -> Vec<u8> {
        exchange(peer, bytes, piece_max, rng, || self.receive(peer))
    }

    /// All that comes for a peer. Meanwhile little is buffered.
    fn receive(&mut self, peer: &Peer) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            self.settle();
            // What waits for the peer, and a piece of the input.
            assert!(self.reactor.stats().buffered_bytes <= 4 * CHUNK_LEN as u64);
            let more = peer.receive();
            if more.is_empty() {
                return received;
            }
            received.extend(more);
        }
    }

    fn taken(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.reactor.handler_mut().payloads)
    }

    fn sent_now(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.send(bytes);
        self.settle();
    }
}

fn encoded(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    payloads.iter().for_each(|payload| framing.encode(payload, &mut bytes).unwrap());
    bytes
}

/// No byte is above 127, and none is a line feed or a carriage return.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 256) as u8 & 0x3f) + 32).collect()
}

fn framings() -> [Framing; 7] {
    let delimiter = |bytes| Framing::from(Delimiter::new(bytes).unwrap());
    [
        Framing::default(),
        LengthPrefix::u24_le().into(),
        LengthPrefix::varint().offset(1).into(),
        LengthPrefix::u64_be().adjustment(-8).into(),
        Framing::lines(),
        Framing::crlf(),
        delimiter(b"\xff\xfe\xff\xfd"),
    ]
}

fn has_length(framing: Framing) -> bool {
    matches!(framing, Framing::LengthPrefix(_))
}

#[test]
fn long_frames_of_every_framing_come_in_parts_and_short_ones_whole() {
    let mut rng = Rng::new(3);
    let near_a_chunk = (CHUNK_LEN - 12..CHUNK_LEN + 3).chain(2 * CHUNK_LEN - 3..2 * CHUNK_LEN + 3);
    let sent: Vec<Vec<u8>> = [0, 1, 300_000, 5].into_iter().chain(near_a_chunk).map(payload).collect();
    for framing in framings() {
        let offset = matches!(framing, Framing::LengthPrefix(prefix) if prefix == LengthPrefix::varint().offset(1));
        let stream = match offset {
            false => encoded(framing, &sent),
            true => sent
                .iter()
                .flat_map(|payload| {
                    [&b"\x30"[..], &encoded(LengthPrefix::varint().into(), std::slice::from_ref(payload))].concat()
                })
                .collect(),
        };
        for piece_max in [CHUNK_LEN / 3, 200_000, usize::MAX / 2] {
            let mut scene = Scene::new(framing, Parts::default());
            let peer = scene.connect();
            assert_eq!(scene.exchange(&peer, &stream, piece_max, &mut rng), b"");
            let taken = scene.taken();
            assert_eq!(taken.len(), sent.len(), "{framing}, in pieces of up to {piece_max}");
            for ((parts, taken), sent) in taken.iter().zip(&sent) {
                assert!(taken == sent, "{} bytes of {framing}, in pieces of up to {piece_max}", sent.len());
                assert!((*parts > 0) >= (sent.len() > CHUNK_LEN), "{} bytes of {framing} came whole", sent.len());
                assert!(*parts == 0 || sent.len() > CHUNK_LEN - 12, "{} bytes of {framing} came in parts", sent.len());
            }
            peer.finish();
            scene.settle();
            assert_eq!(scene.reactor.handler().closed, [CloseReason::PeerFinished]);
            assert_eq!(scene.reactor.stats().frames_in, sent.len() as u64);
        }
    }
}

#[test]
fn frames_longer_than_the_memory_are_echoed_in_parts() {
    let mut rng = Rng::new(4);
    let sent = [payload(3), payload(5 << 20), payload(0), payload(PAYLOAD_MAX as usize), payload(70_000), payload(9)];
    for framing in framings().into_iter().filter(|framing| has_length(*framing)).take(2) {
        let stream = encoded(framing, &sent);
        for send_buffer in [1_000, 1 << 20] {
            let mut scene = Scene::new(framing, Parts { echoes: true, ..Parts::default() });
            scene.sim.set_send_buffer_bytes(send_buffer);
            let peer = scene.connect();
            assert!(scene.exchange(&peer, &stream, 300_000, &mut rng) == stream, "{framing}");
            assert!(scene.taken().into_iter().map(|(_, payload)| payload).eq(sent.iter().cloned()));
        }
    }
}

#[test]
fn part_after_a_pause_waits_for_resume() {
    for framing in [Framing::default(), Framing::lines()] {
        let mut scene = Scene::new(framing, Parts { pauses: true, ..Parts::default() });
        let peer = scene.connect();
        let sent = payload(4 * CHUNK_LEN);
        peer.send(&encoded(framing, std::slice::from_ref(&sent)));
        let id = scene.reactor.handler().open[0];
        let mut before = 0;
        scene.settle();
        while scene.reactor.handler().payloads.is_empty() {
            let parts = scene.reactor.handler().parts;
            assert_eq!(parts, before + 1, "one part for each resume");
            before = parts;
            assert!(scene.reactor.cx().resume(id));
            scene.settle();
        }
        assert!(scene.taken()[0].1 == sent);
        assert!(before >= 3, "{before}");
    }
}

#[test]
fn header_alone_is_an_empty_first_part() {
    let mut scene = Scene::new(LengthPrefix::u32_be().offset(1), Parts::default());
    let peer = scene.connect();
    // A whole frame before it, so that both are in one read.
    scene.sent_now(&peer, b"\x01\0\0\0\x01a\x07\0\x10\0\0");
    let handler = scene.reactor.handler();
    assert_eq!((handler.payloads.len(), handler.parts, handler.bytes.len()), (1, 1, 0));
    assert_eq!(handler.headers, [b"\x07\0\x10\0\0"]);
    scene.sent_now(&peer, &payload(1 << 20));
    assert!(scene.taken().pop().unwrap().1 == payload(1 << 20));
}

#[test]
fn end_inside_a_frame_in_parts_is_a_truncated_frame() {
    for (framing, header) in [(Framing::default(), encode_header(1 << 20).to_vec()), (Framing::lines(), Vec::new())] {
        for paused in [false, true] {
            let mut scene = Scene::new(framing, Parts::default());
            let peer = scene.connect();
            let sent = [&header[..], &payload(100_000)].concat();
            scene.sent_now(&peer, &sent);
            assert!(scene.reactor.handler().parts > 0);
            if paused {
                let id = scene.reactor.handler().open[0];
                scene.reactor.cx().pause(id);
                scene.settle();
            }
            peer.finish();
            scene.settle();
            let received = sent.len();
            assert_eq!(scene.reactor.handler().closed, [CloseReason::TruncatedFrame { received }]);
            assert_eq!(scene.reactor.stats().buffered_bytes, 0);
        }
    }
}

#[test]
fn line_without_an_end_is_refused_at_the_limit_in_parts() {
    for above in [0, 1] {
        let mut scene = Scene::new(Framing::lines(), Parts::default());
        let peer = scene.connect();
        scene.sent_now(&peer, &payload(PAYLOAD_MAX as usize + above));
        peer.send(b"\n");
        scene.settle();
        let handler = scene.reactor.handler();
        assert_eq!(handler.payloads.len(), 1 - above);
        peer.finish();
        scene.settle();
        let closed = scene.reactor.handler_mut().closed.pop().unwrap();
        let is_refused = matches!(closed, CloseReason::FrameTooLong(error) if error.allowed == PAYLOAD_MAX);
        assert_eq!(is_refused, above > 0, "{closed}");
    }
}

#[test]
fn frame_timeout_limits_all_parts_together() {
    let mut scene = Scene::new(Framing::default(), Parts::default());
    let peer = scene.connect();
    peer.send(&encode_header(1 << 20));
    for _ in 0..29 {
        scene.sent_now(&peer, &payload(10_000));
        scene.sim.advance(std::time::Duration::from_secs(1));
        scene.settle();
    }
    assert_eq!(scene.reactor.handler().closed, []);
    scene.sim.advance(std::time::Duration::from_secs(1));
    scene.settle();
    assert_eq!(scene.reactor.handler().closed, [CloseReason::FrameTimeout]);
}

#[test]
fn frame_timeout_stops_while_a_frame_in_parts_is_paused() {
    let mut scene = Scene::new(Framing::default(), Parts::default());
    let peer = scene.connect();
    let id = scene.reactor.handler().open[0];
    let pass = |scene: &mut Scene, seconds: u32| {
        for _ in 0..seconds {
            scene.sim.advance(std::time::Duration::from_secs(1));
            scene.settle();
        }
    };
    scene.sent_now(&peer, &[&encode_header(1 << 20)[..], &payload(10_000)].concat());
    pass(&mut scene, 20);
    scene.reactor.cx().pause(id);
    scene.settle();
    scene.sent_now(&peer, &payload(10_000));
    pass(&mut scene, 60);
    scene.reactor.cx().resume(id);
    scene.settle();
    assert_eq!(scene.reactor.handler().bytes.len(), 20_000);
    pass(&mut scene, 9);
    assert_eq!(scene.reactor.handler().closed, []);
    pass(&mut scene, 1);
    assert_eq!(scene.reactor.handler().closed, [CloseReason::FrameTimeout]);
}

#[test]
fn handler_that_expects_no_parts_aborts() {
    /// It has the default of `on_frame_part`.
    struct Plain(Vec<CloseReason>);

    impl Handler for Plain {
        type State = ();
        type Message = ();

        fn on_open(&mut self, conn: &mut Connection<'_>) {
            assert_eq!(conn.set_limits(conn.limits().frames_in_parts(true)), Ok(()));
        }

        fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}

        fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
            self.0.push(*reason);
        }
    }

    let sim = Sim::new(1);
    let mut reactor = Reactor::with_net(sim.net(), Config::default(), Plain(Vec::new())).unwrap();
    reactor.listen(&sim.addr(7007)).unwrap();
    let peer = sim.connect(7007).unwrap();
    peer.send(&encode_header(100_000));
    assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
    assert_eq!(reactor.handler().0, [CloseReason::AbortedByHandler]);
}
