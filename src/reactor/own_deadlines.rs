//! The deadlines of the few connections whose timeouts are not those of the configuration.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::reactor::deadline_kind::{DeadlineKind as Kind, NOT_SET, nanos};

/// A timeout for each kind of deadline; `None` = off.
pub(crate) type Timeouts = [Option<Duration>; Kind::ALL.len()];

/// Deadlines by slot, and in their order. Setting one is O(log n).
#[derive(Debug, Default)]
pub(crate) struct OwnDeadlines {
    slots: HashMap<u32, Own>,
    // Invariant: for each kind, the deadlines that are set.
    due: [BTreeSet<(u64, u32)>; Kind::ALL.len()],
}

#[derive(Debug)]
struct Own {
    timeouts: Timeouts,
    /// In nanoseconds since the epoch.
    due: [u64; Kind::ALL.len()],
}

impl OwnDeadlines {
    /// Whether no slot has its own timeouts.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The timeouts of a slot, if it has its own.
    #[inline]
    pub(crate) fn timeouts(&self, slot: u32) -> Option<&Timeouts> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots.get(&slot).map(|own| &own.timeouts)
    }

    /// Gives a slot its own timeouts. None of its deadlines is set.
    pub(crate) fn insert(&mut self, slot: u32, timeouts: Timeouts) {
        self.remove(slot);
        self.slots.insert(slot, Own { timeouts, due: [NOT_SET; Kind::ALL.len()] });
    }

    /// Removes the deadlines of a slot and its timeouts.
    pub(crate) fn remove(&mut self, slot: u32) {
        if self.slots.is_empty() {
            return;
        }
        let Some(own) = self.slots.remove(&slot) else { return };
        for (in_order, due) in self.due.iter_mut().zip(own.due) {
            in_order.remove(&(due, slot));
        }
        if self.slots.len() < self.slots.capacity() / 8 {
            self.slots.shrink_to_fit();
        }
    }

    /// Sets a deadline to the timeout after `since`, in nanoseconds since the epoch; `NOT_SET` removes it. Returns whether the
    /// slot has its own timeouts.
    #[inline]
    pub(crate) fn set(&mut self, kind: Kind, slot: u32, since: u64) -> bool {
        !self.slots.is_empty() && self.set_own(kind, slot, since)
    }

    fn set_own(&mut self, kind: Kind, slot: u32, since: u64) -> bool {
        let Some(own) = self.slots.get_mut(&slot) else { return false };
        let due = match own.timeouts[kind as usize] {
            Some(timeout) if since != NOT_SET => since.saturating_add(nanos(timeout)).min(NOT_SET - 1),
            Some(_) | None => NOT_SET,
        };
        let before = std::mem::replace(&mut own.due[kind as usize], due);
        if before != due {
            let in_order = &mut self.due[kind as usize];
            in_order.remove(&(before, slot));
            if due != NOT_SET {
                in_order.insert((due, slot));
            }
        }
        true
    }

    /// The earliest deadline of all; `NOT_SET` if there is none.
    #[inline]
    pub(crate) fn earliest(&self) -> u64 {
        if self.slots.is_empty() {
            return NOT_SET;
        }
        self.due.iter().filter_map(BTreeSet::first).map(|(due, _)| *due).min().unwrap_or(NOT_SET)
    }

    /// Removes an expired deadline of this kind, and returns its slot.
    pub(crate) fn expired(&mut self, kind: Kind, now: u64) -> Option<u32> {
        let in_order = &mut self.due[kind as usize];
        let &(due, slot) = in_order.first().filter(|(due, _)| *due <= now)?;
        in_order.remove(&(due, slot));
        if let Some(own) = self.slots.get_mut(&slot) {
            own.due[kind as usize] = NOT_SET;
        }
        Some(slot)
    }

    pub(crate) fn is_set(&self, kind: Kind, slot: u32) -> bool {
        self.due(kind, slot) != NOT_SET
    }

    /// The deadline, in nanoseconds since the epoch; `NOT_SET` if it is not set.
    pub(crate) fn due(&self, kind: Kind, slot: u32) -> u64 {
        self.slots.get(&slot).map_or(NOT_SET, |own| own.due[kind as usize])
    }
}
