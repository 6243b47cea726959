//! What a run has seen.

use std::fmt;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::load::causes::Cause;
use crate::load::plan::Plan;
use crate::load::recorded::Recorded;

/// What a run has seen. Latencies are in nanoseconds, with three significant digits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// What it was to do; the target is filled in.
    pub plan: Plan,
    /// When what is measured began.
    pub begun: SystemTime,
    /// How long was measured.
    pub measured: Duration,
    /// Whether it was ended before its time by the one who looks on.
    pub was_interrupted: bool,
    /// Why it ended before its time by itself, if it did.
    pub ended_early: Option<String>,
    /// How the connections came up.
    pub connecting: Connecting,
    /// Frames that were answered, and right, while it was measured. Frames of the warm-up are none of them: in the open
    /// loop a frame counts if it was due while it was measured.
    pub frames: u64,
    /// Frames that were answered after the end, while the last answers were awaited. They are in the latencies.
    pub frames_after_end: u64,
    /// The longest that a frame has waited which was not answered.
    pub unanswered_wait_max: Duration,
    /// Bytes of those frames, headers included, in one direction.
    pub bytes: u64,
    /// From when a connection was dialled to when it was made.
    pub connect: Histogram<u64>,
    /// From when a frame was handed to its connection to when its answer was read, or to when it was given up.
    pub service: Histogram<u64>,
    /// From when a frame was due to when its answer was read, or to when it was given up. Only in the open loop.
    pub response: Option<Histogram<u64>>,
    /// What went by second; of a run of more than 600 seconds, in steps of 2, 4, 8, ... of them. Their latencies are
    /// exact to 1 %, and the longest is exact; [`Watch::on_interval`](crate::load::Watch::on_interval) has all of them.
    pub intervals: Vec<Interval>,
    /// What went wrong.
    pub errors: Errors,
    /// The first wrong answers.
    pub faults: Vec<Fault>,
    /// Connections that ended unasked, by reason.
    pub ended: Vec<(&'static str, u64)>,
    /// Connections beside the active ones: how many came up, and how many the server has ended.
    pub cohorts: Vec<(Cohort, u64, u64)>,
    /// What the generator has to say about itself.
    pub generator: GeneratorSide,
    /// What the server says, if it is the run's own.
    pub server: Option<ServerSide>,
    /// Why fewer connections came up than were asked for, and what lifts that.
    pub causes: Vec<Cause>,
    /// Why the figures are, or may be, the generator's own and not the server's.
    pub taints: Vec<String>,
}

impl Outcome {
    /// Frames answered a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.measured.as_secs_f64().max(1e-9)
    }

    /// The latency that a user of the server sees: response in the open loop, else service.
    #[must_use]
    pub fn latency(&self) -> &Histogram<u64> {
        self.response.as_ref().unwrap_or(&self.service)
    }
}

/// How the connections came up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connecting {
    /// Connections asked for, of all cohorts.
    pub asked: u64,
    /// Connections that were made before the load began, and that the server did not refuse: those that it ended before they
    /// had carried a frame are not among them.
    pub up: u64,
    /// Connections that were made, and ended by the server before they had carried a frame.
    pub turned_away: u64,
    /// Connections that were not made, by the name of the error.
    pub failed: Vec<(&'static str, u64)>,
    /// From the first dial to the last connection.
    pub took: Duration,
}

/// What went wrong while load was on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Errors {
    /// Connections that were not made.
    pub not_connected: u64,
    /// Answers that were not what was sent.
    pub wrong: u64,
    /// Connections that ended unasked.
    pub ended: u64,
    /// Frames that were sent, or due, and not answered.
    pub unanswered: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.not_connected + self.wrong + self.ended + self.unanswered
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.not_connected += other.not_connected;
        self.wrong += other.wrong;
        self.ended += other.ended;
        self.unanswered += other.unanswered;
    }
}

/// A wrong answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The connection's number.
    pub connection: u32,
    /// The frame's number on its connection.
    pub frame: u32,
    /// What was wrong.
    pub kind: FaultKind,
}

