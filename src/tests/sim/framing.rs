//! Framings of listeners, dials and connections: frames in any pieces, long ones, and a framing that changes between two frames.

use std::slice::from_ref;

use crate::address::Dial;
use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::error::{CloseReason, DialRefused, SendError};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, ListenerId};
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Peer, Rng, Sim, SimNet};
use crate::tests::sim::exchange;
use crate::wire::{Delimiter, Framing, LengthPrefix};
use crate::{Frame, NotForwarded};

/// Notes the payloads, and replies as a test says.
struct Noting {
    how: How,
    headers: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    closed: Vec<CloseReason>,
    listeners: Vec<Option<ListenerId>>,
    names: Vec<String>,
    open: Vec<ConnId>,
}

#[derive(Clone, Copy)]
enum How {
    Echo,
    Copy,
    Share,
    /// To the connection that was opened first.
    Forward,
    /// To its own connection, whose replies are lines from then on.
    ForwardAsLine,
    /// A line `N` announces a body of N bytes, which is replied with as it is. `raw` ends the lines.
    Bodies,
    /// The same framing anew for each frame.
    Reframe,
}

impl Handler for Noting {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.listeners.push(conn.listener());
        self.names.push(conn.listener_name().to_owned());
        self.open.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let payload = frame.payload_chunks().collect::<Vec<_>>().concat();
        assert!(payload == frame.payload() && payload.len() == frame.payload_len());
        self.headers.push(frame.header().to_vec());
        self.payloads.push(payload.clone());
        let sent = match self.how {
            How::Echo => conn.reply_frame(frame),
            How::Copy => conn.reply(&payload),
            How::Share => conn.reply_shared(payload.into()),
            How::Forward => {
                let sent = conn.cx().forward(frame, self.open[0]);
                sent.map_err(|NotForwarded { error, .. }| error)
            }
            How::ForwardAsLine => {
                conn.set_framing(Framing::lines()).unwrap();
                let id = conn.id();
                let sent = conn.cx().forward(frame, id);
                sent.map_err(|NotForwarded { error, .. }| error)
            }
            How::Reframe => {
                conn.set_framing(conn.framing()).unwrap();
                conn.reply_frame(frame)
            }
            How::Bodies if conn.framing() != Framing::lines() => {
                if conn.framing() != Framing::Raw {
                    conn.set_framing(Framing::lines()).unwrap();
                }
                conn.reply(&payload)
            }
            How::Bodies => {
                let next = match str::from_utf8(&payload).unwrap() {
                    "raw" => Framing::Raw,
                    len => Framing::Exact(len.parse().unwrap()),
                };
                conn.set_framing(next).unwrap();
                Ok(())
            }
        };
        assert_eq!(sent, Ok(()));
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Noting, SimNet>,
}

const MIB: u32 = 1 << 20;

impl Scene {
    fn new(how: How) -> Self {
        let (sim, closed) = (Sim::new(5), Vec::new());
        let (headers, payloads, listeners, names, open) = Default::default();
        let handler = Noting { how, headers, payloads, closed, listeners, names, open };
        let config = Config::builder().max_payload(MIB).build().unwrap();
        Self { reactor: Reactor::with_net(sim.net(), config, handler).unwrap(), sim }
    }

    fn listen(&mut self, port: u16, framing: impl Into<Framing>) -> ListenerId {
        let options = ListenOptions::default().framing(framing.into()).name(format!("port {port}"));
        self.reactor.listen_with(&self.sim.addr(port), options).unwrap().id
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    /// Sends `bytes` in pieces of any length up to `piece_max`, and reads what comes.
    fn exchange(&mut self, peer: &Peer, bytes: &[u8], piece_max: usize, rng: &mut Rng) -> Vec<u8> {
        exchange(peer, bytes, piece_max, rng, || self.receive(peer))
    }

    /// All that comes for a peer.
    fn receive(&mut self, peer: &Peer) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            self.settle();
            let more = peer.receive();
            if more.is_empty() {
                return received;
            }
            received.extend(more);
        }
    }

    fn taken(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.reactor.handler_mut().payloads)
    }
}

