//! The pacer of the open loop: when frames are due, evenly spaced over all connections of all threads together.

use std::io;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::handler::Context;
use crate::load::clock::{Clock, nanos};
use crate::load::counts::record;
use crate::load::hold::Hold;
use crate::load::plan::Plan;
use crate::load::recorded::histogram;
use crate::load::wakeup::Wakeup;

/// Frames that are sent at least so many nanoseconds after they were due are late.
const LATE_NANOS: u64 = 1_000_000;

/// A thread's pacer. In the closed loop it has no schedule and does nothing.
#[derive(Debug)]
pub(crate) struct Pacer {
    schedule: Option<Schedule>,
    wakeup: Wakeup,
    /// A frame was sent or answered since the reactor was last woken.
    is_busy: bool,
    /// Frames that were due before had to wait for a connection.
    held_until: u64,
    lateness: Histogram<u64>,
}

impl Pacer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { schedule: None, wakeup: Wakeup::new()?, is_busy: false, held_until: 0, lateness: histogram() })
    }

    /// Begins with a schedule, or with none in the closed loop.
    pub(crate) fn start(&mut self, schedule: Option<Schedule>) {
        self.schedule = schedule;
        self.lateness.reset();
    }

    /// The wakeup, which the reactor has to watch.
    pub(crate) fn wakeup(&self) -> &Wakeup {
        &self.wakeup
    }

    /// Takes the next frame if it is due at `now` and was due before the end of what is `measured`. Returns when it was due.
    pub(crate) fn take(&mut self, now: u64, measured: &Range<u64>) -> Option<u64> {
        let schedule = self.schedule.as_mut().filter(|schedule| schedule.due() < measured.end)?;
        let due = schedule.take(now)?;
        // A wait for a connection is not the generator's delay.
        if due >= measured.start && !self.was_held(due) {
            record(&mut self.lateness, now - due);
        }
        self.is_busy = true;
        Some(due)
    }

    /// No connection was open until `now`: frames that were due before had to wait for one.
    pub(crate) fn hold_until(&mut self, now: u64) {
        self.held_until = now;
    }

    /// Whether a frame had to wait for a connection.
    pub(crate) fn was_held(&self, due: u64) -> bool {
        due < self.held_until
    }

    #[inline]
    pub(crate) fn on_answer(&mut self) {
        self.is_busy = true;
    }

    /// Lets the reactor wake up for the next frame that is due before `until`.
    ///
    /// A busy loop checks in its next turn, which does not sleep: a timer that interrupts it would cost as much as a
    /// frame. An idle one is woken by a timer.
    pub(crate) fn rearm(&mut self, until: u64, clock: &Clock, cx: &mut Context<'_>) {
        let Some(due) = self.schedule.as_ref().map(Schedule::due).filter(|due| *due < until) else { return };
        if std::mem::take(&mut self.is_busy) {
            let _ = cx.set_timer(cx.now());
        } else {
            self.wakeup.set(Duration::from_nanos(due.saturating_sub(clock.now())), cx);
        }
    }

    /// How many measured frames were passed to a connection a millisecond or more after they were due.
    pub(crate) fn late(&self) -> u64 {
        self.lateness.count_between(LATE_NANOS, u64::MAX)
    }

    /// From when measured frames were due to when they were passed to a connection, in nanoseconds.
    pub(crate) fn lateness(&self) -> &Histogram<u64> {
        &self.lateness
    }
}

/// One thread's share of a schedule. With n threads, each takes every n-th frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    begin: u64,
    /// So many frames are due in each `period` of nanoseconds, evenly spread.
    frames: f64,
    period: f64,
    /// The number of the next frame, and from one of this thread to the next.
    next: f64,
    stride: f64,
}

impl Schedule {
    /// The schedule of a thread with so many active links, if there is a rate, or the plan has one. The load begins at `load`.
    pub(crate) fn of(plan: &Plan, rate: Option<f64>, thread: usize, links: usize, load: u64) -> Option<Self> {
        match (rate, plan.hold.and_then(Hold::every)) {
            (Some(rate), _) => Some(Self::new(rate, plan.threads, thread, load + plan.segment.offset(rate))),
            (None, Some(every)) => {
                let place = (thread as f64 + plan.segment.place()) / plan.threads as f64;
                Some(Self::of_links(every, links, place, load))
            }
            (None, None) => None,
        }
    }

    /// Each of `links` has a frame per interval, evenly spread, the first one `place` of the time between two frames after `begin`.
    ///
    /// Rule: the interval of a link is exact, however the links divide among threads and segments.
    fn of_links(every: Duration, links: usize, place: f64, begin: u64) -> Self {
        Self { begin, frames: links.max(1) as f64, period: nanos(every) as f64, next: place, stride: 1.0 }
    }

    /// `rate` frames per second in all, from `begin` on.
    pub(crate) fn new(rate: f64, threads: usize, thread: usize, begin: u64) -> Self {
        Self { begin, frames: rate, period: 1e9, next: thread as f64, stride: threads as f64 }
    }

    /// When the next frame is due.
    fn due(&self) -> u64 {
        // Computed from its number, not from the previous frame: rounding errors do not add up.
        self.begin + (self.next * self.period / self.frames) as u64
    }

    /// Takes the next frame if it is due at `now`. Returns when it was due.
    #[inline]
    fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.next += self.stride;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_schedule_evenly() {
        let mut all: Vec<u64> = (0..3)
            .flat_map(|thread| {
                let mut schedule = Schedule::new(1e6, 3, thread, 5_000);
                std::iter::from_fn(move || schedule.take(104_999)).collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (5..105).map(|micros| micros * 1_000).collect::<Vec<u64>>());
    }

    #[test]
    fn each_held_link_has_one_frame_per_interval() {
        let hold = Some(Hold::Every(Duration::from_millis(10)));
        let plan = Plan { connections: 7, threads: 3, hold, ..Plan::default() };
        let mut firsts = Vec::new();
        for (thread, links) in [(0, 3), (1, 2), (2, 2)] {
            let mut schedule = Schedule::of(&plan, None, thread, links, 500).unwrap();
            let all: Vec<u64> = std::iter::from_fn(|| schedule.take(40_000_500)).collect();
            for link in 0..links {
                let of_link: Vec<u64> = all.iter().skip(link).step_by(links).copied().collect();
                assert!(of_link.len() >= 4, "{all:?}");
                assert!(of_link.windows(2).all(|two| two[1].abs_diff(two[0] + 10_000_000) <= 1), "{of_link:?}");
            }
            firsts.push(all[0]);
        }
        assert_eq!(firsts, [500, 500 + 5_000_000 / 3, 500 + 2 * 5_000_000 / 3]);
        assert!(Schedule::of(&Plan { hold: Some(Hold::Silent), ..plan }, None, 0, 3, 500).is_none());
    }

    #[test]
    fn a_schedule_does_not_drift() {
        let mut schedule = Schedule::new(3.0, 1, 0, 0);
        schedule.next = 3.0 * 86_400.0;
        assert_eq!(schedule.due(), 86_400 * 1_000_000_000);
    }

    #[test]
    fn what_was_missed_is_still_due() {
        let mut schedule = Schedule::new(1_000.0, 1, 0, 0);
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take(3_500_000)).collect();
        assert_eq!(taken, [0, 1_000_000, 2_000_000, 3_000_000]);
    }
}
