//! The phases of a thread's run: connecting, loading, waiting for the last responses, over.
//!
//! Rule: a frame belongs to the result if it was due while the run was measured (open loop), or was in flight then (closed
//! loop, which has no schedule): frames of the warm-up never count.

use crate::handler::Context;
use crate::id::TimerId;
use crate::load::clock::{Clock, nanos};
use crate::load::plan::Plan;

#[derive(Debug)]
pub(crate) struct Phase {
    state: State,
    /// How many loads have ended.
    loads_ended: u64,
    /// Complete intervals of what is measured.
    intervals: usize,
    /// The run is measured from `measure` to before `until`; neither is known while connecting.
    measure: u64,
    until: u64,
    is_open_loop: bool,
    target: Target,
    /// Frames answered in the window that is measured.
    answered: u64,
    last_answer: u64,
    /// How long the last responses are awaited, in nanoseconds.
    grace: u64,
    /// Fires when the phase may have to change.
    timer: Option<TimerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Loading,
    /// No more frames are sent; responses are awaited until `give_up`.
    Ending {
        give_up: u64,
        cause: EndCause,
    },
    Over,
}

/// What ends the load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// This long is measured, in nanoseconds.
    Duration(u64),
    /// So many frames are answered; the run is given up when none is for `stall_timeout` nanoseconds.
    Frames { quota: u64, stall_timeout: u64 },
}

/// Why a thread's load has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// The duration is over, or all frames are answered.
    #[default]
    Planned,
    Interrupted,
    /// No connection was left to put load on.
    AllLost,
    /// Frames were to be answered, and none was for the stall timeout.
    Stalled,
}

/// When a frame was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// It does not belong to the result.
    NotMeasured,
    Measured,
    /// It belongs to the result, and was answered while the last responses were awaited.
    AfterEnd,
}

/// What is due when the phase's timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The interval with this number is complete.
    ReportInterval(usize),
    EndLoad {
        until: u64,
        cause: EndCause,
    },
}

/// How long an interval is, in nanoseconds.
pub(crate) const INTERVAL: u64 = 1_000_000_000;

