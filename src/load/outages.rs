//! Outages of a thread's connections: from the first loss until each lost connection is open again.
//!
//! Rule: what a run keeps does not grow with its length. Beyond `OUTAGES_MAX`, the last one takes up the others.

use std::ops::Range;
use std::time::Duration;

use crate::load::outcome::Outage;

const OUTAGES_MAX: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Outages {
    all: Vec<Seen>,
    /// Connections that are lost and not open again.
    down: u64,
}

/// An outage, in nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy)]
struct Seen {
    begin: u64,
    /// `None` while it lasts.
    end: Option<u64>,
    connections: u64,
    frames: u64,
    failed_dials: u64,
}

impl Outages {
    /// A connection was lost, with so many frames without a response.
    pub(crate) fn on_lost(&mut self, frames: u64, now: u64) {
        let seen = self.current(now);
        seen.connections += 1;
        seen.frames += frames;
        self.down += 1;
    }

    /// An attempt to dial a lost connection again has failed.
    pub(crate) fn on_dial_failed(&mut self, now: u64) {
        self.current(now).failed_dials += 1;
    }

    /// A lost connection is open again.
    pub(crate) fn on_restored(&mut self, now: u64) {
        self.down = self.down.saturating_sub(1);
        if self.down == 0 {
            self.end(now);
        }
    }

    /// The lost connections are dialed for another load, or are no part of it.
    pub(crate) fn end(&mut self, now: u64) {
        self.down = 0;
        if let Some(last) = self.all.last_mut().filter(|last| last.end.is_none()) {
            last.end = Some(now);
        }
    }

    /// The outage that lasts, or a new one.
    fn current(&mut self, now: u64) -> &mut Seen {
        let is_new = self.all.last().is_none_or(|last| last.end.is_some()) && self.all.len() < OUTAGES_MAX;
        if is_new {
            self.all.push(Seen { begin: now, end: None, connections: 0, frames: 0, failed_dials: 0 });
        }
        let last = self.all.len() - 1;
        let seen = &mut self.all[last];
        seen.end = None;
        seen
    }

    /// Takes the outages within the measured time. One that lasts beyond its end remains for the time that follows.
    pub(crate) fn take(&mut self, measured: &Range<u64>) -> Vec<Outage> {
        let all = std::mem::take(&mut self.all);
        let taken = all.iter().filter_map(|seen| seen.within(measured)).collect();
        if let Some(last) = all.last().filter(|last| last.end.is_none()) {
            self.all.push(Seen {
                begin: measured.end.max(last.begin),
                connections: 0,
                frames: 0,
                failed_dials: 0,
                ..*last
            });
        }
        taken
    }
}

impl Seen {
    fn within(&self, measured: &Range<u64>) -> Option<Outage> {
        let (begin, end) = (self.begin.max(measured.start), self.end.unwrap_or(u64::MAX).min(measured.end));
        (begin < end).then(|| Outage {
            begin: Duration::from_nanos(begin - measured.start),
            length: Duration::from_nanos(end - begin),
            is_over: self.end.is_some_and(|end| end <= measured.end),
            connections: self.connections,
            frames: self.frames,
            failed_dials: self.failed_dials,
        })
    }
}

impl Outage {
    /// Returns the outages of several threads or machines: those that overlap become one.
    #[must_use]
    pub fn joined(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_unstable_by_key(|outage| outage.begin);
        all.dedup_by(|next, outage| {
            let (end, next_end) = (outage.begin + outage.length, next.begin + next.length);
            let overlaps = next.begin <= end;
            if overlaps {
                outage.length = end.max(next_end) - outage.begin;
                outage.is_over &= next.is_over;
                outage.connections = outage.connections.saturating_add(next.connections);
                outage.frames = outage.frames.saturating_add(next.frames);
                outage.failed_dials = outage.failed_dials.saturating_add(next.failed_dials);
            }
            overlaps
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(outages: &[Outage]) -> Vec<(u128, u128, bool, u64, u64, u64)> {
        let row = |outage: &Outage| {
            let (begin, length) = (outage.begin.as_nanos(), outage.length.as_nanos());
            (begin, length, outage.is_over, outage.connections, outage.frames, outage.failed_dials)
        };
        outages.iter().map(row).collect()
    }

    #[test]
    fn outage_lasts_until_each_lost_connection_is_open_again() {
        let mut outages = Outages::default();
        outages.on_lost(3, 110);
        outages.on_lost(1, 120);
        outages.on_restored(130);
        outages.on_dial_failed(140);
        outages.on_restored(150);
        outages.on_lost(0, 170);
        assert_eq!(shown(&outages.take(&(100..200))), [(10, 40, true, 2, 4, 1), (70, 30, false, 1, 0, 0)]);
        outages.on_restored(250);
        assert_eq!(shown(&outages.take(&(220..300))), [(0, 30, true, 0, 0, 0)]);
        assert_eq!(outages.take(&(220..300)), []);
    }

    #[test]
    fn outage_ends_with_its_load() {
        let mut outages = Outages::default();
        (0..2).for_each(|_| outages.on_lost(1, 110));
        assert_eq!(shown(&outages.take(&(100..200))), [(10, 90, false, 2, 2, 0)]);
        outages.end(230);
        outages.on_lost(0, 260);
        outages.on_restored(270);
        assert_eq!(shown(&outages.take(&(250..300))), [(10, 10, true, 1, 0, 0)]);
    }

    #[test]
    fn outage_outside_the_measured_time_is_no_part_of_the_result() {
        let mut outages = Outages::default();
        for (lost, restored) in [(10, 20), (90, 110), (205, 210)] {
            outages.on_lost(1, lost);
            outages.on_restored(restored);
        }
        assert_eq!(shown(&outages.take(&(100..200))), [(0, 10, true, 1, 1, 0)]);
    }

    #[test]
    fn outages_beyond_the_most_become_one() {
        let mut outages = Outages::default();
        for at in 0..1_000 {
            outages.on_lost(1, 10 * at);
            outages.on_restored(10 * at + 5);
        }
        let all = outages.take(&(0..u64::MAX));
        assert_eq!((all.len(), all.iter().map(|outage| outage.frames).sum::<u64>()), (OUTAGES_MAX, 1_000));
        assert_eq!(shown(&all)[OUTAGES_MAX - 1], (990, 9_995 - 990, true, 901, 901, 0));
    }

    #[test]
    fn outages_of_threads_that_overlap_become_one() {
        let outage = |begin, length| Outage {
            begin: Duration::from_nanos(begin),
            length: Duration::from_nanos(length),
            is_over: begin < 50,
            connections: 1,
            frames: 2,
            failed_dials: 3,
        };
        let all = Outage::joined(vec![outage(60, 10), outage(10, 20), outage(65, 2), outage(25, 10)]);
        assert_eq!(shown(&all), [(10, 25, true, 2, 4, 6), (60, 10, false, 2, 4, 6)]);
    }
}
