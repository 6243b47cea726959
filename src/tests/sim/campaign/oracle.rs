//! Checks the promises from outside: from what the peers did, which callbacks were called, and the clock.

use std::time::{Duration, Instant};

use crate::conn::sink::Drain;
use crate::error::CloseReason;
use crate::fuzzing::content::is_flushed;
use crate::options::Limits;
use crate::tests::sim::campaign::actor::{Actor, Kind};
use crate::tests::sim::campaign::heard::{Heard, Life, first_frame, serial_to_all};
use crate::tests::sim::campaign::steps::Campaign;

/// The most bytes around a payload.
const ENCLOSURE_LEN_MAX: usize = 10;

/// The longest payload that a handler sends without being asked.
const UNASKED_LEN_MAX: usize = 6_008;

/// More than the clock of idle connections is rounded to.
const TICK: Duration = Duration::from_millis(2);

/// More turns than events can wait in a queue of the kernel's.
const TURNS_UNTIL_TOLD: usize = 60;

/// Since when a peer is waited for.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    /// If its handler changes them, all begins anew.
    limits: Option<Limits>,
    /// Turns since it has reset the connection.
    reset: usize,
    /// Turns since it has finished, with its connection paused and nothing before its FIN to be delivered.
    fin: usize,
    frame: Wait<usize>,
    write: Wait<u64>,
    /// For its peer to take enough, in bytes; with what it had taken before, and the least that it must take.
    rate: Wait<()>,
    taken: (u64, u64),
    idle: Wait<(u64, usize, u64)>,
    /// Of a handler that has paused, to take what came before the peer's end.
    finished: Wait<(usize, usize)>,
    /// For its FIN, after the handler has closed it and ours is sent.
    lingering: Wait<()>,
    /// The same as `idle`, also while it stands in the queue.
    still: Wait<(u64, usize, u64)>,
}

/// How long something has been waited for, as far as the oracle has seen.
#[derive(Debug, Default)]
struct Wait<K> {
    since: Option<(K, Instant)>,
}

impl<K: PartialEq> Wait<K> {
    fn lasts(&self, now: Instant) -> Duration {
        self.since.as_ref().map_or(Duration::ZERO, |(_, since)| now - *since)
    }

    /// Waits on for the same, for something else, or for nothing. Returns whether it is too long.
    fn is_over(&mut self, what: Option<K>, now: Instant, timeout: Option<Duration>) -> bool {
        let since = match (self.since.take(), what) {
            (Some((before, since)), Some(what)) if before == what => Some((what, since)),
            (_, what) => what.map(|what| (what, now)),
        };
        self.since = since;
        timeout.is_some_and(|timeout| self.lasts(now) > timeout)
    }
}

impl Campaign {
    /// After every turn.
    pub(super) fn check(&mut self) {
        self.reactor.check_invariants();
        self.check_recordings();
        let handler = self.reactor.handler();
        assert!(handler.broken.is_empty(), "{}", handler.broken.join("; "));
        let open = handler.open.get();
        assert_eq!(open, self.reactor.stats().connections as usize, "on_open and on_close pair");
        assert_eq!(open, self.sim.open_sockets(), "sockets are closed exactly when their connections end");
        for index in 0..self.actors.len() {
            self.check_pending(&self.actors[index]);
            self.check_waited(index);
        }
        for &number in &self.reactor.handler().just_ended {
            if let Some(actor) = self.actors.iter().find(|actor| actor.number == number) {
                self.check_reason(actor);
            }
        }
    }

    /// Checks that each of so many listeners has met a lack of descriptors once, and once more when a drain ends.
    pub(super) fn check_exhaustions(&self, listeners: usize) {
        let exhaustions = self.sim.world.borrow().past.exhaustions;
        assert!(
            exhaustions <= listeners * (1 + usize::from(self.is_ending)),
            "an accept that failed for lack of descriptors was tried again at once"
        );
    }

