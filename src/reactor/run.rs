//! Runs the connections that have work, within the budget of the turn.

use crate::conn::io::Transport;
use crate::conn::turn::{Moved, run};
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::Reactor;
use crate::reactor::budget::TurnBudget;
use crate::reactor::callbacks::{About, HandlerSink};
use crate::reactor::connections::{Open, Phase};
use crate::reactor::deadlines::{BeforeRun, Kind};
use crate::reactor::linted_run::Around;
use crate::reactor::observer::Observer;
use crate::reactor::traced::Traced;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Runs the connections that became ready and are expected to have short runs, then those that wait behind them.
    ///
    /// When the turn's budget is spent, the others keep their places, so that a connection that becomes ready meanwhile does
    /// not wait for all of them.
    pub(super) fn run_queue(&mut self, budget: &mut TurnBudget) {
        // Connections that are queued from here on run in the next turn.
        let (first, waiting) = self.connections.work.queue.lens();
        for going_first in (1..=first).rev() {
            let Some(allowance) = budget.admit_first(going_first, waiting > 0) else {
                self.connections.work.stats.turn_budgets_spent += u64::from(waiting == 0);
                break;
            };
            let Some(id) = self.connections.work.queue.next_first() else { break };
            self.run_admitted(id, allowance, budget);
        }
        for _ in 0..waiting {
            let is_long = self.connections.work.queue.is_next_long(&self.connections.slots);
            let Some(allowance) = budget.admit_next(is_long) else {
                self.connections.work.stats.turn_budgets_spent += 1;
                break;
            };
            let Some(id) = self.connections.work.queue.next_waiting() else { break };
            self.run_admitted(id, allowance, budget);
        }
    }

    /// Takes a connection off the queue and runs it, within `allowance` bytes.
    fn run_admitted(&mut self, id: ConnId, allowance: usize, budget: &mut TurnBudget) {
        let Some(expired) = self.connections.dequeue(id) else { return };
        self.shared.allowance = allowance;
        let moved = self.run_one(id);
        budget.charge(moved.bytes());
        if !expired.is_empty() {
            self.recheck(id, expired, moved);
        }
    }

    /// Runs a connection in its slot. Returns what moved.
    pub(super) fn run_one(&mut self, id: ConnId) -> Moved {
        let Self { handler, connections, read_buffer, shared, deadlines, write_progress, .. } = self;
        let Self { log_limits, recordings, .. } = self;
        let (lints, net) = (self.lints.as_deref_mut(), &self.net);
        let Some((slot, mut others)) = connections.split(id) else { return Moved::default() };
        let Phase::Open(Open { stream, conn, peer, state }) = &mut slot.phase else { return self.check_attempt(id) };
        let (peer, mut moved) = (&*peer, Moved::default());
        if conn.closed().is_none() {
            let before = BeforeRun::of(conn);
            let observed = recordings.observe(id, shared.now);
            let state_before = observed.as_ref().map(|_| conn.state_name());
            // What it holds is noted after the run.
            if let Some(deferred) = others.work.queue.take_deferred(id) {
                conn.queue_deferred(deferred, shared);
            }
            let observer = Observer::of(observed.as_ref());
            let mut io = Traced { stream, observer, counts: others.sockets };
            let mut sink =
                HandlerSink { handler, state, id, peer, reach: &mut others, limit: &mut log_limits.panicked, observer };
            moved = match lints {
                None => run(conn, &mut io, read_buffer, shared, &mut sink),
                Some(lints) => {
                    let around = Around { lints, net, about: About::Conn(id, peer) };
                    around.run(conn, &mut io, read_buffer, shared, &mut sink)
                }
            };
            let now = shared.now;
            if conn.take_relimited() && deadlines.set_limits(id.index, shared.profiles.limits(conn.profile())) {
                deadlines.set(Kind::Idle, id.index, Some(now));
                if conn.is_watched() {
                    write_progress.forget(id.index);
                    conn.watch_anew();
                    io.limit_unsent(false);
                }
            }
            deadlines.follow(id.index, conn, before, moved.has_any(), now);
            let is_due = conn.is_to_be_watched() && deadlines.is_on(Kind::Write, id.index);
            if is_due && !conn.watch_later(&io, moved.bytes_out) {
                let unacknowledged = io.unacknowledged_bytes().ok().flatten().unwrap_or(0);
                write_progress.begin(id.index, now, unacknowledged as u64, conn.unsent_bytes() as u64);
                deadlines.set(Kind::Write, id.index, Some(now));
                conn.take_written();
                conn.watch(true);
            }
            if before.had_buffers || conn.has_buffers() {
                let (held, has_moved) = (conn.buffered_bytes(), moved.has_output_or_frames());
                others.work.eviction.set(&mut slot.eviction_entry, id.index, held, has_moved, now);
            }
            if let Some(name) = state_before {
                recordings.note_run(id, now, name, conn);
            }
        }
        others.note_run(id, slot, moved);
        moved
    }
}
