//! What a connection does in one turn. This is the only place that calls the handler, through a [`Sink`].

mod delivery;
mod parts;

use crate::conn::Conn;
use crate::conn::buffers::Buffers;
use crate::conn::chunk::{Chunk, capacity_for};
use crate::conn::flags::Flag;
use crate::conn::handover::Handover;
use crate::conn::input::{ReadBuffer, Stopped};
use crate::conn::io::{Budget, Transport};
use crate::conn::part::PartedFrame;
use crate::conn::profile::Rules;
use crate::conn::shared::Shared;
use crate::conn::sink::{Drain, Replies, Sink};
use crate::conn::state::State;
use crate::conn::wishes::Wishes;
use crate::error::CloseReason;
use crate::wire::DecodeError;

/// Does what the connection can do now within one turn's budget. Returns what moved.
pub(crate) fn run(
    conn: &mut Conn,
    io: &mut impl Transport,
    buffer: &mut ReadBuffer,
    shared: &mut Shared,
    sink: &mut impl Sink,
) -> Moved {
    let budget = Budget::new(&shared.budgets, shared.allowance);
    let rules = shared.profiles.rules(conn.profile);
    Turn { conn, io, buffer, shared, sink, rules, budget, frames: 0, wishes: Wishes::default() }.run()
}

/// What moved in a turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    /// Whole frames that were delivered to the handler.
    pub(crate) frames: usize,
    /// Bytes read, of whole frames or not.
    pub(crate) bytes_in: usize,
    /// Bytes written.
    pub(crate) bytes_out: usize,
}

impl Moved {
    pub(crate) fn has_output_or_frames(&self) -> bool {
        self.frames > 0 || self.bytes_out > 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes_in + self.bytes_out
    }

    /// Whether anything moved: bytes of an incomplete frame count.
    pub(crate) fn has_any(&self) -> bool {
        self.frames > 0 || self.bytes() > 0
    }
}

/// While output is pending, at least this much is read at a time, in bytes.
const READ_LEN_MIN: usize = 4 << 10;

struct Turn<'a, T, S> {
    conn: &'a mut Conn,
    io: &'a mut T,
    buffer: &'a mut ReadBuffer,
    shared: &'a mut Shared,
    sink: &'a mut S,
    /// Those of the connection's profile.
    rules: Rules,
    budget: Budget,
    /// Frames delivered so far.
    frames: usize,
    wishes: Wishes,
}

