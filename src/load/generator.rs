//! The load of one thread: a handler that dials, sends frames, and checks the responses.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::conn::frame::Frame;
use crate::error::{CloseReason, DialError, SendError};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, SourceId, TimerId};
use crate::load::clock::{Arrivals, Clock};
use crate::load::destination::Destination;
use crate::load::dialer::{Dialer, Dialing};
use crate::load::fault::Fault;
use crate::load::link::Stamp;
use crate::load::links::{Links, Received};
use crate::load::outcome::Cohort;
use crate::load::pacer::{Pacer, Schedule};
use crate::load::phase::{EndCause, INTERVAL, Phase, Step};
use crate::load::plan::Plan;
use crate::load::report::{Report, Reporter};
use crate::load::request::Requests;
use crate::net::Readiness;

/// The parameters of a thread's generator.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) plan: Arc<Plan>,
    pub(crate) destination: Destination,
    pub(crate) clock: Clock,
    pub(crate) requests: Arc<Requests>,
    pub(crate) thread: usize,
    pub(crate) reports: Sender<(usize, Report)>,
}

/// A command of the run to its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// Open the connections.
    Connect,
    /// Send frames from `load` on, and measure from `measure` on, in nanoseconds of the run's clock.
    Begin { load: u64, measure: u64 },
    /// Send no more frames.
    End,
}

#[derive(Debug)]
pub(crate) struct Generator {
    plan: Arc<Plan>,
    thread: usize,
    clock: Clock,
    arrivals: Arrivals,
    links: Links,
    dialer: Dialer,
    phase: Phase,
    pacer: Pacer,
    report: Reporter,
}

