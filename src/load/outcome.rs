//! The results of a load run. They count durations in whole nanoseconds, which are serialized without conversion.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::load::fault::Fault;
use crate::load::hold::Held;
use crate::load::plan::Plan;
use crate::load::ramp::RampStage;
use crate::load::recorded::Recorded;

/// Holds the figures of a run. Latencies are in nanoseconds, with three significant digits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The plan of the run, with its target filled in.
    pub plan: Plan,
    /// When the measured time began.
    pub begun: SystemTime,
    /// The length of the measured time.
    pub measured: Duration,
    /// Whether [`Watch::wants_end`](crate::load::Watch::wants_end) ended the run early.
    pub was_interrupted: bool,
    /// Why the run ended itself early; `None` if it did not.
    pub ended_early: Option<String>,
    /// How the connections were established.
    pub connecting: Connecting,
    /// Wrong responses by kind: `length`, `byte`, `prefix`, `pattern` or `unasked`.
    pub wrong: BTreeMap<String, u64>,
    /// Frames with a correct response within the measured time. Frames of the warm-up do not count; in the open loop a
    /// frame counts if it was due within the measured time.
    pub frames: u64,
    /// Frames with a response after the end, while the run waited for the last responses. The latencies include them.
    pub frames_after_end: u64,
    /// Bytes of the frames in [`frames`](Self::frames), in one direction, including headers.
    pub bytes: u64,
    /// Latencies from a dial to the established connection.
    pub connect: Histogram<u64>,
    /// Latencies from sending a frame to its response. A frame without a response counts with the time until it was given up.
    pub service: Histogram<u64>,
    /// Latencies from when a frame was due to its response, likewise. `None` in the closed loop.
    pub response: Option<Histogram<u64>>,
    /// The measured time by second; for a run of more than 600 seconds, in steps of 2, 4, 8, ... seconds. Their latencies are
    /// exact to 1 %, and the longest is exact; [`Watch::on_interval`](crate::load::Watch::on_interval) has all of them.
    pub intervals: Vec<Interval>,
    /// Errors under load.
    pub errors: Errors,
    /// The first wrong responses.
    pub faults: Vec<Fault>,
    /// Connections that the server ended during the load, by reason.
    pub ended: BTreeMap<String, u64>,
    /// The other connections, by cohort.
    pub cohorts: Vec<CohortCounts>,
    /// Responses to frames that had timed out ([`Plan::request_timeout`]). They were not matched to other frames.
    pub late_replies: u64,
    /// With [`Plan::reconnect`], the outages within the measured time: 100 at most for each thread, the last of which takes up the rest.
    pub outages: Vec<Outage>,
    /// The connections by target, in the order of the plan, without slow senders.
    pub targets: Vec<TargetCounts>,
    /// The connections that were held; `None` without [`Plan::hold`].
    pub held: Option<Held>,
    /// Figures of the generator itself.
    pub generator: GeneratorSide,
    /// Figures of the run's own server; `None` if the plan has a target.
    pub server: Option<ServerSide>,
    /// Which limits kept connections from being established, and how to raise them.
    pub causes: Vec<Cause>,
    /// Why the figures are, or may be, limited by the generator and not by the server.
    pub taints: Vec<String>,
}

impl Outcome {
    /// Returns the frames with a response per second of the measured time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.measured.as_secs_f64().max(1e-9)
    }

    /// Returns the latencies that a user of the server sees: `response` in the open loop, `service` in the closed loop.
    #[must_use]
    pub fn latency(&self) -> &Histogram<u64> {
        self.response.as_ref().unwrap_or(&self.service)
    }
}

/// Counts how the connections were established.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Connecting {
    /// Connections to establish, of all cohorts.
    pub asked: u64,
    /// Connections that were established before the load began. Connections that the server ended before their first
    /// response are not included.
    pub up: u64,
    /// Connections that the server ended before their first response.
    pub turned_away: u64,
    /// Failed connect attempts, by the name of the error.
    pub failed: BTreeMap<String, u64>,
    /// From the first dial to the last connection, in nanoseconds.
    pub took_ns: u64,
    /// The same by tenth of the connections, without slow senders. A tenth without connections is left out.
    #[serde(default)]
    pub stages: Vec<RampStage>,
}

impl Connecting {
    /// Adds the counts of another machine. The time becomes the longer one.
    pub fn merge(&mut self, other: Self) {
        self.asked = self.asked.saturating_add(other.asked);
        self.up = self.up.saturating_add(other.up);
        self.turned_away = self.turned_away.saturating_add(other.turned_away);
        for (name, count) in other.failed {
            let sum = self.failed.entry(name).or_default();
            *sum = sum.saturating_add(count);
        }
        self.took_ns = self.took_ns.max(other.took_ns);
        RampStage::merge_all(&mut self.stages, &other.stages);
    }
}

