//! The connections of a reactor, and the queue of those that have something to do.

use std::collections::VecDeque;

use crate::addr::PeerAddr;
use crate::conn::outbox::Sent;
use crate::conn::workbench::Supplies;
use crate::conn::{Conn, Readiness};
use crate::error::CloseReason;
use crate::handler::{Broadcast, ConnId, End, Reach, Wish, count};
use crate::planted::{Bug, planted};
use crate::reactor::slots::Slots;

/// Connections in their slots, and who is to run.
///
/// A connection stands in the queue at most once, also when an event comes for it while it waits there; otherwise a turn
/// would grow with every event for a connection whose budget is spent.
#[derive(Debug)]
pub(crate) struct Clients<S, T> {
    pub(crate) slots: Slots<Client<S, T>>,
    /// Became ready in this turn, and had a short run the last time: they run first.
    fresh: Vec<ConnId>,
    /// Became ready and had a long run the last time, stopped for lack of budget, or were spoken to by a handler: they run
    /// next, without a new event, in this order.
    waiting: VecDeque<ConnId>,
    /// Have ended; their slots are freed at the end of the turn.
    pub(crate) ended: Vec<ConnId>,
    /// What a handler has asked of the reactor.
    pub(crate) end: Option<End>,
}

#[derive(Debug)]
pub(crate) struct Client<S, T> {
    // Invariant: set exactly while the connection stands in `fresh` or `waiting`, or will run in this turn.
    is_queued: bool,
    /// The last run moved so many bytes that the next may take as long: it does not go before others.
    has_run_long: bool,
    /// Taken out while it runs, so that a handler can speak to all others meanwhile.
    pub(crate) tenant: Option<Tenant<S, T>>,
}

#[derive(Debug)]
pub(crate) struct Tenant<S, T> {
    pub(crate) stream: S,
    pub(crate) conn: Conn,
    pub(crate) peer: PeerAddr,
    pub(crate) state: T,
}

impl<S, T> Clients<S, T> {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::new(), fresh: Vec::new(), waiting: VecDeque::new(), ended: Vec::new(), end: None }
    }

    pub(crate) fn insert(&mut self, tenant: Tenant<S, T>) -> ConnId {
        self.slots.insert(Client { is_queued: false, has_run_long: false, tenant: Some(tenant) })
    }

    /// An event came. Returns whether it was about a connection that exists.
    pub(crate) fn note_ready(&mut self, id: ConnId, readiness: Readiness) -> bool {
        let Some(client) = self.slots.tenant_mut(id) else { return false };
        if let Some(tenant) = &mut client.tenant {
            tenant.conn.note_ready(readiness);
        }
        let has_run_long = client.has_run_long;
        if !std::mem::replace(&mut client.is_queued, true) || planted(Bug::QueuedTwice) {
            if has_run_long { self.waiting.push_back(id) } else { self.fresh.push(id) }
        }
        true
    }

    /// Lets a connection run next, if it does not wait for that already.
    pub(crate) fn queue(&mut self, id: ConnId) {
        if let Some(client) = self.slots.tenant_mut(id)
            && !std::mem::replace(&mut client.is_queued, true)
        {
            self.waiting.push_back(id);
        }
    }

    /// Whether a connection stands in the queue.
    pub(crate) fn is_queued(&self, id: ConnId) -> bool {
        self.slots.tenant(id).is_some_and(|client| client.is_queued)
    }

    /// Whether anything is to be done without an event.
    pub(crate) fn has_work(&self) -> bool {
        (!self.waiting.is_empty() && !planted(Bug::SleepsOnWork)) || !self.ended.is_empty() || self.end.is_some()
    }

    /// Takes those that run first off the queue, into `fresh`, which is empty.
    pub(crate) fn take_fresh(&mut self, fresh: &mut Vec<ConnId>) {
        debug_assert!(fresh.is_empty());
        std::mem::swap(&mut self.fresh, fresh);
    }

    /// How many wait in the queue behind those.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the one that has waited longest off the queue.
    pub(crate) fn next_waiting(&mut self) -> Option<ConnId> {
        self.waiting.pop_front()
    }

    /// A connection's turn has come: from here on it may be queued again.
    pub(crate) fn dequeue(&mut self, id: ConnId) {
        if let Some(client) = self.slots.tenant_mut(id) {
            client.is_queued = false;
        }
    }

    /// Takes a connection out of its slot. If it stands in the queue, it keeps its place.
    pub(crate) fn take(&mut self, id: ConnId) -> Option<Tenant<S, T>> {
        self.slots.tenant_mut(id)?.tenant.take()
    }

    /// Puts it back after a run that moved `bytes`, into the queue if it wants to go on.
    pub(crate) fn put_back(&mut self, id: ConnId, tenant: Tenant<S, T>, bytes: u64) {
        let has_ended = tenant.conn.closed().is_some();
        let wants_turn = tenant.conn.wants_turn();
        if let Some(client) = self.slots.tenant_mut(id) {
            client.tenant = Some(tenant);
            client.has_run_long = bytes > SHORT_RUN_BYTES;
        }
        if has_ended {
            self.ended.push(id);
        } else if wants_turn && !planted(Bug::WaitingNotQueued) {
            self.queue(id);
        }
    }

    pub(crate) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.tenant_mut(id)?.tenant.as_mut().map(|tenant| &mut tenant.conn)
    }

    /// Ends a connection at once; its slot is freed at the end of the turn.
    pub(crate) fn cut(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(tenant) = self.slots.tenant_mut(id).and_then(|client| client.tenant.as_mut()) {
            tenant.conn.cut(reason);
            self.ended.push(id);
        }
    }

    /// Ends all connections at once.
    pub(crate) fn cut_all(&mut self, reason: CloseReason) {
        let Self { slots, ended, .. } = self;
        for (id, client) in slots.iter_mut() {
            if let Some(tenant) = &mut client.tenant {
                tenant.conn.cut(reason);
                ended.push(id);
            }
        }
    }

    /// Begins to drain all connections.
    pub(crate) fn drain_all(&mut self) {
        let Self { slots, waiting, .. } = self;
        for (id, client) in slots.iter_mut() {
            if let Some(tenant) = &mut client.tenant {
                tenant.conn.drain();
            }
            if !std::mem::replace(&mut client.is_queued, true) {
                waiting.push_back(id);
            }
        }
    }
}