    /// Checks that an open connection has no more pending output than allowed, and its handler knows whether it may send.
    fn check_pending(&self, actor: &Actor) {
        let config = &self.settings.config;
        let heard = &self.reactor.handler().records[actor.number];
        let Some(id) = heard.open_id() else { return };
        let Some(glimpse) = self.reactor.inspect(id) else { panic!("{actor} is open, and has no slot") };

        let response_max = ENCLOSURE_LEN_MAX + UNASKED_LEN_MAX.max(config.max_payload as usize);
        let is_within = glimpse.unsent_bytes < config.output_high_water + response_max;
        assert!(is_within, "{actor} has more pending than the high-water mark and one response");
        let may_send = !glimpse.is_ending && !heard.was_finished;
        let is_reported = !heard.waits_for_low_water || glimpse.unsent_bytes > 0 || !may_send;
        assert!(is_reported, "on_writable was not called for {actor}, which has room again");
        let world = self.sim.world.borrow();
        let writes_of_zero = world.sockets[actor.peer.socket].past.writes_of_zero;
        assert_eq!(writes_of_zero, 0, "{actor} is open, although a write took nothing");
        let has_finished = world.sockets[actor.peer.socket].server_has_finished;
        let is_reset = world.sockets[actor.peer.socket].is_reset;
        assert!(!has_finished || glimpse.unsent_bytes == 0, "{actor} was sent FIN before the last byte");
        let is_fin_due = heard.was_finished && glimpse.unsent_bytes == 0 && !glimpse.is_queued && !is_reset;
        assert!(!is_fin_due || has_finished, "{actor} was finished, and our FIN was not sent");
    }

    /// Checks that no peer is waited for longer than allowed.
    ///
    /// The wait for a frame is not counted while the server has not read what there is, is held back or has something to do.
    fn check_waited(&mut self, index: usize) {
        let Self { actors, reactor, sim, settings, looked_at, .. } = self;
        let (actor, config, now) = (&mut actors[index], &settings.config, sim.now());
        let heard = &reactor.handler().records[actor.number];
        let Some(glimpse) = heard.open_id().and_then(|id| reactor.inspect(id)) else { return };
        if actor.overdue.limits != heard.limits {
            actor.overdue = Overdue { limits: heard.limits, ..Overdue::default() };
        }
        let limits = heard.limits.unwrap_or(Limits::of(config));
        let world = sim.world.borrow();
        let socket = &world.sockets[actor.peer.socket];
        let written = socket.past.bytes_written;

        let is_reading = glimpse.is_taking_frames && !glimpse.is_queued && !glimpse.is_input_paused;
        let is_forgotten = is_reading && socket.inbound_len() > 0 && socket.is_registered() && !socket.is_listed;
        assert!(!is_forgotten, "{actor} has input that no event will announce");

        let has_sent_a_part = actor.script.incomplete_len(actor.sent) > 0 && actor.fin_at.is_none();
        let has_been_read = socket.inbound_len() == 0 && socket.in_flight.is_empty();
        let is_waiting = !glimpse.is_queued && !glimpse.is_ending && !glimpse.is_input_paused;
        let frame = has_sent_a_part && has_been_read && is_waiting;
        let frame = frame.then(|| actor.script.frames_within(actor.sent));
        let write = glimpse.unsent_bytes > 0 && !glimpse.is_queued && socket.outbound_len() >= world.send_buffer_bytes;
        let idle = !glimpse.is_queued;

        let is_over = actor.overdue.frame.is_over(frame, now, limits.frame_timeout);
        assert!(!is_over, "{actor} did not complete a frame in time, and is still there");
        // The window in which it stopped, and the next; each may end in a step of time as long as it is.
        let windows = limits.write_timeout.map(|timeout| 4 * timeout);
        let is_over = actor.overdue.write.is_over(write.then_some(written), *looked_at, windows);
        assert!(!is_over, "{actor} took nothing in time, and is still there");
        let (pending, taken) = (socket.outbound_len() as u64, written - socket.outbound_len() as u64);
        let is_waiting = glimpse.unsent_bytes > 0 && !glimpse.is_queued;
        let is_over = actor.overdue.rate.is_over(is_waiting.then_some(()), *looked_at, windows);
        if is_over || actor.overdue.rate.lasts(*looked_at).is_zero() {
            actor.overdue.rate.since = Some(((), *looked_at));
            // Of a peer that takes less than the send buffer held then, output is pending all the time.
            let due = limits.write_timeout.map_or(0.0, |window| window.as_secs_f64() * limits.write_rate_min as f64);
            let (taken_before, least) = std::mem::replace(&mut actor.overdue.taken, (taken, pending.min(due as u64)));
            assert!(!is_over || taken - taken_before >= least, "{actor} took too little in time, and is still there");
        }
        let is_left = heard.is_paused && socket.peer_has_finished && glimpse.is_taking_frames && !glimpse.is_queued;
        let is_fin_next = |fin| actor.script.frames_within(fin) == heard.taken && actor.script.incomplete_len(fin) == 0;
        actor.overdue.fin += usize::from(is_left && actor.fin_at.is_some_and(is_fin_next));
        assert!(actor.overdue.fin < TURNS_UNTIL_TOLD, "{actor} has finished behind its last frame, and is not noticed");
        let finished = is_left.then_some((heard.taken, heard.resumes));
        let is_over = actor.overdue.finished.is_over(finished, *looked_at, windows);
        assert!(!is_over, "{actor} has finished, is paused for too long, and is still there");
        let moved = (written, heard.taken, socket.past.bytes_read);
        actor.overdue.still.is_over(Some(moved), now, None);
        let is_over = actor.overdue.idle.is_over(idle.then_some(moved), now, limits.idle_timeout);
        assert!(!is_over, "{actor} was idle for too long, and is still there");
        actor.overdue.reset += usize::from(socket.is_reset && !glimpse.is_queued);
        assert!(actor.overdue.reset < TURNS_UNTIL_TOLD, "{actor} has reset the connection, and is still there");
        // It begins with the run of the connection.
        let has_run = !glimpse.is_queued || actor.overdue.lingering.since.is_some();
        let lingers = socket.past.finished_at.is_some() && glimpse.is_ending && has_run;
        let is_over = actor.overdue.lingering.is_over(lingers.then_some(()), now, Some(config.linger_timeout));
        assert!(!is_over, "{actor} was lingered for too long");
    }

