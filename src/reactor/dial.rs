//! Outbound connections: dialed within a budget, and given up at the connect timeout.

use std::net::IpAddr;

use log::debug;

use crate::address::{Address, DialOptions, PeerAddr};
use crate::conn::io::Readiness;
use crate::conn::profile::Profile;
use crate::conn::turn::Moved;
use crate::error::DialError;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::connections::Phase;
use crate::reactor::deadlines::Kind;
use crate::reactor::log_limit::CONN;
use crate::reactor::token::Subject;
use crate::reactor::{Life, Reactor};

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Begins dials, until the budget is spent.
    pub(crate) fn begin_dials(&mut self) {
        for _ in 0..self.config.dial_budget {
            let Some(id) = self.connections.work.next_dial() else { break };
            let Some(slot) = self.connections.slots.slot_mut(id) else { continue };
            let Phase::Reserved(dial) = &mut slot.phase else { continue };
            let (from, timeout) = (dial.source(), dial.options().and_then(|options| options.timeout));
            let Some(to) = dial.take_next() else {
                self.connections.all().fail(id, DialError::NoAddress);
                continue;
            };
            match self.begin_dial(id, &to, from) {
                Ok(stream) => {
                    debug!(target: CONN, "[{id}] dialing {to}");
                    let peer = PeerAddr::from(&to);
                    if let Some(timeout) = timeout {
                        self.deadlines.set_connect_timeout(id.index, timeout);
                    }
                    self.deadlines.set(Kind::Connect, id.index, Some(self.now()));
                    self.connections.begin_attempt(id, stream, peer);
                }
                Err(error) => self.attempt_failed(id, error),
            }
        }
    }

    /// Handles a failed connect attempt; other addresses may be left.
    fn attempt_failed(&mut self, id: ConnId, error: DialError) {
        debug!(target: CONN, "[{id}] attempt failed: {error}");
        self.deadlines.clear(id.index);
        self.connections.dial_next_or_fail(id, error);
    }

    fn begin_dial(&mut self, id: ConnId, to: &Address, from: Option<IpAddr>) -> Result<N::Stream, DialError> {
        let config = &self.config;
        if self.life != Life::Running {
            return Err(DialError::Canceled);
        }
        if self.connections.sockets() - self.listeners.apart() >= config.max_connections {
            return Err(DialError::ConnectionsMax { allowed: config.max_connections });
        }
        if let (Address::Tcp(to), Some(from)) = (to, from)
            && to.is_ipv4() != from.is_ipv4()
        {
            return Err(DialError::SourceFamily);
        }
        let dialed = self.net.dial(to, from, config);
        self.connections.work.stats.dials.count(&dialed);
        let mut stream = dialed.map_err(|error| DialError::from(&error))?;
        let registered = self.net.register(&mut stream, Subject::Conn(id).token());
        self.connections.work.stats.registrations.count(&registered);
        registered.map_err(|error| DialError::from(&error))?;
        Ok(stream)
    }

    /// Checks a connect attempt; if it has succeeded, opens the connection and runs it. Returns what moved.
    pub(super) fn check_attempt(&mut self, id: ConnId) -> Moved {
        let Some(slot) = self.connections.slots.slot_mut(id) else { return Moved::default() };
        let Phase::Dialing { stream, .. } = &slot.phase else { return Moved::default() };
        match self.net.is_connected(stream) {
            Ok(false) => return Moved::default(),
            Ok(true) => {
                if let Phase::Dialing { stream, peer, readiness, rest } =
                    std::mem::replace(&mut slot.phase, Phase::Opening)
                {
                    let options = rest.as_ref().and_then(|dial| dial.options());
                    return self.open_dialed(id, stream, peer, options, readiness);
                }
            }
            Err(error) => self.attempt_failed(id, DialError::from(&error)),
        }
        Moved::default()
    }

    /// Handles a connect timeout, after a check that the attempt has not succeeded.
    pub(crate) fn dial_timed_out(&mut self, id: ConnId) {
        let allowed = self.deadlines.timeout(Kind::Connect, id.index).unwrap_or(self.config.connect_timeout);
        if self.connections.is_dialing(id) {
            self.attempt_failed(id, DialError::TimedOut { allowed });
        }
    }

    fn open_dialed(
        &mut self,
        id: ConnId,
        stream: N::Stream,
        peer: PeerAddr,
        options: Option<&DialOptions>,
        readiness: Readiness,
    ) -> Moved {
        self.deadlines.clear(id.index);
        let profiles = &mut self.shared.profiles;
        let profile = match options {
            Some(options) => {
                let limits = options.limits.unwrap_or(profiles.usual());
                profiles.acquire(Profile { framing: options.framing, limits, listener: None })
            }
            None => profiles.acquire_usual(),
        };
        if !self.open(id, stream, peer, profile, readiness) {
            self.connections.work.stats.dials_failed += 1;
            return Moved::default();
        }
        // It runs in this turn, with what `on_open` has queued.
        self.run_one(id)
    }
}
