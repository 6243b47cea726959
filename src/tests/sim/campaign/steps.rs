//! One campaign: the reactor, its peers, and what happens step by step.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::conn::chunk::CHUNK_LEN;
use crate::lint::Lint;
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Faults, Rng, Sim, SimNet};
use crate::tests::sim::campaign::actor::{Actor, Kind};
use crate::tests::sim::campaign::heard::{Heard, Life};
use crate::tests::sim::campaign::recordings::Followers;
use crate::tests::sim::campaign::scripted_handler::{ScriptedHandler, ip_of};
use crate::tests::sim::campaign::settings::{Finale, Settings};
use crate::tests::sim::campaign::trace::Trace;
use crate::wire::Framing;
use crate::{Address, AdoptError};

/// That of the listener with the default framing. The other has the next.
const PORT: u16 = 7007;

/// More turns without any progress than there are ever needed to come to rest.
const IDLE_TURNS_MAX: usize = 1_000;
/// So many connections are opened before the generations of ids begin again.
const GENERATIONS_UNTIL_WRAP: u32 = 20;
/// One of so many peers connects to the listener that the handler moves.
const MOVED: usize = 5;
/// One of so many peers is adopted.
const ADOPTED: usize = 13;
/// More rounds than all peers ever need to send what is left.
const ROUNDS_MAX: usize = 10_000;

pub(super) struct Campaign {
    pub(super) sim: Sim,
    pub(super) reactor: Reactor<ScriptedHandler, SimNet>,
    pub(super) settings: Settings,
    rng: Rng,
    pub(super) actors: Vec<Actor>,
    pub(super) trace: Trace,
    pub(super) followers: Followers,
    pub(super) messages: u64,
    /// The reactor drains, or has stopped.
    pub(super) is_ending: bool,
    /// The deadline of the drain at the end.
    pub(super) drained_at: Option<Instant>,
    /// Steps taken.
    pub(super) steps: usize,
    /// The time that has passed, of each step no more than a write timeout: in one step there is one look.
    pub(super) looked_at: Instant,
}

impl Campaign {
    pub(super) fn new(seed: u64, lines_max: usize) -> Self {
        let mut rng = Rng::new(seed);
        let settings = Settings::new(&mut rng);
        let sim = Sim::with_faults(rng.next_u64(), settings.faults);
        sim.set_edges(settings.edges);
        sim.set_send_buffer_bytes(settings.send_buffer_bytes);
        sim.set_local(settings.is_local);
        let trace = Trace::new(&sim, lines_max);
        let handler = ScriptedHandler::new(rng.next_u64(), settings.config.frame_budget, trace.clone());
        let Ok(mut reactor) = Reactor::with_net(sim.net(), settings.config.clone(), handler) else {
            panic!("no reactor")
        };
        assert!(reactor.listen(&sim.addr(PORT)).is_ok());
        let options = ListenOptions::default().framing(settings.framing);
        assert!(reactor.listen_with(&sim.addr(PORT + 1), options).is_ok());
        reactor.handler_mut().listening.addrs = [PORT + 2, PORT + 3, PORT + 1].map(|port| sim.addr(port)).to_vec();
        reactor.wrap_generations_after(GENERATIONS_UNTIL_WRAP);
        let looked_at = sim.now();
        Self {
            sim,
            reactor,
            settings,
            rng,
            actors: Vec::new(),
            trace,
            followers: Followers::new(seed),
            messages: 0,
            is_ending: false,
            drained_at: None,
            steps: 0,
            looked_at,
        }
    }

    pub(super) fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
        match self.settings.finale {
            Finale::Complete => self.complete(),
            Finale::Drain => self.drain(),
            Finale::Stop => self.stop(),
            Finale::Drop => self.drop_reactor(),
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        self.record_some();
        match self.rng.below(1_000) {
            0..=39 => (0..self.rng.between(1, 3)).for_each(|_| self.connect()),
            40..=549 => self.send(),
            550..=849 => self.receive(),
            850..=899 => self.end(),
            900..=939 => self.let_time_pass(),
            940..=974 => self.message(),
            975..=979 => self.switch_descriptors(),
            _ => self.forget(),
        }
        // What happens between two turns is one event.
        if !self.rng.chance(200) {
            let timeout = [Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::from_millis(1)][self.rng.below(4)];
            let sleeps = self.rng.chance(10);
            let _ = self.turn(if sleeps { None } else { Some(timeout) });
        }
    }

