//! The server that a run without a target starts.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::handler::Echo;
use crate::load::clock::nanos;
use crate::load::machine::ThreadClock;
use crate::load::outcome::ServerSide;
use crate::load::plan::{LoadError, Plan};
use crate::options::ListenOptions;
use crate::reactor::Reactor;
use crate::reactor::handle::Handle;
use crate::stats::Stats;

/// An echo server on a thread, until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnServer {
    pub(crate) addr: Address,
    handle: Handle<Infallible>,
    cpu: ThreadClock,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// The counters of the server at a moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    stats: Stats,
    cpu: Option<u64>,
}

impl OwnServer {
    pub(crate) fn start(plan: &Plan) -> Result<Self, LoadError> {
        let largest = u32::try_from(plan.request_len_max()).unwrap_or(u32::MAX);
        let config = Config::builder()
            .max_payload(largest.max(Config::default().max_payload))
            .max_connections(plan.connections_total().max(1))
            .memory(MEMORY.max(4 * largest as usize))
            .spin(plan.spin)
            .build()
            .map_err(Error::Config)?;
        let mut reactor = Reactor::new(config, Echo)?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = ListenOptions::default().framing(plan.framing);
        let addr = reactor.listen_with(&Address::Tcp(any_port), options)?.addr;
        let handle = reactor.handle();
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            let _ = sender.send(ThreadClock::of_this_thread());
            reactor.run()
        };
        let thread = Builder::new().name("server".into()).spawn(run).map_err(LoadError::Thread)?;
        let cpu = receiver.recv().map_err(std::io::Error::other).map_err(LoadError::Thread)?;
        Ok(Self { addr, handle, cpu, thread: Some(thread) })
    }

    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        Some(Snapshot { stats: self.handle.stats().ok()?, cpu: self.cpu.nanos() })
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the server did between two moments that are `elapsed` apart.
pub(crate) fn between(begin: &Snapshot, end: &Snapshot, elapsed: Duration) -> ServerSide {
    let calls = |stats: &Stats| stats.reads.total() + stats.writes.total() + stats.polls;
    let frames = (end.stats.frames_in - begin.stats.frames_in).max(1);
    let cpu = end.cpu.zip(begin.cpu).map(|(end, begin)| end - begin);
    let turns = end.stats.turn_durations.since(&begin.stats.turn_durations);
    ServerSide {
        turn_p50_ns: nanos(turns.quantile(0.5)),
        turn_p99_ns: nanos(turns.quantile(0.99)),
        turn_max_ns: nanos(turns.max()),
        calls_per_frame: (calls(&end.stats) - calls(&begin.stats)) as f64 / frames as f64,
        cpu_per_frame_ns: cpu.map(|nanos| nanos / frames),
        cpu: cpu.map(|nanos| nanos as f64 / (elapsed.as_nanos() as f64).max(1.0)),
    }
}

/// For all buffers of the server, in bytes.
const MEMORY: usize = 1 << 30;
