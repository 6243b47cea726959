//! A load: starts the threads, sends them a command for each phase, and collects their reports.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::clock::{Clock, nanos, time_of_day};
use crate::load::destination::Destination;
use crate::load::drip::Drips;
use crate::load::generator::{Command, Seed};
use crate::load::intervals::Intervals;
use crate::load::machine;
use crate::load::outcome::{Interval, Outcome, Progress, Stage, Start};
use crate::load::own_server::{OwnServer, Snapshot, between};
use crate::load::plan::{LoadError, Plan, Stop};
use crate::load::recorded::{Recorded, histogram};
use crate::load::report::Report;
use crate::load::step::Step;
use crate::load::summary::{Seen, summary};
use crate::load::target::Target;
use crate::load::thread::Thread;

/// Follows a run, and can end it.
pub trait Watch {
    /// Called about ten times per second.
    fn on_progress(&mut self, progress: &Progress);

    /// Called once before the first interval, or at the end of a run that has none.
    fn on_start(&mut self, start: &Start) {
        let _ = start;
    }

    /// Called with each second of the measured time, in order, as soon as it is complete.
    fn on_interval(&mut self, interval: &Interval) {
        let _ = interval;
    }

    /// Returns whether the load may begin. It is asked again until it is so, once all connections are established.
    fn may_begin(&mut self) -> bool {
        true
    }

    /// Returns whether to end the run. Then no more frames are sent, and the outcome holds what was measured so far.
    fn wants_end(&mut self) -> bool;
}

/// Ignores the progress of a run, and never ends it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn on_progress(&mut self, _: &Progress) {}

    fn wants_end(&mut self) -> bool {
        false
    }
}

/// Executes a plan, and returns its figures when the load has ended.
///
/// # Errors
///
/// [`LoadError`] if the plan is not allowed, a source is not an address of this machine, or a reactor or a thread cannot be
/// created. Failures of the server are no error: the outcome counts them.
pub fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Outcome, LoadError> {
    let mut load = Load::start(plan)?;
    let outcome = load.step(&Step::from(plan), watch)?;
    load.finish()?;
    Ok(outcome)
}