    fn turn(&mut self, timeout: Option<Duration>) -> Turn {
        self.reactor.handler_mut().begin_turn();
        let before = self.reactor.stats();
        // And the one that the handler may open in this turn.
        let listeners = self.open_listeners() + 1;
        let outcome = self.reactor.turn(timeout);
        let expected = if self.is_ending { Turn::Done } else { Turn::Running };
        let is_expected = outcome.as_ref().is_ok_and(|turn| *turn == expected || *turn == Turn::Running);
        assert!(is_expected, "the turn ended with {outcome:?}");
        let after = self.reactor.stats();
        let accepted = after.accepted - before.accepted;
        let accepted_max = listeners * self.settings.config.accept_budget;
        assert!(accepted <= accepted_max as u64, "{accepted} were accepted in one turn");
        if after.polls > before.polls {
            self.check_exhaustions(listeners);
        }
        self.check();
        outcome.unwrap_or(Turn::Running)
    }

    fn open_listeners(&self) -> usize {
        self.sim.world.borrow().listeners.iter().filter(|listener| listener.is_open).count()
    }

    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn any_actor(&mut self) -> Option<usize> {
        (!self.actors.is_empty()).then(|| self.rng.below(self.actors.len()))
    }

    // The steps.

    fn connect(&mut self) {
        let payload_max = self.settings.config.max_payload as usize;
        let number = self.reactor.handler().records.len();
        if number % ADOPTED == ADOPTED - 1 {
            return self.adopt(number, payload_max);
        }
        let listener = self.any_listener();
        let Some(actor) = Actor::connect(&self.sim, listener, &mut self.rng, number, payload_max) else {
            panic!("no listener")
        };
        self.reactor.handler_mut().records.push(Heard::new(actor.to_string(), actor.script.clone()));
        let (bytes, frames) = (actor.script.bytes().len(), actor.script.frames());
        self.trace.note(format!("{actor} connects, with {frames} frames in {bytes} bytes"));
        self.actors.push(actor);
    }

    /// The port and the framing of a listener.
    fn any_listener(&mut self) -> (u16, Framing) {
        let listener = [(PORT, Framing::default()), (PORT + 1, self.settings.framing)][self.rng.below(2)];
        let is_moved = self.reactor.handler().records.len() % MOVED == MOVED - 1;
        match self.reactor.handler().listening.addr() {
            Some(Address::Tcp(addr)) if is_moved => (addr.port(), Framing::default()),
            _ => listener,
        }
    }

    /// A peer connects elsewhere, and a part of what it says is read there.
    fn adopt(&mut self, number: usize, payload_max: usize) {
        let kind = Kind::any(&mut self.rng);
        let (_, framing) = self.any_listener();
        let script = Rc::new(kind.script(framing, &mut self.rng, payload_max));
        let sent = self.rng.below(script.bytes().len().min(CHUNK_LEN) + 1);
        let name = format!("peer {number} ({kind:?})");
        self.trace.note(format!("{name} is adopted, with {sent} of {} bytes", script.bytes().len()));
        self.reactor.handler_mut().records.push(Heard::new(name, script.clone()));
        let adopted = self.sim.adopt_from(ip_of(number), &mut self.reactor, &script.bytes()[..sent]);
        match adopted {
            Ok((_, peer)) => {
                let mut actor = Actor::new(&self.sim, &mut self.rng, number, kind, peer, script);
                (actor.read_before, actor.sent) = (sent, sent);
                self.actors.push(actor);
                // Its connection is open: the clocks of the oracle begin now.
                let _ = self.turn(Some(Duration::ZERO));
            }
            Err(error) => {
                self.trace.note(format!("    {error}"));
                let life = self.reactor.handler().records[number].life;
                let has_panicked = matches!(error, AdoptError::HandlerPanicked);
                assert_eq!(has_panicked, life == Life::Stillborn, "{error}");
            }
        }
    }

    fn send(&mut self) {
        let now = self.now();
        let Some(index) = self.any_actor() else { return };
        let actor = &mut self.actors[index];
        if actor.kind == Kind::Resetting && actor.fin_at.is_some() {
            // Soon behind the FIN.
            return self.end_of(index);
        }
        let len = actor.send(&mut self.rng, now);
        if len > 0 {
            let end = if actor.kind == Kind::HalfClosing && actor.is_done_sending() { ", and FIN" } else { "" };
            self.trace.note(format!("{actor} sends {len} bytes{end}"));
        }
    }

    fn receive(&mut self) {
        let now = self.now();
        let Some(index) = self.any_actor() else { return };
        let actor = &mut self.actors[index];
        let len = actor.receive(&mut self.rng, now, self.reactor.handler_mut());
        if len > 0 {
            self.trace.note(format!("{actor} receives {len} bytes"));
        }
    }

