//! The readiness lint: observes runs and callbacks, and counts the mistakes that they show.
//!
//! Rule: a reactor without the lint does nothing for it but find that out. So a run is observed from outside, in `linted_run.rs`,
//! and nothing of this is in a connection, a slot or the run queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use log::warn;

use crate::conn::io::Readiness;
use crate::id::{ConnId, SourceId};
use crate::lint::{Lint, LintMode};
use crate::net::{Net, ThreadTime};
use crate::reactor::callbacks::About;
use crate::reactor::finding::{
    CALLBACK_MAX, Finding, HALF_CLOSED_MAX, IDLE_RUNS_MAX, RUN_MAX, SPENT_RUNS_MAX, WAIT_MAX,
};
use crate::reactor::log_limit::{CONN, LOOP, LogLimit, Source};

/// The counts, and what is remembered from run to run.
#[derive(Debug)]
pub(crate) struct Lints {
    is_logged: bool,
    /// Until then each frame is timed, because those of a read have taken long together.
    suspicious_until: Option<Instant>,
    limit: LogLimit,
    counts: Counts,
    /// By slot; grows to the highest slot.
    tracks: Vec<Track>,
    /// By watched descriptor: reports of room in a row that were not used.
    sources: BTreeMap<u32, u32>,
    /// Connections whose peers had finished while output was pending, in order; some have ended or sent it since.
    half_closed: VecDeque<(Instant, ConnId)>,
    turn: TurnBegin,
    /// The thread's times, and when they were read. `None` before the first turn, or if they are unknown.
    thread_time: Option<(Instant, ThreadTime)>,
    /// The sum of all long runs and callbacks.
    long_runs: Duration,
}

/// How often each mistake was noticed.
pub(crate) type Counts = [u64; Lint::ALL.len()];

/// The thread's times are read again at the beginning of a turn once they are so old, because that takes two system calls.
const THREAD_TIME_AGE: Duration = Duration::from_millis(1);

/// The beginning of a turn.
#[derive(Debug, Clone, Copy)]
struct TurnBegin {
    at: Instant,
    long_runs: Duration,
}

/// What is remembered of a connection.
#[derive(Debug, Clone, Copy)]
struct Track {
    /// `None` before the first connection in this slot.
    id: Option<ConnId>,
    /// Its events since its last run.
    event: Option<Readiness>,
    /// It has waited since then for its run. `None`: at most since the beginning of this turn.
    queued: Option<Queued>,
    wakes: u32,
    rooms: u32,
    budgets_spent: u32,
    half_closed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    at: Instant,
    /// The sum of all long runs by then.
    long_runs: Duration,
}

/// A run, as it is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// The events before it.
    pub(crate) event: Option<Readiness>,
    /// The handler is called for frames or its end: the connection was not closing.
    pub(crate) is_open: bool,
    pub(crate) was_woken: bool,
    pub(crate) was_paused: bool,
    /// Output was pending before it.
    pub(crate) had_output: bool,
    /// Something was read, written, delivered or queued, or the state has changed.
    pub(crate) has_moved: bool,
    /// The frame budget, if it was spent with more to deliver.
    pub(crate) frame_budget_spent: Option<usize>,
    /// The peer has finished and output is pending after it.
    pub(crate) is_half_closed: bool,
}

/// How long each frame is timed, after those of a read have taken long together.
const SUSPICION: Duration = Duration::from_secs(1);

const NO_TRACK: Track =
    Track { id: None, event: None, queued: None, wakes: 0, rooms: 0, budgets_spent: 0, half_closed_at: None };

