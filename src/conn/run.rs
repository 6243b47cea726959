//! What a connection does in one turn: flush, hand over whole frames, read, and again; then the steps of its end.

use crate::conn::chunk::Chunk;
use crate::conn::decoder::{Body, Decoded, Frame, Inbox, LargeFrame, decode};
use crate::conn::outbox::{Flushed, write_some};
use crate::conn::readiness::{SHORT_CALL_IS_LAST, reason_of};
use crate::conn::replies::{Replies, Verdict};
use crate::conn::workbench::{Budget, Workbench};
use crate::conn::{Backlog, Conn, Sink, State, Transport};
use crate::error::CloseReason;

impl Conn {
    /// Does what can be done now, within one turn's budget. Returns what moved.
    pub(crate) fn run(&mut self, io: &mut impl Transport, bench: &mut Workbench, sink: &mut impl Sink) -> Moved {
        let frames_in_before = bench.supplies.counts.frames_in;
        let mut budget = Budget::new(&bench.supplies);
        self.lay(bench);
        let is_reading_first = self.has_refilled();
        self.flush(io, bench, sink, &mut budget);
        if std::mem::take(&mut self.is_woken) && self.is_taking_output() {
            self.ask(bench, |replies| sink.on_wake(replies));
            self.flush(io, bench, sink, &mut budget);
        }
        if !is_reading_first {
            self.report_low_water(io, bench, sink, &mut budget);
        }
        while self.advance(io, bench, sink, &mut budget) {}
        self.report_low_water(io, bench, sink, &mut budget);
        self.look_for_end(io, bench, sink, &mut budget);
        self.end(io, bench, &mut budget);

        let has_answered = bench.supplies.counts.frames_in > frames_in_before;
        self.written = self.written.saturating_add(u32::try_from(budget.written).unwrap_or(u32::MAX));
        self.pack(bench, sink, has_answered, budget.written > 0);
        Moved { frames: has_answered, read: budget.read, written: budget.written }
    }

    /// Puts the undecoded bytes on the workbench.
    fn lay(&mut self, bench: &mut Workbench) {
        debug_assert!(bench.work.is_empty() && bench.at == 0 && bench.run.is_empty());
        if let Some(backlog) = &mut self.backlog {
            match std::mem::take(&mut backlog.inbox) {
                Inbox::Bytes(chunk) => bench.supplies.pool.lay(chunk, &mut bench.work),
                other => backlog.inbox = other,
            }
        }
    }

    /// One step: hand over what is whole, send the answers, read more. Returns whether another step may do something.
    fn advance(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) -> bool {
        if self.is_held() || !matches!(self.state, State::Open | State::Draining) {
            return false;
        }
        if let Some(Backlog { inbox: Inbox::Large(_), .. }) = self.backlog.as_deref() {
            return self.advance_large(io, bench, sink, budget);
        }
        let stopped = if bench.work.is_empty() { Stopped::Starved } else { self.hand_over(bench, sink, budget) };
        if let Stopped::Told(verdict) = stopped {
            self.obey(verdict);
        }
        self.flush(io, bench, sink, budget);
        if !matches!(self.state, State::Open | State::Draining) {
            // The write has failed, or the handler has ended it: a FIN behind that must not be taken for its end.
            return false;
        }
        match stopped {
            Stopped::Starved => self.read(io, bench, sink, budget),
            Stopped::Large { frame_len } => self.begin_large(bench, sink, frame_len),
            Stopped::OverMark => true,
            Stopped::BudgetSpent => {
                bench.supplies.counts.frame_budgets_spent += 1;
                false
            }
            Stopped::Told(verdict) => verdict == Verdict::GoOn,
        }
    }

    /// Hands the whole frames on the workbench to the handler.
    fn hand_over(&mut self, bench: &mut Workbench, sink: &mut impl Sink, budget: &mut Budget) -> Stopped {
        let Workbench { work, run, at, supplies } = bench;
        let before = budget.frames;
        let mut frames = Frames {
            bytes: work.as_slice(),
            at: *at,
            budget: budget.frames,
            payload_len_max: supplies.config.payload_len_max,
            outbox_bytes_high: supplies.config.outbox_bytes_high,
            stopped: Stopped::Starved,
        };
        let mut verdict = Verdict::GoOn;
        let mut replies = Replies::new(frames.bytes, run, &mut self.backlog, supplies, &mut self.flow, &mut verdict);
        sink.on_frames(&mut frames, &mut replies);
        let Frames { stopped, .. } = frames;
        (*at, budget.frames) = (frames.at, frames.budget);
        supplies.counts.frames_in += (before - budget.frames) as u64;
        if verdict != Verdict::GoOn || self.flow.is_paused { Stopped::Told(verdict) } else { stopped }
    }

