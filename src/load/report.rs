//! What a thread reports to the run: intervals while it measures, and its totals at the end.
//!
//! Rule: each frame that belongs to the result is in the latencies once, also when it is answered after the end or never:
//! then its wait until it was given up is a lower bound. So a stall cannot be hidden by ending the run, or by the
//! connection's end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::DialError;
use crate::load::counts::{Counts, record};
use crate::load::dialer::{DialPace, Dialer};
use crate::load::fault::Fault;
use crate::load::hold::Held;
use crate::load::link::Stamp;
use crate::load::links::{Links, Unanswered};
use crate::load::outages::Outages;
use crate::load::outcome::{Cohort, Errors, Interval, Outage, ThreadUse};
use crate::load::pacer::Pacer;
use crate::load::phase::{EndCause, INTERVAL, Phase, Timing};
use crate::load::ramp::{Ramp, RampStage};
use crate::load::recorded::{Recorded, histogram};
use crate::load::tally::{Place, TargetTally, of_target};

/// A report of a thread to the run.
#[derive(Debug)]
pub(crate) enum Report {
    /// How many connections are open, and how many could not be opened so far.
    Open { open: u64, failed: u64 },
    /// Each link of the load was dialed; the last connection opened after `took` nanoseconds.
    Settled { took: u64 },
    /// The measuring begins: latencies of the connections that opened before. Each thread reports this once.
    Measuring { connect: Recorded },
    /// The next second of what is measured.
    Interval(Box<Interval>),
    /// How many frames were sent since the load began, and how many of those of the measured time were late.
    Sent { sent: u64, late: u64 },
    /// The thread has measured, and its last interval is reported.
    Over(Box<ThreadTotals>),
    /// What the thread used meanwhile. Each thread reports this once for each load.
    Used(ThreadUse),
}

/// What a thread has counted over the whole run.
#[derive(Debug, Default)]
pub(crate) struct ThreadTotals {
    /// Begin and end of what was measured; empty if the measuring had not begun.
    pub(crate) window: (u64, u64),
    pub(crate) cause: EndCause,
    /// Errors that are in no interval.
    pub(crate) errors: Errors,
    /// Connections that could not be opened, by the name of the error.
    pub(crate) failed: BTreeMap<&'static str, u64>,
    /// Connections that closed unasked, by reason.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// Wrong responses, by kind.
    pub(crate) wrong: BTreeMap<&'static str, u64>,
    /// The first wrong responses.
    pub(crate) faults: Vec<Fault>,
    /// How many connections of a cohort there were, and how many the server has closed.
    pub(crate) cohorts: Vec<(Cohort, u64, u64)>,
    /// Frames of the result that were answered after the end.
    pub(crate) after_end: u64,
    /// Responses to frames that had timed out.
    pub(crate) late_replies: u64,
    pub(crate) outages: Vec<Outage>,
    /// The longest wait of a frame that was not answered, in nanoseconds.
    pub(crate) wait_max: u64,
    /// Connections that the server closed before they had sent a frame.
    pub(crate) turned_away: u64,
    /// Connections that the server closed before it had answered their first frame.
    pub(crate) ended_unanswered: u64,
    /// Of those two, how many closed after all had been dialed, and so were counted as open.
    pub(crate) ended_up: u64,
    /// The longest payload of a response, and the shortest payload that was next on a connection when it closed.
    pub(crate) answered_len_max: usize,
    pub(crate) lost_len_min: Option<usize>,
    /// Connections that were open to the end, and never had a response to what they sent.
    pub(crate) never_answered: u64,
    /// From when frames were due to when they were passed to a connection; `None` if none was due.
    pub(crate) lateness: Option<Histogram<u64>>,
    pub(crate) waits_for_port: u64,
    pub(crate) slow_pace: Option<DialPace>,
    pub(crate) ramp: Vec<RampStage>,
    /// By the index of the target; those at the end may be missing.
    pub(crate) targets: Vec<TargetTally>,
    /// The connections that were held.
    pub(crate) held: Held,
}