impl Lints {
    /// `None` if the lint is off.
    pub(crate) fn new(mode: LintMode, now: Instant) -> Option<Box<Self>> {
        let is_logged = match mode {
            LintMode::Off => return None,
            LintMode::Count => false,
            LintMode::Log => true,
        };
        Some(Box::new(Self {
            is_logged,
            suspicious_until: None,
            limit: LogLimit::of_peers(),
            counts: Counts::default(),
            tracks: Vec::new(),
            sources: BTreeMap::new(),
            half_closed: VecDeque::new(),
            turn: TurnBegin { at: now, long_runs: Duration::ZERO },
            thread_time: None,
            long_runs: Duration::ZERO,
        }))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// When a turn is needed without an event.
    pub(crate) fn due(&self) -> Option<Instant> {
        let half_closed = self.half_closed.front().map(|(since, _)| *since + HALF_CLOSED_MAX);
        half_closed.into_iter().chain(self.limit.due()).min()
    }

    /// Reports suppressed log lines, and returns how many they were.
    pub(crate) fn report_suppressed(&mut self, now: Instant) -> u64 {
        let count = self.limit.left_out(now).unwrap_or(0);
        if count > 0 {
            warn!(target: LOOP, "suppressed {count} similar messages (readiness lint)");
        }
        count
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, net: &impl Net, now: Instant) {
        self.turn = TurnBegin { at: now, long_runs: self.long_runs };
        if self.thread_time.is_none_or(|(at, _)| now.saturating_duration_since(at) >= THREAD_TIME_AGE) {
            self.thread_time = net.thread_time().map(|time| (now, time));
        }
    }

    /// Notes that a connection waits in the run queue when a turn begins. Returns whether that is new.
    pub(crate) fn note_waiting(&mut self, id: ConnId) -> bool {
        let queued = Queued { at: self.turn.at, long_runs: self.long_runs };
        let track = self.track(id);
        let is_new = track.queued.is_none();
        track.queued.get_or_insert(queued);
        is_new
    }

    /// Notes an event of this turn.
    pub(crate) fn note_event(&mut self, id: ConnId, readiness: Readiness) {
        *self.track(id).event.get_or_insert_default() |= readiness;
    }

    /// The next connection whose peer had finished a second ago while output was pending, if it is the same connection still, and
    /// was not without pending output since.
    pub(crate) fn next_half_closed(&mut self, now: Instant) -> Option<ConnId> {
        while let Some((since, id)) =
            self.half_closed.front().copied().filter(|(since, _)| now >= *since + HALF_CLOSED_MAX)
        {
            self.half_closed.pop_front();
            if self.track(id).half_closed_at == Some(since) {
                return Some(id);
            }
        }
        None
    }

    /// A connection leaves the run queue. Returns its events since its last run.
    pub(crate) fn begin_run(&mut self, about: About<'_>, now: Instant) -> Option<Readiness> {
        let About::Conn(id, _) = about else { return None };
        let TurnBegin { at, long_runs } = self.turn;
        let track = self.track(id);
        let event = track.event.take();
        let queued = track.queued.take().or_else(|| event.map(|_| Queued { at, long_runs }));
        if let Some(queued) = queued {
            let (waited, behind) = (now.saturating_duration_since(queued.at), self.long_runs - queued.long_runs);
            if waited > WAIT_MAX && behind > waited / 2 {
                self.found(Finding::StarvedNeighbor { waited, behind }, about, now);
            }
        }
        event
    }

    /// Notes what a run was like.
    pub(crate) fn end_run(&mut self, about: About<'_>, run: &Run) {
        let About::Conn(id, _) = about else { return };
        let now = self.turn.at;
        let mut findings = [None; 3];
        let track = self.track(id);
        if run.has_moved {
            (track.wakes, track.rooms) = (0, 0);
        } else if run.is_for_room() {
            track.wakes = 0;
            if is_streak(&mut track.rooms, IDLE_RUNS_MAX) {
                findings[0] = Some(Finding::UnusedWriteInterest { source: None });
            }
        } else if run.is_for_nothing() {
            track.rooms = 0;
            if is_streak(&mut track.wakes, IDLE_RUNS_MAX) {
                findings[1] = Some(Finding::WakeWithoutProgress);
            }
        }
        match run.frame_budget_spent {
            Some(frames) if is_streak(&mut track.budgets_spent, SPENT_RUNS_MAX) => {
                findings[2] = Some(Finding::FrameBudgetSpent { frames });
            }
            Some(_) => {}
            None => track.budgets_spent = 0,
        }
        let since = run.is_half_closed.then(|| track.half_closed_at.unwrap_or(now));
        let is_new = since.is_some() && track.half_closed_at.is_none();
        track.half_closed_at = since;
        if is_new {
            self.half_closed.push_back((now, id));
        }
        for finding in findings.into_iter().flatten() {
            self.found(finding, about, now);
        }
    }

    /// Whether each frame is timed by itself.
    ///
    /// Reading the clock and guarding the call for each frame would cost as much as a small frame. So a lint that only counts times the
    /// frames of a read together, and looks closer for a second if they take long.
    pub(crate) fn times_each_frame(&self) -> bool {
        self.is_logged || self.suspicious_until.is_some_and(|until| self.turn.at < until)
    }

    /// Notes the end of `count` calls of `on_frame`, of which the first began at `begun`.
    pub(crate) fn note_frames(&mut self, net: &impl Net, count: usize, about: About<'_>, begun: Instant) {
        if count <= 1 {
            self.note_callback(net, "on_frame", about, begun);
        } else if net.now().saturating_duration_since(begun) > CALLBACK_MAX {
            self.suspicious_until = self.turn.at.checked_add(SUSPICION);
        }
    }

    /// Notes the end of a callback that began at `begun`. Returns the current instant.
    pub(crate) fn note_callback(
        &mut self,
        net: &impl Net,
        callback: &'static str,
        about: About<'_>,
        begun: Instant,
    ) -> Instant {
        let now = net.now();
        if now.saturating_duration_since(begun) > CALLBACK_MAX {
            let took = self.without_preemption(net, begun, now);
            if took > CALLBACK_MAX {
                self.found(Finding::SlowCallback { callback, took }, about, now);
            }
        }
        now
    }

    /// Notes the end of a run, or of a callback outside of one, that began at `begun`: others have waited for it.
    pub(crate) fn note_long(&mut self, net: &impl Net, begun: Instant) {
        let now = net.now();
        if now.saturating_duration_since(begun) > RUN_MAX {
            let took = self.without_preemption(net, begun, now);
            if took > RUN_MAX {
                self.long_runs += took;
            }
        }
    }

    /// How long something took, without the time for which the thread was off the processor since its times were read, if it was
    /// preempted.
    ///
    /// A thread that waits in a system call is not preempted, so that a call that blocks counts as a whole.
    #[cold]
    fn without_preemption(&self, net: &impl Net, begun: Instant, ended: Instant) -> Duration {
        let took = ended.saturating_duration_since(begun);
        let (Some((at, first)), Some(last)) = (self.thread_time, net.thread_time()) else { return took };
        first.without_preemption(last, ended.saturating_duration_since(at), took)
    }

    /// Notes a report of a watched descriptor, after its callback. `is_unused`: it reported room and nothing else, and there is
    /// room still.
    pub(crate) fn note_source(&mut self, number: u32, is_unused: bool, now: Instant) {
        let streak = self.sources.entry(number).or_default();
        if !is_unused {
            *streak = 0;
        } else if is_streak(streak, IDLE_RUNS_MAX) {
            self.found(Finding::UnusedWriteInterest { source: Some(SourceId(number)) }, About::NoConn, now);
        }
    }

    /// A descriptor is watched from here on, perhaps under a number that another had.
    pub(crate) fn begin_source(&mut self, number: u32) {
        self.sources.remove(&number);
    }

    /// Counts a mistake, and logs it if that is asked for.
    pub(crate) fn found(&mut self, finding: Finding, about: About<'_>, now: Instant) {
        self.counts[finding.lint() as usize] += 1;
        if !self.is_logged {
            return;
        }
        match about {
            About::Conn(id, peer) if self.limit.passes(now, Source::of(peer)) => {
                warn!(target: CONN, "[{id}] {peer}: {finding}");
            }
            About::Dial(id) if self.limit.passes(now, Source::Local) => warn!(target: CONN, "[{id}] {finding}"),
            About::NoConn if self.limit.passes(now, Source::Local) => warn!(target: LOOP, "{finding}"),
            About::Conn(..) | About::Dial(_) | About::NoConn => {}
        }
    }

    fn track(&mut self, id: ConnId) -> &mut Track {
        let slot = id.index as usize;
        if self.tracks.len() <= slot {
            self.tracks.resize(slot + 1, NO_TRACK);
        }
        let track = &mut self.tracks[slot];
        if track.id != Some(id) {
            *track = Track { id: Some(id), ..NO_TRACK };
        }
        track
    }
}

/// An event of room to write, and of nothing else.
pub(crate) const ROOM: Readiness =
    Readiness { readable: false, writable: true, read_closed: false, urgent: false, failed: false };

/// Adds to a streak. Returns whether it has reached `max`; then it begins anew.
fn is_streak(streak: &mut u32, max: u32) -> bool {
    *streak = (*streak + 1) % max;
    *streak == 0
}

impl ThreadTime {
    /// Of the time that something `took`, what is left without the time off the processor between the two readings, which are
    /// `apart`, if the thread was preempted between them.
    fn without_preemption(self, last: Self, apart: Duration, took: Duration) -> Duration {
        if self.preemptions == last.preemptions {
            return took;
        }
        let running = last.running.saturating_sub(self.running);
        took.saturating_sub(apart.saturating_sub(running))
    }
}

impl Run {
    /// Whether it had no other cause than room to write, and nothing was there to be written.
    fn is_for_room(&self) -> bool {
        self.is_open && self.event == Some(ROOM) && !self.was_woken && !self.had_output
    }

    /// Whether it should have moved something. Events of a paused connection are its peer's doing, and so is what comes while it is
    /// closing.
    fn is_for_nothing(&self) -> bool {
        self.is_open && (self.was_woken || (self.event.is_some() && !self.was_paused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_off_the_processor_counts_unless_preempted() {
        let ms = Duration::from_millis;
        let at = |running, preemptions| ThreadTime { running: ms(running), preemptions };
        // Of 30 ms between the readings, a callback took 20.
        let left =
            |running: u64, preemptions| at(500, 3).without_preemption(at(500 + running, preemptions), ms(30), ms(20));
        // It has blocked, or computed.
        assert_eq!((left(1, 3), left(30, 3)), (ms(20), ms(20)));
        // The thread was preempted all the time, some of it, or hardly.
        assert_eq!((left(1, 4), left(20, 5), left(30, 4)), (ms(0), ms(10), ms(20)));
    }

    #[test]
    fn streak_is_reported_at_its_limit_and_begins_anew() {
        let mut streak = 0;
        let reported: Vec<u32> = (1..=7).filter(|_| is_streak(&mut streak, 3)).collect();
        assert_eq!((reported, streak), (vec![3, 6], 1));
    }
}