/// What was wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The first byte that differs.
    Byte {
        /// Where in the payload.
        offset: usize,
        /// What was sent.
        expected: u8,
        /// What came back.
        got: u8,
    },
    /// The payload is not as long as what was sent.
    Length {
        /// What was sent, in bytes.
        expected: usize,
        /// What came back, in bytes.
        got: usize,
    },
    /// A frame that answers nothing.
    Unasked,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, frame, kind } = self;
        write!(f, "connection {connection}, frame {frame}: ")?;
        match kind {
            FaultKind::Byte { offset, expected, got } => {
                write!(f, "byte {offset} of the payload is 0x{got:02x}, and 0x{expected:02x} was sent")
            }
            FaultKind::Length { expected, got } => write!(f, "{got} bytes of payload, and {expected} were sent"),
            FaultKind::Unasked => f.write_str("it answers nothing that was sent"),
        }
    }
}

/// What a connection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cohort {
    /// Carries the load.
    Active,
    /// Sends nothing.
    Idle,
    /// Sends a byte a second.
    Drip,
    /// Sends and never reads.
    Deaf,
}

impl Cohort {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Drip => "drip",
            Self::Deaf => "deaf",
        }
    }
}

/// A second of what was measured.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Interval {
    /// When it began, from the beginning of what is measured.
    pub begin: Duration,
    /// How long it is.
    pub length: Duration,
    /// Frames answered.
    pub frames: u64,
    /// Their bytes, in one direction.
    pub bytes: u64,
    /// Connections at its end.
    pub connections: u64,
    /// What went wrong in it.
    pub errors: Errors,
    /// Latencies.
    pub connect: Recorded,
    /// Latencies.
    pub service: Recorded,
    /// Latencies; none in the closed loop.
    pub response: Recorded,
}

/// A run that begins to be measured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Start {
    /// What it is to do; the target is filled in.
    pub plan: Plan,
    /// When what is measured began.
    pub begun: SystemTime,
    /// From the first dial to the last connection.
    pub took: Duration,
    /// Latencies of the connections that were made before.
    pub connect: Recorded,
}

/// What the generator has to say about itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GeneratorSide {
    /// What each thread used.
    pub threads: Vec<ThreadUse>,
    /// Frames that were handed over more than a millisecond after they were due. Only in the open loop.
    pub late: u64,
    /// The longest that a frame was handed over after it was due.
    pub late_max: Duration,
    /// Bytes resident before the first connection and when all were up.
    pub resident: Option<(u64, u64)>,
    /// Times that a connection had to wait for a port.
    pub waits_for_port: u64,
}

/// What one thread used.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ThreadUse {
    /// The share of a processor, from 0 to 1, while it was measured. `None` where the system does not tell.
    pub cpu: Option<f64>,
    /// How long a turn of its loop took, at most, in 99 of 100 cases.
    pub turn_p99: Duration,
    /// The longest turn.
    pub turn_max: Duration,
}

/// What the run's own server says.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ServerSide {
    /// Half of its turns took no longer.
    pub turn_p50: Duration,
    /// 99 of 100 of its turns took no longer.
    pub turn_p99: Duration,
    /// Its longest turn.
    pub turn_max: Duration,
    /// Reads, writes and polls for each frame.
    pub calls_per_frame: f64,
    /// Processor time for each frame. `None` where the system does not tell.
    pub cpu_per_frame: Option<Duration>,
    /// The share of a processor, from 0 to 1.
    pub cpu: Option<f64>,
}

/// How a run is going.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Connections that are up.
    pub up: u64,
    /// Connections asked for.
    pub asked: u64,
    /// Connections that were not made.
    pub not_connected: u64,
    /// Since the stage began.
    pub elapsed: Duration,
    /// Until the stage ends, where that is known.
    pub left: Option<Duration>,
    /// Frames answered since the measuring began.
    pub frames: u64,
    /// What else has gone wrong so far.
    pub errors: u64,
    /// The last whole second.
    pub last: Option<Interval>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Opening the connections.
    #[default]
    Connecting,
    /// Putting load on, not measured.
    WarmingUp,
    /// Measuring.
    Measuring,
    /// Waiting for the last answers, and closing.
    Ending,
}
