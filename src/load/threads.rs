//! A run: its threads, its phases, and what becomes of what they report.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::addr::ListenAddr;
use crate::config::Config;
use crate::error::Error;
use crate::frame::HEADER_LEN;
use crate::load::clock::{Clock, nanos, time_of_day};
use crate::load::course::{Order, Report};
use crate::load::destination::Destination;
use crate::load::drip::Drips;
use crate::load::generator::{Generator, Share};
use crate::load::intervals::Intervals;
use crate::load::machine::{self, ThreadClock};
use crate::load::outcome::{Interval, Outcome, Progress, Stage, Start, ThreadUse};
use crate::load::own_server::{OwnServer, Snapshot};
use crate::load::payload::Table;
use crate::load::plan::{LoadError, Plan, Stop};
use crate::load::recorded::Recorded;
use crate::load::summary::{Seen, summary};
use crate::load::tally;
use crate::reactor::handle::Handle;
use crate::reactor::stats::Stats;
use crate::reactor::{Reactor, Turn};

/// Looks on while a run is under way.
pub trait Watch {
    /// Called some ten times a second.
    fn on_progress(&mut self, progress: &Progress);

    /// Called once before the first interval, or at the end of a run that has none.
    fn on_start(&mut self, start: &Start) {
        let _ = start;
    }

    /// Called with each second of what is measured, as soon as it is complete, in order.
    fn on_interval(&mut self, interval: &Interval) {
        let _ = interval;
    }

    /// Whether it is enough: then no more is sent, and what was seen is the outcome.
    fn wants_end(&mut self) -> bool;
}

/// Does not look, and never has enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn on_progress(&mut self, _: &Progress) {}

    fn wants_end(&mut self) -> bool {
        false
    }
}

/// Does what a plan says.
///
/// # Errors
///
/// [`LoadError`] if the plan cannot work, or a reactor or a thread cannot be set up. What the server does, or does not, is in
/// the outcome.
pub fn run(plan: &Plan, watch: &mut dyn Watch) -> Result<Outcome, LoadError> {
    plan.check()?;
    if let Some(source) = plan.sources.first_addrs().find(|source| !machine::is_local(*source)) {
        return Err(LoadError::SourceNotLocal(source));
    }
    let resident = machine::resident_bytes();
    let server = match &plan.target {
        Some(_) => None,
        None => Some(OwnServer::start(plan)?),
    };
    let target = match (&plan.target, &server) {
        (Some(target), _) => target.clone(),
        (None, Some(server)) => server.addr.clone(),
        (None, None) => unreachable!("without a target there is a server"),
    };
    let plan = Arc::new(Plan { target: Some(target.clone()), ..plan.clone() });
    let mut run = Run::start(&plan, &target, server)?;
    run.seen.resident.0 = resident;
    run.connect(watch);
    run.load(watch);
    run.hand_on_intervals(watch);
    if !run.is_started {
        run.start_watch(watch);
    }
    let seen = run.finish()?;
    Ok(summary(&plan, seen))
}

/// A run under way.
struct Run {
    plan: Arc<Plan>,
    clock: Clock,
    threads: Vec<Thread>,
    reports: Receiver<(usize, Report)>,
    drips: Option<Drips>,
    server: Option<OwnServer>,
    server_begun: Option<Snapshot>,
    server_from: u64,
    progress: Progress,
    /// When the stage under way began, and when it ends.
    stage_begun: u64,
    stage_ends: Option<u64>,
    up: Vec<(u64, u64)>,
    settled: usize,
    overflows: Option<u64>,
    intervals: Intervals,
    /// Latencies of the connections that were made before the measuring began.
    connect: Histogram<u64>,
    /// The one who looks on knows that the measuring has begun.
    is_started: bool,
    seen: Seen,
}

struct Thread {
    handle: Handle<Order>,
    thread: JoinHandle<Result<ThreadUse, Error>>,
}

/// How often a [`Watch`] is called.
const LOOK: Duration = Duration::from_millis(100);

