//! A connection at the memory limit.
//!
//! The rule: whoever uses the memory pays for its lack. The connection with the most pending input and output is closed
//! first, and one that needs little goes on, with the memory that this frees.
//!
//! No connection waits for memory: what is needed is freed in the same call, or it is the one in need that holds the most.

use crate::conn::chunk::{Chunk, capacity_for};
use crate::conn::outbox::Sent;
use crate::conn::workbench::{Supplies, Workbench};
use crate::conn::{Conn, Sink};
use crate::error::CloseReason;
use crate::frame::HEADER_LEN;

impl Conn {
    /// Sees to room for buffers of `needed` bytes. There is none only where no other connection holds more than this one
    /// would; then it is this one that is evicted. `on_bench` is its input and output on the workbench, which is lost too.
    pub(crate) fn has_room(
        &mut self,
        needed: usize,
        on_bench: (usize, usize),
        supplies: &mut Supplies,
        sink: &mut impl Sink,
    ) -> bool {
        if supplies.pool.has_room(needed) || sink.make_room(self.buffered_bytes(), needed, supplies) {
            return true;
        }
        let (input, output) = self.held_bytes();
        self.cut(evicted(input + on_bench.0, output + on_bench.1));
        self.release(supplies);
        false
    }

    /// Takes the bytes on the workbench in a chunk of the connection's own. `None` if it was evicted for want of it.
    pub(crate) fn keep(&mut self, bench: &mut Workbench, sink: &mut impl Sink) -> Option<Chunk> {
        let len = bench.work.len();
        if self.has_room(capacity_for(len), (len, 0), &mut bench.supplies, sink) {
            return Some(bench.supplies.pool.keep(&mut bench.work));
        }
        bench.clear();
        None
    }

    /// Closes at once to free its buffers for others, and gives them back; what is owed is lost.
    pub(crate) fn evict(&mut self, supplies: &mut Supplies) {
        let (input, output) = self.held_bytes();
        self.cut(evicted(input, output));
        self.release(supplies);
    }

    /// Queues a frame that this connection did not ask for. It goes out when the connection runs next.
    ///
    /// The rule: a message that finds no room is its sender's loss. No connection ends because of it, neither this one nor
    /// another.
    pub(crate) fn send(&mut self, payload: &[u8], supplies: &mut Supplies) -> Sent {
        if !self.is_taking_output() {
            return supplies.refuse(Sent::Gone);
        }
        let is_over = self.backlog.as_ref().is_some_and(|backlog| backlog.outbox.is_over());
        self.with_replies(supplies, |replies| {
            let needed = replies.room_needed(HEADER_LEN + payload.len());
            // Over the mark it is refused for that, whatever room there is.
            let has_room = is_over || needed == 0 || replies.supplies.pool.has_room_for_message(needed);
            let sent = if has_room { replies.reply(payload) } else { Sent::NoMemory };
            replies.supplies.refuse(sent)
        })
    }
}

/// A reason as small as others, since every connection has room for one.
fn evicted(input: usize, output: usize) -> CloseReason {
    let count = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
    CloseReason::Evicted { input: count(input), output: count(output) }
}