impl Generator {
    pub(crate) fn new(seed: Seed) -> std::io::Result<Self> {
        let Seed { plan, destination, clock, requests, thread, reports } = seed;
        let links = Links::new(&plan, thread, requests);
        Ok(Self {
            dialer: Dialer::new(&plan, thread, links.len(), destination, clock.now()),
            phase: Phase::new(&plan, thread),
            pacer: Pacer::new()?,
            report: Reporter::new(thread, reports),
            arrivals: Arrivals::new(clock),
            links,
            plan,
            thread,
            clock,
        })
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn pacer(&self) -> &Pacer {
        &self.pacer
    }

    /// Dials more links, and reports when each has been dialed.
    fn continue_dialing(&mut self, cx: &mut Context<'_>) {
        self.dialer.dial(&self.clock, cx);
        if !self.dialer.is_settled() {
            let is_settled = self.dialer.settle();
            self.report.report_dialing(self.links.open(), is_settled, self.clock.now());
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, load: u64, measure: u64) {
        self.phase.begin(load, measure);
        self.phase.arm(&self.clock, cx);
        if !self.links.has_active_open() {
            return self.end_load(cx, load, EndCause::AllLost);
        }
        match self.plan.rate {
            Some(rate) => {
                let begin = load + self.plan.segment.offset(rate);
                self.pacer.start(Schedule::new(rate, self.plan.threads, self.thread, begin));
                self.send_due(cx);
            }
            None => self.fill_links(cx),
        }
        self.end_if_all_sent(cx);
    }

    /// Ends the load if frames are only sent, and all are that were asked for.
    fn end_if_all_sent(&mut self, cx: &mut Context<'_>) {
        if self.plan.replies == 0 && self.phase.has_enough() {
            self.end_if_done(cx, self.clock.now());
        }
    }

    /// Sends as many frames on each active link as may be in flight: the closed loop.
    fn fill_links(&mut self, cx: &mut Context<'_>) {
        for index in self.links.active() {
            let Some(id) = self.links.connection(index) else { continue };
            if self.plan.replies == 0 {
                // A frame from its own callback may use all of the memory.
                cx.wake(id);
                continue;
            }
            for _ in 0..self.plan.depth {
                self.send_now(index, |payload| cx.send(id, payload));
            }
        }
    }

    /// Sends frames that await no response, until their connection accepts no more: the closed loop without responses.
    fn flood(&mut self, index: usize, mut send: impl FnMut(&[u8]) -> Result<(), SendError>) {
        while self.phase.may_send(0) {
            let now = self.clock.now();
            // Nothing shows how long it takes.
            let stamp = Stamp::sent_at(now);
            let Some(frame_len @ 1..) = self.links.send_only(index, stamp, &mut send) else { return };
            self.count_sent(stamp, frame_len, now);
        }
    }

    /// Counts a frame that awaits no response.
    fn count_sent(&mut self, stamp: Stamp, frame_len: usize, now: u64) {
        let timing = self.phase.on_answer(stamp.due, now);
        self.report.on_answer(frame_len, stamp.without_sent(), now, timing, &self.phase);
    }

    /// Sends a link's next frame, if one may be sent: the closed loop.
    fn send_now(&mut self, index: usize, send: impl FnOnce(&[u8]) -> Result<(), SendError>) {
        if self.phase.may_send(self.links.in_flight()) {
            self.links.send(index, Stamp::sent_at(self.clock.now()), send);
        }
    }

    /// Wakes the connections that have a frame due by now, and sets a timer for the next one: the open loop.
    fn send_due(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        while self.phase.may_send(self.links.in_flight())
            && let Some(due) = self.pacer.take(now, &self.phase.measured())
        {
            match self.links.enqueue(due) {
                Some(id) => drop(cx.wake(id)),
                // None is open: the last one has just closed.
                None => self.report.charge(&[Stamp::waiting(due)], now, &self.phase),
            }
        }
        if self.phase.is_loading() {
            self.pacer.rearm(self.phase.until(), &self.clock, cx);
        }
    }

    fn on_phase_timer(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        match self.phase.on_timer(now) {
            Some(Step::EndLoad { until, cause }) => return self.end_load(cx, until, cause),
            Some(Step::ReportInterval(number)) => self.report.report_interval(number, INTERVAL, self.links.open()),
            None => self.end_if_done(cx, now),
        }
        self.phase.arm(&self.clock, cx);
    }

    /// Sends no more frames, and waits for the responses of those in flight.
    fn end_load(&mut self, cx: &mut Context<'_>, until: u64, cause: EndCause) {
        if self.phase.is_ending() {
            return;
        }
        self.phase.set_until(until);
        // Also the frames due since the last check: without them, the end of a stall would not be charged.
        self.send_due(cx);
        self.phase.end_load(self.clock.now(), cause);
        self.phase.arm(&self.clock, cx);
        self.end_if_done(cx, until);
    }

    /// Ends the load if all frames are answered, and the run if no responses are awaited, or have been for too long.
    fn end_if_done(&mut self, cx: &mut Context<'_>, now: u64) {
        if self.phase.is_loading() && self.phase.has_enough() {
            return self.end_load(cx, now, EndCause::Planned);
        }
        let is_awaiting = self.links.in_flight() > 0 || (self.plan.churn && self.dialer.dialing().len() > 0);
        if let Some(cause) = self.phase.end_run(is_awaiting, now) {
            self.charge_unanswered();
            self.report.report_end(cause, &self.phase, &self.links, &self.dialer, &self.pacer);
            // What was counted as sent is still sent.
            if self.plan.replies == 0 { cx.drain() } else { cx.stop() }
        }
    }

    /// Charges the frames without a response when the run ends.
    fn charge_unanswered(&mut self) {
        let now = self.clock.now();
        for index in self.links.active() {
            let unanswered = self.links.take_unanswered(index);
            self.report.on_never_answered(&unanswered);
            self.report.charge(&unanswered.stamps, now, &self.phase);
        }
        if self.plan.churn {
            // Then connecting is a part of the load.
            let is_active = |dialing: &&Dialing| self.links.active().contains(&(dialing.link as usize));
            let unfinished = self.dialer.dialing().filter(is_active);
            unfinished.for_each(|dialing| self.report.on_dial_unfinished(now - dialing.since));
        }
    }

    /// Handles the unexpected close of an active link.
    fn on_lost(&mut self, index: usize, reason: &CloseReason) {
        let lost = self.links.take_unanswered(index);
        self.report.charge(&lost.stamps, self.clock.now(), &self.phase);
        // A connection that we aborted is counted as a fault. After the end a server may close a connection that is idle.
        if *reason != CloseReason::AbortedByHandler && !(self.phase.is_ending() && lost.stamps.is_empty()) {
            self.report.on_lost(&lost, reason.name(), self.dialer.is_settled());
        }
    }
}

/// A connection of the generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// The index of the link, once the connection is established.
    link: u32,
    /// Responses that must come before that.
    hello_left: u32,
}

const NO_LINK: u32 = u32::MAX;

impl Generator {
    /// A connection is open, and has had its responses to the first frames: it becomes its link.
    fn establish(&mut self, conn: &mut Connection<'_>) -> Session {
        let now = self.clock.now();
        let Some(Dialing { link, since }) = self.dialer.on_open(conn.id(), conn.peer_addr()) else {
            // There are no listeners, and only the dialer dials.
            conn.abort();
            return Session { link: NO_LINK, hello_left: 0 };
        };
        let index = link as usize;
        self.report.on_open(since, now, self.phase.has_measured(now));
        match self.links.on_open(index, conn.id()) {
            Cohort::Active if self.plan.churn => self.send_now(index, |payload| conn.reply(payload)),
            Cohort::Deaf => {
                conn.pause();
                self.send_more(index, conn);
            }
            Cohort::Active | Cohort::Idle | Cohort::Drip => {}
        }
        self.continue_dialing(&mut conn.cx());
        if self.phase.is_ending() {
            // With churn, this connection was awaited.
            self.end_if_done(&mut conn.cx(), self.clock.now());
        }
        Session { link, hello_left: 0 }
    }

