//! The load of one thread: a handler that dials, sends frames, and checks the responses.

mod connections;
mod handler;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::error::SendError;
use crate::handler::Context;
use crate::id::TimerId;
use crate::load::clock::{Arrivals, Clock, nanos};
use crate::load::destination::Destination;
use crate::load::dialer::{Dialer, Dialing};
use crate::load::link::Stamp;
use crate::load::links::{Links, Queued};
use crate::load::pacer::{Pacer, Schedule};
use crate::load::phase::{Due, EndCause, INTERVAL, Phase, Target, share_of};
use crate::load::plan::{Plan, Stop};
use crate::load::reconnects::Reconnects;
use crate::load::report::{Report, Reporter};
use crate::load::request::Requests;

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
    /// Let so many connections of all threads carry the load, and open those that are not open.
    Connect { connections: usize },
    /// Send frames from `load` on, and measure from `measure` on, in nanoseconds of the run's clock. Without a rate it is the closed loop.
    Begin { load: u64, measure: u64, rate: Option<f64>, stop: Stop },
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
    reconnects: Reconnects,
    phase: Phase,
    pacer: Pacer,
    /// Fires when a request may expire.
    expiry_timer: Option<TimerId>,
    report: Reporter,
}

impl Generator {
    pub(crate) fn new(seed: Seed) -> std::io::Result<Self> {
        let Seed { plan, destination, clock, requests, thread, reports } = seed;
        let links = Links::new(&plan, thread, requests);
        Ok(Self {
            dialer: Dialer::new(&plan, thread, links.len(), destination, clock.now()),
            phase: Phase::new(&plan),
            pacer: Pacer::new()?,
            reconnects: Reconnects::default(),
            expiry_timer: None,
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
        self.reconnect(cx);
    }

    /// Lets so many connections carry the load: dials those that are not open, and aborts those that are too many, so that no response
    /// of theirs comes later.
    fn connect(&mut self, cx: &mut Context<'_>, connections: usize) {
        self.phase.connect();
        self.report.begin_dialing(self.clock.now());
        let active = share_of(connections as u64, self.plan.threads as u64, self.thread as u64) as usize;
        for id in self.links.set_active(active) {
            cx.abort(id);
        }
        for index in self.links.all_open() {
            self.report.on_still_open(self.dialer.place(index as u32));
        }
        self.reconnects.clear();
        self.dialer.begin(self.links.to_dial(), self.clock.now());
        self.continue_dialing(cx);
    }

    fn begin(&mut self, cx: &mut Context<'_>, begin: (u64, u64), rate: Option<f64>, stop: Stop) {
        let (load, measure) = begin;
        let target = match stop {
            Stop::After(duration) => Target::Duration(nanos(duration)),
            Stop::Frames(frames) => Target::Frames {
                quota: share_of(frames, self.plan.threads as u64, self.thread as u64),
                stall_timeout: nanos(self.plan.stall_timeout),
            },
        };
        let schedule = Schedule::of(&self.plan, rate, self.thread, self.links.active().len(), load);
        // A response causes no next frame where there is a schedule, nor where connections are only held.
        self.phase.begin(load, measure, schedule.is_some() || self.plan.hold.is_some(), target);
        self.phase.arm(&self.clock, cx);
        self.pacer.start(schedule);
        self.links.begin_load();
        if !self.links.has_active_open() && !self.plan.reconnect {
            return self.end_load(cx, load, EndCause::AllLost);
        }
        self.expire(cx);
        self.reconnect(cx);
        match self.phase.is_open_loop() {
            true => self.send_due(cx),
            false => self.fill_links(cx),
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
            self.fill_link(index, cx);
        }
    }

    /// Sends as many frames on a link as may be in flight, if it is open.
    fn fill_link(&mut self, index: usize, cx: &mut Context<'_>) {
        let Some(id) = self.links.connection(index) else { return };
        if self.plan.replies == 0 {
            // A frame from its own callback may use all of the memory.
            cx.wake(id);
            return;
        }
        for _ in self.links.awaited(index)..self.plan.depth {
            self.send_now(index, |payload| cx.send(id, payload));
        }
    }

    /// Lets requests expire that were not answered in time, and sends others in their place in the closed loop.
    fn expire(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        while let Some((index, expired)) = self.links.take_expired(now) {
            self.report.on_timed_out(self.dialer.place(index as u32), &expired, now, &self.phase);
            if self.plan.churn {
                // Its connection has no other frame.
                self.links.connection(index).map(|id| cx.abort(id));
            } else if !self.phase.is_open_loop() {
                self.fill_link(index, cx);
            }
        }
        self.expiry_timer = None;
        if self.phase.is_ending() {
            self.end_if_done(cx, now);
        }
        if let Some(next) = self.links.next_expiry(now).filter(|_| !self.phase.is_over()) {
            self.expiry_timer = cx.set_timer(self.clock.instant(next)).ok();
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

    /// Sends the frames that are due by now, and sets a timer for the next one: the open loop.
    fn send_due(&mut self, cx: &mut Context<'_>) {
        if self.plan.reconnect && !self.links.has_active_open() {
            // Frames that are due wait for a connection, which needs no timer.
            return;
        }
        self.take_due(cx, self.clock.now());
        if self.phase.is_loading() {
            self.pacer.rearm(self.phase.until(), &self.clock, cx);
        }
    }

    /// Wakes the connections that have a frame due by `now`.
    fn take_due(&mut self, cx: &mut Context<'_>, now: u64) {
        while self.phase.may_send(self.links.in_flight())
            && let Some(due) = self.pacer.take(now, &self.phase.measured())
        {
            let waiting = [Stamp::waiting(due)];
            if self.plan.request_timeout.is_some_and(|timeout| self.pacer.was_held(due) && now - due >= nanos(timeout))
            {
                self.report.on_timed_out_unsent(&waiting, now, &self.phase);
                continue;
            }
            match self.links.enqueue(due) {
                Queued::On(id) => drop(cx.wake(id)),
                Queued::NotDue => {}
                // The last one has just closed, or is still dialed again at the end.
                Queued::NoneOpen => self.report.charge(&waiting, now, &self.phase),
            }
        }
    }

    fn on_phase_timer(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        match self.phase.on_timer(now) {
            Some(Due::EndLoad { until, cause }) => return self.end_load(cx, until, cause),
            Some(Due::ReportInterval(number)) => {
                self.report.report_interval(number, INTERVAL, self.links.open());
                self.report.report_sent(self.links.sent(), self.pacer.late());
            }
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
        let now = self.clock.now();
        if !self.links.has_active_open() {
            self.pacer.hold_until(now);
        }
        self.take_due(cx, now);
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
        }
    }

    /// Charges the frames without a response when the run ends.
    fn charge_unanswered(&mut self) {
        let now = self.clock.now();
        for index in self.links.active() {
            let unanswered = self.links.give_up(index);
            self.report.on_never_answered(&unanswered);
            self.report.charge_to(self.dialer.place(index as u32), &unanswered.stamps, now, &self.phase);
        }
        if self.plan.churn {
            // Then connecting is a part of the load.
            let is_active = |dialing: &&Dialing| self.links.active().contains(&(dialing.link as usize));
            let unfinished = self.dialer.dialing().filter(is_active);
            unfinished.for_each(|dialing| {
                self.report.on_dial_unfinished(self.dialer.place(dialing.link), dialing.since, now);
            });
        }
    }
}
