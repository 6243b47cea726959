//! Counters and latencies of one thread since the last interval, or of a whole run.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::outcome::{Errors, Interval};
use crate::load::recorded::{Recorded, histogram};

#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: Errors,
    pub(crate) connect: Histogram<u64>,
    pub(crate) service: Histogram<u64>,
    pub(crate) response: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            frames: 0,
            bytes: 0,
            errors: Errors::default(),
            connect: histogram(),
            service: histogram(),
            response: histogram(),
        }
    }
}

impl Counts {
    /// Makes an interval of what was counted, and counts from zero.
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

    pub(crate) fn add(&mut self, interval: &Interval) {
        self.frames += interval.frames;
        self.bytes += interval.bytes;
        self.errors.add(&interval.errors);
        interval.connect.add_to(&mut self.connect);
        interval.service.add_to(&mut self.service);
        interval.response.add_to(&mut self.response);
    }
}

/// Records a latency. The histogram's range grows with it: no value is clipped.
#[inline]
pub(crate) fn record(histogram: &mut Histogram<u64>, nanos: u64) {
    let _ = histogram.record(nanos.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_latency_of_any_length_is_not_clipped() {
        let hour = 3_600_000_000_000;
        let mut histogram = histogram();
        for nanos in [0, 1, 999, hour] {
            record(&mut histogram, nanos);
        }
        assert_eq!(histogram.len(), 4);
        assert!(histogram.max() >= hour);
    }

    #[test]
    fn taken_counts_have_the_same_latencies_and_begin_at_zero() {
        let mut counts = Counts::default();
        (1..=1_000).for_each(|micros| record(&mut counts.service, micros * 1_000));
        counts.frames = 1_000;
        let direct = counts.service.clone();
        let interval = counts.take(Duration::ZERO, Duration::from_secs(1), 5);
        assert_eq!(interval.service.histogram(), direct);
        assert_eq!((counts.frames, counts.service.len()), (0, 0));
        counts.add(&interval);
        counts.add(&interval);
        assert_eq!((counts.frames, counts.service.len()), (2_000, 2_000));
        assert_eq!(counts.service.value_at_quantile(0.5), direct.value_at_quantile(0.5));
    }
}
