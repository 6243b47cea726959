//! What becomes of each frame that was sent or was due: answered in time, answered late, answered wrong, or never answered.
//!
//! Rules. A frame belongs to the result if it was due while it was measured (open loop), or was in flight then (closed loop,
//! which has no schedule): frames of the warm-up never count. Each frame that belongs to the result is in the latencies
//! once, also when it is answered after the end or never: then its wait until it was given up is a lower bound. So a stall
//! cannot be hidden by ending the run, or by the connection's end.

use std::time::Instant;

use crate::error::CloseReason;
use crate::handler::{ConnId, Context};
use crate::load::generator::Generator;
use crate::load::lane::{Lane, Life, Stamp};
use crate::load::outcome::{Cohort, Fault, FaultKind};
use crate::load::tally::record;

/// When the frames of one run of a connection came: many of them share a reading of the clock.
#[derive(Debug, Default)]
pub(crate) struct Stamped {
    run: Option<(ConnId, Instant)>,
    uses: u32,
    nanos: u64,
}

const STAMP_USES_MAX: u32 = 64;

/// So many wrong answers are shown.
const FAULTS_MAX: usize = 10;

/// What is counted of frames and connections over the whole run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Frames of the result that were answered after the end.
    pub(crate) after_end: u64,
    /// The longest wait of a frame that was not answered, in nanoseconds.
    pub(crate) wait_max: u64,
    /// When the last frame was answered.
    pub(crate) last_answer: u64,
    /// Connections that the server ended before they had sent anything.
    pub(crate) turned_away: u64,
    /// Connections that the server ended before it had answered their first frame.
    pub(crate) ended_unanswered: u64,
    /// Of those two, how many ended after all had been dialled, and so were counted as up.
    pub(crate) ended_up: u64,
    /// The longest payload that was answered, and the shortest that was next on a connection when it ended.
    pub(crate) answered_len_max: usize,
    pub(crate) lost_len_min: Option<usize>,
    /// Connections that were open to the end, and never had an answer to what they sent.
    pub(crate) never_answered: u64,
}

impl Generator {
    /// When the frames of this run came.
    #[inline]
    pub(crate) fn stamp(&mut self, conn: &Context<'_>) -> u64 {
        let run = Some((conn.id(), conn.now()));
        if self.stamp.run != run || self.stamp.uses == STAMP_USES_MAX {
            self.stamp = Stamped { run, uses: 0, nanos: self.clock.now() };
        }
        self.stamp.uses += 1;
        self.stamp.nanos
    }

    /// A frame was answered.
    #[inline]
    pub(crate) fn count(&mut self, stamp: Stamp, now: u64, frame_len: usize) {
        self.in_flight -= 1;
        self.is_busy = true;
        self.ledger.last_answer = now;
        self.ledger.answered_len_max = self.ledger.answered_len_max.max(frame_len);
        if !self.belongs(stamp, now) {
            return;
        }
        record(&mut self.tally.service, now - stamp.sent);
        if self.schedule.is_some() {
            record(&mut self.tally.response, now - stamp.due);
        }
        if now < self.until {
            self.answered += 1;
            self.tally.frames += 1;
            self.tally.bytes += frame_len as u64;
        } else {
            self.ledger.after_end += 1;
        }
    }

    /// Whether a frame that is answered or given up now belongs to the result.
    #[inline]
    fn belongs(&self, stamp: Stamp, now: u64) -> bool {
        match self.schedule {
            None => self.measure <= now,
            Some(_) => self.measure <= stamp.due && stamp.due < self.until,
        }
    }

    /// These frames will not be answered: they are charged with how long they have waited.
    pub(crate) fn charge(&mut self, lost: &[Stamp], now: u64) {
        self.tally.errors.unanswered += lost.len() as u64;
        for stamp in lost {
            self.ledger.wait_max = self.ledger.wait_max.max(now - stamp.due);
            if !self.belongs(*stamp, now) {
                continue;
            }
            if stamp.was_sent() {
                record(&mut self.tally.service, now - stamp.sent);
            }
            if self.schedule.is_some() {
                record(&mut self.tally.response, now - stamp.due);
            }
        }
    }

    /// What is not answered when the run gives up is charged.
    pub(crate) fn charge_unanswered(&mut self) {
        let now = self.clock.now();
        for index in 0..self.active {
            let lane = &mut self.lanes[index];
            let (life, had_answers) = (lane.life, lane.answered > 0);
            let lost = lane.bury();
            lane.life = life;
            self.ledger.never_answered += u64::from(!had_answers && !lost.is_empty());
            self.charge(&lost, now);
        }
        self.in_flight = 0;
        if self.plan.churn {
            self.charge_dials(now);
        }
    }

    /// With churn, connecting is a part of the load: what is not made by now is charged as well.
    fn charge_dials(&mut self, now: u64) {
        for lane in &self.lanes[..self.active] {
            let Life::Dialling { since } = lane.life else { continue };
            record(&mut self.tally.connect, now - since);
            self.tally.errors.not_connected += 1;
            *self.failed.entry(NOT_MADE).or_default() += 1;
        }
    }

    #[cold]
    pub(crate) fn fault(&mut self, conn: &mut Context<'_>, lane: usize, kind: FaultKind) {
        self.tally.errors.wrong += 1;
        let Lane { number, answered, .. } = self.lanes[lane];
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { connection: number, frame: answered, kind });
        }
        if kind != FaultKind::Unasked && self.lanes[lane].pop().is_some() {
            // It was answered, though wrong.
            self.in_flight -= 1;
        }
        // What comes behind it cannot be told from what should.
        conn.abort();
    }

    /// A connection has ended that was to go on.
    pub(crate) fn lose(&mut self, index: usize, reason: &CloseReason) {
        let now = self.clock.now();
        let lane = &mut self.lanes[index];
        match lane.cohort {
            Cohort::Active => {}
            Cohort::Idle | Cohort::Drip | Cohort::Deaf => {
                lane.life = Life::Dead;
                return self.cohort_ends[usize::from(lane.cohort == Cohort::Deaf)] += 1;
            }
        }
        let (had_sent, had_answers) = (lane.sent > 0, lane.answered > 0);
        let next_len = self.table.payload(lane.number, lane.answered).len();
        let lost = lane.bury();
        self.in_flight -= lost.len() as u64;
        self.charge(&lost, now);
        // If it was aborted, it was counted as what it was aborted for. After the end a server may close what is at rest.
        if *reason == CloseReason::AbortedByHandler || (self.is_ending() && lost.is_empty()) {
            return;
        }
        self.tally.errors.ended += 1;
        *self.ended.entry(reason.name()).or_default() += 1;
        if had_sent && !lost.is_empty() {
            let shortest = self.ledger.lost_len_min.unwrap_or(next_len);
            self.ledger.lost_len_min = Some(shortest.min(next_len));
        }
        if !had_answers {
            self.ledger.turned_away += u64::from(!had_sent);
            self.ledger.ended_unanswered += u64::from(had_sent);
            self.ledger.ended_up += u64::from(self.ramp.is_settled());
        }
    }
}

/// The name of what was still being dialled at the end.
pub(crate) const NOT_MADE: &str = "not made by the end";
