//! A peer: what kind it is, what it has said, what it has heard.

use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use crate::sim::{Peer, Rng, Sim};
use crate::tests::sim::campaign::heard::{first_frame, serial_to_all};
use crate::tests::sim::campaign::oracle::Overdue;
use crate::tests::sim::campaign::script::Script;
use crate::tests::sim::campaign::scripted_handler::{ScriptedHandler, ip_of};
use crate::wire::{Framing, HEADER_LEN};

/// How a peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Waits for each answer before it asks again.
    Honest,
    /// Sends whatever it can, and does not wait.
    Pipelining,
    /// Sends and reads a few bytes at a time.
    Dripping,
    /// Never reads.
    Deaf,
    /// Sends FIN behind its last byte, between frames or inside one, and reads on.
    HalfClosing,
    /// Resets the connection sooner or later; before that, perhaps, FIN.
    Resetting,
    /// Announces more than is allowed.
    Lying,
    /// Speaks HTTP, TLS or SSH.
    Foreign,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Honest,
        Self::Pipelining,
        Self::Dripping,
        Self::Deaf,
        Self::HalfClosing,
        Self::Resetting,
        Self::Lying,
        Self::Foreign,
    ];

    pub(super) fn any(rng: &mut Rng) -> Self {
        match rng.below(16) {
            0..=2 => Self::Honest,
            3..=6 => Self::Pipelining,
            7 | 8 => Self::Dripping,
            rest => Self::ALL[rest % 5 + 3],
        }
    }

    pub(super) fn script(self, framing: Framing, rng: &mut Rng, payload_max: usize) -> Script {
        match self {
            Self::Honest | Self::Deaf | Self::Pipelining | Self::Resetting => {
                Script::new(framing, rng, 20, payload_max)
            }
            Self::Dripping => Script::new(framing, rng, 6, payload_max.min(100)),
            Self::HalfClosing => {
                let script = Script::new(framing, rng, 10, payload_max);
                let mut incomplete = Vec::new();
                assert_eq!(framing.encode(&vec![0; payload_max], &mut incomplete), Ok(()));
                let len = [0, rng.between(1, HEADER_LEN + 30)][rng.below(2)];
                script.with_incomplete(&incomplete[..len])
            }
            Self::Foreign if framing == Framing::default() => {
                let words: [&[u8]; 3] =
                    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n"];
                let bytes = words[rng.below(3)];
                let announced = bytes.first_chunk().map_or(0, |header| u32::from_be_bytes(*header));
                Script::new(framing, rng, 1, payload_max).with_refused(bytes, HEADER_LEN, announced.into())
            }
            Self::Lying | Self::Foreign => lying(framing, rng, payload_max),
        }
    }

    /// The most bytes that it sends at a time, and reads at a time.
    fn pieces(self, rng: &mut Rng) -> (usize, usize) {
        match self {
            Self::Dripping => (rng.between(1, 3), [5, 1 << 20][rng.below(2)]),
            Self::Honest => (1 << 20, 1 << 20),
            _ => ([10, 5_000, 1 << 20][rng.below(3)], [20, 10_000, 1 << 20][rng.below(3)]),
        }
    }
}

/// Frames, and then one that is longer than allowed.
fn lying(framing: Framing, rng: &mut Rng, payload_max: usize) -> Script {
    let script = Script::new(framing, rng, 5, payload_max);
    if let Framing::Delimiter(delimiter) = framing {
        let len = payload_max + delimiter.bytes().len();
        return script.with_refused(&vec![0; len + rng.below(100)], len, payload_max as u64 + 1);
    }
    let above = [1, 1 + rng.below(1 << 20), u32::MAX as usize][rng.below(3)];
    let announced = (payload_max + above).min(u32::MAX as usize).min(*framing.payload_lens().end() as usize);
    let head = framing.enclose(announced).map_or_else(|error| panic!("{error}"), |around| around.head().to_vec());
    script.with_refused(&[&head[..], &vec![0; rng.below(100)]].concat(), head.len(), announced as u64)
}

pub(super) struct Actor {
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) peer: Peer,
    pub(super) script: Rc<Script>,
    /// How much of the script was read before the connection was adopted.
    pub(super) read_before: usize,
    /// How much of the script is sent.
    pub(super) sent: usize,
    /// How much of it was sent when FIN was.
    pub(super) fin_at: Option<usize>,
    pieces: (usize, usize),
    /// Received, and not a whole frame.
    pub(super) incomplete: Vec<u8>,
    /// Frames received, but for those sent to all.
    pub(super) heard: usize,
    last_to_all: u64,
    pub(super) last_read_at: Instant,
    /// When the first byte of the frame was sent that is not whole.
    pub(super) frame_began_at: Instant,
    pub(super) overdue: Overdue,
}

impl Actor {
    /// Connects a new peer; `None` if the reactor does not listen any more.
    pub(super) fn connect(
        sim: &Sim,
        (port, framing): (u16, Framing),
        rng: &mut Rng,
        number: usize,
        payload_max: usize,
    ) -> Option<Self> {
        let kind = Kind::any(rng);
        let peer = sim.connect_from(port, ip_of(number))?;
        let script = Rc::new(kind.script(framing, rng, payload_max));
        Some(Self::new(sim, rng, number, kind, peer, script))
    }