/// Counts the errors under load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Errors {
    /// Connections that were not established.
    pub not_connected: u64,
    /// Responses that differ from the request.
    pub wrong: u64,
    /// Connections that the server ended.
    pub ended: u64,
    /// Frames without a response that were sent or due, apart from those that timed out.
    pub unanswered: u64,
    /// Frames without a response within [`Plan::request_timeout`].
    #[serde(default)]
    pub timed_out: u64,
    /// The longest wait of a frame without a response, in nanoseconds.
    #[serde(default)]
    pub unanswered_wait_max_ns: u64,
}

impl Errors {
    /// Returns the sum of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        let kinds = [self.wrong, self.ended, self.unanswered, self.timed_out];
        kinds.into_iter().fold(self.not_connected, u64::saturating_add)
    }

    /// Adds the errors of another time or machine.
    pub fn add(&mut self, other: &Self) {
        self.not_connected = self.not_connected.saturating_add(other.not_connected);
        self.wrong = self.wrong.saturating_add(other.wrong);
        self.ended = self.ended.saturating_add(other.ended);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
        self.unanswered_wait_max_ns = self.unanswered_wait_max_ns.max(other.unanswered_wait_max_ns);
    }
}

/// Includes the sum, as `total`.
impl Serialize for Errors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut errors = serializer.serialize_struct("Errors", 7)?;
        errors.serialize_field("total", &self.total())?;
        errors.serialize_field("not_connected", &self.not_connected)?;
        errors.serialize_field("wrong", &self.wrong)?;
        errors.serialize_field("ended", &self.ended)?;
        errors.serialize_field("unanswered", &self.unanswered)?;
        errors.serialize_field("timed_out", &self.timed_out)?;
        errors.serialize_field("unanswered_wait_max_ns", &self.unanswered_wait_max_ns)?;
        errors.end()
    }
}

/// Describes a time in which connections of the load were lost and not open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Outage {
    /// When the first connection was lost, from the beginning of the measured time.
    #[serde(rename = "begin_ns", with = "whole_nanos")]
    pub begin: Duration,
    /// Until the last one was open again, or until the end of the measured time.
    #[serde(rename = "length_ns", with = "whole_nanos")]
    pub length: Duration,
    /// Whether each connection was open again by the end of the measured time.
    pub is_over: bool,
    /// Lost connections.
    pub connections: u64,
    /// Frames without a response on them.
    pub frames: u64,
    /// Failed attempts to dial them again.
    pub failed_dials: u64,
}

/// Durations as whole nanoseconds.
mod whole_nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// Counts the connections to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TargetCounts {
    /// The address that is tried first.
    pub address: String,
    /// Connections to establish.
    pub asked: u64,
    /// Connections that were established before the load began, as in [`Connecting::up`].
    pub up: u64,
    /// Errors of its connections.
    pub errors: Errors,
}

impl TargetCounts {
    /// Adds the counts of other targets, or of the same ones on another machine.
    pub fn merge_all(ours: &mut Vec<Self>, theirs: Vec<Self>) {
        for target in theirs {
            match ours.iter_mut().find(|our| our.address == target.address) {
                Some(our) => {
                    our.asked = our.asked.saturating_add(target.asked);
                    our.up = our.up.saturating_add(target.up);
                    our.errors.add(&target.errors);
                }
                None => ours.push(target),
            }
        }
    }
}

/// Names what a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cohort {
    /// Carries the load.
    Active,
    /// Sends nothing.
    Idle,
    /// Sends a byte per second.
    Drip,
    /// Sends and never reads.
    Deaf,
}

impl Cohort {
    /// Returns the name of the cohort, in lower case.
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

/// Counts the connections of a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CohortCounts {
    /// The cohort.
    #[serde(rename = "name")]
    pub cohort: Cohort,
    /// Connections that were established.
    pub up: u64,
    /// Connections that the server ended.
    pub ended: u64,
}

/// Holds the figures of one second of the measured time.
///
/// In [`Outcome::intervals`] of a long run it is 2, 4, 8 or more seconds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Interval {
    /// When it began, from the beginning of the measured time.
    pub begin: Duration,
    /// Its length.
    pub length: Duration,
    /// Frames with a response.
    pub frames: u64,
    /// Bytes of those frames, in one direction, including headers.
    pub bytes: u64,
    /// Connections at its end.
    pub connections: u64,
    /// Errors within it.
    pub errors: Errors,
    /// Connect latencies.
    pub connect: Recorded,
    /// Service latencies.
    pub service: Recorded,
    /// Response latencies; empty in the closed loop.
    pub response: Recorded,
}

/// Describes the beginning of the measured time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Start {
    /// The plan of the run, with its target filled in.
    pub plan: Plan,
    /// When the measured time began.
    pub begun: SystemTime,
    /// From the first dial to the last connection.
    pub took: Duration,
    /// Latencies of the connections that were established before.
    pub connect: Recorded,
}

