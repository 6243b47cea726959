//! The campaign's handler: does what frames ask for and what comes to its mind, and writes down what must follow from it.

mod answers;
mod listening;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::panic_any;
use std::rc::Rc;

use bytes::Bytes;

use crate::conn::handover::Handover;
use crate::conn::sink::Drain;
use crate::error::{CloseReason, Error};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::net::Detached;
use crate::options::Limits;
use crate::reach::Broadcast;
use crate::sim::Rng;
use crate::tests::sim::campaign::action::Action;
use crate::tests::sim::campaign::heard::{Expected, Heard, Life, TO_ALL, UNASKED, unasked};
use crate::tests::sim::campaign::scripted_handler::listening::Listening;
use crate::tests::sim::campaign::trace::Trace;
use crate::wire::Framing;
use crate::{Address, ConnectionState, Frame, FramePart, PausedBy, PeerAddr, SendError};

#[derive(Debug)]
pub(super) struct ScriptedHandler {
    rng: Rng,
    trace: Trace,
    frame_budget: usize,
    /// The limits with which connections begin.
    usual: Option<Limits>,
    /// It half-closes connections. Those have no output any more, so other faults are found with a handler that does not.
    finishes: bool,
    /// The reactor drains or stops.
    pub(super) is_ending: bool,
    /// Nothing comes to its mind any more.
    pub(super) is_calm: bool,
    /// By the number of the peer.
    pub(super) records: Vec<Heard>,
    numbers: HashMap<ConnId, usize>,
    ids: Vec<ConnId>,
    /// How many connections are open; outlives the reactor.
    pub(super) open: Rc<Cell<usize>>,
    pub(super) paused: Vec<usize>,
    /// Half-closed, and kept open to be answered later.
    pub(super) kept: Vec<usize>,
    serial: u64,
    /// How many a broadcast has reached, by its serial number, and how many have heard it.
    pub(super) broadcasts: HashMap<u64, (usize, usize)>,
    pub(super) messages: u64,
    pub(super) frames: u64,
    pub(super) listening: Listening,
    /// Connections that have ended in this turn.
    pub(super) just_ended: Vec<usize>,
    /// What should not have been. The reactor catches panics of a handler, so an assertion in one would say nothing.
    pub(super) broken: Vec<String>,
}

/// The address of a peer contains its number.
pub(super) fn ip_of(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | number as u32)
}

fn number_of(peer: &PeerAddr) -> usize {
    match peer.ip() {
        Some(IpAddr::V4(ip)) => (ip.to_bits() & 0x00ff_ffff) as usize,
        Some(IpAddr::V6(_)) | None => usize::MAX,
    }
}

impl ScriptedHandler {
    pub(super) fn new(seed: u64, frame_budget: usize, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let finishes = rng.chance(500);
        Self {
            rng,
            trace,
            frame_budget,
            usual: None,
            finishes,
            is_ending: false,
            is_calm: false,
            records: Vec::new(),
            numbers: HashMap::new(),
            ids: Vec::new(),
            open: Rc::default(),
            paused: Vec::new(),
            kept: Vec::new(),
            serial: 0,
            broadcasts: HashMap::new(),
            messages: 0,
            frames: 0,
            listening: Listening::default(),
            just_ended: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.just_ended.clear();
        self.records.iter_mut().for_each(|heard| heard.taken_in_turn = 0);
    }

    fn expect(&mut self, holds: bool, number: usize, otherwise: &str) {
        if !holds {
            let name = self.records.get(number).map_or("no peer", |heard| &heard.name);
            self.broken.push(format!("{name}: {otherwise}"));
        }
    }

    fn require(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.broken.push(otherwise.to_owned());
        }
    }

    /// Some of these are dead.
    fn any_id(&mut self) -> Option<ConnId> {
        let index = self.rng.below(self.ids.len());
        self.ids.get(index).copied()
    }

