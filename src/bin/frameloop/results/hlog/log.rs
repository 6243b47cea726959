//! The content of a log.

use std::time::{Duration, SystemTime};

use frameloop::load::{Errors, Recorded};
use serde::{Deserialize, Serialize};

use crate::results::facts::Facts;
use crate::results::model::Series;
use crate::results::steps::{Dimension, Highest, StepFigures};

/// A log that was read, or a run or a step of it.
#[derive(Debug, Clone, Default)]
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
    /// Which run or step this is, if it is a part of a log.
    pub(crate) mark: Option<PartMark>,
    /// The runs or steps, which then have the entries.
    pub(crate) parts: Vec<Self>,
    /// The figures of the steps, and what a search has found.
    pub(crate) steps: Vec<StepFigures>,
    pub(crate) search: Option<Highest>,
}

impl Log {
    /// The entries of all runs.
    pub(crate) fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().chain(self.parts.iter().flat_map(|part| &part.entries))
    }
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

/// The comment with which a run of several begins, or a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartMark {
    pub(crate) kind: PartKind,
    /// From 1 on.
    pub(crate) number: u32,
    /// How many there are to be; `None` if that is not known before the end.
    pub(crate) asked: Option<u32>,
    /// What a step is.
    pub(crate) step: Option<StepMark>,
}

/// What a log has several of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartKind {
    Run,
    Step,
}

impl PartKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Step => "step",
        }
    }
}

/// The load of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepMark {
    pub(crate) of: Dimension,
    pub(crate) load: f64,
}

/// The end of a log of several runs or steps: what is known of all of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Total {
    pub(crate) facts: Facts,
    pub(crate) steps: Vec<StepFigures>,
    pub(crate) search: Option<Highest>,
}

/// The generator that writes a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// How our own comments begin, behind their `#`; JSON follows, and a bracket. They hold the generator's name, the facts of a run when it
/// begins, an interval whose lines follow, the measured time, the facts of the run at its end, and the stage of a run that has no interval
/// to report. Several runs, or steps, each begin with their number, and what is known of all of them is at the end. In a marked log, the name
/// of the generator is in each of them (`mark.rs`).
pub(crate) const INSTANCE_BEGIN: &str = "[frameloop instance: ";
pub(super) const FIRST_FACTS_BEGIN: &str = "[frameloop begin: ";
pub(super) const INTERVAL_BEGIN: &str = "[frameloop interval: ";
pub(super) const WINDOW_BEGIN: &str = "[frameloop window: ";
pub(super) const FACTS_BEGIN: &str = "[frameloop: ";
pub(super) const PART_BEGIN: &str = "[frameloop part: ";
pub(super) const TOTAL_BEGIN: &str = "[frameloop total: ";
pub(crate) const STAGE_BEGIN: &str = "[frameloop stage: ";
