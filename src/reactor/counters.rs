//! Counters of each connection, if the configuration asks for them.
//!
//! Rule: without the setting, a connection takes no memory for its counters.

use std::time::Instant;

use crate::conn::turn::Moved;
use crate::info::ConnectionCounters;

/// The counters by slot.
#[derive(Debug)]
pub(crate) struct Counters {
    is_on: bool,
    /// Grows to the highest slot.
    slots: Vec<Counter>,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    opened_at: Instant,
    frames_in: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Counters {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on, slots: Vec::new() }
    }

    /// Begins anew for a connection that opens.
    pub(crate) fn open(&mut self, slot: u32, now: Instant) {
        if !self.is_on {
            return;
        }
        let counter = Counter { opened_at: now, frames_in: 0, bytes_in: 0, bytes_out: 0 };
        let slot = slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, counter);
        }
        self.slots[slot] = counter;
    }

    /// Adds what a run has moved.
    #[inline]
    pub(crate) fn add(&mut self, slot: u32, moved: Moved) {
        // Empty unless they are on.
        if let Some(counter) = self.slots.get_mut(slot as usize) {
            counter.frames_in += moved.frames as u64;
            counter.bytes_in += moved.bytes_in as u64;
            counter.bytes_out += moved.bytes_out as u64;
        }
    }

    pub(crate) fn of(&self, slot: u32, now: Instant) -> Option<ConnectionCounters> {
        let &Counter { opened_at, frames_in, bytes_in, bytes_out } = self.slots.get(slot as usize)?;
        Some(ConnectionCounters { age: now.saturating_duration_since(opened_at), frames_in, bytes_in, bytes_out })
    }
}
