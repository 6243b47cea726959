//! The accept loop: its budget, the limits, and what happens when descriptors run out.

use std::time::{Duration, Instant};
use std::{fmt, io};

use log::warn;

use crate::addr::PeerAddr;
use crate::config::{Config, after};
use crate::handler::Handler;
use crate::planted::{Bug, planted};
use crate::reactor::Reactor;
use crate::reactor::clients::{Origin, Seat};
use crate::reactor::log_gate::Source;
use crate::reactor::net::Net;
use crate::reactor::per_ip::{PerIp, Prefix};
use crate::reactor::slots::Subject;

/// After the kernel had no descriptor or memory for another connection, accepting is tried again this much later; at once
/// if a connection of ours ends before. Connections wait in the listen queue meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners<L> {
    list: Vec<Listening<L>>,
    /// While accepting is paused.
    paused_until: Option<Instant>,
    per_ip: PerIp,
}

#[derive(Debug)]
struct Listening<L> {
    listener: L,
    /// The listen queue may hold connections: an edge came and was not used up.
    is_ready: bool,
}

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

impl<L> Listeners<L> {
    pub(crate) fn new(config: &Config) -> Self {
        Self { list: Vec::new(), paused_until: None, per_ip: PerIp::new(config) }
    }

    /// The number that the next listener will have.
    pub(crate) fn next_index(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn push(&mut self, listener: L) {
        self.list.push(Listening { listener, is_ready: false });
    }

    pub(crate) fn note_ready(&mut self, index: usize) {
        if let Some(listening) = self.list.get_mut(index) {
            listening.is_ready = true;
        }
    }

    /// Stops listening.
    pub(crate) fn close(&mut self) {
        self.list.clear();
        self.paused_until = None;
    }

    /// Whether there may be connections to accept that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.paused_until.is_none() && self.list.iter().any(|listening| listening.is_ready)
    }

    /// When accepting is tried again.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// A descriptor is free again.
    pub(crate) fn note_freed(&mut self) {
        self.paused_until = None;
    }

    /// A connection that was accepted has ended.
    pub(crate) fn note_ended(&mut self, peer: &PeerAddr) {
        self.per_ip.note_ended(peer);
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Accepts, on each listener, until its queue is empty or the budget is spent.
    pub(crate) fn accept(&mut self) {
        if self.listeners.paused_until.is_some_and(|until| self.now() < until) {
            return;
        }
        self.listeners.paused_until = None;
        for index in 0..self.listeners.list.len() {
            for _ in 0..self.bench.supplies.config.accept_budget {
                let listening = &self.listeners.list[index];
                if !listening.is_ready || self.listeners.paused_until.is_some() {
                    break;
                }
                let outcome = self.net.accept(&listening.listener, &self.bench.supplies.config);
                self.stats.accepts.count(&outcome);
                match outcome {
                    Ok((stream, peer)) => self.admit(stream, peer),
                    Err(error) => self.accept_failed(index, &error),
                }
            }
            if planted(Bug::AcceptBudgetLosesEdge) && self.listeners.paused_until.is_none() {
                self.listeners.list[index].is_ready = false;
            }
        }
    }

    /// Lets a new connection in, or closes it at once.
    fn admit(&mut self, mut stream: N::Stream, peer: PeerAddr) {
        if let Err(refusal) = self.admission(&peer) {
            return self.refuse(&peer, refusal);
        }
        // The slot is taken before the handler sees the id: what it dials in `on_open` gets another.
        let id = self.clients.insert(Origin::Accepted, Seat::Out);
        let registered = self.net.register(&mut stream, Subject::Conn(id).token());
        self.stats.registrations.count(&registered);
        if let Err(error) = registered {
            self.clients.slots.remove(id);
            self.stats.refused.failed += 1;
            if self.gates.refused.passes(self.now(), Source::of(&peer)) {
                warn!("refused {peer}: it cannot be registered: {error}");
            }
            return;
        }
        let tenant = self.welcome(id, stream, peer, Origin::Accepted);
        let Some(tenant) = tenant.filter(|_| !planted(Bug::OpenUnpaired)) else {
            self.clients.slots.remove(id);
            self.stats.refused.failed += 1;
            return;
        };
        self.count_in(&tenant.peer);
        let has_work = tenant.conn.wants_turn() || tenant.conn.is_ending();
        self.clients.seat_open(id, tenant);
        if has_work {
            self.clients.queue(id);
        }
    }

    /// Whether there is room for a connection from `peer`.
    fn admission(&self, peer: &PeerAddr) -> Result<(), Refusal> {
        let config = &self.bench.supplies.config;
        if self.clients.sockets() >= config.connections_max {
            return Err(Refusal::ConnectionsMax(config.connections_max));
        }
        if let Some((prefix, max)) = self.listeners.per_ip.full(peer) {
            return Err(Refusal::PerIp(prefix, max));
        }
        Ok(())
    }

    fn count_in(&mut self, peer: &PeerAddr) {
        self.stats.accepted += 1;
        self.listeners.per_ip.note_open(peer);
    }

    fn refuse(&mut self, peer: &PeerAddr, refusal: Refusal) {
        let refused = &mut self.stats.refused;
        let counter = match refusal {
            Refusal::ConnectionsMax(_) => &mut refused.connections_max,
            Refusal::PerIp(..) => &mut refused.connections_per_ip_max,
        };
        *counter += 1;
        if self.gates.refused.passes(self.now(), Source::of(peer)) {
            warn!("refused {peer}: there are {refusal}, as many as allowed");
        }
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.listeners.list[index].is_ready = false,
            // The peer has gone before it was accepted, or a signal came: the next one in the queue may be well
            // (accept(2), "Error handling").
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM. Whatever else it is, trying again at once would spin.
            _ if planted(Bug::ExhaustionSpins) => {}
            _ => {
                self.listeners.list[index].is_ready &= !planted(Bug::ExhaustionLosesEdge);
                self.stats.accept_pauses += 1;
                self.listeners.paused_until = after(self.now(), ACCEPT_PAUSE);
                if self.gates.accept_paused.passes(self.now(), Source::Local) {
                    warn!("accepting pauses, with {} connections open: {error}", self.clients.slots.len());
                }
            }
        }
    }
}
