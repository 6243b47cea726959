//! The accept loop: its budget, the limits, and what happens when descriptors run out.
//!
//! Rule: a drain closes a listener only once its queue is empty. Connections that wait there are accepted like any other, as
//! far as the limits, the descriptors and the deadline of the drain allow, and are in its report in any case. Of connections
//! that arrive meanwhile, no more are accepted than the queue holds.

use std::time::Duration;
use std::{fmt, io};

use log::warn;

use crate::address::PeerAddr;
use crate::config::after;
use crate::conn::io::Readiness;
use crate::conn::profile::ProfileId;
use crate::error::{CloseReason, is_out_of_descriptors};
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::connections::{Open, Phase};
use crate::reactor::log_limit::{LOOP, Source};
use crate::reactor::per_ip::Prefix;
use crate::reactor::reclaim::Search;
use crate::reactor::slots::Origin;
use crate::reactor::token::Subject;
use crate::reactor::{Life, Reactor};
use crate::stats::Refused;

/// When the kernel has no descriptor or memory for another connection, accepting is paused for this long, or until a
/// connection ends. Connections wait in the listen queue meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limit for which a connection is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    ConnectionsMax(usize),
    /// That of the listener.
    Apart(usize),
    PerIp(Prefix, usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionsMax(limit) => write!(f, "the limit of {limit} connections is reached"),
            Self::Apart(limit) => write!(f, "the limit of {limit} connections of this listener is reached"),
            Self::PerIp(prefix, limit) => write!(f, "the limit of {limit} connections from {prefix} is reached"),
        }
    }
}

