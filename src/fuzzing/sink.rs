//! A handler that replies as a script says, and the model of its connection: the replies that must reach the peer, in order.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;

use crate::conn::flags::Flag;
use crate::conn::frame::Frame;
use crate::conn::part::FramePart;
use crate::conn::payloads::SharedPayload;
use crate::conn::sink::{Drain, Replies, Sink, Verdict};
use crate::error::{CloseReason, SendError};
use crate::fuzzing::content::LONGEST;
use crate::wire::encode_header;

/// How a frame is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum Style {
    /// With its own bytes.
    Echo,
    /// With a copy of its payload.
    Copy,
    /// With one of both in turn, after the payload was read whole and in chunks.
    Inspect,
    Silent,
    /// Two frames with their own bytes, the next two with copies.
    Mixed,
    /// Every second frame with its own bytes, the others not.
    Alternate,
    /// With its own bytes, then with a copy.
    Twice,
}

/// What a handler does at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum Act {
    /// Answers it so.
    Answer(Style),
    /// Also sends so many frames with payloads of this length.
    Replies {
        #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=15))]
        count: usize,
        #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=8_191))]
        payload_len: usize,
    },
    Pause,
    Close,
    Abort,
    Panic,
    Finish,
}

#[derive(Debug)]
pub(crate) struct ScriptedSink {
    style: Style,
    /// What is done at frames for which `acts` has nothing.
    pub(crate) usual_act: Option<Act>,
    /// What is done at which frame, counted from 1.
    pub(crate) acts: Vec<(usize, Act)>,
    pub(crate) keeps_half_closed: bool,
    /// The payload that is sent when there is room again.
    pub(crate) on_writable: Option<Vec<u8>>,
    /// The payload that is sent when the peer has finished.
    pub(crate) on_half_close: Option<Vec<u8>>,
    pub(crate) frames: usize,
    /// The frames that were delivered, one after the other.
    pub(crate) received: Vec<u8>,
    /// The frames that were queued, one after the other: what must reach the peer.
    pub(crate) queued: Vec<u8>,
    pub(crate) replies: usize,
    /// The longest of the queued frames, in bytes.
    pub(crate) longest: usize,
    pub(crate) refused: usize,
    /// A frame was refused for want of room, and no callback has reported room since.
    pub(crate) awaits_room: bool,
    pub(crate) low_waters: usize,
    pub(crate) half_closes: usize,
    pub(crate) reply_to_drain: Drain,
    /// The payload that is sent when the reactor drains.
    pub(crate) on_drain: Option<Vec<u8>>,
    pub(crate) drains: usize,
    /// Nothing may be sent any more.
    pub(crate) has_finished: bool,
    /// Why the handler has closed the connection. No callback may follow.
    pub(crate) ended: Option<CloseReason>,
}

/// Behind so many bytes, frames are answered once only, so that a script is soon over.
const REPLIES_LEN_MAX: usize = 2 * LONGEST;

impl ScriptedSink {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style,
            usual_act: None,
            acts: Vec::new(),
            keeps_half_closed: false,
            on_writable: None,
            on_half_close: None,
            frames: 0,
            received: Vec::new(),
            queued: Vec::new(),
            replies: 0,
            longest: 0,
            refused: 0,
            awaits_room: false,
            low_waters: 0,
            half_closes: 0,
            reply_to_drain: Drain::AtRest,
            on_drain: None,
            drains: 0,
            has_finished: false,
            ended: None,
        }
    }

    /// Another handler of the same style.
    #[cfg(test)]
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.style)
    }

    /// Does this at the first frame for which nothing else is to be done.
    pub(crate) fn act_next(&mut self, act: Act) {
        let last = self.acts.last().map_or(self.frames, |(nth, _)| *nth);
        self.acts.push((last + 1, act));
    }

    /// The connection is finished, unless it is closing.
    pub(crate) fn finish(&mut self) {
        self.has_finished = true;
        self.awaits_room = false;
    }

    /// Records what became of a frame with this payload.
    pub(crate) fn note(&mut self, sent: Result<(), SendError>, payload: &[u8]) {
        assert!(!self.has_finished || sent == Err(SendError::Closed), "it was sent behind the last: {sent:?}");
        match sent {
            Ok(()) => {
                let before = self.queued.len();
                self.queued.extend(encode_header(payload.len() as u32));
                self.queued.extend(payload);
                self.replies += 1;
                self.longest = self.longest.max(self.queued.len() - before);
            }
            Err(error) => {
                self.refused += 1;
                self.awaits_room |= error == SendError::Full;
            }
        }
    }

    fn reply(&mut self, payload: &[u8], replies: &mut Replies<'_>) -> Result<(), SendError> {
        let sent = replies.reply(payload);
        self.note(sent, payload);
        sent
    }

    fn echo(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) -> Result<(), SendError> {
        let payload = self.received[self.received.len() - frame.payload_len()..].to_vec();
        let sent = replies.reply_frame(frame);
        self.note(sent, &payload);
        sent
    }

    fn answer(&mut self, style: Style, frame: Frame<'_>, replies: &mut Replies<'_>) -> Option<Result<(), SendError>> {
        let is_even = self.frames.is_multiple_of(2);
        let echoes = match style {
            Style::Silent => return None,
            Style::Alternate if !is_even => return None,
            Style::Echo | Style::Alternate => true,
            Style::Copy => false,
            Style::Mixed => self.frames % 4 < 2,
            Style::Inspect => {
                let in_chunks = frame.payload_chunks().collect::<Vec<_>>().concat();
                assert!(frame.payload() == in_chunks && frame.payload() == in_chunks);
                is_even
            }
            Style::Twice => {
                let payload = self.received[self.received.len() - frame.payload_len()..].to_vec();
                let sent = self.echo(frame, replies);
                let _ = self.reply(&payload, replies);
                return Some(sent);
            }
        };
        Some(if echoes { self.echo(frame, replies) } else { self.reply(frame.payload(), replies) })
    }

    fn act(&mut self, act: Act, replies: &mut Replies<'_>) {
        match act {
            Act::Answer(_) => {}
            Act::Replies { count, payload_len } => {
                let payload = vec![count as u8; payload_len];
                let bytes = Bytes::from(payload.clone());
                for nth in 0..count {
                    if self.queued.len() >= REPLIES_LEN_MAX {
                        break;
                    }
                    // Copied and shared payloads in turn.
                    if nth % 2 == 0 {
                        let _ = self.reply(&payload, replies);
                    } else {
                        let sent = replies.reply_shared(&mut SharedPayload::new(bytes.clone()));
                        self.note(sent, &payload);
                    }
                }
            }
            Act::Pause => replies.flags.set(Flag::Paused, true),
            Act::Close => self.end(Verdict::Close(CloseReason::ClosedByHandler), replies),
            Act::Abort => self.end(Verdict::Fail(CloseReason::AbortedByHandler), replies),
            Act::Panic => self.end(Verdict::Close(CloseReason::HandlerPanicked), replies),
            Act::Finish => {
                replies.finish();
                self.finish();
                assert_eq!(replies.reply(b"too late"), Err(SendError::Closed));
            }
        }
    }

    fn end(&mut self, verdict: Verdict, replies: &mut Replies<'_>) {
        // As a handler's wish: it cannot turn a failure into an orderly end.
        let is_open = matches!(*replies.verdict, Verdict::Continue | Verdict::Finish);
        if is_open || matches!(verdict, Verdict::Fail(_)) {
            *replies.verdict = verdict;
        }
        if let Verdict::Close(reason) | Verdict::Fail(reason) = verdict {
            self.ended = Some(reason);
        }
        assert_eq!(replies.reply(b"too late"), Err(SendError::Closed));
    }
}

