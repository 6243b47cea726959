//! What a callback can do with connections, and with the reactor: implements [`Reach`].

use std::time::Instant;

use crate::address::{Address, Dial};
use crate::conn::frame::Frame;
use crate::conn::io::Transport;
use crate::conn::payloads::SharedPayload;
use crate::conn::shared::Shared;
use crate::error::{CloseReason, DialError, DialRefused, Error, SendError, TimerRefused};
use crate::id::{ConnId, ListenerId, TimerId};
use crate::info::{ConnectionInfo, Seen};
use crate::options::ListenOptions;
use crate::reach::{Broadcast, Command, End, ListenerRequest, Reach};
use crate::reactor::connections::{Connections, Open, Others, Phase};
use crate::reactor::slots::Origin;
use crate::stats::Stats;

impl<S: Transport, T> Reach for Others<'_, S, T> {
    fn send(&mut self, to: ConnId, payload: &[u8], shared: &mut Shared) -> Result<(), SendError> {
        self.send_with(to, shared, |conn, shared| conn.send(payload, shared))
    }

    fn send_shared(
        &mut self,
        to: ConnId,
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        self.send_with(to, shared, |conn, shared| conn.send_shared(payload, shared))
    }

    fn forward(&mut self, frame: &mut Frame<'_>, to: ConnId, shared: &mut Shared) -> Result<(), SendError> {
        self.send_with(to, shared, |conn, shared| conn.send_frame(frame, shared))
    }

    fn broadcast(
        &mut self,
        to: &[ConnId],
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
        reached: &mut Broadcast,
    ) {
        self.broadcast_to(to, payload, shared, reached);
    }

    fn broadcast_all(&mut self, payload: &mut SharedPayload<'_>, shared: &mut Shared) -> Broadcast {
        self.broadcast_to_all(payload, shared)
    }

    fn make_room(&mut self, of: ConnId, held: usize, needed: usize, shared: &mut Shared) -> bool {
        if !shared.pool.has_room(needed) && shared.pool.has_deferred() {
            self.queue_all_deferred(shared);
        }
        while !shared.pool.has_room(needed) {
            let Some(index) = self.work.eviction.victim(of.index, held.saturating_add(needed), shared.now) else {
                // If its frames fit a chunk, there is always another connection to evict, or room.
                debug_assert!(self.work.eviction.is_large(held + needed), "{held} + {needed} bytes");
                return false;
            };
            self.evict(index, shared);
        }
        true
    }

    fn command(&mut self, id: ConnId, command: Command) -> bool {
        if self.own.is_some_and(|own| own.id == id) && command == Command::Wake {
            self.work.note_woken();
            return true;
        }
        let Some(slot) = self.slots.slot_mut(id) else { return false };
        if let Some(Open { conn, .. }) = slot.phase.open_mut() {
            match command {
                Command::Close => conn.close(CloseReason::ClosedByHandler),
                Command::Finish => conn.finish(),
                Command::Abort => conn.abort(CloseReason::AbortedByHandler),
                Command::Pause => conn.pause(true),
                Command::Resume => conn.pause(false),
                Command::Wake => conn.wake(),
            }
            self.work.queue.push(id);
            return true;
        }
        matches!(command, Command::Close | Command::Abort) && self.fail(id, DialError::Canceled)
    }

    fn inspect(&mut self, id: ConnId, own: Option<Seen<'_>>, shared: &mut Shared) -> Option<ConnectionInfo> {
        self.inspect_with(id, own, shared)
    }

    fn open_ids(&mut self) -> Vec<ConnId> {
        let open = self.slots.iter_mut().filter_map(|(id, slot)| slot.phase.open_mut().map(|_| id));
        open.collect()
    }

    fn dial(&mut self, dial: Dial, shared: &Shared) -> Result<ConnId, DialRefused> {
        self.work.admit_dial()?;
        dial.check(&shared.config).map_err(DialRefused::Config)?;
        let id = self.insert(Origin::Dialed, Phase::Reserved(dial));
        self.work.queue_dial(id);
        self.work.note_reserved();
        Ok(id)
    }

    fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        self.work.set_timer(at)
    }

    fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.work.timers.cancel(timer)
    }

    fn listen(&mut self, addr: Address, options: ListenOptions, shared: &Shared) -> Result<(), Error> {
        self.work.admit_listen(&addr)?;
        options.check(&shared.config)?;
        self.work.push_listener_request(ListenerRequest::Listen(addr, options));
        Ok(())
    }

    fn unlisten(&mut self, id: Option<ListenerId>) {
        self.work.push_listener_request(ListenerRequest::Unlisten(id));
    }

    fn end(&mut self, end: End) {
        self.work.request_end(end);
    }

    fn stats(&self, shared: &Shared) -> Stats {
        self.work.snapshot(self.sockets, self.slots.occupied(), shared)
    }
}

/// Callbacks without a connection.
impl<S: Transport, T> Reach for Connections<S, T> {
    fn send(&mut self, to: ConnId, payload: &[u8], shared: &mut Shared) -> Result<(), SendError> {
        self.all().send(to, payload, shared)
    }

    fn send_shared(
        &mut self,
        to: ConnId,
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        self.all().send_shared(to, payload, shared)
    }

    fn forward(&mut self, frame: &mut Frame<'_>, to: ConnId, shared: &mut Shared) -> Result<(), SendError> {
        self.all().forward(frame, to, shared)
    }

    fn broadcast(
        &mut self,
        to: &[ConnId],
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
        reached: &mut Broadcast,
    ) {
        self.all().broadcast_to(to, payload, shared, reached);
    }

    fn broadcast_all(&mut self, payload: &mut SharedPayload<'_>, shared: &mut Shared) -> Broadcast {
        self.all().broadcast_all(payload, shared)
    }

    fn make_room(&mut self, of: ConnId, held: usize, needed: usize, shared: &mut Shared) -> bool {
        self.all().make_room(of, held, needed, shared)
    }

    fn command(&mut self, id: ConnId, command: Command) -> bool {
        self.all().command(id, command)
    }

    fn inspect(&mut self, id: ConnId, own: Option<Seen<'_>>, shared: &mut Shared) -> Option<ConnectionInfo> {
        self.all().inspect_with(id, own, shared)
    }

    fn open_ids(&mut self) -> Vec<ConnId> {
        self.all().open_ids()
    }

    fn dial(&mut self, dial: Dial, shared: &Shared) -> Result<ConnId, DialRefused> {
        self.all().dial(dial, shared)
    }

    fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused> {
        self.all().set_timer(at)
    }

    fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.all().cancel_timer(timer)
    }

    fn listen(&mut self, addr: Address, options: ListenOptions, shared: &Shared) -> Result<(), Error> {
        self.all().listen(addr, options, shared)
    }

    fn unlisten(&mut self, id: Option<ListenerId>) {
        self.all().unlisten(id);
    }

    fn end(&mut self, end: End) {
        self.all().end(end);
    }

    fn stats(&self, shared: &Shared) -> Stats {
        self.work.snapshot(&self.sockets, self.slots.len(), shared)
    }
}