    /// Sends what is owed: first the outbox, then what lies on the workbench; what is left of that goes to the outbox.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) {
        let owes_nothing = bench.run.is_empty() && self.backlog.is_none();
        if owes_nothing || matches!(self.state, State::Closed(_)) {
            bench.forget_decoded();
        } else {
            self.flush_owed(io, bench, sink, budget);
        }
    }

    fn flush_owed(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) {
        let flushed = self.flush_outbox(io, bench, budget).and_then(|()| self.flush_run(io, bench, sink, budget));
        bench.forget_decoded();
        if let Err(reason) = flushed {
            self.cut(reason);
        }
    }

    /// Notes whether the outbox was over its high watermark and has now fallen to its low one.
    fn flush_outbox(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        budget: &mut Budget,
    ) -> Result<(), CloseReason> {
        let Some(Backlog { outbox, is_pause_counted, is_low_water_due, .. }) = self.backlog.as_deref_mut() else {
            return Ok(());
        };
        if outbox.is_empty() || !self.edges.writable {
            return Ok(());
        }
        let was_over = outbox.is_over();
        let supplies = &mut bench.supplies;
        match outbox.flush(io, budget, supplies.config.outbox_bytes_low, &mut supplies.pool) {
            Ok(Flushed::All) => {}
            Ok(Flushed::WouldBlock) => self.edges.writable = false,
            Ok(Flushed::BudgetSpent) => supplies.counts.write_budgets_spent += 1,
            Err(error) => return Err(reason_of(&error)),
        }
        *is_pause_counted &= outbox.is_over();
        *is_low_water_due |= was_over && !outbox.is_over();
        Ok(())
    }

    fn flush_run(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) -> Result<(), CloseReason> {
        let Workbench { work, run, at, supplies } = bench;
        let mut unsent = &work.as_slice()[run.clone()];
        while !unsent.is_empty() && self.edges.writable {
            if !budget.may_write() {
                supplies.counts.write_budgets_spent += 1;
                break;
            }
            let asked = unsent.len().min(budget.write_len_max());
            let sent = write_some(io, &unsent[..asked]).map_err(|error| reason_of(&error))?;
            self.edges.writable = sent.is_some_and(|sent| sent == asked || !SHORT_CALL_IS_LAST);
            let sent = sent.unwrap_or(0);
            unsent = &unsent[sent..];
            budget.note_written(sent);
        }
        if !unsent.is_empty() {
            let needed = supplies.backlog(&mut self.backlog).outbox.room_needed(unsent.len());
            if self.has_room(needed, (work.len() - *at, unsent.len()), supplies, sink) {
                let high = supplies.config.outbox_bytes_high;
                supplies.backlog(&mut self.backlog).outbox.append(unsent, high, &mut supplies.pool);
            }
        }
        Ok(())
    }

    /// Calls the handler for the room that there is again, unless new replies have taken it.
    ///
    /// Rule: pending output pauses the delivery of frames and nothing else. A handler that has filled the room above the
    /// mark lets what the peer has sent go first the next time, and the other way round.
    fn report_low_water(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) {
        // A connection that is ending has no use for room.
        if !self.has_low_water_to_report() || !self.is_taking_output() {
            return;
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.is_low_water_due = false;
        }
        self.ask(bench, |replies| sink.on_low_water(replies));
        if let Some(backlog) = &mut self.backlog {
            backlog.has_refilled = backlog.outbox.is_over();
        }
        self.flush(io, bench, sink, budget);
    }

    /// Reads behind the undecoded bytes. Returns whether anything came.
    fn read(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) -> bool {
        // With output owed, no more is read than can be answered before the high watermark, if that is what pauses.
        let room = match self.unsent_bytes() {
            0 => usize::MAX,
            _ if !self.flow.pause_input_when_full => usize::MAX,
            owed => bench.supplies.config.outbox_bytes_high.saturating_sub(owed).max(READ_LEN_MIN),
        };
        if !self.may_read(bench, budget) {
            return false;
        }
        match self.edges.read(io, bench.spare_mut(room), budget) {
            Ok(None) => false,
            Ok(Some(0)) => {
                let received = bench.work.len();
                self.finish(bench, sink, received);
                false
            }
            Ok(Some(len)) => {
                bench.work.advance(len);
                true
            }
            Err(reason) => {
                self.cut(reason);
                false
            }
        }
    }

    /// Makes the bytes on the workbench the beginning of a frame that will not fit a chunk.
    fn begin_large(&mut self, bench: &mut Workbench, sink: &mut impl Sink, frame_len: usize) -> bool {
        // What was decoded before it is not its bytes, and may not count for the memory that it takes.
        bench.work.compact();
        let Some(first) = self.keep(bench, sink) else { return false };
        bench.supplies.backlog(&mut self.backlog).inbox = Inbox::Large(LargeFrame::new(first, frame_len));
        true
    }

    /// Reads more of a large frame, straight to where it stays, and hands it over once it is whole.
    fn advance_large(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) -> bool {
        if !self.may_read(bench, budget) {
            return false;
        }
        let needed = match self.backlog.as_deref() {
            Some(Backlog { inbox: Inbox::Large(frame), .. }) => frame.room_needed(),
            _ => return false,
        };
        if !self.has_room(needed, (0, 0), &mut bench.supplies, sink) {
            return false;
        }
        let Some(Backlog { inbox: Inbox::Large(frame), .. }) = self.backlog.as_deref_mut() else {
            return false;
        };
        match self.edges.read(io, frame.spare_mut(&mut bench.supplies.pool), budget) {
            Ok(None) => return false,
            Ok(Some(0)) => {
                let received = frame.received();
                self.finish(bench, sink, received);
            }
            Ok(Some(len)) => {
                frame.advance(len);
                if frame.missing() == 0 {
                    self.hand_over_large(io, bench, sink, budget);
                }
            }
            Err(reason) => self.cut(reason),
        }
        true
    }

    fn hand_over_large(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) {
        let inbox = self.backlog.as_deref_mut().map(|backlog| std::mem::take(&mut backlog.inbox));
        let Some(Inbox::Large(LargeFrame { mut chunks, capacity, .. })) = inbox else { return };
        bench.supplies.handed_over_bytes = capacity;
        let frame_len = chunks.iter().map(Chunk::len).sum();
        let mut joined = bench.supplies.pool.take_joined();
        joined.clear();
        budget.frames = budget.frames.saturating_sub(1);
        bench.supplies.counts.frames_in += 1;
        self.ask(bench, |replies| {
            let body = Body::Large { chunks: &mut chunks, frame_len, joined: &mut joined };
            sink.on_frame(Frame { body }, replies);
        });
        chunks.drain(..).for_each(|chunk| bench.supplies.pool.give_back(chunk));
        bench.supplies.pool.keep_joined(joined);
        bench.supplies.handed_over_bytes = 0;
        self.flush(io, bench, sink, budget);
    }

    /// Takes the undecoded bytes off the workbench and keeps them; notes what the deadlines need.
    fn pack(&mut self, bench: &mut Workbench, sink: &mut impl Sink, has_answered: bool, has_written: bool) {
        debug_assert!(bench.run.is_empty());
        if bench.work.is_empty() && self.backlog.is_none() {
            // There is nothing to keep.
            return;
        }
        let is_taking_frames = matches!(self.state, State::Open | State::Draining);
        if !is_taking_frames {
            bench.clear();
            if let Some(backlog) = &mut self.backlog {
                std::mem::take(&mut backlog.inbox).release(&mut bench.supplies.pool);
            }
        }
        if !self.is_taking_output()
            && let Some(backlog) = &mut self.backlog
        {
            backlog.is_low_water_due = false;
        }
        let mut has_frames = false;
        if !bench.work.is_empty() {
            let decoded = decode(bench.work.as_slice(), bench.supplies.config.payload_len_max);
            has_frames = decoded != Ok(Decoded::Incomplete);
            if let Some(chunk) = self.keep(bench, sink) {
                bench.supplies.backlog(&mut self.backlog).inbox = Inbox::Bytes(chunk);
            }
        }
        if self.backlog.as_ref().is_some_and(|backlog| backlog.is_empty()) {
            return self.release(&mut bench.supplies);
        }
        self.set_clocks(bench, has_frames, has_answered, has_written);
    }

    pub(crate) fn may_read(&mut self, bench: &mut Workbench, budget: &Budget) -> bool {
        let is_spent = !budget.may_read();
        bench.supplies.counts.read_budgets_spent += u64::from(is_spent && self.edges.readable);
        self.edges.readable && !is_spent
    }

    /// Lets the handler speak about this connection outside the frames on the workbench.
    pub(crate) fn ask(&mut self, bench: &mut Workbench, callback: impl FnOnce(&mut Replies<'_>)) {
        self.with_replies(&mut bench.supplies, callback);
    }
}