/// How an active link was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    pub(crate) reason: &'static str,
    /// All links had been dialed.
    pub(crate) is_settled: bool,
    /// How long the link had been held in the measured time, in nanoseconds. `None` if it was not held.
    pub(crate) held_for: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Reporter {
    sender: Sender<(usize, Report)>,
    thread: usize,
    /// Of the interval under way.
    counts: Counts,
    /// Latencies of connections that opened before the measuring began.
    connect: Histogram<u64>,
    totals: ThreadTotals,
    pub(crate) outages: Outages,
    ramp: Ramp,
    /// When `Report::Open` was last sent while connecting.
    open_reported: u64,
    /// When dialing began for the load, and when its last connection opened.
    dialing_begun: u64,
    last_opened: u64,
    /// All links of the load have been dialed.
    is_settled: bool,
}

/// How often `Report::Open` is sent while connecting, in nanoseconds.
const OPEN_INTERVAL: u64 = 100_000_000;

/// So many wrong responses are kept.
const FAULTS_MAX: usize = 3;

/// The name of what was still being dialed at the end.
pub(crate) const NOT_MADE: &str = "not made by the end";

/// The name of a connection that closed before the frames that it began with were answered.
pub(crate) const NO_HELLO: &str = "closed before the response to --hello";

impl Reporter {
    pub(crate) fn new(thread: usize, sender: Sender<(usize, Report)>) -> Self {
        Self {
            sender,
            thread,
            counts: Counts::default(),
            connect: histogram(),
            totals: ThreadTotals::default(),
            outages: Outages::default(),
            ramp: Ramp::default(),
            open_reported: 0,
            dialing_begun: 0,
            last_opened: 0,
            is_settled: false,
        }
    }

    /// Connections are dialed for a load.
    pub(crate) fn begin_dialing(&mut self, now: u64) {
        (self.dialing_begun, self.last_opened) = (now, now);
        self.is_settled = false;
        self.outages.end(now);
    }

    /// A connection of an earlier load is open.
    pub(crate) fn on_still_open(&mut self, place: Place) {
        of_target(&mut self.totals.targets, place).up += 1;
    }

    /// When something happened, from the beginning of dialing, in nanoseconds.
    fn since_dialing(&self, at: u64) -> u64 {
        at.saturating_sub(self.dialing_begun)
    }

    /// A connection has opened that was dialed at `since`.
    pub(crate) fn on_open(&mut self, place: Place, since: u64, now: u64, has_measured: bool) {
        record(if has_measured { &mut self.counts.connect } else { &mut self.connect }, now - since);
        self.last_opened = now;
        if !self.is_settled {
            self.ramp.on_open(place.stage, self.since_dialing(since), self.since_dialing(now));
            of_target(&mut self.totals.targets, place).up += 1;
        }
    }

    /// A dial has failed. If the error is transient, it is no error of the run.
    pub(crate) fn on_dial_failed(&mut self, place: Place, error: &DialError, is_transient: bool, since: u64, now: u64) {
        match is_transient {
            true => self.totals.waits_for_port += u64::from(*error == DialError::NoPort),
            false => self.count_failed(place, name_of(error), since, now),
        }
    }

    /// A connection that was dialed at `since` has opened, and closed before its first frames were answered.
    pub(crate) fn on_unestablished(&mut self, place: Place, since: u64, now: u64) {
        self.count_failed(place, NO_HELLO, since, now);
    }

    /// A dial is still in progress at the end: it is charged with its wait.
    pub(crate) fn on_dial_unfinished(&mut self, place: Place, since: u64, now: u64) {
        record(&mut self.counts.connect, now - since);
        self.count_failed(place, NOT_MADE, since, now);
    }

    fn count_failed(&mut self, place: Place, name: &'static str, since: u64, now: u64) {
        self.counts.errors.not_connected += 1;
        *self.totals.failed.entry(name).or_default() += 1;
        of_target(&mut self.totals.targets, place).errors.not_connected += 1;
        if !self.is_settled {
            self.ramp.on_failed(place.stage, name, self.since_dialing(since), self.since_dialing(now));
        }
    }