    /// A peer with a script, of which nothing is sent yet.
    pub(super) fn new(sim: &Sim, rng: &mut Rng, number: usize, kind: Kind, peer: Peer, script: Rc<Script>) -> Self {
        Self {
            number,
            kind,
            peer,
            script,
            read_before: 0,
            sent: 0,
            fin_at: None,
            pieces: kind.pieces(rng),
            incomplete: Vec::new(),
            heard: 0,
            last_to_all: 0,
            last_read_at: sim.now(),
            frame_began_at: sim.now(),
            overdue: Overdue::default(),
        }
    }

    pub(super) fn is_done_sending(&self) -> bool {
        self.sent == self.script.bytes().len() || self.fin_at.is_some()
    }

    /// Sends the next piece, if it is its turn to speak. Returns how much that was.
    pub(super) fn send(&mut self, rng: &mut Rng, now: Instant) -> usize {
        let whole = self.script.frames_within(self.sent);
        let waits = self.kind == Kind::Honest && self.script.incomplete_len(self.sent) == 0 && self.heard < whole;
        if waits || self.is_done_sending() {
            return 0;
        }
        let mut len = rng.between(1, self.pieces.0);
        if self.kind == Kind::Honest {
            // No more than the frame.
            len = len.min(self.script.frame(whole).map_or(usize::MAX, |frame| frame.len()));
        }
        // A read may have to stop in the middle.
        let mark = if rng.chance(100) { rng.below(len + 1) } else { 0 };
        let before = self.send_some(mark, now);
        if before > 0 {
            self.peer.mark();
        }
        let len = before + self.send_some(len - mark, now);
        if self.kind == Kind::HalfClosing && self.is_done_sending() {
            self.finish();
        }
        len
    }

    /// Sends at most `len_max` bytes, at any time.
    pub(super) fn send_some(&mut self, len_max: usize, now: Instant) -> usize {
        let rest = &self.script.bytes()[self.sent..];
        let len = len_max.min(rest.len());
        if self.fin_at.is_some() || len == 0 {
            return 0;
        }
        self.peer.send(&rest[..len]);
        let is_new_frame = self.script.incomplete_len(self.sent) == 0
            || self.script.frames_within(self.sent) < self.script.frames_within(self.sent + len);
        if is_new_frame {
            self.frame_began_at = now;
        }
        self.sent += len;
        len
    }

    pub(super) fn finish(&mut self) {
        if self.fin_at.is_none() {
            self.fin_at = Some(self.sent);
            self.peer.finish();
        }
    }

    /// Ends in its way, if it is time for that. Returns how.
    pub(super) fn end(&mut self, rng: &mut Rng) -> Option<&'static str> {
        if self.kind == Kind::Resetting {
            let is_between_frames = self.script.incomplete_len(self.sent) == 0;
            if self.fin_at.is_none() && (is_between_frames || rng.chance(300)) {
                self.finish();
                return Some("finishes");
            }
            self.peer.reset();
            return Some("resets");
        }
        if !self.is_done_sending() || self.fin_at.is_some() {
            return None;
        }
        self.finish();
        Some("finishes")
    }

    /// Reads a piece, and compares it with the expected frames. Returns its length.
    pub(super) fn receive(&mut self, rng: &mut Rng, now: Instant, handler: &mut ScriptedHandler) -> usize {
        let len = rng.between(1, self.pieces.1);
        self.receive_some(len, now, handler)
    }

    pub(super) fn receive_some(&mut self, len_max: usize, now: Instant, handler: &mut ScriptedHandler) -> usize {
        if self.kind == Kind::Deaf {
            return 0;
        }
        let bytes = self.peer.receive_some(len_max);
        if !bytes.is_empty() {
            self.last_read_at = now;
        }
        self.incomplete.extend(&bytes);
        let received = std::mem::take(&mut self.incomplete);
        let mut rest = received.as_slice();
        while let Some((frame_len, _)) = first_frame(self.script.framing, rest) {
            let (frame, after) = rest.split_at(frame_len);
            self.hear(frame, handler);
            rest = after;
        }
        self.incomplete = rest.to_vec();
        bytes.len()
    }

    /// Checks that a whole frame is the next expected one, or one that was sent to all.
    fn hear(&mut self, frame: &[u8], handler: &mut ScriptedHandler) {
        let heard = &handler.records[self.number];
        if heard.expects(self.heard, frame) {
            self.heard += 1;
            return;
        }
        let serial = serial_to_all(self.script.framing, frame);
        let Some(serial) = serial else {
            panic!("{self} received a frame of {} bytes that is not the next expected one", frame.len())
        };
        assert!(serial > self.last_to_all, "{self} received a broadcast twice, or behind a later one");
        self.last_to_all = serial;
        match handler.broadcasts.get_mut(&serial) {
            Some((queued, heard)) if *heard < *queued => *heard += 1,
            _ => panic!("{self} received a broadcast that was not queued for it"),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} ({:?})", self.number, self.kind)
    }
}
