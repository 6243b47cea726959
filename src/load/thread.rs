//! A thread of a run: a generator on a reactor of its own.

use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::config::Config;
use crate::error::Error;
use crate::load::clock::nanos;
use crate::load::generator::{Command, Generator, Seed};
use crate::load::machine::ThreadClock;
use crate::load::outcome::ThreadUse;
use crate::load::plan::{LoadError, Plan};
use crate::load::report::Report;
use crate::reactor::handle::Handle;
use crate::reactor::{Reactor, Turn};
use crate::stats::Stats;
use crate::wire::Enclosure;

/// It stops when it is dropped.
pub(crate) struct Thread {
    handle: Handle<Command>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        // It fails only if the thread has ended.
        let _ = self.handle.stop();
    }
}

impl Thread {
    pub(crate) fn start(seed: Seed) -> Result<Self, LoadError> {
        let (sender, receiver) = channel();
        let name = format!("load-{}", seed.thread);
        let thread = Builder::new().name(name).spawn(move || drive(seed, &sender)).map_err(LoadError::Thread)?;
        match receiver.recv() {
            Ok(handle) => Ok(Self { handle, thread: Some(thread) }),
            // The thread has failed, and returns why.
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(_)) | Err(_) => Err(LoadError::Thread(std::io::Error::other("it ended before it began"))),
            },
        }
    }

    pub(crate) fn send(&self, command: Command) {
        // A thread that has failed returns its error when it is joined.
        let _ = self.handle.send(command);
    }

    /// Stops the thread and waits for its end. If it `drains`, it first sends what it has to send.
    pub(crate) fn join(mut self, drains: bool) -> Result<(), LoadError> {
        let _ = if drains { self.handle.drain() } else { self.handle.stop() };
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => Ok(done?),
            None => Ok(()),
            Some(Err(_)) => Err(LoadError::Thread(std::io::Error::other("it panicked"))),
        }
    }
}

/// Runs the reactor until the run is over, and reports what the thread used while each load was measured.
fn drive(seed: Seed, ready: &Sender<Handle<Command>>) -> Result<(), Error> {
    let config = config(&seed.plan)?;
    let (clock, thread, reports) = (seed.clock, seed.thread, seed.reports.clone());
    let cpu = ThreadClock::of_this_thread();
    let generator = Generator::new(seed).map_err(Error::Poll)?;
    let mut reactor = Reactor::new(config, generator)?;
    let wakeup = reactor.handler().pacer().wakeup().clone();
    wakeup.watch(&mut reactor)?;
    let _ = ready.send(reactor.handle());

    let mut begun: Option<(u64, Option<u64>, Stats)> = None;
    let mut reported = 0;
    loop {
        let turn = reactor.turn(None)?;
        let phase = reactor.handler().phase();
        if begun.is_none() && phase.is_loading() && phase.has_measured(clock.now()) {
            begun = Some((clock.now(), cpu.nanos(), reactor.stats()));
        } else if reported < phase.loads_ended() {
            reported += 1;
            let used = begun.take().map(|begun| thread_use(&begun, clock.now(), cpu.nanos(), &reactor.stats()));
            // It fails only if the run is over.
            let _ = reports.send((thread, Report::Used(used.unwrap_or_default())));
        }
        if turn == Turn::Done {
            return Ok(());
        }
    }
}

fn thread_use(begun: &(u64, Option<u64>, Stats), now: u64, cpu: Option<u64>, stats: &Stats) -> ThreadUse {
    let (from, cpu_begun, stats_begun) = begun;
    let elapsed = now.saturating_sub(*from).max(1) as f64;
    let turns = stats.turn_durations.since(&stats_begun.turn_durations);
    ThreadUse {
        cpu: cpu.zip(*cpu_begun).map(|(end, begin)| (end - begin) as f64 / elapsed),
        turn_p99_ns: nanos(turns.quantile(0.99)),
        turn_max_ns: nanos(turns.max()),
    }
}

/// The settings of a thread's reactor. The timeouts that protect a server from its peers are off: here they would hide what
/// the server does.
fn config(plan: &Plan) -> Result<Config, Error> {
    let frame_len = Enclosure::LEN_MAX + plan.request_len_max();
    let connections = plan.connections_total();
    // All frames in flight fit, so that a frame of the closed loop is never refused.
    let high = (plan.depth * frame_len).max(plan.hello_len()).max(64 << 10) + 1;
    let all = connections.saturating_mul(high.saturating_add(2 * frame_len));
    Config::builder()
        .max_payload(plan.response_len_max())
        .max_connections(connections.max(1))
        .memory(all.max(1 << 30))
        .output_high_water(high)
        .output_low_water(high / 4)
        .frame_timeout(None)
        .write_timeout(None)
        .connect_timeout(plan.connect_timeout)
        .spin(plan.spin)
        .build()
        .map_err(Error::Config)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::load::clock::Clock;
    use crate::load::destination::Destination;
    use crate::load::hold::Hold;
    use crate::load::target::Target;

    /// Runs the generator of `plan` on this thread until all connections are open. Returns the heap bytes that it has then.
    fn heap_of(plan: Plan) -> u64 {
        let (connections, active) = (plan.connections_total(), plan.connections);
        // Connections open without being accepted, and so take no descriptor at that end.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(i32::try_from(connections).unwrap()).unwrap();
        let targets = vec![Target::new(listener.local_addr().unwrap().as_socket().unwrap())];
        let plan = Plan { targets, ..plan };
        let (reports, _reported) = channel();
        let seed = Seed {
            clock: Clock::start(),
            requests: Arc::new(plan.requests(0).unwrap()),
            destination: Destination::new(&plan, None, 0),
            plan: Arc::new(plan),
            thread: 0,
            reports,
        };
        let config = config(&seed.plan).unwrap();
        let mut reactor = Reactor::new(config, Generator::new(seed).unwrap()).unwrap();
        reactor.handle().send(Command::Connect { connections: active }).unwrap();
        let heap = allocation_counter::measure(|| {
            while reactor.stats().connections < connections as u64 {
                let turn = reactor.turn(Some(Duration::from_secs(10))).unwrap();
                assert_eq!(turn, Turn::Running);
            }
        });
        u64::try_from(heap.bytes_current).unwrap()
    }

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "a listen queue is shorter there")]
    fn idle_or_held_connection_takes_at_most_256_bytes() {
        const MORE: usize = 256;
        let idle = |count: usize| Plan { connections: 1, idle: count - 1, ..Plan::default() };
        let held = |count: usize| Plan { connections: count, hold: Some(Hold::Silent), ..Plan::default() };
        for (name, plan) in [("idle", &idle as &dyn Fn(usize) -> Plan), ("held", &held)] {
            let [few, many] = [MORE, 2 * MORE].map(|count| heap_of(plan(count)));
            let link = size_of::<crate::load::link::Link>() as u64;
            let bytes = (many - few) / MORE as u64 + link;
            println!("a connection that is {name} takes {bytes} bytes");
            assert!(bytes <= 256, "a connection that is {name} takes {bytes} bytes of heap");
        }
    }
}
