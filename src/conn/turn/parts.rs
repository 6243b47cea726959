//! How a turn delivers a frame in parts, straight from the read buffer.

use crate::conn::buffers::Buffers;
use crate::conn::flags::Flag;
use crate::conn::input::Stopped;
use crate::conn::io::Transport;
use crate::conn::part::{FramePart, NextPart, PartedFrame};
use crate::conn::profile::Rules;
use crate::conn::sink::Sink;
use crate::conn::turn::Turn;

impl<T: Transport, S: Sink> Turn<'_, T, S> {
    /// Begins a frame with the bytes that have come of it: `header_len` bytes, and perhaps some of its payload.
    pub(super) fn begin_parts(&mut self, payload_len: Option<u64>, header_len: usize) {
        // The header comes with the first part, so both wait.
        if self.conn.is_input_paused() {
            return;
        }
        let Rules { framing, max_payload, .. } = self.rules;
        let frame = PartedFrame::new(framing, max_payload, payload_len, header_len);
        let first = frame.next(&self.buffer.undelivered()[header_len..], 0);
        self.shared.buffers(&mut self.conn.buffers).input.begin_parts(frame);
        self.deliver_part(Some(header_len), first.unwrap_or(NextPart::EMPTY));
    }

    /// Delivers the next part, or reads more. Returns whether to go on.
    pub(super) fn receive_part(&mut self) -> bool {
        match self.next_part() {
            Some(Ok(next)) => {
                self.deliver_part(None, next);
                true
            }
            Some(Err(Stopped::Invalid(error))) => {
                self.reject(error);
                false
            }
            Some(Err(_)) | None => self.read(),
        }
    }

    /// What of the read buffer is the next part, if a frame is delivered in parts.
    pub(super) fn next_part(&self) -> Option<Result<NextPart, Stopped>> {
        let frame = self.conn.buffers.as_ref()?.input.parted()?;
        Some(frame.next(self.buffer.undelivered(), self.buffer.searched()))
    }

    /// Calls the handler for a part: the first, behind a header of `header_len` bytes, or another.
    fn deliver_part(&mut self, header_len: Option<usize>, next: NextPart) {
        let Some(Buffers { input, .. }) = self.conn.buffers.as_deref_mut() else { return };
        let Some((offset, payload_len)) = input.deliver_part(next) else { return };
        if next.is_last {
            self.budget.frames = self.budget.frames.saturating_sub(1);
            self.frames += 1;
        }
        let (is_first, header_len) = (header_len.is_some(), header_len.unwrap_or(0));
        let Self { conn, io, sink, shared, rules, buffer, .. } = self;
        let (header, bytes) = buffer.undelivered().split_at(header_len);
        let bytes = &bytes[..next.payload_len];
        let part = FramePart { header, bytes, offset, payload_len, is_first, is_last: next.is_last };
        conn.with_replies_by(rules, None, Some(&**io), shared, |replies| sink.on_frame_part(part, replies));
        buffer.part_delivered(header_len + next.len, next.is_last);
        if self.conn.flags.take(Flag::Redecode) {
            self.buffer.search_anew();
        }
        self.flush();
    }
}