    /// Sends what waits on a link.
    fn send_more(&mut self, index: usize, conn: &mut Connection<'_>) {
        if self.plan.replies == 0 && !self.phase.is_open_loop() && self.links.active().contains(&index) {
            self.flood(index, |payload| conn.reply(payload));
            return self.end_if_all_sent(&mut conn.cx());
        }
        let mut sent = Vec::new();
        self.links.send_more(index, &self.clock, |payload| conn.reply(payload), |stamp, len| sent.push((stamp, len)));
        sent.into_iter().for_each(|(stamp, len)| self.count_sent(stamp, len, stamp.sent));
        self.end_if_all_sent(&mut conn.cx());
    }

    /// A connection has closed before it had its responses to the first frames.
    fn on_unestablished(&mut self, cx: &mut Context<'_>, id: ConnId) {
        let Some(link) = self.dialer.on_failed(id) else { return };
        if self.phase.is_ending() && !self.plan.churn {
            return;
        }
        self.report.on_unestablished();
        if self.phase.is_ending() {
            return self.end_if_done(cx, self.clock.now());
        }
        if self.plan.churn && self.phase.is_loading() {
            self.dialer.retry(link, &self.clock, cx);
        }
        self.continue_dialing(cx);
    }

    /// A response was wrong. Returns whether the connection is aborted for it.
    fn on_fault(&mut self, conn: &mut Connection<'_>, fault: Option<Fault>) -> bool {
        let Some(fault) = fault else { return false };
        self.report.on_fault(fault);
        let is_final = self.links.is_fault_final();
        if is_final {
            // The frames behind it cannot be matched to requests.
            conn.abort();
        }
        is_final
    }
}

impl Handler for Generator {
    type State = Session;
    type Message = Command;

    fn on_open(&mut self, conn: &mut Connection<'_>) -> Session {
        if self.plan.hello.is_empty() {
            return self.establish(conn);
        }
        // Until it is established, the idle timeout is that of a dial.
        let limits = conn.limits().idle_timeout(Some(self.plan.connect_timeout));
        if conn.set_limits(limits).is_err() {
            conn.abort();
        }
        for payload in &self.plan.hello {
            if conn.reply(payload).is_err() {
                conn.abort();
            }
        }
        Session { link: NO_LINK, hello_left: self.plan.hello.len() as u32 }
    }

