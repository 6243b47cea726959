//! A handler's timers, in the order in which they fire.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::id::TimerId;

/// The timers that are set.
///
/// Rule: setting, canceling and firing a timer is O(log n), whatever the others are set for. A timer in the past counts as set
/// for now: it fires in the next turn, after those that are due already.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<TimerId>,
    /// The timers that fire in this turn, apart from those that are set meanwhile.
    firing: BTreeSet<TimerId>,
    next_number: u64,
}

impl Timers {
    pub(crate) fn len(&self) -> usize {
        self.set.len() + self.firing.len()
    }

    pub(crate) fn set(&mut self, at: Instant) -> TimerId {
        let timer = TimerId { at, number: self.next_number };
        self.next_number += 1;
        self.set.insert(timer);
        timer
    }

    /// Removes a timer. Returns whether it was set.
    pub(crate) fn cancel(&mut self, timer: TimerId) -> bool {
        self.set.remove(&timer) || self.firing.remove(&timer)
    }

    /// The instant at which the first timer fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.firing.first().or(self.set.first()).map(|timer| timer.at)
    }

    /// Whether a timer is due at `now` that does not fire in this turn yet.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.set.first().is_some_and(|first| first.at <= now)
    }

    /// Lets the earliest timer that is due at `now` fire in this turn. Returns whether there was one.
    pub(crate) fn note_due(&mut self, now: Instant) -> bool {
        self.is_due(now) && self.set.pop_first().is_some_and(|first| self.firing.insert(first))
    }

    /// Removes and returns the earliest timer that fires in this turn.
    pub(crate) fn next_firing(&mut self) -> Option<TimerId> {
        self.firing.pop_first()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fired(timers: &mut Timers, now: Instant) -> Vec<TimerId> {
        while timers.note_due(now) {}
        std::iter::from_fn(|| timers.next_firing()).collect()
    }

    #[test]
    fn they_come_due_in_order_of_time_and_then_of_setting() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let set: Vec<TimerId> =
            [3, 1, 2, 1].into_iter().map(|millis| timers.set(now + Duration::from_millis(millis))).collect();
        assert_eq!(timers.next(), Some(now + Duration::from_millis(1)));
        let later = now + Duration::from_millis(2);
        assert_eq!(fired(&mut timers, later), [set[1], set[3], set[2]]);
        assert_eq!((timers.next(), timers.len()), (Some(set[0].at), 1));
    }

    #[test]
    fn one_that_is_taken_away_does_not_come_due() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let (first, second, third) = (timers.set(now), timers.set(now), timers.set(now));
        assert!(timers.cancel(first));
        assert!(!timers.cancel(first));
        assert!(timers.note_due(now) && timers.note_due(now) && !timers.note_due(now));
        assert!(timers.cancel(second), "also while it waits for its turn to fire");
        assert_eq!(timers.next_firing(), Some(third));
        assert_eq!((timers.next_firing(), timers.len()), (None, 0));
    }

    #[test]
    fn one_that_is_set_while_others_fire_waits_for_the_next_turn() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let first = timers.set(now);
        assert!(timers.note_due(now) && !timers.note_due(now));
        assert_eq!(timers.next_firing(), Some(first));
        let again = timers.set(now);
        assert_eq!(timers.next_firing(), None);
        assert_eq!(fired(&mut timers, now), [again]);
    }
}