fn delimiter(bytes: &[u8]) -> Framing {
    Delimiter::new(bytes).unwrap().into()
}

fn encoded(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    payloads.iter().for_each(|payload| framing.encode(payload, &mut bytes).unwrap());
    bytes
}

/// No byte is above 127.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8 & 0x7f).collect()
}

fn framings() -> [Framing; 7] {
    [
        Framing::default(),
        LengthPrefix::u24_le().into(),
        LengthPrefix::varint().into(),
        LengthPrefix::u64_be().adjustment(-8).into(),
        delimiter(b"\xff"),
        delimiter(b"\xff\xfe\xff\xfd"),
        keeping(),
    ]
}

fn keeping() -> Framing {
    Delimiter::new(b"\xff\xff").unwrap().keep(true).into()
}

#[test]
fn every_framing_echoes_short_and_long_frames_in_any_pieces() {
    let mut rng = Rng::new(8);
    let near_a_chunk = [CHUNK_LEN - 9, CHUNK_LEN - 4, CHUNK_LEN - 2, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1];
    let lens = [0, 1, 2, 127, 128, 300, 5_000, 2 * CHUNK_LEN, 300_000].into_iter().chain(near_a_chunk);
    let sent: Vec<Vec<u8>> = lens.map(payload).collect();
    for how in [How::Echo, How::Copy, How::Share, How::Reframe] {
        for framing in framings() {
            let mut scene = Scene::new(how);
            scene.listen(7007, framing);
            let keeps = framing == keeping();
            let with_end = |payload: &Vec<u8>| [payload, &b"\xff\xff"[..]].concat();
            let expected: Vec<Vec<u8>> = if keeps { sent.iter().map(with_end).collect() } else { sent.clone() };
            let stream = encoded(framing, &expected);
            for piece_max in [CHUNK_LEN / 3, 200_000, usize::MAX / 2] {
                let peer = scene.sim.connect(7007).unwrap();
                let received = scene.exchange(&peer, &stream, piece_max, &mut rng);
                assert!(scene.taken() == expected, "{framing}, in pieces of up to {piece_max}");
                assert!(received == stream, "{framing}, in pieces of up to {piece_max}");
                peer.finish();
                scene.settle();
                assert_eq!(scene.reactor.handler_mut().closed.pop(), Some(CloseReason::PeerFinished));
            }
            assert_eq!(scene.reactor.stats().buffered_bytes, 0);
        }
    }
}

#[test]
fn long_frame_that_ends_at_any_byte_of_a_read_is_followed_by_others() {
    let mut rng = Rng::new(2);
    let framing = delimiter(b"\xff\xfe\xfd");
    let mut scene = Scene::new(How::Echo);
    scene.listen(7007, framing);
    for len in (CHUNK_LEN - 8..CHUNK_LEN + 8).chain(2 * CHUNK_LEN - 8..2 * CHUNK_LEN + 8) {
        let sent = [payload(len), payload(3), payload(0), payload(len + 1), payload(7)];
        let stream = encoded(framing, &sent);
        let peer = scene.sim.connect(7007).unwrap();
        assert!(scene.exchange(&peer, &stream, usize::MAX / 2, &mut rng) == stream, "{len}");
        assert!(scene.taken() == sent, "{len}");
    }
}

#[test]
fn frame_without_a_delimiter_is_refused_at_the_limit() {
    for limit in [0, 5, CHUNK_LEN as u32 - 3, CHUNK_LEN as u32, 200_000] {
        let mut scene = Scene::new(How::Echo);
        let limits = Limits::of(&Config::builder().max_payload(limit).build().unwrap());
        let options = ListenOptions::default().framing(Framing::crlf()).limits(limits);
        scene.reactor.listen_with(&scene.sim.addr(7007), options).unwrap();
        let peer = scene.sim.connect(7007).unwrap();
        let longest = [payload(limit as usize), b"\r\n".to_vec()].concat();
        peer.send(&longest);
        assert!(scene.receive(&peer) == longest, "a limit of {limit}");
        peer.send(&payload(limit as usize + 1));
        assert_eq!(scene.reactor.handler().closed, [], "a limit of {limit}");
        peer.send(b"\r");
        scene.settle();
        peer.finish();
        scene.settle();
        let Some(CloseReason::FrameTooLong(error)) = scene.reactor.handler_mut().closed.pop() else {
            panic!("it is open, with a limit of {limit}")
        };
        assert_eq!((error.announced(), error.allowed), (u64::from(limit) + 1, limit));
    }
}