    pub(super) fn number(&self, id: ConnId) -> usize {
        self.numbers[&id]
    }

    fn heard(&mut self, id: ConnId) -> Option<&mut Heard> {
        let number = *self.numbers.get(&id)?;
        self.records.get_mut(number)
    }

    /// A random action in `per_mille` of 1,000 calls.
    fn whim(&mut self, per_mille: u16) -> Action {
        if self.is_calm { Action::Nothing } else { Action::by_whim(&mut self.rng, per_mille) }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn send(&mut self, to: ConnId, send: impl FnOnce(&[u8]) -> Result<(), SendError>) {
        let serial = self.next_serial();
        let payload = unasked(UNASKED, serial);
        let sent = send(&payload);
        let Some(heard) = self.heard(to) else { return };
        let is_too_long = payload.len() as u64 > *heard.script.framing.payload_lens().end();
        match sent {
            Ok(()) => heard.expected.push(Expected::Unasked(serial)),
            Err(SendError::Full) => heard.waits_for_low_water = true,
            Err(
                SendError::Closed
                | SendError::ReplyUnfinished
                | SendError::TooLong { .. }
                | SendError::TooShort { .. }
                | SendError::NoMemory,
            ) => {}
        }
        let is_dead = heard.open_id().is_none();
        let is_finished = heard.was_finished;
        let name = heard.name.clone();
        self.trace.note(format!("    to {name}, who did not ask: {sent:?}"));
        let number = self.numbers[&to];
        self.expect(!is_dead || sent == Err(SendError::Closed), number, "was sent a frame when it had ended");
        self.expect(!is_finished || sent == Err(SendError::Closed), number, "was sent a frame when it was finished");
        let is_unfinished = self.records[number].is_reply_unfinished;
        self.expect(is_unfinished || sent != Err(SendError::ReplyUnfinished), number, "has no unfinished reply");
        self.expect(!is_unfinished || sent.is_err(), number, "was sent a frame in the middle of a reply");
        let is_allowed = is_too_long || !matches!(sent, Err(SendError::TooLong { .. }));
        self.expect(is_allowed && !(is_too_long && sent.is_ok()), number, "was sent too much for its header");
    }

    fn broadcast(&mut self, broadcast: impl FnOnce(&[u8], u64) -> Broadcast) {
        let serial = self.next_serial();
        let reached = broadcast(&unasked(TO_ALL, serial), serial);
        self.broadcasts.insert(serial, (reached.queued, 0));
        self.trace.note(format!("    to all: {reached:?}"));
    }

    /// Sets the framing of a connection, which may have it already: then the bytes that are left are decoded anew.
    fn reframe(&mut self, conn: &mut Connection<'_>, number: usize) {
        let is_set = conn.set_framing(self.records[number].script.framing).is_ok();
        self.expect(is_set, number, "a framing was refused");
    }

    /// Changes the limits of a connection, or gives it those back with which it began: a timeout less, or a lower mark.
    fn relimit(&mut self, conn: &mut Connection<'_>, number: usize) {
        let usual = *self.usual.get_or_insert(conn.limits());
        let limits = match self.frames % 7 {
            0 => usual.idle_timeout(None),
            1 => usual.frame_timeout(None),
            2 => usual.write_timeout(None),
            3 => usual.output_high_water(128).output_low_water(32),
            4 => usual,
            _ => usual.frames_in_parts(true),
        };
        let is_set = conn.set_limits(limits).is_ok();
        self.records[number].limits = Some(limits);
        self.expect(is_set && conn.limits() == limits, number, "limits were refused");
    }

    /// Does an action in a callback about a connection.
    fn act(&mut self, number: usize, conn: &mut Connection<'_>, action: Action) {
        let heard = &mut self.records[number];
        match action {
            Action::Nothing => return,
            Action::Close => {
                conn.close();
                heard.was_closed = true;
            }
            Action::Abort => {
                conn.abort();
                heard.was_aborted = true;
            }
            Action::Detach => {
                conn.detach();
                heard.was_detached |= !heard.was_finished;
            }
            Action::Finish if !self.finishes => return,
            Action::Finish => {
                conn.finish();
                heard.was_finished |= !heard.is_ending();
            }
            Action::Panic => heard.has_panicked = true,
            Action::Pause => {
                conn.pause();
                (heard.is_paused, heard.was_paused) = (true, true);
                self.paused.push(number);
            }
            Action::Send => {
                if let Some(to) = self.any_id() {
                    self.send(to, |payload| conn.send(to, payload));
                }
            }
            Action::Broadcast => {
                let ids = self.ids.clone();
                self.broadcast(|payload, serial| match serial % 3 {
                    0 => conn.broadcast_all(payload),
                    1 => conn.broadcast_all_shared(Bytes::copy_from_slice(payload)),
                    _ => conn.cx().broadcast(ids, Bytes::copy_from_slice(payload)),
                });
            }
            Action::CloseAnother | Action::AbortAnother | Action::PauseAnother | Action::FinishAnother => {
                return self.act_at_large(&mut conn.cx(), action);
            }
        }
        let name = &self.records[number].name;
        self.trace.note(format!("    the handler, for {name}: {action:?}"));
        if action == Action::Panic {
            panic_any("the handler was asked to panic");
        }
    }

    /// Compares what the reactor shows of a connection with what is known of it.
    fn inspect(&mut self, cx: &mut Context<'_>, id: ConnId) {
        let info = cx.inspect(id);
        let number = self.numbers[&id];
        let heard = &self.records[number];
        let is_same = info.is_none_or(|info| {
            let limits = heard.limits.or(self.usual);
            let is_closing = info.state == ConnectionState::Closing;
            let is_paused = info.paused_by == Some(PausedBy::Handler);
            number_of(&info.peer) == number
                && heard.open_id() == Some(id)
                && info.framing == heard.script.framing
                && Some(info.limits) == limits
                && (is_closing || is_paused == heard.is_paused)
        });
        self.expect(is_same, number, "is shown as another");
    }

    /// Does an action in a callback about no connection, or about others.
    fn act_at_large(&mut self, cx: &mut Context<'_>, action: Action) {
        let Some(id) = self.any_id() else { return };
        self.inspect(cx, id);
        match action {
            Action::Nothing | Action::Close | Action::Abort | Action::Pause | Action::Detach | Action::Finish => return,
            Action::FinishAnother if !self.finishes => return,
            Action::Panic => panic_any("the handler was asked to panic"),
            Action::Send => return self.send(id, |payload| cx.send_shared(id, Bytes::copy_from_slice(payload))),
            Action::Broadcast => {
                let ids = self.ids.clone();
                return self.broadcast(|payload, serial| match serial % 3 {
                    0 => cx.broadcast_all(payload),
                    1 => cx.broadcast_all_shared(Bytes::copy_from_slice(payload)),
                    _ => cx.broadcast(ids, Bytes::copy_from_slice(payload)),
                });
            }
            Action::CloseAnother | Action::AbortAnother | Action::PauseAnother | Action::FinishAnother => {}
        }
        let is_there = match action {
            Action::CloseAnother => cx.close(id),
            Action::AbortAnother => cx.abort(id),
            Action::FinishAnother => cx.finish(id),
            _ => cx.pause(id),
        };
        let number = self.numbers[&id];
        let heard = &mut self.records[number];
        self.trace.note(format!("    the handler, for {}: {action:?}: {is_there}", heard.name));
        let is_open = heard.open_id().is_some();
        if is_there {
            heard.was_closed |= action == Action::CloseAnother;
            heard.was_aborted |= action == Action::AbortAnother;
            heard.was_finished |= action == Action::FinishAnother && !heard.is_ending();
            if action == Action::PauseAnother {
                (heard.is_paused, heard.was_paused) = (true, true);
                self.paused.push(number);
            }
        }
        self.expect(is_open || !is_there, number, "was there when it had ended");
    }
}

impl Handler for ScriptedHandler {
    /// The number of the peer.
    type State = usize;
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) -> usize {
        let (id, number) = (conn.id(), number_of(conn.peer_addr()));
        let is_new = self.records[number].life == Life::Waiting && self.numbers.insert(id, number).is_none();
        self.expect(is_new, number, "opened twice");
        self.trace.note(format!("    {} is connection {id}", self.records[number].name));
        self.records[number].life = Life::Open(id);
        self.ids.push(id);
        // An adopted connection begins with the default framing.
        let framing = self.records[number].script.framing;
        let framing_at_first = if conn.listener().is_some() { framing } else { Framing::default() };
        self.expect(conn.framing() == framing_at_first, number, "a connection has not the framing of its listener");
        self.reframe(conn, number);
        self.usual.get_or_insert(conn.limits());
        if self.rng.chance(100) {
            self.send(id, |payload| conn.send(id, payload));
        }
        let action = self.whim(60);
        if action == Action::Panic {
            // Then it never was open.
            self.records[number].life = Life::Stillborn;
        }
        self.act(number, conn, action);
        self.open.set(self.open.get() + 1);
        number
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, number: &mut usize, frame: Frame<'_>) {
        let number = *number;
        let heard = &mut self.records[number];
        self.frames += 1;
        heard.taken += 1;
        heard.taken_in_turn += 1;
        let is_own = heard.life == Life::Open(conn.id());
        let may_go_on = !(heard.is_paused || heard.is_ending());
        let asked = heard.script.payload(heard.taken - 1);
        let is_asked = asked.is_some_and(|asked| answers::is_same(asked, &frame));
        let order = asked.and_then(<[u8]>::first).map_or(Action::Nothing, |byte| Action::of_byte(*byte));
        let is_own_framing = conn.framing() == heard.script.framing;
        // A connection may run a second time, for a last look at its deadlines.
        let is_within_budget = heard.taken_in_turn <= 2 * self.frame_budget;
        self.expect(is_own_framing, number, "a connection has the framing of another");
        self.expect(is_own, number, "a frame came with another connection's state");
        self.expect(may_go_on, number, "a frame was delivered that should have waited");
        self.expect(is_asked, number, "the delivered frame is not the one that was sent");
        self.expect(is_within_budget, number, "more frames were delivered than the budget allows");
        self.expect(self.just_ended.is_empty(), number, "a slot was freed before the batch was done");

        let sent = self.answer(conn, number, frame);
        if self.frames.is_multiple_of(5) {
            self.reframe(conn, number);
        }
        if self.frames.is_multiple_of(3) {
            self.relimit(conn, number);
        }
        if sent != Err(SendError::NoMemory) {
            let whim = self.whim(5);
            self.act(number, conn, whim);
            self.act(number, conn, order);
        }
    }

