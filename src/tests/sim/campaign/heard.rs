//! What the handler knows of each peer: what it was handed, what it has queued, and how it ended.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use crate::conn::handover::Handover;
use crate::conn::sink::Drain;
use crate::error::CloseReason;
use crate::id::ConnId;
use crate::options::Limits;
use crate::tests::sim::campaign::script::Script;
use crate::wire::Framing;

/// One peer, as its handler sees it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) name: String,
    pub(super) script: Rc<Script>,
    pub(super) life: Life,
    /// Those of its connection, if its handler has changed them.
    pub(super) limits: Option<Limits>,
    /// Frames that were delivered.
    pub(super) taken: usize,
    pub(super) taken_in_turn: usize,
    /// The bytes of a frame that is delivered in parts.
    pub(super) parts: Vec<u8>,
    pub(super) is_in_parts: bool,
    pub(super) part_header_len: usize,
    /// Its last expected frame is not all queued.
    pub(super) is_reply_unfinished: bool,
    /// Frames that are queued, in their order, but for broadcasts.
    pub(super) expected: Vec<Expected>,
    pub(super) is_paused: bool,
    pub(super) was_paused: bool,
    pub(super) resumes: usize,
    /// A frame was refused at the high-water mark, and `on_writable` was not called since.
    pub(super) waits_for_low_water: bool,
    pub(super) was_closed: bool,
    pub(super) was_aborted: bool,
    pub(super) has_panicked: bool,
    pub(super) was_detached: bool,
    /// Its handler has half-closed it, when nothing was to end it.
    pub(super) was_finished: bool,
    /// How often its peer's FIN was reported.
    pub(super) half_closes: usize,
    /// Whole frames that had arrived when the reactor began to drain.
    pub(super) frames_at_drain: usize,
    /// The reply of its handler to a drain.
    pub(super) reply_to_drain: Option<Drain>,
    /// What its handler was handed with its socket.
    pub(super) handover: Option<Handover>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Not yet open, or refused.
    Waiting,
    /// `on_open` panicked.
    Stillborn,
    Open(ConnId),
    Ended {
        reason: CloseReason,
        at: Instant,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// The answer to the script's frame of this number.
    Answer(usize),
    /// A frame that was not asked for.
    Unasked(u64),
    /// The payload of another peer's frame.
    Forwarded(Vec<u8>),
}

impl Heard {
    pub(super) fn new(name: String, script: Rc<Script>) -> Self {
        Self {
            name,
            script,
            life: Life::Waiting,
            limits: None,
            taken: 0,
            taken_in_turn: 0,
            parts: Vec::new(),
            is_in_parts: false,
            part_header_len: 0,
            is_reply_unfinished: false,
            expected: Vec::new(),
            is_paused: false,
            was_paused: false,
            resumes: 0,
            waits_for_low_water: false,
            was_closed: false,
            was_aborted: false,
            has_panicked: false,
            was_detached: false,
            was_finished: false,
            half_closes: 0,
            frames_at_drain: 0,
            reply_to_drain: None,
            handover: None,
        }
    }

    /// Whether something other than its peer is to end it.
    pub(super) fn is_ending(&self) -> bool {
        self.was_closed || self.was_aborted || self.has_panicked || self.was_detached
    }

    /// How many bytes of the script were delivered, in frames and in parts.
    pub(super) fn delivered(&self) -> usize {
        let frames = self.taken.checked_sub(1).and_then(|last| self.script.frame_end(last)).unwrap_or(0);
        frames + if self.is_in_parts { self.part_header_len + self.parts.len() } else { 0 }
    }

    pub(super) fn open_id(&self) -> Option<ConnId> {
        match self.life {
            Life::Open(id) => Some(id),
            Life::Waiting | Life::Stillborn | Life::Ended { .. } => None,
        }
    }

    /// Whether `frame` is the one that is expected after `count` others.
    pub(super) fn expects(&self, count: usize, frame: &[u8]) -> bool {
        match self.expected.get(count) {
            Some(Expected::Answer(number)) => self.script.frame(*number) == Some(frame),
            Some(Expected::Unasked(serial)) => encoded(self.script.framing, &unasked(UNASKED, *serial)) == frame,
            Some(Expected::Forwarded(payload)) => encoded(self.script.framing, payload) == frame,
            None => false,
        }
    }
}

/// The first byte of an unsolicited payload, and of one that is sent to all.
pub(super) const UNASKED: u8 = 0x6e;
pub(super) const TO_ALL: u8 = 0x6f;

/// An unsolicited payload: its number, and bytes up to a length that depends on the number.
pub(super) fn unasked(mark: u8, serial: u64) -> Vec<u8> {
    let len_max = [20, 300, 6_000][(serial % 3) as usize];
    let mut payload = vec![serial as u8 & 0x7f; 9 + (serial as usize * 7_919) % len_max];
    payload[0] = mark;
    // Seven bits each, because no byte is above 127.
    for (at, byte) in payload[1..9].iter_mut().enumerate() {
        *byte = (serial >> (7 * at)) as u8 & 0x7f;
    }
    payload
}

/// The number of a frame that was sent to all, if this is one.
pub(super) fn serial_to_all(framing: Framing, frame: &[u8]) -> Option<u64> {
    let (_, payload) = first_frame(framing, frame)?;
    let payload = &frame[payload];
    let number: &[u8; 8] = payload.get(1..)?.first_chunk()?;
    let serial = number.iter().rev().fold(0, |serial, byte| serial << 7 | u64::from(*byte));
    (payload == unasked(TO_ALL, serial)).then_some(serial)
}

/// The frame with this payload.
pub(super) fn encoded(framing: Framing, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    assert_eq!(framing.encode(payload, &mut frame), Ok(()));
    frame
}

/// The length of the first frame, and the place of its payload, if it is whole.
pub(super) fn first_frame(framing: Framing, bytes: &[u8]) -> Option<(usize, Range<usize>)> {
    match framing.decode(bytes, 0, u32::MAX) {
        Ok(decoded) => decoded.frame(),
        Err(error) => panic!("{error}"),
    }
}
