//! A thread's way through a run: connecting, load, the last answers, and the end; reported to the run second by second.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::handler::Peers;
use crate::load::answers::Ledger;
use crate::load::clock::nanos;
use crate::load::generator::Generator;
use crate::load::lane::{Lane, Life};
use crate::load::outcome::{Cohort, Errors, Fault, Interval};
use crate::load::plan::Stop;
use crate::load::ramp::DialPace;
use crate::load::recorded::Recorded;
use crate::load::schedule::Schedule;

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Connecting,
    /// `intervals` seconds of what is measured were reported.
    Loading {
        intervals: usize,
    },
    /// Nothing more is sent; answers are awaited until `give_up`.
    Ending {
        intervals: usize,
        give_up: u64,
        cause: EndCause,
    },
    Over,
}

/// Why a thread's load has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// Its time is over, or it has its frames.
    Planned,
    /// The run was told to end.
    Ordered,
    /// No connection was left to put load on.
    AllLost,
    /// Frames were to be answered, and for too long none was.
    Stalled,
}

/// What the run tells its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Open the connections.
    Connect,
    /// Put load on from `load` on, and measure from `measure` on; nanoseconds of the run's clock.
    Begin { load: u64, measure: u64 },
    /// It is enough.
    End,
}

/// What a thread tells the run.
#[derive(Debug)]
pub(crate) enum Report {
    /// So many are up, of those that were dialled so far.
    Up { up: u64, failed: u64 },
    /// Everybody was dialled; the last connection was made at `last_made`.
    Settled { last_made: u64 },
    /// The measuring begins: latencies of the connections that were made before. Each thread reports this once.
    Measuring { connect: Recorded },
    /// The next second of what is measured.
    Interval(Box<Interval>),
    /// The thread has measured, and its last interval is reported.
    Over(Box<ThreadEnd>),
}

/// What a thread has seen, apart from the intervals.
#[derive(Debug)]
pub(crate) struct ThreadEnd {
    /// The window that was measured; empty if it had not begun.
    pub(crate) window: (u64, u64),
    /// What went wrong outside of it, where no interval tells.
    pub(crate) errors: Errors,
    pub(crate) cause: EndCause,
    pub(crate) ledger: Ledger,
    pub(crate) failed: BTreeMap<&'static str, u64>,
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// How many of a cohort there are, and how many the server has ended.
    pub(crate) cohorts: [(Cohort, u64, u64); 2],
    pub(crate) faults: Vec<Fault>,
    pub(crate) late: u64,
    pub(crate) late_max: u64,
    pub(crate) waits_for_port: u64,
    pub(crate) slow_pace: Option<DialPace>,
}

/// What is reported at a time, in nanoseconds.
const INTERVAL: u64 = 1_000_000_000;

/// How often a thread tells how many of its connections are up, in nanoseconds.
const REPORT_UP: u64 = 100_000_000;

