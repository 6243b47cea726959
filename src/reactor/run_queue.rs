//! The connections that have work and need no new event, in the order in which they run.

use std::collections::VecDeque;

use crate::conn::turn::Moved;
use crate::id::ConnId;
use crate::reactor::slots::{Slot, Slots};

/// The most bytes, read and written, of a run that counts as short: some small requests.
pub(crate) const SHORT_RUN_BYTES: usize = 4 << 10;

/// How many short runs make a long one forgotten: with one, a small frame before each burst would let all bursts go first.
const LONG_RUN_MEMORY: u8 = 4;

/// The run queue.
///
/// A connection is in it at most once, even if another event arrives; otherwise a turn would grow with every event for a
/// connection that has used up a budget. An entry can outlive its connection: it then finds nothing.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    /// Became ready, and had short runs of late: they run first.
    first: VecDeque<ConnId>,
    /// Became ready after a long run, used up a budget, or were called by a handler: they run next, without a new event, in
    /// this order.
    waiting: VecDeque<ConnId>,
}

impl RunQueue {
    /// Queues a connection that became ready, unless it is queued.
    #[inline]
    pub(crate) fn push_ready<P>(&mut self, id: ConnId, slot: &mut Slot<P>) {
        let goes_first = slot.short_runs_due == 0;
        if !std::mem::replace(&mut slot.queued, true) {
            if goes_first { self.first.push_back(id) } else { self.waiting.push_back(id) }
        }
    }

    /// Queues a connection behind the others, unless it is queued.
    #[inline]
    pub(crate) fn push<P>(&mut self, id: ConnId, slot: &mut Slot<P>) {
        if !std::mem::replace(&mut slot.queued, true) {
            self.waiting.push_back(id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty()
    }

    /// How many run first, and how many wait behind them.
    pub(crate) fn lens(&self) -> (usize, usize) {
        (self.first.len(), self.waiting.len())
    }

    pub(crate) fn next_first(&mut self) -> Option<ConnId> {
        self.first.pop_front()
    }

    pub(crate) fn next_waiting(&mut self) -> Option<ConnId> {
        self.waiting.pop_front()
    }

    /// Whether the connection that has waited longest had a long run of late.
    pub(crate) fn is_next_long<P: Default>(&self, slots: &Slots<P>) -> bool {
        let next = self.waiting.front().and_then(|id| slots.slot(*id));
        next.is_some_and(|slot| slot.short_runs_due > 0)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = ConnId> {
        self.first.iter().chain(&self.waiting).copied()
    }
}

/// Notes how long a connection's run was.
#[inline]
pub(crate) fn note_run_len<P>(slot: &mut Slot<P>, moved: Moved) {
    slot.short_runs_due = match moved.bytes() {
        0..=SHORT_RUN_BYTES => slot.short_runs_due.saturating_sub(1),
        _ => LONG_RUN_MEMORY,
    };
}