    #[inline]
    fn on_frame(&mut self, conn: &mut Connection<'_>, session: &mut Session, frame: Frame<'_>) {
        if session.hello_left > 0 {
            session.hello_left -= 1;
            if session.hello_left == 0 && conn.set_limits(conn.limits().idle_timeout(None)).is_ok() {
                *session = self.establish(conn);
            }
            return;
        }
        let index = session.link as usize;
        let now = self.arrivals.time(conn);
        match self.links.receive(index, &frame) {
            Received::Answer(stamp) => {
                self.pacer.on_answer();
                let timing = self.phase.on_answer(stamp.due, now);
                self.report.on_answer(frame.frame_len(), stamp, now, timing, &self.phase);
                self.report.note_answered_len(frame.payload_len());
            }
            Received::Part(fault) => {
                self.phase.note_response(now);
                self.on_fault(conn, fault);
                return;
            }
            Received::Wrong(stamp, fault) => {
                if self.on_fault(conn, fault) {
                    return;
                }
                // Of the frames that were asked for, it is one.
                let timing = self.phase.on_answer(stamp.due, now);
                self.report.on_wrong(stamp, now, timing, &self.phase);
            }
            // Frames are only sent, whatever the server says.
            Received::Unasked(_) if self.plan.replies == 0 => return,
            Received::Unasked(fault) => {
                self.on_fault(conn, Some(fault));
                return;
            }
        }
        if self.plan.churn {
            conn.close();
        } else if !self.phase.is_open_loop() && self.phase.may_send(self.links.in_flight()) {
            self.links.send(index, Stamp::sent_at(now), |payload| conn.reply(payload));
        }
        if self.links.in_flight() == 0 || self.phase.has_enough() {
            self.end_if_done(&mut conn.cx(), now + 1);
        }
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, session: &mut Session) {
        self.send_more(session.link as usize, conn);
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, session: &mut Session) {
        if session.link != NO_LINK {
            self.on_wake(conn, session);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, session: Session, reason: &CloseReason) {
        if session.hello_left > 0 {
            return self.on_unestablished(cx, id);
        }
        let Session { link, .. } = session;
        let index = link as usize;
        let Some((cohort, has_answers)) = self.links.on_close(index) else { return };
        let is_active = cohort == Cohort::Active;
        // With churn, a connection closes when its frame is answered.
        if is_active && !(self.plan.churn && has_answers) {
            self.on_lost(index, reason);
        }
        if self.phase.is_ending() {
            return self.end_if_done(cx, self.clock.now());
        }
        if !self.phase.is_loading() {
            return;
        }
        if !self.plan.churn {
            if !self.links.has_active_open() {
                self.end_load(cx, self.clock.now(), EndCause::AllLost);
            }
        } else if is_active {
            self.dialer.enqueue(link);
            self.dialer.dial(&self.clock, cx);
        }
    }

    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        let Some(link) = self.dialer.on_failed(id) else { return };
        if self.phase.is_ending() && !self.plan.churn {
            return;
        }
        let is_churning = self.plan.churn && self.phase.is_loading();
        // Ports come back when the kernel has forgotten the connections that used them.
        let is_transient = *error == DialError::QueueFull || (*error == DialError::NoPort && is_churning);
        self.report.on_dial_failed(error, is_transient);
        if self.phase.is_ending() {
            return self.end_if_done(cx, self.clock.now());
        }
        if is_transient || is_churning {
            self.dialer.retry(link, &self.clock, cx);
        }
        self.continue_dialing(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) {
        if self.phase.is_timer(timer) {
            self.on_phase_timer(cx);
        } else if !self.dialer.on_timer(timer) {
            self.send_due(cx);
        } else if !self.phase.is_ending() {
            self.dialer.dial(&self.clock, cx);
        }
    }

    fn on_source(&mut self, cx: &mut Context<'_>, _: SourceId, _: Readiness) {
        // Timers fire after all events of a turn, so that frames that are due are sent once per turn.
        let _ = cx.set_timer(cx.now());
    }

    fn on_message(&mut self, cx: &mut Context<'_>, command: Command) {
        match command {
            Command::Connect => self.continue_dialing(cx),
            Command::Begin { load, measure } => self.begin(cx, load, measure),
            Command::End => self.end_load(cx, self.clock.now(), EndCause::Interrupted),
        }
    }
}
