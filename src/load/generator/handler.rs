//! The events of the reactor, as a generator handles them.

use crate::conn::frame::Frame;
use crate::error::{CloseReason, DialError};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, SourceId, TimerId};
use crate::load::dialer::Dialing;
use crate::load::generator::connections::{NO_LINK, Session};
use crate::load::generator::{Command, Generator};
use crate::load::link::Stamp;
use crate::load::links::Received;
use crate::load::outcome::Cohort;
use crate::load::phase::EndCause;
use crate::net::Readiness;

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
                self.on_fault(conn, index, fault);
                return;
            }
            Received::Wrong(stamp, fault) => {
                if self.on_fault(conn, index, fault) {
                    return;
                }
                // Of the frames that were asked for, it is one.
                let timing = self.phase.on_answer(stamp.due, now);
                self.report.on_wrong(stamp, now, timing, &self.phase);
            }
            Received::Late(fault) => {
                self.report.on_late_reply();
                self.phase.note_response(now);
                self.on_fault(conn, index, fault);
                return;
            }
            // Frames are only sent, whatever the server says.
            Received::Unasked(_) if self.plan.replies == 0 => return,
            Received::Unasked(fault) => {
                self.on_fault(conn, index, Some(fault));
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
        let index = session.link as usize;
        let Some((cohort, has_answers)) = self.links.on_close(index, id) else { return };
        if self.links.is_surplus(index) {
            return;
        }
        let is_active = cohort == Cohort::Active;
        // With churn, a connection closes when its frame is answered.
        let mut frames = 0;
        if is_active && !(self.plan.churn && has_answers) {
            frames = self.on_lost(index, reason);
        }
        if self.plan.reconnect {
            let now = self.clock.now();
            self.report.outages.on_lost(frames, now);
            self.reconnects.schedule(session.link, has_answers, now);
        }
        if self.phase.is_ending() {
            return self.end_if_done(cx, self.clock.now());
        }
        if self.plan.reconnect {
            self.reconnect(cx);
        } else if self.plan.churn && is_active && self.phase.is_loading() {
            self.dialer.enqueue(session.link);
            self.dialer.dial(&self.clock, cx);
        } else if self.phase.is_loading() && !self.plan.churn && !self.links.has_active_open() {
            self.end_load(cx, self.clock.now(), EndCause::AllLost);
        }
    }

    fn on_dial_failed(&mut self, cx: &mut Context<'_>, id: ConnId, error: &DialError) {
        let Some(Dialing { link, since }) = self.dialer.on_failed(id) else { return };
        let (now, place) = (self.clock.now(), self.dialer.place(link));
        let is_churning = self.plan.churn && self.phase.is_loading();
        // Ports come back when the kernel has forgotten the connections that used them.
        let is_transient = *error == DialError::QueueFull || (*error == DialError::NoPort && is_churning);
        if self.plan.reconnect && !is_transient {
            return self.on_unreachable(cx, link, |report| report.on_dial_failed(place, error, false, since, now));
        }
        if self.phase.is_ending() && !self.plan.churn {
            return;
        }
        self.report.on_dial_failed(place, error, is_transient, since, now);
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
        } else if self.expiry_timer == Some(timer) {
            self.expire(cx);
        } else if self.reconnects.on_timer(timer) {
            self.reconnect(cx);
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
            Command::Connect { connections } => self.connect(cx, connections),
            Command::Begin { load, measure, rate, stop } => self.begin(cx, (load, measure), rate, stop),
            Command::End => self.end_load(cx, self.clock.now(), EndCause::Interrupted),
        }
    }
}
