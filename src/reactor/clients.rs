//! The connections of a reactor, and the queue of those that have something to do.

use std::collections::VecDeque;
use std::time::Instant;

use crate::addr::{Dial, PeerAddr};
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::io::Readiness;
use crate::conn::output::Sent;
use crate::conn::shared::Shared;
use crate::conn::turn::Moved;
use crate::error::{CloseReason, DialError, DialRefused, TimerRefused};
use crate::handler::{Broadcast, ConnId, End, Reach, TimerId, Wish, count};
use crate::reactor::deadlines::{Kind, Kinds};
use crate::reactor::holders::{Holders, Holding};
use crate::reactor::reclaim::Reclaim;
use crate::reactor::slots::Slots;
use crate::reactor::timers::Timers;

/// Connections in their slots, and who is to run.
///
/// A connection stands in the queue at most once, also when an event comes for it while it waits there; otherwise a turn
/// would grow with every event for a connection whose budget is spent.
#[derive(Debug)]
pub(crate) struct Clients<S, T> {
    pub(crate) slots: Slots<Client<S, T>>,
    /// Became ready, and have had short runs of late: they run first.
    first: VecDeque<ConnId>,
    /// Became ready and had a long run not long ago, stopped for lack of budget, or were spoken to by a handler: they run
    /// next, without a new event, in this order.
    waiting: VecDeque<ConnId>,
    /// Have ended, or will not come to be; their slots are freed at the end of the turn.
    pub(crate) ended: Vec<ConnId>,
    /// To be dialled, in this order; who was given up since is still named.
    pub(crate) to_dial: VecDeque<ConnId>,
    // Invariant: how many seats are `Reserved`.
    reserved: usize,
    /// What a handler has asked of the reactor.
    pub(crate) end: Option<End>,
    pub(crate) timers: Timers,
    pub(crate) holders: Holders,
    pub(crate) reclaim: Reclaim,
    /// The reactor drains or has stopped.
    pub(crate) is_ending: bool,
    /// The connection that runs has asked to be woken.
    is_runner_woken: bool,
    dials_max: usize,
    timers_max: usize,
}

#[derive(Debug)]
pub(crate) struct Client<S, T> {
    // Invariant: set exactly while the connection stands in `first` or `waiting`.
    pub(crate) is_queued: bool,
    /// After a long run, the short runs to come before the connection goes before others again.
    short_runs_due: u8,
    /// The deadlines that have come, and for which it has not had its last look.
    expired: Kinds,
    // These three are here and not in the tenant, where each would take eight bytes.
    pub(crate) origin: Origin,
    /// The tick of its last frame or output, or of its beginning.
    pub(crate) active_at: u32,
    pub(crate) holding: Holding,
    pub(crate) seat: Seat<S, T>,
}

/// Who sits in a slot.
#[derive(Debug)]
pub(crate) enum Seat<S, T> {
    /// To be dialled.
    Reserved(Dial),
    /// Dialled, and not connected yet as far as is known; with what the kernel has reported meanwhile, and the addresses
    /// that are still to be tried.
    Dialling { stream: S, peer: PeerAddr, edges: Readiness, rest: Option<Box<Dial>> },
    /// A connection.
    Open(Tenant<S, T>),
    /// A connection that runs: it is out, so that a handler can speak to all others meanwhile.
    Out,
    /// Dialled in vain.
    Failed(DialError),
}

#[derive(Debug)]
pub(crate) struct Tenant<S, T> {
    pub(crate) stream: S,
    pub(crate) conn: Conn,
    pub(crate) peer: PeerAddr,
    pub(crate) state: T,
}

/// How a connection came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Accepted,
    Dialled,
}

