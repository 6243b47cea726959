//! A last reply to a frame that is not permitted.

use crate::config::Config;
use crate::error::{CloseKind, CloseReason};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Sim, SimNet};
use crate::wire::{Delimiter, Framing, LengthPrefix};
use crate::{Frame, FramePart};

/// Echoes, and replies to a frame that is not permitted with the reason.
#[derive(Default)]
struct Rejecting {
    panics: bool,
    closed: Vec<CloseReason>,
}

impl Handler for Rejecting {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }

    fn on_frame_part(&mut self, _: &mut Connection<'_>, (): &mut (), _: FramePart<'_>) {}

    fn on_frame_rejected(&mut self, conn: &mut Connection<'_>, (): &mut (), reason: &CloseReason) {
        assert!(!self.panics, "told to");
        conn.reply(reason.kind().name().as_bytes()).unwrap();
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }
}

const MAX: u32 = 1_000;

/// Sends `bytes` in pieces of `piece` bytes to a listener with this framing, then FIN. Returns what comes back, and why the connection was closed.
fn exchange(framing: Framing, limits: impl Fn(Limits) -> Limits, bytes: &[u8], piece: usize) -> (Vec<u8>, CloseReason) {
    let sim = Sim::new(3);
    let config = Config::builder().max_payload(MAX).build().unwrap();
    let limits = limits(Limits::of(&config));
    let mut reactor: Reactor<Rejecting, SimNet> = Reactor::with_net(sim.net(), config, Rejecting::default()).unwrap();
    let options = ListenOptions::default().framing(framing).limits(limits);
    reactor.listen_with(&sim.addr(1), options).unwrap();
    let peer = sim.connect(1).unwrap();
    let mut received = Vec::new();
    for piece in bytes.chunks(piece) {
        peer.send(piece);
        assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
        received.extend(peer.receive());
    }
    peer.finish();
    assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
    received.extend(peer.receive());
    reactor.check_invariants();
    assert_eq!(reactor.handler().closed.len(), 1, "{framing}");
    (received, reactor.handler().closed[0])
}

#[test]
fn rejected_frame_gets_a_last_reply_behind_those_before() {
    let adjusted = LengthPrefix::u32_be().adjustment(-4);
    let lines = Framing::lines();
    let end = Framing::from(Delimiter::new(b"\r\n\r\n").unwrap().keep(true));
    let whole = |framing: Framing, payload: &[u8]| {
        let mut bytes = Vec::new();
        framing.encode(payload, &mut bytes).unwrap();
        bytes
    };
    let long_line = [b'x'; MAX as usize + 1].to_vec();
    let cases = [
        (Framing::default(), 1_001_u32.to_be_bytes().to_vec(), CloseKind::FrameTooLong),
        (Framing::default(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), CloseKind::FrameTooLong),
        (adjusted.into(), 3_u32.to_be_bytes().to_vec(), CloseKind::InvalidLength),
        (LengthPrefix::varint().into(), vec![0xff; 10], CloseKind::FrameTooLong),
        (lines, long_line.clone(), CloseKind::FrameTooLong),
        (end, long_line, CloseKind::FrameTooLong),
    ];
    for (framing, rejected, kind) in cases {
        for (before, piece) in [(0, 1), (0, 5_000), (3, 1), (3, 7), (3, 5_000)] {
            let payload = if framing == end { &b"abc\r\n\r\n"[..] } else { b"abc" };
            let frames = whole(framing, payload).repeat(before);
            // Bytes behind the rejected ones are discarded.
            let sent = [&frames, &rejected, &b"more"[..]].concat();
            let (received, reason) = exchange(framing, |limits| limits, &sent, piece);
            let expected = [frames, whole(framing, kind.name().as_bytes())].concat();
            assert_eq!((received, reason.kind()), (expected, kind), "{framing}, {before} before, pieces of {piece}");
        }
    }
}

#[test]
fn rejected_frame_longer_than_a_chunk_gets_a_last_reply() {
    let reply = |framing: Framing| {
        let mut bytes = Vec::new();
        framing.encode(b"frame too long", &mut bytes).unwrap();
        bytes
    };
    let endless = vec![b'x'; 300_000];
    for in_parts in [false, true] {
        let limits = |limits: Limits| limits.frames_in_parts(in_parts).max_payload(200_000);
        for piece in [1_000, 60_000, 400_000] {
            let (received, reason) = exchange(Framing::lines(), limits, &endless, piece);
            assert_eq!(received, reply(Framing::lines()), "in parts: {in_parts}, pieces of {piece}");
            assert_eq!(reason.kind(), CloseKind::FrameTooLong);
        }
    }
}

#[test]
fn panic_in_the_last_reply_closes_only_its_connection() {
    let sim = Sim::new(3);
    let handler = Rejecting { panics: true, ..Rejecting::default() };
    let config = Config::builder().max_payload(MAX).build().unwrap();
    let mut reactor = Reactor::with_net(sim.net(), config, handler).unwrap();
    reactor.listen(&sim.addr(1)).unwrap();
    let [bad, good] = [(); 2].map(|()| sim.connect(1).unwrap());
    bad.send(&u32::MAX.to_be_bytes());
    good.send(b"\0\0\0\x02hi");
    bad.finish();
    assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
    assert_eq!((bad.receive(), good.receive()), (Vec::new(), b"\0\0\0\x02hi".to_vec()));
    assert_eq!(reactor.handler().closed, [CloseReason::HandlerPanicked]);
}
