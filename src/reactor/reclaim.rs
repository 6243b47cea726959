//! Selects the connection to close when the server is full and a client waits to be accepted.
//!
//! Rule: a full server closes the accepted connection that has been idle longest, if it has been idle for `reclaim_idle`,
//! for each client that it accepts in its place. An active connection is never closed for another: frames in either
//! direction, an incomplete frame, pending output and unread input all count as activity.
//!
//! A run of a connection only stores the current tick. When the server is full, the order of the connections is collected, some
//! slots per turn, and used until it is empty: connections that are not in it were active after the collection had begun.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::conn::io::Transport;
use crate::id::ConnId;
use crate::reactor::connections::{Connections, Open};
use crate::reactor::slots::Origin;

/// Time is counted in ticks of 2^20 ns, about 1 ms, which fit the unused bytes of a slot. They wrap after 52 days; a connection
/// that is idle for longer only seems to be idle for a shorter time.
const TICK_SHIFT: u32 = 20;

/// The number of slots that are examined in one turn. Asking a socket counts as many slots.
const STEPS_PER_TURN: usize = 4_096;
const STEPS_PER_SOCKET: usize = 64;

/// The connections in the order of their idle time.
#[derive(Debug)]
pub(crate) struct Reclaim {
    epoch: Instant,
    now: u32,
    /// How long a connection must have been idle to be closed; `None`: never.
    idle_ticks_min: Option<u32>,
    /// When the order was begun.
    begun_at: Option<u32>,
    /// The next slot to be collected, while there is one.
    next_slot: Option<u32>,
    /// By slot, the ticks for which it had been idle when the order was begun.
    order: BinaryHeap<(u32, u32)>,
    steps_left: usize,
}

/// The result of the search for the connection that has been idle longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    Found(ConnId),
    /// None has been idle for long enough.
    Nothing,
    /// The search continues in the next turn.
    Unfinished,
}

impl Reclaim {
    pub(crate) fn new(config: &Config, epoch: Instant) -> Self {
        Self {
            epoch,
            now: 0,
            // More than can be counted is never. At least one: a connection that was active in this tick is not idle.
            idle_ticks_min: config
                .reclaim_idle
                .and_then(|idle| u32::try_from(ticks(idle)).ok())
                .map(|idle| idle.max(1)),
            begun_at: None,
            next_slot: None,
            order: BinaryHeap::new(),
            steps_left: STEPS_PER_TURN,
        }
    }

    /// Begins a turn. Returns its tick.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Instant) -> u32 {
        // The ticks wrap.
        #[allow(clippy::cast_possible_truncation)]
        let now = ticks(now.saturating_duration_since(self.epoch)) as u32;
        self.now = now;
        self.steps_left = STEPS_PER_TURN;
        now
    }

    /// Returns the connection to close for a new one. It is the one that has been idle longest, because the order is a heap
    /// of idle times, and connections that were active since it was begun are skipped.
    pub(crate) fn longest_idle<S: Transport, T>(&mut self, connections: &mut Connections<S, T>) -> Search {
        let Some(idle_min) = self.idle_ticks_min else { return Search::Nothing };
        loop {
            while let Some(slot) = self.next_slot {
                if !self.take_steps(1) {
                    return Search::Unfinished;
                }
                self.collect(slot, connections);
            }
            while let Some(&(idle, slot)) = self.order.peek() {
                let Some(since_begun) = self.since_begun() else { break };
                if idle.saturating_add(since_begun) < idle_min {
                    return Search::Nothing;
                }
                if !self.take_steps(1) {
                    return Search::Unfinished;
                }
                let id = connections.slots.id_of(slot);
                if let Some(id) = id.filter(|id| self.is_idle_since(*id, idle, connections)) {
                    return Search::Found(id);
                }
                self.order.pop();
            }
            // All others were active after the order was begun.
            if self.since_begun().is_some_and(|since_begun| since_begun < idle_min) {
                return Search::Nothing;
            }
            self.begun_at = Some(self.now);
            self.next_slot = Some(0);
        }
    }

    /// Adds a slot to the order, if it has an accepted connection.
    fn collect<S, T>(&mut self, slot: u32, connections: &Connections<S, T>) {
        let slots = &connections.slots;
        self.next_slot = (slot as usize + 1 < slots.end()).then_some(slot + 1);
        let Some(taken) = slots.id_of(slot).and_then(|id| slots.slot(id)) else { return };
        if taken.origin() == Origin::Accepted
            && let Some(idle) = self.idle_when_begun(taken.active_at())
        {
            self.order.push((idle, slot));
        }
    }

    /// Whether a connection is the one that was added to the order, and has been idle ever since.
    ///
    /// The socket is asked too, because it may hold unread input: the process was stopped, or a poll returned only some events.
    fn is_idle_since<S: Transport, T>(&mut self, id: ConnId, idle: u32, connections: &mut Connections<S, T>) -> bool {
        let Connections { slots, work, .. } = connections;
        let Some(slot) = slots.slot_mut(id) else { return false };
        if slot.origin() != Origin::Accepted || self.idle_when_begun(slot.active_at()) != Some(idle) {
            return false;
        }
        let is_queued = work.queue.is_queued(id);
        let Some(Open { stream, conn, .. }) = slot.phase.open_mut() else { return false };
        let is_silent = !is_queued && conn.is_at_rest() && {
            let has_input = !conn.is_half_closed() && stream.has_input();
            self.take_steps(STEPS_PER_SOCKET);
            if has_input {
                conn.look_again();
                work.queue.push(id);
            }
            !has_input
        };
        if !is_silent {
            slot.note_active(self.now);
        }
        is_silent
    }

    fn since_begun(&self) -> Option<u32> {
        self.begun_at.map(|begun| self.now.wrapping_sub(begun))
    }

    /// How long a connection that was last active at a tick had been idle when the order was begun; `None` if it was active
    /// since then.
    fn idle_when_begun(&self, active_at: u32) -> Option<u32> {
        self.now.wrapping_sub(active_at).checked_sub(self.since_begun()?)
    }

    fn take_steps(&mut self, steps: usize) -> bool {
        let may_go_on = self.steps_left > 0;
        self.steps_left = self.steps_left.saturating_sub(steps);
        may_go_on
    }
}

/// The time of so many ticks.
pub(crate) fn duration_of_ticks(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) << TICK_SHIFT)
}

/// Whole ticks.
fn ticks(duration: Duration) -> u128 {
    duration.as_nanos() >> TICK_SHIFT
}