impl<S, T> Clients<S, T> {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            holders: Holders::new(config, now),
            reclaim: Reclaim::new(config, now),
            slots: Slots::new(),
            first: VecDeque::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            to_dial: VecDeque::new(),
            reserved: 0,
            end: None,
            timers: Timers::default(),
            is_ending: false,
            is_runner_woken: false,
            dials_max: config.dials_max,
            timers_max: config.timers_max,
        }
    }

    pub(crate) fn insert(&mut self, origin: Origin, seat: Seat<S, T>) -> ConnId {
        let active_at = self.reclaim.now();
        self.slots.insert(Client {
            is_queued: false,
            short_runs_due: 0,
            expired: Kinds::default(),
            origin,
            active_at,
            holding: Holding::default(),
            seat,
        })
    }

    /// An event came. Returns whether it was about a connection that exists.
    pub(crate) fn note_ready(&mut self, id: ConnId, readiness: Readiness) -> bool {
        let Some(client) = self.slots.tenant_mut(id) else { return false };
        match &mut client.seat {
            Seat::Open(tenant) => tenant.conn.note_ready(readiness),
            Seat::Dialling { edges, .. } => *edges |= readiness,
            Seat::Reserved(_) | Seat::Out | Seat::Failed(_) => {}
        }
        let goes_first = client.short_runs_due == 0;
        if !std::mem::replace(&mut client.is_queued, true) {
            if goes_first { self.first.push_back(id) } else { self.waiting.push_back(id) }
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

    /// Connections, and those on their way to become one: whoever has a socket.
    pub(crate) fn sockets(&self) -> usize {
        self.slots.len() - self.reserved
    }

    /// Whether a connection stands in the queue.
    pub(crate) fn is_queued(&self, id: ConnId) -> bool {
        self.slots.tenant(id).is_some_and(|client| client.is_queued)
    }

    /// Whether no connection stands in the queue.
    fn is_idle(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty()
    }

    /// Whether anything is to be done without an event.
    pub(crate) fn has_work(&self) -> bool {
        let is_awaited = !self.is_idle();
        is_awaited || !self.ended.is_empty() || !self.to_dial.is_empty() || self.end.is_some()
    }

    /// How many run first, and how many wait in the queue behind them.
    pub(crate) fn queue_lens(&self) -> (usize, usize) {
        (self.first.len(), self.waiting.len())
    }

    /// Takes the next one off those that run first.
    pub(crate) fn next_first(&mut self) -> Option<ConnId> {
        self.first.pop_front()
    }

    /// Whether the one that has waited longest has had a long run of late.
    pub(crate) fn is_next_long(&self) -> bool {
        let next = self.waiting.front().and_then(|id| self.slots.tenant(*id));
        next.is_some_and(|client| client.short_runs_due > 0)
    }

    /// Takes the one that has waited longest off the queue.
    pub(crate) fn next_waiting(&mut self) -> Option<ConnId> {
        self.waiting.pop_front()
    }

    /// A connection's turn has come: from here on it may be queued again. Returns the deadlines for which it now has its
    /// last look, if it is still there.
    pub(crate) fn dequeue(&mut self, id: ConnId) -> Option<Kinds> {
        let client = self.slots.tenant_mut(id)?;
        client.is_queued = false;
        Some(std::mem::take(&mut client.expired))
    }

    /// A deadline of a connection has come: it is to have a last look, in its turn.
    pub(crate) fn note_expired(&mut self, id: ConnId, kind: Kind) {
        let Some(client) = self.slots.tenant_mut(id) else { return };
        client.expired.insert(kind);
        if let Some(tenant) = client.tenant_mut() {
            tenant.conn.look_again();
        }
        self.queue(id);
    }

    /// Takes a connection out of its slot. If it stands in the queue, it keeps its place.
    pub(crate) fn take(&mut self, id: ConnId) -> Option<Tenant<S, T>> {
        let client = self.slots.tenant_mut(id)?;
        match std::mem::replace(&mut client.seat, Seat::Out) {
            Seat::Open(tenant) => Some(tenant),
            other => {
                client.seat = other;
                None
            }
        }
    }

    /// Puts it back after a run, into the queue if it wants to go on.
    pub(crate) fn put_back(&mut self, id: ConnId, mut tenant: Tenant<S, T>, moved: Moved) {
        let now = self.reclaim.now();
        let is_woken = std::mem::take(&mut self.is_runner_woken);
        if is_woken {
            tenant.conn.wake();
        }
        let has_ended = tenant.conn.closed().is_some();
        let wants_turn = tenant.conn.wants_turn() || is_woken;
        if let Some(client) = self.slots.tenant_mut(id) {
            client.seat = Seat::Open(tenant);
            if moved.has_any() {
                client.active_at = now;
            }
            client.short_runs_due = match moved.bytes() {
                0..=SHORT_RUN_BYTES => client.short_runs_due.saturating_sub(1),
                _ => LONG_RUN_MEMORY,
            };
        }
        if has_ended {
            self.ended.push(id);
        } else if wants_turn {
            self.queue(id);
        }
    }

    /// The connection, once the handler has opened it: its slot was taken before.
    pub(crate) fn seat_open(&mut self, id: ConnId, mut tenant: Tenant<S, T>) {
        let is_woken = std::mem::take(&mut self.is_runner_woken);
        if is_woken {
            tenant.conn.wake();
        }
        if let Some(client) = self.slots.tenant_mut(id) {
            debug_assert!(matches!(client.seat, Seat::Out), "[{id}] names another connection");
            client.seat = Seat::Open(tenant);
        }
        if is_woken {
            self.queue(id);
        }
    }

    pub(crate) fn tenant_mut(&mut self, id: ConnId) -> Option<&mut Tenant<S, T>> {
        self.slots.tenant_mut(id)?.tenant_mut()
    }

    pub(crate) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.tenant_mut(id).map(|tenant| &mut tenant.conn)
    }

    /// Ends a connection at once; its slot is freed at the end of the turn.
    pub(crate) fn cut(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(conn) = self.conn_mut(id) {
            conn.abort(reason);
            self.ended.push(id);
        }
    }

    /// Gives up what is dialled and not connected; its slot is freed at the end of the turn.
    ///
    /// Returns whether it was so.
    pub(crate) fn fail(&mut self, id: ConnId, error: DialError) -> bool {
        let Some(client) = self.slots.tenant_mut(id) else { return false };
        match &client.seat {
            Seat::Reserved(_) => self.reserved -= 1,
            Seat::Dialling { .. } => {}
            Seat::Open(_) | Seat::Out | Seat::Failed(_) => return false,
        }
        client.seat = Seat::Failed(error);
        self.ended.push(id);
        true
    }

    /// Gives up all that is dialled and not connected.
    fn fail_all(&mut self, error: DialError) {
        let is_dialled = |client: &Client<S, T>| matches!(client.seat, Seat::Reserved(_) | Seat::Dialling { .. });
        let all = self.slots.iter_mut().filter(|(_, client)| is_dialled(client));
        for id in all.map(|(id, _)| id).collect::<Vec<_>>() {
            self.fail(id, error);
        }
    }

    /// The stream, once the connection to be dialled has one.
    pub(crate) fn seat_dialling(&mut self, id: ConnId, stream: S, peer: PeerAddr) {
        if let Some(client) = self.slots.tenant_mut(id) {
            let rest = match std::mem::replace(&mut client.seat, Seat::Out) {
                Seat::Reserved(dial) if dial.has_next() => Some(Box::new(dial)),
                _ => None,
            };
            client.seat = Seat::Dialling { stream, peer, edges: Readiness::default(), rest };
            self.reserved -= 1;
        }
    }

    /// Whether it is dialled, and neither made nor failed as far as is known.
    pub(crate) fn is_dialling(&self, id: ConnId) -> bool {
        self.slots.tenant(id).is_some_and(|client| matches!(client.seat, Seat::Dialling { .. }))
    }

    /// An attempt to connect has failed: the next address is dialled, in its turn, if there is one and it may do better.
    /// Otherwise the dial has failed.
    pub(crate) fn dial_next_or_fail(&mut self, id: ConnId, error: DialError) {
        let Some(client) = self.slots.tenant_mut(id) else { return };
        if error.is_of_address() {
            match &mut client.seat {
                Seat::Reserved(dial) if dial.has_next() => return self.to_dial.push_back(id),
                Seat::Dialling { rest, .. } => {
                    if let Some(dial) = rest.take() {
                        client.seat = Seat::Reserved(*dial);
                        self.reserved += 1;
                        return self.to_dial.push_back(id);
                    }
                }
                Seat::Reserved(_) | Seat::Open(_) | Seat::Out | Seat::Failed(_) => {}
            }
        }
        self.fail(id, error);
    }

    /// Ends everything at once.
    pub(crate) fn cut_all(&mut self, reason: CloseReason) {
        self.fail_all(DialError::Cancelled);
        let Self { slots, ended, .. } = self;
        for (id, client) in slots.iter_mut() {
            if let Some(tenant) = client.tenant_mut() {
                tenant.conn.abort(reason);
                ended.push(id);
            }
        }
    }

    /// Begins to drain all connections; what is dialled and not connected is given up.
    pub(crate) fn drain_all(&mut self) {
        self.fail_all(DialError::Cancelled);
        let Self { slots, waiting, .. } = self;
        for (id, client) in slots.iter_mut() {
            let Some(tenant) = client.tenant_mut() else { continue };
            tenant.conn.drain();
            if !std::mem::replace(&mut client.is_queued, true) {
                waiting.push_back(id);
            }
        }
    }
}