    fn on_frame_part(&mut self, conn: &mut Connection<'_>, number: &mut usize, part: FramePart<'_>) {
        let number = *number;
        self.take_part(conn, number, part);
        let whim = self.whim(5);
        self.act(number, conn, whim);
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, number: &mut usize) {
        let heard = &mut self.records[*number];
        heard.waits_for_low_water = false;
        let is_finished = heard.was_finished;
        self.expect(!is_finished, *number, "has room again, and was finished");
        self.trace.note(format!("    {} has room again", self.records[*number].name));
        let action = self.whim(200);
        self.act(*number, conn, action);
    }

    /// Sometimes keeps it open, to be answered and closed later.
    fn on_half_close(&mut self, conn: &mut Connection<'_>, number: &mut usize) {
        let number = *number;
        let heard = &mut self.records[number];
        heard.half_closes += 1;
        self.trace.note(format!("    {} has half-closed", heard.name));
        let (is_first, is_ending) = (heard.half_closes == 1, heard.is_ending());
        self.expect(is_first && !is_ending, number, "has half-closed twice, or behind its end");
        let action = self.whim(200);
        self.act(number, conn, action);
        if self.rng.chance(500) {
            self.kept.push(number);
        } else {
            conn.close();
            self.records[number].was_closed = true;
        }
    }