    /// A connection that has ended did so for a reason that there was, and in the way that belongs to it.
    fn check_reason(&self, actor: &Actor) {
        let heard = &self.reactor.handler().records[actor.number];
        let Life::Ended { reason, at } = heard.life else { panic!("{actor} has ended, and on_close was not called") };
        assert!(self.is_deserved(actor, heard, &reason, at), "{actor} did not deserve its end: {reason}");
        let world = self.sim.world.borrow();
        let socket = &world.sockets[actor.peer.socket];
        let past = &socket.past;
        let is_cut =
            matches!(reason, CloseReason::WriteTimeout | CloseReason::Evicted { .. } | CloseReason::AbortedByHandler);
        assert!(!is_cut || socket.is_reset, "{actor} was not reset: {reason}");
        if let Some(handover) = &heard.handover {
            let delivered = heard.delivered();
            let read = actor.read_before + past.bytes_read as usize;
            assert_eq!(
                delivered + handover.unread.len(),
                read,
                "{actor} was detached, and not all that was read is there"
            );
            assert!(past.finished_at.is_none(), "{actor} was detached, and our FIN was sent");
        }
        let is_zero = past.writes_of_zero > 0;
        assert!(!is_zero || reason == CloseReason::WriteZero, "{actor}: a write took nothing, and {reason}");

        // Also by the write timeout, while our FIN is on its way.
        let may_be_cut = heard.was_aborted
            || self.is_ending
            || self.settings.config.idle_timeout.is_some()
            || self.accepts_too_little(actor, at);
        if is_flushed(&reason) && !may_be_cut {
            let Some((closed_at, peer_was_done)) = past.closed_at else { panic!("{actor}: the socket is still open") };
            let lingered = past.finished_at.map_or(Duration::ZERO, |finished| closed_at - finished);
            let was_waited_for = peer_was_done || lingered >= self.settings.config.linger_timeout;
            assert!(was_waited_for, "{actor} was not waited for after our FIN: {reason}");
        }
    }

