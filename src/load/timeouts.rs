//! The deadlines of requests.
//!
//! A link has one entry at most, of what it waited for when the entry was made. So a request costs nothing here, unless it is the
//! first that a link waits for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::load::clock::nanos;
use crate::load::link::Link;

#[derive(Debug)]
pub(crate) struct Timeouts {
    timeout: u64,
    /// Times and links, the earliest first.
    deadlines: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Timeouts {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout: nanos(timeout), deadlines: BinaryHeap::new() }
    }

    /// Lets a link have an entry, if it waits for something.
    #[inline]
    pub(crate) fn watch(&mut self, index: usize, link: &mut Link) {
        if !link.is_timed
            && let Some(since) = link.waits_since()
        {
            link.is_timed = true;
            self.deadlines.push(Reverse((since.saturating_add(self.timeout), index as u32)));
        }
    }

    /// The next time at which a request may expire: none that is sent from `now` on does so before.
    pub(crate) fn next(&self, now: u64) -> u64 {
        let latest = now.saturating_add(self.timeout);
        self.deadlines.peek().map_or(latest, |Reverse((deadline, _))| latest.min(*deadline))
    }

    /// Takes an entry whose time has passed by `now`. Returns its link, and since when a request must have waited to expire.
    pub(crate) fn take(&mut self, now: u64) -> Option<(usize, u64)> {
        let Reverse((deadline, _)) = self.deadlines.peek()?;
        let since = now.checked_sub(self.timeout).filter(|_| *deadline <= now)?;
        let Reverse((_, index)) = self.deadlines.pop()?;
        Some((index as usize, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::link::Stamp;
    use crate::load::outcome::Cohort;

    #[test]
    fn link_has_one_entry_of_its_oldest_request() {
        let mut timeouts = Timeouts::new(Duration::from_nanos(100));
        let mut links = [0, 1].map(|number| Link::new(number, Cohort::Active));
        assert_eq!((timeouts.next(7), timeouts.take(1_000)), (107, None));
        for (index, at) in [(0, 10), (1, 20), (0, 30)] {
            links[index].push(Stamp::sent_at(at));
            timeouts.watch(index, &mut links[index]);
        }
        assert_eq!((timeouts.next(50), timeouts.take(109)), (110, None));
        assert_eq!((timeouts.take(115), timeouts.take(115)), (Some((0, 15)), None));
        links[0].is_timed = false;
        assert_eq!(links[0].take_overdue(15), [Stamp::sent_at(10)]);
        timeouts.watch(0, &mut links[0]);
        assert_eq!(
            [timeouts.take(200), timeouts.take(200), timeouts.take(200)],
            [Some((1, 100)), Some((0, 100)), None]
        );
    }
}