    /// A frame was answered.
    #[inline]
    pub(crate) fn on_answer(&mut self, frame_len: usize, stamp: Stamp, now: u64, timing: Timing, phase: &Phase) {
        match timing {
            Timing::NotMeasured => return,
            Timing::Measured => {
                self.counts.frames += 1;
                self.counts.bytes += frame_len as u64;
            }
            Timing::AfterEnd => self.totals.after_end += 1,
        }
        self.record(stamp, now, phase);
    }

    /// A response was wrong, and the connection goes on.
    pub(crate) fn on_wrong(&mut self, stamp: Stamp, now: u64, timing: Timing, phase: &Phase) {
        if timing != Timing::NotMeasured {
            self.record(stamp, now, phase);
        }
    }

    /// Notes the length of an echo.
    #[inline]
    pub(crate) fn note_answered_len(&mut self, payload_len: usize) {
        self.totals.answered_len_max = self.totals.answered_len_max.max(payload_len);
    }

    /// These frames of a connection will not be answered: they are charged with how long they have waited.
    pub(crate) fn charge_to(&mut self, place: Place, unanswered: &[Stamp], now: u64, phase: &Phase) {
        let errors = &mut of_target(&mut self.totals.targets, place).errors;
        errors.unanswered += unanswered.len() as u64;
        note_longest(errors, unanswered, now);
        self.charge(unanswered, now, phase);
    }

    /// These frames will not be answered, and no connection was there for them.
    pub(crate) fn charge(&mut self, unanswered: &[Stamp], now: u64, phase: &Phase) {
        self.counts.errors.unanswered += unanswered.len() as u64;
        self.charge_waits(unanswered, now, phase);
    }

    /// These frames had no response on their connection within their timeout: they are charged with how long they have waited.
    pub(crate) fn on_timed_out(&mut self, place: Place, expired: &[Stamp], now: u64, phase: &Phase) {
        let errors = &mut of_target(&mut self.totals.targets, place).errors;
        errors.timed_out += expired.len() as u64;
        note_longest(errors, expired, now);
        self.on_timed_out_unsent(expired, now, phase);
    }

    /// These frames were on no connection within their timeout.
    pub(crate) fn on_timed_out_unsent(&mut self, expired: &[Stamp], now: u64, phase: &Phase) {
        self.counts.errors.timed_out += expired.len() as u64;
        self.charge_waits(expired, now, phase);
    }

    /// A frame that had timed out was answered.
    pub(crate) fn on_late_reply(&mut self) {
        self.totals.late_replies += 1;
    }

    fn charge_waits(&mut self, unanswered: &[Stamp], now: u64, phase: &Phase) {
        for stamp in unanswered {
            self.totals.wait_max = self.totals.wait_max.max(now - stamp.due);
            if phase.counts(stamp.due, now) {
                self.record(*stamp, now, phase);
            }
        }
    }

    #[inline]
    fn record(&mut self, stamp: Stamp, now: u64, phase: &Phase) {
        if let Some(sent) = stamp.sent() {
            record(&mut self.counts.service, now - sent);
        }
        if phase.is_open_loop() {
            record(&mut self.counts.response, now - stamp.due);
        }
    }

    pub(crate) fn on_fault(&mut self, place: Place, fault: Fault) {
        self.counts.errors.wrong += 1;
        of_target(&mut self.totals.targets, place).errors.wrong += 1;
        *self.totals.wrong.entry(fault.kind.name()).or_default() += 1;
        if self.totals.faults.len() < FAULTS_MAX {
            self.totals.faults.push(fault);
        }
    }

    /// An active link was closed unasked.
    pub(crate) fn on_lost(&mut self, place: Place, lost: &Unanswered, loss: Loss) {
        let Loss { reason, is_settled, held_for } = loss;
        self.counts.errors.ended += 1;
        let totals = &mut self.totals;
        *totals.ended.entry(reason).or_default() += 1;
        let target = of_target(&mut totals.targets, place);
        target.errors.ended += 1;
        if lost.had_sent && !lost.stamps.is_empty() {
            totals.lost_len_min = totals.lost_len_min.into_iter().chain([lost.next_len]).min();
        }
        if let Some(held_for) = held_for {
            return totals.held.on_lost(held_for);
        }
        if !is_settled || !lost.had_sent {
            self.ramp.on_lost(place.stage, reason);
        }
        if !lost.had_answers {
            target.turned_away += 1;
            totals.turned_away += u64::from(!lost.had_sent);
            totals.ended_unanswered += u64::from(lost.had_sent);
            totals.ended_up += u64::from(is_settled);
        }
    }

