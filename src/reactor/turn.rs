//! The steps of a turn that its budget admits: messages, timers, and runs of connections.

use log::{Level, log_enabled, trace};

use crate::conn::io::Transport;
use crate::conn::turn::{Moved, run};
use crate::handler::{ConnId, Handler, Peers, Reach};
use crate::reactor::Reactor;
use crate::reactor::budget::TurnBudget;
use crate::reactor::clients::Tenant;
use crate::reactor::deadlines::Kind;
use crate::reactor::handle::Request;
use crate::reactor::net::Net;
use crate::reactor::observed::Observed;
use crate::reactor::sink::{About, HandlerSink, guarded, noted};

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Calls the handler for messages, and takes up what else other threads have asked for.
    pub(super) fn take_requests(&mut self, budget: &mut TurnBudget) {
        while self.mailbox.has_more() && budget.admit_request() {
            match self.mailbox.next() {
                Some(Request::Message(message)) => {
                    self.stats.messages += 1;
                    let Self { handler, clients, shared, gates, .. } = self;
                    let mut peers = Peers::new(clients, shared);
                    let outcome = guarded(|| handler.on_message(&mut peers, message));
                    noted(outcome, "on_message", About::NoConn, shared, &mut gates.panicked);
                }
                Some(Request::End(end)) => self.clients.end(end),
                // Whoever asked may have gone; then nobody wants to know.
                Some(Request::Stats(reply)) => drop(reply.send(self.stats())),
                None => break,
            }
        }
    }

    /// The reactor is done: what was asked of it and not taken up is dropped.
    pub(super) fn discard_requests(&mut self) {
        for request in self.mailbox.finish() {
            let outcome = guarded(|| drop(request));
            let Self { shared, gates, .. } = self;
            noted(outcome, "dropping a message", About::NoConn, shared, &mut gates.panicked);
        }
    }

    /// Calls the handler for the timers that are due; those that it sets meanwhile wait for the next turn.
    pub(super) fn fire_timers(&mut self, budget: &mut TurnBudget) {
        let now = self.now();
        while self.clients.timers.is_due(now) && budget.admit_timer() {
            self.clients.timers.note_due(now);
        }
        while let Some(timer) = self.clients.timers.next_firing() {
            let Self { handler, clients, shared, gates, .. } = self;
            let mut peers = Peers::new(clients, shared);
            let outcome = guarded(|| handler.on_timer(&mut peers, timer));
            noted(outcome, "on_timer", About::NoConn, shared, &mut gates.panicked);
        }
    }

    /// Runs the connections that became ready and will not take long, as far as one can tell, then those in the queue.
    ///
    /// Once the turn's budget is spent the others keep their places, so that a connection that becomes ready meanwhile
    /// need not wait for all of them.
    pub(super) fn run_queue(&mut self, budget: &mut TurnBudget) {
        // What is queued from here on runs in the next turn.
        let (first, waiting) = self.clients.queue_lens();
        for going_first in (1..=first).rev() {
            let Some(allowance) = budget.admit_first(going_first, waiting > 0) else {
                self.stats.turn_budgets_spent += u64::from(waiting == 0);
                break;
            };
            let Some(id) = self.clients.next_first() else { break };
            self.run_admitted(id, allowance, budget);
        }
        for _ in 0..waiting {
            let Some(allowance) = budget.admit_next(self.clients.is_next_long()) else {
                self.stats.turn_budgets_spent += 1;
                break;
            };
            let Some(id) = self.clients.next_waiting() else { break };
            self.run_admitted(id, allowance, budget);
        }
    }

    /// Takes a connection off the queue and runs it, within `allowance` bytes.
    fn run_admitted(&mut self, id: ConnId, allowance: usize, budget: &mut TurnBudget) {
        let Some(expired) = self.clients.dequeue(id) else { return };
        self.shared.allowance = allowance;
        let moved = self.run_one(id);
        budget.charge(moved.bytes());
        if !expired.is_empty() {
            self.judge(id, expired, moved);
        }
    }

    /// Runs a connection. Returns what moved.
    pub(crate) fn run_one(&mut self, id: ConnId) -> Moved {
        let Some(mut tenant) = self.clients.take(id) else { return self.look_at_dial(id) };
        let mut moved = Moved::default();
        if tenant.conn.closed().is_none() {
            let Self { handler, clients, read_buffer, shared, stats, deadlines, acceptance, gates, .. } = self;
            let Tenant { stream, conn, peer, state, .. } = &mut tenant;
            let had_buffers = conn.has_buffers();
            let before = log_enabled!(Level::Trace).then(|| conn.state_name());
            let mut io = Observed { stream, id, stats };
            let mut sink = HandlerSink { handler, state, id, peer, reach: clients, gate: &mut gates.panicked };
            moved = run(conn, &mut io, read_buffer, shared, &mut sink);
            deadlines.follow(id.index, conn, had_buffers, moved.has_any(), shared.now);
            let is_due = conn.is_to_be_watched() && deadlines.is_on(Kind::Write);
            if is_due && !conn.watch_later(&io, moved.bytes_out) {
                let unacknowledged = io.unacknowledged_bytes().ok().flatten().unwrap_or(0);
                acceptance.begin(id.index, unacknowledged as u64, conn.unsent_bytes() as u64);
                deadlines.set(Kind::Write, id.index, Some(shared.now));
                conn.take_written();
                conn.watch(true);
            }
            if had_buffers || conn.has_buffers() {
                clients.note_held(id, conn.buffered_bytes(), moved.has_output_or_frames(), shared.now);
            }
            if let Some(before) = before {
                let (undecoded, owed) = conn.held_bytes();
                let after = conn.state_name();
                trace!(
                    target: "frameloop::reactor",
                    "[{id}] {before} -> {after}: {undecoded} bytes wait to become a frame, {owed} bytes are owed"
                );
            }
        }
        self.clients.put_back(id, tenant, moved);
        moved
    }
}