#[test]
fn length_below_its_adjustment_closes_the_connection() {
    let mut scene = Scene::new(How::Echo);
    scene.listen(7007, LengthPrefix::u32_be().adjustment(-4));
    let peer = scene.sim.connect(7007).unwrap();
    peer.send(b"\0\0\0\x05a\0\0\0\x03");
    assert_eq!(scene.receive(&peer), b"\0\0\0\x05a");
    peer.finish();
    scene.settle();
    let closed = &scene.reactor.handler().closed;
    assert!(matches!(closed[..], [CloseReason::InvalidLength(error)] if error.announced() == 3), "{closed:?}");
}

#[test]
fn header_before_the_payload_is_there_for_the_handler() {
    let mut scene = Scene::new(How::Echo);
    scene.listen(7007, LengthPrefix::varint().offset(1));
    let peer = scene.sim.connect(7007).unwrap();
    let long = [&b"\x30\xe0\xa7\x12"[..], &payload(300_000)].concat();
    let stream = [&b"\x10\x02hi\xc0\x00"[..], &long].concat();
    assert_eq!(300_000, 0x60 + (0x27 << 7) + (0x12 << 14));
    peer.send(&stream);
    assert!(scene.receive(&peer) == stream);
    let handler = scene.reactor.handler();
    assert_eq!(handler.headers, [&b"\x10\x02"[..], b"\xc0\x00", b"\x30\xe0\xa7\x12"]);
    assert!(handler.payloads == [b"hi".to_vec(), vec![], payload(300_000)]);
}

#[test]
fn raw_bytes_are_delivered_as_they_arrive() {
    let mut scene = Scene::new(How::Copy);
    scene.listen(7007, Framing::Raw);
    let peer = scene.sim.connect(7007).unwrap();
    for piece in [&b"a"[..], b"bc", &payload(3 * CHUNK_LEN)] {
        peer.send(piece);
        assert!(scene.receive(&peer) == piece);
        let taken = scene.taken();
        assert!(taken.concat() == piece && taken.iter().all(|part| (1..=CHUNK_LEN).contains(&part.len())));
    }
    peer.finish();
    scene.settle();
    assert_eq!(scene.reactor.handler().closed, [CloseReason::PeerFinished]);
}

#[test]
fn framing_changes_between_two_frames_of_one_read() {
    let body = payload(200_000);
    let stream = [&b"3\nabc5\r\nhello1\nx200000\n"[..], &body, b"2\n\n\nraw\nlines\nno more\n"].concat();
    let mut rng = Rng::new(4);
    for piece_max in [3, 70, 5_000, 100_000, usize::MAX / 2] {
        let mut scene = Scene::new(How::Bodies);
        scene.listen(7007, Framing::lines());
        let peer = scene.sim.connect(7007).unwrap();
        let (short, long) = stream.split_at(22);
        let mut received = scene.exchange(&peer, short, piece_max, &mut rng);
        received.extend(scene.exchange(&peer, long, piece_max.max(5_000), &mut rng));
        // Replies to bodies are lines, because the framing has changed before them.
        let expected = [&b"abc\nhello\nx\n"[..], &body, b"\n\n\n\nlines\nno more\n"].concat();
        assert!(received == expected, "in pieces of up to {piece_max}: {}", received.len());
        let bodies: Vec<u8> = scene.taken().concat();
        let all = [&b"3abc5hello1x200000"[..], &body, b"2\n\nrawlines\nno more\n"].concat();
        assert!(bodies == all, "in pieces of up to {piece_max}");
    }
}