    /// A link was open to the end.
    pub(crate) fn on_never_answered(&mut self, unanswered: &Unanswered) {
        let is_owed = unanswered.had_sent || !unanswered.stamps.is_empty();
        self.totals.never_answered += u64::from(!unanswered.had_answers && is_owed);
    }

    /// Reports the progress of dialing, not more often than it is shown.
    pub(crate) fn report_dialing(&mut self, open: u64, is_settled: bool, now: u64) {
        if is_settled || now >= self.open_reported + OPEN_INTERVAL {
            self.open_reported = now;
            self.report_open(open);
        }
        if is_settled {
            self.is_settled = true;
            self.send(Report::Settled { took: self.since_dialing(self.last_opened) });
        }
    }

    /// Reports the interval with this number.
    pub(crate) fn report_interval(&mut self, number: usize, length: u64, open: u64) {
        let begin = Duration::from_nanos(number as u64 * INTERVAL);
        let interval = Box::new(self.counts.take(begin, Duration::from_nanos(length), open));
        if number == 0 {
            self.report_measuring();
        }
        self.report_open(open);
        self.send(Report::Interval(interval));
    }

    pub(crate) fn report_sent(&self, sent: u64, late: u64) {
        self.send(Report::Sent { sent, late });
    }

    /// Reports the last interval and the totals.
    pub(crate) fn report_end(&mut self, cause: EndCause, phase: &Phase, links: &Links, dialer: &Dialer, pacer: &Pacer) {
        let window @ (begin, end) = phase.window();
        if end > begin {
            let reported = phase.intervals() as u64 * INTERVAL;
            self.report_interval(phase.intervals(), (end - begin).saturating_sub(reported), links.open());
        } else {
            self.report_measuring();
        }
        let totals = ThreadTotals {
            window,
            cause,
            outages: self.outages.take(&(begin..end)),
            errors: std::mem::take(&mut self.counts.errors),
            cohorts: [Cohort::Idle, Cohort::Deaf].map(|cohort| links.opened_and_closed(cohort)).into(),
            lateness: Some(pacer.lateness().clone()).filter(|lateness| !lateness.is_empty()),
            slow_pace: dialer.slow_pace(self.last_opened),
            ramp: std::mem::take(&mut self.ramp).stages(),
            ..std::mem::take(&mut self.totals)
        };
        let totals = ThreadTotals { held: Held { to_end: links.active_open(), ..totals.held.clone() }, ..totals };
        self.send(Report::Over(Box::new(totals)));
    }

    fn report_measuring(&mut self) {
        self.send(Report::Measuring { connect: Recorded::of(&self.connect) });
        self.connect.reset();
    }

    fn report_open(&self, open: u64) {
        self.send(Report::Open { open, failed: self.totals.failed.values().sum() });
    }

    fn send(&self, report: Report) {
        // It fails only if the run is over.
        let _ = self.sender.send((self.thread, report));
    }
}

/// Notes how long frames have waited that were not answered.
fn note_longest(errors: &mut Errors, unanswered: &[Stamp], now: u64) {
    let longest = unanswered.iter().map(|stamp| now - stamp.due).max().unwrap_or_default();
    errors.unanswered_wait_max_ns = errors.unanswered_wait_max_ns.max(longest);
}

/// The name that an error is counted by: errors with different remedies have different names.
fn name_of(error: &DialError) -> &'static str {
    match error {
        DialError::Io(ErrorKind::NotFound | ErrorKind::NotADirectory) => "not found",
        DialError::Io(ErrorKind::PermissionDenied) => "not permitted",
        DialError::Io(ErrorKind::InvalidInput | ErrorKind::InvalidFilename) => "path too long",
        DialError::Io(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => "unreachable",
        DialError::Io(ErrorKind::TimedOut) => "timed out",
        other => other.name(),
    }
}