/// Above this share of a processor a thread reads responses late.
const CPU_FULL: f64 = 0.9;

/// Holds the figures of the generator itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GeneratorSide {
    /// What each thread used.
    pub threads: Vec<ThreadUse>,
    /// Frames that were sent more than a millisecond after they were due. Only in the open loop.
    pub late: u64,
    /// The 99th percentile of the delay between due and sent, in nanoseconds; 0 in the closed loop. Of merged results, the largest.
    #[serde(default)]
    pub late_p99_ns: u64,
    /// The longest delay between due and sent, in nanoseconds.
    pub late_max_ns: u64,
    /// How much the resident memory grew per connection while connecting. `None` with fewer than 1,000 connections, where
    /// other growth prevails.
    pub bytes_per_connection: Option<f64>,
    /// How often a connection had to wait for a free port.
    pub waits_for_port: u64,
}

impl GeneratorSide {
    /// Adds the figures of the generator on another machine. Maxima become the larger ones.
    pub fn merge(&mut self, other: Self) {
        self.threads.extend(other.threads);
        self.late = self.late.saturating_add(other.late);
        self.late_p99_ns = self.late_p99_ns.max(other.late_p99_ns);
        self.late_max_ns = self.late_max_ns.max(other.late_max_ns);
        self.bytes_per_connection =
            self.bytes_per_connection.into_iter().chain(other.bytes_per_connection).reduce(f64::max);
        self.waits_for_port = self.waits_for_port.saturating_add(other.waits_for_port);
    }

    /// Returns the largest share of a processor that a thread used, from 0 to 1; `None` where the system does not report it.
    #[must_use]
    pub fn cpu_max(&self) -> Option<f64> {
        self.threads.iter().filter_map(|thread| thread.cpu).reduce(f64::max)
    }

    /// Returns that share if it is so large, from 0.9 on, that a thread reads responses late.
    #[must_use]
    pub fn cpu_full(&self) -> Option<f64> {
        self.cpu_max().filter(|share| *share >= CPU_FULL)
    }
}

/// Holds the figures of one thread of the generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ThreadUse {
    /// The share of a processor during the measured time, from 0 to 1. `None` where the system does not report it.
    pub cpu: Option<f64>,
    /// The 99th percentile of the length of its loop's turns, in nanoseconds.
    pub turn_p99_ns: u64,
    /// The longest turn, in nanoseconds.
    pub turn_max_ns: u64,
}

/// Holds the figures of the run's own server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerSide {
    /// The median length of a turn, in nanoseconds.
    pub turn_p50_ns: u64,
    /// The 99th percentile, in nanoseconds.
    pub turn_p99_ns: u64,
    /// The longest turn, in nanoseconds.
    pub turn_max_ns: u64,
    /// Reads, writes and polls per frame.
    pub calls_per_frame: f64,
    /// Processor time per frame, in nanoseconds. `None` where the system does not report it.
    pub cpu_per_frame_ns: Option<u64>,
    /// The share of a processor, from 0 to 1.
    pub cpu: Option<f64>,
}

/// Describes a limit that kept connections from being established.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cause {
    /// How many connections it affected.
    pub connections: u64,
    /// The limit.
    pub limit: String,
    /// How to raise it.
    pub lifted_by: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, limit, lifted_by } = self;
        write!(f, "{connections} connections: {limit}; {lifted_by}")
    }
}

/// Reports the progress of a run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Progress {
    /// The current stage.
    pub stage: Stage,
    /// Established connections.
    pub up: u64,
    /// Connections to establish.
    pub asked: u64,
    /// Failed connect attempts.
    pub not_connected: u64,
    /// Time since the stage began.
    pub elapsed: Duration,
    /// Time until the stage ends, where that is known.
    pub left: Option<Duration>,
    /// Frames with a response since the measured time began.
    pub frames: u64,
    /// Frames that were sent since the load began, its warm-up included; updated with each second of the measured time.
    pub sent: u64,
    /// Frames of the measured time that were sent a millisecond or more after they were due. Only in the open loop.
    pub late: u64,
    /// Other errors so far.
    pub errors: u64,
    /// The last complete second.
    pub last: Option<Interval>,
}

/// Names a stage of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Opening the connections.
    #[default]
    Connecting,
    /// Connected, and waiting for the time or for the permission to begin.
    Waiting,
    /// Under load, and not measured.
    WarmingUp,
    /// Under load and measured.
    Measuring,
    /// Waiting for the last responses, and closing.
    Ending,
}

impl Stage {
    /// Returns its name, in lower case: `connecting`, `waiting`, `warming up`, `measuring` or `ending`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::WarmingUp => "warming up",
            Self::Measuring => "measuring",
            Self::Ending => "ending",
        }
    }
}
