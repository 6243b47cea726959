//! A handler's timers, in the order in which they come due.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::handler::TimerId;

/// Timers that are set. Setting and taking away one is O(log n).
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<TimerId>,
    next_number: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant) -> TimerId {
        let timer = TimerId { at, number: self.next_number };
        self.next_number += 1;
        self.set.insert(timer);
        timer
    }

    /// Takes one away. Returns whether it was set.
    pub(crate) fn cancel(&mut self, timer: TimerId) -> bool {
        self.set.remove(&timer)
    }

    /// When the first of them comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.first().map(|timer| timer.at)
    }

    /// The number that the next timer will have: who is set from now on has this one or a higher.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Takes away and returns one that is due at `now` and was set before `number`, the earliest first.
    pub(crate) fn due(&mut self, now: Instant, number: u64) -> Option<TimerId> {
        let due = self.set.iter().take_while(|timer| timer.at <= now).find(|timer| timer.number < number).copied()?;
        self.set.remove(&due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn they_come_due_in_order_of_time_and_then_of_setting() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let set: Vec<TimerId> =
            [3, 1, 2, 1].into_iter().map(|millis| timers.set(now + Duration::from_millis(millis))).collect();
        assert_eq!(timers.next(), Some(now + Duration::from_millis(1)));
        let number = timers.next_number();
        let later = now + Duration::from_millis(2);
        let due: Vec<TimerId> = std::iter::from_fn(|| timers.due(later, number)).collect();
        assert_eq!(due, [set[1], set[3], set[2]]);
        assert_eq!(timers.next(), Some(set[0].at));
    }

    #[test]
    fn one_that_is_taken_away_does_not_come_due() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let (first, second) = (timers.set(now), timers.set(now));
        assert!(timers.cancel(first));
        assert!(!timers.cancel(first));
        assert_eq!(timers.due(now, timers.next_number()), Some(second));
        assert_eq!(timers.due(now, timers.next_number()), None);
    }

    #[test]
    fn one_that_is_set_while_others_come_due_waits_for_the_next_turn() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let first = timers.set(now);
        let number = timers.next_number();
        assert_eq!(timers.due(now, number), Some(first));
        let again = timers.set(now);
        assert_eq!(timers.due(now, number), None);
        assert_eq!(timers.due(now, timers.next_number()), Some(again));
    }
}