/// The most bytes, read and written, of a run that counts as short: some small requests.
pub(crate) const SHORT_RUN_BYTES: usize = 4 << 10;

/// How many short runs make a long one forgotten: with one, a small frame before each burst would let all bursts go first.
const LONG_RUN_MEMORY: u8 = 4;

impl<S, T> Client<S, T> {
    /// The connection, if there is one and it does not run.
    pub(crate) fn tenant_mut(&mut self) -> Option<&mut Tenant<S, T>> {
        match &mut self.seat {
            Seat::Open(tenant) => Some(tenant),
            Seat::Reserved(_) | Seat::Dialling { .. } | Seat::Out | Seat::Failed(_) => None,
        }
    }
}

#[cfg(test)]
impl<S, T> Client<S, T> {
    /// Whether a deadline has come for which the last look is still to come.
    pub(crate) fn has_expired(&self, kind: Kind) -> bool {
        self.expired.contains(kind)
    }
}

#[cfg(test)]
impl<S, T> Clients<S, T> {
    /// Who stands in the queue and still exists.
    pub(crate) fn queued(&self) -> Vec<ConnId> {
        let all = self.first.iter().chain(&self.waiting).copied();
        all.filter(|id| self.slots.id_of(id.index) == Some(*id)).collect()
    }
}