#[test]
fn exact_length_above_the_limit_closes_the_connection() {
    let mut scene = Scene::new(How::Bodies);
    scene.listen(7007, Framing::lines());
    let peer = scene.sim.connect(7007).unwrap();
    peer.send(b"1048577\nx");
    scene.settle();
    peer.finish();
    scene.settle();
    let closed = &scene.reactor.handler().closed;
    assert!(matches!(closed[..], [CloseReason::FrameTooLong(error)] if error.announced() == 1_048_577), "{closed:?}");
}

#[test]
fn forwarded_frame_has_the_framing_of_its_receiver() {
    let lens = [0, 1, 300, 5_000, CHUNK_LEN - 4, CHUNK_LEN, 300_000];
    let sent: Vec<Vec<u8>> = lens.into_iter().map(payload).collect();
    for to in framings() {
        for from in framings() {
            let mut scene = Scene::new(How::Forward);
            scene.listen(7007, to);
            scene.listen(7008, from);
            let receiver = scene.sim.connect(7007).unwrap();
            scene.settle();
            let sender = scene.sim.connect(7008).unwrap();
            for payload in &sent {
                let mut rng = Rng::new(9);
                // A kept delimiter is a part of the payload.
                let payload = if from == keeping() { [payload, &b"\xff\xff"[..]].concat() } else { payload.clone() };
                scene.exchange(&sender, &encoded(from, from_ref(&payload)), CHUNK_LEN / 2, &mut rng);
                assert!(scene.taken() == [&payload[..]]);
                let expected = encoded(to, from_ref(&payload));
                assert!(scene.receive(&receiver) == expected, "{} bytes from {from} to {to}", payload.len());
            }
            assert_eq!(scene.reactor.stats().buffered_bytes, 0, "{from} to {to}");
        }
    }
}

#[test]
fn frame_forwarded_to_its_own_sender_has_the_framing_set_before() {
    for len in [0, 5, 5_000, 300_000] {
        for from in framings() {
            let mut scene = Scene::new(How::ForwardAsLine);
            scene.listen(7007, from);
            let peer = scene.sim.connect(7007).unwrap();
            let payload = if from == keeping() { [payload(len), vec![0xff; 2]].concat() } else { payload(len) };
            peer.send(&encoded(from, from_ref(&payload)));
            assert!(scene.receive(&peer) == [&payload[..], b"\n"].concat(), "{len} bytes from {from}");
        }
    }
}

#[test]
fn empty_message_without_a_header_is_no_output() {
    let mut scene = Scene::new(How::Echo);
    scene.listen(7007, Framing::Raw);
    let peer = scene.sim.connect(7007).unwrap();
    scene.settle();
    let id = scene.reactor.handler().open[0];
    for _ in 0..2 {
        assert_eq!(scene.reactor.cx().send(id, b""), Ok(()));
        scene.reactor.check_invariants();
        assert_eq!(scene.receive(&peer), b"");
    }
    assert_eq!(scene.reactor.cx().send(id, b"a"), Ok(()));
    assert_eq!(scene.reactor.cx().send(id, b""), Ok(()));
    assert_eq!(scene.receive(&peer), b"a");
}

#[test]
fn two_listeners_have_their_own_framings_and_names() {
    let mut scene = Scene::new(How::Echo);
    let lines = scene.listen(7007, Framing::lines());
    let frames = scene.listen(7008, Framing::default());
    assert_ne!(lines, frames);
    let clients = [7008, 7007, 7008].map(|port| scene.sim.connect(port).unwrap());
    for (client, bytes) in clients.iter().zip([&b"\0\0\0\x01\n"[..], b"\0\0\0\x01\n", b"\0\0\0\0"]) {
        client.send(bytes);
        assert_eq!(scene.receive(client), bytes);
    }
    let handler = scene.reactor.handler();
    assert_eq!(handler.payloads, [&b"\n"[..], b"\0\0\0\x01", b""]);
    let mut listeners = handler.listeners.clone();
    listeners.sort();
    assert_eq!(listeners, [Some(lines), Some(frames), Some(frames)]);
    for (listener, name) in handler.listeners.iter().zip(&handler.names) {
        assert_eq!(name, if *listener == Some(lines) { "port 7007" } else { "port 7008" });
    }
}