impl Sink for ScriptedSink {
    fn on_frame_part(&mut self, _part: FramePart<'_>, replies: &mut Replies<'_>) {
        // Its limits ask for no parts.
        replies.abort();
    }

    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none() && self.half_closes == 0, "a frame behind the end");
        assert!(!replies.flags.has(Flag::Paused), "a frame although the handler has paused");
        self.frames += 1;
        let before = self.received.len();
        self.received.extend(encode_header(frame.payload_len() as u32));
        frame.payload_chunks().for_each(|piece| self.received.extend(piece));
        assert_eq!(self.received.len() - before, encode_header(0).len() + frame.payload_len());

        let mut acts: Vec<Act> = self.acts.extract_if(.., |(nth, _)| *nth == self.frames).map(|(_, act)| act).collect();
        if acts.is_empty() {
            acts.extend(self.usual_act);
        }
        let chosen = acts.iter().find_map(|act| if let Act::Answer(style) = act { Some(*style) } else { None });
        let sent = self.answer(chosen.unwrap_or(self.style), frame, replies);
        // Only for want of memory, of which most scripts have enough.
        let is_short = replies.shared.pool.limit() < 1 << 20;
        let is_queued = sent.is_none_or(|sent| match sent {
            Ok(()) => true,
            Err(SendError::NoMemory) => is_short,
            Err(SendError::Closed) => self.has_finished,
            Err(
                SendError::Full | SendError::ReplyUnfinished | SendError::TooLong { .. } | SendError::TooShort { .. },
            ) => false,
        });
        assert!(is_queued, "the first reply was refused: {sent:?}");
        acts.into_iter().for_each(|act| self.act(act, replies));
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none() && self.half_closes == 0, "a second end");
        self.half_closes += 1;
        if let Some(payload) = self.on_half_close.clone() {
            let _ = self.reply(&payload, replies);
        }
        if !self.keeps_half_closed {
            self.end(Verdict::Close(CloseReason::ClosedByHandler), replies);
        }
    }

    fn on_drain(&mut self, replies: &mut Replies<'_>) -> Drain {
        assert!(self.ended.is_none() && self.drains == 0, "it was asked a second time, or behind the end");
        assert!(
            !replies.flags.has(Flag::Paused) || self.half_closes > 0,
            "it was asked although the handler has paused"
        );
        self.drains += 1;
        if let Some(payload) = self.on_drain.clone() {
            let _ = self.reply(&payload, replies);
        }
        self.reply_to_drain
    }

    fn on_writable(&mut self, replies: &mut Replies<'_>) {
        assert!(self.ended.is_none() && !self.has_finished, "a connection that ends has no use for room");
        self.awaits_room = false;
        self.low_waters += 1;
        // A handler that sends each time is never done, if it is enough to reach the mark.
        if self.low_waters < 10
            && let Some(payload) = self.on_writable.clone()
        {
            let _ = self.reply(&payload, replies);
        }
    }
}
