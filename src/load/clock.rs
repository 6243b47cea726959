//! The clock that latencies are measured with, and the only place here that reads it.

#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime};

use crate::handler::Connection;
use crate::id::ConnId;

/// Counts nanoseconds from one instant, the same for all threads of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }

    /// When it was started, in nanoseconds since 1970 (UTC).
    pub(crate) fn since_1970(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        nanos(now).saturating_sub(self.now())
    }

    /// The instant that is `nanos` after the start.
    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }
}

/// When frames arrived. The frames that a connection reads in one turn share a reading of the clock.
#[derive(Debug)]
pub(crate) struct Arrivals {
    clock: Clock,
    turn: Option<(ConnId, Instant)>,
    uses: u32,
    nanos: u64,
}

/// So many frames share a reading of the clock at most.
const USES_MAX: u32 = 64;

impl Arrivals {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, turn: None, uses: 0, nanos: 0 }
    }

    /// When the frame that `conn` delivers arrived.
    #[inline]
    pub(crate) fn time(&mut self, conn: &Connection<'_>) -> u64 {
        let turn = Some((conn.id(), conn.now()));
        if self.turn != turn || self.uses == USES_MAX {
            (self.turn, self.uses, self.nanos) = (turn, 0, self.clock.now());
        }
        self.uses += 1;
        self.nanos
    }
}

/// The time of day.
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// Nanoseconds, up to 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
