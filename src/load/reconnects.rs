//! Links that are dialed again after their connection was lost: with exponential backoff, a cap and jitter.
//!
//! Rule: the wait doubles with each attempt and begins anew after a response, not after a connection: a server that accepts and closes
//! at once is dialed less and less often too.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::handler::Context;
use crate::id::TimerId;
use crate::load::clock::Clock;
use crate::load::payload::mix;

/// The waits before the first and before the last attempts, in nanoseconds. With jitter, a wait is from half of that to all of it.
const FIRST: u64 = 100_000_000;
const LAST: u64 = 5_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct Reconnects {
    /// Attempts since the last response, by link.
    attempts: HashMap<u32, u32>,
    /// When links are to be dialed again, the earliest first.
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    timer: Option<TimerId>,
}

impl Reconnects {
    /// Lets a link be dialed again. `had_answers`: its last connection has worked.
    pub(crate) fn schedule(&mut self, link: u32, had_answers: bool, now: u64) {
        let attempts = self.attempts.entry(link).or_default();
        if had_answers {
            *attempts = 0;
        }
        self.waiting.push(Reverse((now.saturating_add(wait(link, *attempts)), link)));
        *attempts += 1;
    }

    /// Forgets all links: those that are not open are dialed now.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.attempts.clear();
    }

    /// Whether a link was ever lost, or could not be connected.
    pub(crate) fn has_tried(&self, link: u32) -> bool {
        self.attempts.contains_key(&link)
    }

    /// Takes a link whose wait is over at `now`.
    pub(crate) fn take(&mut self, now: u64) -> Option<u32> {
        let Reverse((due, _)) = self.waiting.peek()?;
        if *due > now {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, link))| link)
    }

    /// Sets a timer for the next link.
    pub(crate) fn arm(&mut self, clock: &Clock, cx: &mut Context<'_>) {
        if let (None, Some(Reverse((due, _)))) = (self.timer, self.waiting.peek()) {
            self.timer = cx.set_timer(clock.instant(*due)).ok();
        }
    }

    /// Handles a timer. Returns whether it was that of the next link.
    pub(crate) fn on_timer(&mut self, timer: TimerId) -> bool {
        let is_own = self.timer == Some(timer);
        if is_own {
            self.timer = None;
        }
        is_own
    }
}

/// How long a link waits before its next attempt, in nanoseconds.
fn wait(link: u32, attempts: u32) -> u64 {
    let longest = FIRST.saturating_mul(1 << attempts.min(16)).min(LAST);
    // Other links and attempts have other waits: a server that returns is not dialed by all at once.
    longest / 2 + mix(u64::from(link) << 32 | u64::from(attempts) | 1 << 31) % (longest / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_differ_between_links() {
        for attempts in 0..20 {
            let longest = (FIRST << attempts.min(16)).min(LAST);
            let waits: Vec<u64> = (0..1_000).map(|link| wait(link, attempts)).collect();
            assert!(waits.iter().all(|wait| (longest / 2..=longest).contains(wait)), "{attempts}");
            let mean = waits.iter().sum::<u64>() / 1_000;
            assert!(mean.abs_diff(longest * 3 / 4) < longest / 20, "{mean} of {longest}");
        }
    }

    #[test]
    fn waits_begin_anew_after_a_response_only() {
        let mut reconnects = Reconnects::default();
        let mut due = |had_answers| {
            reconnects.schedule(7, had_answers, 0);
            let Reverse((due, link)) = reconnects.waiting.peek().copied().unwrap();
            assert_eq!((reconnects.take(due - 1), reconnects.take(due), link), (None, Some(7), 7));
            due
        };
        let waits = [true, false, false, true, false].map(&mut due);
        assert_eq!(waits, [0, 1, 2, 0, 1].map(|attempts| wait(7, attempts)));
    }
}
