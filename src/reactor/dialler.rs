//! Connections that we open: dialled within a budget, waited for, and given up in time.

use std::net::IpAddr;

use log::debug;

use crate::addr::{ListenAddr, PeerAddr};
use crate::conn::io::Readiness;
use crate::conn::turn::Moved;
use crate::error::DialError;
use crate::handler::{ConnId, Handler, Peers};
use crate::reactor::clients::{Origin, Seat};
use crate::reactor::deadlines::Kind;
use crate::reactor::net::Net;
use crate::reactor::sink::{About, guarded, noted};
use crate::reactor::slots::Subject;
use crate::reactor::{Life, Reactor};

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Begins to connect to those that are to be dialled, until the budget is spent.
    pub(crate) fn begin_dials(&mut self) {
        for _ in 0..self.shared.config.dial_budget {
            let Some(id) = self.clients.to_dial.pop_front() else { break };
            let Some(client) = self.clients.slots.tenant_mut(id) else { continue };
            let Seat::Reserved(dial) = &mut client.seat else { continue };
            let from = dial.source();
            let Some(to) = dial.take_next() else {
                self.clients.fail(id, DialError::NoAddress);
                continue;
            };
            match self.begin_dial(id, &to, from) {
                Ok(stream) => {
                    debug!("[{id}] dialling {to}");
                    let peer = PeerAddr::from(&to);
                    self.deadlines.set(Kind::Connect, id.index, Some(self.now()));
                    self.clients.seat_dialling(id, stream, peer);
                }
                Err(error) => self.attempt_failed(id, error),
            }
        }
    }

    /// One address was dialled in vain; others may be left.
    fn attempt_failed(&mut self, id: ConnId, error: DialError) {
        debug!("[{id}] attempt failed: {error}");
        self.deadlines.clear(id.index);
        self.clients.dial_next_or_fail(id, error);
    }

    fn begin_dial(&mut self, id: ConnId, to: &ListenAddr, from: Option<IpAddr>) -> Result<N::Stream, DialError> {
        let config = &self.shared.config;
        if self.life != Life::Running {
            return Err(DialError::Cancelled);
        }
        if self.clients.sockets() >= config.connections_max {
            return Err(DialError::ConnectionsMax { allowed: config.connections_max });
        }
        if let (ListenAddr::Tcp(to), Some(from)) = (to, from)
            && to.is_ipv4() != from.is_ipv4()
        {
            return Err(DialError::SourceFamily);
        }
        let dialled = self.net.dial(to, from, config);
        self.stats.dials.count(&dialled);
        let mut stream = dialled.map_err(|error| DialError::from(&error))?;
        let registered = self.net.register(&mut stream, Subject::Conn(id).token());
        self.stats.registrations.count(&registered);
        registered.map_err(|error| DialError::from(&error))?;
        Ok(stream)
    }

    /// Looks what became of a connection that is dialled; opens and runs it if it is made. Returns whether frames or output
    /// moved.
    pub(crate) fn look_at_dial(&mut self, id: ConnId) -> Moved {
        let Some(client) = self.clients.slots.tenant_mut(id) else { return Moved::default() };
        let Seat::Dialling { stream, .. } = &client.seat else { return Moved::default() };
        match self.net.is_connected(stream) {
            Ok(false) => return Moved::default(),
            Ok(true) => {
                if let Seat::Dialling { stream, peer, edges, .. } = std::mem::replace(&mut client.seat, Seat::Out) {
                    return self.open_dialled(id, stream, peer, edges);
                }
            }
            Err(error) => self.attempt_failed(id, DialError::from(&error)),
        }
        Moved::default()
    }

    /// The connect timeout has passed, and the connection was not made when that was last looked at.
    pub(crate) fn dial_timed_out(&mut self, id: ConnId) {
        let allowed = self.shared.config.connect_timeout;
        if self.clients.is_dialling(id) {
            self.attempt_failed(id, DialError::TimedOut { allowed });
        }
    }

    fn open_dialled(&mut self, id: ConnId, stream: N::Stream, peer: PeerAddr, edges: Readiness) -> Moved {
        self.deadlines.clear(id.index);
        let Some(mut tenant) = self.welcome(id, stream, peer, Origin::Dialled) else {
            self.stats.dials_failed += 1;
            self.clients.slots.remove(id);
            return Moved::default();
        };
        self.stats.dialled += 1;
        tenant.conn.note_ready(edges);
        // It has what it is to send, and runs in this turn.
        self.clients.seat_open(id, tenant);
        self.run_one(id)
    }

    /// Tells the handler that a connection did not come to be. Its slot is free.
    pub(crate) fn tell_dial_failed(&mut self, id: ConnId, error: DialError) {
        debug!("[{id}] not connected: {error}");
        self.stats.dials_failed += 1;
        self.deadlines.clear(id.index);
        let Self { handler, clients, shared, gates, .. } = self;
        let mut peers = Peers::new(clients, shared);
        let outcome = guarded(|| handler.on_dial_failed(&mut peers, id, &error));
        noted(outcome, "on_dial_failed", About::Dial(id), shared, &mut gates.panicked);
    }
}
