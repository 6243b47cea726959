//! What the readiness lint has observed, as the log reports it.

use std::fmt;
use std::time::Duration;

use crate::id::SourceId;
use crate::lint::Lint;

/// A callback that takes longer is slow.
pub(crate) const CALLBACK_MAX: Duration = Duration::from_millis(1);

/// A connection that waits longer behind long runs is starved.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(10);

/// A run that takes longer is long: several times what the budgets of a connection let it move.
pub(crate) const RUN_MAX: Duration = Duration::from_millis(2);

/// So many runs, or reports of room, in a row for nothing are a mistake.
pub(crate) const IDLE_RUNS_MAX: u32 = 100;

/// So many runs in a row that spend the frame budget are a mistake.
pub(crate) const SPENT_RUNS_MAX: u32 = 50;

/// Output that is pending for so long after the peer's FIN is a mistake.
pub(crate) const HALF_CLOSED_MAX: Duration = Duration::from_secs(1);

/// A mistake with what was observed of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Finding {
    SlowCallback { callback: &'static str, took: Duration },
    StarvedNeighbor { waited: Duration, behind: Duration },
    WakeWithoutProgress,
    UnusedWriteInterest { source: Option<SourceId> },
    FrameBudgetSpent { frames: usize },
    StalledHalfClose { unsent: usize },
}

impl Finding {
    pub(crate) fn lint(&self) -> Lint {
        match self {
            Self::SlowCallback { .. } => Lint::SlowCallback,
            Self::StarvedNeighbor { .. } => Lint::StarvedNeighbor,
            Self::WakeWithoutProgress => Lint::WakeWithoutProgress,
            Self::UnusedWriteInterest { .. } => Lint::UnusedWriteInterest,
            Self::FrameBudgetSpent { .. } => Lint::FrameBudgetSpent,
            Self::StalledHalfClose { .. } => Lint::StalledHalfClose,
        }
    }
}

impl fmt::Display for Finding {
    /// Writes the name, what was observed with its limit, and the advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lint = self.lint();
        write!(f, "lint: {}: ", lint.name())?;
        match self {
            Self::SlowCallback { callback, took } => {
                write!(f, "{callback} took {} (limit {})", Millis(*took), Limit(CALLBACK_MAX))
            }
            Self::StarvedNeighbor { waited, behind } => {
                let (waited, behind) = (Millis(*waited), Millis(*behind));
                write!(
                    f,
                    "it waited {waited} (limit {WAIT_MAX:?}), {behind} of it behind runs of more than {RUN_MAX:?}"
                )
            }
            Self::WakeWithoutProgress => write!(f, "{IDLE_RUNS_MAX} runs in a row moved nothing"),
            Self::UnusedWriteInterest { source: None } => {
                write!(f, "{IDLE_RUNS_MAX} writable events in a row with nothing pending")
            }
            Self::UnusedWriteInterest { source: Some(SourceId(number)) } => {
                write!(f, "source {number} was reported writable {IDLE_RUNS_MAX} times in a row and left writable")
            }
            Self::FrameBudgetSpent { frames } => {
                write!(f, "{SPENT_RUNS_MAX} runs in a row delivered {frames} frames each with more to deliver")
            }
            Self::StalledHalfClose { unsent } => {
                write!(f, "{unsent} bytes of output are pending {} after the peer's FIN", Limit(HALF_CLOSED_MAX))
            }
        }?;
        write!(f, ": {}", lint.advice())
    }
}

/// An observed duration, in milliseconds to a tenth.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1_000.0)
    }
}

/// A limit of whole milliseconds.
struct Limit(Duration);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0.as_millis())
    }
}
