//! A histogram of durations.

use std::fmt;
use std::time::Duration;

/// Counts durations in buckets, from 1 ns to 584 years, in 4 KiB.
///
/// A bucket is as wide as an eighth of the power of two below it, so a value that is read back is at most 12.5 % too high.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum_nanos: u64,
    max_nanos: u64,
}

/// The number of buckets for each power of two.
const PER_OCTAVE: usize = 8;
const OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
pub(crate) const BUCKETS: usize = PER_OCTAVE * (u64::BITS as usize - OCTAVE_BITS as usize + 1);

impl Histogram {
    /// Returns how many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of all durations, exactly; at most 584 years.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// Returns the longest duration, exactly; zero if there are none.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// Returns the buckets that are not empty, shortest first: the longest duration that falls into a bucket, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counts = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(bucket, count)| (Duration::from_nanos(highest_of(bucket)), *count))
    }

    /// Returns a duration that the share `quantile` of the recorded durations does not exceed; zero if there are none.
    ///
    /// `quantile` is clamped to the range from 0 to 1: 0.5 is the median, 0.99 the 99th percentile.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(Duration::ZERO, |(longest, _)| longest.min(self.max()))
    }

    /// Returns the durations that were recorded since an `earlier` snapshot of the same histogram. Its
    /// [`max`](Self::max) is up to 12.5 % too high.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self { sum_nanos: self.sum_nanos.saturating_sub(earlier.sum_nanos), ..Self::default() };
        for (bucket, (now, before)) in self.buckets.iter().zip(earlier.buckets.iter()).enumerate() {
            since.buckets[bucket] = now.saturating_sub(*before);
            since.count += since.buckets[bucket];
            if since.buckets[bucket] > 0 {
                since.max_nanos = highest_of(bucket).min(self.max_nanos);
            }
        }
        since
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
        self.max_nanos = self.max_nanos.max(nanos);
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum_nanos: 0, max_nanos: 0 }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

/// Each value below [`PER_OCTAVE`] has its own bucket. For others, the [`OCTAVE_BITS`] bits after the highest one select it.
pub(crate) fn bucket_of(nanos: u64) -> usize {
    let octave = (u64::BITS - nanos.leading_zeros()).saturating_sub(OCTAVE_BITS + 1);
    octave as usize * PER_OCTAVE + (nanos >> octave) as usize
}

/// The highest value of `bucket`.
fn highest_of(bucket: usize) -> u64 {
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    let low = (bucket - octave * PER_OCTAVE) as u64;
    (low << octave) + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_value_within_an_eighth() {
        let values = (0..63).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + power / 3]
        });
        let mut last = 0;
        for value in values.chain([u64::MAX]) {
            let bucket = bucket_of(value);
            let highest = highest_of(bucket);
            assert!(bucket < BUCKETS && bucket >= last);
            assert!(highest >= value && highest - value <= value / 8, "{value} reads as {highest}");
            last = bucket;
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let p50 = histogram.quantile(0.5).as_micros();
        assert!((500..=563).contains(&p50), "{p50}");
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(1_000));
        assert_eq!((histogram.count(), histogram.max()), (1_000, Duration::from_millis(1)));
        let buckets: Vec<(Duration, u64)> = histogram.buckets().collect();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert!(buckets.is_sorted() && buckets.len() > 50 && buckets[0].0 >= Duration::from_micros(1));
        let before = histogram.clone();
        histogram.record(Duration::from_micros(7));
        assert_eq!(histogram.sum(), Duration::from_micros(500_500 + 7));
        assert_eq!(histogram.since(&before).sum(), Duration::from_micros(7));
    }
}