    /// Whether a peer may be closed by the write timeout, as far as is known.
    fn accepts_too_little(&self, actor: &Actor, at: Instant) -> bool {
        let limits = self.limits(&self.reactor.handler().records[actor.number]);
        let is_slow = limits.write_rate_min > 0;
        limits.write_timeout.is_some_and(|timeout| is_slow || at - actor.last_read_at >= timeout)
    }

    /// The limits of a connection.
    fn limits(&self, heard: &Heard) -> Limits {
        heard.limits.unwrap_or(Limits::of(&self.settings.config))
    }

    fn is_deserved(&self, actor: &Actor, heard: &Heard, reason: &CloseReason, at: Instant) -> bool {
        let (config, limits, script) = (&self.settings.config, self.limits(heard), &actor.script);
        let may_be_misjudged = self.settings.may_misjudge();
        let world = self.sim.world.borrow();
        let past = &world.sockets[actor.peer.socket].past;
        let has_finished_after = |received: usize| {
            actor
                .fin_at
                .is_some_and(|fin| script.incomplete_len(fin) == received && script.frames_within(fin) == heard.taken)
        };
        match *reason {
            // Or before a handler that has paused has taken everything.
            CloseReason::PeerFinished => {
                let is_given_up = actor.fin_at.is_some() && heard.was_paused && limits.write_timeout.is_some();
                (has_finished_after(0) && heard.half_closes == 1) || is_given_up
            }
            CloseReason::TruncatedFrame { received } => received > 0 && has_finished_after(received),
            CloseReason::Reset => past.was_reset,
            CloseReason::FrameTooLong(error) => {
                script.refused_within(actor.sent) == Some(error.announced()) && heard.taken == script.frames()
            }
            CloseReason::InvalidLength(_) => false,
            CloseReason::IdleTimeout => {
                limits.idle_timeout.is_some_and(|timeout| may_be_misjudged || actor.overdue.still.lasts(at) >= timeout)
            }
            CloseReason::FrameTimeout => limits.frame_timeout.is_some_and(|timeout| {
                let is_late = script.incomplete_len(actor.sent) > 0 && at - actor.frame_began_at >= timeout;
                may_be_misjudged || is_late
            }),
            CloseReason::WriteTimeout => self.accepts_too_little(actor, at),
            // That no other held more is checked where it is chosen.
            CloseReason::Evicted { input, output } => input + output > 0,
            CloseReason::Reclaimed => config.reclaim_idle.is_some_and(|idle| {
                let is_idle = actor.overdue.still.lasts(at) + TICK >= idle;
                let is_at_rest =
                    script.incomplete_len(actor.sent) == 0 || script.frames_within(actor.sent) > heard.taken;
                may_be_misjudged || (is_idle && is_at_rest)
            }),
            CloseReason::WriteZero => past.writes_of_zero > 0,
            CloseReason::Io(_) => false,
            CloseReason::ClosedByHandler => heard.was_closed,
            CloseReason::AbortedByHandler => heard.was_aborted,
            CloseReason::HandlerPanicked => heard.has_panicked,
            CloseReason::Detached => heard.was_detached && heard.handover.is_some(),
            CloseReason::Drained => self.is_ending && heard.reply_to_drain == Some(Drain::AtRest),
            CloseReason::Cut => self.is_ending && self.drained_at.is_none_or(|deadline| at >= deadline),
        }
    }