impl Run {
    fn start(plan: &Arc<Plan>, target: &ListenAddr, server: Option<OwnServer>) -> Result<Self, LoadError> {
        let clock = Clock::start();
        let table = Arc::new(Table::new(RangeInclusive::clone(&plan.payload_len)));
        let destination = Destination::new(plan, target, machine::ports(), std::process::id());
        let (sender, reports) = channel();
        let mut threads = Vec::new();
        for thread in 0..plan.threads {
            let share = Share {
                plan: Arc::clone(plan),
                destination: destination.clone(),
                clock,
                table: Arc::clone(&table),
                thread,
                reports: sender.clone(),
            };
            threads.push(Thread::start(share)?);
        }
        let drips = match plan.drip {
            0 => None,
            count => {
                let first = plan.connections + plan.idle + plan.deaf;
                let dials = (first..first + count).map(|nth| destination.dial(nth)).collect();
                Some(Drips::start(dials, plan.connect_timeout).map_err(LoadError::Thread)?)
            }
        };
        Ok(Self {
            plan: Arc::clone(plan),
            clock,
            up: vec![(0, 0); threads.len()],
            threads,
            reports,
            drips,
            server,
            server_begun: None,
            server_from: 0,
            progress: Progress { asked: plan.connections_total() as u64, ..Progress::default() },
            stage_begun: 0,
            stage_ends: None,
            settled: 0,
            overflows: machine::listen_overflows(),
            intervals: Intervals::new(plan.threads),
            connect: tally::histogram(),
            is_started: false,
            seen: Seen::default(),
        })
    }

    /// Opens the connections, until each is up or has failed.
    fn connect(&mut self, watch: &mut dyn Watch) {
        self.order(Order::Connect);
        let is_settled =
            |run: &Self| run.settled == run.threads.len() && run.drips.as_ref().is_none_or(Drips::is_settled);
        while !is_settled(self) && !self.seen.was_interrupted {
            self.look(watch);
        }
        let (drips_up, _, _) = self.drips.as_ref().map_or((0, 0, 0), Drips::counts);
        self.seen.up = self.up.iter().map(|(up, _)| up).sum::<u64>() + drips_up;
        self.seen.resident.1 = machine::resident_bytes();
    }

