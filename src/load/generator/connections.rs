//! The connections of a generator: opened, sent on, lost.

use crate::error::CloseReason;
use crate::handler::{Connection, Context};
use crate::id::ConnId;
use crate::load::dialer::Dialing;
use crate::load::fault::Fault;
use crate::load::generator::Generator;
use crate::load::outcome::Cohort;
use crate::load::report::{Loss, Reporter};

/// A connection of the generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// The index of the link, once the connection is established.
    pub(super) link: u32,
    /// Responses that must come before that.
    pub(super) hello_left: u32,
}

pub(super) const NO_LINK: u32 = u32::MAX;

impl Generator {
    /// A connection is open, and has had its responses to the first frames: it becomes its link.
    pub(super) fn establish(&mut self, conn: &mut Connection<'_>) -> Session {
        let now = self.clock.now();
        let Some(Dialing { link, since }) = self.dialer.on_open(conn.id(), conn.peer_addr()) else {
            // There are no listeners, and only the dialer dials.
            conn.abort();
            return Session { link: NO_LINK, hello_left: 0 };
        };
        let index = link as usize;
        self.report.on_open(self.dialer.place(link), since, now, self.phase.has_measured(now));
        match self.links.on_open(index, conn.id()) {
            Cohort::Active if self.links.is_surplus(index) => conn.abort(),
            Cohort::Active if self.plan.churn => self.send_now(index, |payload| conn.reply(payload)),
            Cohort::Deaf => {
                conn.pause();
                self.send_more(index, conn);
            }
            Cohort::Active | Cohort::Idle | Cohort::Drip => {}
        }
        if self.reconnects.has_tried(link) {
            self.on_restored(&mut conn.cx(), index, now);
        }
        self.continue_dialing(&mut conn.cx());
        if self.phase.is_ending() {
            // With churn, this connection was awaited.
            self.end_if_done(&mut conn.cx(), self.clock.now());
        }
        Session { link, hello_left: 0 }
    }

    /// A link that was lost is open again.
    fn on_restored(&mut self, cx: &mut Context<'_>, index: usize, now: u64) {
        self.report.outages.on_restored(now);
        if !self.phase.is_loading() || !self.links.active().contains(&index) {
            return;
        }
        match self.phase.is_open_loop() {
            true => {
                if self.links.active_open() == 1 {
                    self.pacer.hold_until(now);
                }
                self.send_due(cx);
            }
            false => self.fill_link(index, cx),
        }
    }

    /// Dials the lost links whose wait is over.
    pub(super) fn reconnect(&mut self, cx: &mut Context<'_>) {
        if !self.plan.reconnect || self.phase.is_ending() || !self.dialer.is_settled() {
            return;
        }
        let now = self.clock.now();
        while let Some(link) = self.reconnects.take(now) {
            self.dialer.enqueue(link);
        }
        self.dialer.dial(&self.clock, cx);
        self.reconnects.arm(&self.clock, cx);
    }

    /// A link could not be connected, and is dialed again later. Its first failure counts as an error, by `count`.
    pub(super) fn on_unreachable(&mut self, cx: &mut Context<'_>, link: u32, count: impl FnOnce(&mut Reporter)) {
        let now = self.clock.now();
        if self.reconnects.has_tried(link) {
            self.report.outages.on_dial_failed(now);
        } else {
            count(&mut self.report);
            self.report.outages.on_lost(0, now);
        }
        self.reconnects.schedule(link, false, now);
        self.continue_dialing(cx);
    }

    /// Sends what waits on a link.
    pub(super) fn send_more(&mut self, index: usize, conn: &mut Connection<'_>) {
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
    pub(super) fn on_unestablished(&mut self, cx: &mut Context<'_>, id: ConnId) {
        let Some(Dialing { link, since }) = self.dialer.on_failed(id) else { return };
        let (now, place) = (self.clock.now(), self.dialer.place(link));
        if self.plan.reconnect {
            return self.on_unreachable(cx, link, |report| report.on_unestablished(place, since, now));
        }
        if self.phase.is_ending() && !self.plan.churn {
            return;
        }
        self.report.on_unestablished(place, since, now);
        if self.phase.is_ending() {
            return self.end_if_done(cx, self.clock.now());
        }
        if self.plan.churn && self.phase.is_loading() {
            self.dialer.retry(link, &self.clock, cx);
        }
        self.continue_dialing(cx);
    }

    /// A response was wrong. Returns whether the connection is aborted for it.
    pub(super) fn on_fault(&mut self, conn: &mut Connection<'_>, index: usize, fault: Option<Fault>) -> bool {
        let Some(fault) = fault else { return false };
        self.report.on_fault(self.dialer.place(index as u32), fault);
        let is_final = self.links.is_fault_final();
        if is_final {
            // The frames behind it cannot be matched to requests.
            conn.abort();
        }
        is_final
    }

    /// Handles the unexpected close of an active link. Returns how many frames were lost.
    pub(super) fn on_lost(&mut self, index: usize, reason: &CloseReason) -> u64 {
        let lost = self.links.take_unanswered(index);
        let (now, place) = (self.clock.now(), self.dialer.place(index as u32));
        self.report.charge_to(place, &lost.stamps, now, &self.phase);
        // A connection that we aborted is counted as a fault. After the end a server may close a connection that is idle.
        if *reason != CloseReason::AbortedByHandler && !(self.phase.is_ending() && lost.stamps.is_empty()) {
            let held_for = if self.plan.hold.is_some() { self.phase.measured_for(now) } else { None };
            let loss = Loss { reason: reason.name(), is_settled: self.dialer.is_settled(), held_for };
            self.report.on_lost(place, &lost, loss);
        }
        lost.stamps.len() as u64
    }
}
