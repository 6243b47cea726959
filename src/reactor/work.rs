//! The work of a reactor that needs no event.

use std::collections::VecDeque;
use std::time::Instant;

use crate::config::Config;
use crate::error::{DialRefused, TimerRefused};
use crate::id::{ConnId, ListenerId, TimerId};
use crate::reach::End;
use crate::reactor::counters::Counters;
use crate::reactor::eviction::Eviction;
use crate::reactor::run_queue::RunQueue;
use crate::reactor::timers::Timers;

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) queue: RunQueue,
    pub(crate) timers: Timers,
    pub(crate) eviction: Eviction,
    pub(crate) counters: Counters,
    /// Connections that have closed and dials that have failed; their slots are freed at the end of the turn.
    ended: Vec<ConnId>,
    /// Dials that have not begun, in order; some may have failed since.
    to_dial: VecDeque<ConnId>,
    // Invariant: how many slots are `Reserved`.
    reserved: usize,
    /// The listeners that a handler wants closed; `None` = all.
    unlistens: Vec<Option<ListenerId>>,
    /// A handler or another thread has requested the reactor to end.
    end: Option<End>,
    /// The reactor drains or has stopped.
    is_ending: bool,
    /// The tick of this turn, for [`Slot::active_at`](crate::reactor::slots::Slot::active_at).
    tick: u32,
    /// The handler has woken the connection that the callback is about.
    is_woken: bool,
    dials_max: usize,
    timers_max: usize,
}

impl Work {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            queue: RunQueue::default(),
            timers: Timers::default(),
            eviction: Eviction::new(config, now),
            counters: Counters::new(config.connection_counters),
            ended: Vec::new(),
            to_dial: VecDeque::new(),
            reserved: 0,
            unlistens: Vec::new(),
            end: None,
            is_ending: false,
            tick: 0,
            is_woken: false,
            dials_max: config.dials_max,
            timers_max: config.timers_max,
        }
    }

    /// Whether anything is to be done without an event.
    pub(crate) fn is_waiting(&self) -> bool {
        let is_awaited = !self.queue.is_empty() || !self.unlistens.is_empty();
        is_awaited || !self.ended.is_empty() || !self.to_dial.is_empty() || self.end.is_some()
    }

    pub(crate) fn begin_turn(&mut self, tick: u32) {
        self.tick = tick;
    }

    pub(crate) fn tick(&self) -> u32 {
        self.tick
    }

    pub(crate) fn note_woken(&mut self) {
        self.is_woken = true;
    }

    /// Whether the handler has woken the connection that the last callbacks were about.
    pub(crate) fn take_woken(&mut self) -> bool {
        std::mem::take(&mut self.is_woken)
    }

    pub(crate) fn note_ended(&mut self, id: ConnId) {
        self.ended.push(id);
    }

    pub(crate) fn next_ended(&mut self) -> Option<ConnId> {
        self.ended.pop()
    }

    #[cfg(test)]
    pub(crate) fn is_reaped(&self) -> bool {
        self.ended.is_empty()
    }

    /// Whether another dial may be reserved.
    ///
    /// Rule: a reactor that is ending accepts no new dial, so it ends whatever a handler does.
    pub(crate) fn admit_dial(&self) -> Result<(), DialRefused> {
        if self.is_ending || self.end.is_some() {
            return Err(DialRefused::Ending);
        }
        if self.reserved >= self.dials_max {
            return Err(DialRefused::TooMany { allowed: self.dials_max });
        }
        Ok(())
    }

    /// How many slots are `Reserved`.
    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    pub(crate) fn note_reserved(&mut self) {
        self.reserved += 1;
    }

    pub(crate) fn note_unreserved(&mut self) {
        self.reserved -= 1;
    }

    pub(crate) fn queue_dial(&mut self, id: ConnId) {
        self.to_dial.push_back(id);
    }

    pub(crate) fn next_dial(&mut self) -> Option<ConnId> {
        self.to_dial.pop_front()
    }

    #[cfg(test)]
    pub(crate) fn is_to_dial(&self, id: ConnId) -> bool {
        self.to_dial.contains(&id)
    }

    pub(crate) fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        if self.timers.len() >= self.timers_max {
            return Err(TimerRefused::TooMany { allowed: self.timers_max });
        }
        Ok(self.timers.set(at))
    }

    pub(crate) fn request_unlisten(&mut self, id: Option<ListenerId>) {
        self.unlistens.push(id);
    }

    pub(crate) fn next_unlisten(&mut self) -> Option<Option<ListenerId>> {
        self.unlistens.pop()
    }

    /// A stop takes precedence over a drain.
    pub(crate) fn request_end(&mut self, end: End) {
        self.end = self.end.max(Some(end));
    }

    pub(crate) fn is_end_requested(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Notes that the reactor begins to drain, or stops.
    pub(crate) fn begin_end(&mut self) {
        self.is_ending = true;
    }
}
