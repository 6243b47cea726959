//! How a connection ends: what the peer's end and the handler's wish lead to, step by step.

use crate::conn::decoder::{Decoded, Inbox, decode};
use crate::conn::run::READ_LEN_MIN;
use crate::conn::workbench::{Budget, Workbench};
use crate::conn::{Backlog, Conn, Sink, State, Transport};
use crate::error::CloseReason;

impl Conn {
    /// Looks for the peer's end although no frame may be handed over.
    ///
    /// Rule: a paused connection sees its peer's end. With nothing before it that is to be handed over, a FIN is reported
    /// at once; with whole frames before it, once they are handed over or given up ([`Conn::finished_since`]). A reset
    /// ends the connection at once. For this, a little is read ahead, and only when the kernel has reported the end or a
    /// deadline has come.
    pub(crate) fn look_for_end(
        &mut self,
        io: &mut impl Transport,
        bench: &mut Workbench,
        sink: &mut impl Sink,
        budget: &mut Budget,
    ) {
        let is_looking = std::mem::take(&mut self.is_looking) || self.edges.read_closed;
        if !is_looking || !self.is_held() || !matches!(self.state, State::Open | State::Draining) {
            return;
        }
        if let Some(Backlog { inbox: Inbox::Large(_), .. }) = self.backlog.as_deref() {
            return;
        }
        let mut room = READ_LEN_MIN;
        while room > 0 && self.may_read(bench, budget) {
            let spare = bench.spare_mut(room);
            if spare.is_empty() {
                return;
            }
            match self.edges.read(io, spare, budget) {
                Ok(None) => return,
                Ok(Some(0)) => return self.find_end(bench, sink),
                Ok(Some(len)) => {
                    bench.work.advance(len);
                    room -= len;
                }
                Err(reason) => return self.cut(reason),
            }
        }
    }

    /// The peer's FIN was read behind what lies on the workbench.
    fn find_end(&mut self, bench: &mut Workbench, sink: &mut impl Sink) {
        match decode(bench.work.as_slice(), bench.supplies.config.payload_len_max) {
            Ok(Decoded::Incomplete | Decoded::Large { .. }) => {
                let received = bench.work.len();
                self.finish(bench, sink, received);
            }
            // It is read again once these are handed over.
            Ok(Decoded::Frame { .. }) | Err(_) => self.edges.readable = true,
        }
    }

    /// The peer has sent its last byte; `received` bytes of a frame are left over.
    pub(crate) fn finish(&mut self, bench: &mut Workbench, sink: &mut impl Sink, received: usize) {
        if self.edges.failed {
            // An RST came behind the FIN, of which a read tells nothing: whatever is owed is lost.
            return self.cut(CloseReason::Reset);
        }
        let reason = match received {
            0 => CloseReason::PeerFinished,
            received => CloseReason::TruncatedFrame { received },
        };
        if self.state == State::Open && received == 0 {
            self.state = State::HalfClosed;
            self.ask(bench, |replies| sink.on_half_close(replies));
        } else {
            self.state = State::Flushing { reason, peer_still_sends: false };
        }
    }

    /// Takes the steps that end a connection, as far as they can be taken.
    pub(crate) fn end(&mut self, io: &mut impl Transport, bench: &mut Workbench, budget: &mut Budget) {
        if matches!(self.state, State::Open) && !self.edges.failed {
            // There is no end in sight.
            return;
        }
        let now = bench.supplies.now;
        let owes = self.unsent_bytes() > 0;
        let has_input = !bench.work.is_empty()
            || self.backlog.as_ref().is_some_and(|backlog| !backlog.inbox.is_empty())
            || self.edges.readable;
        if self.state == State::Draining && (!has_input || self.flow.is_paused) {
            self.state = State::Flushing { reason: CloseReason::Drained, peer_still_sends: true };
        }
        match self.state {
            State::Flushing { reason, peer_still_sends: true } if !owes => {
                // A peer that reads no more cannot be told either; its answer is awaited all the same.
                self.state = match io.shutdown_write() {
                    Ok(()) => State::Lingering { reason, since: now },
                    Err(_) => State::Closed(reason),
                };
                self.edges.readable = true;
            }
            State::Flushing { reason, peer_still_sends: false } if !owes => self.state = State::Closed(reason),
            State::Open
            | State::Draining
            | State::HalfClosed
            | State::Flushing { .. }
            | State::Lingering { .. }
            | State::Closed(_) => {}
        }
        match self.state {
            // Neither read nor written, so neither a read nor a write will tell.
            State::HalfClosed if self.edges.failed && !owes => self.cut(CloseReason::Reset),
            State::Open | State::Draining if self.edges.failed && !owes && self.flow.is_paused => {
                self.cut(CloseReason::Reset)
            }
            State::Lingering { reason, .. } => self.discard(io, bench, budget, reason),
            State::Open | State::Draining | State::HalfClosed | State::Flushing { .. } | State::Closed(_) => {}
        }
    }

    /// Reads and throws away what a peer sends that does not know yet that we have finished.
    fn discard(&mut self, io: &mut impl Transport, bench: &mut Workbench, budget: &mut Budget, reason: CloseReason) {
        bench.clear();
        while self.may_read(bench, budget) {
            match self.edges.read(io, bench.work.spare_mut(), budget) {
                Ok(None) => return,
                Ok(Some(0)) | Err(_) => self.state = State::Closed(reason),
                Ok(Some(_)) => continue,
            }
            return;
        }
    }
}