impl Phase {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            state: State::Connecting,
            loads_ended: 0,
            intervals: 0,
            measure: u64::MAX,
            until: u64::MAX,
            is_open_loop: false,
            target: Target::Duration(0),
            answered: 0,
            last_answer: 0,
            grace: nanos(plan.grace),
            timer: None,
        }
    }

    #[inline]
    pub(crate) fn is_open_loop(&self) -> bool {
        self.is_open_loop
    }

    #[inline]
    pub(crate) fn is_loading(&self) -> bool {
        self.state == State::Loading
    }

    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending { .. } | State::Over)
    }

    pub(crate) fn loads_ended(&self) -> u64 {
        self.loads_ended
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the measuring has begun by `now`.
    pub(crate) fn has_measured(&self, now: u64) -> bool {
        self.measure <= now
    }

    /// How long the run has been measured, in nanoseconds, if it is.
    pub(crate) fn measured_for(&self, now: u64) -> Option<u64> {
        now.checked_sub(self.measure)
    }

    /// The time that is measured.
    pub(crate) fn measured(&self) -> std::ops::Range<u64> {
        self.measure..self.until
    }

    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Whether another frame may be sent, so that no more frames are answered in the end than were asked for.
    #[inline]
    pub(crate) fn may_send(&self, in_flight: u64) -> bool {
        self.is_loading()
            && match self.target {
                Target::Duration(_) => true,
                Target::Frames { quota, .. } => self.answered + in_flight < quota,
            }
    }

    /// Whether all frames are answered that were asked for.
    #[inline]
    pub(crate) fn has_enough(&self) -> bool {
        matches!(self.target, Target::Frames { quota, .. } if quota == self.answered)
    }

    /// Whether a frame that is answered or given up at `now` belongs to the result.
    #[inline]
    pub(crate) fn counts(&self, due: u64, now: u64) -> bool {
        match self.is_open_loop {
            false => self.measure <= now,
            true => self.measure <= due && due < self.until,
        }
    }

    /// A response has come, which need not be the last to its frame.
    pub(crate) fn note_response(&mut self, now: u64) {
        self.last_answer = now;
    }

    /// A frame that was due at `due` was answered.
    #[inline]
    pub(crate) fn on_answer(&mut self, due: u64, now: u64) -> Timing {
        self.last_answer = now;
        if !self.counts(due, now) {
            return Timing::NotMeasured;
        }
        if now >= self.until {
            return Timing::AfterEnd;
        }
        self.answered += 1;
        Timing::Measured
    }

    /// Connections are opened for a load.
    pub(crate) fn connect(&mut self) {
        self.state = State::Connecting;
        (self.measure, self.until) = (u64::MAX, u64::MAX);
    }

    /// Load is put on from `load` on, and measured from `measure` on.
    pub(crate) fn begin(&mut self, load: u64, measure: u64, is_open_loop: bool, target: Target) {
        self.state = State::Loading;
        self.is_open_loop = is_open_loop;
        self.target = target;
        self.measure = measure;
        self.last_answer = load;
        (self.answered, self.intervals) = (0, 0);
        self.until = match target {
            Target::Duration(duration) => measure + duration,
            Target::Frames { .. } => u64::MAX,
        };
    }

    /// Changes the end of the measuring to `until`.
    pub(crate) fn set_until(&mut self, until: u64) {
        self.until = until;
    }

    /// No more frames are sent.
    pub(crate) fn end_load(&mut self, now: u64, cause: EndCause) {
        // A run that was given up has waited long enough.
        let give_up = if cause == EndCause::Stalled { now } else { now.saturating_add(self.grace) };
        self.state = State::Ending { give_up, cause };
        self.loads_ended += 1;
    }

    /// Ends the run if the load has ended and no responses are awaited, or have been for too long. Returns the cause.
    pub(crate) fn end_run(&mut self, is_awaiting: bool, now: u64) -> Option<EndCause> {
        match self.state {
            State::Ending { give_up, cause } if !is_awaiting || now >= give_up => {
                self.state = State::Over;
                Some(cause)
            }
            State::Connecting | State::Loading | State::Ending { .. } | State::Over => None,
        }
    }

    /// Begin and end of what was measured; empty if the measuring had not begun.
    pub(crate) fn window(&self) -> (u64, u64) {
        (self.measure.min(self.until), self.until)
    }

    /// How many intervals are complete.
    pub(crate) fn intervals(&self) -> usize {
        self.intervals
    }

    /// The timer has fired.
    pub(crate) fn on_timer(&mut self, now: u64) -> Option<Due> {
        if !self.is_loading() {
            None
        } else if now >= self.until {
            Some(Due::EndLoad { until: self.until, cause: EndCause::Planned })
        } else if now >= self.stalled_at() {
            Some(Due::EndLoad { until: now, cause: EndCause::Stalled })
        } else if now >= self.interval_end() {
            self.intervals += 1;
            Some(Due::ReportInterval(self.intervals - 1))
        } else {
            None
        }
    }

    /// Sets the timer to when the phase may have to change next.
    pub(crate) fn arm(&mut self, clock: &Clock, cx: &mut Context<'_>) {
        let at = match self.state {
            State::Loading if clock.now() < self.measure => self.measure.min(self.stalled_at()),
            State::Loading => self.interval_end().min(self.until).min(self.stalled_at()),
            State::Ending { give_up, .. } => give_up,
            State::Connecting | State::Over => return,
        };
        self.timer = cx.set_timer(clock.instant(at)).ok();
    }

    pub(crate) fn is_timer(&self, timer: TimerId) -> bool {
        self.timer == Some(timer)
    }

    /// When the interval under way ends.
    fn interval_end(&self) -> u64 {
        self.measure + (self.intervals as u64 + 1) * INTERVAL
    }

    /// When the run is given up if no frame is answered until then.
    fn stalled_at(&self) -> u64 {
        match self.target {
            Target::Frames { stall_timeout, .. } => self.last_answer.saturating_add(stall_timeout),
            Target::Duration(_) => u64::MAX,
        }
    }
}

/// One of `parts` parts of `whole`, the first ones one larger where it does not divide.
pub(crate) fn share_of(whole: u64, parts: u64, nth: u64) -> u64 {
    whole / parts + u64::from(nth < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_frames() {
        assert_eq!((0..3).map(|nth| share_of(11, 3, nth)).collect::<Vec<_>>(), [4, 4, 3]);
    }
}
