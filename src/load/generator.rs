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
use crate::load::link::Stamp;
use crate::load::links::Links;
use crate::load::outcome::Cohort;
use crate::load::pacer::{Pacer, Schedule};
use crate::load::payload::Payloads;
use crate::load::phase::{EndCause, INTERVAL, Phase, Step};
use crate::load::plan::Plan;
use crate::load::report::{Report, Reporter};
use crate::net::Readiness;
use crate::wire::HEADER_LEN;

/// The parameters of a thread's generator.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) plan: Arc<Plan>,
    pub(crate) destination: Destination,
    pub(crate) clock: Clock,
    pub(crate) payloads: Arc<Payloads>,
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
        let Seed { plan, destination, clock, payloads, thread, reports } = seed;
        let links = Links::new(&plan, thread, payloads);
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
                self.pacer.start(Schedule::new(rate, self.plan.threads, self.thread, load));
                self.send_due(cx);
            }
            None => self.fill_links(cx),
        }
    }

    /// Sends as many frames on each active link as may be in flight: the closed loop.
    fn fill_links(&mut self, cx: &mut Context<'_>) {
        for index in self.links.active() {
            let Some(id) = self.links.connection(index) else { continue };
            for _ in 0..self.plan.depth {
                self.send_now(index, |payload| cx.send(id, payload));
            }
        }
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
            && let Some(due) = self.pacer.take(now, self.phase.until())
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
            cx.stop();
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

impl Handler for Generator {
    /// The index of the link.
    type State = u32;
    type Message = Command;

    fn on_open(&mut self, conn: &mut Connection<'_>) -> u32 {
        let now = self.clock.now();
        let Some(Dialing { link, since }) = self.dialer.on_open(conn.id(), conn.peer_addr()) else {
            // There are no listeners, and only the dialer dials.
            conn.abort();
            return u32::MAX;
        };
        let index = link as usize;
        self.report.on_open(since, now, self.phase.has_measured(now));
        match self.links.on_open(index, conn.id()) {
            Cohort::Active if self.plan.churn => self.send_now(index, |payload| conn.reply(payload)),
            Cohort::Deaf => {
                conn.pause();
                self.links.send_more(index, &self.clock, |payload| conn.reply(payload));
            }
            Cohort::Active | Cohort::Idle | Cohort::Drip => {}
        }
        self.continue_dialing(&mut conn.cx());
        if self.phase.is_ending() {
            // With churn, this connection was awaited.
            self.end_if_done(&mut conn.cx(), self.clock.now());
        }
        link
    }

    #[inline]
    fn on_frame(&mut self, conn: &mut Connection<'_>, link: &mut u32, frame: Frame<'_>) {
        let now = self.arrivals.time(conn);
        let index = *link as usize;
        let stamp = match self.links.receive(index, &frame) {
            Ok(stamp) => stamp,
            Err(fault) => {
                self.report.on_fault(fault);
                // The frames behind it cannot be matched to requests.
                return conn.abort();
            }
        };
        self.pacer.on_answer();
        let timing = self.phase.on_answer(stamp.due, now);
        self.report.on_answer(HEADER_LEN + frame.payload_len(), stamp, now, timing, &self.phase);
        if self.plan.churn {
            conn.close();
        } else if !self.phase.is_open_loop() && self.phase.may_send(self.links.in_flight()) {
            self.links.send(index, Stamp::sent_at(now), |payload| conn.reply(payload));
        }
        if self.links.in_flight() == 0 || self.phase.has_enough() {
            self.end_if_done(&mut conn.cx(), now + 1);
        }
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, link: &mut u32) {
        self.links.send_more(*link as usize, &self.clock, |payload| conn.reply(payload));
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, link: &mut u32) {
        self.on_wake(conn, link);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, link: u32, reason: &CloseReason) {
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