/// Executes steps of load one after another on the same connections.
///
/// # Examples
///
/// ```
/// use frameloop::load::{Load, Plan, Step, Stop, Unwatched};
///
/// let plan = Plan { connections: 4, stop: Stop::Frames(100), ..Plan::default() };
/// let mut load = Load::start(&plan)?;
/// for connections in [1, 4, 2] {
///     let step = Step { connections, warmup: std::time::Duration::ZERO, ..Step::from(&plan) };
///     assert_eq!(load.step(&step, &mut Unwatched)?.frames, 100);
/// }
/// load.finish()?;
/// # Ok::<(), frameloop::load::LoadError>(())
/// ```
///
/// When it is dropped before [`Load::finish`], its threads stop, without a wait for them.
pub struct Load {
    /// The plan of the step under way.
    plan: Arc<Plan>,
    /// The most connections that carry load.
    connections_max: usize,
    clock: Clock,
    threads: Vec<Thread>,
    reports: Receiver<(usize, Report)>,
    drips: Option<Drips>,
    server: Option<OwnServer>,
    /// What the run's own server had done when the stage under way began, and when that was.
    server_begun: Option<(Snapshot, u64)>,
    progress: Progress,
    /// When the stage under way began, and when it ends.
    stage_begun: u64,
    stage_ends: Option<u64>,
    /// For each thread, how many connections are open and how many failed.
    open: Vec<(u64, u64)>,
    /// For each thread, how many frames were sent and how many were late.
    sent: Vec<(u64, u64)>,
    /// Threads that have dialed all their links.
    settled: usize,
    overflows: Option<u64>,
    resident: Option<u64>,
    intervals: Intervals,
    /// Latencies of the connections that opened before the measuring began.
    connect: Histogram<u64>,
    /// `Watch::on_start` was called.
    is_started: bool,
    seen: Seen,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("plan", &self.plan).field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// How often a [`Watch`] is called.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl Load {
    /// Starts the threads of a plan. Connections are opened by the first step.
    ///
    /// # Errors
    ///
    /// [`LoadError`] as for [`run`].
    pub fn start(plan: &Plan) -> Result<Self, LoadError> {
        plan.check()?;
        if let Some(source) = plan.sources.first_addrs().find(|source| !machine::is_local(*source)) {
            return Err(LoadError::SourceNotLocal(source));
        }
        let resident = machine::resident_bytes();
        let server = if plan.targets.is_empty() { Some(OwnServer::start(plan)?) } else { None };
        let own = server.iter().map(|server| Target::new(server.addr.clone()));
        let targets = own.chain(plan.targets.iter().cloned()).collect();
        let plan = Arc::new(Plan { targets, ..plan.clone() });
        let clock = Clock::start();
        let requests = Arc::new(plan.requests(clock.since_1970())?);
        let destination = Destination::new(&plan, machine::ports(), std::process::id());
        let (sender, reports) = channel();
        let mut threads = Vec::new();
        for thread in 0..plan.threads {
            threads.push(Thread::start(Seed {
                plan: Arc::clone(&plan),
                destination: destination.clone(),
                clock,
                requests: Arc::clone(&requests),
                thread,
                reports: sender.clone(),
            })?);
        }
        let drips = match plan.drip {
            0 => None,
            count => {
                let first = plan.connections + plan.idle + plan.deaf;
                let mut destination = destination.after(first);
                let numbers = (first..first + count).map(|number| plan.segment.number(number));
                let dials = numbers.map(|number| destination.dial(number)).collect();
                Some(Drips::start(dials, plan.framing, plan.connect_timeout).map_err(LoadError::Thread)?)
            }
        };
        Ok(Self {
            connections_max: plan.connections,
            clock,
            open: vec![(0, 0); threads.len()],
            sent: vec![(0, 0); threads.len()],
            threads,
            reports,
            drips,
            server,
            server_begun: None,
            progress: Progress::default(),
            stage_begun: 0,
            stage_ends: None,
            settled: 0,
            overflows: None,
            resident,
            intervals: Intervals::new(plan.threads),
            connect: histogram(),
            is_started: false,
            seen: Seen::default(),
            plan,
        })
    }