impl<T: Transport, S: Sink> Turn<'_, T, S> {
    fn run(mut self) -> Moved {
        self.restore_input();
        let reads_first = self.conn.was_refilled();
        self.wishes = Wishes::begin(self.conn, self.io);
        self.flush();
        if self.conn.flags.take(Flag::Woken) && !self.conn.state.is_ending() {
            self.call_before_flush(S::on_wake);
            self.flush();
        }
        if !reads_first {
            self.report_low_water();
        }
        while self.conn.state.takes_frames() && !self.conn.is_input_paused() {
            let goes_on = if self.conn.is_input_large() {
                self.receive_large()
            } else if self.conn.is_input_parted() {
                self.receive_part()
            } else {
                self.receive()
            };
            if !goes_on {
                break;
            }
        }
        self.report_low_water();
        self.look_for_end();
        self.end();
        self.wishes.end(self.conn, self.io);
        self.save_input();

        let Self { frames, budget: Budget { bytes_in, bytes_out, .. }, .. } = self;
        self.shared.counts.frames_in += frames as u64;
        self.conn.written = self.conn.written.saturating_add(u32::try_from(bytes_out).unwrap_or(u32::MAX));
        Moved { frames, bytes_in, bytes_out }
    }

    /// Delivers the whole frames in the read buffer, sends the replies, reads more, and repeats. Returns whether to go on.
    fn receive(&mut self) -> bool {
        loop {
            let stopped = if self.buffer.is_empty() { Stopped::INCOMPLETE } else { self.deliver() };
            self.flush();
            // If a write has failed or the handler has closed, a FIN that follows must not be taken for the reason.
            if !self.conn.state.takes_frames() || self.conn.flags.has(Flag::Paused) {
                return false;
            }
            match stopped {
                Stopped::Incomplete { .. } => {
                    let is_paused = self.conn.is_input_paused();
                    if !self.read() || is_paused {
                        return false;
                    }
                }
                Stopped::Large { frame_len, payload_start } if self.rules.in_parts => {
                    self.begin_parts(Some((frame_len - payload_start) as u64), payload_start);
                    return true;
                }
                Stopped::Endless if self.rules.in_parts => {
                    self.begin_parts(None, 0);
                    return true;
                }
                Stopped::Large { frame_len, payload_start } => return self.begin_large(frame_len, payload_start),
                Stopped::Endless => return self.begin_large(self.rules.frame_len_max(), 0),
                Stopped::OutputFull => return true,
                Stopped::BudgetSpent => {
                    self.shared.counts.frame_budgets_spent += 1;
                    return false;
                }
                Stopped::Invalid(error) => {
                    self.reject(error);
                    return false;
                }
            }
        }
    }

    /// Calls the handler because there is room again, unless new replies have filled it.
    ///
    /// Rule: pending output pauses the delivery of frames and nothing else. If the handler has filled the output again, the
    /// next turn reads first, and reports room after that; and the other way round.
    fn report_low_water(&mut self) {
        if !self.conn.has_low_water_to_report() || !self.conn.state.takes_output() {
            return;
        }
        if let Some(buffers) = &mut self.conn.buffers {
            buffers.output.low_water_reported();
        }
        self.call(S::on_writable);
        if let Some(Buffers { output, .. }) = self.conn.buffers.as_deref_mut() {
            output.handler_called();
        }
        self.flush();
    }

    /// Closes the connection because of a frame that is not permitted, after a last reply of the handler.
    fn reject(&mut self, error: DecodeError) {
        let reason = error.into();
        self.call(|sink, replies| sink.on_frame_rejected(replies, &reason));
        self.conn.close(reason);
        self.flush();
    }

    /// The peer's FIN was read, after `partial` bytes of a frame.
    fn peer_finished(&mut self, partial: usize) {
        if self.conn.readiness.failed {
            // RST came after the FIN, and no read reports it.
            return self.conn.state.failed(CloseReason::Reset);
        }
        let is_reported = partial == 0 && self.conn.state.takes_frames();
        self.conn.state.peer_finished(partial);
        if is_reported {
            self.call(S::on_half_close);
        }
    }

    fn call(&mut self, callback: impl FnOnce(&mut S, &mut Replies<'_>)) {
        self.call_with(false, callback);
    }

    /// Calls the handler where a flush follows: short replies are written without being queued.
    fn call_before_flush(&mut self, callback: impl FnOnce(&mut S, &mut Replies<'_>)) {
        self.call_with(true, callback);
    }

    fn call_with(&mut self, is_flushed: bool, callback: impl FnOnce(&mut S, &mut Replies<'_>)) {
        let Self { conn, io, sink, shared, rules, buffer, .. } = self;
        let direct = is_flushed.then_some(&mut buffer.replies);
        conn.with_replies_by(rules, direct, Some(&**io), shared, |replies| callback(sink, replies));
        if self.conn.flags.take(Flag::Redecode) {
            self.buffer.search_anew();
        }
    }

    /// Sends pending output: first what is queued, then what is to be echoed from the read buffer, or the replies. The rest of that is
    /// queued.
    #[inline]
    fn flush(&mut self) {
        let is_nothing_pending = self.buffer.is_sent() && self.conn.buffers.is_none();
        if is_nothing_pending || matches!(self.conn.state, State::Closed(_)) {
            self.buffer.discard_delivered();
        } else {
            self.flush_pending();
        }
    }

    fn flush_pending(&mut self) {
        let written =
            self.write_queued().and_then(|()| self.buffer.write(self.io, &mut self.conn.readiness, &mut self.budget));
        match written {
            Ok(()) if self.buffer.is_sent() => {}
            Ok(()) => self.queue_unsent(),
            Err(reason) => self.conn.state.failed(reason),
        }
        self.wishes.has_written(self.io);
        self.buffer.discard_delivered();
    }

    fn write_queued(&mut self) -> Result<(), CloseReason> {
        let Some(Buffers { output, .. }) = self.conn.buffers.as_deref_mut() else { return Ok(()) };
        let low = self.rules.output_low_water;
        output.write(self.io, &mut self.conn.readiness, &mut self.budget, low, &mut self.shared.pool)?;
        self.shared.counts.write_budgets_spent += u64::from(!output.is_empty() && self.conn.readiness.writable);
        Ok(())
    }

    /// Queues what the socket has not accepted of the echo or the replies.
    fn queue_unsent(&mut self) {
        self.shared.counts.write_budgets_spent += u64::from(self.conn.readiness.writable);
        let len = self.buffer.unsent().len();
        let needed = self.shared.buffers(&mut self.conn.buffers).output.room_needed(len);
        if self.make_room(needed, (self.buffer.len(), len))
            && let Some(Buffers { output, .. }) = self.conn.buffers.as_deref_mut()
        {
            output.append(self.buffer.unsent(), self.rules.output_high_water, &mut self.shared.pool);
        }
    }

    /// Reads after the undelivered bytes. Returns whether bytes came.
    fn read(&mut self) -> bool {
        // With pending output, no more is read than can be answered below the high-water mark, if that pauses reading.
        let len_max = match self.conn.unsent_bytes() {
            0 => usize::MAX,
            _ if !self.conn.flags.has(Flag::PausesWhenFull) => usize::MAX,
            pending => self.rules.output_high_water.saturating_sub(pending).max(READ_LEN_MIN),
        };
        if !self.may_read() {
            return false;
        }
        match self.buffer.read(len_max, self.io, &mut self.conn.readiness, &mut self.budget) {
            Ok(None) => false,
            Ok(Some(0)) => {
                self.peer_finished(self.partial_len());
                false
            }
            Ok(Some(_)) => true,
            Err(reason) => {
                self.conn.state.failed(reason);
                false
            }
        }
    }

    fn may_read(&mut self) -> bool {
        let is_spent = !self.budget.may_read();
        self.shared.counts.read_budgets_spent += u64::from(is_spent && self.conn.readiness.readable);
        self.conn.readiness.readable && !is_spent
    }

    /// Looks for the peer's FIN or RST although no frame may be delivered.
    ///
    /// Rule: a paused connection sees its peer's end. With no whole frame before it, FIN is reported at once; with whole
    /// frames before it, once they are delivered or given up ([`Conn::finished_since`]). RST ends the connection at once. For
    /// this, a little is read ahead, and only when the kernel has reported the end or a deadline has expired.
    fn look_for_end(&mut self) {
        let is_looking = self.conn.flags.take(Flag::Looking) || self.conn.readiness.read_closed;
        if !is_looking || !self.conn.is_input_paused() || !self.conn.state.takes_frames() || self.conn.is_input_large()
        {
            return;
        }
        let mut len_max = READ_LEN_MIN;
        while len_max > 0 && self.may_read() && !self.buffer.is_full() {
            match self.buffer.read(len_max, self.io, &mut self.conn.readiness, &mut self.budget) {
                Ok(None) => return,
                Ok(Some(0)) => {
                    return match self.next_len() {
                        Err(Stopped::Incomplete { .. } | Stopped::Large { .. } | Stopped::Endless) => {
                            self.peer_finished(self.partial_len());
                        }
                        // It is read again once the frames before it are delivered.
                        Ok(_) | Err(_) => self.conn.readiness.readable = true,
                    };
                }
                Ok(Some(len)) => len_max -= len,
                Err(reason) => return self.conn.state.failed(reason),
            }
        }
        // No event comes if only the budget is spent.
        let is_spent = self.conn.readiness.readable && !self.budget.may_read();
        self.conn.flags.set(Flag::Looking, is_spent && self.buffer.len() < READ_LEN_MIN);
    }

    /// Asks the handler whether a drain may close the connection, once all input that has arrived is delivered.
    ///
    /// Rule: the handler is asked after the last frame that a drain delivers, so it knows all replies that are still to come.
    fn ask_about_drain(&mut self) {
        if !self.conn.is_draining() {
            return;
        }
        let is_delivering = self.has_input() || self.conn.flags.has(Flag::Paused);
        if (is_delivering && self.conn.state.takes_frames()) || self.conn.has_unfinished_reply() {
            return;
        }
        let mut answer = Drain::AtRest;
        self.call(|sink, replies| answer = sink.on_drain(replies));
        self.conn.drain_answered(answer);
        self.flush();
        self.report_low_water();
    }

    /// The length of the frame at the front of the read buffer, if it is whole, or of the next part.
    fn next_len(&self) -> Result<usize, Stopped> {
        match self.next_part() {
            Some(next) => next.map(|next| next.len),
            None => self.buffer.next_len(&self.rules),
        }
    }

    /// How many bytes of an incomplete frame have come.
    fn partial_len(&self) -> usize {
        let parted = self.conn.buffers.as_ref().and_then(|buffers| buffers.input.parted());
        self.buffer.len() + parted.map_or(0, PartedFrame::taken)
    }

    fn has_input(&self) -> bool {
        !self.buffer.is_empty()
            || self.conn.buffers.as_ref().is_some_and(|buffers| !buffers.input.is_empty())
            || self.conn.readiness.readable
    }

    /// Takes the steps toward the end of the connection that are possible now.
    fn end(&mut self) {
        if self.conn.state == State::Open && !self.conn.readiness.failed && !self.conn.is_draining() {
            return;
        }
        self.ask_about_drain();
        self.conn.state.turn_ended();
        let has_output = self.conn.unsent_bytes() > 0;
        let has_more = self.io.has_closing_message() || self.io.wants_write();
        if !has_output && self.conn.state.output_flushed(has_more) {
            self.wishes.shut_down(self.conn, self.io);
        }
        let is_paused = self.conn.flags.has(Flag::Paused);
        if self.conn.readiness.failed && !has_output && self.conn.state.reads_nothing(is_paused) {
            self.conn.state.failed(CloseReason::Reset);
        }
        if self.conn.state.discards_input() {
            self.discard_input();
        }
    }

    /// Reads and discards what the peer has sent before it receives our FIN.
    fn discard_input(&mut self) {
        self.buffer.clear();
        while self.may_read() {
            match self.buffer.read(usize::MAX, self.io, &mut self.conn.readiness, &mut self.budget) {
                Ok(None) => return,
                Ok(Some(0)) => return self.conn.state.peer_finished(0),
                Err(reason) => return self.conn.state.failed(reason),
                Ok(Some(_)) => self.buffer.clear(),
            }
        }
    }

    fn restore_input(&mut self) {
        debug_assert!(self.buffer.is_empty() && self.buffer.is_sent());
        if let Some(buffers) = &mut self.conn.buffers
            && let Some((saved, searched)) = buffers.input.take_bytes()
        {
            self.buffer.restore(saved, searched, &mut self.shared.pool);
        }
    }

    /// Copies what is undelivered and unsent, for the code that takes the socket over.
    ///
    /// Rule: a detached connection owns no memory of the pool from the end of its last turn on, so it cannot be evicted, and nothing
    /// that it leaves is lost.
    fn hand_over(&mut self) {
        debug_assert!(self.buffer.is_sent());
        let Shared { pool, .. } = &mut *self.shared;
        let mut handover = Handover::default();
        if let Some(Buffers { input, output, .. }) = self.conn.buffers.as_deref_mut() {
            handover = Handover { unread: input.take_copy(pool), unsent: output.take_copy(pool) };
        }
        // A large frame is in `input`; anything else was restored to the read buffer.
        handover.unread.extend_from_slice(self.buffer.undelivered());
        self.buffer.clear();
        if handover.is_empty() {
            return self.conn.release(self.shared);
        }
        self.shared.buffers(&mut self.conn.buffers).handover = Some(Box::new(handover));
    }

    /// Saves the undelivered bytes, and sets the clocks for the deadlines. Of a detached connection, hands them over.
    fn save_input(&mut self) {
        debug_assert!(self.buffer.is_sent());
        if self.buffer.is_empty() && self.conn.buffers.is_none() {
            return;
        }
        if self.conn.state.is_detached() {
            return self.hand_over();
        }
        if !self.conn.state.takes_frames() {
            self.buffer.clear();
            if let Some(buffers) = &mut self.conn.buffers {
                buffers.input.release(&mut self.shared.pool);
            }
        }
        if !self.conn.state.takes_output()
            && let Some(buffers) = &mut self.conn.buffers
        {
            buffers.output.low_water_reported();
        }
        let next = self.next_len();
        let (has_frames, searched) = match next {
            Err(Stopped::Incomplete { searched }) => (false, searched),
            Ok(_) | Err(_) => (true, 0),
        };
        if !self.buffer.is_empty()
            && let Some(bytes) = self.save_buffer()
        {
            self.shared.buffers(&mut self.conn.buffers).input.save(bytes, searched);
        }
        if self.conn.buffers.as_ref().is_some_and(|buffers| buffers.is_empty()) {
            return self.conn.release(self.shared);
        }
        self.conn.turn_ended(has_frames, self.frames > 0, self.budget.bytes_out > 0, self.shared);
    }

    /// Moves the bytes in the read buffer to a chunk. Returns `None` if the connection was evicted for lack of memory.
    fn save_buffer(&mut self) -> Option<Chunk> {
        let len = self.buffer.len();
        if self.make_room(capacity_for(len), (len, 0)) {
            return Some(self.buffer.save(&mut self.shared.pool));
        }
        self.buffer.clear();
        None
    }

    /// Makes room for buffers of `needed` bytes. `unsaved` are the connection's input and output in the read buffer.
    ///
    /// Rule: the connection with the most pending input and output is evicted first, and one that needs little goes on. No
    /// connection waits for memory: it is freed in the same call, or this connection holds the most and is evicted itself.
    fn make_room(&mut self, needed: usize, unsaved: (usize, usize)) -> bool {
        if self.shared.pool.has_room(needed) || self.sink.make_room(self.conn.buffered_bytes(), needed, self.shared) {
            return true;
        }
        self.conn.evict(unsaved, self.shared);
        false
    }
}