impl<S, T> Reach for Clients<S, T> {
    fn send(&mut self, to: ConnId, payload: &[u8], shared: &mut Shared) -> Sent {
        let Some(conn) = self.conn_mut(to) else { return shared.count_refused(Sent::Gone) };
        let sent = conn.send(payload, shared);
        let held = conn.buffered_bytes();
        if sent == Sent::Queued {
            self.note_held(to, held, false, shared.now);
            self.queue(to);
        }
        sent
    }

    fn broadcast(&mut self, payload: &[u8], shared: &mut Shared) -> Broadcast {
        let mut reached = Broadcast::default();
        let Self { slots, waiting, holders, .. } = self;
        for (id, client) in slots.iter_mut() {
            let Some(tenant) = client.tenant_mut() else { continue };
            let sent = tenant.conn.send(payload, shared);
            count(&mut reached, sent);
            if sent != Sent::Queued {
                continue;
            }
            let held = tenant.conn.buffered_bytes();
            holders.set(&mut client.holding, id.index, held, false, shared.now);
            if !std::mem::replace(&mut client.is_queued, true) {
                waiting.push_back(id);
            }
        }
        reached
    }

    fn make_room(&mut self, of: ConnId, held: usize, needed: usize, shared: &mut Shared) -> bool {
        self.evict_for(of, held, needed, shared)
    }

    fn tell(&mut self, id: ConnId, wish: Wish) -> bool {
        let Some(client) = self.slots.tenant_mut(id) else { return false };
        if let Some(Tenant { conn, .. }) = client.tenant_mut() {
            match wish {
                Wish::Close => conn.close(CloseReason::ClosedByHandler),
                Wish::Abort => conn.abort(CloseReason::AbortedByHandler),
                Wish::Pause => conn.pause(true),
                Wish::Resume => conn.pause(false),
                Wish::Wake => conn.wake(),
            }
            self.queue(id);
            return true;
        }
        if matches!(client.seat, Seat::Out) && wish == Wish::Wake {
            // It runs: it is woken when it is put back.
            self.is_runner_woken = true;
            return true;
        }
        matches!(wish, Wish::Close | Wish::Abort) && self.fail(id, DialError::Cancelled)
    }

    /// Rule: a reactor that is ending takes on nothing new, so it ends whatever a handler asks for.
    fn dial(&mut self, dial: Dial) -> Result<ConnId, DialRefused> {
        if self.is_ending || self.end.is_some() {
            return Err(DialRefused::Ending);
        }
        if self.reserved >= self.dials_max {
            return Err(DialRefused::TooMany { allowed: self.dials_max });
        }
        let id = self.insert(Origin::Dialled, Seat::Reserved(dial));
        self.to_dial.push_back(id);
        self.reserved += 1;
        Ok(id)
    }

    fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        if self.timers.len() >= self.timers_max {
            return Err(TimerRefused::TooMany { allowed: self.timers_max });
        }
        Ok(self.timers.set(at))
    }

    fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.timers.cancel(timer)
    }

    fn end(&mut self, end: End) {
        self.end = self.end.max(Some(end));
    }
}
