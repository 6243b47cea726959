//! How a turn delivers frames: from the read buffer, or, if they are longer than a chunk, from chunks of their own.

use crate::conn::Conn;
use crate::conn::buffers::Buffers;
use crate::conn::flags::Flag;
use crate::conn::frame::{Body, Frame, Joined};
use crate::conn::input::Stopped;
use crate::conn::io::Transport;
use crate::conn::large::LargeFrame;
use crate::conn::shared::Delivering;
use crate::conn::sink::{Local, Replies, Sink, Verdict};
use crate::conn::turn::Turn;
use crate::wire::{Decode, U32Be};

impl<T: Transport, S: Sink> Turn<'_, T, S> {
    /// Calls the handler for the whole frames in the read buffer.
    ///
    /// Rule: the framing is matched once per read, not once per frame. A callback that changes it or the limits ends the loop, and
    /// the rest is decoded anew.
    pub(super) fn deliver(&mut self) -> Stopped {
        loop {
            let framing = self.rules.framing;
            let stopped = if self.rules.is_u32_be { self.deliver_with(U32Be) } else { self.deliver_with(framing) };
            let is_changed = self.conn.flags.take(Flag::Redecode);
            if !is_changed || !self.conn.state.takes_frames() {
                return stopped;
            }
            self.buffer.search_anew();
            // Between its marks, output that was full stays full: raised marks do not let the next frame pass.
            if self.conn.is_input_paused() {
                return Stopped::OutputFull;
            }
        }
    }

    pub(super) fn deliver_with(&mut self, decoder: impl Decode) -> Stopped {
        let before = self.budget.frames;
        self.shared.delivering.framing = self.rules.framing;
        let (mut frames, bytes, echo, direct) = self.buffer.frames(decoder, before, self.rules.max_payload);
        let mut verdict = self.conn.verdict();
        let Conn { state, buffers, flags, .. } = &mut *self.conn;
        let (local, shared, rules) = (Some(&*self.io as &dyn Local), &mut *self.shared, &mut self.rules);
        let direct = Some(direct);
        let mut replies =
            Replies { bytes, echo, direct, buffers, state, local, shared, flags, rules, verdict: &mut verdict };
        self.sink.on_frames(&mut frames, &mut replies);
        let (next, budget, stopped) = (frames.next, frames.budget, frames.stopped);
        self.buffer.delivered(next, stopped.searched());
        self.conn.profile = self.rules.profile;
        self.budget.frames = budget;
        self.frames += before - budget;
        if verdict != Verdict::Continue {
            self.conn.obey(verdict);
        }
        stopped
    }

    /// Makes the bytes in the read buffer the beginning of a frame that is longer than a chunk.
    pub(super) fn begin_large(&mut self, frame_len: usize, payload_start: usize) -> bool {
        // Delivered bytes before it must not count for the capacity that it may have.
        self.buffer.compact();
        let Some(first) = self.save_buffer() else { return false };
        let frame = LargeFrame::new(first, frame_len, payload_start, self.rules.framing);
        self.shared.buffers(&mut self.conn.buffers).input.begin_large(frame);
        true
    }

    /// Reads more of a large frame, straight into its chunks, and delivers it once it is whole. Returns whether to go on.
    pub(super) fn receive_large(&mut self) -> bool {
        let needed = self.conn.buffers.as_ref().map_or(0, |buffers| buffers.input.room_needed());
        if !self.may_read() || !self.make_room(needed, (0, 0)) {
            return false;
        }
        let Some(Buffers { input, .. }) = self.conn.buffers.as_deref_mut() else { return false };
        match input.read_large(self.io, &mut self.conn.readiness, &mut self.budget, &mut self.shared.pool) {
            Ok(None) => return false,
            Ok(Some(0)) => self.peer_finished(self.conn.held_bytes().0),
            Ok(Some(len)) => self.large_grew(len),
            Err(reason) => self.conn.state.failed(reason),
        }
        true
    }

    /// Delivers a large frame if its end is among the last `len` bytes.
    pub(super) fn large_grew(&mut self, len: usize) {
        let input = self.conn.buffers.as_deref_mut().map(|buffers| &mut buffers.input);
        let Some(frame) = input.and_then(|input| input.large_mut()) else { return };
        // The bytes behind a delimiter belong to the next frame.
        let behind = frame.find_end(len);
        if let Some(delimiter) = frame.endless() {
            return self.reject(delimiter.too_long(self.rules.max_payload));
        }
        self.deliver_large();
        if let Some(behind) = behind {
            self.buffer.put(&behind);
        }
    }

    /// Calls the handler for a large frame if it is whole.
    pub(super) fn deliver_large(&mut self) {
        let input = self.conn.buffers.as_deref_mut().map(|buffers| &mut buffers.input);
        let Some(frame) = input.and_then(|input| input.take_whole_large()) else { return };
        let payload = frame.payload();
        let LargeFrame { mut chunks, capacity, frame_len, framing, .. } = frame;
        self.shared.delivering = Delivering { framing, capacity };
        let joined = Joined::with_buffer(self.shared.pool.take_joined());
        self.budget.frames = self.budget.frames.saturating_sub(1);
        self.frames += 1;
        self.call(|sink, replies| {
            let body = Body::Large { chunks: &mut chunks, frame_len, joined: &joined };
            sink.on_frame(Frame { body, payload }, replies);
        });
        chunks.drain(..).for_each(|chunk| self.shared.pool.release(chunk));
        self.shared.pool.put_joined(joined.into_buffer());
        self.shared.delivering.capacity = 0;
        self.flush();
    }
}
