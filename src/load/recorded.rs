//! Recorded latencies in a compact form.

use hdrhistogram::Histogram;

/// Holds recorded latencies in little memory: each value in nanoseconds with its count, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// For each value its distance from the previous one and its count, both as LEB128.
    bytes: Vec<u8>,
}

impl Recorded {
    /// Copies the latencies of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let pairs = histogram.iter_recorded();
        Self::of_pairs(pairs.map(|at| (at.value_iterated_to(), at.count_at_value())))
    }

    /// `pairs` are in ascending order.
    fn of_pairs(pairs: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut recorded = Self::default();
        let mut last = 0;
        for (value, count) in pairs {
            recorded.put(value - last);
            recorded.put(count);
            last = value;
        }
        recorded.bytes.shrink_to_fit();
        recorded
    }

    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Returns the values in nanoseconds with their counts, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut rest = self.bytes.as_slice();
        let mut value = 0;
        std::iter::from_fn(move || {
            value += number(&mut rest)?;
            Some((value, number(&mut rest)?))
        })
    }

    /// Returns whether no latency was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns how many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter().map(|(_, count)| count).fold(0, u64::saturating_add)
    }

    /// Converts the latencies to a histogram.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = histogram();
        self.add_to(&mut histogram);
        histogram
    }

    /// Adds the latencies to a histogram that resizes itself.
    pub fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (value, count) in self.iter() {
            // It resizes itself, so that no value is out of its range.
            let _ = histogram.record_n(value, count);
        }
    }

    /// Adds the latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        *self = self.iter().chain(other.iter()).collect();
    }

    /// Returns the latencies with less precision: values that differ by less than 1 % become the largest of them. The longest
    /// latency stays exact.
    #[must_use]
    pub fn reduced(&self) -> Self {
        let pairs: Vec<(u64, u64)> = self.iter().collect();
        Self::of_groups(&pairs, |value| {
            let shift = (u64::BITS - value.leading_zeros()).saturating_sub(GROUP_BITS);
            (value >> shift) << shift
        })
    }

    /// Merges neighbors of one group into the last of them.
    fn of_groups(pairs: &[(u64, u64)], group: impl Fn(u64) -> u64) -> Self {
        let groups = pairs.chunk_by(|(a, _), (b, _)| group(*a) == group(*b)).filter_map(|pairs| {
            let count = pairs.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
            pairs.last().map(|(value, _)| (*value, count))
        });
        Self::of_pairs(groups)
    }
}

/// Takes values in nanoseconds with their counts; a value may occur several times.
impl FromIterator<(u64, u64)> for Recorded {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(pairs: I) -> Self {
        let mut pairs: Vec<(u64, u64)> = pairs.into_iter().collect();
        // This sort is fast where parts are sorted already, as they are in `merge`.
        pairs.sort_by_key(|(value, _)| *value);
        Self::of_groups(&pairs, |value| value)
    }
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

/// So many leading bits of a value determine its group: 128 groups for each power of two.
const GROUP_BITS: u32 = 8;

/// Decodes a number and removes it from the front.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded(values: &[u64]) -> Recorded {
        values.iter().map(|value| (*value, 1)).collect()
    }

    proptest! {
        #[test]
        fn values_survive_storage_and_order_of_merging(
            mut a in prop::collection::vec(any::<u64>(), 0..50),
            b in prop::collection::vec(0..100_000_u64, 0..50),
        ) {
            let mut merged = recorded(&a);
            merged.merge(&recorded(&b));
            let mut again = recorded(&b);
            again.merge(&recorded(&a));
            prop_assert_eq!(&merged, &again);
            a.extend(b);
            prop_assert_eq!(merged.count(), a.len() as u64);
            prop_assert_eq!(merged.iter().map(|(value, _)| value).max(), a.iter().copied().max());
            prop_assert!(merged.iter().is_sorted());
        }

        #[test]
        fn reduced_values_are_within_one_percent_and_keep_the_longest(
            values in prop::collection::vec(1..1_000_000_000_000_u64, 1..200),
            split in any::<prop::sample::Index>(),
        ) {
            let all = recorded(&values);
            let reduced = all.reduced();
            prop_assert_eq!(reduced.count(), all.count());
            prop_assert_eq!(reduced.iter().last().map(|(value, _)| value), values.iter().copied().max());
            let exact = all.iter().flat_map(|(value, count)| (0..count).map(move |_| value));
            let near = reduced.iter().flat_map(|(value, count)| (0..count).map(move |_| value));
            for (exact, near) in exact.zip(near) {
                prop_assert!(exact <= near && near - exact <= exact / 100, "{exact} {near}");
            }
            // It does not matter what was reduced before.
            let (left, right) = values.split_at(split.index(values.len()));
            let mut parts = recorded(left).reduced();
            parts.merge(&recorded(right).reduced());
            prop_assert_eq!(parts.reduced(), reduced);
        }
    }
}
