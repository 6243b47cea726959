//! The content of a log.

use std::time::{Duration, SystemTime};

use frameloop::load::{Errors, Recorded};
use serde::{Deserialize, Serialize};

use crate::results::facts::Facts;
use crate::results::model::Series;

/// A log that was read.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The file's name.
    pub(crate) name: String,
    /// The generator that wrote it, if the log names it.
    pub(crate) instance: Option<String>,
    /// `None` if another program wrote it.
    pub(crate) facts: Option<Facts>,
    /// The measured time, if the run ended.
    pub(crate) window: Option<Window>,
    pub(crate) entries: Vec<Entry>,
    /// Which intervals were left out, in words.
    pub(crate) skipped: Option<String>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) series: Series,
    pub(crate) begin: SystemTime,
    pub(crate) length: Duration,
    pub(crate) latencies: Recorded,
    /// With the service latencies only.
    pub(crate) counts: Option<Counts>,
}

/// An interval to the nanosecond, as its lines have milliseconds only, and what was counted in it besides its latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) begin_ns: u64,
    pub(crate) length_ns: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) connections: u64,
    pub(crate) errors: Errors,
}

/// The measured time of a run, and its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) begun_ns: u64,
    pub(crate) measured_ns: u64,
    pub(crate) frames: u64,
}

/// The generator that writes a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// How our own comments begin, behind their `#`; JSON follows, and a bracket. They hold the generator's name, the facts of a run when it
/// begins, an interval whose lines follow, the measured time, the facts of the run at its end, and the stage of a run that has no interval
/// to report. In a marked log, the name of the generator is in each of them (`mark.rs`).
pub(crate) const INSTANCE_BEGIN: &str = "[frameloop instance: ";
pub(super) const FIRST_FACTS_BEGIN: &str = "[frameloop begin: ";
pub(super) const INTERVAL_BEGIN: &str = "[frameloop interval: ";
pub(super) const WINDOW_BEGIN: &str = "[frameloop window: ";
pub(super) const FACTS_BEGIN: &str = "[frameloop: ";
pub(crate) const STAGE_BEGIN: &str = "[frameloop stage: ";
