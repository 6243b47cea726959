//! The work of a reactor that needs no event.

use std::collections::VecDeque;
use std::time::Instant;

use crate::address::Address;
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::shared::Shared;
use crate::error::{DialRefused, Error, TimerRefused};
use crate::id::{ConnId, TimerId};
use crate::reach::{End, ListenerRequest};
use crate::reactor::counters::Counters;
use crate::reactor::eviction::Eviction;
use crate::reactor::run_queue::RunQueue;
use crate::reactor::timers::Timers;
use crate::reactor::traced::SocketCounts;
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) queue: RunQueue,
    pub(crate) timers: Timers,
    pub(crate) eviction: Eviction,
    pub(crate) counters: Counters,
    /// Without what connections count: [`snapshot`](Self::snapshot) adds that.
    pub(crate) stats: Stats,
    /// Connections that have closed and dials that have failed; their slots are freed at the end of the turn.
    ended: Vec<ConnId>,
    /// Dials that have not begun, in order; some may have failed since.
    to_dial: VecDeque<ConnId>,
    // Invariant: how many slots are `Reserved`.
    reserved: usize,
    /// What a handler wants of listeners, in order.
    listener_requests: Vec<ListenerRequest>,
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
            stats: Stats::default(),
            ended: Vec::new(),
            to_dial: VecDeque::new(),
            reserved: 0,
            listener_requests: Vec::new(),
            end: None,
            is_ending: false,
            tick: 0,
            is_woken: false,
            dials_max: config.dials_max,
            timers_max: config.timers_max,
        }
    }

    /// Returns all counters. There are so many connections and dials.
    pub(crate) fn snapshot(&self, sockets: &SocketCounts, slots: usize, shared: &Shared) -> Stats {
        let mut stats = self.stats.clone();
        stats.take_over(shared);
        sockets.write_to(&mut stats);
        stats.dialing = slots as u64 - stats.connections;
        stats
    }

    /// Whether anything is to be done without an event.
    pub(crate) fn is_waiting(&self) -> bool {
        let is_awaited = !self.queue.is_empty() || !self.listener_requests.is_empty();
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

    /// Queues an open connection that `wants_turn`. Another one waits for an event, and is idle if nothing is pending.
    #[inline]
    pub(crate) fn queue_or_note_idle(&mut self, id: ConnId, conn: &Conn, wants_turn: bool) {
        if wants_turn {
            self.queue.push(id);
        } else if conn.may_defer() {
            self.queue.note_idle(id, conn.profile());
        }
    }

    pub(crate) fn note_ended(&mut self, id: ConnId) {
        self.queue.note_ended(id);
        self.ended.push(id);
    }

    pub(crate) fn next_ended(&mut self) -> Option<ConnId> {
        self.ended.pop()
    }

    /// Connections that are queued to run, and those that have closed in this turn.
    pub(crate) fn ids_to_run(&self) -> impl Iterator<Item = ConnId> {
        self.queue.iter().chain(self.ended.iter().copied())
    }

    #[cfg(test)]
    pub(crate) fn is_reaped(&self) -> bool {
        self.ended.is_empty()
    }

    /// Whether another dial may be reserved.
    ///
    /// Rule: a reactor that is ending accepts no new dial, so it ends whatever a handler does.
    pub(crate) fn admit_dial(&self) -> Result<(), DialRefused> {
        if self.is_ending() {
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

    /// Whether the reactor drains, has stopped, or was asked to.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending || self.end.is_some()
    }

    /// Whether the reactor may listen on another address.
    pub(crate) fn admit_listen(&self, addr: &Address) -> Result<(), Error> {
        if self.is_ending() { Err(Error::Ending { addr: addr.clone() }) } else { Ok(()) }
    }

    pub(crate) fn push_listener_request(&mut self, request: ListenerRequest) {
        self.listener_requests.push(request);
    }

    /// Takes what was requested of listeners. Requests that are made meanwhile wait for the next turn, so that a turn ends.
    pub(crate) fn take_listener_requests(&mut self) -> Vec<ListenerRequest> {
        std::mem::take(&mut self.listener_requests)
    }

    /// A stop takes precedence over a drain.
    pub(crate) fn request_end(&mut self, end: End) {
        self.end = self.end.max(Some(end));
    }

    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Notes that the reactor begins to drain, or stops.
    pub(crate) fn begin_end(&mut self) {
        self.is_ending = true;
    }
}