/// Why an admitted connection was not opened.
#[derive(Debug)]
pub(crate) enum Failed {
    NotRegistered(io::Error),
    /// The handler panicked.
    NotOpened,
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
        if !self.listeners.resume(self.now()) {
            return;
        }
        for index in 0..self.listeners.len() {
            for _ in 0..self.config.accept_budget {
                if !self.accept_one(index) {
                    break;
                }
            }
        }
        while let Some(profile) = self.listeners.close_next() {
            self.shared.profiles.release(profile);
        }
    }

    /// Closes all listeners, whatever their queues hold.
    pub(super) fn close_listeners(&mut self) {
        while let Some(profile) = self.listeners.close() {
            self.shared.profiles.release(profile);
        }
    }

    /// Accepts one connection. Returns whether another may be accepted in this turn.
    fn accept_one(&mut self, index: usize) -> bool {
        if !self.listeners.may_accept(index) {
            return false;
        }
        let apart = self.listeners.is_apart(index);
        let is_full = apart.is_none() && self.is_full();
        let longest_idle = match is_full.then(|| self.reclaim.longest_idle(&mut self.connections)) {
            Some(Search::Unfinished) => return false,
            Some(Search::Found(id)) => Some(id),
            Some(Search::Nothing) | None => None,
        };
        let outcome = self.net.accept(self.listeners.listener(index), &self.config);
        self.connections.work.stats.accepts.count(&outcome);
        match outcome {
            Ok((stream, peer)) => {
                self.listeners.note_accepted(index);
                let profile = self.listeners.profile(index);
                match apart {
                    None => self.admit(stream, peer, profile, longest_idle),
                    Some(Ok(())) => self.begin_accepted(stream, peer, profile, Origin::Apart),
                    Some(Err(max)) => self.refuse(&peer, Refusal::Apart(max)),
                }
                true
            }
            Err(error) => self.accept_failed(index, &error),
        }
    }

    /// Counts the connections that are left in the listen queues as cut, at the drain's deadline.
    pub(super) fn cut_queued(&mut self) {
        // This frees descriptors, which accepting needs.
        self.reap();
        for index in 0..self.listeners.len() {
            for _ in 0..self.listeners.left(index) {
                let outcome = self.net.accept(self.listeners.listener(index), &self.config);
                self.connections.work.stats.accepts.count(&outcome);
                match outcome {
                    Ok(_) => {
                        self.connections.work.stats.refused.failed += 1;
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
        self.close_listeners();
    }

    /// Counts one connection as cut, because no waiting connection can be accepted before the drain ends.
    fn give_up(&mut self, error: &io::Error) {
        self.report.cut += 1;
        warn!(target: LOOP, "the connections in the listen queue are reset: {error}");
    }

    /// Whether there is no room for another connection.
    pub(super) fn is_full(&self) -> bool {
        self.connections.sockets() - self.listeners.apart() >= self.config.max_connections
    }

    /// Closes a connection so that another can be accepted.
    fn close_idle(&mut self, id: ConnId) {
        self.connections.abort(id, CloseReason::Reclaimed);
        // No event of this turn is about it any more: they were taken before.
        self.reap();
    }

    /// Admits a new connection, in place of the one that has been idle longest if there are too many, or refuses it.
    fn admit(&mut self, stream: N::Stream, peer: PeerAddr, profile: ProfileId, longest_idle: Option<ConnId>) {
        if let Err(refusal) = self.admission(&peer, longest_idle) {
            return self.refuse(&peer, refusal);
        }
        self.begin_accepted(stream, peer, profile, Origin::Accepted);
    }

    fn begin_accepted(&mut self, stream: N::Stream, peer: PeerAddr, profile: ProfileId, origin: Origin) {
        self.shared.profiles.share(profile);
        // It is logged where it failed.
        let _ = self.begin(stream, peer, profile, origin);
    }

    /// Registers and opens a connection that was admitted, which takes one user of the profile over. If that fails, it is counted
    /// as refused.
    pub(super) fn begin(
        &mut self,
        mut stream: N::Stream,
        peer: PeerAddr,
        profile: ProfileId,
        origin: Origin,
    ) -> Result<ConnId, Failed> {
        // The slot is taken before the handler sees the id: what it dials in `on_open` gets another.
        let id = self.connections.all().insert(origin, Phase::Opening);
        let registered = self.net.register(&mut stream, Subject::Conn(id).token());
        self.connections.work.stats.registrations.count(&registered);
        if let Err(error) = registered {
            self.connections.remove(id);
            self.shared.profiles.release(profile);
            self.count_refused(|refused| &mut refused.failed);
            if self.log_limits.refused.passes(self.now(), Source::of(&peer)) {
                warn!(target: LOOP, "refused {peer}: it cannot be registered: {error}");
            }
            return Err(Failed::NotRegistered(error));
        }
        if !self.open(id, stream, peer, profile, Readiness::default()) {
            self.count_refused(|refused| &mut refused.failed);
            return Err(Failed::NotOpened);
        }
        let Some((slot, others)) = self.connections.split(id) else { return Err(Failed::NotOpened) };
        if let Phase::Open(Open { conn, .. }) = &slot.phase {
            let wants_turn = conn.wants_turn() || conn.state().is_ending() || conn.is_draining();
            others.work.queue_or_note_idle(id, conn, wants_turn);
        }
        Ok(id)
    }

    /// Makes room for a connection from `peer`, if there is none and it may be admitted.
    pub(super) fn admission(&mut self, peer: &PeerAddr, longest_idle: Option<ConnId>) -> Result<(), Refusal> {
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

    pub(super) fn refuse(&mut self, peer: &PeerAddr, refusal: Refusal) {
        self.count_refused(|refused| match refusal {
            Refusal::ConnectionsMax(_) | Refusal::Apart(_) => &mut refused.max_connections,
            Refusal::PerIp(..) => &mut refused.max_per_ip,
        });
        if self.log_limits.refused.passes(self.now(), Source::of(peer)) {
            warn!(target: LOOP, "refused {peer}: {refusal}");
        }
    }

    fn count_refused(&mut self, counter: impl FnOnce(&mut Refused) -> &mut u64) {
        *counter(&mut self.connections.work.stats.refused) += 1;
        self.report.cut += u64::from(self.life != Life::Running);
    }

    /// Returns whether another connection may be accepted in this turn.
    fn accept_failed(&mut self, index: usize, error: &io::Error) -> bool {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.listeners.note_empty(index);
            return false;
        }
        if is_of_one(error) {
            self.listeners.note_taken(index);
            return true;
        }
        let may_take_a_place = self.listeners.is_apart(index).is_none() && self.listeners.may_free_descriptor();
        if is_out_of_descriptors(error) && may_take_a_place {
            match self.reclaim.longest_idle(&mut self.connections) {
                Search::Found(id) => {
                    self.close_idle(id);
                    self.listeners.note_descriptor_freed();
                    return false;
                }
                Search::Unfinished => return false,
                Search::Nothing => {}
            }
        }
        // After any other error, trying again immediately would spin.
        self.pause_accepting(index, error);
        false
    }

    fn pause_accepting(&mut self, index: usize, error: &io::Error) {
        if self.life == Life::Running && self.listeners.is_closing(index) {
            self.listeners.give_up(index);
            return warn!(target: LOOP, "the connections in the queue of a listener that closes are reset: {error}");
        }
        if self.life == (Life::Draining { deadline: None }) && self.connections.sockets() == 0 {
            // No connection is left whose descriptor could become free, and there is no deadline.
            self.listeners.give_up(index);
            return self.give_up(error);
        }
        self.connections.work.stats.accept_pauses += 1;
        self.listeners.pause(after(self.now(), ACCEPT_PAUSE));
        if self.log_limits.accept_paused.passes(self.now(), Source::Local) {
            // The kernel looks for a descriptor before it looks into the queue.
            let open = self.connections.slots.len();
            warn!(target: LOOP, "accepting pauses, with {open} connections open, whether or not a client waits: {error}");
        }
    }
}

/// Whether an accept failed for its own connection, or for a signal: the next one in the queue may succeed (accept(2), "Error
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
