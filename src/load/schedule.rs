//! When frames are due in the open loop: evenly, for all connections of all threads together.

/// One thread's share of a schedule. Of `threads` threads, each takes every so manyeth frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    begin: u64,
    /// Nanoseconds between two frames of this thread.
    step: f64,
    offset: f64,
    next: u64,
}

impl Schedule {
    /// `rate` frames a second in all, from `begin` on.
    pub(crate) fn new(rate: f64, threads: usize, thread: usize, begin: u64) -> Self {
        let apart = 1e9 / rate;
        Self { begin, step: apart * threads as f64, offset: apart * thread as f64, next: 0 }
    }

    /// When the next frame is due.
    pub(crate) fn due(&self) -> u64 {
        // From its number, not from the one before: errors of rounding do not add up.
        self.begin + (self.offset + self.step * self.next as f64) as u64
    }

    /// Takes the next frame if it is due at `now`, and tells when it was due.
    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.next += 1;
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
    fn a_schedule_does_not_drift() {
        let mut schedule = Schedule::new(3.0, 1, 0, 0);
        schedule.next = 3 * 86_400;
        assert_eq!(schedule.due(), 86_400 * 1_000_000_000);
    }

    #[test]
    fn what_was_missed_is_still_due() {
        let mut schedule = Schedule::new(1_000.0, 1, 0, 0);
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.take(3_500_000)).collect();
        assert_eq!(taken, [0, 1_000_000, 2_000_000, 3_000_000]);
    }
}