    /// Sometimes closes it later.
    fn on_drain(&mut self, conn: &mut Connection<'_>, number: &mut usize) -> Drain {
        let number = *number;
        let reply = if self.rng.chance(500) { Drain::WhenClosed } else { Drain::AtRest };
        let heard = &mut self.records[number];
        self.trace.note(format!("    {} is drained: {reply:?}", heard.name));
        let is_first = heard.reply_to_drain.is_none();
        let has_all = heard.taken >= heard.frames_at_drain;
        heard.reply_to_drain = Some(reply);
        self.expect(is_first && self.is_ending, number, "was drained twice, or without a drain");
        self.expect(has_all, number, "was drained before all frames were delivered");
        if reply == Drain::WhenClosed {
            self.kept.push(number);
        }
        let action = self.whim(200);
        self.act(number, conn, action);
        reply
    }

    /// Keeps the bytes, and closes the socket.
    fn on_detach(&mut self, cx: &mut Context<'_>, id: ConnId, number: &mut usize, detached: Detached) {
        let number = *number;
        let Detached { unread, unsent, peer, .. } = detached;
        let heard = &mut self.records[number];
        self.trace.note(format!("    {} is detached, {} unread, {} unsent", heard.name, unread.len(), unsent.len()));
        let is_own = heard.life == Life::Open(id) && number_of(&peer) == number;
        let is_asked = heard.was_detached && heard.handover.is_none();
        let is_next = heard.script.bytes()[heard.delivered()..].starts_with(&unread);
        heard.handover = Some(Handover { unread, unsent });
        self.expect(is_own, number, "was detached as another connection");
        self.expect(is_asked, number, "was detached twice, or without a request");
        self.expect(is_next, number, "the unread bytes are not those behind the last frame");
        let action = self.whim(150);
        self.act_at_large(cx, action);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, number: usize, reason: &CloseReason) {
        let heard = &mut self.records[number];
        self.trace.note(format!("    {} ends: {reason}", heard.name));
        let was_open = heard.life == Life::Open(id);
        heard.life = Life::Ended { reason: *reason, at: cx.now() };
        self.open.set(self.open.get().wrapping_sub(1));
        self.just_ended.push(number);
        self.expect(was_open, number, "closed without being open");
        let sent = cx.send(id, b"too late");
        self.expect(sent == Err(SendError::Closed), number, "a frame was queued on a connection that has ended");
        let action = self.whim(150);
        self.act_at_large(cx, action);
    }

    fn on_listen(&mut self, cx: &mut Context<'_>, asked: &Address, outcome: Result<crate::Listening, Error>) {
        self.note_listening(cx, asked, outcome);
    }

    /// Resumes one that was paused, closes one that was kept open, if they are still there.
    fn on_message(&mut self, cx: &mut Context<'_>, (): ()) {
        self.messages += 1;
        let paused = self.paused.pop();
        if let Some(id) = paused.and_then(|number| self.records[number].open_id()) {
            cx.resume(id);
            let heard = &mut self.records[paused.unwrap_or(0)];
            heard.is_paused = false;
            heard.resumes += 1;
        }
        let kept = if self.is_calm || self.rng.chance(500) { self.kept.pop() } else { None };
        if let Some(id) = kept.and_then(|number| self.records[number].open_id()) {
            self.send(id, |payload| cx.send(id, payload));
            cx.close(id);
            self.records[kept.unwrap_or(0)].was_closed = true;
        }
        self.listen_elsewhere(cx);
        let action = self.whim(100);
        self.act_at_large(cx, action);
    }
}