    fn end(&mut self) {
        if let Some(index) = self.any_actor() {
            self.end_of(index);
        }
    }

    fn end_of(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        if let Some(how) = actor.end(&mut self.rng) {
            self.trace.note(format!("{actor} {how}"));
        }
    }

    fn let_time_pass(&mut self) {
        let micros = match self.rng.below(40) {
            0 => 25 * 24 * 3_600 * 1_000_000,
            1..=4 => 0,
            5..=12 => 999,
            13..=18 => 50_000,
            19..=31 => 1_000_000,
            _ => 11_000_000,
        };
        let step = Duration::from_micros(micros);
        self.sim.advance(step);
        self.looked_at += self.settings.config.write_timeout.map_or(step, |timeout| step.min(timeout));
        self.trace.note(format!("{step:?} later"));
    }

    fn message(&mut self) {
        self.trace.note("a message is sent");
        self.send_message();
    }

    fn send_message(&mut self) {
        let waiting = self.messages - self.reactor.handler().messages;
        let is_full = waiting >= self.settings.config.mailbox_max as u64;
        let is_sent = self.reactor.handle().send(()).is_ok();
        assert_ne!(is_sent, is_full, "a message is refused exactly while the mailbox is full");
        self.messages += u64::from(is_sent);
    }

    /// For a while, the kernel has no descriptors; not where nothing goes wrong.
    fn switch_descriptors(&mut self) {
        if self.settings.faults != Faults::default() {
            let mut world = self.sim.world.borrow_mut();
            world.is_exhausted = !world.is_exhausted;
            let what = if world.is_exhausted { "no descriptors" } else { "descriptors again" };
            drop(world);
            self.trace.note(format!("the kernel has {what}"));
        }
    }

    /// A peer whose connection has ended, and that has heard everything, makes room for others.
    fn forget(&mut self) {
        let Some(index) = self.any_actor() else { return };
        let actor = &self.actors[index];
        let has_closed = self.sim.world.borrow().sockets[actor.peer.socket].server_has_closed;
        if has_closed && (actor.peer.is_reset() || actor.peer.has_server_finished()) {
            let actor = self.actors.swap_remove(index);
            self.check_last(&actor);
        }
    }

    // The ends.

    /// The faults stop, and all peers send what is left and read: then everything must complete.
    fn complete(&mut self) {
        self.trace.note("the faults stop, and all peers send what is left");
        self.sim.set_faults(Faults::default());
        self.sim.world.borrow_mut().is_exhausted = false;
        self.sim.set_send_buffer_bytes(self.settings.send_buffer_bytes.max(16 << 10));
        self.reactor.handler_mut().is_calm = true;
        for _ in 0..70 {
            self.exchange();
            // Time for paused accepting, lingering and deadlines, of which one can follow another.
            self.sim.advance(Duration::from_secs(1));
        }
        self.exchange();
        self.finish();
        self.is_ending = true;
        self.reactor.drain();
        let _ = self.turn(Some(Duration::ZERO));
        assert_eq!(self.reactor.stats().buffered_bytes, 0, "all memory is released");
    }

