//! The accept loop: its budget, the limits, and what happens when descriptors run out.
//!
//! Rule: a drain closes a listener only once its queue is empty. What waits there is accepted like any other connection, as far
//! as the limits, the descriptors and the deadline of the drain allow, and is in its report in any case; of what comes
//! meanwhile, no more than the queue holds.

use std::time::Duration;
use std::{fmt, io};

use log::warn;

use crate::address::PeerAddr;
use crate::config::after;
use crate::conn::io::Readiness;
use crate::error::{CloseReason, is_out_of_descriptors};
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::connections::{Open, Phase};
use crate::reactor::log_limit::Source;
use crate::reactor::per_ip::Prefix;
use crate::reactor::reclaim::Search;
use crate::reactor::slots::Origin;
use crate::reactor::stats::Refused;
use crate::reactor::token::Subject;
use crate::reactor::{Life, Reactor};

/// After the kernel had no descriptor or memory for another connection, accepting is tried again this much later; at once
/// if a connection of ours ends before. Connections wait in the listen queue meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection is closed as soon as it is accepted.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    ConnectionsMax(usize),
    PerIp(Prefix, usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionsMax(limit) => write!(f, "{limit} connections"),
            Self::PerIp(prefix, limit) => write!(f, "{limit} connections from {prefix}"),
        }
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Accepts, on each listener, until its queue is empty or the budget is spent.
    #[inline]
    pub(super) fn accept(&mut self) {
        if !self.listeners.is_idle() || self.life != Life::Running {
            self.accept_ready();
        }
    }

    fn accept_ready(&mut self) {
        if self.listeners.paused_until.is_some_and(|until| self.now() < until) {
            return;
        }
        self.listeners.paused_until = None;
        for index in 0..self.listeners.list.len() {
            for _ in 0..self.config.accept_budget {
                if !self.accept_one(index) {
                    break;
                }
            }
        }
        if self.life != Life::Running && self.listeners.is_drained() {
            self.listeners.close();
        }
    }

    /// Accepts one connection. Returns whether another may be accepted in this turn.
    fn accept_one(&mut self, index: usize) -> bool {
        let listening = &self.listeners.list[index];
        if !listening.may_accept() || self.listeners.paused_until.is_some() {
            return false;
        }
        let longest_idle = match self.is_full().then(|| self.reclaim.longest_idle(&mut self.connections)) {
            Some(Search::Unfinished) => return false,
            Some(Search::Found(id)) => Some(id),
            Some(Search::Nothing) | None => None,
        };
        let listening = &mut self.listeners.list[index];
        let outcome = self.net.accept(&listening.listener, &self.config);
        self.stats.accepts.count(&outcome);
        match outcome {
            Ok((stream, peer)) => {
                listening.note_taken();
                self.listeners.has_freed_descriptor = false;
                self.admit(stream, peer, longest_idle);
                true
            }
            Err(error) => self.accept_failed(index, &error),
        }
    }

    /// Counts what is left in the listen queues as cut: the drain's deadline has come.
    pub(super) fn cut_queued(&mut self) {
        // So that there are descriptors.
        self.reap();
        for index in 0..self.listeners.list.len() {
            for _ in 0..self.listeners.list[index].left.unwrap_or(0) {
                let outcome = self.net.accept(&self.listeners.list[index].listener, &self.config);
                self.stats.accepts.count(&outcome);
                match outcome {
                    Ok(_) => {
                        self.stats.refused.failed += 1;
                        self.report.cut += 1;
                    }
                    Err(error) if is_of_one(&error) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.give_up(&error);
                        break;
                    }
                }
            }
        }
        self.listeners.close();
    }

    /// Nothing can be accepted before a drain ends: at least one that waits is counted.
    fn give_up(&mut self, error: &io::Error) {
        self.report.cut += 1;
        warn!("clients that wait to be accepted are cut: {error}");
    }

    /// Whether there is no room for another connection.
    fn is_full(&self) -> bool {
        self.connections.sockets() >= self.config.max_connections
    }

    /// Closes a connection so that another can be accepted.
    fn close_idle(&mut self, id: ConnId) {
        self.connections.cut(id, CloseReason::Reclaimed);
        // The events of this turn were taken before.
        self.reap();
    }

    /// Lets a new connection in, in place of the one that has been idle longest if there are too many, or closes it at once.
    fn admit(&mut self, mut stream: N::Stream, peer: PeerAddr, longest_idle: Option<ConnId>) {
        if let Err(refusal) = self.admission(&peer, longest_idle) {
            return self.refuse(&peer, refusal);
        }
        // The slot is taken before the handler sees the id: what it dials in `on_open` gets another.
        let id = self.connections.all().insert(Origin::Accepted, Phase::Opening);
        let registered = self.net.register(&mut stream, Subject::Conn(id).token());
        self.stats.registrations.count(&registered);
        if let Err(error) = registered {
            self.connections.slots.remove(id);
            self.count_refused(|refused| &mut refused.failed);
            if self.log_limits.refused.passes(self.now(), Source::of(&peer)) {
                warn!("refused {peer}: it cannot be registered: {error}");
            }
            return;
        }
        if !self.open(id, stream, peer, Readiness::default()) {
            self.count_refused(|refused| &mut refused.failed);
            return;
        }
        let Some((slot, others)) = self.connections.split(id) else { return };
        if let Phase::Open(Open { conn, .. }) = &mut slot.phase
            && (conn.wants_turn() || conn.state().is_ending())
        {
            others.work.queue.push(id, slot);
        }
    }

    /// Makes room for a connection from `peer`, if there is none and it may be admitted.
    fn admission(&mut self, peer: &PeerAddr, longest_idle: Option<ConnId>) -> Result<(), Refusal> {
        let is_full = self.is_full();
        if is_full && longest_idle.is_none() {
            return Err(Refusal::ConnectionsMax(self.config.max_connections));
        }
        if let Some((prefix, max)) = self.per_ip.full(peer) {
            return Err(Refusal::PerIp(prefix, max));
        }
        if let Some(id) = longest_idle.filter(|_| is_full) {
            self.close_idle(id);
        }
        Ok(())
    }

    fn refuse(&mut self, peer: &PeerAddr, refusal: Refusal) {
        self.count_refused(|refused| match refusal {
            Refusal::ConnectionsMax(_) => &mut refused.max_connections,
            Refusal::PerIp(..) => &mut refused.max_per_ip,
        });
        if self.log_limits.refused.passes(self.now(), Source::of(peer)) {
            warn!("refused {peer}: there are {refusal}, as many as allowed");
        }
    }

    fn count_refused(&mut self, counter: impl FnOnce(&mut Refused) -> &mut u64) {
        *counter(&mut self.stats.refused) += 1;
        self.report.cut += u64::from(self.life != Life::Running);
    }

    /// Returns whether another connection may be accepted in this turn.
    fn accept_failed(&mut self, index: usize, error: &io::Error) -> bool {
        let listening = &mut self.listeners.list[index];
        if error.kind() == io::ErrorKind::WouldBlock {
            listening.is_ready = false;
            return false;
        }
        if is_of_one(error) {
            listening.note_taken();
            return true;
        }
        if is_out_of_descriptors(error) && !self.listeners.has_freed_descriptor {
            match self.reclaim.longest_idle(&mut self.connections) {
                Search::Found(id) => {
                    self.close_idle(id);
                    self.listeners.has_freed_descriptor = true;
                    return false;
                }
                Search::Unfinished => return false,
                Search::Nothing => {}
            }
        }
        // Whatever else it is, trying again at once would spin.
        self.pause_accepting(index, error);
        false
    }

    fn pause_accepting(&mut self, index: usize, error: &io::Error) {
        self.listeners.has_freed_descriptor = false;
        if self.life == (Life::Draining { deadline: None }) && self.connections.sockets() == 0 {
            // No descriptor of ours will be free, and no deadline comes.
            self.listeners.list[index].left = Some(0);
            return self.give_up(error);
        }
        self.stats.accept_pauses += 1;
        self.listeners.paused_until = after(self.now(), ACCEPT_PAUSE);
        if self.log_limits.accept_paused.passes(self.now(), Source::Local) {
            warn!("accepting pauses, with {} connections open: {error}", self.connections.slots.len());
        }
    }
}

/// Whether an accept failed for its own connection, or for a signal: the next one in the queue may be well (accept(2), "Error
/// handling").
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}