    /// Once nothing more will come from a peer: it is not open any more, and has heard everything, if it listened.
    pub(super) fn check_last(&self, actor: &Actor) {
        let heard = &self.reactor.handler().records[actor.number];
        self.sim.world.borrow_mut().close_dropped();
        let world = self.sim.world.borrow();
        let socket = &world.sockets[actor.peer.socket];
        assert!(socket.server_has_closed, "{actor} is left, as {:?}", heard.life);
        let Life::Ended { reason, .. } = heard.life else { return };
        let has_heard_all = match heard.is_reply_unfinished {
            true => actor.heard + 1 == heard.expected.len(),
            false => actor.heard == heard.expected.len() && actor.incomplete.is_empty(),
        };
        if is_flushed(&reason) && !socket.is_reset && actor.kind != Kind::Deaf {
            assert!(has_heard_all, "{actor} heard {} of {} frames: {reason}", actor.heard, heard.expected.len());
        }
        if let Some(handover) = &heard.handover
            && !socket.is_reset
            && actor.kind != Kind::Deaf
        {
            Self::check_unsent(actor, heard, &handover.unsent);
        }
    }

    /// Checks that what was received, and what a detach returned unsent, are all frames that were queued.
    fn check_unsent(actor: &Actor, heard: &Heard, unsent: &[u8]) {
        let bytes = [&actor.incomplete, unsent].concat();
        let (mut rest, mut count) = (bytes.as_slice(), actor.heard);
        let framing = actor.script.framing;
        while let Some((frame_len, _)) = first_frame(framing, rest) {
            let (frame, after) = rest.split_at(frame_len);
            let is_answer = heard.expects(count, frame);
            count += usize::from(is_answer);
            let is_known = is_answer || serial_to_all(framing, frame).is_some();
            assert!(is_known, "{actor} was left another frame than the next");
            rest = after;
        }
        let is_all = match heard.is_reply_unfinished {
            true => count + 1 == heard.expected.len(),
            false => rest.is_empty() && count == heard.expected.len(),
        };
        assert!(is_all, "{actor} was left {count} frames, and {rest:?}");
    }

    /// Checks that the report of a drain lists the connections that it has cut with something to finish, and only those.
    pub(super) fn check_cut(&self) {
        let (handler, report) = (self.reactor.handler(), self.reactor.drain_report());
        assert_eq!(report.cut_connections.len() as u64, report.cut_unfinished);
        let listed_bytes: u64 = report.cut_connections.iter().map(|cut| cut.unsent_bytes).sum();
        assert_eq!(listed_bytes, report.unsent_bytes, "each connection with unsent output is listed");
        for cut in &report.cut_connections {
            let heard = &handler.records[handler.number(cut.id)];
            assert!(
                matches!(heard.life, Life::Ended { reason, .. } if reason == cut.reason),
                "{}: {cut:?}",
                heard.name
            );
            let is_asked = heard.reply_to_drain == Some(Drain::WhenClosed);
            let may_be_awaited = heard.is_paused || heard.is_reply_unfinished || is_asked;
            assert!(!cut.is_awaited || may_be_awaited, "{} was not waited for: {cut:?}", heard.name);
            assert!(cut.is_unfinished());
        }
        for (number, heard) in handler.records.iter().enumerate() {
            let is_cut = matches!(heard.life, Life::Ended { reason: CloseReason::Cut, .. });
            let is_awaited =
                heard.reply_to_drain == Some(Drain::WhenClosed) && !heard.was_closed && !heard.has_panicked;
            let mut listed = report.cut_connections.iter().filter(|cut| handler.number(cut.id) == number);
            let is_listed = listed.any(|cut| cut.is_awaited);
            assert!(!(is_cut && is_awaited) || is_listed, "{} was waited for, and is not listed", heard.name);
        }
    }

    /// Checks that a reactor without work has delivered every message, and has closed every connection that was reset.
    pub(super) fn check_at_rest(&self) {
        assert_eq!(self.messages, self.reactor.handler().messages, "every message is delivered");
        let world = self.sim.world.borrow();
        for actor in &self.actors {
            let is_open = self.reactor.handler().records[actor.number].open_id().is_some();
            let is_reset = world.sockets[actor.peer.socket].is_reset;
            assert!(!(is_open && is_reset), "{actor} has reset the connection, and is still there");
        }
    }
}
