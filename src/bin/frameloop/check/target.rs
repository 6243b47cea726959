//! The server that is graded, and what was said about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::finding::{self, Finding};
use crate::check::patience::Patience;
use crate::check::payloads::Payloads;
use crate::check::peer::Peer;
use crate::check::process::{Memory, Process};
use crate::check::wire::Wire;

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) patience: Patience,
    /// The longest payload that the server takes.
    pub(crate) max_payload: u32,
    pub(crate) process: Option<Process>,
    pub(crate) frame_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    /// How many descriptors the grader may open.
    pub(crate) own_descriptors: u64,
    pub(crate) payloads: Payloads,
    /// How many connections were served their first frame.
    pub(crate) served: Arc<AtomicU64>,
}

/// How a case stops before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Fails(Finding),
    /// It cannot be played, and why.
    Skipped(String),
}

/// How a case ends.
pub(crate) type Played = Result<(), Stop>;

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Fails(finding)
    }
}

impl Target {
    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Peer, Finding> {
        Peer::connect(self.addr, self.patience, self.wire())
    }

    /// A new connection that holds little of what it does not read.
    pub(crate) fn connect_narrow(&self) -> Result<Peer, Finding> {
        Peer::connect_narrow(self.addr, self.patience, self.wire())
    }

    /// A new connection that the server has accepted: it has answered a frame.
    pub(crate) fn connect_served(&self) -> Result<Peer, Finding> {
        let mut peer = self.connect()?;
        // Each has a number of its own, so that another client's response is detected.
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        peer.echo(&self.payloads.first_of(number))?;
        peer.begin_anew();
        Ok(peer)
    }

    /// A new connection that has pipelined, and read nothing, until the server took no more.
    pub(crate) fn connect_deaf(&mut self) -> Result<Peer, Finding> {
        let frames = self.long_frames();
        let mut peer = self.connect_narrow()?;
        // The server may have ended it: what is asked afterwards is what counts.
        let _ = peer.fill(&frames, FILL_MAX);
        Ok(peer)
    }

    /// How the server's frames look.
    pub(crate) fn wire(&self) -> &Wire {
        self.payloads.wire()
    }

    /// The length of a payload that is closest to `wanted` bytes, and that the server takes.
    pub(crate) fn payload_len(&self, wanted: usize) -> usize {
        self.wire().payload_len(wanted.min(self.max_payload as usize))
    }

    /// A frame, repeated until it has at least the length of a long payload.
    pub(crate) fn long_frames(&mut self) -> Vec<u8> {
        let frame = self.payloads.frame(self.payload_len(LONG));
        frame.repeat(LONG.div_ceil(frame.len()))
    }

    /// Long frames that make up at least `total` bytes.
    pub(crate) fn stream(&mut self, total: usize) -> Result<Vec<u8>, Stop> {
        let len = self.payload_len(LONG);
        let count = total.div_ceil(len.max(1));
        if count > STREAM_FRAMES_MAX {
            let bytes = finding::bytes(total);
            let reason =
                format!("{bytes} of {} are {count} frames, and {STREAM_FRAMES_MAX} at most are sent", self.wire());
            return Err(Stop::Skipped(reason));
        }
        Ok(self.payloads.frames(total, len))
    }

    /// `count` connections that the server has accepted.
    pub(crate) fn connect_crowd(&self, count: usize) -> Result<Vec<Peer>, Finding> {
        (0..count).map(|_| self.connect_served()).collect()
    }

    /// Whether a new client is served; this also finds a server that is just exiting.
    pub(crate) fn is_alive(&self) -> Result<(), Finding> {
        for _ in 0..ALIVE_TIMES {
            self.connect_served()?;
            thread::sleep(ALIVE_APART);
        }
        Ok(())
    }

    /// Tries until a client is served again, for as long as patience lasts.
    pub(crate) fn comes_back(&self) -> Result<(), Finding> {
        let until = Instant::now() + self.patience.usual();
        loop {
            match self.is_alive() {
                Err(_) if Instant::now() < until => thread::sleep(ALIVE_APART),
                result => return result,
            }
        }
    }

    /// Whether the server's process is known, and is no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.is_some_and(|process| process.memory().is_err())
    }

    /// The server's process, for the cases that look at it.
    pub(crate) fn process(&self) -> Result<Process, Stop> {
        self.process.ok_or_else(|| Stop::Skipped("it looks at the server's process: give its number with --pid".into()))
    }

    /// Refuses a case for which the server, or the grader, cannot open so many descriptors.
    pub(crate) fn needs_connections(&self, count: u64) -> Result<(), Stop> {
        let needed = self.needs_own(count)?;
        let server = self.process.and_then(|process| process.descriptors_max().ok()).unwrap_or(u64::MAX);
        if server < needed {
            let needs =
                format!("the server may open {server} files, and this needs {needed}: {ADVICE} before it starts");
            return Err(Stop::Skipped(needs));
        }
        Ok(())
    }

    /// Refuses a case for which the grader cannot open so many connections. Returns how many descriptors they take.
    pub(crate) fn needs_own(&self, connections: u64) -> Result<u64, Stop> {
        let (needed, own) = (connections + DESCRIPTOR_RESERVE, self.own_descriptors);
        if own < needed {
            return Err(Stop::Skipped(format!("it needs {needed} open files here, and {own} are allowed: {ADVICE}")));
        }
        Ok(needed)
    }
}

/// What the figures of a process say where they could be read.
pub(crate) fn read<T>(figure: Result<T, String>) -> Result<T, Finding> {
    figure.map_err(|error| Finding::new("what the case says", "the server's process lives", error))
}

/// How much larger `after` is than `before`.
pub(crate) fn growth(before: Memory, after: Memory) -> Memory {
    let grown = |after: u64, before: u64| after.saturating_sub(before);
    Memory { resident: grown(after.resident, before.resident), data: grown(after.data, before.data) }
}

const ADVICE: &str = "raise the limit with ulimit -n";
/// As much as a server that does not stop reading is given.
const FILL_MAX: u64 = 32 << 20;
/// How long a payload is of those that make up a long stream.
const LONG: usize = 64 << 10;
/// More frames take seconds to make.
const STREAM_FRAMES_MAX: usize = 1 << 20;
/// Descriptors that are no connections.
const DESCRIPTOR_RESERVE: u64 = 64;

const ALIVE_TIMES: usize = 3;
const ALIVE_APART: Duration = Duration::from_millis(10);
