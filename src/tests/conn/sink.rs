//! A handler that answers as it is told, and remembers what it saw and what was queued.

use crate::conn::frame::Frame;
use crate::conn::sink::Sink;
use crate::conn::sink::{Replies, Verdict};
use crate::error::{CloseReason, SendError};
use crate::wire::encode_header;

/// How each frame is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// With its own bytes.
    Echo,
    /// With a copy of its payload.
    Copy,
    /// One so, the next so, in pairs.
    Mixed,
    /// With its own bytes, or a copy after the payload was looked at in both ways.
    Inspect,
    /// Not at all.
    Silent,
    /// Every other one with its own bytes, the rest not at all.
    Alternate,
    /// With its own bytes, then once more with a copy.
    Twice,
}

/// What else is done at one frame, after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Close,
    Abort,
    Pause,
    Panic,
    /// Further replies of this payload length, as many as are queued, at most this many.
    Replies {
        count: usize,
        payload_len: usize,
    },
}

#[derive(Debug)]
pub(super) struct Answerer {
    pub(super) style: Style,
    /// What is done at which frame, counted from 1.
    pub(super) acts: Vec<(usize, Act)>,
    pub(super) keeps_half_closed: bool,
    /// What is sent when there is room again.
    pub(super) on_writable: Option<Vec<u8>>,
    /// What is sent when the peer has finished.
    pub(super) on_half_close: Option<Vec<u8>>,
    pub(super) frames: usize,
    /// The frames as they came, one after the other.
    pub(super) received: Vec<u8>,
    /// The frames that were queued, one after the other: what must reach the peer.
    pub(super) queued: Vec<u8>,
    pub(super) replies: usize,
    pub(super) longest: usize,
    pub(super) refused: usize,
    pub(super) low_waters: usize,
    pub(super) half_closes: usize,
    /// Nothing may be said to a handler that has ended its connection.
    has_ended: bool,
}

impl Answerer {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
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
            low_waters: 0,
            half_closes: 0,
            has_ended: false,
        }
    }

    /// Notes what became of a frame that was to be sent.
    pub(super) fn note(&mut self, sent: Result<(), SendError>, payload: &[u8]) -> Result<(), SendError> {
        match sent {
            Ok(()) => {
                self.queued.extend(encode_header(payload.len() as u32));
                self.queued.extend(payload);
                self.replies += 1;
                self.longest = self.longest.max(payload.len() + 4);
            }
            Err(SendError::Full)
            | Err(SendError::Closed)
            | Err(SendError::TooLong { .. })
            | Err(SendError::NoMemory) => self.refused += 1,
        }
        sent
    }

    fn reply(&mut self, payload: &[u8], replies: &mut Replies<'_>) -> Result<(), SendError> {
        let sent = replies.reply(payload);
        self.note(sent, payload)
    }

    fn echo(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        let payload: Vec<u8> = frame.payload_chunks().flatten().copied().collect();
        assert_eq!(frame.payload_len(), payload.len());
        let sent = replies.reply_frame(frame);
        let _ = self.note(sent, &payload);
    }

    fn copy(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        let _ = self.reply(frame.payload(), replies);
    }

    fn inspect(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        let in_chunks = frame.payload_chunks().collect::<Vec<_>>().concat();
        assert!(frame.payload() == in_chunks && frame.payload() == in_chunks);
        if self.frames.is_multiple_of(2) { self.echo(frame, replies) } else { self.copy(frame, replies) }
    }

    fn act(&mut self, act: Act, replies: &mut Replies<'_>) {
        match act {
            Act::Close => self.end(Verdict::Close(CloseReason::ClosedByHandler), replies),
            Act::Abort => self.end(Verdict::Fail(CloseReason::AbortedByHandler), replies),
            Act::Panic => self.end(Verdict::Fail(CloseReason::HandlerPanicked), replies),
            Act::Pause => replies.flow.is_paused = true,
            Act::Replies { count, payload_len } => {
                let payload = vec![count as u8; payload_len];
                for _ in 0..count {
                    let _ = self.reply(&payload, replies);
                }
            }
        }
    }

    fn end(&mut self, verdict: Verdict, replies: &mut Replies<'_>) {
        // As a handler's wish: it cannot turn a failure into an orderly end.
        if *replies.verdict == Verdict::Continue || matches!(verdict, Verdict::Fail(_)) {
            *replies.verdict = verdict;
        }
        self.has_ended = true;
        assert_eq!(replies.reply(b"too late"), Err(SendError::Closed));
    }
}

impl Sink for Answerer {
    fn on_frame(&mut self, frame: Frame<'_>, replies: &mut Replies<'_>) {
        assert!(!self.has_ended && !replies.flow.is_paused && self.half_closes == 0);
        self.frames += 1;
        self.received.extend(encode_header(frame.payload_len() as u32));
        frame.payload_chunks().for_each(|piece| self.received.extend(piece));
        let (queued, refused) = (self.queued.len(), self.refused);
        match self.style {
            Style::Echo => self.echo(frame, replies),
            Style::Copy => self.copy(frame, replies),
            Style::Mixed if self.frames % 4 < 2 => self.echo(frame, replies),
            Style::Mixed => self.copy(frame, replies),
            Style::Inspect => self.inspect(frame, replies),
            Style::Alternate if self.frames.is_multiple_of(2) => self.echo(frame, replies),
            Style::Silent | Style::Alternate => {}
            Style::Twice => {
                let payload: Vec<u8> = frame.payload_chunks().flatten().copied().collect();
                self.echo(frame, replies);
                let _ = self.reply(&payload, replies);
            }
        }
        let is_answered = !matches!(self.style, Style::Silent | Style::Alternate);
        let is_refused = is_answered && self.queued.len() == queued;
        // Only for want of memory, of which most tests have enough.
        let is_short = replies.shared.pool.limit() < 1 << 20;
        assert!(!is_refused || (self.refused > refused && is_short), "the first reply is queued");
        let nth = self.frames;
        for at in 0..self.acts.len() {
            if self.acts[at].0 == nth {
                self.act(self.acts[at].1, replies);
            }
        }
    }

    fn on_half_close(&mut self, replies: &mut Replies<'_>) {
        assert!(!self.has_ended && self.half_closes == 0);
        self.half_closes += 1;
        if let Some(payload) = self.on_half_close.clone() {
            let _ = self.reply(&payload, replies);
        }
        if !self.keeps_half_closed {
            self.end(Verdict::Close(CloseReason::ClosedByHandler), replies);
        }
    }

    fn on_writable(&mut self, replies: &mut Replies<'_>) {
        assert!(!self.has_ended, "a connection that ends has no use for room");
        self.low_waters += 1;
        if let Some(payload) = self.on_writable.clone() {
            let _ = self.reply(&payload, replies);
        }
    }
}