/// The whole frames on the workbench that may be handed over now, one after the other.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    // Values and not references to where they are kept: each header is found by way of `at`, so it belongs in a register.
    at: usize,
    /// How many more may be handed over in this turn.
    budget: usize,
    payload_len_max: u32,
    outbox_bytes_high: usize,
    stopped: Stopped,
}

impl<'a> Frames<'a> {
    /// The next one, unless something stops them: then there is none any more in this step.
    #[inline]
    pub(crate) fn next(&mut self, replies: &mut Replies<'_>) -> Option<Frame<'a>> {
        if replies.flow.is_paused || !replies.goes_on() {
            return None;
        }
        let begin = self.at;
        let frame_len = match decode(&self.bytes[begin..], self.payload_len_max) {
            Ok(Decoded::Frame { frame_len }) => frame_len,
            Ok(Decoded::Incomplete) => return self.stop(Stopped::Starved),
            Ok(Decoded::Large { frame_len }) => return self.stop(Stopped::Large { frame_len }),
            Err(error) => return self.stop(Stopped::Told(Verdict::Close(CloseReason::FrameTooLong(error)))),
        };
        if replies.owed() >= self.outbox_bytes_high {
            if replies.flow.pause_input_when_full {
                return self.stop(Stopped::OverMark);
            }
            let needed = replies.room_needed(0);
            if !replies.supplies.pool.has_room(needed) {
                // A flush takes the run off the workbench, whatever room there is.
                return self.stop(Stopped::OverMark);
            }
            // From the outbox, a reply to this frame is refused like any other.
            replies.stop_run(0);
        }
        if self.budget == 0 {
            return self.stop(Stopped::BudgetSpent);
        }
        self.budget -= 1;
        self.at += frame_len;
        Some(Frame { body: Body::Whole { bytes: &self.bytes[begin..begin + frame_len], at: begin } })
    }

    fn stop(&mut self, stopped: Stopped) -> Option<Frame<'a>> {
        self.stopped = stopped;
        None
    }
}

/// What moved in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Whole frames were delivered to the handler.
    pub(crate) frames: bool,
    /// Bytes read, of whole frames or not.
    pub(crate) read: usize,
    /// Bytes written.
    pub(crate) written: usize,
}

impl Moved {
    /// Whether frames or output moved.
    pub(crate) fn has_output_or_frames(&self) -> bool {
        self.frames || self.written > 0
    }

    /// Bytes read and written.
    pub(crate) fn bytes(&self) -> usize {
        self.read + self.written
    }

    /// Whether anything moved: a frame in progress counts.
    pub(crate) fn has_any(&self) -> bool {
        self.has_output_or_frames() || self.read > 0
    }
}

/// Why handing over frames stopped.
#[derive(Clone, Copy)]
enum Stopped {
    /// More bytes are needed.
    Starved,
    /// A frame longer than a chunk begins.
    Large { frame_len: usize },
    /// Too much output is owed.
    OverMark,
    /// The frame budget is spent.
    BudgetSpent,
    /// The handler wants no more for now, or ever; or a header is to be refused.
    Told(Verdict),
}

/// With output still owed, at least this much is read at a time, in bytes.
pub(crate) const READ_LEN_MIN: usize = 4 << 10;
