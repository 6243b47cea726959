//! What one thread counts, second by second.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::outcome::{Errors, Interval};
use crate::load::recorded::Recorded;

/// What was counted since it was last taken.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: Errors,
    pub(crate) connect: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
    pub(crate) response: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            frames: 0,
            bytes: 0,
            errors: Errors::default(),
            connect: histogram(),
            service: histogram(),
            response: histogram(),
        }
    }

    /// Takes what was counted, as the interval from `begin` on.
    pub(crate) fn take(&mut self, begin: Duration, length: Duration, connections: u64) -> Interval {
        let interval = Interval {
            begin,
            length,
            frames: std::mem::take(&mut self.frames),
            bytes: std::mem::take(&mut self.bytes),
            connections,
            errors: std::mem::take(&mut self.errors),
            connect: Recorded::of(&self.connect),
            service: Recorded::of(&self.service),
            response: Recorded::of(&self.response),
        };
        self.connect.reset();
        self.service.reset();
        self.response.reset();
        interval
    }
}

/// Records a latency. The histogram grows with it: nothing is clipped.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    let _ = histogram.record(nanos.max(1));
}

/// A histogram of nanoseconds with three significant digits and no upper bound.
pub(crate) fn histogram() -> Histogram<u64> {
    let Ok(mut histogram) = Histogram::new_with_bounds(1, SECOND, 3) else {
        unreachable!("three digits are from 0 to 5, and a second is more than 2 nanoseconds");
    };
    histogram.auto(true);
    histogram
}

const SECOND: u64 = 1_000_000_000;

/// Adds an interval of one thread to the same of others.
pub(crate) fn merge(into: &mut Interval, other: &Interval) {
    into.length = into.length.max(other.length);
    into.frames += other.frames;
    into.bytes += other.bytes;
    into.connections += other.connections;
    into.errors.add(&other.errors);
    into.connect.merge(&other.connect);
    into.service.merge(&other.service);
    into.response.merge(&other.response);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_clipped() {
        let mut histogram = histogram();
        for nanos in [0, 1, 999, 3_600 * SECOND] {
            record(&mut histogram, nanos);
        }
        assert_eq!(histogram.len(), 4);
        assert!(histogram.max() >= 3_600 * SECOND);
    }

    #[test]
    fn what_was_recorded_is_the_same_after_it_was_put_away_and_merged() {
        let mut tally = Tally::new();
        (1..=1_000).for_each(|micros| record(&mut tally.service, micros * 1_000));
        tally.frames = 1_000;
        let direct = tally.service.clone();
        let mut first = tally.take(Duration::ZERO, Duration::from_secs(1), 5);
        assert_eq!(first.service.histogram(), direct);
        assert_eq!(tally.service.len(), 0);
        let second = first.clone();
        merge(&mut first, &second);
        assert_eq!((first.frames, first.connections, first.service.count()), (2_000, 10, 2_000));
        assert_eq!(first.service.histogram().value_at_quantile(0.5), direct.value_at_quantile(0.5));
    }
}