    /// Opens the connections of a step that are not open, closes those that are too many, and executes the step. Returns its figures.
    ///
    /// A response to a frame of an earlier step counts as late.
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] if the step has more connections than the plan, or is not allowed for another reason.
    pub fn step(&mut self, step: &Step, watch: &mut dyn Watch) -> Result<Outcome, LoadError> {
        step.check(&self.plan, self.connections_max)?;
        self.plan = Arc::new(step.apply(&self.plan));
        self.seen = Seen::default();
        self.intervals = Intervals::new(self.threads.len());
        self.connect.reset();
        self.is_started = false;
        self.progress = Progress { asked: self.plan.connections_total() as u64, ..Progress::default() };
        self.overflows = machine::listen_overflows();
        self.connect(watch);
        self.load(watch);
        self.report_intervals(watch);
        if !self.is_started {
            self.report_start(watch);
        }
        Ok(self.outcome())
    }

    /// Closes the connections and ends the threads.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a thread has failed.
    pub fn finish(self) -> Result<(), LoadError> {
        // What was counted as sent is still sent.
        let drains = self.plan.replies == 0;
        let joined: Vec<_> = self.threads.into_iter().map(|thread| thread.join(drains)).collect();
        joined.into_iter().collect()
    }

    /// Opens the connections, until each is open or has failed.
    fn connect(&mut self, watch: &mut dyn Watch) {
        self.enter(Stage::Connecting, self.clock.now(), None);
        self.settled = 0;
        self.send(Command::Connect { connections: self.plan.connections });
        let is_settled = |load: &Self| load.is_settled() && load.drips.as_ref().is_none_or(Drips::is_settled);
        while !is_settled(self) && !self.seen.was_interrupted {
            self.wait(watch);
        }
        (self.seen.up, _) = self.open_and_failed();
        self.seen.resident = (self.resident, machine::resident_bytes());
    }

    /// Puts load on, and measures, until every thread is over.
    fn load(&mut self, watch: &mut dyn Watch) {
        let load = self.wait_for_start(watch);
        if !self.seen.was_interrupted {
            let measure = load + nanos(self.plan.warmup);
            self.enter(Stage::WarmingUp, load, Some(measure));
            let passed = Duration::from_nanos(self.clock.now().saturating_sub(load));
            self.seen.begun = Some(time_of_day() - passed + self.plan.warmup);
            self.snapshot_server(load);
            self.send(Command::Begin { load, measure, rate: self.plan.rate, stop: self.plan.stop });
        }
        let is_over = |seen: &Seen, threads| seen.ends.len() == threads && seen.threads.len() == threads;
        while !is_over(&self.seen, self.threads.len()) {
            self.wait(watch);
            let now = self.clock.now();
            match (self.progress.stage, self.stage_ends) {
                (Stage::WarmingUp, Some(measure)) if now >= measure && self.seen.ends.is_empty() => {
                    // Without a warm-up, what the server has done since the load began belongs to the result.
                    if !self.plan.warmup.is_zero() {
                        self.snapshot_server(now);
                    }
                    let until = match self.plan.stop {
                        Stop::After(duration) => Some(measure + nanos(duration)),
                        Stop::Frames(_) => None,
                    };
                    self.enter(Stage::Measuring, measure, until);
                }
                (Stage::Measuring, Some(until)) if now >= until => self.enter_ending(now),
                _ => {}
            }
        }
        self.enter_ending(self.clock.now());
    }

    /// Waits for the time at which the load is to begin, and for the permission to. Returns when it begins: exactly at its time, if
    /// the permission is there by then.
    fn wait_for_start(&mut self, watch: &mut dyn Watch) -> u64 {
        let now = self.clock.now();
        let until_start = self.plan.start_at.map(|at| at.duration_since(time_of_day()));
        self.seen.late_start = until_start.as_ref().and_then(|until| until.as_ref().err()).map(|late| late.duration());
        let due = until_start.and_then(Result::ok).map_or(now, |until| now + nanos(until));
        self.enter(Stage::Waiting, now, Some(due).filter(|due| *due > now));
        let mut load = due;
        while !self.seen.was_interrupted {
            let may_begin = watch.may_begin();
            if may_begin && self.clock.now() >= due {
                break;
            }
            self.wait(watch);
            if !may_begin {
                load = due.max(self.clock.now());
            }
        }
        load
    }

    /// Records what the run's own server has done so far.
    fn snapshot_server(&mut self, now: u64) {
        self.server_begun = self.server.as_ref().and_then(OwnServer::snapshot).map(|snapshot| (snapshot, now));
    }

    /// The run's own server is asked what it did when the measuring ends, not when all connections are closed.
    fn enter_ending(&mut self, now: u64) {
        if self.progress.stage == Stage::Ending {
            return;
        }
        self.enter(Stage::Ending, now, None);
        let end = self.server.as_ref().and_then(OwnServer::snapshot);
        let elapsed = |from| Duration::from_nanos(now.saturating_sub(from));
        self.seen.server =
            self.server_begun.take().zip(end).map(|((begin, from), end)| between(&begin, &end, elapsed(from)));
    }

    fn outcome(&mut self) -> Outcome {
        let mut seen = std::mem::take(&mut self.seen);
        seen.connections_max = self.connections_max;
        seen.drips = self.drips.as_ref().map(Drips::counts);
        let overflows = machine::listen_overflows();
        seen.overflows = self.overflows.zip(overflows).map(|(before, after)| after.saturating_sub(before));
        let Intervals { total, kept, .. } = std::mem::replace(&mut self.intervals, Intervals::new(0));
        let _ = self.connect.add(&total.connect);
        seen.connect = Some(self.connect.clone());
        seen.total = Some(total);
        seen.intervals = kept.into_vec();
        summary(&self.plan, seen)
    }

    /// Collects reports for a tenth of a second, and shows the progress.
    fn wait(&mut self, watch: &mut dyn Watch) {
        let now = self.clock.now();
        let until = now
            + nanos(match self.progress.stage {
                // Threads that have connected should not wait for long for drips that have not, nor for the beginning.
                Stage::Connecting if self.is_settled() => PROGRESS_INTERVAL / 20,
                Stage::Waiting => PROGRESS_INTERVAL / 20,
                _ => PROGRESS_INTERVAL,
            });
        let until = match self.stage_ends {
            Some(ends) if self.progress.stage == Stage::Waiting => until.min(ends),
            _ => until,
        };
        loop {
            let left = Duration::from_nanos(until.saturating_sub(self.clock.now()));
            match self.reports.recv_timeout(left) {
                Ok((thread, report)) => self.on_report(thread, report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            if self.is_settled() && self.progress.stage == Stage::Connecting {
                break;
            }
        }
        self.report_intervals(watch);
        let now = self.clock.now();
        self.progress.elapsed = Duration::from_nanos(now.saturating_sub(self.stage_begun));
        self.progress.left = self.stage_ends.map(|ends| Duration::from_nanos(ends.saturating_sub(now)));
        watch.on_progress(&self.progress);
        if !self.seen.was_interrupted && watch.wants_end() {
            self.seen.was_interrupted = true;
            self.send(Command::End);
        }
    }

    fn on_report(&mut self, thread: usize, report: Report) {
        match report {
            Report::Open { open, failed } => {
                self.open[thread] = (open, failed);
                (self.progress.up, self.progress.not_connected) = self.open_and_failed();
            }
            Report::Sent { sent, late } => {
                self.sent[thread] = (sent, late);
                let sums = self.sent.iter().fold((0, 0), |(sent, late), (more, later)| (sent + more, late + later));
                (self.progress.sent, self.progress.late) = sums;
            }
            Report::Settled { took } => {
                self.settled += 1;
                self.seen.connecting_took = self.seen.connecting_took.max(took);
            }
            Report::Measuring { connect } => connect.add_to(&mut self.connect),
            Report::Interval(interval) => self.on_interval(thread, &interval),
            Report::Over(totals) => {
                self.intervals.end_of(thread);
                self.seen.ends.push(*totals);
            }
            Report::Used(used) => self.seen.threads.push(used),
        }
    }

    fn on_interval(&mut self, thread: usize, interval: &Interval) {
        let Some(merged) = self.intervals.add(thread, interval) else { return };
        self.progress.frames += interval.frames;
        // Connections that could not be opened are counted by `Report::Open`, in whatever interval they are.
        self.progress.errors += interval.errors.total() - interval.errors.not_connected;
        self.progress.up = merged.connections;
        self.progress.last = Some(merged.clone());
    }

    /// Whether the threads have dialed all links, with or without success.
    fn is_settled(&self) -> bool {
        self.settled == self.threads.len()
    }

    /// How many connections are open, and how many could not be opened, as far as was reported.
    fn open_and_failed(&self) -> (u64, u64) {
        let (drips_up, drips_failed, _) = self.drips.as_ref().map(Drips::counts).unwrap_or_default();
        self.open.iter().fold((drips_up, drips_failed), |(up, failed), (open, more)| (up + open, failed + more))
    }

    /// Passes the intervals that are complete to `watch`.
    fn report_intervals(&mut self, watch: &mut dyn Watch) {
        while let Some(interval) = self.intervals.take_complete() {
            if !self.is_started {
                self.report_start(watch);
            }
            watch.on_interval(&interval);
        }
    }

    fn report_start(&mut self, watch: &mut dyn Watch) {
        self.is_started = true;
        let begun = *self.seen.begun.get_or_insert_with(time_of_day);
        let took = Duration::from_nanos(self.seen.connecting_took);
        watch.on_start(&Start { plan: Plan::clone(&self.plan), begun, took, connect: Recorded::of(&self.connect) });
    }

    fn enter(&mut self, stage: Stage, begun: u64, ends: Option<u64>) {
        self.progress.stage = stage;
        self.stage_begun = begun;
        self.stage_ends = ends;
    }

    fn send(&self, command: Command) {
        self.threads.iter().for_each(|thread| thread.send(command));
    }
}