impl Generator {
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.course, Course::Loading { .. })
    }

    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.course, Course::Ending { .. } | Course::Over)
    }

    pub(crate) fn report_settled(&mut self) {
        self.report_up();
        self.report(Report::Settled { last_made: self.last_made });
    }

    /// Tells how many are up; not more often than it is looked at.
    pub(crate) fn report_up_sometimes(&mut self) {
        let now = self.clock.now();
        if now >= self.reported_up + REPORT_UP {
            self.reported_up = now;
            self.report_up();
        }
    }

    fn report_up(&self) {
        self.report(Report::Up { up: self.up, failed: self.failed.values().sum() });
    }

    fn report(&self, report: Report) {
        // Nobody listens only when the run is over.
        let _ = self.reports.send((self.thread, report));
    }

    pub(crate) fn begin(&mut self, peers: &mut Peers<'_>, load: u64, measure: u64) {
        self.course = Course::Loading { intervals: 0 };
        self.measure = measure;
        self.ledger.last_answer = load;
        if let Stop::After(duration) = self.plan.stop {
            self.until = measure + nanos(duration);
        }
        self.tick_at(peers, measure.min(self.stalled_at()));
        if self.active_up == 0 {
            return self.end(peers, load, EndCause::AllLost);
        }
        match self.plan.rate {
            Some(rate) => {
                self.schedule = Some(Schedule::new(rate, self.plan.threads, self.thread, load));
                self.send_due(peers);
            }
            None => self.send_first(peers),
        }
    }

    /// A timer has come: what the time asks for is done, and the next one set.
    pub(crate) fn tick(&mut self, peers: &mut Peers<'_>) {
        let now = self.clock.now();
        match self.course {
            Course::Loading { .. } if now >= self.until => self.end(peers, self.until, EndCause::Planned),
            Course::Loading { .. } if now >= self.stalled_at() => self.end(peers, now, EndCause::Stalled),
            Course::Loading { intervals } => {
                let end = self.measure + (intervals as u64 + 1) * INTERVAL;
                let next = if now < self.measure {
                    self.measure
                } else if now < end {
                    end
                } else {
                    self.report_interval(intervals, INTERVAL);
                    self.course = Course::Loading { intervals: intervals + 1 };
                    end + INTERVAL
                };
                self.tick_at(peers, next.min(self.until).min(self.stalled_at()));
            }
            Course::Connecting | Course::Ending { .. } | Course::Over => self.end_if_done(peers, now),
        }
    }

    /// When a run that is to have a number of frames answered is given up, as none is.
    fn stalled_at(&self) -> u64 {
        match self.quota {
            Some(_) => self.ledger.last_answer.saturating_add(nanos(self.plan.stall_timeout)),
            None => u64::MAX,
        }
    }

    fn tick_at(&mut self, peers: &mut Peers<'_>, at: u64) {
        self.next_tick = peers.set_timer(self.clock.instant(at)).ok();
    }

    fn report_interval(&mut self, number: usize, length: u64) {
        let begin = Duration::from_nanos(number as u64 * INTERVAL);
        let interval = Box::new(self.tally.take(begin, Duration::from_nanos(length), self.up));
        if number == 0 {
            self.report_measuring();
        }
        self.report_up();
        self.report(Report::Interval(interval));
    }

    fn report_measuring(&self) {
        self.report(Report::Measuring { connect: Recorded::of(&self.connect) });
    }

    /// Sends no more, and waits for what is in flight.
    pub(crate) fn end(&mut self, peers: &mut Peers<'_>, until: u64, cause: EndCause) {
        let intervals = match self.course {
            Course::Connecting => 0,
            Course::Loading { intervals } => intervals,
            Course::Ending { .. } | Course::Over => return,
        };
        self.until = until;
        // Also what came due since the last look: left out, the end of a stall would not be charged for.
        self.send_due(peers);
        let now = self.clock.now();
        // A run that was given up has waited long enough.
        let give_up = if cause == EndCause::Stalled { now } else { now.saturating_add(nanos(self.plan.patience)) };
        self.course = Course::Ending { intervals, give_up, cause };
        self.tick_at(peers, give_up);
        self.end_if_done(peers, until);
    }

    /// Ends what has all its frames answered, and finishes what has no frames in flight or has waited for them long enough.
    pub(crate) fn end_if_done(&mut self, peers: &mut Peers<'_>, now: u64) {
        match self.course {
            Course::Loading { .. } if self.has_enough() => self.end(peers, now, EndCause::Planned),
            Course::Ending { intervals, give_up, cause } if !self.is_awaiting() || now >= give_up => {
                self.finish(intervals, cause);
                peers.stop();
            }
            Course::Connecting | Course::Loading { .. } | Course::Ending { .. } | Course::Over => {}
        }
    }

    /// Whether something that belongs to the load has not come yet.
    fn is_awaiting(&self) -> bool {
        self.in_flight > 0 || (self.plan.churn && self.ramp.is_dialling())
    }

    /// Reports what is left to report.
    fn finish(&mut self, intervals: usize, cause: EndCause) {
        self.course = Course::Over;
        self.charge_unanswered();
        let window = (self.measure.min(self.until), self.until);
        let reported = intervals as u64 * INTERVAL;
        if window.1 > window.0 {
            self.report_interval(intervals, (window.1 - window.0).saturating_sub(reported));
        } else {
            self.report_measuring();
        }
        let is_up = |lane: &&Lane| matches!(lane.life, Life::Open(_));
        let up = |cohort| self.lanes.iter().filter(|lane| lane.cohort == cohort).filter(is_up).count() as u64;
        let [idle_ended, deaf_ended] = self.cohort_ends;
        let end = ThreadEnd {
            window,
            errors: std::mem::take(&mut self.tally.errors),
            cause,
            ledger: std::mem::take(&mut self.ledger),
            failed: std::mem::take(&mut self.failed),
            ended: std::mem::take(&mut self.ended),
            cohorts: [
                (Cohort::Idle, up(Cohort::Idle) + idle_ended, idle_ended),
                (Cohort::Deaf, up(Cohort::Deaf) + deaf_ended, deaf_ended),
            ],
            faults: std::mem::take(&mut self.faults),
            late: self.late,
            late_max: self.late_max,
            waits_for_port: self.waits_for_port,
            slow_pace: self.ramp.slow_pace(self.last_made),
        };
        self.report(Report::Over(Box::new(end)));
    }
}