#[test]
fn listener_that_is_closed_leaves_its_connections_and_its_queue() {
    let mut scene = Scene::new(How::Echo);
    let closing = scene.listen(7007, Framing::lines());
    scene.listen(7008, Framing::default());
    let open = scene.sim.connect(7007).unwrap();
    scene.settle();
    let waiting = scene.sim.connect(7007).unwrap();
    waiting.send(b"still\n");
    assert!(scene.reactor.unlisten(closing));
    assert!(!scene.reactor.unlisten(closing), "once");
    assert!(scene.sim.connect(7007).is_none());
    scene.settle();
    assert_eq!(scene.receive(&waiting), b"still\n", "it waited in the queue");
    open.send(b"here\n");
    assert_eq!(scene.receive(&open), b"here\n");

    // The port is free again, for another framing.
    let again = scene.listen(7007, Framing::Raw);
    assert!(again > closing);
    let raw = scene.sim.connect(7007).unwrap();
    raw.send(b"no line");
    assert_eq!(scene.receive(&raw), b"no line");

    // From a callback or between turns, all of them.
    scene.reactor.cx().unlisten_all();
    scene.settle();
    assert!(scene.sim.connect(7007).is_none() && scene.sim.connect(7008).is_none());
    raw.send(b"on");
    assert_eq!(scene.receive(&raw), b"on");
    scene.reactor.unlisten_all();
    scene.settle();
}

#[test]
fn dialed_connection_has_the_framing_and_limits_of_its_dial() {
    let mut scene = Scene::new(How::Echo);
    let backend = scene.sim.addr(9000);
    let limits = Limits::of(&Config::builder().max_payload(3).build().unwrap());
    scene.reactor.cx().dial(Dial::to(backend.clone()).framing(Framing::lines()).limits(limits)).unwrap();
    scene.settle();
    let peer = scene.sim.dialed().unwrap();
    peer.send(b"abc\nabcd\n");
    assert_eq!(scene.receive(&peer), b"abc\n");
    peer.finish();
    scene.settle();
    let handler = scene.reactor.handler();
    assert!(matches!(handler.closed[..], [CloseReason::FrameTooLong(_)]), "{:?}", handler.closed);
    assert_eq!(handler.listeners, [None]);

    let refused = |dial: Dial, reactor: &mut Reactor<Noting, SimNet>| reactor.cx().dial(dial);
    for dial in [
        Dial::to(backend.clone()).framing(Framing::Exact(0)),
        Dial::to(backend.clone()).limits(limits.output_high_water(0)),
        Dial::to(backend).timeout(std::time::Duration::ZERO),
    ] {
        assert!(matches!(refused(dial, &mut scene.reactor), Err(DialRefused::Config(_))));
    }
}

#[test]
fn payload_that_the_field_cannot_announce_is_refused() {
    let mut scene = Scene::new(How::Echo);
    scene.listen(7007, LengthPrefix::u8().adjustment(2));
    let peer = scene.sim.connect(7007).unwrap();
    scene.settle();
    let id = scene.reactor.handler().open[0];
    for (len, expected) in [
        (0, Err(SendError::TooShort { len: 0, min: 2 })),
        (1, Err(SendError::TooShort { len: 1, min: 2 })),
        (2, Ok(())),
        (257, Ok(())),
        (258, Err(SendError::TooLong { len: 258, max: 257 })),
    ] {
        assert_eq!(scene.reactor.cx().send(id, &payload(len)), expected);
        assert_eq!(scene.reactor.cx().send_shared(id, payload(len).into()), expected);
    }
    let reached = scene.reactor.cx().broadcast_all(&payload(258));
    assert_eq!((reached.queued, reached.unfit), (0, 1));
    scene.settle();
    let frames =
        encoded(LengthPrefix::u8().adjustment(2).into(), &[payload(2), payload(2), payload(257), payload(257)]);
    assert_eq!(scene.receive(&peer), frames);
}