/// The most bytes, read and written, of a run that counts as short: some small requests.
pub(crate) const SHORT_RUN_BYTES: u64 = 4 << 10;

#[cfg(test)]
impl<S, T> Clients<S, T> {
    /// Who stands in the queue and still exists.
    pub(crate) fn queued(&self) -> Vec<ConnId> {
        let all = self.fresh.iter().chain(&self.waiting).copied();
        all.filter(|id| self.slots.id_of(id.index) == Some(*id)).collect()
    }
}

impl<S, T> Reach for Clients<S, T> {
    fn send(&mut self, to: ConnId, payload: &[u8], supplies: &mut Supplies) -> Sent {
        let Some(tenant) = self.slots.tenant_mut(to).and_then(|client| client.tenant.as_mut()) else {
            return Sent::Gone;
        };
        let sent = tenant.conn.send(payload, supplies);
        if sent == Sent::Queued || tenant.conn.closed().is_some() {
            self.queue(to);
        }
        sent
    }

    fn broadcast(&mut self, payload: &[u8], supplies: &mut Supplies) -> Broadcast {
        let mut reached = Broadcast::default();
        let Self { slots, waiting, .. } = self;
        for (id, client) in slots.iter_mut() {
            let Some(tenant) = &mut client.tenant else { continue };
            let sent = tenant.conn.send(payload, supplies);
            count(&mut reached, sent);
            let has_work = sent == Sent::Queued || tenant.conn.closed().is_some();
            if has_work && !std::mem::replace(&mut client.is_queued, true) {
                waiting.push_back(id);
            }
        }
        reached
    }

    fn tell(&mut self, id: ConnId, wish: Wish) -> bool {
        let Some(tenant) = self.slots.tenant_mut(id).and_then(|client| client.tenant.as_mut()) else {
            return false;
        };
        match wish {
            Wish::Close => tenant.conn.close(CloseReason::ClosedByHandler),
            Wish::Abort => tenant.conn.cut(CloseReason::AbortedByHandler),
            Wish::Pause => tenant.conn.pause(true),
            Wish::Resume => tenant.conn.pause(false),
        }
        self.queue(id);
        true
    }

    fn end(&mut self, end: End) {
        self.end = self.end.max(Some(end));
    }
}
