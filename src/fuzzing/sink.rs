//! A handler in a script's hands, and the model of its connection: the replies that must reach the peer, in their order.

use std::collections::VecDeque;

use crate::conn::frame::Frame;
use crate::conn::sink::Sink;
use crate::conn::sink::{Replies, Verdict};
use crate::error::{CloseReason, SendError};
use crate::fuzzing::script::{Act, LONGEST, Setup};
use crate::wire::encode_header;

#[derive(Debug)]
pub(super) struct Model {
    answer: Act,
    keeps_half_closed: bool,
    is_talkative: bool,
    /// What is done at the next frames.
    pub(super) acts: VecDeque<Act>,
    pub(super) frames: usize,
    /// The frames that were handed over, one after the other.
    pub(super) received: Vec<u8>,
    /// The frames that were queued, one after the other: what must reach the peer.
    pub(super) expected: Vec<u8>,
    pub(super) replies: u64,
    /// The longest of them, in bytes.
    pub(super) longest: usize,
    /// A frame was refused for want of room, and nobody was told yet that there is room again.
    pub(super) awaits_room: bool,
    low_waters: usize,
    has_half_closed: bool,
    /// Nothing may be said to a handler that has ended its connection.
    pub(super) ended: Option<CloseReason>,
}

impl Model {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            answer: setup.answer,
            keeps_half_closed: setup.keeps_half_closed,
            is_talkative: setup.is_talkative,
            acts: VecDeque::new(),
            frames: 0,
            received: Vec::new(),
            expected: Vec::new(),
            replies: 0,
            longest: 0,
            awaits_room: false,
            low_waters: 0,
            has_half_closed: false,
            ended: None,
        }
    }

    /// Notes what became of a frame with this payload.
    pub(super) fn note<'a>(&mut self, sent: Result<(), SendError>, payload: impl IntoIterator<Item = &'a [u8]>) {
        match sent {
            Ok(()) => {
                let before = self.expected.len();
                self.expected.extend(encode_header(0));
                payload.into_iter().for_each(|piece| self.expected.extend(piece));
                let frame_len = self.expected.len() - before;
                let header = encode_header((frame_len - encode_header(0).len()) as u32);
                self.expected[before..before + header.len()].copy_from_slice(&header);
                self.replies += 1;
                self.longest = self.longest.max(frame_len);
            }
            Err(SendError::Full) => self.awaits_room = true,
            Err(SendError::Closed) | Err(SendError::TooLong { .. }) | Err(SendError::NoMemory) => {}
        }
    }

    fn reply(&mut self, payload: &[u8], replies: &mut Replies<'_>) -> Result<(), SendError> {
        let sent = replies.reply(payload);
        self.note(sent, [payload]);
        sent
    }

    fn echo(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) -> Result<(), SendError> {
        let payload = self.received.len() - frame.payload_len()..;
        let sent = replies.reply_frame(frame);
        let payload = self.received[payload].to_vec();
        self.note(sent, [&payload[..]]);
        sent
    }

    fn answer(&mut self, act: Act, frame: Frame<'_>, replies: &mut Replies<'_>) -> Option<Result<(), SendError>> {
        Some(match act {
            Act::Ignore => return None,
            Act::Copy => self.reply(frame.payload(), replies),
            Act::Inspect => {
                let in_pieces = frame.payload_chunks().collect::<Vec<_>>().concat();
                assert!(frame.payload() == in_pieces && frame.payload_len() == in_pieces.len());
                self.echo(frame, replies)
            }
            Act::Echo | Act::Replies { .. } | Act::Pause | Act::Close | Act::Abort | Act::Panic => {
                self.echo(frame, replies)
            }
        })
    }

    fn end(&mut self, verdict: Verdict, reason: CloseReason, replies: &mut Replies<'_>) {
        if *replies.verdict == Verdict::Continue {
            *replies.verdict = verdict;
        }
        self.ended = Some(reason);
        assert_eq!(replies.reply(b"too late"), Err(SendError::Closed));
    }

    fn close(&mut self, replies: &mut Replies<'_>) {
        let reason = CloseReason::ClosedByHandler;
        self.end(Verdict::Close(reason), reason, replies);
    }

    fn fail(&mut self, reason: CloseReason, replies: &mut Replies<'_>) {
        self.end(Verdict::Fail(reason), reason, replies);
    }
}

impl Sink for Model {
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none() && !self.has_half_closed, "a frame behind the end");
        assert!(!replies.flow.is_paused, "a frame although the handler has paused");
        self.frames += 1;
        self.received.extend(encode_header(frame.payload_len() as u32));
        frame.payload_chunks().for_each(|piece| self.received.extend(piece));
        let act = self.acts.pop_front().unwrap_or(self.answer);
        let sent = self.answer(act, frame, replies);
        let is_queued = sent.is_none_or(|sent| matches!(sent, Ok(()) | Err(SendError::NoMemory)));
        assert!(is_queued, "the first reply was refused: {sent:?}");
        match act {
            Act::Echo | Act::Copy | Act::Inspect | Act::Ignore => {}
            Act::Replies { count, payload_len } => {
                let payload = vec![count; payload_len.into()];
                for _ in 0..count {
                    if self.expected.len() < REPLIES_LEN_MAX {
                        let _ = self.reply(&payload, replies);
                    }
                }
            }
            Act::Pause => replies.flow.is_paused = true,
            Act::Close => self.close(replies),
            Act::Abort => self.fail(CloseReason::AbortedByHandler, replies),
            Act::Panic => self.fail(CloseReason::HandlerPanicked, replies),
        }
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none() && !self.has_half_closed, "a second end");
        self.has_half_closed = true;
        if self.is_talkative {
            let _ = self.reply(b"good-bye", replies);
        }
        if !self.keeps_half_closed {
            self.close(replies);
        }
    }

    fn on_writable(&mut self, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none(), "a connection that ends has no use for room");
        self.awaits_room = false;
        self.low_waters += 1;
        // A handler that says this every time is never done, if it is enough to reach the mark.
        if self.is_talkative && self.low_waters < 10 {
            let _ = self.reply(b"there is room", replies);
        }
    }
}

/// Behind so many bytes, frames are answered once only, so that a script is soon over.
const REPLIES_LEN_MAX: usize = 2 * LONGEST;
