//! Frames to connections other than the one that a callback is about.

use crate::conn::Conn;
use crate::conn::payloads::SharedPayload;
use crate::conn::shared::Shared;
use crate::error::SendError;
use crate::id::ConnId;
use crate::reach::{BATCH_LEN, Broadcast, count};
use crate::reactor::connections::{ConnSlot, Others};
use crate::reactor::work::Work;

impl<S, T> Others<'_, S, T> {
    /// Queues a frame on an open connection, which sends it in its next run.
    pub(crate) fn send_with(
        &mut self,
        to: ConnId,
        shared: &mut Shared,
        send: impl FnOnce(&mut Conn, &mut Shared) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let Some(slot) = self.slots.slot_mut(to) else { return shared.count_refused(Err(SendError::Closed)) };
        send_on(to, slot, self.work, shared, send)
    }

    /// Queues the frame of a broadcast on some connections, and counts the results.
    pub(crate) fn broadcast_to(
        &mut self,
        to: &[ConnId],
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
        reached: &mut Broadcast,
    ) {
        let mut rest = to;
        loop {
            let count_deferred = self.defer_on(rest, payload, shared);
            reached.queued += count_deferred;
            let Some((&id, others)) = rest[count_deferred..].split_first() else { return };
            rest = others;
            let sent = match self.slots.slot_mut(id) {
                Some(slot) => broadcast_on(id, slot, self.work, payload, shared),
                None => shared.count_refused(Err(SendError::Closed)),
            };
            count(reached, sent);
        }
    }

    /// Defers the frame of a broadcast on the first of these connections, up to the first that is not idle or has another profile than
    /// the last that was asked for. Returns on how many.
    fn defer_on(&mut self, to: &[ConnId], payload: &SharedPayload<'_>, shared: &mut Shared) -> usize {
        let Some((deferred, profile)) = shared.pool.deferred(payload) else { return 0 };
        let to = &to[..to.len().min(shared.pool.deferrals_room())];
        let connections = self.work.queue.defer_on_idle(to, deferred, profile);
        shared.pool.defer_more(deferred, connections);
        shared.counts.frames_out += connections as u64;
        connections
    }

    /// Queues the frame of a broadcast on all open connections.
    pub(crate) fn broadcast_to_all(&mut self, payload: &mut SharedPayload<'_>, shared: &mut Shared) -> Broadcast {
        let mut reached = Broadcast::default();
        let mut batch = Vec::with_capacity(BATCH_LEN);
        for index in 0..self.slots.end() as u32 {
            batch.extend(self.work.queue.idle_id(index).or_else(|| self.open_id(index)));
            if batch.len() == BATCH_LEN {
                self.broadcast_to(&batch, payload, shared, &mut reached);
                batch.clear();
            }
        }
        self.broadcast_to(&batch, payload, shared, &mut reached);
        reached
    }

    fn open_id(&mut self, index: u32) -> Option<ConnId> {
        let id = self.slots.id_of(index)?;
        self.slots.slot_mut(id)?.phase.open_mut().map(|_| id)
    }

    /// Queues all deferred frames, so that the connections are found by what they hold.
    #[cold]
    pub(crate) fn queue_all_deferred(&mut self, shared: &mut Shared) {
        for id in self.work.ids_to_run().collect::<Vec<_>>() {
            if let Some(slot) = self.slots.slot_mut(id) {
                queue_deferred(id, slot, self.work, shared);
            }
        }
        debug_assert!(!shared.pool.has_deferred(), "a connection that has deferred a frame is not in the run queue");
    }
}

/// Queues the frame of a broadcast on a connection, which sends it in its next run.
fn broadcast_on<S, T>(
    id: ConnId,
    slot: &mut ConnSlot<S, T>,
    work: &mut Work,
    payload: &mut SharedPayload<'_>,
    shared: &mut Shared,
) -> Result<(), SendError> {
    if !work.queue.has_deferred(id)
        && let Some(deferred) = slot.phase.open_mut().and_then(|open| open.conn.defer(payload, shared))
    {
        work.queue.defer(id, deferred);
        return Ok(());
    }
    send_on(id, slot, work, shared, |conn, shared| conn.send_shared(payload, shared))
}

fn send_on<S, T>(
    id: ConnId,
    slot: &mut ConnSlot<S, T>,
    work: &mut Work,
    shared: &mut Shared,
    send: impl FnOnce(&mut Conn, &mut Shared) -> Result<(), SendError>,
) -> Result<(), SendError> {
    queue_deferred(id, slot, work, shared);
    let Some(open) = slot.phase.open_mut() else { return shared.count_refused(Err(SendError::Closed)) };
    let sent = send(&mut open.conn, shared);
    if sent.is_ok() {
        note_held(id, slot, work, shared);
        work.queue.push(id);
    }
    sent
}

/// Queues the frame that a connection has deferred, if there is one.
#[inline]
pub(crate) fn queue_deferred<S, T>(id: ConnId, slot: &mut ConnSlot<S, T>, work: &mut Work, shared: &mut Shared) {
    let Some(deferred) = work.queue.take_deferred(id) else { return };
    if let Some(open) = slot.phase.open_mut() {
        open.conn.queue_deferred(deferred, shared);
        note_held(id, slot, work, shared);
    }
}

/// Notes what a connection holds, to which output was added from elsewhere.
fn note_held<S, T>(id: ConnId, slot: &mut ConnSlot<S, T>, work: &mut Work, shared: &Shared) {
    let held = slot.phase.open_mut().map_or(0, |open| open.conn.buffered_bytes());
    work.eviction.set(&mut slot.eviction_entry, id.index, held, false, shared.now);
}
