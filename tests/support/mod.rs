//! What the tests on real sockets share: a server, a client that takes nothing for granted, and ways to wait.
//!
//! A server is stopped when it is dropped, and a child process killed, so a test that fails leaves nothing behind. No
//! test sleeps until something has happened: a wait is a blocking read with a timeout, or a question repeated until a deadline.

// Every test file has its own copy of this, and uses a part of it.
#![allow(dead_code, unused_imports)]

mod client;
#[cfg(feature = "cli")]
pub(crate) mod document;
mod example;
mod parts;
#[cfg(feature = "cli")]
pub(crate) mod process;
pub(crate) mod stepped;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, thread};

use frameloop::{Address, CloseReason, Config, ConfigBuilder, DrainReport, Echo, Handle, Reactor, Stats};

pub(crate) use self::client::{Client, End, announcement, frame, payload, replies_and_end};
pub(crate) use self::example::example;
pub(crate) use self::parts::{ADDR, addr_of_part, counter, part, skip};
#[cfg(feature = "cli")]
pub(crate) use self::process::{CpuTime, Outcome, Process};

/// How long a test waits for what must come. It bounds a failure; no test waits it out when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How much later than a deadline its effect may be seen on a machine that has other things to do.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// A second signal counts so much later; within this time, two are one.
pub(crate) const PAIR: Duration = Duration::from_millis(100);

/// An echo server in this process, on a thread and a port of its own.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    handle: Handle<Infallible>,
    thread: Option<JoinHandle<DrainReport>>,
}

impl Server {
    pub(crate) fn start(config: ConfigBuilder) -> Self {
        Self::start_on("127.0.0.1:0", config)
    }

    pub(crate) fn start_on(addr: &str, config: ConfigBuilder) -> Self {
        let mut reactor = Reactor::new(config.build().unwrap(), Echo).unwrap();
        let addr: SocketAddr = addr.parse().unwrap();
        let Address::Tcp(addr) = reactor.listen(&addr.into()).unwrap() else { panic!("no TCP address") };
        Self::run(reactor, addr)
    }

    /// A server on a Unix socket; its `addr` leads nowhere.
    pub(crate) fn start_on_path(path: &Path, config: ConfigBuilder) -> Self {
        let mut reactor = Reactor::new(config.build().unwrap(), Echo).unwrap();
        reactor.listen(&Address::Unix(path.into())).unwrap();
        Self::run(reactor, SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    fn run(mut reactor: Reactor<Echo>, addr: SocketAddr) -> Self {
        let handle = reactor.handle();
        let thread = thread::spawn(move || {
            reactor.run().unwrap();
            reactor.drain_report().clone()
        });
        Self { addr, handle, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.handle.stats().unwrap()
    }

    /// Asks for the counters until they are as they should be.
    ///
    /// Each question wakes the server, so this cannot show that it wakes up by itself: for that, wait for a client.
    #[track_caller]
    pub(crate) fn stats_when(&self, mut is_so: impl FnMut(&Stats) -> bool) -> Stats {
        let mut stats = self.stats();
        let became_so = holds_within(PATIENCE, || {
            stats = self.stats();
            is_so(&stats)
        });
        assert!(became_so, "the counters stay at {stats}");
        stats
    }

    /// Waits until no connection is left, and with them no buffer.
    #[track_caller]
    pub(crate) fn stats_when_empty(&self) -> Stats {
        let stats = self.stats_when(|stats| stats.connections == 0);
        assert_eq!(stats.buffered_bytes, 0, "{stats}");
        assert_eq!(stats.accepted, stats.closed_total(), "{stats}");
        stats
    }

    pub(crate) fn drain(&self) {
        self.handle.drain().unwrap();
    }

    /// Waits for the end of a drain.
    pub(crate) fn report(mut self) -> DrainReport {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(thread::panicking() || outcome.is_ok(), "the server panicked");
        }
    }
}

/// The defaults, with no deadline that a busy machine might miss.
pub(crate) fn patient() -> ConfigBuilder {
    Config::builder().frame_timeout(None).write_timeout(None).linger_timeout(2 * PATIENCE).drain_timeout(2 * PATIENCE)
}

/// How many connections ended so, whatever the reason's values.
pub(crate) fn closed_by(stats: &Stats, name: &str) -> u64 {
    stats.closed().find(|(kind, _)| kind.name() == name).map_or(0, |(_, count)| count)
}

/// The name under which a reason is counted.
pub(crate) const RESET: &str = CloseReason::Reset.name();
/// The name under which a reason is counted.
pub(crate) const PEER_FINISHED: &str = CloseReason::PeerFinished.name();
/// The name under which a reason is counted.
pub(crate) const TRUNCATED: &str = CloseReason::TruncatedFrame { received: 0 }.name();

/// Asks until the answer is yes, or for `patience`. Returns the last answer.
pub(crate) fn holds_within(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() >= patience {
            return false;
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(5));
    }
}

/// Pings until a served client has its answer: then the server has taken in what came before.
pub(crate) fn connect_and_ping(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.call(b"ping");
    client
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
