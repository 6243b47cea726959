//! The steps of a turn, in their order.

use std::time::Duration;

use log::trace;

use crate::config::after;
use crate::error::{CloseReason, Error};
use crate::handler::{Context, Handler};
use crate::id::SourceId;
use crate::net::Net;
use crate::reach::{End, Reach};
use crate::reactor::budget::TurnBudget;
use crate::reactor::callbacks::{About, guarded, noted};
use crate::reactor::event::ConnectionEvent;
use crate::reactor::handle::Request;
use crate::reactor::log_limit::CONN;
use crate::reactor::token::Subject;
use crate::reactor::{Life, Reactor, Turn, lint_turn};

/// Unused buffers are freed in steps this far apart.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Polls once, for at most `timeout` (`None` = until an event or a deadline), and does everything that is due then.
    ///
    /// It returns early if there is work already, a deadline passes, or a signal comes. `Some(Duration::ZERO)` does not wait.
    /// The work of one turn is limited by [`turn_budget`](crate::ConfigBuilder::turn_budget); more waits for the next turn.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`] if the readiness queue fails. No peer can cause an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use frameloop::{Config, Echo, Reactor, Turn};
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// assert_eq!(reactor.turn(Some(Duration::ZERO))?, Turn::Running);
    /// reactor.stop();
    /// assert_eq!(reactor.turn(None)?, Turn::Done);
    /// # Ok::<(), frameloop::Error>(())
    /// ```
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<Turn, Error> {
        if self.mailbox.is_finished() {
            return Ok(Turn::Done);
        }
        self.mailbox.note_driver();
        self.net.poll(self.sleep(timeout)).map_err(Error::Poll)?;
        self.connections.work.stats.polls += 1;
        let began = self.net.now();
        self.shared.now = began;
        self.connections.work.begin_turn(self.reclaim.begin_turn(began));
        let moved_before = self.connections.sockets.bytes_moved();
        let mut budget = TurnBudget::new(&self.config);

        self.begin_linted_turn();
        self.take_events();
        self.take_requests(&mut budget);
        self.fire_timers(&mut budget);
        self.queue_expired();
        self.run_queue(&mut budget);
        self.listen_as_asked();
        self.accept();
        self.begin_dials();
        self.end_if_asked();
        self.reap();
        self.tidy();

        self.note_turn(self.net.now().saturating_duration_since(began), moved_before);
        let outlook = self.outlook();
        if outlook == Turn::Done {
            self.discard_requests();
        }
        Ok(outlook)
    }

    /// How long the poll may sleep.
    pub(super) fn sleep(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.has_work() || timeout == Some(Duration::ZERO) {
            return Some(Duration::ZERO);
        }
        let until_due = self.next_due().map(|due| due.saturating_duration_since(self.net.now()));
        timeout.into_iter().chain(until_due).min()
    }

    /// Notes the events of the poll. Connections do not run yet: each runs once per turn, whatever events there are for it.
    fn take_events(&mut self) {
        let Self { net, connections, listeners, mailbox, handler, shared, log_limits, recordings, lints, .. } = self;
        let mut count = 0;
        let is_observing = recordings.is_observing();
        for ready in net.events() {
            count += 1;
            match Subject::of_token(ready.token) {
                Subject::Conn(id) => {
                    if is_observing {
                        recordings.note(id, shared.now, ConnectionEvent::Ready(ready.readiness));
                    }
                    if !connections.note_ready(id, ready.readiness) {
                        trace!(target: CONN, "[{id}] stale event, the connection is closed");
                    }
                }
                Subject::Listener(id) => listeners.note_ready(id),
                Subject::Waker => mailbox.note_woken(),
                Subject::Source(number) if net.is_watched(ready.token) => {
                    let mut peers = Context::new(connections, shared);
                    let begun = lint_turn::begun(lints.as_deref(), net);
                    let outcome = guarded(|| handler.on_source(&mut peers, SourceId(number), ready.readiness));
                    lint_turn::ended(lints.as_deref_mut(), net, "on_source", About::NoConn, begun);
                    lint_turn::source_ended(lints.as_deref_mut(), net, ready.token, number, ready.readiness);
                    noted(outcome, "on_source", About::NoConn, shared, &mut log_limits.panicked);
                }
                Subject::Source(_) => {}
            }
        }
        self.has_more_events = count >= self.config.events_per_turn;
    }

    /// Delivers the messages of other threads, and executes their other requests.
    fn take_requests(&mut self, budget: &mut TurnBudget) {
        while self.mailbox.has_more() && budget.admit_request() {
            match self.mailbox.next() {
                Some(Request::Message(message)) => {
                    self.connections.work.stats.messages += 1;
                    self.call("on_message", About::NoConn, |handler, cx| handler.on_message(cx, message));
                }
                Some(Request::End(end)) => self.connections.end(end),
                // It fails if the caller waits no longer.
                Some(Request::Stats(reply)) => drop(reply.send(self.stats())),
                None => break,
            }
        }
    }

    /// Drops the requests that came too late.
    fn discard_requests(&mut self) {
        for request in self.mailbox.finish() {
            let outcome = guarded(|| drop(request));
            let Self { shared, log_limits, .. } = self;
            noted(outcome, "dropping a message", About::NoConn, shared, &mut log_limits.panicked);
        }
    }

    /// Fires the timers that are due; those that are set meanwhile wait for the next turn.
    fn fire_timers(&mut self, budget: &mut TurnBudget) {
        let now = self.now();
        while self.connections.work.timers.is_due(now) && budget.admit_timer() {
            self.connections.work.timers.note_due(now);
        }
        while let Some(timer) = self.connections.work.timers.next_firing() {
            self.call("on_timer", About::NoConn, |handler, cx| handler.on_timer(cx, timer));
        }
    }

    /// Begins the drain or stop that a handler or another thread has asked for, and ends a drain at its deadline.
    fn end_if_asked(&mut self) {
        match self.connections.work.take_end() {
            Some(End::Drain) => self.drain(),
            Some(End::Stop) => self.stop(),
            None => {}
        }
        if let Life::Draining { deadline: Some(deadline) } = self.life
            && self.now() >= deadline
        {
            self.connections.abort_all(CloseReason::Cut);
            self.cut_queued();
        }
    }

    fn note_turn(&mut self, duration: Duration, moved_before: u64) {
        let moved = self.connections.sockets.bytes_moved() - moved_before;
        let stats = &mut self.connections.work.stats;
        stats.turn_bytes_max = stats.turn_bytes_max.max(moved);
        stats.turn_durations.record(duration);
        if let Some(lints) = &self.lints {
            stats.lints = lints.counts();
        }
    }

    /// Reports suppressed log lines, and frees unused buffers.
    fn tidy(&mut self) {
        let now = self.now();
        self.connections.work.stats.log_lines_left_out += self.log_limits.report_suppressed(now);
        if self.trim_at.is_some_and(|at| now >= at) {
            self.shared.trim();
            self.trim_at = None;
        }
        if self.trim_at.is_none() && self.shared.has_idle() {
            self.trim_at = after(now, TRIM_INTERVAL);
        }
    }

    /// Calls the handler for something other than an open connection. Returns `None` if it panicked.
    pub(super) fn call<R>(
        &mut self,
        name: &'static str,
        about: About<'_>,
        callback: impl FnOnce(&mut H, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let Self { handler, connections, shared, log_limits, lints, net, .. } = self;
        let begun = lint_turn::begun(lints.as_deref(), net);
        let outcome = guarded(|| callback(handler, &mut Context::new(connections, shared)));
        lint_turn::ended(lints.as_deref_mut(), net, name, about, begun);
        noted(outcome, name, about, shared, &mut log_limits.panicked)
    }
}
