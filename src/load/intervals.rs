//! The intervals of a run: merged from those of its threads, summed up, reported, and kept in bounded memory.
//!
//! Rule: what a run keeps does not grow with its length. An interval is reported when it is complete; at most [`KEPT_MAX`]
//! are kept, and beyond that two neighbors become one.

use std::collections::VecDeque;

use crate::load::counts::Counts;
use crate::load::outcome::Interval;

/// The most intervals that are kept: as many as a plot has columns.
const KEPT_MAX: usize = 600;

/// Intervals in their order.
#[derive(Debug)]
pub(crate) struct Intervals {
    /// Those that some thread has not reported yet.
    open: VecDeque<Interval>,
    /// How many intervals each thread has reported, and whether there will be more.
    reported: Vec<(usize, bool)>,
    /// How many are complete.
    complete: usize,
    /// The sum of all complete intervals.
    pub(crate) total: Counts,
    pub(crate) kept: Timeline,
}

/// Intervals of a run, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    intervals: Vec<Interval>,
    /// How many seconds each of them spans (a power of two), and how many the last one has so far.
    together: usize,
    in_last: usize,
}

impl Intervals {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            open: VecDeque::new(),
            reported: vec![(0, false); threads],
            complete: 0,
            total: Counts::default(),
            kept: Timeline::default(),
        }
    }

    /// A thread has reported its next interval. Returns the sum of what was reported of that interval so far.
    pub(crate) fn add(&mut self, thread: usize, interval: &Interval) -> Option<&Interval> {
        let (reported, _) = &mut self.reported[thread];
        let at = reported.checked_sub(self.complete)?;
        *reported += 1;
        if self.open.len() <= at {
            self.open.resize_with(at + 1, Interval::default);
        }
        let merged = &mut self.open[at];
        merged.begin = interval.begin;
        merge(merged, interval);
        Some(merged)
    }

    /// A thread has reported its last interval.
    pub(crate) fn end_of(&mut self, thread: usize) {
        self.reported[thread].1 = true;
    }

    /// Takes the next interval that all threads have reported.
    pub(crate) fn take_complete(&mut self) -> Option<Interval> {
        let next = self.complete;
        if !self.reported.iter().all(|(reported, is_over)| *is_over || *reported > next) {
            return None;
        }
        let interval = self.open.pop_front()?;
        self.complete += 1;
        self.total.add(&interval);
        self.kept.push(&interval);
        Some(interval)
    }
}

impl Timeline {
    pub(crate) fn push(&mut self, interval: &Interval) {
        let reduced = Interval {
            connect: interval.connect.reduced(),
            service: interval.service.reduced(),
            response: interval.response.reduced(),
            ..interval.clone()
        };
        self.together = self.together.max(1);
        if let Some(last) = self.intervals.last_mut().filter(|_| self.in_last < self.together) {
            append(last, &reduced);
            self.in_last += 1;
            return;
        }
        if self.intervals.len() == KEPT_MAX {
            let pairs = self.intervals.chunks(2).map(|pair| {
                let mut first = pair[0].clone();
                pair[1..].iter().for_each(|second| append(&mut first, second));
                first
            });
            self.intervals = pairs.collect();
            self.together *= 2;
        }
        self.intervals.push(reduced);
        self.in_last = 1;
    }

    pub(crate) fn into_vec(self) -> Vec<Interval> {
        self.intervals
    }
}

/// Adds the same interval of another thread.
fn merge(to: &mut Interval, other: &Interval) {
    to.length = to.length.max(other.length);
    to.connections += other.connections;
    add(to, other);
}

/// Adds the interval that follows.
fn append(to: &mut Interval, next: &Interval) {
    to.length += next.length;
    to.connections = next.connections;
    add(to, next);
    for latencies in [&mut to.connect, &mut to.service, &mut to.response] {
        *latencies = latencies.reduced();
    }
}

fn add(to: &mut Interval, other: &Interval) {
    to.frames += other.frames;
    to.bytes += other.bytes;
    to.errors.add(&other.errors);
    to.connect.merge(&other.connect);
    to.service.merge(&other.service);
    to.response.merge(&other.response);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::counts::record;

    fn interval(number: u64, frames: u64) -> Interval {
        let mut counts = Counts { frames, ..Counts::default() };
        // Each has other latencies: nothing but the reduction bounds what is kept.
        (0..frames).for_each(|frame| record(&mut counts.service, 50_000 + 7_919 * frame + 13 * number));
        counts.take(Duration::from_secs(number), Duration::from_secs(1), 5)
    }

    #[test]
    fn interval_is_complete_when_all_threads_have_reported_it() {
        let mut intervals = Intervals::new(2);
        intervals.add(0, &interval(0, 10));
        intervals.add(0, &interval(1, 20));
        assert!(intervals.take_complete().is_none());
        intervals.add(1, &interval(0, 1));
        assert_eq!(intervals.take_complete().map(|interval| interval.frames), Some(11));
        assert!(intervals.take_complete().is_none());
        intervals.end_of(1);
        intervals.add(0, &interval(2, 30));
        let rest: Vec<_> = std::iter::from_fn(|| intervals.take_complete()).map(|interval| interval.begin).collect();
        assert_eq!(rest, [1, 2].map(Duration::from_secs));
        assert_eq!((intervals.total.frames, intervals.total.service.len()), (61, 61));
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_length_of_the_run() {
        let heap = |seconds: u64| {
            let mut timeline = Timeline::default();
            let all: Vec<Interval> = (0..8).map(|number| interval(number, 300)).collect();
            let used = allocation_counter::measure(|| {
                for number in 0..seconds {
                    timeline.push(&all[number as usize % all.len()]);
                }
            });
            let kept = timeline.into_vec();
            assert!(kept.len() <= KEPT_MAX, "{}", kept.len());
            assert_eq!(kept.iter().map(|interval| interval.frames).sum::<u64>(), 300 * seconds);
            assert_eq!(kept.iter().map(|interval| interval.length).sum::<Duration>(), Duration::from_secs(seconds));
            u64::try_from(used.bytes_current).unwrap()
        };
        let (ten_minutes, longer) = (heap(600), heap(2_000));
        assert!(ten_minutes < 4 << 20, "{ten_minutes} bytes");
        assert!(longer <= ten_minutes + ten_minutes / 2, "{longer} bytes after {ten_minutes}");
    }
}