    /// Puts load on, and measures, until every thread is over.
    fn load(&mut self, watch: &mut dyn Watch) {
        if !self.seen.was_interrupted {
            let load = self.clock.now();
            let measure = load + nanos(self.plan.warmup);
            self.enter(Stage::WarmingUp, load, Some(measure));
            self.seen.begun = Some(time_of_day() + self.plan.warmup);
            self.ask_server(load);
            self.order(Order::Begin { load, measure });
        }
        while self.seen.ends.len() < self.threads.len() {
            self.look(watch);
            let now = self.clock.now();
            match (self.progress.stage, self.stage_ends) {
                (Stage::WarmingUp, Some(measure)) if now >= measure && self.seen.ends.is_empty() => {
                    self.ask_server(now);
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

    /// Notes what the run's own server has done before.
    fn ask_server(&mut self, now: u64) {
        self.server_begun = self.server.as_ref().and_then(OwnServer::snapshot);
        self.server_from = now;
    }

    /// What is asked of the own server is asked when the measuring ends, not when all is closed.
    fn enter_ending(&mut self, now: u64) {
        if self.progress.stage == Stage::Ending {
            return;
        }
        self.enter(Stage::Ending, now, None);
        let end = self.server.as_ref().and_then(OwnServer::snapshot);
        let elapsed = Duration::from_nanos(now.saturating_sub(self.server_from));
        self.seen.server = self
            .server_begun
            .as_ref()
            .zip(end)
            .map(|(begin, end)| crate::load::own_server::between(begin, &end, elapsed));
    }

    fn finish(mut self) -> Result<Seen, LoadError> {
        for Thread { handle, thread } in self.threads {
            let _ = handle.stop();
            match thread.join() {
                Ok(used) => self.seen.threads.push(used?),
                Err(_) => return Err(LoadError::Thread(std::io::Error::other("it panicked"))),
            }
        }
        self.seen.drips = self.drips.as_ref().map(Drips::counts);
        let overflows = machine::listen_overflows();
        self.seen.overflows = self.overflows.zip(overflows).map(|(before, after)| after.saturating_sub(before));
        let Intervals { total, kept, .. } = self.intervals;
        let _ = self.connect.add(&total.connect);
        self.seen.connect = Some(self.connect);
        self.seen.total = Some(total);
        self.seen.intervals = kept.into_vec();
        Ok(self.seen)
    }

    /// Takes what was reported, for a tenth of a second, and shows how it goes.
    fn look(&mut self, watch: &mut dyn Watch) {
        // Those who are connected already should not wait for long for those who are not.
        let is_connected = self.progress.stage == Stage::Connecting && self.settled == self.threads.len();
        let until = self.clock.now() + nanos(if is_connected { LOOK / 20 } else { LOOK });
        loop {
            let left = Duration::from_nanos(until.saturating_sub(self.clock.now()));
            match self.reports.recv_timeout(left) {
                Ok((thread, report)) => self.take(thread, report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            if self.settled == self.threads.len() && self.progress.stage == Stage::Connecting {
                break;
            }
        }
        self.hand_on_intervals(watch);
        let now = self.clock.now();
        self.progress.elapsed = Duration::from_nanos(now.saturating_sub(self.stage_begun));
        self.progress.left = self.stage_ends.map(|ends| Duration::from_nanos(ends.saturating_sub(now)));
        watch.on_progress(&self.progress);
        if !self.seen.was_interrupted && watch.wants_end() {
            self.seen.was_interrupted = true;
            self.order(Order::End);
        }
    }

    fn take(&mut self, thread: usize, report: Report) {
        match report {
            Report::Up { up, failed } => {
                self.up[thread] = (up, failed);
                let (drips_up, drips_failed, _) = self.drips.as_ref().map_or((0, 0, 0), Drips::counts);
                self.progress.up = self.up.iter().map(|(up, _)| up).sum::<u64>() + drips_up;
                self.progress.not_connected = self.up.iter().map(|(_, failed)| failed).sum::<u64>() + drips_failed;
            }
            Report::Settled { last_made } => {
                self.settled += 1;
                self.seen.connected_at = self.seen.connected_at.max(last_made);
            }
            // Of the same kind, and it grows.
            Report::Measuring { connect } => connect.add_to(&mut self.connect),
            Report::Interval(interval) => self.take_interval(thread, &interval),
            Report::Over(end) => {
                self.intervals.end_of(thread);
                self.seen.ends.push(*end);
            }
        }
    }

    fn take_interval(&mut self, thread: usize, interval: &Interval) {
        let Some(merged) = self.intervals.add(thread, interval) else { return };
        self.progress.frames += interval.frames;
        // Connections that were not made are counted where they are reported, whatever interval they are in.
        self.progress.errors += interval.errors.total() - interval.errors.not_connected;
        self.progress.up = merged.connections;
        self.progress.last = Some(merged.clone());
    }

    /// Hands on the intervals that are complete.
    fn hand_on_intervals(&mut self, watch: &mut dyn Watch) {
        while let Some(interval) = self.intervals.take_complete() {
            if !self.is_started {
                self.start_watch(watch);
            }
            watch.on_interval(&interval);
        }
    }

    fn start_watch(&mut self, watch: &mut dyn Watch) {
        self.is_started = true;
        let begun = *self.seen.begun.get_or_insert_with(time_of_day);
        let took = Duration::from_nanos(self.seen.connected_at);
        watch.on_start(&Start { plan: Plan::clone(&self.plan), begun, took, connect: Recorded::of(&self.connect) });
    }

    fn enter(&mut self, stage: Stage, begun: u64, ends: Option<u64>) {
        self.progress.stage = stage;
        self.stage_begun = begun;
        self.stage_ends = ends;
    }

    fn order(&self, order: Order) {
        for thread in &self.threads {
            // A thread that has failed says so when it is joined.
            let _ = thread.handle.send(order);
        }
    }
}

impl Thread {
    fn start(share: Share) -> Result<Self, LoadError> {
        let (sender, receiver) = channel();
        let name = format!("load-{}", share.thread);
        let thread = Builder::new().name(name).spawn(move || drive(share, &sender)).map_err(LoadError::Thread)?;
        match receiver.recv() {
            Ok(handle) => Ok(Self { handle, thread }),
            // It has failed, and says why.
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(_)) | Err(_) => Err(LoadError::Thread(std::io::Error::other("it ended before it began"))),
            },
        }
    }
}

/// A thread's life: turns until the run is over, with a look at what it used while it was measured.
fn drive(share: Share, ready: &Sender<Handle<Order>>) -> Result<ThreadUse, Error> {
    let config = config(&share.plan)?;
    let clock = share.clock;
    let cpu = ThreadClock::of_this_thread();
    let generator = Generator::new(share).map_err(Error::Poll)?;
    let mut reactor = Reactor::new(config, generator)?;
    let pulse = reactor.handler().pulse.clone();
    pulse.watch(&mut reactor)?;
    let _ = ready.send(reactor.handle());

    let mut begun: Option<(u64, Option<u64>, Stats)> = None;
    let mut used: Option<ThreadUse> = None;
    loop {
        let turn = reactor.turn(None)?;
        let generator = reactor.handler();
        if begun.is_none() && generator.is_loading() && clock.now() >= generator.measure {
            begun = Some((clock.now(), cpu.nanos(), reactor.stats()));
        } else if used.is_none() && generator.is_ending() {
            used = begun.as_ref().map(|begun| thread_use(begun, clock.now(), cpu.nanos(), &reactor.stats()));
        }
        if turn == Turn::Done {
            return Ok(used.unwrap_or_default());
        }
    }
}

fn thread_use(begun: &(u64, Option<u64>, Stats), now: u64, cpu: Option<u64>, stats: &Stats) -> ThreadUse {
    let (from, cpu_begun, stats_begun) = begun;
    let elapsed = now.saturating_sub(*from).max(1) as f64;
    let turns = stats.turns.since(&stats_begun.turns);
    ThreadUse {
        cpu: cpu.zip(*cpu_begun).map(|(end, begin)| (end - begin) as f64 / elapsed),
        turn_p99: turns.quantile(0.99),
        turn_max: turns.max(),
    }
}

/// A reactor's settings for a share of the plan: what would protect a server from its peers would here be in the way of
/// seeing what the server does.
fn config(plan: &Plan) -> Result<Config, Error> {
    let largest = *plan.payload_len.end();
    let frame_len = HEADER_LEN + largest as usize;
    let connections = plan.connections_total();
    // Room for what is in flight, so that the closed loop is never refused.
    let high = (plan.depth * frame_len).max(64 << 10) + 1;
    let all = connections.saturating_mul(high.saturating_add(2 * frame_len));
    Config::builder()
        .payload_len_max(largest.max(Config::default().payload_len_max))
        .connections_max(connections.max(1))
        .memory_bytes_max(all.max(1 << 30))
        .outbox_bytes_high(high)
        .outbox_bytes_low(high / 4)
        .frame_timeout(None)
        .write_timeout(None)
        .connect_timeout(plan.connect_timeout)
        .spin(plan.spin)
        .build()
        .map_err(Error::Config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns the generator of `plan` on this thread until all are up; the heap bytes that this thread has then got more.
    fn heap_of(plan: Plan) -> u64 {
        let connections = plan.connections_total();
        // They are made without being accepted, and so take no descriptor at that end.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(i32::try_from(connections).unwrap()).unwrap();
        let target = ListenAddr::Tcp(listener.local_addr().unwrap().as_socket().unwrap());
        let (reports, _reported) = channel();
        let share = Share {
            clock: Clock::start(),
            table: Arc::new(Table::new(RangeInclusive::clone(&plan.payload_len))),
            destination: Destination::new(&plan, &target, None, 0),
            plan: Arc::new(plan),
            thread: 0,
            reports,
        };
        let config = config(&share.plan).unwrap();
        let mut reactor = Reactor::new(config, Generator::new(share).unwrap()).unwrap();
        reactor.handle().send(Order::Connect).unwrap();
        let heap = allocation_counter::measure(|| {
            while reactor.handler().up < connections as u64 {
                let turn = reactor.turn(Some(Duration::from_secs(10))).unwrap();
                assert_eq!(turn, Turn::Running);
            }
        });
        u64::try_from(heap.bytes_current).unwrap()
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "a listen queue is shorter there")]
    fn an_idle_connection_of_the_generator_takes_at_most_256_bytes() {
        const MORE: usize = 256;
        let [few, many] =
            [MORE, 2 * MORE].map(|idle| heap_of(Plan { connections: 1, idle: idle - 1, ..Plan::default() }));
        let lane = size_of::<crate::load::lane::Lane>() as u64;
        let bytes = (many - few) / MORE as u64 + lane;
        println!("an idle connection takes {bytes} bytes");
        assert!(bytes <= 256, "an idle connection takes {bytes} bytes of heap");
    }
}