    /// All peers send and receive until there is no more.
    fn exchange(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let now = self.now();
            let mut is_busy = false;
            self.send_message();
            for actor in &mut self.actors {
                let sent = actor.send_some(100_000, now);
                // Without a write timeout, only the peer itself can end a connection that it never reads.
                let resets = match actor.kind {
                    Kind::Resetting => true,
                    Kind::Deaf => {
                        let heard = &self.reactor.handler().records[actor.number];
                        heard.limits.unwrap_or(Limits::of(&self.settings.config)).write_timeout.is_none()
                    }
                    _ => false,
                };
                match (sent, resets) {
                    (0, true) => actor.peer.reset(),
                    (0, false) => actor.finish(),
                    _ => {}
                }
                let received = actor.receive_some(usize::MAX, now, self.reactor.handler_mut());
                is_busy |= sent > 0 || received > 0;
            }
            self.settle();
            self.check_at_rest();
            let handler = self.reactor.handler();
            if !is_busy && handler.paused.is_empty() && handler.kept.is_empty() {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    /// Turns until there is nothing to do before time passes or a peer acts.
    fn settle(&mut self) {
        let progress = |run: &Self| {
            let handler = run.reactor.handler();
            run.sim.world.borrow().past.progress + handler.frames + handler.messages
        };
        let (mut idle_turns, mut before) = (0, progress(self));
        while idle_turns < IDLE_TURNS_MAX {
            let _ = self.turn(Some(Duration::ZERO));
            let is_due = self.reactor.next_deadline().is_some_and(|due| due <= self.now());
            if !is_due && !self.sim.world.borrow().has_pending() {
                return;
            }
            let now = progress(self);
            idle_turns = if now == before { idle_turns + 1 } else { 0 };
            before = now;
        }
        panic!("the reactor does not come to rest");
    }

    /// The reactor drains: all connections have ended by the deadline, and all memory is released.
    fn drain(&mut self) {
        self.trace.note("the reactor drains");
        let before = self.reactor.stats();
        let listeners = self.open_listeners() as u64;
        let waiting: Vec<_> =
            self.sim.world.borrow().listeners.iter().flat_map(|listener| listener.queue.clone()).collect();
        let deadline = self.now() + self.settings.config.drain_timeout;
        self.is_ending = true;
        self.drained_at = Some(deadline);
        self.note_arrived();
        self.reactor.drain();
        while self.turn(Some(Duration::ZERO)) == Turn::Running && self.now() <= deadline {
            (0..20).for_each(|_| self.receive());
            if self.rng.chance(300) {
                self.send_message();
            }
            self.sim.advance(Duration::from_millis(100));
        }
        let _ = self.turn(Some(Duration::ZERO));
        self.check_cut();
        let (report, after) = (self.reactor.drain_report(), self.reactor.stats());
        // And on those that waited to be accepted; if they cannot be counted, on one of each queue.
        let newcomers = after.accepted + after.refused.total() - before.accepted - before.refused.total();
        let uncounted = (report.drained + report.cut).checked_sub(before.connections + newcomers);
        assert!(uncounted.is_some_and(|uncounted| uncounted <= listeners), "a drain reports on all connections");
        let is_dropped = |socket: &usize| self.sim.world.borrow().sockets[*socket].is_dropped_from_queue();
        let may_be_unseen = self.settings.faults.would_block > 0;
        let is_counted = uncounted > Some(0) || may_be_unseen || !waiting.iter().any(is_dropped);
        assert!(is_counted, "clients that waited to be accepted were dropped by the drain, and not counted");
        self.finish();
    }

    /// Lets the handler know which frames have arrived, so that no drain may lose them.
    fn note_arrived(&mut self) {
        let Self { actors, reactor, sim, settings, .. } = self;
        let handler = reactor.handler_mut();
        handler.is_ending = true;
        for actor in actors.iter().filter(|_| !settings.may_misjudge()) {
            let socket = &sim.world.borrow().sockets[actor.peer.socket];
            let arrived = actor.read_before + socket.past.bytes_read as usize + socket.inbound_len();
            handler.records[actor.number].frames_at_drain = actor.script.frames_within(arrived);
        }
    }

    /// The reactor stops: all connections end in the next turn.
    fn stop(&mut self) {
        self.trace.note("the reactor stops");
        self.is_ending = true;
        self.reactor.handler_mut().is_ending = true;
        self.reactor.stop();
        let _ = self.turn(Some(Duration::ZERO));
        self.finish();
    }

    /// The reactor is dropped: all connections end, and the handler is called for each.
    fn drop_reactor(&mut self) {
        self.trace.note("the reactor is dropped");
        let handler = ScriptedHandler::new(0, 0, self.trace.clone());
        let Ok(other) = Reactor::with_net(self.sim.net(), self.settings.config.clone(), handler) else {
            panic!("no reactor")
        };
        let open = self.reactor.handler().open.clone();
        drop(std::mem::replace(&mut self.reactor, other));
        assert_eq!(open.get(), 0, "on_close is called for each connection, however the reactor ends");
        assert_eq!(self.sim.open_sockets(), 0, "no connection is left");
    }

    /// Checks that no connection is left, no memory is kept, and every peer that reads has received everything.
    fn finish(&mut self) {
        let now = self.now();
        let mut actors = std::mem::take(&mut self.actors);
        for actor in &mut actors {
            actor.receive_some(usize::MAX, now, self.reactor.handler_mut());
            self.check_last(actor);
        }
        assert_eq!(self.reactor.stats().connections, 0, "no connection is left");
        let stats = self.reactor.stats();
        assert_eq!(stats.buffered_bytes, 0, "and all memory is given back");
        // Time passes between turns only.
        assert_eq!((stats.lint(Lint::SlowCallback), stats.lint(Lint::StarvedNeighbor)), (0, 0), "no callback is slow");
    }
}
